//! Group steps as people see and take them.

use super::{
    CAUSE, Course, Member, Switch,
    groups::{groups, of_a_try},
    order, store,
};
use crate::{
    Delivery,
    deployment::{self, Order, create::permission, instances},
    environment,
    plan::{
        self,
        assemble::{Scene, World},
        words::declared_settings,
    },
    product::{RolloutPolicy, Strategy},
    site,
};
use bascule_core::{Caller, EnvironmentId, Problem, ProjectId, Result};
use bascule_ledger::facts::switch::SwitchAsked;
use bascule_planner::{
    Constraint, Coupled, Scope, Version,
    constraint::{Candidate, Hold},
};
use bascule_wire::delivery as dto;
use std::collections::{HashMap, HashSet};

/// What cannot be set aside: nobody would carry it out.
const NEEDED: [&str; 3] = ["agent", "air_gap", "secret"];

/// A product of a group.
struct Part<'a> {
    place: &'a plan::store::Place,
    from: Option<&'a Version>,
    to: &'a Version,
    /// What holds it at this moment: the kind, and why.
    held: Vec<(String, String)>,
    /// What became of it when it was tried before.
    tried: Vec<String>,
}

impl Delivery {
    /// The group steps that could be taken in an environment, where the caller may read all of their products.
    ///
    /// # Errors
    /// The database refused.
    pub(crate) async fn group_steps(&self, caller: &Caller, name: &str) -> Result<Vec<dto::GroupStep>> {
        let world = self.world_in(&[name.to_owned()]).await?;
        let visible = self.visible(caller).await?;
        let scene = seen(&world, name, visible.as_ref())?;
        let mut found = groups(&world, scene);
        self.measure(scene, &mut found).await?;
        let mut steps = Vec::new();
        for group in &found {
            let parts = parts(&world, scene, group);
            if readable(&parts, visible.as_ref()) {
                steps.push(told(name, &parts, group.downtime_seconds));
            }
        }
        let texts = steps
            .iter_mut()
            .flat_map(|step| step.held.iter_mut().chain(&mut step.tried))
            .collect();
        self.veil_texts(visible.as_ref(), texts).await?;
        Ok(steps)
    }

    /// How long a group will not serve, as its products' last starts took; where none was seen, as long as the
    /// product file allows for one.
    pub(crate) async fn measure(&self, scene: &Scene, groups: &mut [Coupled]) -> Result<()> {
        if groups.is_empty() {
            return Ok(());
        }
        let mut ids: Vec<EnvironmentId> = Vec::new();
        for group in groups.iter() {
            for (product, ..) in &group.members {
                ids.extend(place_of(scene, *product).map(|place| place.id));
            }
        }
        ids.truncate(500);
        let took: HashMap<EnvironmentId, u64> = store::started(&self.db, &ids)
            .await?
            .into_iter()
            .map(|row| (row.environment_id, u64::try_from(row.took).unwrap_or(0)))
            .collect();
        for group in groups.iter_mut() {
            let mut seconds = 0_u64;
            for (product, ..) in &group.members {
                let Some(place) = place_of(scene, *product) else {
                    continue;
                };
                // Where nothing of it serves nothing is missed.
                let Some(serving) = place.serving_id else { continue };
                let serving = deployment::store::get(&self.db, serving).await?;
                let allowed = serving.map_or(0, |serving| serving.product.0.health.start_ms.div_ceil(1_000));
                let one = took
                    .get(&place.id)
                    .map(|micros| micros.div_ceil(1_000_000).max(1));
                let one = one.map_or(allowed, |one| one.min(allowed));
                seconds = seconds.saturating_add(one);
            }
            group.downtime_seconds = seconds;
        }
        Ok(())
    }

    /// Takes a group step: all of it, or none.
    ///
    /// # Errors
    /// There is no such group any more, something holds it, or the caller may not deploy one of its products.
    pub(crate) async fn take_group_step(
        &self,
        caller: &Caller,
        name: &str,
        new: &dto::NewSwitch,
    ) -> Result<dto::Switched> {
        let reason = new.reason.trim();
        if reason.is_empty() {
            return Err(Problem::invalid("reason_missing", "A group step needs a reason.")
                .why("While it is taken nothing of the group serves; others will ask why that was.")
                .next("Say in one sentence why it is taken now."));
        }
        let epoch = plan::store::epoch(&self.db).await?;
        let world = self.world_in(&[name.to_owned()]).await?;
        let visible = self.visible(caller).await?;
        let scene = seen(&world, name, visible.as_ref())?;
        let mut asked: Vec<&str> = new.members.iter().map(|member| member.trim()).collect();
        asked.sort_unstable();
        let all = groups(&world, scene);
        let found = all.iter().map(|group| parts(&world, scene, group)).find(|parts| {
            let mut all: Vec<String> = parts.iter().map(Part::text).collect();
            all.sort_unstable();
            all == asked && readable(parts, visible.as_ref())
        });
        let Some(parts) = found else {
            return Err(Problem::conflict(
                "no_such_group",
                format!("No such group can switch in {name} now."),
            )
            .why("What can switch together follows from what runs and what is released; both change.")
            .next(format!(
                "`bascule plan switch --in {name}` shows the groups that there are."
            )));
        };
        for part in &parts {
            let needed = permission(part.place.tier());
            if !self
                .ports
                .projects
                .holds(caller, part.place.project_id, needed)
                .await?
            {
                return Err(Problem::forbidden(needed));
            }
        }
        let mut held = held(&parts, new.force);
        self.veil_texts(visible.as_ref(), held.iter_mut().collect())
            .await?;
        refuse_held(name, &held, new.force)?;
        self.create_group(
            caller,
            (&world, scene, parts.as_slice()),
            reason,
            new.force,
            epoch,
        )
        .await
    }

