//! Outside partners with the whole product: what they see, and how they are cut off from everything at once.

use crate::BIN;
use bascule_testkit::{Git, TestApp, until};
use serde_json::{Value, json};
use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinHandle,
};

const PASSWORD: &str = "correct horse battery";
/// Runs until it is stopped; the token is told backwards, as it is masked otherwise.
const CI: &str = "work:\n  script:\n    - echo token=$(echo $CI_JOB_TOKEN | rev)\n    - while true; do echo tick; sleep 0.1; done\n";

/// An instance with `demo/web`, which has code, and the partner `supplier`.
struct Case {
    app: TestApp,
    ssh_port: u16,
    folder: tempfile::TempDir,
    cookie: String,
    token: String,
    key: PathBuf,
}

impl Case {
    async fn start(ends_in: Duration) -> Self {
        let ssh_port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let app = TestApp::start_with(BIN, &[("BASCULE_SSH_LISTEN", &format!("127.0.0.1:{ssh_port}"))]);
        drop(app.cli().ok(&["group", "create", "demo"]));
        drop(app.cli().ok(&["project", "create", "demo/web"]));
        let git = Git::init();
        git.write("README.md", "# Hello\n");
        git.write(".gitlab-ci.yml", CI);
        git.commit("Begin");
        let url = app.remote("demo/web", app.token());
        drop(git.ok(&["push", "-q", "-o", "ci.skip", &url, "main"]));
        let cookie = invite(&app, "demo/web", "supplier", ends_in).await;
        let token = token_of(&app, &cookie).await;
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("key");
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(&key)
            .status()
            .unwrap();
        assert!(made.success());
        drop(
            app.cli_as(&token)
                .ok(&["key", "add", &format!("{}.pub", key.display())]),
        );
        Self {
            app,
            ssh_port,
            folder,
            cookie,
            token,
            key,
        }
    }

    fn ssh_options(&self) -> Vec<String> {
        let known = self.folder.path().join("known_hosts");
        [
            "-F",
            "none",
            "-i",
            &self.key.display().to_string(),
            "-o",
            "IdentitiesOnly=yes",
            "-o",
            "BatchMode=yes",
            "-o",
            "StrictHostKeyChecking=accept-new",
            "-o",
            &format!("UserKnownHostsFile={}", known.display()),
        ]
        .map(str::to_owned)
        .to_vec()
    }

    fn over_ssh(&self) -> String {
        format!("core.sshCommand=ssh {}", self.ssh_options().join(" "))
    }

    fn ssh_url(&self) -> String {
        format!("ssh://git@127.0.0.1:{}/demo/web.git", self.ssh_port)
    }

    /// A fetch over SSH that waits for its client.
    fn waiting_fetch(&self) -> Child {
        Command::new("ssh")
            .args(self.ssh_options())
            .args(["-p", &self.ssh_port.to_string(), "git@127.0.0.1"])
            .arg("git-upload-pack '/demo/web.git'")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// A push over HTTP whose pack is on its way, and stays so.
    async fn waiting_push(&self) -> JoinHandle<(Instant, String)> {
        let head = format!(
            "POST /demo/web.git/git-receive-pack HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/x-git-receive-pack-request\r\nTransfer-Encoding: chunked\r\n\
             Expect: 100-continue\r\n\r\n",
            self.token
        );
        hold(self.app.url(), &head, "100 Continue").await
    }

    /// A page that is told of a log's growth.
    async fn open_log(&self, job: i64) -> JoinHandle<(Instant, String)> {
        let head = format!(
            "GET /demo/web/-/jobs/{job}/log/events HTTP/1.1\r\nHost: x\r\nConnection: close\r\nCookie: {}\r\n\r\n",
            self.cookie
        );
        hold(self.app.url(), &head, "tick").await
    }

    async fn status(&self, path: &str, by: (&str, &str)) -> u16 {
        let answer = self.app.anonymous("GET", path).header(by.0, by.1);
        answer.send().await.unwrap().status().as_u16()
    }
}

/// Invites a partner as a developer of a project, and signs in as them: their cookie.
async fn invite(app: &TestApp, project: &str, name: &str, ends_in: Duration) -> String {
    let ends_at = time_after(ends_in);
    let body = json!({
        "username": name, "email": "someone@supplier.test", "password": PASSWORD,
        "role": "developer", "ends_at": ends_at,
    });
    let answer = app
        .request("POST", &format!("/api/v1/projects/{project}/partners"))
        .json(&body)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 201, "{}", answer.text().await.unwrap());
    let answer = app
        .anonymous("POST", "/sign-in")
        .form(&[("username", name), ("password", PASSWORD)])
        .send()
        .await
        .unwrap();
    let cookie = answer.headers()["set-cookie"].to_str().unwrap();
    cookie.split(';').next().unwrap().to_owned()
}

