//! The pass over all environments. Steps that may be taken now in declared environments are taken; what changed is
//! recorded. A pass keeps nothing that matters in memory, so it may be killed anywhere: a step is one transaction,
//! an environment in which a deployment is open gets no second one, and a step that was planned from what has
//! changed since is not taken (the *epoch*), so that several servers may plan at once.

use super::{
    Stored,
    assemble::{Scene, World},
    state_name, store,
    words::{declared_settings, drift, told},
};
use crate::{Delivery, catalogue, controller::claim::Claim, deployment, environment};
use bascule_core::{Actor, Result, Timestamp};
use bascule_ledger::facts::delivery::PlanChanged;
use bascule_planner::{Explainer, Lift, Planned, Scope, State, constraint::Candidate, plan};
use std::{collections::HashMap, time::Duration};
use tokio_util::sync::CancellationToken;

/// Longest time between two passes while something waits for what no fact tells of: soak times, budgets that
/// recover, disks that are cleared.
const AT_LATEST: Duration = Duration::from_secs(30);
/// Longest time between two passes otherwise.
const IDLE: Duration = Duration::from_secs(300);
/// How often another server's changes are looked for.
const LOOK: Duration = Duration::from_secs(1);

/// Plans until `stop`.
pub(crate) async fn run(delivery: Delivery, stop: CancellationToken) {
    let mut planner = Planner::new(delivery);
    loop {
        let begun = tokio::time::Instant::now();
        if let Err(error) = planner.turn().await {
            tracing::error!(%error, "plans could not be made; they are made again");
            planner.seen = None;
        }
        // At most half of one core goes to planning, whatever comes in.
        let rest = begun
            .elapsed()
            .clamp(Duration::from_millis(5), Duration::from_secs(5));
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(rest) => {}
        }
        tokio::select! {
            () = stop.cancelled() => break,
            () = planner.delivery.signals.replan.notified() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
    }
    planner.claim.release().await;
}

/// One process's planning.
pub(crate) struct Planner {
    delivery: Delivery,
    claim: Claim,
    /// The epoch that the last pass was made of.
    seen: Option<i64>,
    due: Option<Timestamp>,
}

/// What became of a step.
enum Taken {
    /// It is under way, and the epoch is now this.
    Yes(i64),
    /// It cannot be taken.
    No,
    /// What it was planned from has changed.
    Stale,
}

/// What a pass leaves to wait for.
#[derive(Default)]
struct Waits {
    at: Option<Timestamp>,
    /// Something waits for what no fact tells of.
    quiet: bool,
}

impl Planner {
    pub fn new(delivery: Delivery) -> Self {
        Self {
            claim: Claim::new(delivery.clone(), "delivery.plan"),
            delivery,
            seen: None,
            due: None,
        }
    }

    /// Plans, where something changed or time has come.
    pub async fn turn(&mut self) -> Result<()> {
        if !self.claim.holds().await? {
            self.seen = None;
            return Ok(());
        }
        let delivery = self.delivery.clone();
        let now = delivery.now();
        let epoch = store::epoch(&delivery.db).await?;
        if self.seen == Some(epoch) && self.due.is_some_and(|at| now < at) {
            return Ok(());
        }
        let Some((seen, waits)) = self.pass().await? else {
            self.seen = None;
            delivery.signals.replan.notify_one();
            return Ok(());
        };
        let latest = now.plus(if waits.quiet { AT_LATEST } else { IDLE });
        let next = waits
            .at
            .filter(|at| *at > now)
            .map_or(latest, |at| at.min(latest));
        (self.seen, self.due) = (Some(seen), Some(next));
        Ok(())
    }

