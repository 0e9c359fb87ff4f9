//! The newest consistent target of an environment, and the safe next steps towards it.
//!
//! # Why lowering to a fixpoint is enough
//! Let a dependency say: when A is at level a, B must be from least(a) to most(a). Where most(a) never falls as a
//! grows, the consistent states are closed under taking the higher level of each product. So there is one newest
//! consistent state, and it is found from above: begin with the highest level that each install may have, and lower
//! whoever violates a dependency, to the next level that does not. No install is ever lowered below where it is,
//! because the present state is consistent.
//!
//! A step of one install is safe when its pairs with all neighbours stay right, whatever of their own steps those
//! have done. Dependencies are between two products, so checking pairs checks every order of finishing.
//!
//! # Where that is not so
//! There a bounded search over states that single safe steps reach looks for better ([`crate::search`]).
//!
//! # What waits for an approval
//! The target counts versions that may be chosen, approved or not. Steps go towards the newest that is approved, found
//! in the same way among approved versions alone, so that one that nobody approves starves none that somebody did.

use crate::{
    constraint::{Scope, Verdict},
    group::groups,
    model::{Catalogue, Environment, Level, ProductIndex},
    scene::{Pool, Scene},
    search::{Budget, Path, Solved, WORK, solve},
    version::Version,
};

/// Where an install stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing newer may be there.
    UpToDate,
    /// A deployment is under way.
    Moving,
    /// A step may be taken now.
    Ready,
    /// A step would be safe, but something holds this moment.
    Held,
    /// Another product has to move first, or what runs was recalled and nothing may take its place yet.
    Blocked,
    /// It can only move together with others, at once.
    Coupled,
}

/// One safe step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// To this version.
    pub to: Version,
    /// Whether it goes back, away from a version that was recalled.
    pub back: bool,
}

/// What is planned for one install.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// The product.
    pub product: ProductIndex,
    /// What runs.
    pub current: Option<Version>,
    /// What should.
    pub target: Option<Version>,
    /// Where it stands.
    pub state: State,
    /// The next safe step; to be taken now only where the state is [`State::Ready`].
    pub step: Option<Step>,
    /// What each constraint says of the step, or, without one, of the target or the newest release.
    pub verdicts: Vec<Verdict>,
}

/// Products that must switch together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coupled {
    /// Product, from, to; each product once.
    pub members: Vec<(ProductIndex, Option<Version>, Version)>,
    /// Time without service that it takes, in seconds: their restarts, one after the other.
    pub downtime_seconds: u64,
}

/// What could change in an environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// One for each install, in the environment's order.
    pub installs: Vec<Planned>,
    /// Sets that can only move together; never done without a person's word.
    pub coupled: Vec<Coupled>,
    /// `false` where a bounded search gave up: the plan is safe, but a newer one may exist.
    pub newest: bool,
    /// Where it gave up: that it did, and for which products.
    pub bound: Option<String>,
}

/// Most products that are named where the bound was met.
const NAMED: usize = 5;

