//! What releases wait for before they enter a channel: told with the plans of those who follow it.

use super::{shelf::Shelf, store::Place};
use crate::{
    Delivery,
    catalogue::{
        Listed,
        earn::{by_release, soaks, waits_for},
        store::{self, Approved, Served},
    },
    site::Site,
};
use bascule_core::{ProjectId, Result, Timestamp};
use bascule_planner::{
    Version,
    constraint::{Promotion, Wait},
};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

/// Of a product's newest releases so many are looked at; what is older is said to wait for its promotion alone.
const NEWEST: usize = 10;
/// Releases that are looked at for one plan.
const MOST: usize = 500;

/// By product and channel.
pub(super) type Promotions = HashMap<(ProjectId, String), Arc<Vec<Promotion>>>;

impl Delivery {
    /// What the newest releases of declared products wait for, in the channels that are followed.
    pub(super) async fn promotions(
        &self,
        shelf: &Shelf,
        sites: &BTreeMap<String, Site>,
        places: &[Place],
    ) -> Result<Promotions> {
        let mut followed: BTreeMap<ProjectId, BTreeSet<&str>> = BTreeMap::new();
        for place in places.iter().filter(|place| place.declared) {
            let Some(site) = sites.get(&place.name) else {
                continue;
            };
            let channel = site.channel_of(site.install(&place.project_path));
            followed.entry(place.project_id).or_default().insert(channel);
        }
        let mut by_project: BTreeMap<ProjectId, Vec<(Version, &Listed)>> = BTreeMap::new();
        for listed in &shelf.promotable {
            if followed.contains_key(&listed.project_id)
                && let Ok(version) = listed.version.parse()
            {
                by_project
                    .entry(listed.project_id)
                    .or_default()
                    .push((version, listed));
            }
        }
        for all in by_project.values_mut() {
            all.sort_by(|a, b| b.0.cmp(&a.0));
            all.truncate(NEWEST);
        }
        let mut newest: Vec<(Version, &Listed)> = by_project.into_values().flatten().collect();
        newest.sort_by_key(|(_, listed)| Reverse(listed.published_at));
        newest.truncate(MOST);
        if newest.is_empty() {
            return Ok(Promotions::new());
        }
        let ids: Vec<_> = newest.iter().map(|(_, listed)| listed.release_id).collect();
        let soaks = soaks(newest.iter().map(|(_, listed)| *listed));
        let served = store::served_of(&self.db, &ids, &soaks).await?;
        let served = by_release(&served);
        let asked = newest
            .iter()
            .flat_map(|(_, listed)| &listed.relations.0.channels)
            .filter(|rule| !rule.approval.is_empty())
            .map(|rule| format!("channel:{}", rule.name));
        let scopes: Vec<String> = asked.collect::<BTreeSet<_>>().into_iter().take(MOST).collect();
        let approved = if scopes.is_empty() {
            Vec::new()
        } else {
            store::approvals_of(&self.db, &scopes).await?
        };
        let now = self.now();
        let mut all: HashMap<(ProjectId, String), Vec<Promotion>> = HashMap::new();
        for (version, listed) in newest {
            let inside = |channel: &str| {
                let known = shelf.channels.get(&listed.release_id);
                known.is_some_and(|known| known.contains(channel))
            };
            for channel in followed.get(&listed.project_id).into_iter().flatten() {
                if inside(channel) {
                    continue;
                }
                let here = served.get(&listed.release_id).map_or(&[][..], Vec::as_slice);
                let (first, waits) = waits(listed, channel, &inside, here, &approved, now);
                all.entry((listed.project_id, (*channel).to_owned()))
                    .or_default()
                    .push(Promotion {
                        version: version.clone(),
                        first,
                        waits,
                    });
            }
        }
        Ok(all.into_iter().map(|(key, all)| (key, Arc::new(all))).collect())
    }
}

/// What a release waits for on its way to a channel, and where on that way it stands: empty where that is the
/// channel itself.
fn waits(
    listed: &Listed,
    channel: &str,
    inside: &impl Fn(&str) -> bool,
    served: &[&Served],
    approved: &[Approved],
    now: Timestamp,
) -> (String, Vec<Wait>) {
    let way = &listed.relations.0.channels;
    if way.iter().all(|rule| rule.name != channel) {
        return (String::new(), vec![Wait::NotNamed]);
    }
    for rule in way {
        if inside(&rule.name) {
            continue;
        }
        let waits = waits_for(listed, rule, served, approved, now);
        if rule.name == channel {
            return (String::new(), waits);
        }
        if !waits.is_empty() {
            return (rule.name.clone(), waits);
        }
    }
    (String::new(), vec![Wait::NotNamed])
}