    /// One pass; `None` where what it was made of has changed meanwhile.
    async fn pass(&mut self) -> Result<Option<(i64, Waits)>> {
        let delivery = self.delivery.clone();
        // Everything that the plans are made of is read after their epoch: what changes later raises it.
        let (seen, listed, channels, waits) = loop {
            let epoch = store::epoch(&delivery.db).await?;
            let listed = catalogue::store::all(&delivery.db).await?;
            let channels = delivery.channels().await?;
            let promoted = delivery.promote(&listed, &channels).await?;
            if !promoted.any {
                break (epoch, listed, channels, promoted.waits);
            }
        };
        let mut waits = Waits {
            quiet: waits,
            ..Waits::default()
        };
        let mut epoch = seen;
        let world = delivery.world_of(listed, channels).await?;
        let known: HashMap<_, _> = store::all(&delivery.db)
            .await?
            .into_iter()
            .map(|stored| (stored.environment_id, stored))
            .collect();
        let mut taken = 0;
        for scene in &world.scenes {
            if !self.claim.holds().await? {
                return Ok(None);
            }
            let found = plan(&world.catalogue, &scene.environment);
            let explainer = Explainer::new(&world.catalogue, &scene.environment);
            let mut changed = Vec::new();
            let mut steps = Vec::new();
            for (planned, place) in found.installs.iter().zip(&scene.places) {
                waits.note(planned);
                let mut stored = told(&world, &explainer, planned, &found.coupled, place.declared);
                say_drift(&mut stored, scene, planned, place);
                stored.environment_id = place.id;
                stored.at = delivery.now();
                match known.get(&place.id) {
                    Some(before) if before.same(&stored) => {
                        if before.verdicts.0 != stored.verdicts.0 {
                            changed.push((place, stored, false));
                        }
                    }
                    _ => changed.push((place, stored, true)),
                }
                if let Some(step) = to_take(&world, scene, planned, place) {
                    steps.push((place, step));
                }
            }
            delivery.record(&changed).await?;
            for (place, step) in steps {
                match delivery.take_step(&world, scene, place, step, epoch).await {
                    Ok(Taken::Yes(now)) => {
                        epoch = now;
                        taken += 1;
                    }
                    Ok(Taken::No) => {}
                    Ok(Taken::Stale) => return Ok(None),
                    // One that cannot be taken must not hold up the others.
                    Err(problem) => {
                        waits.quiet = true;
                        tracing::warn!(site = %scene.environment.name, product = %place.project_path, %problem, "a step could not be taken");
                    }
                }
            }
        }
        match delivery.prune_left(&world, epoch).await {
            Ok(waiting) => waits.quiet |= waiting,
            Err(problem) => {
                waits.quiet = true;
                tracing::warn!(%problem, "what is no longer declared could not be taken away; it is tried again");
            }
        }
        // What was taken is told of by the next pass.
        Ok(Some((if taken > 0 { seen } else { epoch }, waits)))
    }
}

impl Waits {
    fn note(&mut self, planned: &Planned) {
        for verdict in &planned.verdicts {
            match &verdict.lifts {
                Some(Lift::At(at)) => self.at = Some(self.at.map_or(*at, |known| known.min(*at))),
                Some(Lift::When(_)) => self.quiet = true,
                None => {}
            }
        }
    }
}

/// The same version anew, and what differs from the declaration, are no move to the planner.
pub(super) fn say_drift(stored: &mut Stored, scene: &Scene, planned: &Planned, place: &store::Place) {
    if planned.state != State::UpToDate {
        return;
    }
    let drift = drift(scene, place);
    if place.moving_version.is_some() {
        state_name(State::Moving).clone_into(&mut stored.state);
        "a deployment is under way".clone_into(&mut stored.why);
    } else if !drift.is_empty() {
        let heals = scene.site.as_ref().is_some_and(|site| site.heal);
        let then = if heals {
            "it is put right"
        } else {
            "it is shown, not put right"
        };
        "drifted".clone_into(&mut stored.state);
        stored.why = format!("{}; {then}", drift.join(", "));
    }
}

impl Delivery {
    /// Keeps what changed in one environment. Where only a verdict changed that decides nothing, the plan is kept
    /// up to date without being told anew.
    async fn record(&self, changed: &[(&store::Place, Stored, bool)]) -> Result<()> {
        if changed.is_empty() {
            return Ok(());
        }
        let tx = self.db.begin().await?;
        for (place, stored, news) in changed {
            store::put(&tx, stored, *news).await?;
            // Environments that nobody declared are moved by people; their plans are shown, not told of.
            if *news && place.declared {
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
        epoch: i64,
    ) -> Result<Taken> {
        let settings = declared_settings(scene, place);
        let release = match world.releases.get(&(place.project_id, version.clone())) {
            Some(release) => self.ports.releases.get(*release).await?,
            None => None,
        };
        let found = match &release {
            None => Err("it is no release that can be fetched any more".to_owned()),
            Some(release) => match self.product_of(release, &settings).await? {
                Some(found) => found,
                None => Err("it has no bascule.yaml, so there is nothing to run".to_owned()),
            },
        };
        let (Some(release), Ok((product, part))) = (release, &found) else {
            // Not tried again at every pass: the plan says why it is not taken.
            let reason = format!("it cannot be deployed: {}", found.err().unwrap_or_default());
            let tx = self.db.begin().await?;
            store::put_failure(&tx, place.id, &version, &reason, &settings, self.now()).await?;
            self.replan(&tx).await?;
            tx.commit().await?;
            return Ok(Taken::No);
        };
        let Some(environment) = environment::store::get(&self.db, place.id).await? else {
            return Ok(Taken::No);
        };
        let order = deployment::Order {
            release,
            product: product.clone(),
            part: part.clone(),
            cause,
            forced: String::new(),
            settings,
        };
        let tx = self.db.begin().await?;
        // What the plan was made of must still be so: whoever changes it waits for this transaction, or this one
        // sees that they did.
        if !store::claim_epoch(&tx, epoch).await? {
            return Ok(Taken::Stale);
        }
        // What is under way is ended by people and by itself, never by a plan.
        if deployment::store::open_in(&tx, place.id).await?.is_some() {
            return Ok(Taken::No);
        }
        self.create(&tx, &Actor::system(), &environment, order).await?;
        let epoch = store::epoch(&tx).await?;
        tx.commit().await?;
        tracing::info!(site = %scene.environment.name, product = %place.project_path, %version, "a planned step");
        Ok(Taken::Yes(epoch))
    }
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
