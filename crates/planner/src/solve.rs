//! The newest consistent target of an environment, and the safe next steps towards it.
//!
//! # Why lowering to a fixpoint is enough
//! Let a dependency say: when A is at level a, B must be from least(a) to most(a). Where neither bound falls as a
//! grows, the consistent states are closed under taking the higher level of each product (and the lower): they
//! form a distributive lattice. So there is one newest consistent state, and it is found from above: begin with
//! the highest level that each install may have, and lower whoever violates a dependency, to the next level that
//! does not. No install is ever lowered below where it is, because the present state is consistent.
//!
//! A step of one install is safe when its pairs with all neighbours stay right, whatever of their own steps those
//! have done. Dependencies are between two products, so checking pairs checks every order of finishing.
//!
//! # Where bounds fall
//! The fixpoint is still consistent but may not be the newest; and the way there may be barred. There a bounded
//! search over states that single safe steps reach looks for better ([`crate::search`]).

use crate::{
    constraint::{Scope, Verdict},
    model::{Catalogue, Environment, Level, ProductIndex},
    scene::Scene,
    search,
    version::Version,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

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
    /// Another product has to move first.
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
}

/// Plans one environment.
#[must_use]
pub fn plan(catalogue: &Catalogue, environment: &Environment) -> Plan {
    let scene = Scene::new(catalogue, environment);
    let target = target(&scene);
    let found = search::improve(&scene, &target);
    let levels = &found.target;
    let Steps { steps, waits } = steps(&scene, levels, &found.forced);
    let mut coupled: BTreeMap<Vec<usize>, Coupled> = BTreeMap::new();
    let mut in_coupled = vec![false; scene.len()];
    for at in 0..scene.len() {
        let stuck =
            levels[at] > scene.current[at] && steps[at].is_none() && !waits[at] && !scene.is_moving(at);
        if stuck && let Some(members) = closure(&scene, levels, at) {
            let mutual = members.len() > 1
                && members
                    .keys()
                    .all(|member| steps[*member].is_none() && !waits[*member] && !scene.is_moving(*member));
            if mutual {
                for member in members.keys() {
                    in_coupled[*member] = true;
                }
                coupled
                    .entry(members.keys().copied().collect())
                    .or_insert_with(|| group(&scene, &members));
            }
        }
    }
    // A set that holds a smaller one waits for it.
    let sets: Vec<BTreeSet<usize>> = coupled.keys().map(|k| k.iter().copied().collect()).collect();
    let coupled = coupled
        .into_iter()
        .filter(|(members, _)| {
            let all: BTreeSet<usize> = members.iter().copied().collect();
            !sets
                .iter()
                .any(|other| other.len() < all.len() && other.is_subset(&all))
        })
        .map(|(_, group)| group)
        .collect();
    let installs = (0..scene.len())
        .map(|at| planned(&scene, levels[at], steps[at], in_coupled[at], at))
        .collect();
    Plan {
        installs,
        coupled,
        newest: found.complete,
    }
}

fn planned(scene: &Scene<'_>, target: Level, step: Option<Level>, coupled: bool, at: usize) -> Planned {
    let current = scene.current[at];
    let target = step.filter(|to| *to < current).unwrap_or(target);
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
    } else {
        State::UpToDate
    };
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
        verdicts: if shown == current {
            Vec::new()
        } else {
            scene.verdicts(at, shown)
        },
    }
}

/// The highest consistent levels, found from above.
pub(crate) fn target(scene: &Scene<'_>) -> Vec<Level> {
    let mut levels: Vec<Level> = (0..scene.len())
        .map(|at| {
            let current = scene.current[at];
            scene
                .highest(at, current + 1, scene.newest(at))
                .unwrap_or(current)
        })
        .collect();
    let mut queue: VecDeque<usize> = (0..scene.len()).collect();
    let mut queued = vec![true; scene.len()];
    while let Some(at) = queue.pop_front() {
        queued[at] = false;
        let Some(lowered) = settle(scene, &mut levels, at) else {
            continue;
        };
        let mut again = |other: usize| {
            if !queued[other] {
                queued[other] = true;
                queue.push_back(other);
            }
        };
        again(at);
        again(lowered);
        for other in scene.dependents(lowered) {
            again(other);
        }
    }
    levels
}