/// Plans one environment.
#[must_use]
pub fn plan(catalogue: &Catalogue, environment: &Environment) -> Plan {
    let scene = Scene::new(catalogue, environment);
    let all = scene.len();
    let mut budget = Budget::new();
    let pool = Pool::new(&scene, false);
    let wanted = solve(&pool, &mut budget);
    // What waits for a word of its own holds back no version that has it.
    let waits = |solved: &Solved| {
        let route = solved.routes.iter().flatten().copied();
        let straight = solved.target.iter().copied().enumerate();
        route
            .chain(straight)
            .any(|(at, level)| level > scene.floor[at] && scene.waits_alone(at, level))
    };
    let free = scene.any_waits_alone().then(|| Pool::new(&scene, true));
    let now = free.as_ref().unwrap_or(&pool);
    let other = (free.is_some() && waits(&wanted)).then(|| solve(now, &mut budget));
    let towards = other.as_ref().unwrap_or(&wanted);
    let mut steps = Steps::of(now, towards, &mut budget);
    if other.is_some() {
        steps.beside(now, towards, &wanted.target);
    }
    if free.is_some() {
        steps.show_waiting(&pool, &wanted.target);
    }
    let levels = &wanted.target;
    let stuck = |at: usize| steps.steps[at].is_none() && !steps.waits[at] && !scene.is_moving(at);
    let (coupled, inside) = groups(&pool, levels, stuck);
    let cut: Vec<bool> = (0..all).map(|at| wanted.cut[at] || towards.cut[at]).collect();
    let installs = (0..all)
        .map(|at| {
            let mut planned = planned(&pool, levels[at], steps.steps[at], inside[at], at);
            if cut[at] {
                planned.verdicts.push(Verdict {
                    kind: "search".to_owned(),
                    why: format!(
                        "what is planned is safe, but a newer target may exist: its search was ended after {WORK} comparisons"
                    ),
                    lifts: None,
                });
            }
            planned
        })
        .collect();
    Plan {
        installs,
        coupled,
        newest: !cut.contains(&true),
        bound: bound(&scene, &cut),
    }
}

fn bound(scene: &Scene<'_>, cut: &[bool]) -> Option<String> {
    let keys: Vec<&str> = (0..scene.len())
        .filter(|at| cut[*at])
        .map(|at| scene.key(at))
        .collect();
    let (first, more) = (
        keys.get(..keys.len().min(NAMED))?,
        keys.len().saturating_sub(NAMED),
    );
    if first.is_empty() {
        return None;
    }
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    Some(format!(
        "the search for a newer target of {}{more} was ended after {WORK} comparisons; what is planned is safe",
        first.join(", ")
    ))
}

fn planned(pool: &Pool<'_, '_>, target: Level, step: Option<Level>, coupled: bool, at: usize) -> Planned {
    let scene = pool.scene;
    let current = scene.current[at];
    let target = step.filter(|to| *to < current).unwrap_or(target);
    // One that is not there and that nothing lets in waits for something: named by the version that it would be.
    let barred = current == 0 && target == 0 && step.is_none() && !scene.is_moving(at);
    let target = if barred { first_choice(scene, at) } else { target };
    let shown = step.unwrap_or(if target > current {
        target
    } else {
        scene.newest(at)
    });
    let state = if scene.is_moving(at) {
        State::Moving
    } else if let Some(to) = step {
        if scene.holds(at, to, Scope::Moment).is_empty() {
            State::Ready
        } else {
            State::Held
        }
    } else if target > current {
        if coupled { State::Coupled } else { State::Blocked }
    } else if scene.recall_of(at, current).is_some() {
        State::Blocked
    } else {
        State::UpToDate
    };
    let mut verdicts = if shown == current {
        Vec::new()
    } else {
        scene.verdicts(at, shown)
    };
    verdicts.extend(scene.recall_of(at, current).map(|recall| Verdict {
        kind: "recall".to_owned(),
        why: format!(
                "{} runs, and was recalled: {}",
                scene
                    .version(at, current)
                    .map(ToString::to_string)
                    .unwrap_or_default(),
                recall.reason
            ),
        lifts: None,
    }));
    if state == State::Blocked {
        verdicts.extend(scene.absences(at, target));
    }
    Planned {
        product: scene.install(at).product,
        current: scene.install(at).current.clone(),
        target: scene.version(at, target).cloned(),
        state,
        step: step.and_then(|to| {
            Some(Step {
                to: scene.version(at, to)?.clone(),
                back: to < current,
            })
        }),
        verdicts,
    }
}

/// The newest version that may be chosen, or the newest at all, whatever it needs.
fn first_choice(scene: &Scene<'_>, at: usize) -> Level {
    let newest = scene.newest(at);
    (1..=newest)
        .rev()
        .find(|level| scene.allowed(at, *level))
        .unwrap_or(newest)
}

