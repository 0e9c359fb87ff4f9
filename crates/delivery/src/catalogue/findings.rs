//! What findings do to releases: one at or above the level that a product's `bascule.yaml` names recalls the release
//! by itself, as long as nobody set it aside. Environments that run it leave it forward, as soon as there is something
//! newer; none takes it anew.

use super::store::{self, Found};
use crate::{Delivery, plan::Change};
use async_trait::async_trait;
use bascule_core::{Actor, Problem, ReleaseId, Result};
use bascule_ledger::{
    BoxError, Entry, Fact as _, Subscriber, decode,
    facts::{
        advisories::{FindingClosed, FindingOpened, FindingReopened, FindingWaived, RecallLifted},
        delivery::ReleaseRecalled,
    },
};
use bascule_store::Tx;
use bascule_wire::advisory::Severity;

/// Findings are opened, closed and decided on.
pub(crate) struct OnFindings(pub(crate) Delivery);

#[async_trait]
impl Subscriber for OnFindings {
    fn name(&self) -> &'static str {
        "delivery.findings"
    }

    fn kinds(&self) -> Vec<&'static str> {
        vec![
            FindingOpened::KIND,
            FindingClosed::KIND,
            FindingWaived::KIND,
            FindingReopened::KIND,
        ]
    }

    async fn handle(&self, entry: &Entry) -> Result<(), BoxError> {
        let heard = match entry.kind.as_str() {
            FindingOpened::KIND => self.0.finding_opened(&decode(entry)?).await,
            FindingClosed::KIND => self.0.finding_closed(&decode(entry)?).await,
            FindingWaived::KIND => {
                let fact: FindingWaived = decode(entry)?;
                self.0.finding_decided(fact.project, &fact.key, true).await
            }
            _ => {
                let fact: FindingReopened = decode(entry)?;
                self.0.finding_decided(fact.project, &fact.key, false).await
            }
        };
        heard.map_err(|problem: Problem| Box::new(problem) as BoxError)
    }
}

impl Delivery {
    async fn finding_opened(&self, fact: &FindingOpened) -> Result<()> {
        let found = Found {
            release_id: fact.release,
            finding_key: fact.key.clone(),
            purl: fact.purl.clone(),
            project_id: fact.project,
            version: fact.version.clone(),
            advisory: fact.advisory.clone(),
            severity: fact.severity.parse().map_or(0, Severity::rank),
            package: fact.package.clone(),
            component_version: fact.component_version.clone(),
            fixed: fact.fixed.join(" or "),
            development: fact.development,
            set_aside: fact.set_aside,
        };
        let tx = self.db.begin().await?;
        store::put_finding(&tx, &found).await?;
        self.weigh(&tx, fact.release).await?;
        self.replan_for(&tx, Change::Product(fact.project)).await?;
        tx.commit().await?;
        Ok(())
    }

    async fn finding_closed(&self, fact: &FindingClosed) -> Result<()> {
        let tx = self.db.begin().await?;
        store::drop_finding(&tx, fact.release, &fact.purl, &fact.key).await?;
        self.weigh(&tx, fact.release).await?;
        self.replan_for(&tx, Change::Product(fact.project)).await?;
        tx.commit().await?;
        Ok(())
    }

    async fn finding_decided(
        &self,
        project: bascule_core::ProjectId,
        key: &str,
        set_aside: bool,
    ) -> Result<()> {
        let tx = self.db.begin().await?;
        for release in store::set_aside(&tx, project, key, set_aside).await? {
            self.weigh(&tx, release).await?;
        }
        self.replan_for(&tx, Change::Product(project)).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Recalls a release for its findings, or lifts a recall that was for findings which count no longer. What a
    /// person recalled stays recalled. Comes to the same however often it is done.
    pub(crate) async fn weigh(&self, tx: &Tx, release: ReleaseId) -> Result<()> {
        let Some(listed) = store::get(tx, release).await? else {
            // Its own entry into the catalogue weighs it.
            return Ok(());
        };
        let Some(level) = listed.relations.0.recall.advisory else {
            return self
                .lift(tx, &listed, "its product recalls nothing for findings")
                .await;
        };
        let found = store::findings_of(tx, release).await?;
        let grave: Vec<&Found> = found
            .iter()
            .filter(|found| found.counts() && found.severity >= level.rank())
            .collect();
        let Some(worst) = grave.first() else {
            return self
                .lift(tx, &listed, "no finding counts that it was recalled for")
                .await;
        };
        let mut reason = worst.words();
        if grave.len() > 1 {
            reason.push_str(&format!(", and {} more such findings", grave.len() - 1));
        }
        if worst.fixed.is_empty() {
            reason.push_str("; what runs it stays until something newer may be there");
        }
        if listed.recall_reason.is_some() {
            return Ok(store::say_finding(tx, release, &reason).await?);
        }
        store::recall_for_finding(tx, release, &reason).await?;
        let recalled = ReleaseRecalled {
            project: listed.project_id,
            release,
            version: listed.version,
            reason,
            floor: String::new(),
        };
        self.ledger.append(tx, &Actor::system(), &recalled).await?;
        Ok(())
    }

    async fn lift(&self, tx: &Tx, listed: &super::Listed, reason: &str) -> Result<()> {
        if !store::lift_finding_recall(tx, listed.release_id).await? {
            return Ok(());
        }
        let lifted = RecallLifted {
            project: listed.project_id,
            release: listed.release_id,
            version: listed.version.clone(),
            reason: reason.to_owned(),
        };
        self.ledger.append(tx, &Actor::system(), &lifted).await?;
        Ok(())
    }
}

impl Found {
    /// Whether it bears on where the release may run.
    pub(crate) const fn counts(&self) -> bool {
        !self.set_aside && !self.development
    }

    /// In words that go on after "was recalled: ".
    pub(crate) fn words(&self) -> String {
        let fixed = if self.fixed.is_empty() {
            "no version of it is known to mend it".to_owned()
        } else {
            format!("fixed in {}", self.fixed)
        };
        format!(
            "{} ({}) in {} {}, {fixed}",
            self.advisory,
            Severity::of_rank(self.severity),
            self.package,
            self.component_version
        )
    }
}