/// Looks at what one install asks of others, and lowers one of them where that is not given; says which.
fn settle(scene: &Scene<'_>, levels: &mut [Level], at: usize) -> Option<usize> {
    for edge in scene.edges(at, levels[at]) {
        if scene.edge_ok(edge, levels) {
            continue;
        }
        let current = scene.current[at];
        let lower = |levels: &[Level]| {
            let most = levels[at].checked_sub(1)?;
            if most < current {
                return None;
            }
            // Back to where it is, if nothing between is allowed.
            Some(scene.highest(at, current + 1, most).unwrap_or(current))
        };
        if let Some(other) = scene.place(edge.to)
            && levels[other] > edge.most
            && edge.most >= scene.current[other]
        {
            let floor = scene.current[other];
            levels[other] = scene.highest(other, floor + 1, edge.most).unwrap_or(floor);
            return Some(other);
        }
        if let Some(level) = lower(levels) {
            levels[at] = level;
            return Some(at);
        }
        // It is where it is and asks for what is not there: the environment is inconsistent already. What another
        // one could give way is still given.
        if let Some(other) = scene.place(edge.to)
            && levels[other] > scene.current[other]
            && edge.allows(scene.current[other])
        {
            levels[other] = scene.current[other];
            return Some(other);
        }
    }
    None
}

/// What each install could do next.
struct Steps {
    /// The level of its next safe step, if there is one.
    steps: Vec<Option<Level>>,
    /// Whether it lets a neighbour that is about to move go first: it is looked at again then.
    waits: Vec<bool>,
}

fn steps(scene: &Scene<'_>, target: &[Level], forced: &BTreeMap<usize, Option<Level>>) -> Steps {
    let mut waits = vec![false; scene.len()];
    let mut steps: Vec<Option<Level>> = vec![None; scene.len()];
    // What will be taken now, beside what is moving already.
    let mut issued: Vec<Level> = scene.current.clone();
    let mut wait = Vec::new();
    for (at, target) in target.iter().copied().enumerate() {
        if scene.is_moving(at) {
            continue;
        }
        let goal = match forced.get(&at) {
            Some(None) => continue,
            Some(Some(level)) => *level,
            None if target > scene.current[at] => target,
            None => match back(scene, &issued, at) {
                Some(level) => level,
                None => continue,
            },
        };
        match single(scene, &issued, at, goal, goal) {
            Some(level) => take(scene, &mut steps, &mut issued, at, level),
            None => wait.push((at, goal)),
        }
    }
    // Short of the target, but further than now: only where no neighbour is about to clear the way.
    for (at, goal) in wait {
        if goal <= scene.current[at] {
            continue;
        }
        let near = |other: usize| scene.is_moving(other) || issued[other] != scene.current[other];
        let soon = scene.dependents(at).any(near)
            || scene
                .edges(at, goal)
                .iter()
                .filter_map(|edge| scene.place(edge.to))
                .any(near);
        waits[at] = soon;
        if !soon && let Some(level) = single(scene, &issued, at, scene.current[at] + 1, goal) {
            take(scene, &mut steps, &mut issued, at, level);
        }
    }
    Steps { steps, waits }
}

fn take(scene: &Scene<'_>, steps: &mut [Option<Level>], issued: &mut [Level], at: usize, level: Level) {
    steps[at] = Some(level);
    if scene.holds(at, level, Scope::Moment).is_empty() {
        issued[at] = level;
    }
}

