//! Merge requests on the real platform: the queue with real pipelines, killed in the middle; merges that kill -9 cuts off.

use crate::BIN;
use bascule_testkit::{Git, TestApp, until};
use serde_json::{Value, json};
use std::time::Duration;

const PROJECT: &str = "demo/queue";

/// Two files of a pair together break the trunk.
const CI: &str = "
check:
  # The platform is killed three times; a job that is lost with it says nothing about the change.
  retry: { max: 2, when: runner_system_failure }
  script:
    - for pair in x y z; do if [ -e $pair-left ] && [ -e $pair-right ]; then echo \"$pair is broken\"; exit 1; fi; done
  rules:
    - if: $CI_PIPELINE_SOURCE == \"merge_request_event\"
    - if: $CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH
";

fn create(app: &TestApp) -> Git {
    let cli = app.cli();
    drop(cli.ok(&["group", "create", "demo"]));
    drop(cli.ok(&["project", "create", PROJECT]));
    let git = Git::init();
    git.ok(&["remote", "add", "origin", &app.remote(PROJECT, app.token())]);
    git.write(".gitlab-ci.yml", CI);
    git.commit("Begin");
    git.ok(&["push", "-q", "origin", "main"]);
    git
}

/// A branch with one file, pushed, and a request for it.
fn request(app: &TestApp, git: &Git, branch: &str, file: &str) -> i64 {
    git.ok(&["switch", "-q", "main"]);
    git.ok(&["switch", "-q", "-c", branch]);
    git.write(file, "x\n");
    git.commit(&format!("Add {file}"));
    git.ok(&["push", "-q", "origin", branch]);
    let made = app
        .cli()
        .json(&["mr", "create", "--project", PROJECT, "--source", branch]);
    made["iid"].as_i64().unwrap()
}

async fn state(app: &TestApp, iid: i64) -> Option<String> {
    let path = format!("/api/v1/projects/{PROJECT}/merge-requests/{iid}");
    let answer = app.request("GET", &path).send().await.ok()?;
    let request: Value = answer.json().await.ok()?;
    request["state"].as_str().map(str::to_owned)
}

