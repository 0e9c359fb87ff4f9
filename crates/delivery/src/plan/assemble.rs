//! From tables to the planner's input: the whole catalogue, and one environment for each name, in a fixed number
//! of queries.

use super::{
    bearings::recalled,
    dry_run::Proposal,
    names::{self, misnamed},
    promotions::Promotions,
    remarks::Recommendations,
    store::{self, Place},
};
use crate::{
    Delivery,
    catalogue::{
        self,
        store::{Approved, Found},
    },
    fleet,
    site::{self, Site, Suppressed, store::Misnamed},
};
use bascule_core::{AgentId, EnvironmentId, ProjectId, ReleaseId, Result};
use bascule_planner::{
    Catalogue, Constraint, Environment, Install, Version,
    calendar::Calendar,
    constraint::{
        Agent, Approval, Capacity, Carried, Channel, Drill, ErrorBudget, FailedHere, Health, Incident,
        Maintenance, Pin, Policy, PolicyVerdict, RolledBack, Suppression,
    },
};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

/// A machine's clock may be off by this much before windows on it are refused, in milliseconds.
const SKEW_LIMIT_MS: i64 = 60_000;
/// Share of an environment's products that fail, and how many at least, for all changes there to be held.
const FAILING: (usize, usize) = (3, 3);

/// One environment's name, its declaration, and the products in it, in the planner's order.
pub(crate) struct Scene {
    pub site: Option<Site>,
    /// What its declaration names that is not there.
    pub misnamed: Vec<Misnamed>,
    pub places: Vec<Place>,
    pub environment: Environment,
}

/// All that is planned with.
pub(crate) struct World {
    pub catalogue: Catalogue,
    /// By project and version.
    pub releases: Arc<HashMap<(ProjectId, String), ReleaseId>>,
    /// What releases are best run with.
    pub recommended: Arc<Recommendations>,
    pub scenes: Vec<Scene>,
}

struct Known {
    sites: BTreeMap<String, Site>,
    suppressed: Vec<Suppressed>,
    approvals: Vec<Approved>,
    failures: HashMap<EnvironmentId, Vec<(Version, String)>>,
    agents: HashMap<AgentId, fleet::Agent>,
    /// Share of the error budget left.
    budgets: HashMap<EnvironmentId, f64>,
    /// The number of an open incident.
    incidents: HashMap<ProjectId, i64>,
    /// What is practised, by environment.
    drills: BTreeMap<String, String>,
    /// Findings that count, where any environment asks.
    findings: HashMap<ProjectId, Vec<Found>>,
    /// What releases that are not in a channel wait for.
    promotions: Promotions,
    /// The channels that there are.
    channels: Arc<names::Channels>,
    /// Teams that are asked for approval and do not exist.
    nobody: HashSet<String>,
}

impl Delivery {
    /// Reads everything; changes nothing.
    pub(crate) async fn world(&self) -> Result<World> {
        self.world_from(None, None).await
    }

    /// The same, with declarations in place of those in force.
    pub(super) async fn world_with(&self, proposal: Option<&Proposal>) -> Result<World> {
        self.world_from(None, proposal).await
    }

    /// Reads what plans of the environments of some names are made of, and nothing else.
    pub(crate) async fn world_in(&self, names: &[String]) -> Result<World> {
        // No environment is called so; an empty list is none that every engine reads.
        let none = [String::new()];
        let names = if names.is_empty() { &none } else { names };
        self.world_from(Some(names), None).await
    }

