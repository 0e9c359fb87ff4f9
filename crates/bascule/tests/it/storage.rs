//! What is stored survives a full disk and a kill in the middle of being stored: whole, or not there.

use crate::{BIN, product::rows, survive::fsck};
use bascule_testkit::{Cli, Git, TestApp, until};
use std::{path::PathBuf, process::Command, time::Duration};

/// Every file in the blob store, with its size, those being written apart.
fn blobs(app: &TestApp) -> (Vec<PathBuf>, u64) {
    let (mut whole, mut partial) = (Vec::new(), 0);
    let root = app.data().join("blobs");
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path
                .strip_prefix(&root)
                .is_ok_and(|inside| inside.iter().any(|part| part == "tmp"))
            {
                partial += entry.metadata().map_or(0, |meta| meta.len());
            } else {
                whole.push(path);
            }
        }
    }
    (whole, partial)
}

/// Each blob is what its name says.
fn blobs_are_whole(app: &TestApp) {
    for path in blobs(app).0 {
        let output = Command::new("sha256sum").arg(&path).output().unwrap();
        let sum = String::from_utf8_lossy(&output.stdout).into_owned();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        assert!(sum.contains(&name), "{name} holds something else: {sum}");
    }
}

/// A job that leaves an artifact of so many MiB that no compression makes smaller.
fn project(app: &TestApp, mib: u32) -> Git {
    drop(app.cli().ok(&["group", "create", "demo"]));
    drop(app.cli().ok(&["project", "create", "demo/p"]));
    let git = Git::init();
    git.write(
        ".gitlab-ci.yml",
        &format!("pack:\n  script: [\"head -c {mib}M /dev/urandom > big.bin\"]\n  artifacts: {{paths: [big.bin]}}\n"),
    );
    git.commit("Pack");
    git
}

async fn first_job(cli: &Cli) -> (String, String) {
    until("a pipeline", Duration::from_secs(30), async || {
        let id = rows(&cli.json(&["pipeline", "list", "demo/p"])).first()?["id"].as_i64()?;
        let shown = cli.json(&["pipeline", "show", "demo/p", &id.to_string()]);
        let job = rows(&shown["jobs"]).first()?["id"].as_i64()?;
        Some((id.to_string(), job.to_string()))
    })
    .await
}

fn status(cli: &Cli, pipeline: &str) -> String {
    let output = cli.run(&["pipeline", "show", "demo/p", pipeline, "--wait", "--json"]);
    let shown: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    shown["status"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_in_the_middle_of_an_upload() {
    let mut app = TestApp::start(BIN);
    let git = project(&app, 48);
    drop(git.ok(&["push", "-q", &app.remote("demo/p", app.token()), "main"]));
    let (pipeline, _) = first_job(&app.cli()).await;
    until(
        "the artifact to be half there",
        Duration::from_secs(120),
        async || (blobs(&app).1 > 4 << 20).then_some(()),
    )
    .await;
    app.kill();
    blobs_are_whole(&app);
    assert!(
        blobs(&app)
            .0
            .iter()
            .all(|path| path.metadata().unwrap().len() < 40 << 20),
        "nothing half-written has a name"
    );
    app.resume();
    assert_eq!(status(&app.cli(), &pipeline), "success");
    let retried = rows(&app.cli().json(&["ledger", "list", "--kind", "job.retried"]));
    assert_eq!(
        retried.len(),
        1,
        "retried once, and the ledger says so: {retried:?}"
    );
    blobs_are_whole(&app);
    assert!(
        blobs(&app)
            .0
            .iter()
            .any(|path| path.metadata().unwrap().len() >= 48 << 20),
        "the artifact of the second try is whole"
    );
    assert!(app.cli().ok(&["ledger", "verify"]).starts_with("Clean"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_clearly_and_goes_on_when_there_is_room() {
    let app = TestApp::start_on_small_disk(BIN, 256);
    let git = project(&app, 1);
    let remote = app.remote("demo/p", app.token());
    drop(git.ok(&["push", "-q", &remote, "main"]));
    let (pipeline, _) = first_job(&app.cli()).await;
    assert_eq!(status(&app.cli(), &pipeline), "success");

    // Fill it to the last megabytes: a push that needs more is refused on git's own output.
    let filler = app.data().join("filler");
    let free = || {
        let output = Command::new("df")
            .args(["--output=avail", "-m"])
            .arg(app.data())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().last().unwrap().trim().parse::<u64>().unwrap()
    };
    let fill = free().saturating_sub(6);
    let made = Command::new("fallocate")
        .args(["-l", &format!("{fill}M")])
        .arg(&filler)
        .status()
        .unwrap();
    assert!(made.success());
    drop(git.ok(&["checkout", "-q", "-b", "large"]));
    let noise: String = (0..16_000_000_u64)
        .map(|n| {
            char::from(
                b'!' + u8::try_from(n.wrapping_mul(6_364_136_223_846_793_005).rotate_left(17) % 90).unwrap(),
            )
        })
        .collect();
    git.write("noise.txt", &noise);
    git.commit("Too much");
    let refused = git.refused(&["push", &remote, "large"]);
    assert!(
        refused.to_lowercase().contains("disk") || refused.contains("space"),
        "{refused}"
    );
    let branches = rows(&app.cli().json(&["project", "branches", "demo/p"]));
    assert!(
        branches.iter().all(|branch| branch["name"] != "large"),
        "{branches:?}"
    );

    // An artifact that does not fit fails its job, with the reason in its log.
    drop(git.ok(&["checkout", "-q", "main"]));
    drop(std::fs::remove_file(&filler));
    git.write(
        ".gitlab-ci.yml",
        &format!(
            "pack:\n  script: [\"head -c 24M /dev/urandom > big.bin\", \"fallocate -l {}M filler\"]\n  artifacts: {{paths: [big.bin]}}\n",
            free().saturating_sub(34)
        ),
    );
    git.commit("Pack too much");
    drop(git.ok(&["push", "-q", &remote, "main"]));
    let (pipeline, job) = until("the second pipeline", Duration::from_secs(30), async || {
        let found = first_job(&app.cli()).await;
        (found.0 != pipeline).then_some(found)
    })
    .await;
    assert_eq!(status(&app.cli(), &pipeline), "failed");
    let log = app.cli().ok(&["job", "log", "demo/p", &job]);
    assert!(
        log.to_lowercase().contains("disk") || log.contains("space"),
        "{log}"
    );
    blobs_are_whole(&app);

    // There is room again: the same push goes through, and nothing is amiss.
    drop(git.ok(&["push", "-q", &remote, "large"]));
    fsck(&app);
    assert!(app.cli().ok(&["ledger", "verify"]).starts_with("Clean"));
}