/// The highest level from `most` down to `least` that one step reaches safely.
fn single(scene: &Scene<'_>, issued: &[Level], at: usize, least: Level, most: Level) -> Option<Level> {
    let current = scene.current[at];
    let neighbours = |other: usize| [scene.current[other], scene.moving[other], issued[other]];
    let one_by_one = scene.catalogue.products[scene.install(at).product].one_by_one;
    // The first install of a schema may begin anywhere; after that none is skipped.
    let most = if one_by_one && current > 0 {
        most.min(current + 1)
    } else {
        most
    };
    let least = if one_by_one { least.min(most) } else { least };
    // What others take at most, as they are, spares looking at all that is above.
    let product = scene.install(at).product;
    let taken = scene
        .dependents(at)
        .flat_map(|other| scene.edges(other, scene.current[other]))
        .filter(|edge| edge.to == product && edge.most >= current)
        .map(|edge| edge.most)
        .min();
    let most = taken.map_or(most, |taken| most.min(taken));
    (least..=most)
        .rev()
        .filter(|level| *level != current && scene.allowed(at, *level))
        .find(|level| scene.safe(at, *level, neighbours))
}

/// Away from a recalled version, where nothing newer may be there: the highest level not below its floor.
fn back(scene: &Scene<'_>, issued: &[Level], at: usize) -> Option<Level> {
    let current = scene.current[at];
    let product = scene.install(at).product;
    let recall = scene.catalogue.at(product, current)?.recalled.as_ref()?;
    let floor = recall.floor.as_ref()?;
    let least = scene
        .catalogue
        .releases(product)
        .partition_point(|release| release.version < *floor)
        + 1;
    let neighbours = |other: usize| [scene.current[other], scene.moving[other], issued[other]];
    (least..current)
        .rev()
        .filter(|level| scene.allowed(at, *level))
        .find(|level| scene.safe(at, *level, neighbours))
}

/// The smallest set of moves, within the target, that lets an install move at all. Found from below: what one
/// needs is raised to the least that will do.
fn closure(scene: &Scene<'_>, target: &[Level], at: usize) -> Option<BTreeMap<usize, Level>> {
    let first = |at: usize, least: Level| (least..=target[at]).find(|level| scene.allowed(at, *level));
    let mut moves = BTreeMap::from([(at, first(at, scene.current[at] + 1)?)]);
    let mut queue = VecDeque::from([at]);
    while let Some(at) = queue.pop_front() {
        let level = moves.get(&at).copied()?;
        let mut raise = Vec::new();
        for edge in scene.edges(at, level) {
            let Some(other) = scene.place(edge.to) else {
                continue;
            };
            let there = moves.get(&other).copied().unwrap_or(scene.current[other]);
            if there < edge.least && !(edge.optional && there == 0) {
                raise.push((other, first(other, edge.least)?));
            } else if there > edge.most {
                // It must itself be further on, where it takes what the other has reached.
                raise.push((at, first(at, level + 1)?));
            }
        }
        for other in scene.dependents(at) {
            let product = scene.install(at).product;
            let there = moves.get(&other).copied().unwrap_or(scene.current[other]);
            let takes = |at_level: Level| {
                let edges = scene.edges(other, at_level);
                edges
                    .iter()
                    .filter(|edge| edge.to == product)
                    .all(|edge| level <= edge.most)
            };
            if !takes(there) {
                let further = (there + 1..=target[other])
                    .filter(|level| scene.allowed(other, *level))
                    .find(|level| takes(*level))?;
                raise.push((other, further));
            }
        }
        for (other, level) in raise {
            if moves.get(&other).is_none_or(|known| *known < level) {
                moves.insert(other, level);
                queue.push_back(other);
            }
        }
    }
    Some(moves)
}

fn group(scene: &Scene<'_>, members: &BTreeMap<usize, Level>) -> Coupled {
    Coupled {
        members: members
            .iter()
            .filter_map(|(at, level)| {
                let install = scene.install(*at);
                Some((
                    install.product,
                    install.current.clone(),
                    scene.version(*at, *level)?.clone(),
                ))
            })
            .collect(),
        downtime_seconds: members.keys().map(|at| scene.install(*at).restart_seconds).sum(),
    }
}
