//! Planning: one pass over all environments. Steps that may be taken now in declared environments are taken; what
//! changed is recorded. A pass keeps nothing in memory, so it may be killed anywhere: a step is one transaction,
//! and an environment in which a deployment is open gets no second one.

use super::{
    Stored,
    assemble::{Scene, World},
    state_name, store,
};
use crate::{
    Delivery, catalogue, deployment,
    environment::{self, Environment},
    site,
};
use bascule_core::{Actor, Caller, Problem, ProjectId, Result, Timestamp};
use bascule_ledger::facts::delivery::PlanChanged;
use bascule_planner::{
    Coupled, Lift, Link, Planned, Scope, State, Version, against, constraint::Candidate, explain, plan,
    strand,
};
use bascule_store::Json;
use bascule_wire::delivery as dto;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::{PoisonError, atomic::Ordering},
    time::Duration,
};

/// Longest time between two passes, for what no fact tells of: soak times, budgets that recover.
const AT_LATEST: Duration = Duration::from_secs(30);

impl Delivery {
    /// Lets the next turn of the controller plan anew.
    pub(crate) fn plan_soon(&self) {
        self.signals.plan.store(true, Ordering::Release);
        self.wake();
    }

    /// Plans, where something asked for it or time has come.
    pub(crate) async fn plan_if_due(&self) -> Result<()> {
        let now = self.now();
        let asked = self.signals.plan.swap(false, Ordering::AcqRel);
        let due = *self
            .signals
            .plan_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if !asked && due.is_some_and(|at| now < at) {
            return Ok(());
        }
        let next = self.plan_all().await?;
        let latest = now.plus(AT_LATEST);
        let next = next.filter(|at| *at > now).map_or(latest, |at| at.min(latest));
        *self
            .signals
            .plan_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(next);
        Ok(())
    }

    /// One pass; returns when time alone lifts the next hold.
    pub(crate) async fn plan_all(&self) -> Result<Option<Timestamp>> {
        let listed = catalogue::store::all(&self.db).await?;
        self.promote(&listed, &mut self.channels().await?).await?;
        let world = self.world().await?;
        let known: HashMap<_, _> = store::all(&self.db)
            .await?
            .into_iter()
            .map(|stored| (stored.environment_id, stored))
            .collect();
        let mut next: Option<Timestamp> = None;
        for scene in &world.scenes {
            let found = plan(&world.catalogue, &scene.environment);
            for (planned, place) in found.installs.iter().zip(&scene.places) {
                for verdict in &planned.verdicts {
                    if let Some(Lift::At(at)) = verdict.lifts {
                        next = Some(next.map_or(at, |known| known.min(at)));
                    }
                }
                let mut stored = told(&world, scene, planned, &found.coupled, place.declared);
                let drift = drift(scene, place);
                if planned.state == State::UpToDate && place.moving_version.is_some() {
                    // The same version anew, which is no move to the planner.
                    stored.state = state_name(State::Moving).to_owned();
                    stored.why = "a deployment is under way".to_owned();
                } else if planned.state == State::UpToDate && !drift.is_empty() {
                    let heals = scene.site.as_ref().is_some_and(|site| site.heal);
                    let then = if heals {
                        "it is put right"
                    } else {
                        "it is shown, not put right"
                    };
                    stored.state = "drifted".to_owned();
                    stored.why = format!("{}; {then}", drift.join(", "));
                }
                stored.environment_id = place.id;
                stored.at = self.now();
                if known.get(&place.id).is_none_or(|before| !before.same(&stored)) {
                    self.record(place, &stored).await?;
                }
                if let Some(step) = to_take(&world, scene, planned, place) {
                    // One that cannot be taken must not hold up the others.
                    if let Err(problem) = self.take_step(&world, scene, place, step).await {
                        tracing::warn!(site = %scene.environment.name, product = %place.project_path, %problem, "a step could not be taken");
                    }
                }
            }
        }
        Ok(next)
    }