    /// All deployments of a group in one transaction, as the world was at an epoch.
    async fn create_group(
        &self,
        caller: &Caller,
        (world, scene, parts): (&World, &Scene, &[Part<'_>]),
        reason: &str,
        force: bool,
        epoch: i64,
    ) -> Result<dto::Switched> {
        let mut orders = Vec::with_capacity(parts.len());
        for part in parts {
            orders.push(self.ordered(world, scene, part, force.then_some(reason)).await?);
        }
        let needs = |a: usize, b: usize| {
            let (Some(a), Some(b)) = (parts.get(a), parts.get(b)) else {
                return false;
            };
            let product = world.catalogue.find(&a.place.project_path);
            let level = product
                .zip(a.from)
                .and_then(|(p, from)| world.catalogue.level(p, from));
            let release = product
                .zip(level)
                .and_then(|(p, level)| world.catalogue.at(p, level));
            release.is_some_and(|release| release.needs.iter().any(|key| **key == *b.place.project_path))
        };
        let mut turn = vec![0_i64; parts.len()];
        for (n, at) in order(parts.len(), needs).into_iter().enumerate() {
            if let Some(turn) = turn.get_mut(at) {
                *turn = i64::try_from(n).unwrap_or(i64::MAX);
            }
        }
        let tx = self.db.begin().await?;
        if !plan::store::claim_epoch(&tx, epoch).await? {
            return Err(
                Problem::conflict("changed", "Something changed while it was looked at.")
                    .why("A group step is taken only as it was shown.")
                    .next("Look at it again, and ask once more."),
            );
        }
        let mut members = Vec::with_capacity(parts.len());
        for ((part, order), place) in parts.iter().zip(orders).zip(turn) {
            let Some(environment) = environment::store::get(&tx, part.place.id).await? else {
                return Err(Problem::internal());
            };
            if let Some(open) = deployment::store::open_in(&tx, environment.id).await? {
                return Err(Problem::conflict(
                    "busy",
                    format!("{} is being deployed in {} now.", open.version, environment.name),
                )
                .why("A group switches as one, from what runs.")
                .next("Wait until it is done."));
            }
            let id = self.create(&tx, &caller.actor, &environment, order).await?;
            members.push(Member {
                deployment_id: id,
                place,
            });
        }
        let Some(first) = members.first().map(|member| member.deployment_id) else {
            return Err(Problem::internal());
        };
        let switch = Switch {
            id: first,
            site: scene.environment.name.clone(),
            actor: caller.actor.name.clone(),
            reason: instances::cut(reason, 1_000),
            course: Course::Open.as_str().to_owned(),
            why: String::new(),
            at: self.now(),
        };
        store::insert(&tx, &switch, &members).await?;
        for (part, member) in parts.iter().zip(&members) {
            let fact = SwitchAsked {
                project: part.place.project_id,
                environment: part.place.id,
                site: switch.site.clone(),
                switch: switch.id,
                deployment: member.deployment_id,
                version: part.to.to_string(),
                products: u32::try_from(parts.len()).unwrap_or(u32::MAX),
                reason: switch.reason.clone(),
            };
            self.ledger.append(&tx, &caller.actor, &fact).await?;
        }
        tx.commit().await?;
        self.wake();
        Ok(dto::Switched {
            id: switch.id,
            deployments: members.into_iter().map(|member| member.deployment_id).collect(),
        })
    }

    /// The order for one product: without two versions at once, whatever it does otherwise.
    async fn ordered(
        &self,
        world: &World,
        scene: &Scene,
        part: &Part<'_>,
        forced: Option<&str>,
    ) -> Result<Order> {
        let version = part.to.to_string();
        let settings = declared_settings(scene, part.place);
        let release = match world.releases.get(&(part.place.project_id, version.clone())) {
            Some(release) => self.ports.releases.get(*release).await?,
            None => None,
        };
        let cannot = |why: &str| {
            Problem::conflict(
                "cannot_switch",
                format!("{} {version} cannot be deployed: {why}.", part.place.project_path),
            )
            .why("A group switches as one, so each of it must be there.")
            .next("Publish a release that can be deployed.")
        };
        let Some(release) = release else {
            return Err(cannot("it is no release that can be fetched any more"));
        };
        let (mut product, found) = match self.product_of(&release, &settings).await? {
            Some(Ok(found)) => found,
            Some(Err(reason)) => return Err(cannot(&reason)),
            None => return Err(cannot("it has no bascule.yaml, so there is nothing to run")),
        };
        product.rollout = RolloutPolicy {
            strategy: Strategy::Recreate,
            steps: vec![100],
            times: Vec::new(),
            pauses: Vec::new(),
            fresh: false,
            staging: None,
            ..product.rollout_in(part.place.tier())
        };
        Ok(Order {
            release,
            product,
            part: found,
            cause: CAUSE,
            forced: forced.unwrap_or_default().to_owned(),
            settings,
        })
    }
}

impl Part<'_> {
    /// `group/project@version`
    fn text(&self) -> String {
        format!("{}@{}", self.place.project_path, self.to)
    }
}

/// An environment of which the caller may read anything.
fn seen<'a>(world: &'a World, name: &str, visible: Option<&HashSet<ProjectId>>) -> Result<&'a Scene> {
    let reads = |place: &plan::store::Place| visible.is_none_or(|all| all.contains(&place.project_id));
    let mut scenes = world.scenes.iter();
    scenes
        .find(|scene| scene.environment.name == name && scene.places.iter().any(reads))
        .ok_or_else(|| site::service::unknown_site(name))
}

