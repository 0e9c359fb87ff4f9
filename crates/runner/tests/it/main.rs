//! The runner against a small server of its protocol, with real git and real bubblewrap.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on may fail so"
)]

mod fake;
mod hostile;
mod kept;
#[cfg(feature = "kubernetes")]
mod kubernetes;
mod podman;
mod store;

use bascule_runner::{Config, Runner};
use bascule_wire::runner::FailureReason;
use fake::{Fake, TOKEN, Up, job_token, until};
use serde_json::{Value, json};
use std::{io::Write, path::Path, process::Command, time::Duration};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

struct Bench {
    fake: Fake,
    up: Option<Up>,
    dir: tempfile::TempDir,
    cancel: CancellationToken,
    runner: Option<JoinHandle<bascule_core::Result<()>>>,
}

impl Bench {
    fn new() -> Self {
        let fake = Fake::default();
        let up = Some(fake.up("127.0.0.1:0"));
        Self {
            fake,
            up,
            dir: tempfile::tempdir().unwrap(),
            cancel: CancellationToken::new(),
            runner: None,
        }
    }

    fn url(&self) -> String {
        format!("http://{}", self.up.as_ref().unwrap().address)
    }

    fn config(&self) -> Config {
        Config {
            poll_interval: Duration::from_millis(10),
            git_protocols: "file:http".into(),
            ..Config::new(self.url(), TOKEN, self.dir.path())
        }
    }

    async fn start(&mut self, change: impl FnOnce(&mut Config)) {
        let mut config = self.config();
        change(&mut config);
        let runner = Runner::new(config).await.unwrap();
        self.runner = Some(tokio::spawn(runner.run(self.cancel.clone())));
    }

    async fn stop(&mut self) {
        self.cancel.cancel();
        self.runner.take().unwrap().await.unwrap().unwrap();
        let left: Vec<_> = std::fs::read_dir(self.dir.path().join("builds"))
            .unwrap()
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().starts_with("job-"))
            .collect();
        assert!(left.is_empty(), "no job's folder is left: {left:?}");
    }

    fn push(&self, job: Value) {
        self.fake.data().queue.push_back(job);
    }
}

#[allow(clippy::needless_pass_by_value, reason = "reads better at each call")]
fn job(id: i64, script: &[&str], more: Value) -> Value {
    let mut job = json!({
        "id": id, "token": job_token(id), "allow_git_fetch": true,
        "job_info": {"name": "test", "stage": "test", "project_full_path": "g/p"},
        "git_info": {},
        "runner_info": {"timeout": 60},
        "variables": [],
        "steps": [{"name": "script", "script": script, "timeout": 60, "when": "on_success", "allow_failure": false}],
        "artifacts": [], "dependencies": [],
    });
    for (key, value) in more.as_object().unwrap() {
        job[key] = value.clone();
    }
    job
}

fn git(dir: &Path, args: &[&str]) -> String {
    let out = Command::new("git")
        .args([
            "-c",
            "user.name=a",
            "-c",
            "user.email=a@example.org",
            "-c",
            "init.defaultBranch=main",
        ])
        .args(args)
        .current_dir(dir)
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap().trim().to_owned()
}

/// A repository with two commits; the last one's number.
fn repository(dir: &Path) -> String {
    std::fs::create_dir_all(dir).unwrap();
    git(dir, &["init", "-q"]);
    std::fs::write(dir.join("file"), "one\n").unwrap();
    std::os::unix::fs::symlink("/etc", dir.join("etc")).unwrap();
    git(dir, &["add", "."]);
    git(dir, &["commit", "-qm", "one"]);
    std::fs::write(dir.join("file"), "two\n").unwrap();
    git(dir, &["commit", "-qam", "two"]);
    git(dir, &["update-server-info"]);
    git(dir, &["rev-parse", "HEAD"])
}