/// Every commit at which the branch stood.
fn broken(git: &Git) -> Vec<String> {
    git.ok(&["fetch", "-q", "origin", "main"]);
    let commits = git.ok(&["rev-list", "--first-parent", "origin/main"]);
    let has_both = |commit: &&str| {
        let files = git.ok(&["ls-tree", "--name-only", commit]);
        let has = |name: String| files.lines().any(|file| file == name);
        ["x", "y", "z"]
            .iter()
            .any(|pair| has(format!("{pair}-left")) && has(format!("{pair}-right")))
    };
    commits.lines().filter(has_both).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_twenty_queued_requests_the_three_that_break_the_trunk_in_combination_are_named_through_kills() {
    let mut app = TestApp::start(BIN);
    let git = create(&app);
    let path = format!("/api/v1/projects/{PROJECT}/merge-settings");
    let answer = app
        .request("PATCH", &path)
        .json(&json!({ "queue": true }))
        .send()
        .await
        .unwrap();
    assert!(answer.status().is_success());
    let files: Vec<String> = (1..=20)
        .map(|n| match n {
            3 => "x-left".to_owned(),
            8 => "x-right".to_owned(),
            5 => "y-left".to_owned(),
            6 => "y-right".to_owned(),
            10 => "z-left".to_owned(),
            20 => "z-right".to_owned(),
            n => format!("file-{n}"),
        })
        .collect();
    for (at, file) in files.iter().enumerate() {
        let iid = request(&app, &git, &format!("topic-{}", at + 1), file);
        assert_eq!(iid, at as i64 + 1);
    }
    for iid in 1..=20 {
        drop(
            app.cli()
                .ok(&["mr", "merge", &iid.to_string(), "--project", PROJECT]),
        );
    }
    // Killed while trials run and while some have landed.
    for landed in [1, 7, 13] {
        until("some to be merged", Duration::from_secs(120), async || {
            let mut merged = 0;
            for iid in 1..=20 {
                merged += i64::from(state(&app, iid).await.as_deref() == Some("merged"));
            }
            (merged >= landed).then_some(())
        })
        .await;
        app.kill();
        app.resume();
        assert_eq!(broken(&git), Vec::<String>::new());
    }
    for iid in (1..=20).filter(|iid| ![6, 8, 20].contains(iid)) {
        until(&format!("!{iid} merged"), Duration::from_secs(180), async || {
            (state(&app, iid).await.as_deref() == Some("merged")).then_some(())
        })
        .await;
    }
    let queue = until("an empty queue", Duration::from_secs(60), async || {
        let queue = app.cli().json(&["mr", "queue", "--project", PROJECT]);
        queue["entries"].as_array()?.is_empty().then_some(queue)
    })
    .await;
    let mut named: Vec<i64> = queue["taken_out"]
        .as_array()
        .unwrap()
        .iter()
        .map(|out| out["iid"].as_i64().unwrap())
        .collect();
    named.sort_unstable();
    assert_eq!(named, [6, 8, 20], "{queue}");
    assert!(queue.to_string().contains("would be broken"), "{queue}");
    assert_eq!(broken(&git), Vec::<String>::new());
    let merges = git.ok(&["rev-list", "--count", "--first-parent", "origin/main"]);
    assert_eq!(merges.trim(), "18", "one commit each, and none twice");
    assert!(app.cli().ok(&["ledger", "verify"]).starts_with("Clean"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_merge_cut_off_by_kill_nine_is_done_once_or_not_at_all() {
    let mut app = TestApp::start(BIN);
    let git = create(&app);
    let mut done = 0;
    for round in 0..8_u64 {
        let iid = request(&app, &git, &format!("topic-{round}"), &format!("file-{round}"));
        let merge = app
            .request(
                "POST",
                &format!("/api/v1/projects/{PROJECT}/merge-requests/{iid}/merge"),
            )
            .json(&json!({ "strategy": "squash" }))
            .send();
        let merge = tokio::spawn(merge);
        tokio::time::sleep(Duration::from_millis(round * 12)).await;
        app.kill();
        drop(merge.await);
        app.resume();
        // What moved the branch is told; what did not can be merged as if nothing had been.
        if state(&app, iid).await.as_deref() == Some("open") {
            drop(
                app.cli()
                    .run(&["mr", "merge", &iid.to_string(), "--project", PROJECT]),
            );
        }
        until("the merge", Duration::from_secs(30), async || {
            (state(&app, iid).await.as_deref() == Some("merged")).then_some(())
        })
        .await;
        done += 1;
        git.ok(&["fetch", "-q", "origin", "main"]);
        let count = git.ok(&["rev-list", "--count", "--first-parent", "origin/main"]);
        assert_eq!(count.trim(), (done + 1).to_string(), "round {round}");
    }
    let facts = app
        .json("/api/v1/ledger?kind=merge_request.merged&limit=100")
        .await;
    let told = facts.to_string().matches("merge_request.merged").count();
    assert_eq!(told, 8, "{facts}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_queued_and_merged_on_postgres_too() {
    let app = TestApp::start_on_postgres(BIN);
    let git = create(&app);
    let first = request(&app, &git, "topic-a", "x-left");
    drop(
        app.cli()
            .ok(&["mr", "merge", &first.to_string(), "--project", PROJECT]),
    );
    let path = format!("/api/v1/projects/{PROJECT}/merge-settings");
    let on = app
        .request("PATCH", &path)
        .json(&json!({ "queue": true, "strategy": "squash" }));
    assert!(on.send().await.unwrap().status().is_success());
    let (good, bad) = (
        request(&app, &git, "topic-b", "file-b"),
        request(&app, &git, "topic-c", "x-right"),
    );
    for iid in [good, bad] {
        drop(
            app.cli()
                .ok(&["mr", "merge", &iid.to_string(), "--project", PROJECT]),
        );
    }
    until("the good one merged", Duration::from_secs(60), async || {
        (state(&app, good).await.as_deref() == Some("merged")).then_some(())
    })
    .await;
    until("the bad one named", Duration::from_secs(60), async || {
        let queue = app.cli().json(&["mr", "queue", "--project", PROJECT]);
        queue["taken_out"]
            .as_array()?
            .iter()
            .find(|out| out["iid"] == bad)
            .map(|_| ())
    })
    .await;
    // The trunk's pipelines run for who asked, and so read what they may: the platform itself reads nothing.
    let path = format!("/api/v1/projects/{PROJECT}/pipelines?ref=main");
    let all: Value = app
        .request("GET", &path)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let all = all.as_array().or(all["pipelines"].as_array()).unwrap();
    assert!(all.iter().all(|one| one["actor"] == "admin"), "{all:?}");
    let listed = app.cli().json(&[
        "mr",
        "list",
        "--project",
        PROJECT,
        "--state",
        "all",
        "--search",
        "topic",
    ]);
    assert_eq!(listed["merge_requests"].as_array().unwrap().len(), 3, "{listed}");
    let diff = app
        .cli()
        .ok(&["mr", "diff", &bad.to_string(), "--project", PROJECT]);
    assert!(diff.contains("+++ b/x-right") && diff.contains("+x"), "{diff}");
    let (code, said) = app
        .cli()
        .refused(&["mr", "merge", &good.to_string(), "--project", PROJECT]);
    assert_eq!(code, 3, "{said}");
    let fork = app
        .cli()
        .json(&["project", "fork", PROJECT, "--group", "demo", "--name", "copy"]);
    assert_eq!(fork["path"], "demo/copy", "{fork}");
    // The administrator's own name is none for a group, and that is said.
    let (code, said) = app.cli().refused(&["project", "fork", PROJECT]);
    assert!(code == 3 && said.contains("--group"), "{code} {said}");
    assert_eq!(broken(&git), Vec::<String>::new());
}
