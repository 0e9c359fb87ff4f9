//! Agents and edges on machines of their own: enrolled by a code, known by their token, removed at once.

use crate::BIN;
use bascule_testkit::{TestApp, until};
use std::{
    os::unix::fs::PermissionsExt as _,
    process::{Child, Command, Stdio},
    time::Duration,
};

/// A part that runs until it is dropped.
struct Part(Child);

impl Drop for Part {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn part(app: &TestApp, role: &str, data: &std::path::Path, code: Option<&str>) -> Part {
    let mut command = Command::new(BIN);
    command.args([role, "--server", app.url(), "--data"]).arg(data);
    if let Some(code) = code {
        command.args(["--code", code]);
    }
    Part(
        command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    )
}

async fn online(app: &TestApp, kind: &str, name: &str) -> serde_json::Value {
    until("it reports", Duration::from_secs(30), async || {
        let all = app.json("/api/v1/agents").await;
        let found = all
            .as_array()?
            .iter()
            .find(|m| m["name"] == name && m["kind"] == kind)?
            .clone();
        (found["online"] == true).then_some(found)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_enrols_by_a_code_once_and_is_out_when_removed() {
    let app = TestApp::start(BIN);
    let cli = app.cli();
    let data = tempfile::tempdir().unwrap();
    let bare = Command::new(BIN)
        .args(["agent", "--server", app.url(), "--data"])
        .arg(data.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&bare.stderr).into_owned();
    assert!(
        bare.status.code() == Some(2) && said.contains("bascule agents create"),
        "{said}"
    );

    let made = cli.json(&["agents", "create", "site-7"]);
    let code = made["code"].as_str().unwrap();
    let agent = part(&app, "agent", data.path(), Some(code));
    let seen = online(&app, "agent", "site-7").await;
    assert!(
        seen["memory_total_bytes"].as_u64().unwrap() > 0 && seen["disk_total_bytes"].as_u64().unwrap() > 0
    );
    assert!(!seen["machine"]["host_name"].as_str().unwrap().is_empty());
    let token = data.path().join("agent.token");
    assert_eq!(
        std::fs::metadata(&token).unwrap().permissions().mode() & 0o777,
        0o600
    );
    drop(agent);

    // No code from now on; and the code is of no use to another.
    let agent = part(&app, "agent", data.path(), None);
    online(&app, "agent", "site-7").await;
    let other = tempfile::tempdir().unwrap();
    let second = Command::new(BIN)
        .args(["agent", "--server", app.url(), "--code", code, "--data"])
        .arg(other.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(
        second.status.code() == Some(3) && said.contains("used already"),
        "{said}"
    );
    assert!(!other.path().join("agent.token").exists());

    let made = cli.json(&["edges", "create", "front"]);
    let edge_data = tempfile::tempdir().unwrap();
    let edge = part(&app, "edge", edge_data.path(), made["code"].as_str());
    online(&app, "edge", "front").await;
    assert!(cli.ok(&["edges", "list"]).contains("front"));
    drop(edge);

    let page = app.page("/agents").await;
    page.shows("table", "site-7");
    page.shows("form", "Make a code");
    drop(cli.ok(&["agents", "remove", "site-7"]));
    let secret = std::fs::read_to_string(&token).unwrap();
    let answer = app
        .anonymous("POST", "/api/v1/agent/sync?revision=-1&wait=0")
        .bearer_auth(&secret)
        .json(&serde_json::json!({ "version": "x", "at": "2026-01-01T00:00:00Z", "disk_free_bytes": 1, "instances": [] }))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 401);
    assert!(!cli.ok(&["agents", "list"]).contains("site-7"));
    drop(agent);
    let facts = cli.ok(&["ledger", "list", "--kind", "agent.removed"]);
    assert!(facts.contains("removed the agent site-7"), "{facts}");
}
