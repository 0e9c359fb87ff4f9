//! Drills that run, as facts tell: nothing else changes where one does.

use super::store;
use crate::Delivery;
use async_trait::async_trait;
use bascule_ledger::{
    BoxError, Entry, Fact as _, Subscriber, decode,
    facts::drills::{DrillEnded, DrillStarted},
};

/// A drill begins or ends: plans are made anew.
pub(crate) struct OnDrills(pub(crate) Delivery);

#[async_trait]
impl Subscriber for OnDrills {
    fn name(&self) -> &'static str {
        "delivery.drills"
    }

    fn kinds(&self) -> Vec<&'static str> {
        vec![DrillStarted::KIND, DrillEnded::KIND]
    }

    async fn handle(&self, entry: &Entry) -> Result<(), BoxError> {
        let tx = self.0.db.begin().await?;
        if entry.kind == DrillStarted::KIND {
            let fact: DrillStarted = decode(entry)?;
            store::drill_started(&tx, fact.number, &fact.environment, &fact.reason).await?;
        } else {
            let fact: DrillEnded = decode(entry)?;
            store::drill_over(&tx, fact.number).await?;
        }
        self.0.replan(&tx).await?;
        tx.commit().await?;
        Ok(())
    }
}
