//! Webhooks: what arrives, what does not, what is tried again.

use super::World;
use crate::webhook::{Owner, signature};
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
};
use bascule_core::WebhookId;
use bascule_ledger::facts::{
    forge::{BranchUpdated, CommitStamp},
    planning::{IssueCommented, IssueOpened},
};
use bascule_wire::notices::{HookDelivery, NewWebhook, Webhook, WebhookChange};
use serde_json::Value;
use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// A receiver that keeps what it gets, and answers as it is told; with 0 never.
#[derive(Clone, Default)]
struct Receiver {
    got: Arc<Mutex<Vec<(HeaderMap, String)>>>,
    answers: Arc<AtomicU16>,
}

impl Receiver {
    async fn start(answers: u16) -> (Self, SocketAddr) {
        let receiver = Self::default();
        receiver.answers.store(answers, Ordering::SeqCst);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = Router::new().fallback(take).with_state(receiver.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        (receiver, address)
    }

    fn got(&self) -> Vec<(HeaderMap, String)> {
        self.got.lock().unwrap().clone()
    }

    fn answer(&self, status: u16) {
        self.answers.store(status, Ordering::SeqCst);
    }

    /// The number of the issue in each body, in the order in which they came.
    fn numbers(&self) -> Vec<i64> {
        let number = |body: &String| {
            let body: Value = serde_json::from_str(body).unwrap();
            body["object_attributes"]["iid"].as_i64().unwrap_or(0)
        };
        self.got().iter().map(|(_, body)| number(body)).collect()
    }
}

async fn take(
    State(receiver): State<Receiver>,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, HeaderMap, String) {
    let text = String::from_utf8(body.to_vec()).unwrap();
    receiver.got.lock().unwrap().push((headers, text));
    let status = receiver.answers.load(Ordering::SeqCst);
    if status == 0 {
        std::future::pending::<()>().await;
    }
    let mut headers = HeaderMap::new();
    if status == 302 {
        headers.insert("location", "http://127.0.0.1:1/".parse().unwrap());
    }
    (StatusCode::from_u16(status).unwrap(), headers, "x".repeat(10_000))
}

impl World {
    fn owner(&self) -> Owner {
        Owner::Project(self.fakes.project)
    }

    async fn hook(&self, url: &str, events: &[&str]) -> Webhook {
        let new = NewWebhook {
            url: url.to_owned(),
            events: events.iter().map(|&event| event.to_owned()).collect(),
            secret: None,
        };
        let me = self.fakes.caller("maintainer");
        self.notices
            .create_webhook(&me, self.owner(), &new)
            .await
            .unwrap()
    }

    async fn changes(&self, hook: WebhookId, change: WebhookChange) {
        let me = self.fakes.caller("maintainer");
        let changed = self.notices.change_webhook(&me, self.owner(), hook, &change);
        changed.await.unwrap();
    }

    async fn deliveries(&self, hook: WebhookId) -> Vec<HookDelivery> {
        let found = self.notices.hook_deliveries(self.owner(), hook, None, None, None);
        found.await.unwrap().items
    }

