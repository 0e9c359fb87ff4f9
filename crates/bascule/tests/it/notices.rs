//! To-dos, mail and webhooks on the real platform: a mention becomes a to-do and a mail, a push a signed call; neither
//! is lost by kill -9.

use crate::BIN;
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
};
use bascule_notices::webhook::signature;
use bascule_testkit::{Git, Smtp, TestApp, until};
use serde_json::{Value, json};
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

const PROJECT: &str = "demo/told";
const SOON: Duration = Duration::from_secs(30);
/// After a crash on PostgreSQL another replica is waited for until its lease has run out.
const LATER: Duration = Duration::from_secs(120);

fn create(app: &TestApp) -> Git {
    let cli = app.cli();
    drop(cli.ok(&["group", "create", "demo"]));
    drop(cli.ok(&["project", "create", PROJECT]));
    let git = Git::init();
    git.ok(&["remote", "add", "origin", &app.remote(PROJECT, app.token())]);
    git.write("README.md", "# told\n");
    git.commit("Begin");
    git.ok(&["push", "-q", "origin", "main"]);
    git
}

/// An account that is a developer of the group, signed in.
struct Someone {
    cookie: String,
}

impl Someone {
    async fn join(app: &TestApp, name: &str) -> Self {
        let cli = app.cli();
        let new = json!({
            "username": name, "display_name": name, "email": format!("{name}@example.org"), "role": "member",
        });
        let created = app
            .request("POST", "/api/v1/users")
            .json(&new)
            .send()
            .await
            .unwrap();
        let created: Value = created.json().await.unwrap();
        drop(cli.ok(&["group", "set-member", "demo", name, "--role", "developer"]));
        let password = created["initial_password"].as_str().unwrap();
        let answer = app
            .anonymous("POST", "/sign-in")
            .header("origin", app.url())
            .form(&[("username", name), ("password", password), ("next", "/")])
            .send()
            .await
            .unwrap();
        let cookie = answer.headers()["set-cookie"].to_str().unwrap();
        Self {
            cookie: cookie.split(';').next().unwrap().to_owned(),
        }
    }

    fn request(&self, app: &TestApp, method: &str, path: &str) -> reqwest::RequestBuilder {
        app.anonymous(method, path)
            .header("cookie", &self.cookie)
            .header("origin", app.url())
    }

    async fn todos(&self, app: &TestApp) -> Value {
        let answer = self.request(app, "GET", "/api/v1/todos").send().await.unwrap();
        answer.json().await.unwrap()
    }

    async fn page(&self, app: &TestApp, path: &str) -> String {
        let answer = self.request(app, "GET", path).header("accept", "text/html");
        let answer = answer.send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        answer.text().await.unwrap()
    }
}

