//! A full disk: pushes and uploads are refused with a clear error, nothing half-written shows, and all
//! works again once there is room.

use crate::{
    BIN,
    product::{pipeline, rows},
    survive::fsck,
};
use bascule_testkit::{Git, TestApp, until};
use reqwest::Response;
use serde_json::{Value, json};
use std::{
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

const PROJECT: &str = "demo/p";
const MIB: u64 = 1024 * 1024;
/// The small file system that an app's data is on.
struct Disk(PathBuf);

impl Disk {
    fn path(&self) -> &Path {
        &self.0
    }

    fn free(&self) -> u64 {
        let disk = rustix::fs::statvfs(self.path()).unwrap();
        disk.f_bavail * disk.f_frsize
    }

    fn filler(&self) -> PathBuf {
        self.path().join("filler")
    }

    /// Makes the filler as large as leaves `left` bytes free; 0 fills the disk to its last byte.
    fn fill(&self, left: u64) {
        let mut file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.filler())
            .unwrap();
        let block = vec![0; 4096];
        while self.free() > left {
            if file.write_all(&block).is_err() {
                break;
            }
        }
    }

    fn empty(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }
}

/// Bytes that no program can make smaller.
fn noise(bytes: u64) -> Vec<u8> {
    let mut buffer = Vec::new();
    std::fs::File::open("/dev/urandom")
        .unwrap()
        .take(bytes)
        .read_to_end(&mut buffer)
        .unwrap();
    buffer
}

/// Files under a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

/// A job that a runner of the test's own has taken.
struct Taken {
    id: i64,
    token: String,
}

async fn take(app: &TestApp) -> Taken {
    let runner = app
        .request("POST", "/api/v1/runner")
        .json(&json!({"description": "outside", "tags": ["outside"], "run_untagged": false}))
        .send()
        .await
        .unwrap();
    let runner: Value = runner.json().await.unwrap();
    let token = runner["token"].as_str().unwrap().to_owned();
    let job: Value = until("a job", Duration::from_secs(30), async || {
        let answer = app
            .anonymous("POST", "/api/v4/jobs/request")
            .header("prefer", "wait=5")
            .json(&json!({"token": token, "info": {"name": "outside"}}))
            .send()
            .await
            .unwrap();
        (answer.status() == 201).then_some(answer)
    })
    .await
    .json()
    .await
    .unwrap();
    Taken {
        id: job["id"].as_i64().unwrap(),
        token: job["token"].as_str().unwrap().to_owned(),
    }
}

async fn upload(app: &TestApp, job: &Taken, bytes: Vec<u8>) -> Response {
    let part = reqwest::multipart::Part::bytes(bytes).file_name("artifacts.zip");
    app.anonymous("POST", &format!("/api/v4/jobs/{}/artifacts", job.id))
        .header("JOB-TOKEN", &job.token)
        .multipart(reqwest::multipart::Form::new().part("file", part))
        .send()
        .await
        .expect("the server's answer reaches a client that is still sending")
}

/// What a refused upload is told, and that it left nothing behind.
async fn refused(app: &TestApp, job: &Taken, bytes: u64) {
    let answer = upload(app, job, noise(bytes)).await;
    let status = answer.status();
    let problem: Value = answer.json().await.unwrap();
    assert_eq!(status, 507, "{problem}");
    assert_eq!(problem["code"], "storage_full", "{problem}");
    assert!(
        problem["next"]
            .as_str()
            .unwrap()
            .contains("free or add space, then send it again"),
        "{problem}"
    );
    assert!(left_by(app, job).await.is_empty());
    let blobs = app.data().join("blobs").join("jobs");
    assert_eq!(files(&blobs.join("sha256")), Vec::<PathBuf>::new());
    // A half-written file goes in the background, before it could take anybody's space for long.
    until("the cut blob to go", Duration::from_secs(10), async || {
        files(&blobs.join("tmp")).is_empty().then_some(())
    })
    .await;
    let archive = format!("/api/v1/projects/{PROJECT}/jobs/{}/artifacts", job.id);
    assert_eq!(app.request("GET", &archive).send().await.unwrap().status(), 404);
}

