//! Planning, environment by environment: those that something changed for, and those for which time has come. Steps
//! that may be taken now in declared environments are taken; what changed is recorded. Nothing that matters is kept
//! in memory, so it may be killed anywhere: a step is one transaction, an environment in which a deployment is open
//! gets no second one, and a step that was planned from what has changed since is not taken (the *epoch*), so that
//! several servers may plan at once.

use super::{
    Change, Stored,
    assemble::{Scene, World},
    dues::Dues,
    remarks::say_remarks,
    state_name, store,
    words::{declared_settings, drift, told},
};
use crate::{Delivery, controller::claim::Claim, deployment, environment};
use bascule_core::{Actor, Result, Timestamp};
use bascule_ledger::facts::delivery::PlanChanged;
use bascule_planner::{Explainer, Lift, Planned, Scope, State, constraint::Candidate, plan};
use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// Longest time until an environment is planned again that waits for what no fact tells of: soak times, budgets that
/// recover, disks that are cleared.
const AT_LATEST: Duration = Duration::from_secs(30);
/// How often everything is planned, whatever changed: a net under what nobody wrote down. It is to find nothing.
const NET: Duration = Duration::from_secs(15 * 60);
/// How often another server's changes are looked for.
const LOOK: Duration = Duration::from_secs(1);
/// Environments that are read and planned together.
const TOGETHER: usize = 50;
/// Changes that are looked at one by one; after more of them everything is planned.
const CHANGES: i64 = 5_000;
/// How often a pass begins anew because what it was made of changed, before others get their turn.
const ANEW: usize = 20;