fn zip(entries: &[(&str, &str)]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, content) in entries {
        zip.start_file(*name, zip::write::SimpleFileOptions::default())
            .unwrap();
        zip.write_all(content.as_bytes()).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// The log without colours and section markers.
fn plain(log: &str) -> String {
    let colours = regex::Regex::new("\x1b\\[[0-9;]*[mK]").unwrap();
    let sections = regex::Regex::new("section_(start|end):[0-9]+:[a-z_]+\r").unwrap();
    sections
        .replace_all(&colours.replace_all(log, ""), "")
        .into_owned()
}

#[tokio::test]
async fn the_log_arrives_in_order_masked_and_with_the_exit_code() {
    let mut bench = Bench::new();
    bench
        .start(|c| {
            c.job_variables = vec![
                ("REGISTRY".into(), "http://r".into()),
                ("OVER".into(), "runner".into()),
            ];
        })
        .await;
    let script = [
        "echo \"in $PWD by $(id -un) with $REGISTRY $OVER $NESTED\"",
        "echo out; echo err >&2; printf 'pass: s3cr'; sleep 0.4; echo 'et-value!'",
        "echo token $CI_JOB_TOKEN; cat \"$PEM\"; env | grep -c s3cret",
        "exit 3",
        "echo never",
    ];
    bench.push(job(1, &script, json!({
        "variables": [
            {"key": "PASS", "value": "s3cret-value!", "masked": true},
            {"key": "CI_JOB_TOKEN", "value": "glcbt-seen-by-scripts", "masked": true},
            {"key": "OVER", "value": "job", "public": true},
            {"key": "NESTED", "value": "<$OVER>", "public": true},
            {"key": "PEM", "value": "pem of $OVER\n", "file": true},
        ],
        "steps": [
            {"name": "script", "script": script, "timeout": 60, "when": "on_success", "allow_failure": false},
            {"name": "after_script", "script": ["echo after $CI_JOB_STATUS; exit 9"], "timeout": 60, "when": "always", "allow_failure": true},
        ],
    })));
    let result = bench.fake.result(1).await;
    assert_eq!((result.state.as_str(), result.exit_code), ("failed", Some(3)));
    assert_eq!(result.failure_reason, Some(FailureReason::ScriptFailure));
    let raw = bench.fake.log(1);
    assert!(
        raw.contains("section_start:")
            && raw.contains(":step_script\r\x1b[0K")
            && !raw.contains("s3cret-value")
    );
    let log = plain(&raw);
    let expected = [
        "in /builds/g/p by job with http://r job <job>\n",
        "out\nerr\npass: [MASKED]\n",
        "token [MASKED]\npem of job\n1\n",
        "$ exit 3\n",
        "after failed\n",
        "ERROR: Job failed: exit code 3\n",
    ];
    let mut at = 0;
    for piece in expected {
        at += log[at..]
            .find(piece)
            .unwrap_or_else(|| panic!("{piece} is missing or out of order in\n{log}"));
    }
    assert!(!log.contains("never\n"), "{log}");
    bench.stop().await;
}

#[tokio::test]
async fn sources_come_with_a_password_that_stays_nowhere() {
    let mut bench = Bench::new();
    let work = bench.dir.path().join("work");
    let sha = repository(&work);
    bench.fake.data().git = Some(work.join(".git"));
    bench.start(|_| {}).await;
    let url = bench
        .url()
        .replace("http://", "http://gitlab-ci-token:git-password@");
    let script = [
        "cat file; git log --oneline | wc -l; git status --short",
        "! grep -r -e git-password -e Z2l0bGFi /builds /home /tmp /run 2>/dev/null",
        "! env | grep git-password",
        "cat .git/config; ls /proc | grep -c '^[0-9]'",
    ];
    bench.push(job(1, &script, json!({
        "git_info": {"repo_url": format!("{url}/g/p.git"), "sha": sha, "ref": "main", "ref_type": "branch",
                     "refspecs": ["+refs/heads/main:refs/remotes/origin/main"], "depth": 0},
    })));
    let result = bench.fake.result(1).await;
    let log = bench.fake.log(1);
    assert_eq!(result.state.as_str(), "success", "{log}");
    assert!(plain(&log).contains("two\n2\n"), "{log}");
    // A shallow one, of a commit that is not there at first.
    let local = format!("file://{}", work.display());
    bench.push(job(
        2,
        &["git log --oneline | wc -l"],
        json!({
            "git_info": {"repo_url": local, "sha": sha, "ref": "main", "depth": 1},
        }),
    ));
    assert_eq!(bench.fake.result(2).await.state.as_str(), "success");
    assert!(plain(&bench.fake.log(2)).contains("wc -l\n1\n"));
    // A commit that the branch has left behind, further than the depth goes.
    let old = git(&work, &["rev-parse", "HEAD~1"]);
    git(&work, &["config", "uploadpack.allowReachableSHA1InWant", "true"]);
    bench.push(job(4, &["cat file"], json!({
        "git_info": {"repo_url": format!("file://{}", work.display()), "sha": old, "ref": "main", "depth": 1},
    })));
    assert_eq!(
        bench.fake.result(4).await.state.as_str(),
        "success",
        "{}",
        bench.fake.log(4)
    );
    assert!(plain(&bench.fake.log(4)).contains("cat file\none\n"));
    // An address by a protocol that runs programs.
    bench.push(job(
        3,
        &["true"],
        json!({"git_info": {"repo_url": "ext::sh -c touch% x", "sha": sha, "ref": "main"}}),
    ));
    assert_eq!(
        bench.fake.result(3).await.failure_reason,
        Some(FailureReason::RunnerSystemFailure)
    );
    bench.stop().await;
}

#[tokio::test]
async fn artifacts_go_from_job_to_job() {
    let mut bench = Bench::new();
    bench.start(|_| {}).await;
    let artifacts = json!([
        {"name": "$CI_JOB_NAME-x", "paths": ["dist/", "**/*.log", "../out", "none"], "exclude": ["dist/**/*.tmp"],
         "when": "on_success", "artifact_type": "archive", "artifact_format": "zip", "expire_in": "1 week"},
        {"paths": ["report.env"], "when": "always", "artifact_type": "dotenv", "artifact_format": "gzip"},
        {"paths": ["dist"], "when": "on_failure", "artifact_type": "archive", "artifact_format": "zip"},
    ]);
    let script = [
        "mkdir -p dist/a b; echo x > dist/a/x; echo t > dist/a/y.tmp; echo l > b/c.log; ln -s a/x dist/link; \
                   ln -s /etc/shadow dist/shadow; echo V=1 > report.env; chmod +x dist/a/x",
    ];
    bench.push(job(1, &script, json!({"artifacts": artifacts})));
    assert_eq!(
        bench.fake.result(1).await.state.as_str(),
        "success",
        "{}",
        bench.fake.log(1)
    );
    let uploads = std::mem::take(&mut bench.fake.data().uploads);
    assert_eq!(uploads.len(), 2);
    let (_, query, name, archive) = &uploads[0];
    assert_eq!(
        (
            name.as_str(),
            query["artifact_type"].as_str(),
            query["expire_in"].as_str()
        ),
        ("test-x.zip", "archive", "1 week")
    );
    assert_eq!(
        (
            uploads[1].1["artifact_type"].as_str(),
            uploads[1].1["artifact_format"].as_str()
        ),
        ("dotenv", "gzip")
    );
    assert!(bench.fake.log(1).contains("none: no matching files"));

    // The link to /etc/shadow would be refused where it is unpacked, so only that one may be missing there.
    let mut read = zip::ZipArchive::new(std::io::Cursor::new(archive.clone())).unwrap();
    let mut names: Vec<String> = read.file_names().map(str::to_owned).collect();
    names.sort();
    assert_eq!(names, ["b/c.log", "dist/a/x", "dist/link", "dist/shadow"]);
    let mut target = String::new();
    std::io::Read::read_to_string(&mut read.by_name("dist/shadow").unwrap(), &mut target).unwrap();
    assert_eq!(target, "/etc/shadow");

    bench
        .fake
        .data()
        .downloads
        .insert(7, zip(&[("dist/a/x", "x\n"), ("new/f", "f\n")]));
    bench.push(job(2, &["cat dist/a/x new/f"], json!({
        "dependencies": [{"id": 7, "token": job_token(7), "name": "build", "artifacts_file": {"filename": "a.zip", "size": 1}}],
    })));
    assert_eq!(
        bench.fake.result(2).await.state.as_str(),
        "success",
        "{}",
        bench.fake.log(2)
    );
    assert!(plain(&bench.fake.log(2)).contains("x\nf\n"));
    bench.stop().await;
}

#[tokio::test]
async fn a_hostile_archive_and_a_hostile_repository_write_nothing_outside() {
    let mut bench = Bench::new();
    let work = bench.dir.path().join("work");
    let sha = repository(&work);
    bench.start(|_| {}).await;
    let source =
        json!({"repo_url": format!("file://{}", work.display()), "sha": sha, "ref": "main", "depth": 1});
    for (id, name) in [
        (1, "../../evil"),
        (2, "/tmp/bascule-evil"),
        (3, "etc/bascule-evil"),
    ] {
        bench.fake.data().downloads.insert(id + 10, zip(&[(name, "x")]));
        bench.push(job(id, &["echo ran"], json!({
            "git_info": source,
            "dependencies": [{"id": id + 10, "token": job_token(id + 10), "name": "b", "artifacts_file": {"filename": "a.zip", "size": 1}}],
        })));
        let result = bench.fake.result(id).await;
        assert_eq!(result.failure_reason, Some(FailureReason::ScriptFailure));
        let log = bench.fake.log(id);
        assert!(
            log.contains("An artifact archive holds") && !log.contains("\nran"),
            "{log}"
        );
    }
    for path in ["/etc/bascule-evil", "/tmp/bascule-evil"] {
        assert!(!Path::new(path).exists());
    }
    bench.stop().await;
}

#[tokio::test]
async fn a_canceled_job_ends_at_once_with_all_it_started() {
    let mut bench = Bench::new();
    bench.start(|_| {}).await;
    bench.push(job(1, &["sleep 7171.5 & echo begun; sleep 7171.5"], json!({})));
    until("the job's start", || bench.fake.log(1).contains("\nbegun")).await;
    bench.fake.data().status.insert(1, "canceled".into());
    let result = bench.fake.result(1).await;
    assert_eq!(result.failure_reason, Some(FailureReason::JobCanceled));
    assert!(bench.fake.log(1).contains("Job canceled"));
    let processes =
        String::from_utf8(Command::new("ps").args(["axo", "args"]).output().unwrap().stdout).unwrap();
    assert!(!processes.contains("sleep 7171.5"), "{processes}");
    bench.stop().await;
}

#[tokio::test]
async fn time_up_is_told_as_such_and_after_script_still_runs() {
    let mut bench = Bench::new();
    bench.start(|_| {}).await;
    bench.push(job(
        1,
        &[],
        json!({
            "runner_info": {"timeout": 1},
            "steps": [
                {"name": "script", "script": ["sleep 8282.5"], "timeout": 1, "when": "on_success"},
                {"name": "after_script", "script": ["echo cleaning up"], "timeout": 60, "when": "always"},
            ],
        }),
    ));
    let result = bench.fake.result(1).await;
    assert_eq!(result.failure_reason, Some(FailureReason::JobExecutionTimeout));
    assert!(
        bench.fake.log(1).contains("\ncleaning up"),
        "{}",
        bench.fake.log(1)
    );
    bench.stop().await;
}

#[tokio::test]
async fn a_restart_of_the_server_in_mid_log_loses_nothing() {
    let mut bench = Bench::new();
    bench.start(|_| {}).await;
    bench.fake.data().not_yet = 2;
    bench.push(job(
        1,
        &["for i in $(seq 1 300); do echo line $i; sleep 0.01; done"],
        json!({}),
    ));
    until("the log's start", || bench.fake.log(1).contains("line 20\n")).await;
    let address = bench.up.as_ref().unwrap().address.to_string();
    drop(bench.up.take());
    // What was answered last may not have been kept: the runner has to go back.
    {
        let mut data = bench.fake.data();
        let log = data.logs.get_mut(&1).unwrap();
        let half = log.len() / 2;
        log.truncate(half);
    }
    tokio::time::sleep(Duration::from_millis(600)).await;
    bench.up = Some(bench.fake.up(&address));
    let result = bench.fake.result(1).await;
    assert_eq!(result.state.as_str(), "success");
    let log = plain(&bench.fake.log(1));
    let lines: Vec<&str> = log.lines().filter(|l| l.starts_with("line ")).collect();
    let expected: Vec<String> = (1..=300).map(|i| format!("line {i}")).collect();
    assert_eq!(lines, expected);
    assert_eq!(bench.fake.data().not_yet, 0);
    bench.stop().await;
}

#[tokio::test]
async fn the_log_flows_while_the_job_runs_and_is_bounded() {
    let mut bench = Bench::new();
    bench.start(|c| c.limits.log_bytes = 20_000).await;
    bench.push(job(
        1,
        &["echo begun; while [ ! -e /tmp/never ]; do sleep 0.05; done"],
        json!({"runner_info": {"timeout": 3}}),
    ));
    until("live output", || bench.fake.log(1).contains("\nbegun")).await;
    assert!(bench.fake.data().results.is_empty());
    bench.push(job(2, &["seq 1 100000; exit 5"], json!({})));
    let result = bench.fake.result(2).await;
    assert_eq!(result.exit_code, Some(5));
    let log = bench.fake.log(2);
    assert!(log.contains("reached its limit of 20000 bytes") && log.len() < 30_000);
    assert!(plain(&log).ends_with("ERROR: Job failed: exit code 5\n"));
    bench.fake.result(1).await;
    bench.stop().await;
}

#[tokio::test]
async fn stopping_the_runner_reports_what_it_had_to_end() {
    let mut bench = Bench::new();
    bench.start(|c| c.drain_grace = Duration::from_millis(700)).await;
    bench.push(job(1, &["echo begun; sleep 9393.5"], json!({})));
    bench.push(job(2, &["echo begun; sleep 0.3"], json!({})));
    until("both at once", || {
        [1, 2].iter().all(|id| bench.fake.log(*id).contains("\nbegun"))
    })
    .await;
    bench.stop().await;
    let data = bench.fake.data();
    assert_eq!(
        data.results[&1].failure_reason,
        Some(FailureReason::RunnerSystemFailure)
    );
    assert_eq!(data.results[&2].state.as_str(), "success");
}

#[tokio::test]
async fn a_killed_runner_tells_the_server_at_its_next_start() {
    let mut bench = Bench::new();
    let left = bench.dir.path().join("builds/job-5-1-0");
    std::fs::create_dir_all(left.join("meta")).unwrap();
    std::fs::write(
        left.join("meta/job.json"),
        json!({"id": 5, "token": job_token(5)}).to_string(),
    )
    .unwrap();
    bench.fake.data().logs.insert(5, b"half a line".to_vec());
    bench.start(|_| {}).await;
    let result = bench.fake.result(5).await;
    assert_eq!(result.failure_reason, Some(FailureReason::RunnerSystemFailure));
    assert!(
        plain(&bench.fake.log(5))
            .contains("half a line\nERROR: Job failed (system failure): the runner was killed")
    );
    bench.stop().await;
}

#[tokio::test]
async fn caches_carry_over_and_the_network_is_off() {
    let mut bench = Bench::new();
    bench.start(|_| {}).await;
    let cache = json!([{"key": "k-$CI_PROJECT_PATH", "paths": ["deps"], "policy": "pull-push", "when": "on_success"}]);
    let script = [
        "mkdir -p deps; cat deps/n 2>/dev/null || echo none; echo kept > deps/n",
        "grep -c : /proc/net/dev",
    ];
    for id in [1, 2] {
        bench.push(job(id, &script, json!({"cache": cache})));
        let result = bench.fake.result(id).await;
        let log = plain(&bench.fake.log(id));
        assert_eq!(result.state.as_str(), "success", "{log}");
        let seen = if id == 1 { "\nnone\n" } else { "\nkept\n" };
        assert!(log.contains(seen) && log.contains("/proc/net/dev\n1\n"), "{log}");
    }
    bench.stop().await;
}

#[tokio::test]
async fn a_report_that_the_server_cannot_read_is_the_jobs_failure() {
    let mut bench = Bench::new();
    bench.start(|_| {}).await;
    let artifacts = json!([{"name": "faulty", "paths": ["a.env"], "when": "always",
        "artifact_type": "dotenv", "artifact_format": "gzip"}]);
    bench.push(job(
        1,
        &["echo no variable > a.env"],
        json!({"artifacts": artifacts}),
    ));
    let result = bench.fake.result(1).await;
    let log = plain(&bench.fake.log(1));
    assert_eq!(result.failure_reason, Some(FailureReason::ScriptFailure), "{log}");
    assert!(
        !log.contains("system failure") && log.contains("Job failed:"),
        "{log}"
    );
    bench.stop().await;
}

#[tokio::test]
async fn a_runner_that_is_not_known_says_what_to_do() {
    let bench = Bench::new();
    let mut config = bench.config();
    config.token = "wrong".into();
    let problem = Runner::new(config)
        .await
        .unwrap()
        .run(CancellationToken::new())
        .await
        .unwrap_err();
    assert_eq!(problem.code, "runner_refused");
    assert!(problem.next.contains("Register"));
}

#[tokio::test]
async fn sources_are_fetched_once_for_all_jobs_and_each_job_has_its_own() {
    let mut bench = Bench::new();
    let work = bench.dir.path().join("work");
    let sha = repository(&work);
    bench.start(|_| {}).await;
    let source = |sha: &str, depth: i64| {
        json!({"repo_url": format!("file://{}", work.display()), "sha": sha, "ref": "main", "ref_type": "branch",
               "refspecs": [format!("+{sha}:refs/remotes/origin/main")], "depth": depth})
    };
    bench.push(job(1, &["git log --oneline | wc -l; git rev-parse origin/main; echo spoilt > .git/HEAD; rm -rf .git/objects"], json!({"git_info": source(&sha, 0)})));
    let result = bench.fake.result(1).await;
    assert_eq!(result.state.as_str(), "success", "{}", bench.fake.log(1));
    assert!(
        plain(&bench.fake.log(1)).contains(&format!("\n2\n{sha}\n")),
        "{}",
        bench.fake.log(1)
    );
    // The server is away: what is here is enough, at any depth, by several jobs at once.
    let away = bench.dir.path().join("away");
    std::fs::rename(&work, &away).unwrap();
    for (id, depth) in [(2, 1), (3, 0), (4, 50)] {
        bench.push(job(
            id,
            &["git log --oneline | wc -l; cat file; git status --short | wc -l"],
            json!({"git_info": source(&sha, depth)}),
        ));
    }
    for (id, commits) in [(2, 1), (3, 2), (4, 2)] {
        let result = bench.fake.result(id).await;
        let log = plain(&bench.fake.log(id));
        assert_eq!(result.state.as_str(), "success", "{log}");
        assert!(log.contains(&format!("\n{commits}\ntwo\n0\n")), "{log}");
    }
    std::fs::rename(&away, &work).unwrap();
    // A cache that a crash left broken is made anew.
    let cache = std::fs::read_dir(bench.dir.path().join("git")).unwrap().flatten();
    let cache = cache
        .map(|entry| entry.path())
        .find(|path| path.join("objects/pack").is_dir())
        .unwrap();
    git(&work, &["commit", "-q", "--allow-empty", "-m", "three"]);
    let newer = git(&work, &["rev-parse", "HEAD"]);
    for pack in std::fs::read_dir(cache.join("objects/pack")).unwrap().flatten() {
        std::fs::write(pack.path(), "").unwrap();
    }
    bench.push(job(
        5,
        &["git log --oneline | wc -l"],
        json!({"git_info": source(&newer, 0)}),
    ));
    let result = bench.fake.result(5).await;
    assert_eq!(result.state.as_str(), "success", "{}", bench.fake.log(5));
    bench.push(job(
        6,
        &["git log --oneline | wc -l"],
        json!({"git_info": source(&newer, 0)}),
    ));
    bench.fake.result(6).await;
    assert!(
        plain(&bench.fake.log(6)).contains("\n3\n"),
        "{}",
        bench.fake.log(6)
    );
    bench.stop().await;
}

#[tokio::test]
async fn submodules_hooks_and_strategies_are_heeded() {
    let mut bench = Bench::new();
    let (work, inner) = (bench.dir.path().join("work"), bench.dir.path().join("inner"));
    repository(&work);
    repository(&inner);
    git(
        &work,
        &[
            "-c",
            "protocol.file.allow=always",
            "submodule",
            "--quiet",
            "add",
            &format!("file://{}", inner.display()),
            "lib",
        ],
    );
    git(&work, &["commit", "-qm", "a library"]);
    let sha = git(&work, &["rev-parse", "HEAD"]);
    bench.start(|_| {}).await;
    let source =
        json!({"repo_url": format!("file://{}", work.display()), "sha": sha, "ref": "main", "depth": 1});
    let variables = |pairs: &[(&str, &str)]| -> Value {
        pairs
            .iter()
            .map(|(key, value)| json!({"key": key, "value": value, "public": true}))
            .collect()
    };
    for (id, script, pairs, words) in [
        (
            1,
            "cat lib/file",
            &[("GIT_SUBMODULE_STRATEGY", "recursive")][..],
            "\ntwo\n",
        ),
        (
            2,
            "ls lib | wc -l",
            &[("GIT_SUBMODULE_STRATEGY", "none")],
            "\n0\n",
        ),
        (
            3,
            "ls | wc -l; git rev-parse --short HEAD | wc -l",
            &[("GIT_CHECKOUT", "false")],
            "\n0\n1\n",
        ),
        (4, "ls -A | wc -l", &[("GIT_STRATEGY", "none")], "\n0\n"),
        (
            5,
            "cat file",
            &[("GIT_FETCH_EXTRA_FLAGS", "--prune --upload-pack=/bin/evil")],
            "left out --upload-pack=/bin/evil",
        ),
    ] {
        bench.push(job(id, &[script], json!({
            "git_info": source, "variables": variables(pairs),
            "hooks": [{"name": "pre_get_sources_script", "script": ["echo before the sources: $(ls | wc -l)"]}],
        })));
        let result = bench.fake.result(id).await;
        let log = plain(&bench.fake.log(id));
        assert_eq!(result.state.as_str(), "success", "{id}: {log}");
        assert!(log.contains(words), "{id}: {log}");
        assert_eq!(log.contains("\nbefore the sources: 0\n"), id != 4, "{id}: {log}");
    }
    bench.stop().await;
}
