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
const WAIT: u64 = 240;
/// The least that is asked for, where something between here and the server ends questions that hang.
const LEAST_WAIT: u64 = 20;
/// Time for one call beyond what it may hang.
const CALL: Duration = Duration::from_secs(10);
/// Longest silence between reports of their own; each question carries one too.
const REPORT_EVERY: Duration = Duration::from_secs(300);
/// How often it is looked whether the machine is another than was reported.
const LOOK: Duration = Duration::from_secs(5);
/// How far the clock may move against real time before it is told, in microseconds.
const CLOCK_MOVED: u64 = 1_000_000;
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
    let mut longest = WAIT;
    loop {
        let asked = Instant::now();
        // The first question is not to hang: what was kept on disk may be of another server's counting.
        let (known, wait) = revision.map_or((-1, 0), |revision| (revision, longest));
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
                if problem.status == 504 && wait > 0 {
                    // A proxy did not wait so long.
                    let waited = asked.elapsed().as_secs();
                    longest = (waited.saturating_mul(3) / 4).clamp(LEAST_WAIT, WAIT);
                }
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
    let began = Instant::now();
    loop {
        changes.mark_unchanged();
        let figures = Figures::of(machine, began);
        let known = desired.borrow().as_ref().map_or(-1, |state| state.revision);
        // What is desired is taken from the other request alone, so that no old answer overtakes a new one.
        match sync(client, machine, known, 0).await {
            Ok(_) => away.reset(),
            Err(problem) => {
                tracing::debug!(%problem, "the server does not take the report");
                tokio::time::sleep(away.pause()).await;
                continue;
            }
        }
        let reported = Instant::now();
        loop {
            match tokio::time::timeout(LOOK, changes.changed()).await {
                Ok(_) => {
                    tokio::time::sleep(TOGETHER).await;
                    break;
                }
                Err(_) if reported.elapsed() >= REPORT_EVERY => break,
                Err(_) if figures.moved(Figures::of(machine, began)) => break,
                Err(_) => {}
            }
        }
    }
}

/// What of the machine bears on what may be put there.
#[derive(Clone, Copy, Debug)]
struct Figures {
    disk_free: u64,
    /// The clock against the time that passed, in microseconds.
    clock: i64,
}

impl Figures {
    fn of(machine: &Machine, began: Instant) -> Self {
        let passed = i64::try_from(began.elapsed().as_micros()).unwrap_or(i64::MAX);
        Self {
            disk_free: machine.disk_free(),
            clock: machine.clock.now().micros().saturating_sub(passed),
        }
    }

    /// Whether they are other ones: a tenth of what was free came or went, or the clock was set.
    fn moved(self, now: Self) -> bool {
        now.disk_free.abs_diff(self.disk_free) > self.disk_free / 10
            || now.clock.abs_diff(self.clock) > CLOCK_MOVED
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_fills_and_a_clock_that_is_set_are_told_and_the_rest_is_not() {
        let figures = |disk_free, clock| Figures { disk_free, clock };
        let before = figures(1_000, 0);
        assert!(!before.moved(figures(950, 500_000)));
        assert!(before.moved(figures(800, 0)) && before.moved(figures(1_200, 0)));
        assert!(before.moved(figures(1_000, -3_600_000_000)));
        assert!(!figures(0, 0).moved(figures(0, 0)) && figures(0, 0).moved(figures(1, 0)));
    }
}
