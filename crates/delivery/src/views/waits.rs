//! Rollouts that wait for a person. A plan says only that a deployment is under way; whoever looks for what waits has
//! to find these too.

use super::{Sight, store};
use crate::{Delivery, deployment::instances::cut};
use bascule_core::{Caller, Result};
use bascule_wire::{delivery::PlanEntry, views::WaitingRollout};
use std::collections::HashMap;

/// The state that pages show of such an install; to the planner it is moving.
pub(super) const STATE: &str = "waiting";
/// Longest reason that is told, in bytes.
const REASON: usize = 400;

/// Rollouts that wait, by environment and product.
#[derive(Debug, Default)]
pub(crate) struct Waits(HashMap<(String, String), WaitingRollout>);

impl Waits {
    /// The one of an install.
    pub fn of(&self, environment: &str, product: &str) -> Option<&WaitingRollout> {
        // Few wait at a time.
        self.0.get(&(environment.to_owned(), product.to_owned()))
    }

    /// All of them, those first that stand where they stand for longest.
    pub fn all(&self) -> Vec<(&str, &str, &WaitingRollout)> {
        let mut all: Vec<_> = self
            .0
            .iter()
            .map(|((environment, product), wait)| (environment.as_str(), product.as_str(), wait))
            .collect();
        all.sort_by_key(|(environment, product, wait)| (wait.since, *environment, *product));
        all
    }

    /// How many there are.
    pub fn count(&self) -> i64 {
        i64::try_from(self.0.len()).unwrap_or(i64::MAX)
    }
}

/// Why it waits, in words that need no other.
fn why(row: &store::WaitingRow) -> String {
    let reason = cut(row.reason.trim(), REASON);
    let at = format!("{} is at {} %", row.version, row.weight);
    if row.status == "waiting" {
        format!("{at} and waits for a person: {reason}")
    } else {
        format!("{at} and waits for a person to resume it: {reason}")
    }
}

/// A rollout that waits for a person, and where.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// The environment.
    pub environment: String,
    /// The product, as its project's path.
    pub product: String,
    /// The rollout.
    pub rollout: WaitingRollout,
}

impl Delivery {
    /// The rollouts that wait for a person, of what the caller may read; those first that wait for longest.
    ///
    /// # Errors
    /// The database refused.
    pub async fn waiting(&self, caller: &Caller) -> Result<Vec<Waiting>> {
        let waits = self.waits(&self.sight(caller).await?).await?;
        let all = waits.all().into_iter();
        Ok(all
            .map(|(environment, product, rollout)| Waiting {
                environment: environment.to_owned(),
                product: product.to_owned(),
                rollout: rollout.clone(),
            })
            .collect())
    }

    /// The rollouts that wait for a person, of what the caller may read.
    pub(crate) async fn waits(&self, sight: &Sight) -> Result<Waits> {
        let rows = store::waiting_rollouts(&self.db, sight).await?;
        Ok(Waits(
            rows.into_iter()
                .map(|row| {
                    let verb = if row.status == "waiting" {
                        "promote"
                    } else {
                        "resume"
                    };
                    let wait = WaitingRollout {
                        why: why(&row),
                        next: format!("bascule rollout {verb} {} {}", row.project_path, row.id),
                        id: row.id,
                        version: row.version,
                        weight: row.weight,
                        status: row.status,
                        since: row.step_at,
                    };
                    ((row.name, row.project_path), wait)
                })
                .collect(),
        ))
    }

    /// Says in a plan which of the installs that move wait for a person, and what lets them go on.
    pub(crate) async fn say_waits(&self, entries: &mut [PlanEntry]) -> Result<()> {
        if !entries.iter().any(|entry| entry.state == "moving") {
            return Ok(());
        }
        // They were chosen by what the caller may read.
        let waits = self.waits(&Sight::All).await?;
        for entry in entries.iter_mut().filter(|entry| entry.state == "moving") {
            if let Some(wait) = waits.of(&entry.environment, &entry.product) {
                entry.why = format!("{}; `{}` lets it go on", wait.why, wait.next);
            }
        }
        Ok(())
    }
}