fn mail_variables(smtp: SocketAddr) -> [(&'static str, String); 4] {
    [
        ("BASCULE_MAIL_HOST", smtp.ip().to_string()),
        ("BASCULE_MAIL_PORT", smtp.port().to_string()),
        ("BASCULE_MAIL_TLS", "none".to_owned()),
        ("BASCULE_MAIL_FROM", "Forge <forge@example.org>".to_owned()),
    ]
}

async fn mention(mut app: TestApp, smtp: Smtp) {
    let git = create(&app);
    let cli = app.cli();
    let sre = Someone::join(&app, "sre").await;
    drop(cli.ok(&[
        "issue",
        "create",
        PROJECT,
        "Nobody can sign in",
        "--label",
        "type::bug",
    ]));
    drop(cli.ok(&[
        "issue",
        "comment",
        PROJECT,
        "1",
        "@sre, can you look? See `auth.rs`.",
    ]));
    let todos = until("the to-do", SOON, async || {
        let todos = sre.todos(&app).await;
        (todos["waiting"] == 1).then_some(todos)
    })
    .await;
    let todo = &todos["items"][0];
    assert_eq!(
        (todo["action"].as_str(), todo["title"].as_str()),
        (Some("mentioned"), Some("Nobody can sign in"))
    );
    assert_eq!(todo["href"], format!("/{PROJECT}/-/issues/1#comment-1"));
    let mail = until("the mail", SOON, async || smtp.received().pop()).await;
    assert_eq!(mail.to, ["sre@example.org"]);
    assert!(
        mail.body().contains("@sre, can you look? See `auth.rs`."),
        "{}",
        mail.body()
    );
    assert!(
        mail.body()
            .contains(&format!("{}/{PROJECT}/-/issues/1#comment-1", app.url())),
        "{}",
        mail.body()
    );
    assert_eq!(mail.header("X-Bascule-Reason"), "mentioned");

    // The page shows it, every page's top bar the number; done by hand it is gone.
    let page = sre.page(&app, "/-/todos").await;
    assert!(
        page.contains("Nobody can sign in") && page.contains("mentioned you"),
        "{page}"
    );
    assert!(sre.page(&app, "/explore").await.contains("data-todo-count>1<"));
    let id = todo["id"].as_str().unwrap();
    let done = sre
        .request(&app, "POST", &format!("/-/todos/{id}/done"))
        .form(&[("action", "")]);
    assert_eq!(done.send().await.unwrap().status(), 303);
    assert!(!sre.page(&app, "/explore").await.contains("data-todo-count"));

    // A request by them, reviewed by the administrator's command line; the other way round it waits there.
    git.ok(&["switch", "-q", "-c", "topic"]);
    git.write("a", "b");
    git.commit("Add a");
    git.ok(&["push", "-q", "origin", "topic"]);
    let new = json!({ "source_branch": "topic", "title": "Add a", "description": "@admin, please" });
    let path = format!("/api/v1/projects/{PROJECT}/merge-requests");
    let made = sre.request(&app, "POST", &path).json(&new).send().await.unwrap();
    assert!(made.status().is_success(), "{}", made.text().await.unwrap());
    let listed = until("the mention in the request", SOON, async || {
        let listed = cli.json(&["todo", "list"]);
        (listed["waiting"] == 1).then_some(listed)
    })
    .await;
    assert_eq!(listed["items"][0]["target_type"], "merge_request");
    assert!(cli.ok(&["todo", "list"]).contains("mentioned"));
    drop(cli.ok(&[
        "mr",
        "review",
        "1",
        "--project",
        PROJECT,
        "--request-changes",
        "--comment",
        "Why?",
    ]));
    until("the review to answer the mention", SOON, async || {
        (cli.json(&["todo", "list"])["waiting"] == 0).then_some(())
    })
    .await;
    let reviewed = until("the review at its author", SOON, async || {
        let todos = sre.todos(&app).await;
        (todos["waiting"] == 1).then_some(todos)
    })
    .await;
    assert_eq!(reviewed["items"][0]["action"], "review_submitted");

    // Whoever owns a file is asked for their approval by that alone, and no more once it is given.
    git.ok(&["switch", "-q", "main"]);
    git.write("CODEOWNERS", "* @sre\n");
    git.commit("Owners");
    git.ok(&["push", "-q", "origin", "main"]);
    git.ok(&["switch", "-q", "-c", "owned"]);
    git.write("b", "c");
    git.commit("Add b");
    git.ok(&["push", "-q", "origin", "owned"]);
    drop(cli.ok(&["mr", "create", "--project", PROJECT, "--source", "owned"]));
    until("the owner's to-do", SOON, async || {
        let todos = sre.todos(&app).await;
        (todos["waiting"] == 2 && todos["items"][0]["action"] == "approval_required").then_some(())
    })
    .await;
    let review = json!({ "verdict": "approve", "sha": git.ok(&["rev-parse", "HEAD"]).trim() });
    let reviewed = sre
        .request(&app, "POST", &format!("{path}/2/reviews"))
        .json(&review);
    let reviewed = reviewed.send().await.unwrap();
    assert!(
        reviewed.status().is_success(),
        "{}",
        reviewed.text().await.unwrap()
    );
    until("the approval to end it", SOON, async || {
        (sre.todos(&app).await["waiting"] == 1).then_some(())
    })
    .await;

    // Killed right after the comment was taken, with the mail server away: all comes after both are back.
    let address = smtp.address();
    until("the review's mail", SOON, async || {
        let reasons = smtp.received().into_iter();
        let mut reasons = reasons.map(|mail| mail.header("X-Bascule-Reason"));
        reasons.any(|reason| reason == "review_submitted").then_some(())
    })
    .await;
    drop(smtp);
    drop(cli.ok(&["issue", "comment", PROJECT, "1", "@sre, still slow"]));
    app.kill();
    app.resume();
    until("the to-do after the kill", SOON, async || {
        (sre.todos(&app).await["waiting"] == 2).then_some(())
    })
    .await;
    let smtp = Smtp::start_on(address);
    let mail = until("the mail after the kill", LATER, async || {
        smtp.received()
            .into_iter()
            .find(|mail| mail.body().contains("still slow"))
    })
    .await;
    assert_eq!(mail.to, ["sre@example.org"]);
    assert_eq!(mail.header("References"), mail.header("In-Reply-To"));
    let admin = app.page("/admin/mail").await;
    admin.shows("[data-mail=sent]", "");

    // A choice for nothing is kept.
    let choice = json!({ "issues": "none", "merge_requests": "none", "pipelines": "none" });
    let chosen = sre
        .request(&app, "PUT", "/api/v1/user/mail")
        .json(&choice)
        .send()
        .await
        .unwrap();
    assert_eq!(chosen.json::<Value>().await.unwrap(), choice);
    drop(cli.ok(&["todo", "done", "--all"]));
    assert!(sre.page(&app, "/settings/mail").await.contains("sre@example.org"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mention_becomes_a_todo_and_a_mail_also_through_a_kill() {
    let smtp = Smtp::start();
    let variables = mail_variables(smtp.address());
    let variables: Vec<(&str, &str)> = variables.iter().map(|(k, v)| (*k, v.as_str())).collect();
    mention(TestApp::start_with(BIN, &variables), smtp).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mention_becomes_a_todo_and_a_mail_on_postgres_too() {
    let smtp = Smtp::start();
    let variables = mail_variables(smtp.address());
    let variables: Vec<(&str, &str)> = variables.iter().map(|(k, v)| (*k, v.as_str())).collect();
    mention(TestApp::start_on_postgres_with(BIN, &variables), smtp).await;
}

/// A receiver of webhooks that keeps what it gets.
#[derive(Clone, Default)]
struct Receiver(Arc<Mutex<Vec<(HeaderMap, String)>>>);

impl Receiver {
    async fn serve(&self, address: SocketAddr) -> (SocketAddr, tokio::task::JoinHandle<()>) {
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = Router::new().fallback(take).with_state(self.clone());
        let serving = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        (address, serving)
    }

    fn got(&self) -> Vec<(HeaderMap, String)> {
        self.0.lock().unwrap().clone()
    }
}

async fn take(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let text = String::from_utf8(body.to_vec()).unwrap();
    receiver.0.lock().unwrap().push((headers, text));
    StatusCode::NO_CONTENT
}

fn verify((headers, body): &(HeaderMap, String), secret: &str) -> Value {
    let header = |name: &str| headers[name].to_str().unwrap();
    let time = header("webhook-timestamp").parse().unwrap();
    assert_eq!(
        header("webhook-signature"),
        signature(secret, header("webhook-id"), time, body)
    );
    serde_json::from_str(body).unwrap()
}

async fn push(mut app: TestApp) {
    let git = create(&app);
    let cli = app.cli();
    let receiver = Receiver::default();
    let (address, serving) = receiver.serve("127.0.0.1:0".parse().unwrap()).await;
    let url = format!("http://{address}/hook");
    let hook = cli.json(&[
        "webhook", "create", PROJECT, &url, "--event", "push", "--event", "tag_push",
    ]);
    let (id, secret) = (hook["id"].as_str().unwrap(), hook["secret"].as_str().unwrap());
    drop(cli.ok(&["webhook", "test", PROJECT, id]));
    let test = until("the test", SOON, async || receiver.got().pop()).await;
    assert_eq!(verify(&test, secret)["test"], true);
    git.write("a", "1");
    git.commit("One\n\nWith a reason.");
    git.ok(&["push", "-q", "origin", "main"]);
    let got = until("the push", SOON, async || receiver.got().get(1).cloned()).await;
    let body = verify(&got, secret);
    assert_eq!(
        (body["object_kind"].as_str(), body["ref"].as_str()),
        (Some("push"), Some("refs/heads/main"))
    );
    assert_eq!(body["commits"][0]["title"], "One");
    assert_eq!(got.0["x-gitlab-event"], "Push Hook");

    // The receiver is away, and the server is killed meanwhile: what was pushed arrives once both are back, in order.
    serving.abort();
    drop(serving.await);
    for number in ["2", "3"] {
        git.write("a", number);
        git.commit(number);
        git.ok(&["push", "-q", "origin", "main"]);
    }
    git.ok(&["tag", "v1"]);
    git.ok(&["push", "-q", "origin", "v1"]);
    app.kill();
    app.resume();
    until("a try in vain", LATER, async || {
        let found = cli.json(&["webhook", "deliveries", PROJECT, id, "--state", "waiting"]);
        let items = found["items"].as_array().unwrap();
        (items.len() == 3 && items.iter().any(|one| one["tries"].as_i64() > Some(0))).then_some(())
    })
    .await;
    let (_, _serving) = receiver.serve(address).await;
    until("all of it", LATER, async || {
        (receiver.got().len() >= 5).then_some(())
    })
    .await;
    let kinds: Vec<String> = receiver.got()[2..5]
        .iter()
        .map(|got| {
            let body = verify(got, secret);
            body["commits"][0]["title"].as_str().unwrap_or("tag").to_owned()
        })
        .collect();
    assert_eq!(kinds, ["2", "3", "tag"]);

    // Replayed by its number, as something new.
    let found = cli.json(&["webhook", "deliveries", PROJECT, id]);
    let last = found["items"][0]["id"].as_str().unwrap();
    drop(cli.ok(&["webhook", "replay", PROJECT, id, last]));
    let again = until("the replay", SOON, async || receiver.got().get(5).cloned()).await;
    assert_eq!(verify(&again, secret)["object_kind"], "tag_push");
    assert_eq!(again.0["x-bascule-replay-of"], last);
    let page = app.page(&format!("/{PROJECT}/-/settings/webhooks/{id}")).await;
    page.shows("[data-delivery=delivered] .badge", "204");
    assert!(!page.source().contains(secret), "the secret is shown once");

    // Without leave nothing inside is called; with none at all a token may not either.
    let refused = cli.refused(&[
        "webhook",
        "create",
        PROJECT,
        "http://10.0.0.1/",
        "--event",
        "push",
    ]);
    assert!(
        refused.0 == 3 && refused.1.contains("webhook_allow"),
        "{refused:?}"
    );
    let group = cli.json(&["webhook", "create", "demo", &url, "--event", "issue"]);
    drop(cli.ok(&["issue", "create", PROJECT, "Told to the group's"]));
    let got = until("the group's", SOON, async || receiver.got().get(6).cloned()).await;
    let body = verify(&got, group["secret"].as_str().unwrap());
    assert_eq!(body["object_attributes"]["title"], "Told to the group's");
    drop(cli.ok(&["webhook", "delete", "demo", group["id"].as_str().unwrap()]));
    assert_eq!(cli.json(&["webhook", "list", "demo"])["items"], json!([]));
}

const ALLOW: (&str, &str) = ("BASCULE_WEBHOOK_ALLOW", "[\"127.0.0.0/8\"]");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_is_told_signed_also_after_receiver_and_server_were_away() {
    push(TestApp::start_with(BIN, &[ALLOW])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_is_told_on_postgres_too() {
    push(TestApp::start_on_postgres_with(BIN, &[ALLOW])).await;
}
