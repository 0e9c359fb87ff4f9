//! Talk with the server: what is desired comes down, how things stand goes up. The two use requests of their
//! own, so that news goes up at once while a question for news from the server hangs.

use crate::{Machine, backoff::Backoff};
use bascule_client::{Client, Method, Retry, StatusCode};
use bascule_core::Result;
use bascule_wire::agent::{AgentReport, DesiredState};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::watch;

/// How long the server may keep a question, in seconds. It keeps it so long only while nothing is under way here.
const WAIT: u64 = 60;
/// Time for one call beyond what it may hang.
const CALL: Duration = Duration::from_secs(10);
/// Longest silence between reports of their own; each question carries one too.
const REPORT_EVERY: Duration = Duration::from_secs(300);
/// Changes that come within this time go up together.
const TOGETHER: Duration = Duration::from_millis(20);
/// Shortest time between two questions whose answers brought nothing new.
const BREATH: Duration = Duration::from_millis(500);

/// The pauses while the server is away.
const fn away() -> Backoff {
    Backoff::new(Duration::from_millis(200), Duration::from_secs(5))
}

/// Follows the desired state.
pub(crate) async fn follow(
    client: &Client,
    machine: &Machine,
    desired: &watch::Sender<Option<Arc<DesiredState>>>,
) {
    let (mut revision, mut away, mut was_away) = (None, away(), false);
    loop {
        let asked = Instant::now();
        // The first question is not to hang: what was kept on disk may be of another server's counting.
        let (known, wait) = revision.map_or((-1, 0), |revision| (revision, WAIT));
        match sync(client, machine, known, wait).await {
            Ok(state) => {
                if std::mem::take(&mut was_away) {
                    tracing::info!("the server is back");
                }
                away.reset();
                match state {
                    Some(state) if revision != Some(state.revision) => {
                        revision = Some(state.revision);
                        desired.send_replace(Some(Arc::new(state)));
                    }
                    _ => tokio::time::sleep(BREATH.saturating_sub(asked.elapsed())).await,
                }
            }
            Err(problem) => {
                if !std::mem::replace(&mut was_away, true) {
                    tracing::warn!(%problem, "nothing new from the server; going on with what was desired last");
                }
                tokio::time::sleep(away.pause()).await;
            }
        }
    }
}

/// Reports, at once when something changes and from time to time when nothing does.
pub(crate) async fn report(
    client: &Client,
    machine: &Machine,
    desired: watch::Receiver<Option<Arc<DesiredState>>>,
) {
    let (mut changes, mut away) = (machine.board.changes(), away());
    loop {
        changes.mark_unchanged();
        let known = desired.borrow().as_ref().map_or(-1, |state| state.revision);
        // What is desired is taken from the other request alone, so that no old answer overtakes a new one.
        match sync(client, machine, known, 0).await {
            Ok(_) => {
                machine.heard.send_replace(true);
                away.reset();
            }
            Err(problem) => {
                tracing::debug!(%problem, "the server does not take the report");
                tokio::time::sleep(away.pause()).await;
                continue;
            }
        }
        if let Ok(Ok(())) = tokio::time::timeout(REPORT_EVERY, changes.changed()).await {
            tokio::time::sleep(TOGETHER).await;
        }
    }
}

/// Reports and asks; `None` where there is nothing new.
async fn sync(client: &Client, machine: &Machine, revision: i64, wait: u64) -> Result<Option<DesiredState>> {
    let report = AgentReport {
        version: machine.version.clone(),
        at: machine.clock.now(),
        disk_free_bytes: machine.disk_free(),
        resources: machine.resources(),
        machine: crate::machine::facts(),
        drivers: machine.drivers.clone(),
        instances: machine.board.reports(),
        tasks: machine.board.tasks(),
    };
    let request = client
        .request(Method::POST, "/api/v1/agent/sync")
        .query("revision", &revision.to_string())
        .query("wait", &wait.to_string())
        .query("brief", "true")
        .json(&report)?;
    let answer = request
        .repeatable()
        .retry(Retry::NONE)
        .timeout(Duration::from_secs(wait) + CALL)
        .send()
        .await?;
    if answer.status() == StatusCode::NO_CONTENT {
        return Ok(None);
    }
    answer.json().await.map(Some)
}