    async fn opens(&self, number: i64) {
        let issue = self.issue(number, false);
        let fact = IssueOpened {
            project: issue.project,
            issue: issue.id,
            number,
            confidential: false,
            assignees: Vec::new(),
            labels: Vec::new(),
            mentions: Vec::new(),
            at: self.notices.now(),
        };
        self.fact("developer", &fact).await;
    }
}

const LOOPBACK: &[&str] = &["127.0.0.0/8"];

#[tokio::test]
async fn a_push_arrives_signed_and_shaped_as_gitlabs_and_is_replayed() {
    let world = World::with(None, LOOPBACK).await;
    let (receiver, address) = Receiver::start(200).await;
    let hook = world.hook(&format!("http://{address}/hook"), &["push"]).await;
    let secret = hook.secret.clone().unwrap();
    let pushed = BranchUpdated {
        project: world.fakes.project,
        branch: "main".to_owned(),
        before: None,
        after: Some("b".repeat(40)),
        default: true,
        forced: false,
        commits: ["b", "a"]
            .map(|c| CommitStamp {
                sha: c.repeat(40),
                at: world.notices.now(),
                author: String::new(),
            })
            .to_vec(),
        commit_count: 2,
        at: world.notices.now(),
        ci_skip: false,
        ci_options: None,
    };
    world.fact("developer", &pushed).await;
    world.opens(1).await;
    world.notices.deliver_due().await;
    world.all_again().await;
    world.notices.deliver_due().await;
    let got = receiver.got();
    assert_eq!(
        got.len(),
        1,
        "what it did not ask for, and what comes again, it is not told"
    );
    let (headers, text) = &got[0];
    let header = |name: &str| headers[name].to_str().unwrap();
    let time: i64 = header("webhook-timestamp").parse().unwrap();
    assert_eq!(time, world.notices.now().seconds());
    assert_eq!(
        header("webhook-signature"),
        signature(&secret, header("webhook-id"), time, text)
    );
    assert_eq!(
        (header("x-bascule-event"), header("x-gitlab-event")),
        ("push", "Push Hook")
    );
    let body: Value = serde_json::from_str(text).unwrap();
    assert_eq!(body["object_kind"], "push");
    assert_eq!(body["ref"], "refs/heads/main");
    assert_eq!(body["before"], "0".repeat(40));
    assert_eq!(body["user_username"], "developer");
    assert_eq!(body["project"]["path_with_namespace"], "ward/app");
    assert_eq!(body["commits"][0]["id"], "a".repeat(40), "oldest first");
    assert_eq!(body["total_commits_count"], 2);

    let sent = &world.deliveries(hook.id).await[0];
    assert_eq!(
        (sent.state.as_str(), sent.code, sent.tries),
        ("delivered", Some(200), 1)
    );
    assert_eq!(sent.answer.len(), 4096, "only the beginning is kept");
    let again = world
        .notices
        .replay(world.owner(), hook.id, sent.id)
        .await
        .unwrap();
    assert_eq!(again.replay_of, Some(sent.id));
    world.notices.deliver_due().await;
    let got = receiver.got();
    assert_eq!(got[1].1, got[0].1);
    assert_ne!(got[1].0["webhook-id"], got[0].0["webhook-id"]);
    assert_eq!(got[1].0["x-bascule-replay-of"], sent.id.to_string().as_str());
    // The secret stands nowhere in the clear, and is told once.
    assert_eq!(
        world
            .notices
            .webhook(world.owner(), hook.id)
            .await
            .unwrap()
            .secret,
        None
    );
    let kept = format!(
        "SELECT COUNT(*) AS n FROM webhook WHERE sealed LIKE '%{}%'",
        &secret[6..20]
    );
    assert_eq!(world.count(&kept).await, 0);
    let facts = "SELECT COUNT(*) AS n FROM fact WHERE kind = 'webhook.changed' AND body LIKE '%/hook%'";
    assert_eq!(world.count(facts).await, 0, "a fact holds no address");
}

#[tokio::test]
async fn what_fails_is_tried_again_in_order_and_a_dead_receiver_is_turned_off() {
    let world = World::with(None, LOOPBACK).await;
    let (receiver, address) = Receiver::start(500).await;
    let hook = world.hook(&format!("http://{address}/"), &["issue"]).await;
    world.opens(1).await;
    world.opens(2).await;
    world.notices.deliver_due().await;
    assert_eq!(receiver.numbers(), [1, 2]);
    let first = world.deliveries(hook.id).await.pop().unwrap();
    assert_eq!((first.state.as_str(), first.code), ("waiting", Some(500)));
    assert!(
        first.error.contains("500") && first.next_try_at.is_some(),
        "{first:?}"
    );
    world.notices.deliver_due().await;
    assert_eq!(receiver.got().len(), 2, "not before its time");
    world.clock.advance(Duration::from_secs(6));
    receiver.answer(204);
    world.notices.deliver_due().await;
    assert_eq!(receiver.numbers(), [1, 2, 1, 2]);
    assert!(
        world
            .deliveries(hook.id)
            .await
            .iter()
            .all(|d| d.state == "delivered")
    );
    assert_eq!(
        world
            .notices
            .webhook(world.owner(), hook.id)
            .await
            .unwrap()
            .failing_since,
        None
    );

    // Nobody listens there at all: everything waits with the first, so that the order stays.
    let me = world.fakes.caller("maintainer");
    let nowhere = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dead = nowhere.local_addr().unwrap();
    drop(nowhere);
    let to = |url: String| WebhookChange {
        url: Some(url),
        ..WebhookChange::default()
    };
    world.changes(hook.id, to(format!("http://{dead}/"))).await;
    for number in 3..=5 {
        world.opens(number).await;
    }
    world.notices.deliver_due().await;
    let tries: Vec<i64> = world
        .deliveries(hook.id)
        .await
        .iter()
        .take(3)
        .map(|d| d.tries)
        .collect();
    assert_eq!(tries, [0, 0, 1], "the others wait");
    world.changes(hook.id, to(format!("http://{address}/"))).await;
    world.notices.deliver_due().await;
    assert_eq!(receiver.numbers(), [1, 2, 1, 2, 3, 4, 5]);

    // Three days of failing end it; turned on, it gets what waits.
    receiver.answer(503);
    world.opens(6).await;
    for _ in 0..80 {
        world.notices.deliver_due().await;
        world.clock.advance(Duration::from_secs(3600));
    }
    world.opens(7).await;
    world.notices.deliver_due().await;
    let off = world.notices.webhook(world.owner(), hook.id).await.unwrap();
    assert!(!off.enabled && off.told.contains("three days"), "{off:?}");
    assert_eq!(
        world
            .count("SELECT COUNT(*) AS n FROM fact WHERE body LIKE '%turned_off%'")
            .await,
        1
    );
    let refused = world
        .notices
        .test_webhook(&me, world.owner(), hook.id)
        .await
        .unwrap_err();
    assert_eq!((refused.status, refused.code.as_str()), (409, "webhook_off"));
    receiver.answer(200);
    let on = WebhookChange {
        enabled: Some(true),
        ..WebhookChange::default()
    };
    world.changes(hook.id, on).await;
    world.notices.deliver_due().await;
    assert_eq!(receiver.numbers().last(), Some(&7));
}

#[tokio::test]
async fn what_is_inside_is_not_called_by_any_name() {
    let world = World::new().await;
    let (receiver, address) = Receiver::start(200).await;
    let me = world.fakes.caller("maintainer");
    let port = address.port();
    for url in [
        format!("http://127.0.0.1:{port}/"),
        format!("http://2130706433:{port}/"),
        format!("http://[::ffff:127.0.0.1]:{port}/"),
        "http://169.254.169.254/latest/meta-data".to_owned(),
        "ftp://example.org/".to_owned(),
        "file:///etc/passwd".to_owned(),
        "not an address".to_owned(),
    ] {
        let new = NewWebhook {
            url: url.clone(),
            events: vec!["push".to_owned()],
            secret: None,
        };
        let refused = world
            .notices
            .create_webhook(&me, world.owner(), &new)
            .await
            .unwrap_err();
        assert_eq!((refused.status, refused.code.as_str()), (422, "bad_url"), "{url}");
    }
    // A name that leads inside is found out when it is resolved.
    let hook = world.hook(&format!("http://localhost:{port}/"), &["issue"]).await;
    world.opens(1).await;
    world.notices.deliver_due().await;
    assert_eq!(receiver.got().len(), 0);
    let told = &world.deliveries(hook.id).await[0].error;
    assert!(told.contains("localhost is no public address"), "{told}");

    // A redirect is not followed, wherever it leads.
    let world = World::with(None, LOOPBACK).await;
    receiver.answer(302);
    let hook = world.hook(&format!("http://{address}/"), &["issue"]).await;
    world.opens(1).await;
    world.notices.deliver_due().await;
    let told = &world.deliveries(hook.id).await[0];
    assert!(
        told.code == Some(302) && told.error.contains("redirects are not followed"),
        "{told:?}"
    );
}

#[tokio::test]
async fn confidential_issues_are_told_only_to_who_asked_for_them() {
    let world = World::with(None, LOOPBACK).await;
    let (receiver, address) = Receiver::start(200).await;
    let hook = world
        .hook(&format!("http://{address}/"), &["issue", "note"])
        .await;
    let issue = world.issue(8, true);
    world
        .fakes
        .things()
        .comments
        .insert("1".to_owned(), "The hole is in the parser.".to_owned());
    let said = IssueCommented {
        project: issue.project,
        issue: issue.id,
        number: 8,
        comment: 1,
        mentions: Vec::new(),
    };
    world.fact("developer", &said).await;
    world.notices.deliver_due().await;
    assert_eq!(receiver.got().len(), 0);
    let me = world.fakes.caller("maintainer");
    let change = WebhookChange {
        events: Some(vec!["confidential_issue".to_owned()]),
        ..WebhookChange::default()
    };
    world
        .notices
        .change_webhook(&me, world.owner(), hook.id, &change)
        .await
        .unwrap();
    world.fact("developer", &said).await;
    world.notices.deliver_due().await;
    let body: Value = serde_json::from_str(&receiver.got()[0].1).unwrap();
    assert_eq!(body["event_type"], "confidential_note");
    assert_eq!(body["object_attributes"]["note"], "The hole is in the parser.");
}

#[tokio::test]
async fn a_slow_receiver_holds_up_nobody_else() {
    let world = World::with(None, LOOPBACK).await;
    let (slow, slow_at) = Receiver::start(0).await;
    let (quick, quick_at) = Receiver::start(200).await;
    world.hook(&format!("http://{slow_at}/"), &["issue"]).await;
    world.hook(&format!("http://{quick_at}/"), &["issue"]).await;
    let stop = CancellationToken::new();
    let running = tokio::spawn(world.notices.clone().run_webhooks(stop.clone()));
    world.opens(1).await;
    world.opens(2).await;
    let waiting = "SELECT COUNT(*) AS n FROM webhook_delivery WHERE state = 'waiting'";
    bascule_testkit::until("both at the quick one", Duration::from_secs(8), async || {
        let kept = world.count(waiting).await == 2;
        (kept && quick.numbers() == [1, 2] && slow.numbers() == [1]).then_some(())
    })
    .await;
    stop.cancel();
    running.await.unwrap();
    // What was cut off is tried again by whoever comes next.
    assert_eq!(world.count(waiting).await, 2);
}