/// Whether the caller may read all of a group.
fn readable(parts: &[Part<'_>], visible: Option<&HashSet<ProjectId>>) -> bool {
    parts
        .iter()
        .all(|part| visible.is_none_or(|all| all.contains(&part.place.project_id)))
}

/// Where a product is installed.
fn place_of(scene: &Scene, product: usize) -> Option<&plan::store::Place> {
    let mut both = scene.environment.installs.iter().zip(&scene.places);
    let found = both.find(|(install, _)| install.product == product);
    found.map(|(_, place)| place)
}

/// The products of a group, with what holds each at this moment.
fn parts<'a>(world: &World, scene: &'a Scene, group: &'a Coupled) -> Vec<Part<'a>> {
    let mut all = Vec::with_capacity(group.members.len());
    for (product, from, to) in &group.members {
        let mut installs = scene.environment.installs.iter().zip(&scene.places);
        let Some((install, place)) = installs.find(|(install, _)| install.product == *product) else {
            continue;
        };
        let level = world.catalogue.level(*product, to);
        let release = level.and_then(|level| world.catalogue.at(*product, level));
        let judged = |counts: &dyn Fn(&dyn Constraint) -> bool| -> Vec<Hold> {
            let Some(release) = release else {
                return Vec::new();
            };
            let candidate = Candidate {
                product: &place.project_path,
                from: from.as_ref(),
                release,
                now: scene.environment.now,
            };
            let counting = install
                .constraints
                .iter()
                .filter(|constraint| counts(&***constraint));
            counting
                .filter_map(|constraint| constraint.judge(&candidate))
                .collect()
        };
        let held = judged(&|constraint| constraint.scope() == Scope::Moment);
        let tried = judged(&|constraint| of_a_try(constraint.kind()));
        all.push(Part {
            place,
            from: from.as_ref(),
            to,
            held: held.into_iter().map(|hold| (hold.kind, hold.why)).collect(),
            tried: tried.into_iter().map(|hold| hold.why).collect(),
        });
    }
    all
}

/// What stands against a group at this moment.
fn held(parts: &[Part<'_>], force: bool) -> Vec<String> {
    let each = parts
        .iter()
        .flat_map(|part| part.held.iter().map(move |(kind, why)| (part, kind, why)));
    each.filter(|(_, kind, _)| !force || NEEDED.contains(&kind.as_str()))
        .map(|(part, _, why)| format!("{} {} {why}", part.place.project_path, part.to))
        .collect()
}

fn refuse_held(name: &str, held: &[String], force: bool) -> Result<()> {
    if held.is_empty() {
        return Ok(());
    }
    let problem = Problem::conflict(
        "held",
        format!("The group cannot switch in {name}: {}.", held.join("; ")),
    )
    .why("What holds one product's step holds the group's.");
    Err(if force {
        problem.next("Wait for what is named: without it nobody could carry the step out.")
    } else {
        problem.next("Wait for what is named, or force it: the reason is recorded.")
    })
}

fn told(name: &str, parts: &[Part<'_>], downtime_seconds: u64) -> dto::GroupStep {
    dto::GroupStep {
        environment: name.to_owned(),
        members: parts
            .iter()
            .map(|part| dto::GroupMember {
                product: part.place.project_path.clone(),
                from: part.from.map(ToString::to_string).unwrap_or_default(),
                to: part.to.to_string(),
            })
            .collect(),
        downtime_seconds,
        held: held(parts, false),
        tried: parts
            .iter()
            .flat_map(|part| {
                let name = format!("{} {}", part.place.project_path, part.to);
                part.tried.iter().map(move |why| format!("{name} {why}"))
            })
            .collect(),
    }
}