/// The levels that an environment comes to, whatever moment it is.
pub(crate) fn reach(catalogue: &Catalogue, environment: &Environment) -> Vec<Level> {
    reach_in(&Scene::new(catalogue, environment))
}

/// As [`reach`].
pub(crate) fn reach_in(scene: &Scene<'_>) -> Vec<Level> {
    solve(&Pool::new(scene, false), &mut Budget::new()).target
}

/// What each install could do next.
struct Steps<'s, 'a> {
    scene: &'s Scene<'a>,
    /// The level of its next safe step, if there is one.
    steps: Vec<Option<Level>>,
    /// Whether it lets another go first: it is looked at again then.
    waits: Vec<bool>,
    /// What will be taken now, beside what is moving already.
    issued: Vec<Level>,
}

impl<'s, 'a> Steps<'s, 'a> {
    fn of(pool: &Pool<'s, 'a>, solved: &Solved, budget: &mut Budget) -> Self {
        let scene = pool.scene;
        let mut steps = Self {
            scene,
            steps: vec![None; scene.len()],
            waits: vec![false; scene.len()],
            issued: scene.current.clone(),
        };
        for route in &solved.routes {
            steps.follow(route, budget);
        }
        steps.straight(pool, solved);
        steps.back(pool, solved);
        steps
    }

    fn take(&mut self, at: usize, level: Level) {
        self.steps[at] = Some(level);
        if self.scene.holds(at, level, Scope::Moment).is_empty() {
            self.issued[at] = level;
        }
    }

    /// Whether a step is right beside all that others are at, move to, or begin now.
    fn safe(&self, at: usize, level: Level) -> bool {
        let scene = self.scene;
        scene.safe(at, level, |other| {
            [scene.current[other], scene.moving[other], self.issued[other]]
        })
    }

    /// The steps of a way that may be taken at once. One that has to wait is passed only where the rest of the way
    /// stays open without it.
    fn follow(&mut self, route: &Path, budget: &mut Budget) {
        let scene = self.scene;
        let mut left: Path = route.clone();
        let mut passed = 0;
        while let Some((at, level)) = left.get(passed).copied() {
            let first = left.iter().take(passed).all(|(earlier, _)| *earlier != at);
            let free = first && self.steps[at].is_none() && !scene.is_moving(at);
            if free && self.safe(at, level) && (passed == 0 || self.open_after(&left, passed, budget)) {
                self.take(at, level);
                if self.issued[at] == level {
                    left.remove(passed);
                    continue;
                }
            }
            passed += 1;
        }
        for (at, _) in left {
            self.waits[at] = self.steps[at].is_none();
        }
    }

    /// Whether what is left of a way can be gone where one of its steps comes first.
    fn open_after(&self, left: &Path, first: usize, budget: &mut Budget) -> bool {
        let scene = self.scene;
        let mut there: Vec<(usize, Level)> = Vec::with_capacity(left.len());
        let order = left.get(first).into_iter().chain(
            left.iter()
                .enumerate()
                .filter(|(n, _)| *n != first)
                .map(|(_, step)| step),
        );
        for (at, level) in order.copied() {
            if !budget.spend(left.len()) {
                return false;
            }
            let now = |other: usize| {
                let moved = there.iter().rev().find(|(known, _)| *known == other);
                moved.map_or(self.issued[other].max(scene.floor[other]), |(_, level)| *level)
            };
            let from = now(at);
            if from != level && !scene.safe_from(at, from, level, |other| [now(other)]) {
                return false;
            }
            there.push((at, level));
        }
        true
    }

