//! One-off tasks by the command line: run where the product runs, approved where the site asks for it, recorded,
//! streamed, their exit code handed through; whatever is killed meanwhile, never run twice.

use crate::{
    BIN,
    fleet::{self, Fleet, PROJECT, Part, SITE, Swept, Version, facts, serves},
};
use bascule_testkit::{TestApp, until};
use std::{
    io::Read as _,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

fn spawn(app: &TestApp, args: &[&str]) -> std::process::Child {
    Command::new(BIN)
        .args(args)
        .env("BASCULE_URL", app.url())
        .env("BASCULE_TOKEN", app.token())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The newest task's identifier.
fn newest(app: &TestApp) -> serde_json::Value {
    let all = app.cli().json(&["task", "list", PROJECT]);
    all.as_array().unwrap()[0].clone()
}

/// A site with an agent of its own in which 1.0.0 serves.
async fn site(app: &TestApp, data: &Path, driver: &str, more: &str) -> Part {
    let git = fleet::create(app);
    let code = fleet::code(app, "agents", SITE);
    let agent = Part::spawn(&[], app.url(), "agent", data, Some(&code));
    let declared = format!("agent: {SITE}\ndriver: {driver}\nvariables: {{ WARD: north }}\n{more}");
    Fleet::create(app).declare(SITE, &declared);
    let version = Version {
        image: driver == "podman",
        ..Version::new("1.0.0")
    };
    version.release(app, &git).await;
    agent
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_is_asked_for_run_streamed_and_recorded_and_its_exit_code_is_the_commands() {
    let app = TestApp::start(BIN);
    let data = tempfile::tempdir().unwrap();
    let _agent = site(&app, &data.path().join("agent"), "process", "").await;
    serves(&app, SITE, "1.0.0").await;
    let script = "ls src; echo ward $WARD; exit 7";
    let run = [
        "task", "run", "--in", SITE, PROJECT, "--reason", "to see", "--", "sh", "-c", script,
    ];
    let output = app.cli().run(&run);
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "server.py\nward north\n");
    let shown = newest(&app);
    assert_eq!(
        (shown["status"].as_str(), shown["exit_code"].as_i64()),
        (Some("failed"), Some(7))
    );
    let asked = facts(&app, "task.requested");
    assert!(asked[0].contains("in site-7 (1.0.0): to see"), "{asked:?}");
    assert_eq!(
        facts(&app, "task.finished"),
        ["task in site-7 failed, exit code 7"]
    );

    // Who may deploy to staging alone runs nothing.
    let developer = app.cli().json(&[
        "token",
        "create",
        "dev",
        "--project",
        PROJECT,
        "--role",
        "developer",
        "--scope",
        "api",
    ]);
    let developer = app.cli_as(developer["secret"].as_str().unwrap());
    let (code, said) = developer.refused(&["task", "run", "--in", SITE, PROJECT, "--", "id"]);
    assert!(
        code == 3 && said.contains("deploy to production"),
        "{code}: {said}"
    );

    // The hub is killed while it runs: the command line waits, the output is whole.
    let mut app = app;
    let script = "echo begins; sleep 4; echo ends; exit 3";
    let mut child = spawn(
        &app,
        &["task", "run", "--in", SITE, PROJECT, "--", "sh", "-c", script],
    );
    let mut begins = [0; 7];
    child.stdout.as_mut().unwrap().read_exact(&mut begins).unwrap();
    assert_eq!(&begins, b"begins\n");
    app.kill();
    app.resume();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "ends\n");
    assert_eq!(facts(&app, "task.started").len(), 2);

    // Cancelled.
    let child = spawn(
        &app,
        &["task", "run", "--in", SITE, PROJECT, "--", "sleep", "600"],
    );
    let id = until("the task to run", Duration::from_secs(30), async || {
        let task = newest(&app);
        (task["status"] == "running").then(|| task["id"].as_str().unwrap().to_owned())
    })
    .await;
    drop(app.cli().ok(&["task", "cancel", PROJECT, &id]));
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.code() == Some(1) && said.contains("It was cancelled."),
        "{said}"
    );
    assert!(app.cli().ok(&["ledger", "verify"]).starts_with("Clean"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_site_that_asks_for_approval_gets_it_before_the_task_runs() {
    let app = TestApp::start(BIN);
    let data = tempfile::tempdir().unwrap();
    drop(app.cli().ok(&["group", "create", "security"]));
    let _agent = site(
        &app,
        &data.path().join("agent"),
        "process",
        "approvals: [security]\n",
    )
    .await;
    let approve = ["approve", PROJECT, "1.0.0", "--as", "security", "--in", SITE];
    drop(app.cli().ok(&approve));
    serves(&app, SITE, "1.0.0").await;
    // Asked for in the project's own name, so that the administrator is somebody else.
    let maintainer = app.cli().json(&[
        "token",
        "create",
        "ops",
        "--project",
        PROJECT,
        "--role",
        "maintainer",
        "--scope",
        "api",
    ]);
    let maintainer = app.cli_as(maintainer["secret"].as_str().unwrap());
    let run = [
        "task", "run", "--json", "--detach", "--in", SITE, PROJECT, "--", "echo", "done",
    ];
    let asked: serde_json::Value = serde_json::from_str(&maintainer.ok(&run)).unwrap();
    let id = asked["id"].as_str().unwrap();
    assert_eq!(asked["status"], "waiting");
    let (code, said) = maintainer.refused(&["task", "approve", PROJECT, id, "--as", "security"]);
    assert!(code == 3, "{said}");
    drop(
        app.cli()
            .ok(&["task", "approve", PROJECT, id, "--as", "security"]),
    );
    let output = app.cli().ok(&["task", "output", PROJECT, id, "--follow"]);
    assert_eq!(output, "done\n");
    assert_eq!(
        facts(&app, "task.approved"),
        ["approved a task in site-7 for security"]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_in_a_container_outlives_its_agent_and_is_run_once() {
    let app = TestApp::start(BIN);
    let data = tempfile::tempdir().unwrap();
    let folder = data.path().join("agent");
    let _swept = Swept(&folder);
    let mut agent = site(&app, &folder, "podman", "").await;
    serves(&app, SITE, "1.0.0").await;
    let script = "echo begins in $WARD; sleep 6; echo ends; exit 4";
    let mut child = spawn(
        &app,
        &["task", "run", "--in", SITE, PROJECT, "--", "sh", "-c", script],
    );
    let mut begins = [0; 16];
    child.stdout.as_mut().unwrap().read_exact(&mut begins).unwrap();
    assert_eq!(&begins, b"begins in north\n");
    agent.kill();
    let mut agent = Part::spawn(&[], app.url(), "agent", &folder, None);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "ends\n");
    assert_eq!(
        facts(&app, "task.finished"),
        ["task in site-7 failed, exit code 4"]
    );
    agent.stop();
}
