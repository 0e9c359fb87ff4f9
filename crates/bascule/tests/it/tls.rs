//! Agents and edges that call by TLS, each with a certificate of its own: who gets in, who does not, and why.

use crate::BIN;
use bascule_testkit::{TestApp, until};
use serde_json::{Value, json};
use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

const DOOR: (&str, &str) = ("BASCULE_AGENT_LISTEN", "127.0.0.1:0");

/// A part that runs until it is dropped.
struct Part(Child);

impl Drop for Part {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn run(args: &[&str], data: &Path) -> Output {
    Command::new(BIN)
        .args(args)
        .arg("--data")
        .arg(data)
        .env_remove("BASCULE_SERVER")
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
}

fn spawn(role: &str, data: &Path) -> Part {
    let mut command = Command::new(BIN);
    command
        .args([role, "--data"])
        .arg(data)
        .env_remove("BASCULE_SERVER");
    let quiet = command.stdout(Stdio::null()).stderr(Stdio::null());
    Part(quiet.spawn().unwrap())
}

/// A machine that is enrolled, and what it holds.
struct Machine {
    data: tempfile::TempDir,
    kind: &'static str,
}

impl Machine {
    fn enrolled(app: &TestApp, name: &str) -> Self {
        let made = app.cli().json(&["agents", "create", name]);
        let (code, server) = (made["code"].as_str().unwrap(), made["server"].as_str().unwrap());
        let data = tempfile::tempdir().unwrap();
        let output = run(&["agent", "enrol", code, "--server", server], data.path());
        let text = said(&output);
        let authority = code.split_once('.').unwrap().1;
        assert!(
            output.status.success() && text.contains(&format!("sha256:{authority}")),
            "{text}"
        );
        Self { data, kind: "agent" }
    }

    fn identity(&self) -> Value {
        let file = self.data.path().join(format!("{}.identity", self.kind));
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
    }

    fn token(&self) -> String {
        self.identity()["token"].as_str().unwrap().to_owned()
    }