async fn token_of(app: &TestApp, cookie: &str) -> String {
    let answer = app
        .anonymous("POST", "/api/v1/user/tokens")
        .header("cookie", cookie)
        .json(&json!({ "name": "laptop", "scopes": ["api", "write_repository"] }))
        .send()
        .await
        .unwrap();
    let made: Value = answer.json().await.unwrap();
    made["secret"].as_str().unwrap().to_owned()
}

fn time_after(duration: Duration) -> String {
    use bascule_core::Clock as _;
    bascule_core::SystemClock.now().plus(duration).to_string()
}

/// Sends a request, waits until `begun` has come of it, and tells when it ended and all that came.
async fn hold(url: &str, head: &str, begun: &str) -> JoinHandle<(Instant, String)> {
    let mut stream = TcpStream::connect(url.trim_start_matches("http://"))
        .await
        .unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut text = Vec::new();
    let shown = |text: &[u8]| String::from_utf8_lossy(text).into_owned();
    while !shown(&text).contains(begun) {
        let read = stream.read_buf(&mut text).await.unwrap();
        assert!(read > 0, "ended before it began: {}", shown(&text));
    }
    tokio::spawn(async move {
        while stream.read_buf(&mut text).await.is_ok_and(|read| read > 0) {}
        (Instant::now(), String::from_utf8_lossy(&text).into_owned())
    })
}

fn within_a_second(what: &str, from: Instant, to: Instant) {
    let took = to.saturating_duration_since(from);
    assert!(took < Duration::from_secs(1), "{what} took {took:?}");
}

/// The partner's pipeline, once its job runs and has said something: the job.
async fn running_job(case: &Case) -> i64 {
    let path = "/api/v1/projects/demo/web/pipelines";
    let id = until("the pipeline", Duration::from_secs(30), async || {
        let list = case.app.json(path).await;
        let items = list
            .as_array()
            .or_else(|| list.as_object()?.values().find_map(Value::as_array));
        items?.first()?["id"].as_i64()
    })
    .await;
    until("the job to run", Duration::from_secs(60), async || {
        let pipeline = case.app.json(&format!("{path}/{id}")).await;
        let job = &pipeline["jobs"][0];
        (job["status"] == "running").then(|| job["id"].as_i64()).flatten()
    })
    .await
}

