//! What people decide on findings: to live with one for a time, or that the product is not exposed to it.

use super::{
    Advisories,
    store::{self, TriageRow},
};
use bascule_core::{Actor, Problem, ProjectId, Result};
use bascule_ledger::facts::advisories::{FindingReopened, FindingWaived};
use bascule_wire::advisory::{JUSTIFICATIONS, NewTriage};
use std::time::Duration;

/// For how many days a waiver holds unless it says, and at most.
const DAYS: (u32, u32) = (30, 365);
/// Longest reason, in characters.
const REASON: usize = 1_000;

impl Advisories {
    /// Sets a finding aside, for all releases of the project that have it or will.
    ///
    /// # Errors
    /// There is no such finding, or the decision is not complete.
    pub async fn decide(&self, actor: &Actor, project: ProjectId, key: &str, new: &NewTriage) -> Result<()> {
        let now = self.now();
        let reason = new.reason.trim();
        if reason.is_empty() {
            return Err(
                Problem::invalid("reason_missing", "Setting a finding aside needs a reason.")
                    .why("Whoever asks later why a known weakness was left reads it.")
                    .next("Say in a sentence why it can be lived with, or why it does not matter here."),
            );
        }
        let not_affected = new.verdict == "not_affected";
        if !not_affected && new.verdict != "waived" {
            return Err(Problem::invalid(
                "bad_verdict",
                format!("`{}` is no decision.", cut(&new.verdict, 40)),
            )
            .next("Decide `waived` or `not_affected`."));
        }
        if not_affected && !JUSTIFICATIONS.contains(&new.justification.as_str()) {
            return Err(Problem::invalid(
                "justification_missing",
                "That a product is not affected needs a justification.",
            )
            .why("VEX knows five, and tools that read it know no other.")
            .next(format!("Give one of {}.", JUSTIFICATIONS.join(", "))));
        }
        let days = match new.days {
            None if not_affected => None,
            None => Some(DAYS.0),
            Some(days) if (1..=DAYS.1).contains(&days) => Some(days),
            Some(days) => {
                return Err(
                    Problem::invalid("bad_days", format!("A decision cannot hold for {days} days."))
                        .why("What is known to be weak is looked at again one day.")
                        .next(format!("Choose 1 to {} days.", DAYS.1)),
                );
            }
        };
        let row = TriageRow {
            project_id: project,
            finding_key: key.to_owned(),
            verdict: new.verdict.clone(),
            justification: if not_affected {
                new.justification.clone()
            } else {
                String::new()
            },
            reason: cut(reason, REASON),
            actor: actor.name.clone(),
            at: now,
            until_at: days.map(|days| now.plus(Duration::from_secs(u64::from(days) * 86_400))),
        };
        let (advisory, package) = self.named(project, key).await?;
        let tx = self.db.begin().await?;
        store::put_triage(&tx, &row).await?;
        let fact = FindingWaived {
            project,
            key: row.finding_key,
            advisory,
            package,
            verdict: row.verdict,
            justification: row.justification,
            reason: row.reason,
            until: row.until_at,
            at: now,
        };
        self.ledger.append(&tx, actor, &fact).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Takes a decision back.
    ///
    /// # Errors
    /// There is no such finding, or nothing was decided on it.
    pub async fn reopen(&self, actor: &Actor, project: ProjectId, key: &str) -> Result<()> {
        self.named(project, key).await?;
        if self
            .count_again(actor, project, key, "the decision was taken back")
            .await?
        {
            return Ok(());
        }
        Err(
            Problem::conflict("not_set_aside", "Nothing was decided on this finding.")
                .next("It counts as it is."),
        )
    }

    /// Ends decisions whose time has passed.
    pub(super) async fn end_waivers(&self) -> Result<()> {
        for row in store::passed(&self.db, self.now(), 1_000).await? {
            self.count_again(
                &Actor::system(),
                row.project_id,
                &row.finding_key,
                "the time of the decision has passed",
            )
            .await?;
        }
        Ok(())
    }

    async fn count_again(&self, actor: &Actor, project: ProjectId, key: &str, reason: &str) -> Result<bool> {
        let (advisory, package) = self.named(project, key).await?;
        let tx = self.db.begin().await?;
        if !store::drop_triage(&tx, project, key).await? {
            return Ok(false);
        }
        let fact = FindingReopened {
            project,
            key: key.to_owned(),
            advisory,
            package,
            reason: reason.to_owned(),
            at: self.now(),
        };
        self.ledger.append(&tx, actor, &fact).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// A finding's advisory and package.
    async fn named(&self, project: ProjectId, key: &str) -> Result<(String, String)> {
        let found = store::in_releases(&self.db, &[key.to_owned()], 1).await?;
        found
            .into_iter()
            .find(|row| row.finding.project_id == project)
            .map(|row| (row.finding.advisory_id, row.finding.package))
            .ok_or_else(|| Problem::not_found("finding"))
    }
}

fn cut(text: &str, most: usize) -> String {
    text.chars().filter(|c| !c.is_control()).take(most).collect()
}
