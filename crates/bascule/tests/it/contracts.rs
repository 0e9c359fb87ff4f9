//! What the outside relies on: the ready line, files and their modes, exit codes, refusal of a second
//! process, a graceful end.

use crate::BIN;
use bascule_testkit::{TestApp, until};
use std::{os::unix::fs::PermissionsExt as _, process::Command, time::Duration};

#[tokio::test]
async fn it_says_ready_guards_its_secrets_and_stops_gracefully() {
    let mut app = TestApp::start(BIN);
    assert!(app.url().starts_with("http://127.0.0.1:"));
    for secret in ["admin.token", "admin.password", "instance.key"] {
        let mode = std::fs::metadata(app.data().join(secret))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{secret}");
    }
    for path in ["/healthz", "/readyz"] {
        assert_eq!(
            app.anonymous("GET", path).send().await.unwrap().status(),
            200,
            "{path}"
        );
    }
    let api = app.json("/api/v1/openapi.json").await;
    assert!(api["openapi"].as_str().unwrap().starts_with("3."));
    assert!(api["paths"].as_object().unwrap().len() > 30);

    let second = Command::new(BIN)
        .args(["up", "--listen", "127.0.0.1:0", "--data"])
        .arg(app.data())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(!second.status.success());
    assert!(said.contains("already uses") && said.contains("--data"), "{said}");

    assert_eq!(app.stop(), Some(0), "SIGTERM ends it with 0");
    app.resume();
    assert_eq!(
        app.anonymous("GET", "/healthz").send().await.unwrap().status(),
        200,
        "and it starts again"
    );
}

/// As when the service that takes logs is restarted.
#[tokio::test]
async fn it_stops_in_order_also_when_nobody_reads_its_log() {
    use std::{
        io::{BufRead as _, BufReader},
        process::Stdio,
    };
    let data = tempfile::tempdir().unwrap();
    let mut server = Command::new(BIN)
        .args(["up", "--listen", "127.0.0.1:0", "--data"])
        .arg(data.path().join("data"))
        .env("BASCULE_LOG", "debug")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().starts_with("ready ")));
    drop((lines, server.stderr.take()));
    let pid = server.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .unwrap()
            .success()
    );
    let ended = until("it to stop", Duration::from_secs(45), async || {
        server.try_wait().unwrap()
    })
    .await;
    assert_eq!(ended.code(), Some(0));
}

#[tokio::test]
async fn exit_codes_tell_what_kind_of_failure() {
    let app = TestApp::start(BIN);
    let cli = app.cli();
    assert_eq!(cli.run(&["whoami"]).status.code(), Some(0));
    assert_eq!(cli.refused(&["project", "show", "no-slash"]).0, 2);
    assert_eq!(cli.refused(&["no-such-noun"]).0, 2);
    assert_eq!(cli.refused(&["project", "show", "no/such"]).0, 1);
    let (code, said) = app.cli_as("bsc_wrong").refused(&["whoami"]);
    assert_eq!(code, 3, "{said}");
    let output = Command::new(BIN)
        .args(["whoami"])
        .env("BASCULE_URL", "http://127.0.0.1:1")
        .env("BASCULE_TOKEN", "x")
        .output()
        .unwrap();
    assert_eq!(
        output.status.code(),
        Some(4),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn every_noun_has_help_and_completion_works() {
    let help = Command::new(BIN).arg("--help").output().unwrap();
    let text = String::from_utf8(help.stdout).unwrap();
    for noun in [
        "up",
        "login",
        "group",
        "project",
        "pipeline",
        "job",
        "release",
        "environment",
        "deploy",
        "rollout",
        "incident",
        "insights",
        "ledger",
        "doctor",
    ] {
        assert!(text.contains(noun), "{noun} is missing in --help");
        let output = Command::new(BIN).args([noun, "--help"]).output().unwrap();
        assert!(output.status.success(), "{noun} --help");
    }
    for shell in ["bash", "zsh", "fish"] {
        let output = Command::new(BIN).args(["completion", shell]).output().unwrap();
        assert!(output.status.success() && output.stdout.len() > 1000, "{shell}");
    }
}

#[test]
fn doctor_says_whether_this_machine_is_ready() {
    let output = Command::new(BIN).args(["doctor", "--json"]).output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["ready"], true, "{report}");
    let bare = Command::new(BIN)
        .arg("doctor")
        .env("PATH", "/nonexistent")
        .output()
        .unwrap();
    let said = String::from_utf8(bare.stdout).unwrap();
    assert_eq!(bare.status.code(), Some(1));
    assert!(
        said.contains("MISSING  git") && said.contains("apt-get install git"),
        "{said}"
    );
}

#[tokio::test]
async fn a_changed_byte_in_the_ledger_is_named() {
    let mut app = TestApp::start(BIN);
    let cli = app.cli();
    for group in ["one", "two", "three"] {
        drop(cli.ok(&["group", "create", group]));
    }
    let facts = crate::product::rows(&cli.json(&["ledger", "list", "--kind", "group.created"]));
    let seq = facts
        .iter()
        .find(|f| f["summary"].as_str().unwrap().contains("two"))
        .unwrap()["seq"]
        .as_i64()
        .unwrap();
    assert!(cli.ok(&["ledger", "verify"]).starts_with("Clean"));
    assert_eq!(app.stop(), Some(0));
    let data = app.data().to_str().unwrap().to_owned();
    assert!(
        cli.ok(&["ledger", "verify", "--data", &data])
            .starts_with("Clean"),
        "offline too"
    );
    let database = app.data().join("bascule.db");
    let script = "import sqlite3, sys\ndb = sqlite3.connect(sys.argv[1])\ndb.execute('UPDATE fact SET summary = REPLACE(summary, \"two\", \"tw0\") WHERE seq = ?', (sys.argv[2],))\ndb.commit()";
    let status = Command::new("python3")
        .args(["-c", script])
        .arg(&database)
        .arg(seq.to_string())
        .status()
        .unwrap();
    assert!(status.success());
    let output = cli.run(&["ledger", "verify", "--data", &data]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains(&format!("BROKEN at entry {seq}")), "{said}");
}

#[tokio::test]
async fn a_warm_start_takes_less_than_a_second() {
    // A bound for a debug build on a busy machine; the release build is measured in bench/.
    let mut app = TestApp::start(BIN);
    assert_eq!(app.stop(), Some(0));
    let started = std::time::Instant::now();
    app.resume();
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "{:?}",
        started.elapsed()
    );
}
