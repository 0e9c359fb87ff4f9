//! A merge request's whole life by the command line alone.

use crate::BIN;
use bascule_testkit::{Git, TestApp};
use serde_json::json;

const PROJECT: &str = "demo/lines";

#[tokio::test]
async fn a_request_is_changed_discussed_merged_and_taken_back_by_the_command_line() {
    let app = TestApp::start(BIN);
    let cli = app.cli();
    drop(cli.ok(&["group", "create", "demo"]));
    drop(cli.ok(&["project", "create", PROJECT]));
    let git = Git::init();
    git.ok(&["remote", "add", "origin", &app.remote(PROJECT, app.token())]);
    git.write("README.md", "one\ntwo\nthree\n");
    git.commit("Begin");
    git.ok(&["push", "-q", "origin", "main"]);
    git.ok(&["switch", "-q", "-c", "topic"]);
    git.write("README.md", "one\n2\nthree\n");
    git.commit("Count");
    git.ok(&["push", "-q", "origin", "topic", "main:release/1"]);
    let mr = |words: &[&str]| cli.json(&[&["mr"], words, &["--project", PROJECT]].concat());

    let settings = mr(&[
        "settings",
        "--set",
        "resolve_threads=true",
        "--set",
        "squash_message=%{title}",
    ]);
    assert_eq!(settings["resolve_threads"], true, "{settings}");
    assert_eq!(settings["squash_message"], "%{title}", "{settings}");
    let (code, said) = cli.refused(&["mr", "settings", "--project", PROJECT, "--set", "queues=true"]);
    assert!(code == 2 && said.contains("queue_parallel"), "{said}");

    assert_eq!(mr(&["create", "--source", "topic", "--draft"])["draft"], true);
    let edited = mr(&["edit", "1", "--ready", "--title", "Count in digits"]);
    assert_eq!(edited["draft"], false, "{edited}");
    assert_eq!(edited["title"], "Count in digits", "{edited}");
    assert_eq!(cli.refused(&["mr", "edit", "1", "--project", PROJECT]).0, 2);

    let path = format!("/api/v1/projects/{PROJECT}/merge-requests/1/threads");
    let position = json!({ "path": "README.md", "start": 2, "end": 2 });
    let thread = json!({ "body": "So:\n\n```suggestion\n22\n```", "position": position });
    let made = app.request("POST", &path).json(&thread).send().await.unwrap();
    assert!(made.status().is_success(), "{}", made.text().await.unwrap());
    let open = mr(&["threads", "1"]);
    let thread = open["threads"][0]["id"].as_str().unwrap().to_owned();
    let comment = open["threads"][0]["comments"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let shown = cli.ok(&["mr", "threads", "1", "--project", PROJECT]);
    assert!(shown.contains(&thread), "{shown}");
    let (code, said) = cli.refused(&["mr", "merge", "1", "--project", PROJECT]);
    assert!(code == 3 && said.contains("resolved"), "{said}");

    let commit = mr(&["apply", "1", &comment, "--message", "Count twice"])["commit"]
        .as_str()
        .unwrap()
        .to_owned();
    git.ok(&["fetch", "-q", "origin", "topic"]);
    assert_eq!(git.ok(&["rev-parse", "FETCH_HEAD"]).trim(), commit);
    assert_eq!(git.ok(&["show", "FETCH_HEAD:README.md"]), "one\n22\nthree\n");
    let replied = mr(&["reply", "1", &thread, "--body", "Done."]);
    assert_eq!(replied["comments"][1]["body"], "Done.", "{replied}");
    assert!(!mr(&["resolve", "1", &thread])["resolved_by"].is_null());
    assert!(mr(&["resolve", "1", &thread, "--undo"])["resolved_by"].is_null());
    drop(mr(&["resolve", "1", &thread]));

    assert_eq!(mr(&["close", "1"])["state"], "closed");
    assert_eq!(mr(&["reopen", "1"])["state"], "open");
    assert_eq!(mr(&["merge", "1"])["state"], "merged");
    let revert = mr(&["revert", "1"]);
    assert_eq!(revert["target_branch"], "main", "{revert}");
    let picked = mr(&["cherry-pick", "1", "--into", "release/1"]);
    assert_eq!(picked["target_branch"], "release/1", "{picked}");
    assert_eq!(picked["state"], "open", "{picked}");
}

/// Runs until it is stopped, so that what waits for it waits.
const ENDLESS: &str = "
wait:
  script: [ 'sleep 600' ]
  rules:
    - if: $CI_PIPELINE_SOURCE == \"merge_request_event\"
";

#[tokio::test]
async fn the_command_line_says_what_becomes_of_a_request_and_prints_patches_that_apply() {
    let app = TestApp::start(BIN);
    let cli = app.cli();
    drop(cli.ok(&["group", "create", "demo"]));
    drop(cli.ok(&["project", "create", PROJECT]));
    let git = Git::init();
    git.ok(&["remote", "add", "origin", &app.remote(PROJECT, app.token())]);
    git.write(".gitlab-ci.yml", ENDLESS);
    git.write("CODEOWNERS", "^[Docs] @admin\n*.md\n");
    git.write("README.md", "one\n");
    git.commit("Begin");
    git.ok(&["push", "-q", "origin", "main"]);
    git.ok(&["switch", "-q", "-c", "topic"]);
    git.write("README.md", "one\r\n\u{1b}[31mtwo");
    git.write("blank.txt", " \n\t\n");
    git.commit("Change");
    git.ok(&["push", "-q", "origin", "topic"]);
    let here = ["--project", PROJECT];
    let mr = |words: &[&str]| cli.ok(&[&["mr"], words, &here[..]].concat());
    let made = mr(&["create", "--source", "topic"]);
    assert!(made.contains("FROM") && made.contains("topic"), "{made}");

    let patch = cli.run(&["mr", "diff", "1", "--project", PROJECT]).stdout;
    git.ok(&["switch", "-q", "main"]);
    let file = git.path().join(".git/topic.patch");
    std::fs::write(&file, patch).unwrap();
    let file = file.to_string_lossy().into_owned();
    git.ok(&["apply", "--index", &file]);
    git.ok(&["diff", "--cached", "--exit-code", "topic"]);

    let approvals = mr(&["approvals", "1"]);
    assert!(approvals.contains("Docs: *.md (optional)"), "{approvals}");

    drop(mr(&["settings", "--set", "resolve_threads=true"]));
    let path = format!("/api/v1/projects/{PROJECT}/merge-requests/1/threads");
    let thread = json!({ "body": "Why?" });
    let made = app.request("POST", &path).json(&thread).send().await.unwrap();
    assert!(made.status().is_success(), "{}", made.text().await.unwrap());
    let wished = mr(&["merge", "1", "--when-checks-pass"]);
    assert!(wished.contains("It will merge when its checks pass."), "{wished}");
    drop(mr(&[
        "settings",
        "--set",
        "resolve_threads=false",
        "--set",
        "queue=true",
    ]));
    let queued = mr(&["merge", "1"]);
    let place = "Number 1 in the merge queue of `main`.";
    assert!(queued.contains(place), "{queued}");
    assert!(mr(&["show", "1"]).contains(place));
    let json = cli.json(&["mr", "show", "1", "--project", PROJECT]);
    assert_eq!(
        json["queue"],
        json!({ "number": 1, "target_branch": "main" }),
        "{json}"
    );
    let left = mr(&["queue", "--leave", "1"]);
    assert!(left.contains("!1 left the merge queue."), "{left}");

    // A fork's branch is named with the fork.
    let fork = ["project", "fork", PROJECT, "--group", "demo", "--name", "copy"];
    drop(cli.ok(&fork));
    let opened = mr(&[
        "create",
        "--from",
        "demo/copy",
        "--source",
        "topic",
        "--target",
        "main",
    ]);
    assert!(opened.contains("demo/copy:topic"), "{opened}");
    assert!(mr(&["list"]).contains("demo/copy:topic"));
}