    /// A copy of its certificate and key, as a thief would have it.
    fn papers(&self, folder: &Path) -> Papers {
        let identity = self.identity();
        let path = |name: &str| {
            let path = folder.join(format!("{}-{name}.pem", uuid(&identity)));
            std::fs::write(&path, identity[name].as_str().unwrap()).unwrap();
            path
        };
        Papers {
            server: identity["server"].as_str().unwrap().to_owned(),
            authority: path("authority"),
            certificate: path("certificate"),
            key: path("key"),
        }
    }
}

fn uuid(identity: &Value) -> String {
    let certificate = identity["certificate"].as_str().unwrap();
    bascule_core::Digest::of(certificate.as_bytes()).hex()[..12].to_owned()
}

struct Papers {
    server: String,
    authority: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
}

impl Papers {
    /// Calls with a token and, where `shown`, the certificate: status and problem's code; status 0 where no
    /// connection came to be.
    fn call(&self, path: &str, token: &str, shown: bool) -> (u16, String) {
        let mut command = Command::new("curl");
        command.args([
            "-sS",
            "-w",
            "\n%{http_code}",
            "--noproxy",
            "*",
            "--tlsv1.3",
            "--cacert",
        ]);
        command.arg(&self.authority);
        if shown {
            command
                .arg("--cert")
                .arg(&self.certificate)
                .arg("--key")
                .arg(&self.key);
        }
        command.args([
            "-H",
            &format!("Authorization: Bearer {token}"),
            "-H",
            "accept: application/json",
        ]);
        let output = command.arg(format!("{}{path}", self.server)).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (body, status) = text.rsplit_once('\n').unwrap_or(("", "0"));
        let status = status.parse().unwrap_or(0);
        let problem: Value = serde_json::from_str(body).unwrap_or_default();
        let code = problem["code"].as_str().unwrap_or(body).to_owned();
        if status == 0 {
            return (0, String::from_utf8_lossy(&output.stderr).into_owned());
        }
        (status, code)
    }
}

async fn online(app: &TestApp, kind: &str, name: &str) {
    until("it reports", Duration::from_secs(30), async || {
        let all = app.json("/api/v1/agents").await;
        let rows = all.as_array()?.clone();
        let found = rows
            .into_iter()
            .find(|m| m["name"] == name && m["kind"] == kind)?;
        (found["online"] == true).then_some(())
    })
    .await;
}

const SELF: &str = "/api/v1/agent/self";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_counts_only_with_its_own_certificate_and_only_while_the_agent_is_enrolled() {
    let app = TestApp::start_with(BIN, &[DOOR]);
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (
        Machine::enrolled(&app, "site-1"),
        Machine::enrolled(&app, "site-2"),
    );
    let papers = one.papers(folder.path());
    let (token, others) = (one.token(), other.token());

    // The agent itself needs nothing but its data directory from now on.
    let checked = run(&["agent", "check"], one.data.path());
    assert!(
        checked.status.success() && said(&checked).contains("site-1 with its certificate"),
        "{}",
        said(&checked)
    );
    let agent = spawn("agent", one.data.path());
    online(&app, "agent", "site-1").await;
    drop(agent);
    assert_eq!(papers.call(SELF, &token, true).0, 200);

    // A token that was read elsewhere is of no use: without the certificate, with another's, by plain HTTP.
    assert_eq!(
        papers.call(SELF, &token, false),
        (401, "certificate_missing".into())
    );
    assert_eq!(
        papers.call(SELF, &others, true),
        (403, "certificate_of_other".into())
    );
    let plain = app
        .anonymous("GET", SELF)
        .bearer_auth(&token)
        .send()
        .await
        .unwrap();
    assert_eq!(plain.status(), 403);
    assert_eq!(plain.json::<Value>().await.unwrap()["code"], "certificate_needed");

    // Nothing but what agents and edges call is served there, whoever asks.
    for path in ["/healthz", "/sign-in", "/api/v1/projects", "/metrics", "/nowhere"] {
        assert_eq!(papers.call(path, app.token(), true).0, 404, "{path}");
    }

    // Enrolled anew: what the machine before holds is void, however they are put together.
    let again = Machine::enrolled(&app, "site-1");
    assert_eq!(papers.call(SELF, &token, true), (401, "agent_unknown".into()));
    assert_eq!(
        papers.call(SELF, &again.token(), true),
        (403, "certificate_void".into())
    );
    let new = again.papers(folder.path());
    assert_eq!(new.call(SELF, &again.token(), true).0, 200);

    // Removed: out with the next call, although the certificate is good for a month.
    drop(app.cli().ok(&["agents", "remove", "site-1"]));
    assert_eq!(
        new.call(SELF, &again.token(), true),
        (401, "agent_unknown".into())
    );
    assert_eq!(
        new.call(SELF, &other.token(), true),
        (403, "certificate_void".into())
    );
    let checked = run(&["agent", "check"], again.data.path());
    assert!(
        !checked.status.success() && said(&checked).contains("Enrol the agent again"),
        "{}",
        said(&checked)
    );
    let facts = app.cli().ok(&["ledger", "list", "--kind", "agent.certified"]);
    assert!(
        facts.contains("issued a certificate to the agent site-1"),
        "{facts}"
    );
    let key = app.data().join("agents-ca.pem");
    assert_eq!(
        std::fs::metadata(key).unwrap().permissions().mode() & 0o777,
        0o600
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_connection_is_sure_already_and_another_authority_is_nobody() {
    let (app, foreign) = (
        TestApp::start_with(BIN, &[DOOR]),
        TestApp::start_with(BIN, &[DOOR]),
    );
    let made = app.cli().json(&["agents", "create", "site-1"]);
    let (code, server) = (made["code"].as_str().unwrap(), made["server"].as_str().unwrap());
    let elsewhere = foreign.cli().json(&["agents", "create", "site-9"]);
    let data = tempfile::tempdir().unwrap();

    // Whoever stands in between shows an authority of its own: the code is not even sent.
    let other = elsewhere["server"].as_str().unwrap();
    let output = run(&["agent", "enrol", code, "--server", other], data.path());
    let text = said(&output);
    assert!(
        output.status.code() == Some(4) && text.contains("does not show the authority"),
        "{text}"
    );
    // Plain HTTP is refused before anything is sent, save on loopback.
    let output = run(
        &["agent", "enrol", code, "--server", "http://agents.example.org"],
        data.path(),
    );
    assert!(output.status.code() == Some(3) && said(&output).contains("begins with https"));
    assert!(!data.path().join("agent.identity").exists());

    // The code is good still. A certificate of another authority is none.
    let output = run(&["agent", "enrol", code, "--server", server], data.path());
    assert!(output.status.success(), "{}", said(&output));
    let one = Machine { data, kind: "agent" };
    let stranger = Machine::enrolled(&foreign, "site-9");
    let folder = tempfile::tempdir().unwrap();
    let (papers, strange) = (one.papers(folder.path()), stranger.papers(folder.path()));
    let mixed = Papers {
        certificate: strange.certificate.clone(),
        key: strange.key.clone(),
        ..papers
    };
    let (status, why) = mixed.call(SELF, &one.token(), true);
    assert!(status == 0 && !why.is_empty(), "{status} {why}");
    // And an agent does not speak to a server of another authority.
    let mut identity = one.identity();
    identity["authority"] = stranger.identity()["authority"].clone();
    std::fs::write(one.data.path().join("agent.identity"), identity.to_string()).unwrap();
    let checked = run(&["agent", "check"], one.data.path());
    assert_eq!(checked.status.code(), Some(4), "{}", said(&checked));

    // Without a request for a certificate nobody enrols there.
    let asked = json!({ "code": "benr-1", "kind": "agent" }).to_string();
    let output = Command::new("curl")
        .args(["-sS", "--noproxy", "*", "--cacert"])
        .arg(&mixed.authority)
        .args(["-H", "content-type: application/json", "-d", &asked])
        .arg(format!("{server}/api/v1/agent/enrol"))
        .output()
        .unwrap();
    assert!(said(&output).contains("csr_missing"), "{}", said(&output));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_renewed_in_time_and_an_old_one_is_void() {
    let app = TestApp::start_with(BIN, &[DOOR, ("BASCULE_AGENT_CERTIFICATE_SECONDS", "6")]);
    let folder = tempfile::tempdir().unwrap();
    let machine = Machine::enrolled(&app, "site-1");
    let agent = spawn("agent", machine.data.path());
    online(&app, "agent", "site-1").await;
    let first = machine.papers(folder.path());
    assert_eq!(first.call(SELF, &machine.token(), true).0, 200);

    // The next one is shown, and voids the one before although that is not too old yet, or by then is.
    until(
        "the first certificate to be void",
        Duration::from_secs(20),
        async || {
            let (status, _) = first.call(SELF, &machine.token(), true);
            (status != 200).then_some(())
        },
    )
    .await;
    let second = machine.papers(folder.path());
    assert_ne!(first.certificate, second.certificate);
    until("a third", Duration::from_secs(20), async || {
        (machine.papers(folder.path()).certificate != second.certificate).then_some(())
    })
    .await;
    online(&app, "agent", "site-1").await;
    let facts = app.cli().ok(&["ledger", "list", "--kind", "agent.certified"]);
    assert!(
        facts.contains("renewed the certificate of the agent site-1"),
        "{facts}"
    );

    // Nobody renews it any more: it is refused when connections are agreed on, and the agent says so.
    drop(agent);
    let last = machine.papers(folder.path());
    let why = until("it to be too old", Duration::from_secs(20), async || {
        let (status, why) = last.call(SELF, &machine.token(), true);
        (status == 0).then_some(why)
    })
    .await;
    assert!(why.contains("expired"), "{why}");
    let checked = run(&["agent", "check"], machine.data.path());
    let text = said(&checked);
    assert!(
        checked.status.code() == Some(4) && text.contains("CertificateExpired"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_has_a_certificate_too() {
    let app = TestApp::start_with(BIN, &[DOOR]);
    let made = app.cli().json(&["edges", "create", "front"]);
    let (code, server) = (made["code"].as_str().unwrap(), made["server"].as_str().unwrap());
    let data = tempfile::tempdir().unwrap();
    let mut command = Command::new(BIN);
    command.args(["edge", "--server", server, "--code", code, "--data"]);
    let quiet = command
        .arg(data.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let edge = Part(quiet.spawn().unwrap());
    online(&app, "edge", "front").await;
    let machine = Machine { data, kind: "edge" };
    let config = "/api/v1/edge/config?revision=0&wait=0";
    let folder = tempfile::tempdir().unwrap();
    let papers = machine.papers(folder.path());
    assert_eq!(papers.call(config, &machine.token(), true).0, 200);
    assert_eq!(papers.call(config, &machine.token(), false).0, 401);
    drop(app.cli().ok(&["edges", "remove", "front"]));
    assert_eq!(papers.call(config, &machine.token(), true).0, 401);
    drop(edge);
}
