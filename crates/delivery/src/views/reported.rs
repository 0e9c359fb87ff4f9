//! What sites that no network reaches told of themselves, laid over what is known here: the newest report of each is
//! all that anybody knows of what runs there.

use super::{Sight, store};
use crate::{Delivery, carry::store as carry, environment::Environment};
use bascule_core::Result;
use bascule_wire::views::Reported;
use std::collections::{BTreeSet, HashMap};

/// How an environment stands by its report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) serving: i64,
    pub(super) healthy: i64,
    pub(super) report: Option<Reported>,
}

impl store::Place {
    /// The report that tells what runs here.
    pub(super) fn reported(&self) -> Option<Reported> {
        Some(Reported {
            at: self.reported_at?,
            sequence: self.reported_by?,
        })
    }
}

impl Delivery {
    /// Lets places that no agent of ours looks after stand as their sites last told.
    pub(super) async fn overlay(&self, places: &mut [store::Place]) -> Result<()> {
        let names: BTreeSet<String> = places
            .iter()
            .filter(|place| place.agent.is_none() && place.declared)
            .map(|place| place.name.clone())
            .collect();
        let reports = self.reports(names).await?;
        for place in places.iter_mut().filter(|place| place.agent.is_none()) {
            let Some(reported) = reports.get(&place.name) else {
                continue;
            };
            place.reported_at = Some(reported.body.0.at);
            place.reported_by = Some(reported.sequence);
            let install = reported.body.0.installs.iter();
            for install in install.filter(|i| i.product == place.project_path && !i.version.is_empty()) {
                place.runs = Some(install.version.clone());
                place.health = Some(install.health.clone()).filter(|health| !health.is_empty());
            }
        }
        Ok(())
    }

    /// The names among some environments that no network reaches.
    pub(crate) async fn apart(&self, environments: &[Environment]) -> Result<BTreeSet<String>> {
        let unlinked = environments.iter().filter(|e| e.agent_id.is_none());
        let names: BTreeSet<String> = unlinked.map(|e| e.name.clone()).collect();
        let names: Vec<String> = names.into_iter().collect();
        let bodies = store::bodies(&self.db, &names).await?;
        let apart = bodies.into_iter().filter(|site| site.body.0.disconnected);
        Ok(apart.map(|site| site.name).collect())
    }

    /// The newest report of each of some sites that has one.
    pub(crate) async fn reports(&self, names: BTreeSet<String>) -> Result<HashMap<String, carry::Reported>> {
        let names: Vec<String> = names.into_iter().collect();
        Ok(carry::reports_of(&self.db, &names)
            .await?
            .into_iter()
            .map(|reported| (reported.site.clone(), reported))
            .collect())
    }

    /// How some environments stand by their reports, of what the caller may read.
    pub(super) async fn told_of(&self, sight: &Sight, names: Vec<String>) -> Result<HashMap<String, Told>> {
        let reports = self.reports(names.into_iter().collect()).await?;
        let names: Vec<String> = reports.keys().cloned().collect();
        let mut all: HashMap<String, Told> = HashMap::new();
        for place in store::unlinked(&self.db, sight, &names).await? {
            let Some(reported) = reports.get(&place.name) else {
                continue;
            };
            let told = all.entry(place.name).or_default();
            told.report = Some(Reported {
                at: reported.body.0.at,
                sequence: reported.sequence,
            });
            let install = reported.body.0.installs.iter();
            for install in install.filter(|i| i.product == place.project_path && !i.version.is_empty()) {
                told.serving += 1;
                told.healthy += i64::from(install.health == "healthy");
            }
        }
        Ok(all)
    }
}