    async fn world_from(&self, names: Option<&[String]>, proposal: Option<&Proposal>) -> Result<World> {
        let shelf = self.shelf().await?;
        let mut places = match names {
            Some(names) => store::places_of(&self.db, names).await?,
            None => store::places(&self.db).await?,
        };
        self.overlay_reports(&mut places).await?;
        if let Some(proposal) = proposal {
            proposal.apply(&mut places);
        }
        let mut catalogue = shelf.catalogue.clone();
        if complete(&mut catalogue, &shelf.releases, &places) {
            self.forget_shelf().await;
        }
        let mut known = self.known(names, &places, &catalogue, proposal).await?;
        known.promotions = self.promotions(&shelf, &known.sites, &places).await?;
        known.channels = shelf.named.clone();
        let mut by_name: BTreeMap<String, Vec<Place>> = BTreeMap::new();
        for place in places {
            by_name.entry(place.name.clone()).or_default().push(place);
        }
        let mut scenes: Vec<Scene> = by_name
            .into_iter()
            .map(|(name, places)| self.scene(&mut catalogue, &known, &name, places))
            .collect();
        let bearings = self.bearings(&shelf.ramps).await?;
        for scene in &mut scenes {
            bearings.hold(&catalogue, scene);
            super::waves::hold(&catalogue, scene);
        }
        Ok(World {
            catalogue,
            releases: shelf.releases.clone(),
            recommended: shelf.recommended.clone(),
            scenes,
        })
    }

    async fn known(
        &self,
        names: Option<&[String]>,
        places: &[Place],
        catalogue: &Catalogue,
        proposal: Option<&Proposal>,
    ) -> Result<Known> {
        let sites: BTreeMap<String, Site> = match (proposal, names) {
            (Some(proposal), _) => proposal.sites.clone(),
            (None, Some(names)) => by_name(site::store::some(&self.db, names).await?),
            (None, None) => by_name(site::store::all(&self.db).await?),
        };
        let mut failures: HashMap<EnvironmentId, Vec<(Version, String)>> = HashMap::new();
        let declared: HashMap<EnvironmentId, &Place> = places.iter().map(|place| (place.id, place)).collect();
        let failed = match names {
            Some(names) => store::failures_in(&self.db, names).await?,
            None => store::failures(&self.db).await?,
        };
        for failure in failed {
            // With other variables, or by another driver, it is another try.
            let given = declared
                .get(&failure.environment_id)
                .and_then(|place| Some(sites.get(&place.name)?.settings_of(&place.project_path)));
            if given.is_some_and(|given| given != failure.settings.0) {
                continue;
            }
            if let Ok(version) = failure.version.parse::<Version>() {
                failures
                    .entry(failure.environment_id)
                    .or_default()
                    .push((version, failure.reason.trim_end_matches('.').to_owned()));
            }
        }
        let mut budgets = HashMap::new();
        for place in places.iter().filter(|place| place.declared) {
            let asked = sites.get(&place.name).is_some_and(|site| site.budget_percent > 0);
            if asked
                && newer_exists(catalogue, place)
                && let Some(left) = self.budget_left(place.id).await?
            {
                budgets.insert(place.id, left);
            }
        }
        let (approvals, agents) = match names {
            Some(names) => (
                catalogue::store::approvals_in(&self.db, names).await?,
                fleet::store::agents_in(&self.db, names).await?,
            ),
            None => (
                catalogue::store::approvals(&self.db).await?,
                fleet::store::agents(&self.db).await?,
            ),
        };
        let nobody = self.nobody(&sites).await?;
        let mut findings: HashMap<ProjectId, Vec<Found>> = HashMap::new();
        if let Some(least) = sites.values().filter_map(|site| site.findings).min() {
            for found in catalogue::store::counting(&self.db, least.rank()).await? {
                findings.entry(found.project_id).or_default().push(found);
            }
        }
        Ok(Known {
            drills: store::drills(&self.db)
                .await?
                .into_iter()
                .map(|drill| (drill.environment, format!("{} ({})", drill.number, drill.reason)))
                .collect(),
            findings,
            sites,
            suppressed: site::store::suppressed(&self.db, self.now()).await?,
            approvals,
            failures,
            agents: agents.into_iter().map(|agent| (agent.id, agent)).collect(),
            budgets,
            incidents: store::incidents(&self.db).await?,
            promotions: Promotions::new(),
            channels: Arc::default(),
            nobody,
        })
    }

