//! Wakes the calls of agents that hang: one agent for what it alone is told, so that of a thousand one asks the
//! database.

use super::store;
use crate::Delivery;
use bascule_core::{AgentId, Result};
use bascule_store::{Backend, Query as _};
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How often what other servers told agents is looked for. They are not heard, only seen.
const LOOK: Duration = Duration::from_millis(500);
/// How often bells that nobody hears any more are forgotten.
const TIDY: Duration = Duration::from_secs(10);

/// One bell for each agent whose call hangs here.
#[derive(Debug, Default)]
pub(crate) struct Bells(Mutex<HashMap<AgentId, watch::Sender<()>>>);

impl Bells {
    /// Hears what rings from now on.
    pub fn listen(&self, agent: AgentId) -> watch::Receiver<()> {
        let mut bells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        bells
            .entry(agent)
            .or_insert_with(|| watch::Sender::new(()))
            .subscribe()
    }

    pub fn ring(&self, agent: AgentId) {
        let bells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bell) = bells.get(&agent) {
            bell.send_replace(());
        }
    }

    pub fn ring_all(&self) {
        let bells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for bell in bells.values() {
            bell.send_replace(());
        }
    }

    /// Forgets bells that nobody hears.
    fn tidy(&self) {
        let mut bells = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        bells.retain(|_, bell| bell.receiver_count() > 0);
    }
}

impl Delivery {
    /// The agent's present revision, as soon as it is not `known`, or after `wait`; `None` where the agent was
    /// removed. It was `revision` after `bell` was listened to.
    pub(crate) async fn wait_for_agent(
        &self,
        agent: AgentId,
        mut bell: watch::Receiver<()>,
        revision: i64,
        known: i64,
        wait: Duration,
    ) -> Result<Option<i64>> {
        let deadline = tokio::time::Instant::now() + wait;
        let mut revision = Some(revision);
        loop {
            if bell.has_changed().unwrap_or(true) {
                bell.mark_unchanged();
                revision = store::agent_revision(&self.db, agent).await?;
            }
            let over = tokio::time::Instant::now() >= deadline || self.signals.stop.is_cancelled();
            if over || revision != Some(known) {
                return Ok(revision);
            }
            tokio::select! {
                _ = bell.changed() => bell.mark_changed(),
                () = self.signals.stop.cancelled() => {}
                () = tokio::time::sleep_until(deadline) => {}
            }
        }
    }
}

/// Rings for what other servers told agents: one query for all calls that hang here.
pub(crate) async fn run(delivery: Delivery, stop: CancellationToken) {
    let others = delivery.db.engine() == Backend::Postgres;
    let pause = if others { LOOK } else { TIDY };
    let mut seen = None;
    loop {
        delivery.signals.bells.tidy();
        if others {
            match look(&delivery, seen).await {
                Ok(newest) => seen = Some(newest),
                Err(error) => tracing::warn!(%error, "what other servers told agents could not be read"),
            }
        }
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Rings for agents whose revision is above `seen`; the newest revision.
async fn look(delivery: &Delivery, seen: Option<i64>) -> Result<i64> {
    let newest = store::revision(&delivery.db, super::Channel::Agent).await?;
    match seen {
        Some(seen) if seen == newest => {}
        Some(seen) => {
            for told in store::told_since(&delivery.db, seen).await? {
                delivery.signals.bells.ring(told.id);
            }
        }
        // Whoever began to wait before this may have read an older one.
        None => delivery.signals.bells.ring_all(),
    }
    Ok(newest)
}
