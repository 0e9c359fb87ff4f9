//! Dry runs: what a commit of the environments project, or files that were not pushed yet, would change, and what
//! the planner would do then. Nothing is written.

use super::{
    Stored, assemble::World, pass::say_drift, prune::decide, remarks::say_remarks, store::Place, words::told,
};
use crate::{
    Delivery, fleet,
    site::{
        self, FILE_BYTES, FOLDER, Site, diff,
        store::{Leaving, Misnamed},
    },
};
use bascule_core::{AgentId, Caller, EnvironmentId, Problem, ProjectId, Result};
use bascule_planner::{Explainer, plan};
use bascule_wire::environments as dto;
use std::collections::{BTreeMap, HashMap, HashSet};

/// Files of one dry run, at most.
const FILES: usize = 5_000;
/// Plans that one dry run tells of, at most.
const PLANS: usize = 1_000;

/// Declarations as they would be, in place of those in force.
pub(crate) struct Proposal {
    pub sites: BTreeMap<String, Site>,
    products: HashMap<String, ProjectId>,
    agents: HashMap<String, AgentId>,
    first_agent: Option<AgentId>,
}

impl Proposal {
    /// The installs as they would be.
    pub(super) fn apply(&self, places: &mut Vec<Place>) {
        for place in places.iter_mut() {
            let site = self.sites.get(&place.name);
            let site = site.filter(|site| site.install(&place.project_path).is_some());
            place.declared = site.is_some();
            if let Some(site) = site {
                place.tier.clone_from(&site.tier);
                place.agent_id = self.agent(site, place.agent_id);
            }
        }
        let there: HashSet<(String, ProjectId)> = places
            .iter()
            .map(|place| (place.name.clone(), place.project_id))
            .collect();
        for site in self.sites.values() {
            for install in &site.installs {
                let Some(project) = self.products.get(&install.product) else {
                    continue;
                };
                if there.contains(&(site.name.clone(), *project)) {
                    continue;
                }
                places.push(Place {
                    id: EnvironmentId::new(),
                    project_id: *project,
                    project_path: install.product.clone(),
                    name: site.name.clone(),
                    tier: site.tier.clone(),
                    declared: true,
                    agent_id: self.agent(site, None),
                    serving_id: None,
                    left_version: None,
                    left_by: None,
                    serving_version: None,
                    artifact_size: None,
                    settings: None,
                    moving_version: None,
                    instance_state: None,
                });
            }
        }
    }

    fn agent(&self, site: &Site, now: Option<AgentId>) -> Option<AgentId> {
        if site.disconnected {
            None
        } else if site.agent.is_empty() {
            now.or(self.first_agent)
        } else {
            self.agents.get(&site.agent).copied()
        }
    }
}

impl Delivery {
    /// What would change. Needs the right to read the environments project; products that the caller may not read
    /// are counted, not named.
    ///
    /// # Errors
    /// The caller may not read the environments project, there is no such commit, or nothing was given.
    pub async fn dry_run(&self, caller: &Caller, new: &dto::NewDryRun) -> Result<dto::DryRun> {
        let Some(home) = self.reads_declarations(caller).await? else {
            return Err(no_home(&self.ports.environments));
        };
        let before: BTreeMap<String, Site> = site::store::all(&self.db)
            .await?
            .into_iter()
            .map(|declared| (declared.name, declared.body.0))
            .collect();
        let after = match self.proposed(home, &before, new).await? {
            Ok(sites) => sites,
            Err(refused) => {
                return Ok(dto::DryRun {
                    refused,
                    ..dto::DryRun::default()
                });
            }
        };
        let visible = self.visible(caller).await?;
        let seen = |project: &ProjectId| visible.as_ref().is_none_or(|all| all.contains(project));
        let places = super::store::places(&self.db).await?;
        let mut products: HashMap<String, ProjectId> = places
            .iter()
            .map(|place| (place.project_path.clone(), place.project_id))
            .collect();
        for install in after.values().flat_map(|site| &site.installs) {
            if !products.contains_key(&install.product)
                && let Some(id) = self.ports.projects.find(&install.product).await?
            {
                products.insert(install.product.clone(), id);
            }
        }
        let mut told = dto::DryRun::default();
        for change in diff(&before, &after) {
            let known = products.get(&change.product);
            if change.product.is_empty() || known.is_some_and(seen) {
                told.changes.push(dto::DryRunChange {
                    kind: change.kind.to_owned(),
                    environment: change.environment,
                    product: change.product,
                    text: change.text,
                });
            } else if change.kind == "install_added" {
                // Whether it does not exist or may not be read must look the same.
                told.changes.push(dto::DryRunChange {
                    kind: site::UNKNOWN_PRODUCT.to_owned(),
                    text: format!(
                        "{} is to be installed in {}, and is no project that you may read",
                        change.product, change.environment
                    ),
                    environment: change.environment,
                    product: change.product,
                });
            } else {
                told.hidden += 1;
            }
        }
        if told.changes.is_empty() && told.hidden == 0 {
            return Ok(told);
        }
        let leaving = site::store::leaving(&self.db, None).await?;
        told.changes.extend(too_many(&before, &after, &places, &leaving));
        let agents = fleet::store::agents(&self.db).await?;
        let proposal = Proposal {
            first_agent: agents.iter().min_by_key(|agent| agent.id).map(|agent| agent.id),
            agents: agents.into_iter().map(|agent| (agent.name, agent.id)).collect(),
            products,
            sites: after,
        };
        let (was, will) = (self.world().await?, self.world_with(Some(&proposal)).await?);
        told.changes.extend(misnamed(&was, &will, visible.as_ref()));
        let (was, will) = (stand(&was), stand(&will));
        let rows: Vec<(Place, Stored)> = will
            .into_iter()
            .filter(|(_, (place, _))| place.declared && seen(&place.project_id))
            .filter(|(key, line)| was.get(key).is_none_or(|before| !same(before, line)))
            .map(|(_, line)| line)
            .take(PLANS)
            .collect();
        told.plans = self.veiled(visible.as_ref(), rows).await?;
        Ok(told)
    }

