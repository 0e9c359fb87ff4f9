//! Delivering. One process does it at a time; in it each webhook has a task of its own while something is due, so that
//! a slow receiver holds up nobody else.

use super::{Delivery, Hook, OFF_AFTER, PAUSES, guard, seal, sign, store};
use crate::Notices;
use bascule_core::{Actor, Problem, Result, WebhookId};
use bascule_ledger::facts::notices::WebhookChanged;
use bascule_store::Lease;
use std::{
    collections::{HashMap, HashSet},
    error::Error as _,
    sync::{Arc, Once},
    time::{Duration, Instant},
};
use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;

/// Receivers called at once.
const AT_ONCE: usize = 16;
/// Events told to one webhook before others get their turn.
const IN_A_ROW: usize = 20;
const CONNECT: Duration = Duration::from_secs(5);
/// How long a receiver may take for everything.
const WITHIN: Duration = Duration::from_secs(10);
/// How much of an answer is read and kept, in bytes.
const ANSWER: usize = 4 * 1024;
const LOOK_EVERY: Duration = Duration::from_secs(5);
const LEASE: Duration = Duration::from_secs(30);

/// Rustls wants its cryptography named once per process; whoever did it first may keep it.
fn install_crypto() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // An error says that it is named already.
        drop(rustls::crypto::ring::default_provider().install_default());
    });
}

/// A client that calls what may be called, and follows nothing.
fn client(allowed: &guard::Allowed) -> Result<reqwest::Client> {
    install_crypto();
    reqwest::Client::builder()
        .dns_resolver(Arc::new(guard::Guard(Arc::new(allowed.clone()))))
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT)
        .timeout(WITHIN)
        .pool_idle_timeout(Duration::from_secs(30))
        .user_agent(concat!("Bascule/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| {
            tracing::error!(%error, "webhooks cannot be called");
            Problem::internal()
        })
}

/// What came of a try.
struct Outcome {
    code: Option<i64>,
    answer: String,
    error: String,
    took: Duration,
}

impl Outcome {
    fn good(&self) -> bool {
        self.code.is_some_and(|code| (200..300).contains(&code))
    }
}

