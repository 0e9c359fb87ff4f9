//! What bears on the installs of declared environments besides what `assemble` reads: ramps, and secrets that are
//! not there.

use super::{
    assemble::Scene,
    ramp::{Ramp, turn},
};
use crate::{
    Delivery,
    catalogue::{self, Listed},
    secret::{self, EVERYWHERE, Missing},
};
use bascule_core::{ProjectId, Result, Timestamp};
use bascule_planner::{Catalogue, Install, Version};
use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

/// A release that is in a ramp.
struct Ramping {
    channel: String,
    version: Version,
    entered: Timestamp,
    ramp: Duration,
}

/// All of it, read once for all environments.
pub(super) struct Bearings {
    ramping: HashMap<ProjectId, Vec<Ramping>>,
    secrets: HashSet<(String, String)>,
}

impl Delivery {
    pub(super) async fn bearings(&self, listed: &[Listed]) -> Result<Bearings> {
        Ok(Bearings {
            ramping: self.ramping(listed).await?,
            secrets: secret::store::all(&self.db)
                .await?
                .into_iter()
                .map(|known| (known.site, known.name))
                .collect(),
        })
    }

    async fn ramping(&self, listed: &[Listed]) -> Result<HashMap<ProjectId, Vec<Ramping>>> {
        let rules: HashMap<_, _> = listed
            .iter()
            .filter(|release| release.relations.0.channels.iter().any(|rule| rule.ramp_ms > 0))
            .map(|release| (release.release_id, release))
            .collect();
        let longest = rules
            .values()
            .flat_map(|release| &release.relations.0.channels)
            .map(|rule| rule.ramp_ms)
            .max()
            .unwrap_or(0);
        if longest == 0 {
            return Ok(HashMap::new());
        }
        let since = self.now().minus(Duration::from_millis(longest));
        let mut all: HashMap<ProjectId, Vec<Ramping>> = HashMap::new();
        for entered in catalogue::store::entered(&self.db, since).await? {
            let Some(release) = rules.get(&entered.release_id) else {
                continue;
            };
            let rule = release
                .relations
                .0
                .channels
                .iter()
                .find(|rule| rule.name == entered.channel && rule.ramp_ms > 0);
            if let (Some(rule), Ok(version)) = (rule, release.version.parse()) {
                all.entry(release.project_id).or_default().push(Ramping {
                    channel: entered.channel,
                    version,
                    entered: entered.at,
                    ramp: Duration::from_millis(rule.ramp_ms),
                });
            }
        }
        Ok(all)
    }
}

impl Bearings {
    /// Makes the installs of a declared environment wait for what bears on them.
    pub fn hold(&self, catalogue: &Catalogue, scene: &mut Scene) {
        let Some(site) = &scene.site else { return };
        for (place, install) in scene.places.iter().zip(&mut scene.environment.installs) {
            let Some(declared) = site.install(&place.project_path).filter(|_| place.declared) else {
                continue;
            };
            let variables = site.variables_of(&place.project_path);
            let missing: BTreeSet<&str> = variables
                .values()
                .filter_map(|value| secret::reference(value))
                .filter(|name| {
                    [site.name.as_str(), EVERYWHERE]
                        .iter()
                        .all(|place| !self.secrets.contains(&((*place).to_owned(), (*name).to_owned())))
                })
                .collect();
            if !missing.is_empty() {
                let names = missing.into_iter().map(str::to_owned).collect();
                install.constraints.push(Arc::new(Missing(names)));
            }
            // Away from a recalled version nobody waits for a turn.
            if recalled(catalogue, install) {
                continue;
            }
            let channel = site.channel_of(Some(declared));
            let turns: Vec<(Version, Timestamp)> = self
                .ramping
                .get(&place.project_id)
                .into_iter()
                .flatten()
                .filter(|ramping| ramping.channel == channel)
                .map(|ramping| {
                    let version = ramping.version.to_string();
                    let at = turn(
                        &site.name,
                        &place.project_path,
                        &version,
                        ramping.entered,
                        ramping.ramp,
                    );
                    (ramping.version.clone(), at)
                })
                .collect();
            if !turns.is_empty() {
                install.constraints.push(Arc::new(Ramp {
                    channel: channel.to_owned(),
                    turns,
                }));
            }
        }
    }
}

/// Whether what runs was recalled.
pub(super) fn recalled(catalogue: &Catalogue, install: &Install) -> bool {
    install.current.as_ref().is_some_and(|current| {
        catalogue
            .level(install.product, current)
            .and_then(|level| catalogue.at(install.product, level))
            .is_some_and(|release| release.recalled.is_some())
    })
}
