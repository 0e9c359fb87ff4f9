//! What a declaration names that is not there: a channel that the product does not have, a group that does not
//! exist. Nothing would ever come of either, so it is said where what waits for it is told, on the environment's
//! page, and as a fact.

use super::{
    assemble::{Scene, World},
    store::Place,
};
use crate::{
    Delivery,
    site::{self, FOLDER, Site, store::Misnamed},
};
use bascule_core::{Actor, Caller, ProjectId, Result};
use bascule_ledger::facts::sites::SiteMisnamed;
use bascule_planner::constraint::{no_such_channel, no_such_team};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

/// The channels that each product's newest release names.
pub(super) type Channels = HashMap<ProjectId, Arc<[String]>>;

/// What of a declaration is not there.
pub(super) fn misnamed(
    site: &Site,
    places: &[Place],
    channels: &Channels,
    nobody: &HashSet<String>,
) -> Vec<Misnamed> {
    let mut all: Vec<Misnamed> = places
        .iter()
        .filter(|place| place.declared)
        .filter_map(|place| {
            let product = &place.project_path;
            let name = site.channel_of(site.install(product));
            let named = channels.get(&place.project_id)?;
            (!named.iter().any(|known| known == name)).then(|| Misnamed {
                site: site.name.clone(),
                product: product.clone(),
                name: name.to_owned(),
                text: no_such_channel(name, product, named),
                next: format!(
                    "Follow one of these in {FOLDER}{}.yaml, or let {product}'s bascule.yaml name `{name}`.",
                    site.name
                ),
            })
        })
        .collect();
    let of_installs = site.installs.iter().flat_map(|install| {
        install
            .approvals
            .iter()
            .map(|team| (install.product.as_str(), team))
    });
    let teams = site.approvals.iter().map(|team| ("", team)).chain(of_installs);
    let missing = teams.filter(|(_, team)| nobody.contains(*team));
    all.extend(missing.map(|(product, team)| Misnamed {
        site: site.name.clone(),
        product: product.to_owned(),
        name: team.clone(),
        text: no_such_team(team),
        next: format!(
            "Create the group {team}, or ask another for approval in {FOLDER}{}.yaml.",
            site.name
        ),
    }));
    all.sort();
    all.dedup();
    all
}

impl Delivery {
    /// Teams that declarations ask for approval and that do not exist. Where no network reaches, the site's own
    /// groups count, and nobody here knows them.
    pub(super) async fn nobody(&self, sites: &BTreeMap<String, Site>) -> Result<HashSet<String>> {
        let asked: BTreeSet<&String> = sites
            .values()
            .filter(|site| !site.disconnected)
            .flat_map(|site| {
                let of_installs = site.installs.iter().flat_map(|install| &install.approvals);
                site.approvals.iter().chain(of_installs)
            })
            .collect();
        let mut nobody = HashSet::new();
        for team in asked {
            if !self.ports.teams.exists(team).await? {
                nobody.insert(team.clone());
            }
        }
        Ok(nobody)
    }

    /// Keeps what the declarations of some environments name that is not there, and says so where that is otherwise
    /// than before.
    pub(super) async fn note_misnamed(&self, world: &World, names: &[String]) -> Result<()> {
        let mut before: BTreeMap<String, Vec<Misnamed>> = BTreeMap::new();
        for row in site::store::misnamed(&self.db, names).await? {
            before.entry(row.site.clone()).or_default().push(row);
        }
        let none = Vec::new();
        let of = |name: &String| before.get(name).unwrap_or(&none);
        let changed: Vec<&Scene> = world
            .scenes
            .iter()
            .filter(|scene| *of(&scene.environment.name) != scene.misnamed)
            .collect();
        if changed.is_empty() {
            return Ok(());
        }
        let home = self.ports.projects.find(&self.ports.environments).await?;
        let tx = self.db.begin().await?;
        for scene in changed {
            let name = &scene.environment.name;
            site::store::put_misnamed(&tx, name, &scene.misnamed).await?;
            // A site that is gone is told of by itself.
            if let (Some(home), Some(_)) = (home, &scene.site) {
                let fact = SiteMisnamed {
                    project: home,
                    site: name.clone(),
                    names: scene.misnamed.iter().map(|named| named.text.clone()).collect(),
                };
                self.ledger.append(&tx, &Actor::system(), &fact).await?;
            }
        }
        tx.commit().await?;
        Ok(())
    }

    /// A group came into being: environments that waited for one of that name are planned anew.
    pub(crate) async fn group_is_there(&self, group: &str) -> Result<()> {
        let sites = site::store::waiting_for_group(&self.db, group).await?;
        if sites.is_empty() {
            return Ok(());
        }
        let tx = self.db.begin().await?;
        for site in &sites {
            self.replan_for(&tx, super::Change::Site(&site.name)).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// What an environment's file names that is not there, for who may read the file.
    pub(crate) async fn misnamed(&self, caller: &Caller, site: &str) -> Result<Vec<Misnamed>> {
        let all = site::store::misnamed(&self.db, &[site.to_owned()]).await?;
        if all.is_empty() || self.reads_declarations(caller).await?.is_none() {
            return Ok(Vec::new());
        }
        Ok(all)
    }
}