impl Notices {
    /// Delivers until `stop`.
    pub(crate) async fn run_webhooks(self, stop: CancellationToken) {
        let Ok(client) = client(&self.config().webhooks) else {
            return;
        };
        let inner = &self.0;
        let lease = Lease::new(
            inner.db.clone(),
            inner.clock.clone(),
            "notices.webhooks",
            inner.holder.clone(),
            LEASE,
        );
        let mut busy: HashMap<Id, WebhookId> = HashMap::new();
        let mut tasks = JoinSet::new();
        let mut held: Option<Instant> = None;
        while !stop.is_cancelled() {
            let wait = match self.look(&lease, &mut held, &client, &mut busy, &mut tasks).await {
                Ok(wait) => wait,
                Err(problem) => {
                    tracing::warn!(%problem, "webhooks could not be looked at");
                    LOOK_EVERY
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                Some(ended) = tasks.join_next_with_id(), if !tasks.is_empty() => {
                    let id = match &ended {
                        Ok((id, ())) => *id,
                        Err(error) => error.id(),
                    };
                    busy.remove(&id);
                }
                () = self.0.deliveries.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
        // What is under way is not waited for: it is tried again after the next start.
        tasks.abort_all();
        if held.is_some() {
            drop(lease.release().await);
        }
    }

    /// Takes the lease where something waits, so that an instance without webhooks writes nothing, and begins.
    async fn look(
        &self,
        lease: &Lease,
        held: &mut Option<Instant>,
        client: &reqwest::Client,
        busy: &mut HashMap<Id, WebhookId>,
        tasks: &mut JoinSet<()>,
    ) -> Result<Duration> {
        let due = store::next_due(self.db()).await?;
        if busy.is_empty() && due.is_none_or(|at| at > self.now()) {
            return Ok(due.map_or(LOOK_EVERY, |at| at.since(self.now()).min(LOOK_EVERY)));
        }
        if held.is_none_or(|at| at.elapsed() > LEASE / 3) {
            *held = lease.hold().await?.then(Instant::now);
        }
        match held {
            Some(_) => self.begin_due(client, busy, tasks).await,
            None => Ok(LOOK_EVERY),
        }
    }

    /// Begins with every webhook that is due and not being served; says when to look again.
    async fn begin_due(
        &self,
        client: &reqwest::Client,
        busy: &mut HashMap<Id, WebhookId>,
        tasks: &mut JoinSet<()>,
    ) -> Result<Duration> {
        let now = self.now();
        let served: HashSet<WebhookId> = busy.values().copied().collect();
        for hook in store::due_hooks(self.db(), now, 200).await? {
            if busy.len() >= AT_ONCE {
                return Ok(LOOK_EVERY);
            }
            if served.contains(&hook) {
                continue;
            }
            let (notices, client) = (self.clone(), client.clone());
            let task = tasks.spawn(async move {
                if let Err(problem) = notices.serve_hook(&client, hook).await {
                    tracing::warn!(%problem, webhook = %hook, "deliveries could not be kept");
                    // Not at once again.
                    tokio::time::sleep(LOOK_EVERY).await;
                }
            });
            busy.insert(task.id(), hook);
        }
        let next = store::next_due(self.db()).await?;
        Ok(match next.map(|at| at.since(now)) {
            // Due already: its task runs, and its end wakes this loop.
            Some(Duration::ZERO) | None => LOOK_EVERY,
            Some(wait) => wait.min(LOOK_EVERY),
        })
    }

    /// Tells one webhook what is due, one after the other.
    async fn serve_hook(&self, client: &reqwest::Client, id: WebhookId) -> Result<()> {
        for _ in 0..IN_A_ROW {
            let Some(hook) = store::by_id(self.db(), id).await?.filter(|hook| hook.enabled) else {
                return Ok(());
            };
            let Some(delivery) = store::next_of(self.db(), id, self.now()).await? else {
                return Ok(());
            };
            let outcome = self.call(client, &hook, &delivery).await;
            self.note(&hook, delivery, outcome).await?;
        }
        Ok(())
    }

    /// Tells every webhook what is due, then returns.
    #[cfg(test)]
    pub(crate) async fn deliver_due(&self) {
        let client = client(&self.config().webhooks).unwrap();
        for hook in store::due_hooks(self.db(), self.now(), 200).await.unwrap() {
            self.serve_hook(&client, hook).await.unwrap();
        }
    }

    async fn call(&self, client: &reqwest::Client, hook: &Hook, delivery: &Delivery) -> Outcome {
        let started = Instant::now();
        let failed = |error: String| Outcome {
            code: None,
            answer: String::new(),
            error,
            took: started.elapsed(),
        };
        let Some(url) = url::Url::parse(&hook.url).ok() else {
            return failed("the address cannot be read".to_owned());
        };
        if !self.config().webhooks.allows_literal(&url) {
            return failed(guard::refusal(url.host_str().unwrap_or_default()));
        }
        let Some(secret) = seal::open(self.ledger().key(), hook.id, &hook.sealed) else {
            return failed("its secret was sealed by another instance's key: set a new one".to_owned());
        };
        let (id, at) = (delivery.id.to_string(), self.now().seconds());
        let event = super::Event::parse(&delivery.event);
        let mut request = client
            .post(url)
            .header("content-type", "application/json")
            .header("webhook-id", &id)
            .header("webhook-timestamp", at.to_string())
            .header(
                "webhook-signature",
                sign::signature(&secret, &id, at, &delivery.body),
            )
            .header("x-bascule-event", &delivery.event)
            .header("x-bascule-instance", &self.config().url);
        if let Some(event) = event {
            request = request.header("x-gitlab-event", event.gitlab());
        }
        if let Some(replayed) = delivery.replay_of {
            request = request.header("x-bascule-replay-of", replayed.to_string());
        }
        let mut answer = match request.body(delivery.body.clone()).send().await {
            Ok(answer) => answer,
            Err(error) => return failed(chain(&error)),
        };
        let code = answer.status();
        let mut read = Vec::new();
        let mut error = String::new();
        while read.len() < ANSWER {
            match answer.chunk().await {
                Ok(Some(bytes)) => read.extend_from_slice(&bytes),
                Ok(None) => break,
                Err(cut) => {
                    error = chain(&cut);
                    break;
                }
            }
        }
        read.truncate(ANSWER);
        // No database keeps a NUL.
        let answer = String::from_utf8_lossy(&read).replace('\0', "\u{fffd}");
        if code.is_redirection() {
            error =
                "it answers with another address; redirects are not followed: give that address".to_owned();
        } else if !code.is_success() {
            error = format!("it answers {code}");
        }
        Outcome {
            code: Some(i64::from(code.as_u16())),
            answer,
            // What came after a good status changes nothing.
            error: if code.is_success() { String::new() } else { error },
            took: started.elapsed(),
        }
    }

    /// Keeps what came of a try, and what follows.
    async fn note(&self, hook: &Hook, mut delivery: Delivery, outcome: Outcome) -> Result<()> {
        let now = self.now();
        delivery.tries += 1;
        delivery.tried_at = Some(now);
        delivery.code = outcome.code;
        delivery.duration_ms = i64::try_from(outcome.took.as_millis()).ok();
        delivery.error.clone_from(&outcome.error);
        delivery.answer.clone_from(&outcome.answer);
        let pause = usize::try_from(delivery.tries - 1)
            .ok()
            .and_then(|at| PAUSES.get(at));
        let good = outcome.good();
        match pause {
            _ if good => "delivered".clone_into(&mut delivery.state),
            Some(seconds) => delivery.due_at = now.plus(Duration::from_secs(*seconds)),
            None => "failed".clone_into(&mut delivery.state),
        }
        let since = (!good).then(|| hook.failing_since.unwrap_or(now));
        let gone = outcome.code == Some(410);
        let long = since.is_some_and(|since| now.since(since) >= OFF_AFTER);
        let tx = self.db().begin().await?;
        store::tried(&tx, &delivery).await?;
        if outcome.code.is_none() && delivery.state == "waiting" {
            store::hold(&tx, hook.id, delivery.due_at).await?;
        }
        if since != hook.failing_since {
            store::set_failing(&tx, hook.id, since).await?;
        }
        if gone || long {
            let told = if gone {
                "The receiver answered 410 Gone: it wants no more.".to_owned()
            } else {
                format!("Every try failed for three days, at last: {}.", outcome.error)
            };
            if store::turn_off(&tx, hook.id, &told).await? {
                let fact = WebhookChanged {
                    project: hook.project_id,
                    group: hook.group_id,
                    webhook: hook.id,
                    host: hook.host(),
                    what: "turned_off".to_owned(),
                };
                self.ledger().append(&tx, &Actor::system(), &fact).await?;
            }
        }
        Ok(tx.commit().await?)
    }
}

/// An error with its causes, which say more than it does; without the address, which may hold a secret.
fn chain(error: &reqwest::Error) -> String {
    let mut told = if error.is_timeout() {
        format!("it did not answer within {} s", WITHIN.as_secs())
    } else if error.is_connect() {
        "no connection".to_owned()
    } else {
        "the call failed".to_owned()
    };
    let mut cause = error.source();
    let mut last = String::new();
    while let Some(next) = cause {
        last = next.to_string();
        cause = next.source();
    }
    if !last.is_empty() && !error.is_timeout() {
        told = format!("{told}: {last}");
    }
    told
}
