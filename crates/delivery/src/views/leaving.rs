//! Installs that their files no longer declare and that are to be taken away: a plan knows nothing of it, and whoever
//! reads "it can be put here" of them would be led astray.

use crate::{Delivery, site::store as sites};
use bascule_core::Result;
use bascule_wire::delivery::PlanEntry;
use std::collections::HashMap;

/// How such an install stands: it waits, for a person or for a moment.
pub(super) const STATE: &str = "held";

/// Why installs that leave are still there, by environment and product.
#[derive(Debug, Default)]
pub(super) struct Leaving(HashMap<(String, String), String>);

impl Leaving {
    /// What is said of one, if it leaves.
    pub(super) fn of(&self, environment: &str, product: &str) -> Option<&String> {
        self.0.get(&(environment.to_owned(), product.to_owned()))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Delivery {
    /// The installs that leave, in one environment or in all.
    pub(super) async fn leaving(&self, site: Option<&str>) -> Result<Leaving> {
        let leaving = sites::leaving(&self.db, site).await?;
        if leaving.is_empty() {
            return Ok(Leaving::default());
        }
        let notes: HashMap<String, sites::Pruning> = sites::prunings(&self.db)
            .await?
            .into_iter()
            .map(|note| (note.site.clone(), note))
            .collect();
        let all = leaving.into_iter().map(|one| {
            let refused = notes
                .get(&one.name)
                .filter(|note| !note.refused.is_empty() && note.installs.0.contains(&one.id));
            let why = match refused {
                Some(note) => format!(
                    "no longer declared, and not taken away: {}; `bascule prune --in {} --confirm`",
                    note.refused, one.name
                ),
                None => format!(
                    "no longer declared: it is taken away once nothing holds that; `bascule prune --in {}` says what does",
                    one.name
                ),
            };
            ((one.name, one.project_path), why)
        });
        Ok(Leaving(all.collect()))
    }

    /// Says in a plan which of the installs that no file declares are to be taken away.
    pub(crate) async fn say_leaving(&self, entries: &mut [PlanEntry], site: Option<&str>) -> Result<()> {
        if entries.iter().all(|entry| entry.declared) {
            return Ok(());
        }
        let leaving = self.leaving(site).await?;
        for entry in entries {
            if let Some(why) = leaving.of(&entry.environment, &entry.product) {
                STATE.clone_into(&mut entry.state);
                entry.target.clear();
                entry.step.clear();
                entry.why.clone_from(why);
            }
        }
        Ok(())
    }
}