async fn left_by(app: &TestApp, job: &Taken) -> Vec<Value> {
    let shown = app
        .json(&format!("/api/v1/projects/{PROJECT}/jobs/{}", job.id))
        .await;
    rows(&shown["artifacts"])
}

fn heads(git: &Git) -> String {
    git.ok(&["ls-remote", "origin"])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_takes_nothing_half_and_recovers() {
    let app = TestApp::start_on_small_disk(BIN, 192);
    let disk = Disk(app.data().to_owned());
    drop(app.cli().ok(&["group", "create", "demo"]));
    drop(app.cli().ok(&["project", "create", PROJECT]));
    let git = Git::init();
    git.write(
        ".gitlab-ci.yml",
        "work:\n  tags: [outside]\n  rules: [{ if: $CI_COMMIT_BRANCH == \"main\" }]\n  script: [make]\n",
    );
    git.commit("Begin");
    drop(git.ok(&["remote", "add", "origin", &app.remote(PROJECT, app.token())]));
    drop(git.ok(&["push", "-q", "origin", "main"]));
    let job = take(&app).await;
    let before = heads(&git);

    // Room enough to begin a push, not to end it.
    std::fs::write(git.path().join("large.bin"), noise(96 * MIB)).unwrap();
    git.commit("Add a large file");
    disk.fill(72 * MIB);
    let told = git.refused(&["push", "origin", "HEAD:large"]);
    assert!(told.contains("No space left on device"), "{told}");
    assert!(
        told.contains("remote: Refused: The server's disk is full; nothing was stored."),
        "{told}"
    );
    assert!(told.contains("free or add space, then push again"), "{told}");
    assert_eq!(heads(&git), before, "no reference of a refused push shows");

    // Room for the beginning of an upload, then for nothing at all.
    disk.fill(12 * MIB);
    // Again and again: the answer always reaches a client that is still sending.
    for _ in 0..12 {
        refused(&app, &job, 48 * MIB).await;
    }
    disk.fill(0);
    refused(&app, &job, 2 * MIB).await;
    let told = git.refused(&["push", "origin", "HEAD:large"]);
    assert!(
        told.contains("remote: The server's disk is full; nothing was stored."),
        "{told}"
    );
    assert!(told.contains("free or add space, then push again"), "{told}");
    assert_eq!(heads(&git), before);
    let branches = rows(&app.cli().json(&["project", "branches", PROJECT]));
    assert_eq!(branches.len(), 1, "{branches:?}");

    // There is room again: nobody has to restart anything.
    disk.empty();
    drop(git.ok(&["push", "-q", "origin", "HEAD:large"]));
    assert!(heads(&git).contains("refs/heads/large"));
    let bytes = noise(12 * MIB);
    let answer = upload(&app, &job, bytes.clone()).await;
    assert_eq!(answer.status(), 201, "{}", answer.text().await.unwrap());
    assert_eq!(left_by(&app, &job).await.len(), 1);
    let archive = format!("/api/v1/projects/{PROJECT}/jobs/{}/artifacts", job.id);
    let kept = app.request("GET", &archive).send().await.unwrap();
    assert!(kept.bytes().await.unwrap() == bytes, "the artifact is whole");
    let ended = app
        .anonymous("PUT", &format!("/api/v4/jobs/{}", job.id))
        .json(&json!({"token": job.token, "state": "success"}))
        .send()
        .await
        .unwrap();
    assert_eq!(ended.status(), 200);
    assert_eq!(pipeline(&app, PROJECT, "main").await["status"], "success");
    fsck(&app);
    assert!(app.cli().ok(&["ledger", "verify"]).starts_with("Clean"));
}