    async fn record(&self, place: &store::Place, stored: &Stored) -> Result<()> {
        let tx = self.db.begin().await?;
        store::put(&tx, stored).await?;
        // Environments that nobody declared are moved by people; their plans are shown, not told of.
        if place.declared {
            let fact = PlanChanged {
                project: place.project_id,
                environment: place.id,
                site: place.name.clone(),
                state: stored.state.clone(),
                current: stored.current.clone(),
                target: stored.target.clone(),
                step: stored.step.clone(),
                why: stored.why.clone(),
            };
            self.ledger.append(&tx, &Actor::system(), &fact).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    async fn take_step(
        &self,
        world: &World,
        scene: &Scene,
        place: &store::Place,
        (version, cause): (String, &'static str),
    ) -> Result<()> {
        let Some(release) = world.releases.get(&(place.project_id, version.clone())) else {
            return Ok(());
        };
        let Some(release) = self.ports.releases.get(*release).await? else {
            return Ok(());
        };
        let (product, part) = match self.product_of(&release).await? {
            Some(Ok(found)) => found,
            Some(Err(reason)) => return Err(Problem::invalid("bad_product", reason)),
            None => return Ok(()),
        };
        let Some(environment) = environment::store::get(&self.db, place.id).await? else {
            return Ok(());
        };
        let order = deployment::Order {
            release,
            product,
            part,
            cause,
            forced: String::new(),
            settings: declared_settings(scene, place),
        };
        let tx = self.db.begin().await?;
        // What is under way is ended by people and by itself, never by a plan.
        if deployment::store::open_in(&tx, place.id).await?.is_some() {
            return Ok(());
        }
        self.create(&tx, &Actor::system(), &environment, order).await?;
        tx.commit().await?;
        tracing::info!(site = %scene.environment.name, product = %place.project_path, %version, "a planned step");
        Ok(())
    }

    /// What is planned, for what the caller may read; of one environment or of all.
    ///
    /// # Errors
    /// The database refused.
    pub async fn plans(&self, caller: &Caller, site: Option<&str>) -> Result<Vec<dto::PlanEntry>> {
        let visible = self.visible(caller).await?;
        let places = store::places(&self.db).await?;
        let mut plans: HashMap<_, _> = store::all(&self.db)
            .await?
            .into_iter()
            .map(|stored| (stored.environment_id, stored))
            .collect();
        Ok(places
            .into_iter()
            .filter(|place| site.is_none_or(|site| place.name == site))
            .filter(|place| visible.as_ref().is_none_or(|all| all.contains(&place.project_id)))
            .filter_map(|place| Some(entry(&place, plans.remove(&place.id)?)))
            .collect())
    }

    /// Why a version does not run in an environment. The product is named by its path, or by its last part where
    /// only one there is called so.
    ///
    /// # Errors
    /// The environment or the product is not there, or the version is none.
    pub async fn why_not(
        &self,
        caller: &Caller,
        site: &str,
        product: &str,
        version: &str,
    ) -> Result<dto::WhyNot> {
        let version: Version = version.parse().map_err(|bad| {
            Problem::invalid("bad_version", format!("{bad}.")).next("Name a version such as 1.1.0.")
        })?;
        let world = self.world().await?;
        let visible = self.visible(caller).await?;
        let seen = |project: &ProjectId| visible.as_ref().is_none_or(|all| all.contains(project));
        let scene = world
            .scenes
            .iter()
            .find(|scene| scene.environment.name == site && scene.places.iter().any(|p| seen(&p.project_id)))
            .ok_or_else(|| site::service::unknown_site(site))?;
        let named: Vec<&store::Place> = scene
            .places
            .iter()
            .filter(|place| seen(&place.project_id))
            .filter(|place| {
                place.project_path == product || place.project_path.rsplit('/').next() == Some(product)
            })
            .collect();
        let place = match named.as_slice() {
            [place] => *place,
            [] => {
                return Err(Problem::invalid(
                    "unknown_product",
                    format!("{product} does not belong in {site}."),
                )
                .next(format!("`bascule plan --in {site}` lists what does.")));
            }
            [..] => {
                let all: Vec<&str> = named.iter().map(|place| place.project_path.as_str()).collect();
                return Err(Problem::invalid(
                    "ambiguous_product",
                    format!("More than one product is called {product}."),
                )
                .next(format!("Name one of {}.", all.join(", "))));
            }
        };
        let why = explain(
            &world.catalogue,
            &scene.environment,
            &place.project_path,
            &version,
        );
        Ok(dto::WhyNot {
            environment: site.to_owned(),
            product: place.project_path.clone(),
            version: version.to_string(),
            clear: why.clear,
            sentence: why.sentence,
            links: why
                .links
                .into_iter()
                .map(|link| dto::WhyLink {
                    kind: link.kind,
                    product: link.product,
                    version: link.version,
                    text: link.text,
                    lifts: link.lifts.as_ref().map(lift).unwrap_or_default(),
                })
                .collect(),
        })
    }

    /// What publishing a release with this `bascule.yaml` would do to the environments that run the product.
    ///
    /// # Errors
    /// The version is none, or the file is wrong.
    pub async fn publish_check(
        &self,
        project: ProjectId,
        path: &str,
        new: &dto::NewPublishCheck,
    ) -> Result<dto::PublishCheck> {
        let version: Version = new.version.trim().parse().map_err(|bad| {
            Problem::invalid("bad_version", format!("{bad}.")).next("Name a version such as 1.1.0.")
        })?;
        let product = crate::product::parse(new.file.as_bytes()).map_err(|bad| {
            Problem::invalid("bad_product", format!("{bad}.")).next("Correct bascule.yaml.")
        })?;
        let mut world = self.world().await?;
        let listed = crate::catalogue::Listed {
            release_id: bascule_core::ReleaseId::new(),
            project_id: project,
            version: version.to_string(),
            sha: String::new(),
            relations: Json(product.relations),
            published_at: self.now(),
            recall_reason: None,
            recall_floor: None,
        };
        let release = listed.to_release(Vec::new()).ok_or_else(Problem::internal)?;
        let environments: Vec<_> = world
            .scenes
            .iter()
            .map(|scene| scene.environment.clone())
            .collect();
        let stranded = strand::strands(&world.catalogue, &environments, path, &release);
        let index = world.catalogue.product(path);
        world.catalogue.publish(index, release);
        Ok(dto::PublishCheck {
            stranded: stranded.into_iter().map(|stranded| stranded.why).collect(),
            warnings: strand::falling(&world.catalogue, path, &version)
                .into_iter()
                .collect(),
        })
    }

    /// What was planned for an environment before, newest first.
    ///
    /// # Errors
    /// The database refused.
    pub async fn plan_log(&self, caller: &Caller, site: &str, limit: i64) -> Result<Vec<dto::PlanEntry>> {
        let visible = self.visible(caller).await?;
        let places: HashMap<_, _> = store::places(&self.db)
            .await?
            .into_iter()
            .filter(|place| place.name == site)
            .filter(|place| visible.as_ref().is_none_or(|all| all.contains(&place.project_id)))
            .map(|place| (place.id, place))
            .collect();
        // Every engine bounds what may be bound; a site has at most some hundreds of products that are shown.
        let ids: Vec<_> = places.keys().take(500).copied().collect();
        let rows = store::log(&self.db, &ids, limit).await?;
        Ok(rows
            .into_iter()
            .filter_map(|row| Some(entry(places.get(&row.environment_id)?, row)))
            .collect())
    }

    async fn visible(&self, caller: &Caller) -> Result<Option<HashSet<ProjectId>>> {
        let visible = self.ports.projects.visible(caller).await?;
        Ok(visible.map(|all| all.into_iter().collect()))
    }

    /// Refuses what a person asks for where dependencies or a recall stand against it.
    pub(crate) async fn fits(&self, environment: &Environment, version: &str) -> Result<()> {
        let Ok(wanted) = version.parse::<Version>() else {
            return Ok(());
        };
        let world = self.world().await?;
        let Some(scene) = world
            .scenes
            .iter()
            .find(|scene| scene.environment.name == environment.name)
        else {
            return Ok(());
        };
        let links = against(
            &world.catalogue,
            &scene.environment,
            &environment.project_path,
            &wanted,
        );
        let declared = scene
            .places
            .iter()
            .any(|place| place.id == environment.id && place.declared);
        let kinds = [
            "dependency",
            "dependent",
            "missing",
            "incompatible",
            "recall",
            "coupled",
            "suppression_window",
            "pin",
        ];
        // Where nobody declared what belongs together, only what the version itself asks for counts: a stranger's
        // range must not hold up a project's own work.
        let own = |link: &&Link| link.product == environment.project_path && link.kind != "dependent";
        let against: Vec<&str> = links
            .iter()
            .filter(|link| link.kind.split('+').any(|kind| kinds.contains(&kind)))
            .filter(|link| declared || own(link))
            .map(|link| link.text.as_str())
            .collect();
        if against.is_empty() {
            return Ok(());
        }
        Err(Problem::conflict(
            "held",
            format!(
                "{version} cannot be put in {}: {}.",
                environment.name,
                against.join("; ")
            ),
        )
        .why("Every change keeps what is installed consistent, and recalled releases are not put anywhere.")
        .next("Wait for what is named, or force it and say why."))
    }
}

/// What a declaration gives a product, above its own.
fn declared_settings(scene: &Scene, place: &store::Place) -> BTreeMap<String, String> {
    scene
        .site
        .as_ref()
        .filter(|_| place.declared)
        .map(|site| site.variables_of(&place.project_path))
        .unwrap_or_default()
}

/// What differs from the declaration, field by field.
fn drift(scene: &Scene, place: &store::Place) -> Vec<String> {
    let (Some(Json(runs)), true) = (&place.settings, place.declared) else {
        return Vec::new();
    };
    let should = declared_settings(scene, place);
    let names: BTreeSet<&String> = runs.keys().chain(should.keys()).collect();
    let text =
        |value: Option<&String>| value.map_or_else(|| "unset".to_owned(), |value| format!("`{value}`"));
    names
        .into_iter()
        .filter(|name| runs.get(*name) != should.get(*name))
        .map(|name| {
            format!(
                "the variable {name} is {}, and should be {}",
                text(runs.get(name)),
                text(should.get(name))
            )
        })
        .collect()
}

/// The version to put in a declared environment now, and why.
fn to_take(
    world: &World,
    scene: &Scene,
    planned: &Planned,
    place: &store::Place,
) -> Option<(String, &'static str)> {
    if !place.declared || place.moving_version.is_some() {
        return None;
    }
    if let (State::Ready, Some(step)) = (planned.state, &planned.step) {
        let cause = if step.back { "recall" } else { "plan" };
        return Some((step.to.to_string(), cause));
    }
    let heals = scene.site.as_ref().is_some_and(|site| site.heal);
    if planned.state != State::UpToDate || !heals || drift(scene, place).is_empty() {
        return None;
    }
    // The same version anew: what holds a moment holds this too, and what failed once is not tried again.
    let current = planned.current.as_ref()?;
    let level = world.catalogue.level(planned.product, current)?;
    let candidate = Candidate {
        product: &place.project_path,
        from: Some(current),
        release: world.catalogue.at(planned.product, level)?,
        now: scene.environment.now,
    };
    let install = scene
        .environment
        .installs
        .iter()
        .find(|install| install.product == planned.product)?;
    let free = install
        .constraints
        .iter()
        .filter(|constraint| constraint.scope() == Scope::Moment || constraint.kind() == "policy")
        .all(|constraint| constraint.judge(&candidate).is_none());
    free.then(|| (current.to_string(), "drift"))
}

/// A plan in words.
fn told(world: &World, scene: &Scene, planned: &Planned, coupled: &[Coupled], declared: bool) -> Stored {
    let text = |version: Option<&Version>| version.map(ToString::to_string).unwrap_or_default();
    let key = world.catalogue.key(planned.product);
    let target = text(planned.target.as_ref());
    let step = text(planned.step.as_ref().map(|step| &step.to));
    let about = |version: &Version| explain(&world.catalogue, &scene.environment, key, version).sentence;
    let why = match (planned.state, &planned.step, &planned.target) {
        (State::UpToDate, _, Some(version)) => {
            let newest = world
                .catalogue
                .releases(planned.product)
                .last()
                .map(|r| &r.version);
            match newest {
                Some(newest) if newest > version => about(newest),
                _ => format!("{version} is the newest that may be here"),
            }
        }
        (State::UpToDate, ..) => "nothing may be here yet".to_owned(),
        (State::Moving, ..) => "a deployment is under way".to_owned(),
        (State::Ready, Some(step), _) if step.back => {
            format!("goes back to {}: what runs was recalled", step.to)
        }
        (State::Ready, Some(step), _) if declared => format!("{} is put here now", step.to),
        (State::Ready, Some(step), _) => format!("{} can be put here", step.to),
        (State::Coupled, _, _) => {
            let group = coupled.iter().find(|group| {
                group
                    .members
                    .iter()
                    .any(|(product, ..)| *product == planned.product)
            });
            let names: Vec<String> = group
                .into_iter()
                .flat_map(|group| &group.members)
                .map(|(product, _, to)| format!("{} {to}", world.catalogue.key(*product)))
                .collect();
            let seconds = group.map_or(0, |group| group.downtime_seconds);
            format!(
                "can only switch together: {}; about {seconds} seconds without service, on a person's word",
                names.join(", ")
            )
        }
        (_, Some(step), _) => about(&step.to),
        (_, None, Some(version)) => about(version),
        (_, None, None) => String::new(),
    };
    Stored {
        environment_id: bascule_core::EnvironmentId::new(),
        state: state_name(planned.state).to_owned(),
        current: text(planned.current.as_ref()),
        target,
        step,
        why,
        verdicts: Json(planned.verdicts.clone()),
        at: Timestamp::default(),
    }
}

fn entry(place: &store::Place, stored: Stored) -> dto::PlanEntry {
    let Json(verdicts) = stored.verdicts;
    dto::PlanEntry {
        environment: place.name.clone(),
        tier: if place.tier == "production" {
            bascule_wire::agent::Tier::Production
        } else {
            bascule_wire::agent::Tier::Staging
        },
        product: place.project_path.clone(),
        declared: place.declared,
        state: stored.state,
        current: stored.current,
        target: stored.target,
        step: stored.step,
        why: stored.why,
        verdicts: verdicts
            .into_iter()
            .map(|verdict| dto::PlanVerdict {
                kind: verdict.kind,
                why: verdict.why,
                lifts: verdict.lifts.as_ref().map(lift).unwrap_or_default(),
            })
            .collect(),
        at: stored.at,
    }
}

fn lift(lift: &Lift) -> String {
    match lift {
        Lift::At(at) => at.to_string(),
        Lift::When(event) => event.clone(),
    }
}