/// Plans until `stop`.
pub(crate) async fn run(delivery: Delivery, stop: CancellationToken) {
    let mut planner = Planner::new(delivery);
    loop {
        let begun = tokio::time::Instant::now();
        if let Err(error) = planner.turn().await {
            tracing::error!(%error, "plans could not be made; they are made again");
            planner.forget();
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
    /// The epoch whose changes are all planned, or to be planned.
    seen: Option<i64>,
    /// Environments to be planned.
    todo: BTreeSet<String>,
    /// Those of them for which nothing was written down, so that nothing should be found.
    net: BTreeSet<String>,
    dues: Dues,
    /// When releases may earn channels that no fact tells of.
    promote: Option<Timestamp>,
    /// When what is no longer declared may go.
    prune: Option<Timestamp>,
    /// When everything is planned again.
    all: Timestamp,
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

/// What became of what was to be planned.
enum Done {
    /// All of it, and the epoch is now this.
    All(i64),
    /// What it was made of has changed: the rest is made anew.
    Stale,
    /// Another server plans.
    Lost,
}

/// What a plan waits for.
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
            all: delivery.now(),
            delivery,
            seen: None,
            todo: BTreeSet::new(),
            net: BTreeSet::new(),
            dues: Dues::default(),
            promote: None,
            prune: None,
        }
    }

    /// Knows nothing any more: everything is planned next.
    fn forget(&mut self) {
        self.seen = None;
        self.todo.clear();
        self.net.clear();
        self.dues = Dues::default();
    }

    /// Plans, where something changed or time has come.
    pub async fn turn(&mut self) -> Result<()> {
        if !self.claim.holds().await? {
            self.forget();
            return Ok(());
        }
        let now = self.delivery.now();
        let due = |at: Option<Timestamp>| at.is_some_and(|at| at <= now);
        let epoch = store::epoch(&self.delivery.db).await?;
        let rests = self.seen == Some(epoch)
            && self.todo.is_empty()
            && now < self.all
            && !self.dues.any(now)
            && !due(self.promote)
            && !due(self.prune);
        if rests {
            return Ok(());
        }
        self.todo.extend(self.dues.at(now));
        if !self.pass(now).await? {
            self.delivery.signals.replan.notify_one();
        }
        Ok(())
    }

    /// Plans what is to be planned; whether all of it was.
    async fn pass(&mut self, now: Timestamp) -> Result<bool> {
        let delivery = self.delivery.clone();
        for _ in 0..ANEW {
            // Everything that plans are made of is read after their epoch: what changes later raises it.
            let epoch = loop {
                let epoch = self.note(now).await?;
                let shelf = delivery.shelf().await?;
                let promoted = delivery.promote(&shelf.promotable, &shelf.channels).await?;
                if !promoted.any {
                    self.promote = promoted.waits.then(|| now.plus(AT_LATEST));
                    break epoch;
                }
            };
            match self.plan_all(epoch).await? {
                Done::Stale => {}
                Done::Lost => {
                    self.forget();
                    return Ok(false);
                }
                Done::All(epoch) => {
                    let waiting = match delivery.prune_left(epoch).await {
                        Ok(waiting) => waiting,
                        Err(problem) => {
                            tracing::warn!(%problem, "what is no longer declared could not be taken away; it is tried again");
                            true
                        }
                    };
                    self.prune = waiting.then(|| now.plus(AT_LATEST));
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Notes what has to be planned since it was noted last; the epoch that this is of.
    async fn note(&mut self, now: Timestamp) -> Result<i64> {
        let delivery = self.delivery.clone();
        let epoch = store::epoch(&delivery.db).await?;
        let all = match self.seen {
            None => true,
            Some(seen) if seen == epoch => false,
            Some(seen) => !self.note_changes(seen, epoch).await?,
        };
        if all || now >= self.all {
            // Where something asks for it, it may find something.
            let names = store::names(&delivery.db).await?.into_iter().map(|row| row.name);
            let names: BTreeSet<String> = names.collect();
            self.net = if all {
                BTreeSet::new()
            } else {
                names.difference(&self.todo).cloned().collect()
            };
            self.todo.extend(names);
            self.all = now.plus(NET);
            let tx = delivery.db.begin().await?;
            store::forget_changes(&tx, epoch).await?;
            tx.commit().await?;
        }
        self.seen = Some(epoch);
        Ok(epoch)
    }

    /// Notes what the changes from one epoch to another bear on; `false`: on everything, or nobody knows.
    async fn note_changes(&mut self, from: i64, to: i64) -> Result<bool> {
        let db = &self.delivery.db;
        let changes = store::changed_since(db, from, CHANGES).await?;
        // Each epoch says what made it. One that does not was made by a server that knows nothing of this.
        let told = changes.iter().filter(|change| change.epoch <= to).count();
        if i64::try_from(told).ok() != Some(to - from) {
            return Ok(false);
        }
        let all: BTreeSet<&str> = changes.iter().map(|change| change.what.as_str()).collect();
        for what in all {
            let names = match Change::read(what) {
                Change::Everything => return Ok(false),
                Change::Site(name) => vec![name.to_owned()],
                Change::Product(project) | Change::Project(project) => {
                    named(store::names_of_project(db, project).await?)
                }
                Change::Agent(agent) => named(store::names_of_agent(db, agent).await?),
            };
            for name in names {
                self.net.remove(&name);
                self.todo.insert(name);
            }
        }
        Ok(true)
    }

    /// Plans all that is to be planned, as of an epoch.
    async fn plan_all(&mut self, mut epoch: i64) -> Result<Done> {
        let delivery = self.delivery.clone();
        let mut missed = 0;
        while !self.todo.is_empty() {
            if !self.claim.holds().await? {
                return Ok(Done::Lost);
            }
            let names: Vec<String> = self.todo.iter().take(TOGETHER).cloned().collect();
            let world = delivery.world_in(&names).await?;
            let known: HashMap<_, _> = store::plans_of(&delivery.db, &names)
                .await?
                .into_iter()
                .map(|stored| (stored.environment_id, stored))
                .collect();
            let mut changed = Vec::new();
            let mut scenes = Vec::new();
            for scene in &world.scenes {
                let mut waits = Waits::default();
                let mut steps = Vec::new();
                let mut found = plan(&world.catalogue, &scene.environment);
                delivery.measure(scene, &mut found.coupled).await?;
                let explainer = Explainer::new(&world.catalogue, &scene.environment);
                for (planned, place) in found.installs.iter().zip(&scene.places) {
                    waits.note(planned);
                    let mut stored = told(&world, &explainer, planned, &found.coupled, place.declared);
                    say_drift(&mut stored, scene, planned, place);
                    say_remarks(&mut stored, &world, scene, place);
                    stored.environment_id = place.id;
                    stored.at = delivery.now();
                    match known.get(&place.id) {
                        Some(before) if before.same(&stored) => {
                            if before.verdicts.0 != stored.verdicts.0 {
                                changed.push((place, stored, false));
                            }
                        }
                        _ => {
                            missed += usize::from(self.net.contains(&scene.environment.name));
                            changed.push((place, stored, true));
                        }
                    }
                    if let Some(step) = to_take(&world, scene, planned, place) {
                        steps.push((place, step));
                    }
                }
                scenes.push((scene, steps, waits));
            }
            delivery.record(&changed).await?;
            delivery.note_misnamed(&world, &names).await?;
            for (scene, steps, mut waits) in scenes {
                let name = &scene.environment.name;
                for (place, step) in steps {
                    match delivery.take_step(&world, scene, place, step, epoch).await {
                        Ok(Taken::Yes(now)) => epoch = now,
                        Ok(Taken::No) => {}
                        Ok(Taken::Stale) => return Ok(Done::Stale),
                        // One that cannot be taken must not hold up the others.
                        Err(problem) => {
                            waits.quiet = true;
                            tracing::warn!(site = %name, product = %place.project_path, %problem, "a step could not be taken");
                        }
                    }
                }
                self.dues.set(name, waits.next(delivery.now()));
                self.todo.remove(name);
                self.net.remove(name);
            }
            for name in &names {
                // Nothing is there any more.
                if self.todo.remove(name) {
                    self.dues.set(name, None);
                    self.net.remove(name);
                }
            }
        }
        if missed > 0 {
            tracing::warn!(
                installs = missed,
                "plans had changed without anything that was written down"
            );
        }
        Ok(Done::All(epoch))
    }
}

fn named(rows: Vec<store::Named>) -> Vec<String> {
    rows.into_iter().map(|row| row.name).collect()
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

    /// When the plan may be another without anything that is written down.
    fn next(&self, now: Timestamp) -> Option<Timestamp> {
        let quiet = self.quiet.then(|| now.plus(AT_LATEST));
        let at = self.at.filter(|at| *at > now);
        at.into_iter().chain(quiet).min()
    }
}

/// Says which version is under way. The same version anew, and what differs from the declaration, are no move to the
/// planner.
pub(super) fn say_drift(stored: &mut Stored, scene: &Scene, planned: &Planned, place: &store::Place) {
    if let (State::Moving, Some(moving)) = (planned.state, &place.moving_version) {
        stored.why = format!("{moving} is being put here");
    }
    if planned.state != State::UpToDate {
        return;
    }
    let drift = drift(scene, place);
    if let Some(moving) = &place.moving_version {
        state_name(State::Moving).clone_into(&mut stored.state);
        stored.why = format!("{moving} is being put here anew");
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
            self.replan_for(&tx, Change::Site(&place.name)).await?;
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
        .filter(|constraint| {
            constraint.scope() == Scope::Moment || matches!(constraint.kind(), "policy" | "failed")
        })
        .all(|constraint| constraint.judge(&candidate).is_none());
    free.then(|| (current.to_string(), "drift"))
}
