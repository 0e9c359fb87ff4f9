//! One process's claim to drive a loop, where several servers run over one database.

use crate::Delivery;
use bascule_core::{AgentId, Timestamp};
use bascule_store::{Backend, Lease, Query as _, Result as StoreResult};
use std::time::Duration;

const LEASE: Duration = Duration::from_secs(15);

/// A claim, renewed as it is asked for.
pub(crate) struct Claim {
    delivery: Delivery,
    lease: Option<Lease>,
    renewed: Option<Timestamp>,
}

impl Claim {
    pub fn new(delivery: Delivery, name: &'static str) -> Self {
        // On SQLite there is one server, by the lock on its data directory.
        let lease = (delivery.db.engine() == Backend::Postgres).then(|| {
            let holder = AgentId::new().to_string();
            Lease::new(delivery.db.clone(), delivery.clock.clone(), name, holder, LEASE)
        });
        Self {
            delivery,
            lease,
            renewed: None,
        }
    }

    /// Whether this process drives; to be asked again before and within long work.
    pub async fn holds(&mut self) -> StoreResult<bool> {
        let Some(lease) = &self.lease else { return Ok(true) };
        let now = self.delivery.now();
        if self.renewed.is_some_and(|at| now.since(at) < LEASE / 3) {
            return Ok(true);
        }
        let held = lease.hold().await?;
        self.renewed = held.then_some(now);
        Ok(held)
    }

    /// Lets another process drive at once.
    pub async fn release(self) {
        if let Some(lease) = self.lease
            && let Err(error) = lease.release().await
        {
            tracing::warn!(%error, "a lease runs out by itself");
        }
    }
}