    /// The declarations that would be in force; the inner error says which file is wrong.
    async fn proposed(
        &self,
        home: ProjectId,
        before: &BTreeMap<String, Site>,
        new: &dto::NewDryRun,
    ) -> Result<std::result::Result<BTreeMap<String, Site>, String>> {
        let revision = new.revision.trim();
        if revision.is_empty() == (new.files.is_empty() && !new.complete) {
            return Err(
                Problem::invalid("nothing_given", "Give a revision, or files, and not both.")
                    .next("Name a commit of the environments project, or send its files."),
            );
        }
        if !revision.is_empty() {
            let read = self.read_sites(home, revision).await?;
            return Ok(read.map(|sites| sites.into_iter().map(|site| (site.name.clone(), site)).collect()));
        }
        if new.files.len() > FILES {
            return Err(Problem::too_large(format!("More than {FILES} files were given.")));
        }
        let mut after = if new.complete {
            BTreeMap::new()
        } else {
            before.clone()
        };
        for file in &new.files {
            let name = file.path.rsplit('/').next().unwrap_or(&file.path);
            if file.text.len() > FILE_BYTES {
                return Ok(Err(format!("{name} is too large")));
            }
            match site::parse(&format!("{FOLDER}{name}"), file.text.as_bytes()) {
                Ok(site) => after.insert(site.name.clone(), site),
                Err(fault) => return Ok(Err(fault.to_string())),
            };
        }
        Ok(Ok(after))
    }
}

/// How every install stands, in words, by environment and product.
fn stand(world: &World) -> BTreeMap<(String, String), (Place, Stored)> {
    let mut all = BTreeMap::new();
    for scene in &world.scenes {
        let found = plan(&world.catalogue, &scene.environment);
        let explainer = Explainer::new(&world.catalogue, &scene.environment);
        for (planned, place) in found.installs.iter().zip(&scene.places) {
            let mut stored = told(world, &explainer, planned, &found.coupled, place.declared);
            say_drift(&mut stored, scene, planned, place);
            say_remarks(&mut stored, world, scene, place);
            let key = (place.name.clone(), place.project_path.clone());
            all.insert(key, (place.clone(), stored));
        }
    }
    all
}

/// What would be named that is not there, and is not named yet.
fn misnamed(was: &World, will: &World, visible: Option<&HashSet<ProjectId>>) -> Vec<dto::DryRunChange> {
    let before: HashSet<&Misnamed> = was.scenes.iter().flat_map(|scene| &scene.misnamed).collect();
    let mut told = Vec::new();
    for scene in &will.scenes {
        for named in scene.misnamed.iter().filter(|named| !before.contains(named)) {
            let place = scene
                .places
                .iter()
                .find(|place| place.project_path == named.product);
            let unseen = |place: &Place| visible.is_some_and(|all| !all.contains(&place.project_id));
            if place.is_some_and(unseen) {
                continue;
            }
            told.push(dto::DryRunChange {
                kind: "unknown_name".to_owned(),
                environment: named.site.clone(),
                product: named.product.clone(),
                text: format!("{}. {}", named.text, named.next),
            });
        }
    }
    told
}

fn same(before: &(Place, Stored), after: &(Place, Stored)) -> bool {
    before.0.declared == after.0.declared && before.1.same(&after.1)
}

/// What would be refused for taking away too much at once. It tells numbers alone.
fn too_many(
    before: &BTreeMap<String, Site>,
    after: &BTreeMap<String, Site>,
    places: &[Place],
    leaving: &[Leaving],
) -> Vec<dto::DryRunChange> {
    let mut told = Vec::new();
    for (name, old) in before {
        // A site that is removed counts as it last stood.
        let new = after.get(name);
        let rules = new.unwrap_or(old);
        if !rules.prune {
            continue;
        }
        let stays = |path: &str| new.is_some_and(|site| site.install(path).is_some());
        let goes: Vec<EnvironmentId> = places
            .iter()
            .filter(|place| place.name == *name && place.declared && !stays(&place.project_path))
            .map(|place| place.id)
            .chain(
                leaving
                    .iter()
                    .filter(|one| one.name == *name && !stays(&one.project_path))
                    .map(|one| one.id),
            )
            .collect();
        let staying = new.map_or(0, |site| site.installs.len());
        let decision = decide(rules.prune_limit_percent, &goes, staying, &[]);
        if !decision.refused.is_empty() {
            told.push(dto::DryRunChange {
                kind: "prune_refused".to_owned(),
                environment: name.clone(),
                product: String::new(),
                text: format!("nothing would be taken out of {name}: {}", decision.refused),
            });
        }
    }
    told
}

fn no_home(path: &str) -> Problem {
    Problem::new(
        404,
        "no_environments_project",
        format!("There is no environments project {path} that you may read."),
    )
    .why("A dry run tells what its files would change against what is in force.")
    .next("Create the project, or ask for the right to read it.")
}