    fn scene(&self, catalogue: &mut Catalogue, known: &Known, name: &str, mut places: Vec<Place>) -> Scene {
        let site = known.sites.get(name).cloned();
        // Only what stands in a file is moved by it.
        for place in &mut places {
            let named = site
                .as_ref()
                .is_some_and(|site| site.install(&place.project_path).is_some());
            place.declared &= named;
        }
        let calendar = Arc::new(site.as_ref().and_then(Site::calendar).unwrap_or_default());
        let failing: Vec<(String, String)> = places
            .iter()
            .filter(|place| place.serving_version.is_some())
            .filter_map(|place| {
                let state = place.instance_state.clone()?;
                // One that crashes again and again is between two crashes no better.
                (!matches!(state.as_str(), "healthy" | "draining"))
                    .then(|| (place.project_path.clone(), "not healthy".to_owned()))
            })
            .collect();
        let installs = places
            .iter()
            .map(|place| {
                let product = catalogue.product(&place.project_path);
                let mut install = Install::new(product, version(place.serving_version.as_ref()));
                install.moving = version(place.moving_version.as_ref());
                if let Some(site) = &site
                    && place.declared
                {
                    install.prereleases = site.prereleases;
                    let recalled = recalled(catalogue, &install);
                    install.constraints =
                        constraints(known, site, &calendar, place, &failing, places.len(), recalled);
                } else {
                    install.prereleases = true;
                }
                install
            })
            .collect();
        let misnamed = site.as_ref().map_or_else(Vec::new, |site| {
            misnamed(site, &places, &known.channels, &known.nobody)
        });
        Scene {
            site,
            misnamed,
            environment: Environment {
                name: name.to_owned(),
                installs,
                now: self.now(),
            },
            places,
        }
    }
}

/// What runs and is in no catalogue is known by its version alone; whether there is any.
fn complete(
    catalogue: &mut Catalogue,
    releases: &HashMap<(ProjectId, String), ReleaseId>,
    places: &[Place],
) -> bool {
    let mut any = false;
    for place in places {
        for text in [&place.serving_version, &place.moving_version]
            .into_iter()
            .flatten()
        {
            if releases.contains_key(&(place.project_id, text.clone())) {
                continue;
            }
            let Ok(version) = text.parse::<Version>() else {
                continue;
            };
            let product = catalogue.product(&place.project_path);
            if catalogue.level(product, &version).is_none() {
                catalogue.publish(product, bascule_planner::Release::plain(version));
                any = true;
            }
        }
    }
    any
}

fn by_name(declared: Vec<site::Declared>) -> BTreeMap<String, Site> {
    declared
        .into_iter()
        .map(|declared| (declared.name, declared.body.0))
        .collect()
}

/// Whether anything newer than what serves was released, so that budgets matter.
fn newer_exists(catalogue: &Catalogue, place: &Place) -> bool {
    let newest = catalogue
        .find(&place.project_path)
        .and_then(|product| catalogue.releases(product).last());
    newest.map(|release| &release.version) > version(place.serving_version.as_ref()).as_ref()
}

fn version(text: Option<&String>) -> Option<Version> {
    text?.parse().ok()
}

/// Versions that an environment keeps out for their findings: each by its worst.
fn findings(known: &Known, site: &Site, place: &Place) -> Vec<PolicyVerdict> {
    let Some(level) = site.findings else {
        return Vec::new();
    };
    let mut refused: Vec<PolicyVerdict> = Vec::new();
    let found = known.findings.get(&place.project_id).into_iter().flatten();
    for found in found.filter(|found| found.severity >= level.rank()) {
        if let Ok(version) = found.version.parse::<Version>()
            && refused.iter().all(|known| known.version != version)
        {
            refused.push(PolicyVerdict {
                version,
                policy: "findings".to_owned(),
                reason: found.words(),
            });
        }
    }
    refused
}

