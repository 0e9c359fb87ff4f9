//! Talk with the server. The edge calls; while the server is away it goes on with what it knows.

use crate::{Handle, outbox::Outbox};
use bascule_client::{Client, Method, Retry};
use bascule_core::Result;
use bascule_wire::edge::{EdgeConfig, ListenerReport, Slice};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::watch;

/// How long the server may keep a question about the configuration, in seconds.
const WAIT: u64 = 20;
/// Time for one call beyond what it may hang.
const CALL: Duration = Duration::from_secs(10);
/// Shortest time between two questions whose answers brought nothing new.
const BREATH: Duration = Duration::from_millis(500);
/// Pauses while the server is away.
const AWAY: Retry = Retry {
    attempts: 1,
    first: Duration::from_millis(200),
    most: Duration::from_secs(5),
};
/// How often the ports are told again though nothing changed, for a server that lost them.
const RETELL: Duration = Duration::from_secs(60);

/// Follows the configuration.
pub(crate) async fn follow(client: &Client, handle: &Handle) {
    let (mut revision, mut failures) = (None, 0);
    loop {
        let asked = Instant::now();
        match config(client, revision).await {
            Ok(config) => {
                if failures > 0 {
                    tracing::info!("the server is back");
                }
                failures = 0;
                if revision == Some(config.revision) {
                    tokio::time::sleep(BREATH.saturating_sub(asked.elapsed())).await;
                    continue;
                }
                revision = Some(config.revision);
                handle.apply(config).await;
            }
            Err(problem) => {
                if failures == 0 {
                    tracing::warn!(%problem, "no new routes from the server; going on with the last");
                }
                tokio::time::sleep(AWAY.pause(failures)).await;
                failures = failures.saturating_add(1);
            }
        }
    }
}

async fn config(client: &Client, revision: Option<i64>) -> Result<EdgeConfig> {
    // The first question is not to hang, whatever the revision.
    let (known, wait) = revision.map_or((-1, 0), |revision| (revision, WAIT));
    let request = client
        .request(Method::GET, "/api/v1/edge/config")
        .query("revision", &known.to_string())
        .query("wait", &wait.to_string());
    request
        .timeout(Duration::from_secs(wait) + CALL)
        .retry(Retry::NONE)
        .send()
        .await?
        .json()
        .await
}

/// Tells the server which port each route got, whenever that changes.
pub(crate) async fn tell_listeners(client: &Client, mut reports: watch::Receiver<Vec<ListenerReport>>) {
    // Nothing is said before the first port is open: an empty list would make the server forget which port
    // each route had, and an edge that starts again asks for those.
    if reports.wait_for(|reports| !reports.is_empty()).await.is_err() {
        return;
    }
    let mut failures = 0;
    loop {
        let present = reports.borrow_and_update().clone();
        let pause = match post(client, "/api/v1/edge/listeners", &present).await {
            Ok(()) => {
                failures = 0;
                RETELL
            }
            Err(problem) => {
                tracing::debug!(%problem, "the server does not take the ports");
                failures += 1;
                AWAY.pause(failures)
            }
        };
        if let Ok(Err(_)) = tokio::time::timeout(pause, reports.changed()).await {
            return;
        }
    }
}

/// Sends what was counted.
pub(crate) async fn send_counts(client: &Client, outbox: &Arc<Outbox>) {
    let mut failures = 0;
    loop {
        let batch = outbox.batch().await;
        match send(client, &batch).await {
            Ok(()) => {
                failures = 0;
                outbox.sent(&batch);
            }
            Err(problem) if refused(problem.status) => {
                // Sending the same again would be refused again, and hold up all that follows.
                tracing::error!(%problem, "the server refuses counts; they are dropped");
                outbox.sent(&batch);
            }
            Err(problem) => {
                tracing::debug!(%problem, "the server does not take counts");
                tokio::time::sleep(AWAY.pause(failures)).await;
                failures = failures.saturating_add(1);
            }
        }
    }
}

/// Sends one batch of counts.
pub(crate) async fn send(client: &Client, batch: &[Slice]) -> Result<()> {
    post(client, "/api/v1/edge/counts", batch).await
}

async fn post<T: serde::Serialize + ?Sized>(client: &Client, path: &str, body: &T) -> Result<()> {
    // Repeating does no harm: a slice replaces itself, and so does a list of ports.
    let request = client
        .request(Method::POST, path)
        .json(body)?
        .repeatable()
        .retry(Retry::NONE);
    request.timeout(CALL).send().await.map(drop)
}

/// Whether a status says that the request itself is wrong, not the moment or the token.
const fn refused(status: u16) -> bool {
    matches!(status, 400 | 413 | 422)
}
