//! kill -9 at bad moments, and a full disk: nothing acknowledged is lost, nothing half-written shows.

use crate::{
    BIN,
    product::{self, PROJECT, release, rows, serving},
};
use bascule_testkit::{Git, TestApp, until};
use std::{path::PathBuf, process::Command, time::Duration};

pub(crate) fn repositories(app: &TestApp) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![app.data().join("repositories")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|e| e == "git") {
                found.push(path);
            } else if path.is_dir() {
                folders.push(path);
            }
        }
    }
    found
}

pub(crate) fn fsck(app: &TestApp) {
    let all = repositories(app);
    assert!(!all.is_empty());
    for repository in all {
        let output = Command::new("git")
            .arg("-C")
            .arg(&repository)
            .args(["fsck", "--full", "--strict"])
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_in_the_middle_of_pushes() {
    let mut app = TestApp::start(BIN);
    drop(app.cli().ok(&["group", "create", "demo"]));
    drop(app.cli().ok(&["project", "create", "demo/p"]));
    let git = Git::init();
    let remote = app.remote("demo/p", app.token());
    let mut acknowledged = Vec::new();
    for round in 0..3 {
        // Several pushes one after the other; the process dies while one of them is under way.
        let (path, remote) = (git.path(), remote.clone());
        for n in 0..4 {
            git.write(&format!("file-{round}-{n}"), &"x".repeat(300_000 + n));
            git.commit(&format!("commit {round} {n}"));
            drop(git.ok(&["branch", &format!("b-{round}-{n}")]));
        }
        let pusher = std::thread::spawn(move || {
            let mut done = Vec::new();
            for n in 0..4 {
                let branch = format!("b-{round}-{n}");
                let output = Command::new("git")
                    .arg("-C")
                    .arg(&path)
                    .args(["push", "-q", &remote, &branch])
                    .output()
                    .unwrap();
                if output.status.success() {
                    done.push(branch);
                }
            }
            done
        });
        tokio::time::sleep(Duration::from_millis(250 + 130 * round)).await;
        app.kill();
        acknowledged.extend(pusher.join().unwrap());
        app.resume();
    }
    fsck(&app);
    let branches: Vec<String> = rows(&app.cli().json(&["project", "branches", "demo/p"]))
        .iter()
        .map(|b| b["name"].as_str().unwrap().to_owned())
        .collect();
    let facts = rows(&app.cli().json(&["ledger", "list", "--kind", "branch.updated"]));
    let told: Vec<&str> = facts.iter().filter_map(|f| f["summary"].as_str()).collect();
    for branch in &acknowledged {
        assert!(branches.contains(branch), "{branch} was acknowledged and is gone");
    }
    for branch in &branches {
        assert!(
            told.iter().any(|t| t.contains(branch.as_str())),
            "{branch} is there, but the ledger does not know: {told:?}"
        );
    }
    assert!(app.cli().ok(&["ledger", "verify"]).starts_with("Clean"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_under_a_running_job() {
    let mut app = TestApp::start(BIN);
    let cli = app.cli();
    drop(cli.ok(&["group", "create", "demo"]));
    drop(cli.ok(&["project", "create", "demo/p"]));
    let git = Git::init();
    // Ends at once the second time: a marker in the job's own variables tells the attempts apart by time.
    git.write(
        ".gitlab-ci.yml",
        "work:\n  script:\n    - for i in $(seq 1 60); do echo line $i; sleep 0.2; done\n",
    );
    git.commit("Work a while");
    drop(git.ok(&["push", "-q", &app.remote("demo/p", app.token()), "main"]));
    let id = until("the job to write", Duration::from_secs(30), async || {
        let id = rows(&cli.json(&["pipeline", "list", "demo/p"])).first()?["id"].as_i64()?;
        let shown = cli.json(&["pipeline", "show", "demo/p", &id.to_string()]);
        let job = rows(&shown["jobs"]).first()?["id"].as_i64()?;
        let log = cli.ok(&["job", "log", "demo/p", &job.to_string()]);
        log.contains("line 3").then_some((id, job, log))
    })
    .await;
    app.kill();
    app.resume();
    let kept = app.cli().ok(&["job", "log", "demo/p", &id.1.to_string()]);
    assert!(
        kept.starts_with(&id.2),
        "what was acknowledged of the log is still there"
    );
    let output = app.cli().run(&[
        "pipeline",
        "show",
        "demo/p",
        &id.0.to_string(),
        "--wait",
        "--json",
    ]);
    let shown: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(shown["status"], "success", "{shown}");
    let retried = rows(&app.cli().json(&["ledger", "list", "--kind", "job.retried"]));
    assert_eq!(
        retried.len(),
        1,
        "retried once, and the ledger says so: {retried:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_in_the_middle_of_a_rollout() {
    let mut app = TestApp::start(BIN);
    let git = product::create(&app);
    release(&app, &git, "1.0.0").await;
    drop(
        app.cli()
            .ok(&["deploy", PROJECT, "1.0.0", "--to", "production", "--wait"]),
    );
    product::write(&git, "1.1.0", "0");
    git.commit("Next");
    release(&app, &git, "1.1.0").await;
    drop(app.cli().ok(&["deploy", PROJECT, "1.1.0", "--to", "production"]));
    until(
        "the rollout to give traffic",
        Duration::from_secs(40),
        async || {
            rows(&app.cli().json(&["rollout", "list", PROJECT]))
                .first()
                .filter(|r| r["weight"].as_i64() > Some(0))
                .cloned()
        },
    )
    .await;
    app.kill();
    app.resume();
    // It goes on or is undone; without users it may wait for a person, who then decides.
    let outcome = until(
        "the rollout to stand or end",
        Duration::from_secs(60),
        async || {
            let rollout = rows(&app.cli().json(&["rollout", "list", PROJECT]))
                .first()
                .cloned()?;
            let (version, _) = serving(&app, "production")?;
            let url = serving(&app, "production")?.1;
            let answers = reqwest::get(&url).await.ok()?.status().is_success();
            answers.then_some((rollout, version))
        },
    )
    .await;
    assert!(["1.0.0", "1.1.0"].contains(&outcome.1.as_str()), "{outcome:?}");
    if outcome.0["finished_at"].is_null() {
        let id = outcome.0["id"].as_str().unwrap();
        drop(
            app.cli()
                .ok(&["rollout", "abort", PROJECT, id, "--reason", "test"]),
        );
        until("the abort", Duration::from_secs(30), async || {
            rows(&app.cli().json(&["rollout", "list", PROJECT]))
                .first()
                .filter(|r| !r["finished_at"].is_null())
                .cloned()
        })
        .await;
    }
    assert!(app.cli().ok(&["ledger", "verify"]).starts_with("Clean"));
}
