//! Recalls that happen by themselves, where a product's `bascule.yaml` asks for it: a release that was rolled back
//! in so many environments is taken by no other.

use super::store;
use crate::{Delivery, plan::Change};
use async_trait::async_trait;
use bascule_core::{Actor, Problem};
use bascule_ledger::{
    BoxError, Entry, Fact as _, Subscriber, decode,
    facts::delivery::{DeploymentFinished, ReleaseRecalled},
};

/// A rollout was undone: enough of them recall the release.
pub(crate) struct OnTrouble(pub(crate) Delivery);

#[async_trait]
impl Subscriber for OnTrouble {
    fn name(&self) -> &'static str {
        "delivery.recall"
    }

    fn kinds(&self) -> Vec<&'static str> {
        vec![DeploymentFinished::KIND]
    }

    async fn handle(&self, entry: &Entry) -> Result<(), BoxError> {
        let fact: DeploymentFinished = decode(entry)?;
        if fact.result != "rolled_back" {
            return Ok(());
        }
        self.0
            .recall_if_unstable(&fact)
            .await
            .map_err(|problem| Box::new(problem) as BoxError)
    }
}

impl Delivery {
    /// Recalls a release that was rolled back in as many environments as its product allows. Idempotent.
    async fn recall_if_unstable(&self, fact: &DeploymentFinished) -> Result<(), Problem> {
        let Some(listed) = store::get(&self.db, fact.release).await? else {
            return Ok(());
        };
        let limit = i64::from(listed.relations.0.recall.rolled_back);
        if limit == 0 || listed.recall_reason.is_some() {
            return Ok(());
        }
        let count = store::rolled_back_in(&self.db, fact.release).await?;
        if count < limit {
            return Ok(());
        }
        let reason =
            format!("it was rolled back in {count} environments, and its product recalls it after {limit}");
        let recalled = ReleaseRecalled {
            project: listed.project_id,
            release: fact.release,
            version: listed.version,
            reason,
            floor: String::new(),
        };
        let tx = self.db.begin().await?;
        // What a person recalled meanwhile keeps their reason and floor.
        let before = store::get(&tx, fact.release).await?;
        if before.is_some_and(|before| before.recall_reason.is_none())
            && self.call_back(&tx, &Actor::system(), &recalled).await?
        {
            self.replan_for(&tx, Change::Product(listed.project_id)).await?;
            tx.commit().await?;
        }
        Ok(())
    }
}