    /// Steps of those whom lowering alone has planned.
    fn straight(&mut self, pool: &Pool<'_, '_>, solved: &Solved) {
        let scene = self.scene;
        let mut wait = Vec::new();
        for (at, goal) in solved.target.iter().copied().enumerate() {
            if solved.routed[at] || scene.is_moving(at) || goal <= scene.current[at] {
                continue;
            }
            match self.single(pool, at, goal, goal) {
                Some(level) => self.take(at, level),
                None => wait.push((at, goal)),
            }
        }
        // Short of the target, but further than now: only where no neighbour is about to clear the way.
        for (at, goal) in wait {
            let near = |other: usize| scene.is_moving(other) || self.issued[other] != scene.current[other];
            let soon = scene.dependents(at).any(near)
                || scene
                    .edges(at, goal)
                    .iter()
                    .filter_map(|edge| scene.place(edge.to()))
                    .any(near);
            self.waits[at] = soon;
            if !soon && let Some(level) = self.single(pool, at, scene.current[at] + 1, goal) {
                self.take(at, level);
            }
        }
    }

    /// The highest level from `most` down to `least` that one step reaches safely.
    fn single(&self, pool: &Pool<'_, '_>, at: usize, least: Level, most: Level) -> Option<Level> {
        let scene = self.scene;
        let current = scene.current[at];
        let (least, most) = if scene.steps_one_by_one(at, current) {
            let most = most.min(scene.next(at, current));
            (least.min(most), most)
        } else {
            (least, most)
        };
        // What others take at most, as they are, spares looking at all that is above.
        let product = scene.install(at).product;
        let taken = scene
            .dependents(at)
            .flat_map(|other| scene.edges(other, scene.current[other]))
            .filter(|edge| edge.to() == product && !edge.bars() && edge.most() >= current)
            .map(crate::model::Edge::most)
            .min();
        let most = taken.map_or(most, |taken| most.min(taken));
        (least..=most)
            .rev()
            .filter(|level| *level > current && pool.allowed(at, *level))
            .find(|level| self.safe(at, *level))
    }

    /// Away from a recalled version, where nothing newer may be there: the highest level not below its floor.
    fn back(&mut self, pool: &Pool<'_, '_>, solved: &Solved) {
        let scene = self.scene;
        for at in 0..scene.len() {
            let current = scene.current[at];
            if self.steps[at].is_some() || scene.is_moving(at) || solved.target[at] > current {
                continue;
            }
            let product = scene.install(at).product;
            let recall = scene.recall_of(at, current);
            let Some(floor) = recall.and_then(|recall| recall.floor.as_ref()) else {
                continue;
            };
            let below = scene
                .catalogue
                .releases(product)
                .partition_point(|release| release.version < *floor);
            let level = (below + 1..current)
                .rev()
                .filter(|level| pool.allowed(at, *level))
                .find(|level| self.safe(at, *level));
            if let Some(level) = level {
                self.take(at, level);
            }
        }
    }

    /// What approved versions alone would only reach together, an approved step towards the target may reach too.
    fn beside(&mut self, pool: &Pool<'_, '_>, solved: &Solved, target: &[Level]) {
        let scene = self.scene;
        for (at, target) in target.iter().copied().enumerate() {
            let idle = self.steps[at].is_none() && !self.waits[at] && !scene.is_moving(at);
            if idle
                && !solved.routed[at]
                && solved.target[at] > scene.current[at]
                && target > scene.current[at]
                && let Some(level) = self.single(pool, at, scene.current[at] + 1, target)
            {
                self.take(at, level);
            }
        }
    }

    /// Steps that would be safe, but wait for a word on that version: shown, so that somebody gives it.
    fn show_waiting(&mut self, pool: &Pool<'_, '_>, target: &[Level]) {
        let scene = self.scene;
        for (at, target) in target.iter().copied().enumerate() {
            if self.steps[at].is_some() || scene.is_moving(at) || target <= scene.current[at] {
                continue;
            }
            if let Some(level) = self.single(pool, at, scene.current[at] + 1, target)
                && scene.waits_alone(at, level)
            {
                self.steps[at] = Some(level);
            }
        }
    }
}