/// All that bears on one product in a declared environment.
fn constraints(
    known: &Known,
    site: &Site,
    calendar: &Arc<Calendar>,
    place: &Place,
    failing: &[(String, String)],
    all: usize,
    recalled: bool,
) -> Vec<Arc<dyn Constraint>> {
    let mut holds: Vec<Arc<dyn Constraint>> = Vec::new();
    let declared = site.install(&place.project_path);
    let channel = site.channel_of(declared);
    holds.push(Arc::new(Channel {
        name: channel.to_owned(),
        promotions: known
            .promotions
            .get(&(place.project_id, channel.to_owned()))
            .cloned()
            .unwrap_or_default(),
        named: known.channels.get(&place.project_id).cloned().unwrap_or_default(),
    }));
    if let Some(install) = declared
        && let Ok(versions) = install.pin.parse()
    {
        holds.push(Arc::new(Pin {
            versions,
            reason: install.pin_reason.clone(),
        }));
    }
    holds.push(Arc::new(Policy {
        refused: findings(known, site, place),
    }));
    if let Some(versions) = known.failures.get(&place.id).cloned() {
        holds.push(Arc::new(FailedHere { versions }));
    }
    if let Some(drill) = known.drills.get(&site.name) {
        holds.push(Arc::new(Drill(drill.clone())));
    }
    if let (Some(from), Some(by)) = (version(place.left_version.as_ref()), &place.left_by) {
        holds.push(Arc::new(RolledBack { from, by: by.clone() }));
    }
    let scope = format!("environment:{}", site.name);
    let teams = site
        .approvals
        .iter()
        .chain(declared.into_iter().flat_map(|i| &i.approvals));
    for team in teams {
        let given = known
            .approvals
            .iter()
            .filter(|a| a.project_id == place.project_id && a.scope == scope && a.team == *team)
            .filter_map(|a| a.version.parse().ok());
        holds.push(Arc::new(Approval {
            by: team.clone(),
            given: given.collect(),
            nobody: known.nobody.contains(team),
        }));
    }
    holds.push(Arc::new(Maintenance {
        calendar: Arc::clone(calendar),
    }));
    for open in known
        .suppressed
        .iter()
        .filter(|open| open.site == site.name || open.site == "*")
    {
        holds.push(Arc::new(Suppression {
            reason: open.reason.clone(),
            until: open.until_at,
        }));
    }
    let (share, least) = FAILING;
    if site.calendar().is_none() {
        holds.push(Arc::new(Suppression {
            reason: "its windows can no longer be read; push its file anew".to_owned(),
            until: None,
        }));
    }
    if failing.len() >= least && failing.len() * share > all {
        holds.push(Arc::new(Suppression {
            reason: format!("a third or more of the products here fail, at least {least}"),
            until: None,
        }));
    }
    holds.push(Arc::new(Health {
        unhealthy: failing.to_vec(),
    }));
    // Away from a recalled version nothing of the product's own standing holds it.
    if !recalled {
        if let Some(left) = known.budgets.get(&place.id) {
            holds.push(Arc::new(ErrorBudget {
                left: *left,
                least: f64::from(site.budget_percent) / 100.0,
            }));
        }
        if let Some(number) = known.incidents.get(&place.project_id) {
            holds.push(Arc::new(Incident(format!("incident {number}"))));
        }
    }
    let agent = place.agent_id.and_then(|id| known.agents.get(&id));
    if let (Some(agent), Some(size)) = (agent, place.artifact_size) {
        // Fetched, unpacked, and beside the one that runs.
        let size = u64::try_from(size).unwrap_or(0);
        holds.push(Arc::new(Capacity {
            disk_free_bytes: u64::try_from(agent.disk_free).unwrap_or(0),
            disk_needed_bytes: size.saturating_mul(3),
        }));
    }
    if site.disconnected {
        holds.push(Arc::new(Carried));
        return holds;
    }
    holds.push(Arc::new(Agent {
        name: agent.map(|agent| agent.name.clone()),
        asked: site.agent.clone(),
        online: agent.is_some_and(|agent| agent.online),
        skew_ms: agent.map_or(0, |agent| agent.skew_ms),
        skew_limit_ms: (!calendar.is_always()).then_some(SKEW_LIMIT_MS),
    }));
    holds
}