#[tokio::test]
async fn a_partner_who_is_cut_off_loses_everything_within_a_second() {
    let case = Case::start(Duration::from_secs(3 * 24 * 3600)).await;
    let (app, cli) = (&case.app, case.app.cli());
    // It works, over HTTP and over SSH.
    let url = app.remote("demo/web", &case.token);
    let git = Git::clone(&url);
    let (with, ssh_url) = (case.over_ssh(), case.ssh_url());
    drop(git.ok(&["-c", &with, "ls-remote", &ssh_url]));
    git.write("more.txt", "more\n");
    git.commit("More");
    let told = git.refused(&["push", "-q", &url, "main"]);
    assert!(told.contains("`main` is protected"), "the same rules: {told}");
    drop(git.ok(&["-c", &with, "push", "-q", &ssh_url, "HEAD:refs/heads/topic"]));
    let bearer = format!("Bearer {}", case.token);
    let api = "/api/v1/projects/demo/web/branches";
    assert_eq!(case.status(api, ("authorization", &bearer)).await, 200);
    assert_eq!(case.status("/demo/web", ("cookie", &case.cookie)).await, 200);

    // Its job runs, a page follows the log, a push and a fetch are on their way.
    let job = running_job(&case).await;
    let log = case.open_log(job).await;
    let push = case.waiting_push().await;
    let mut fetch = case.waiting_fetch();
    let mut first = [0; 4];
    std::io::Read::read_exact(fetch.stdout.as_mut().unwrap(), &mut first).unwrap();
    let log_path = format!("/api/v1/projects/demo/web/jobs/{job}/log");
    let job_token = until("the job's token", Duration::from_secs(10), async || {
        let text = app
            .request("GET", &log_path)
            .send()
            .await
            .ok()?
            .text()
            .await
            .ok()?;
        // The last: the command itself is shown before.
        let told = text.rsplit("token=").next()?;
        let backwards = told.split_whitespace().next().filter(|word| word.len() > 20)?;
        Some(backwards.chars().rev().collect::<String>())
    })
    .await;
    let job_bearer = format!("Bearer {job_token}");
    assert_eq!(case.status(api, ("authorization", &job_bearer)).await, 200);
    // None of it ends by itself, while it is asked about again and again.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert!(!log.is_finished() && !push.is_finished() && fetch.try_wait().unwrap().is_none());

    drop(cli.ok(&["partner", "cut-off", "supplier", "--reason", "a laptop was lost"]));
    let cut = Instant::now();
    let fetched = tokio::task::spawn_blocking(move || {
        drop(fetch.wait());
        Instant::now()
    });
    // What is asked from now on is refused at once.
    assert_eq!(case.status(api, ("authorization", &bearer)).await, 401);
    assert_eq!(case.status(api, ("authorization", &job_bearer)).await, 401);
    let page = app
        .anonymous("GET", "/demo/web")
        .header("cookie", &case.cookie)
        .header("accept", "text/html")
        .send()
        .await
        .unwrap();
    assert!(
        page.headers()["location"]
            .to_str()
            .unwrap()
            .starts_with("/sign-in")
    );
    let told = git.refused(&["ls-remote", &url]);
    assert!(
        told.contains("Authentication failed") || told.contains("revoked"),
        "{told}"
    );
    let told = git.refused(&["-c", &with, "ls-remote", &ssh_url]);
    assert!(told.contains("Permission denied"), "{told}");
    // What was open has ended.
    let (at, _) = log.await.unwrap();
    within_a_second("the event stream", cut, at);
    let (at, said) = push.await.unwrap();
    within_a_second("the push", cut, at);
    assert!(!said.contains("200 OK"), "{said}");
    within_a_second("the fetch over SSH", cut, fetched.await.unwrap());

    // Its job is stopped, and the ledger says why, without an address.
    until("the job's end", Duration::from_secs(10), async || {
        let now = app.json(&format!("/api/v1/projects/demo/web/jobs/{job}")).await;
        (now["status"] == "canceled").then_some(())
    })
    .await;
    let facts = app
        .request("GET", "/api/v1/ledger?kind=user.deactivated")
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(
        facts.contains("a laptop was lost") && !facts.contains("supplier.test"),
        "{facts}"
    );
    let list = cli.json(&["partner", "list"]);
    assert_eq!(list["items"][0]["active"], false, "{list}");
}

