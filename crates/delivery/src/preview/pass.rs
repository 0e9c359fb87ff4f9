//! The loop that looks at previews: those that something was said of, and those whose time has come. It keeps
//! nothing in memory but its claim.

use super::store;
use crate::{Delivery, controller::claim::Claim};
use bascule_core::Result;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often it looks whether anything is due.
const LOOK: Duration = Duration::from_secs(1);
/// Pause after a look that could not be had.
const LATER: Duration = Duration::from_secs(15);
/// Previews in one turn.
const AT_ONCE: i64 = 100;

pub(crate) async fn run(delivery: Delivery, stop: CancellationToken) {
    let mut looker = Looker::new(delivery);
    loop {
        if let Err(error) = looker.turn().await {
            tracing::error!(%error, "previews could not be looked at; they are looked at again");
        }
        tokio::select! {
            () = stop.cancelled() => break,
            () = looker.delivery.signals.previews.notified() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
    }
    looker.claim.release().await;
}

/// One process's looking.
pub(crate) struct Looker {
    delivery: Delivery,
    claim: Claim,
}

impl Looker {
    pub fn new(delivery: Delivery) -> Self {
        Self {
            claim: Claim::new(delivery.clone(), "previews"),
            delivery,
        }
    }

    /// Looks at all that is due.
    pub async fn turn(&mut self) -> Result<()> {
        if !self.claim.holds().await? {
            return Ok(());
        }
        let now = self.delivery.now();
        for row in store::due(&self.delivery.db, now, AT_ONCE).await? {
            let seen = row.clone();
            // Boxed: large, and one at a time.
            if let Err(problem) = Box::pin(self.delivery.look_at_preview(row)).await {
                tracing::warn!(preview = seen.iid, %problem, "a preview is looked at again later");
                let tx = self.delivery.db.begin().await?;
                store::postpone(&tx, &seen, now.plus(LATER)).await?;
                tx.commit().await?;
            }
            if !self.claim.holds().await? {
                return Ok(());
            }
        }
        Ok(())
    }
}
