//! Planning by the command line and by stock git, on both databases.

use crate::BIN;
use bascule_testkit::{Git, TestApp, until};
use serde_json::Value;
use std::time::Duration;

const PROJECT: &str = "demo/plan";

fn titles(board: &Value, column: &str) -> Vec<String> {
    let columns = board["columns"].as_array().unwrap();
    let found = columns.iter().find(|shown| shown["column"] == column).unwrap();
    let issues = found["issues"].as_array().unwrap();
    issues
        .iter()
        .map(|issue| issue["title"].as_str().unwrap().to_owned())
        .collect()
}

async fn through(app: &TestApp) {
    let cli = app.cli();
    drop(cli.ok(&["group", "create", "demo"]));
    drop(cli.ok(&["project", "create", PROJECT]));
    // Every project begins with the five families.
    let labels = cli.ok(&["label", "list", PROJECT]);
    for label in [
        "type::bug",
        "area::backend",
        "business-value::p1",
        "complexity::4",
        "priority::critical",
    ] {
        assert!(labels.contains(label), "{labels}");
    }
    let bug = [
        "issue",
        "create",
        PROJECT,
        "Nobody can sign in",
        "--label",
        "type::bug",
        "--label",
        "priority::high",
    ];
    assert_eq!(cli.json(&bug)["number"], 1);
    drop(cli.ok(&[
        "issue",
        "create",
        PROJECT,
        "Print a list",
        "--description",
        "@admin, see #1",
        "--due",
        "2099-01-01",
    ]));
    drop(cli.ok(&[
        "issue",
        "create",
        PROJECT,
        "A hole",
        "--confidential",
        "--label",
        "priority::critical",
    ]));
    let board = cli.json(&["board", "show", PROJECT]);
    assert_eq!(
        titles(&board, "open"),
        ["A hole", "Nobody can sign in", "Print a list"]
    );

    // What nobody has goes to whoever moves it; one member is there, so one issue may be done.
    let moved = cli.json(&["issue", "move", PROJECT, "1", "doing"]);
    assert_eq!(moved["assignees"][0], "admin");
    drop(cli.ok(&["issue", "assign", PROJECT, "2", "admin"]));
    let (code, said) = cli.refused(&["issue", "move", PROJECT, "2", "doing"]);
    assert!(
        code == 3 && said.contains("1 issue is in Doing already, and 1 member is there"),
        "{code}: {said}"
    );
    drop(cli.ok(&["board", "limit", PROJECT, "warn"]));
    let moved = cli.ok(&["issue", "move", PROJECT, "2", "doing"]);
    assert!(moved.contains("mind: Beyond the limit"), "{moved}");
    drop(cli.ok(&["board", "away", PROJECT, "admin", "--until", "2099-01-01"]));
    let shown = cli.ok(&["board", "show", PROJECT]);
    assert!(
        shown.contains("doing: 2 of 0") && shown.contains("2099-01-01"),
        "{shown}"
    );
    drop(cli.ok(&["board", "back", PROJECT, "admin"]));
    drop(cli.ok(&["issue", "move", PROJECT, "2", "--before", "3"]));
    assert_eq!(
        cli.json(&["issue", "list", "demo", "--state", "all"])["items"][0]["title"],
        "Print a list"
    );

    // What is wrongly called ends with 2, and says what there is.
    for (args, said) in [
        (&["board", "limit", PROJECT, "maybe"][..], "refuse, warn, off"),
        (
            &["issue", "list", PROJECT, "--state", "bogus"],
            "open, closed, all",
        ),
        (
            &["issue", "move", PROJECT, "1", "sideways"],
            "open, todo, doing or done",
        ),
        (
            &["issue", "create", PROJECT, "x", "--due", "tomorrow"],
            "write it as 2026-03-31",
        ),
        (
            &["issue", "create", PROJECT, "x", "--template", "Nope"],
            "The project has none",
        ),
        (&["mr", "merge", "1", "--strategy", "foo"], "fast_forward"),
    ] {
        let (code, text) = cli.refused(args);
        assert!(code == 2 && text.contains(said), "{args:?}: {code}: {text}");
    }
    drop(cli.ok(&["issue", "link", PROJECT, "1", "blocked_by", "2"]));
    let (code, said) = cli.refused(&["issue", "link", PROJECT, "2", "blocked_by", "1"]);
    assert!(
        code == 3 && said.contains("Issue #2 blocks #1 already"),
        "{code}: {said}"
    );

    // A guest sees what is not confidential, opens and comments, and plans nothing.
    let token = cli.json(&[
        "token",
        "create",
        "g",
        "--project",
        PROJECT,
        "--role",
        "guest",
        "--scope",
        "api",
    ]);
    let guest = app.cli_as(token["secret"].as_str().unwrap());
    assert!(
        !guest
            .ok(&["issue", "list", PROJECT, "--state", "all"])
            .contains("A hole")
    );
    let (code, _) = guest.refused(&["issue", "show", PROJECT, "3"]);
    assert_eq!(code, 1);
    assert!(guest.ok(&["whoami"]).contains("token:g"));
    drop(guest.ok(&["issue", "comment", PROJECT, "1", "Here too"]));
    assert_eq!(guest.refused(&["issue", "move", PROJECT, "1", "done"]).0, 3);

    // Templates are files of the project; a commit that reaches the default branch closes what it names, once.
    let git = Git::init();
    git.write(".bascule/issue_templates/Bug.md", "## What happens\n");
    git.write(".gitlab/issue_templates/Bug.md", "theirs");
    git.write(".gitlab/issue_templates/Idea.md", "## What for\n");
    git.write(".bascule/issue_templates/Default.md", "## Why\n");
    git.commit("Begin\n\nCloses #1, and fixes #99");
    git.ok(&["push", "-q", &app.remote(PROJECT, app.token()), "main"]);
    until("issue 1 to be closed", Duration::from_secs(20), async || {
        let issue = cli.json(&["issue", "show", PROJECT, "1"]);
        (issue["state"] == "closed"
            && issue["closed_how"]
                .as_str()
                .is_some_and(|how| how.starts_with("commit ")))
        .then_some(())
    })
    .await;
    let templates = cli.json(&["issue", "templates", PROJECT]);
    assert_eq!(templates["items"].as_array().unwrap().len(), 3);
    let (code, said) = cli.refused(&["issue", "create", PROJECT, "x", "--template", "Nope"]);
    assert!(
        code == 2 && said.contains("`Bug`, `Default`, `Idea`"),
        "{code}: {said}"
    );
    let made = cli.json(&["issue", "create", PROJECT, "From what is taken by itself"]);
    assert_eq!(made["description"], "## Why");
    let made = cli.json(&["issue", "create", PROJECT, "From a template", "--template", "Bug"]);
    assert_eq!(made["description"], "## What happens");
    git.ok(&["checkout", "-q", "-b", "topic"]);
    git.write("a", "b");
    git.commit("Closes #2");
    git.ok(&["push", "-q", &app.remote(PROJECT, app.token()), "topic"]);
    let request = [
        "mr",
        "create",
        "--project",
        PROJECT,
        "--source",
        "topic",
        "--title",
        "Closes #2",
    ];
    drop(cli.ok(&request));
    let request = &cli.json(&["issue", "show", PROJECT, "2"])["merge_requests"];
    assert_eq!(
        (&request[0]["number"], &request[0]["state"]),
        (&1.into(), &"open".into())
    );
    assert!(
        cli.json(&["issue", "show", PROJECT, "1"])["merge_requests"]
            .as_array()
            .unwrap()
            .is_empty()
    );

    // Milestones, lists from and to spreadsheets.
    drop(cli.ok(&["milestone", "create", PROJECT, "1.0", "--due", "2099-01-01"]));
    drop(cli.ok(&[
        "issue",
        "edit",
        PROJECT,
        "1",
        "--milestone",
        "1.0",
        "--add-label",
        "priority::low",
    ]));
    let milestone = cli.json(&["milestone", "show", PROJECT, "1"]);
    assert_eq!(cli.json(&["milestone", "show", PROJECT, "1.0"]), milestone);
    let (_, said) = cli.refused(&["milestone", "show", PROJECT, "2.0"]);
    assert!(said.contains("`1.0`"), "{said}");
    assert_eq!(
        (milestone["total"].as_i64(), milestone["closed"].as_i64()),
        (Some(1), Some(1))
    );
    let csv = cli.ok(&["issue", "export", PROJECT]);
    let file = git.path().join("list.csv");
    std::fs::write(&file, &csv).unwrap();
    let file = file.to_str().unwrap();
    let before = csv.lines().count();
    assert!(
        cli.ok(&["issue", "import", PROJECT, file, "--dry-run"])
            .contains("ROWS")
    );
    assert_eq!(cli.ok(&["issue", "export", PROJECT]).lines().count(), before);
    std::fs::write(file, "title,labels\nx,nope\n").unwrap();
    let wrong = cli.run(&["issue", "import", PROJECT, file]);
    assert_eq!(wrong.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&wrong.stdout).contains("There is no label `nope`"));

    assert_eq!(
        cli.json(&["issue", "show", PROJECT, "2"])["state"],
        "open",
        "another branch closes nothing"
    );
    let board = app.page("/demo/-/board").await;
    board.shows("[data-column=doing] .kanban-card", "demo/plan#2");
    assert!(cli.ok(&["ledger", "verify"]).contains("ok") || cli.run(&["ledger", "verify"]).status.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_is_planned_by_command_line_and_git() {
    through(&TestApp::start(BIN)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_is_planned_on_postgres_too() {
    through(&TestApp::start_on_postgres(BIN)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_between_push_and_closing_loses_nothing() {
    let mut app = TestApp::start(BIN);
    drop(app.cli().ok(&["group", "create", "demo"]));
    drop(app.cli().ok(&["project", "create", PROJECT]));
    for number in 1..=20 {
        drop(
            app.cli()
                .ok(&["issue", "create", PROJECT, &format!("issue {number}")]),
        );
    }
    let git = Git::init();
    for number in 1..=20 {
        git.write("file", &number.to_string());
        git.commit(&format!("Closes #{number}"));
    }
    git.ok(&["push", "-q", &app.remote(PROJECT, app.token()), "main"]);
    app.kill();
    app.resume();
    until("all to be closed", Duration::from_secs(30), async || {
        let open = app.cli().json(&["issue", "list", PROJECT]);
        open["items"].as_array().unwrap().is_empty().then_some(())
    })
    .await;
    let closed = app.cli().json(&["ledger", "list", "--kind", "issue.closed"]);
    let facts = closed["items"]
        .as_array()
        .or_else(|| closed.as_array())
        .map_or(0, Vec::len);
    assert_eq!(facts, 20, "each once: {closed}");
}