#[tokio::test]
async fn the_end_date_does_the_same_by_itself() {
    let case = Case::start(Duration::from_secs(3)).await;
    let list = case.app.cli().json(&["partner", "list"]);
    assert_eq!(list["items"][0]["ends_soon"], true);
    // Everything was slower than three seconds: another end, with time enough for what is to be open then.
    let ends_at = time_after(Duration::from_secs(4));
    let put = case
        .app
        .request("PUT", "/api/v1/partners/supplier/end")
        .json(&json!({ "ends_at": ends_at }));
    let answer = put.send().await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    let until_then = Instant::now() + Duration::from_secs(4);
    if list["items"][0]["active"] == false {
        drop(
            case.app
                .request("POST", "/api/v1/users/supplier/activate")
                .send()
                .await,
        );
    }
    let cookie = {
        let answer = case
            .app
            .anonymous("POST", "/sign-in")
            .form(&[("username", "supplier"), ("password", PASSWORD)])
            .send()
            .await
            .unwrap();
        let cookie = answer.headers()["set-cookie"].to_str().unwrap();
        cookie.split(';').next().unwrap().to_owned()
    };
    let token = token_of(&case.app, &cookie).await;
    let case = Case {
        cookie,
        token,
        ..case
    };
    let push = case.waiting_push().await;
    let bearer = format!("Bearer {}", case.token);
    let api = "/api/v1/projects/demo/web/branches";
    assert_eq!(case.status(api, ("authorization", &bearer)).await, 200);
    let refused = until("the end", Duration::from_secs(10), async || {
        (case.status(api, ("authorization", &bearer)).await == 401).then(Instant::now)
    })
    .await;
    // The server and the test read the same clock, a moment apart.
    let early = Duration::from_millis(100);
    assert!(refused + early >= until_then, "before its end");
    within_a_second("the token", until_then, refused);
    let (at, _) = push.await.unwrap();
    within_a_second("the push", until_then, at);
    until("the fact", Duration::from_secs(5), async || {
        let facts = case.app.json("/api/v1/ledger?kind=user.deactivated").await;
        facts
            .to_string()
            .contains("the end date was reached")
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn another_replica_cuts_off_too() {
    let app = TestApp::start_on_postgres(BIN);
    drop(app.cli().ok(&["group", "create", "demo"]));
    drop(app.cli().ok(&["project", "create", "demo/web"]));
    let git = Git::init();
    git.write(".gitlab-ci.yml", CI);
    git.commit("Begin");
    let cookie = invite(&app, "demo/web", "supplier", Duration::from_secs(24 * 3600)).await;
    let token = token_of(&app, &cookie).await;
    drop(git.ok(&[
        "push",
        "-q",
        &app.remote("demo/web", &token),
        "HEAD:refs/heads/topic",
    ]));
    let job = until("the job to run", Duration::from_secs(60), async || {
        let list = app.json("/api/v1/projects/demo/web/pipelines").await;
        let items = list
            .as_array()
            .or_else(|| list.as_object()?.values().find_map(Value::as_array));
        let id = items?.first()?["id"].as_i64()?;
        let pipeline = app
            .json(&format!("/api/v1/projects/demo/web/pipelines/{id}"))
            .await;
        let job = &pipeline["jobs"][0];
        (job["status"] == "running").then(|| job["id"].as_i64()).flatten()
    })
    .await;
    let other = Replica::of(&app);
    let head =
        format!("GET /demo/web/-/jobs/{job}/log/events HTTP/1.1\r\nHost: x\r\nCookie: {cookie}\r\n\r\n");
    let log = hold(&other.url, &head, "tick").await;
    drop(
        app.cli()
            .ok(&["partner", "cut-off", "supplier", "--reason", "the contract ended"]),
    );
    let cut = Instant::now();
    let (at, _) = log.await.unwrap();
    within_a_second("the stream of the other replica", cut, at);
    let answer = reqwest::Client::new()
        .get(format!("{}/api/v1/user", other.url))
        .bearer_auth(&token)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 401);
}

/// A second server over the same database, with the same keys.
struct Replica {
    child: Child,
    url: String,
    _folder: tempfile::TempDir,
}

impl Replica {
    fn of(app: &TestApp) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let keep = |name: &str| drop(std::fs::copy(app.data().join(name), folder.path().join(name)));
        keep("instance.key");
        let mut child = Command::new(BIN)
            .args(["server", "--listen", "127.0.0.1:0", "--data"])
            .arg::<&Path>(folder.path())
            .args(["--database", app.database_url()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
        while !line.starts_with("ready ") {
            line.clear();
            let read = std::io::BufRead::read_line(&mut out, &mut line).unwrap();
            assert!(read > 0, "the other replica did not start");
        }
        Self {
            child,
            url: line.trim_start_matches("ready ").trim().to_owned(),
            _folder: folder,
        }
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
