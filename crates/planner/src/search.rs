//! Where bounds fall as a product gets newer, or an environment is inconsistent already: a bounded search over
//! the states that single safe steps reach. Whatever it finds is safe, because each step was; within its bound
//! it is also the newest.

use crate::{model::Level, scene::Scene};
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};

/// States looked at before the search gives up, for one component.
pub const STATES: usize = 20_000;
/// Largest component that is searched; a larger one is planned by lowering alone.
pub const MEMBERS: usize = 64;

/// What the search found.
pub(crate) struct Found {
    pub target: Vec<Level>,
    /// For members of a searched component: the step to take first, or none yet.
    pub forced: BTreeMap<usize, Option<Level>>,
    /// Whether no bound was hit.
    pub complete: bool,
}

/// Betters a target that lowering found, where it may not be the newest.
pub(crate) fn improve(scene: &Scene<'_>, target: &[Level]) -> Found {
    let mut found = Found {
        target: target.to_vec(),
        forced: BTreeMap::new(),
        complete: true,
    };
    let mut seen = vec![false; scene.len()];
    for at in 0..scene.len() {
        let product = scene.install(at).product;
        let odd = scene.catalogue.products[product].falls || broken(scene, &scene.current, at);
        if !odd || seen[at] {
            continue;
        }
        let members = component(scene, at);
        for member in &members {
            seen[*member] = true;
        }
        let tops: Vec<Level> = members
            .iter()
            .map(|at| {
                let current = scene.current[*at];
                scene
                    .highest(*at, current + 1, scene.newest(*at))
                    .unwrap_or(current)
            })
            .collect();
        // All at their highest, each reached by a step that is safe now: nothing to better.
        let highest = members.iter().zip(&tops).all(|(at, top)| target[*at] == *top);
        let direct = members.iter().zip(&tops).all(|(at, top)| {
            *top == scene.current[*at] || scene.safe(*at, *top, |other| [scene.current[other]; 3])
        });
        if highest && direct {
            continue;
        }
        if members.len() > MEMBERS || members.iter().any(|at| scene.is_moving(*at)) {
            // One under way is waited for: what comes after it is planned when it is done.
            found.complete &= members.len() <= MEMBERS;
            continue;
        }
        search(scene, &members, &tops, &mut found);
    }
    found
}

/// Whether an install asks for what is not given.
pub(crate) fn broken(scene: &Scene<'_>, levels: &[Level], at: usize) -> bool {
    scene
        .edges(at, levels[at])
        .iter()
        .any(|edge| !scene.edge_ok(edge, levels))
}

/// All installs that an install is bound to by dependencies of any version that it may still reach.
fn component(scene: &Scene<'_>, from: usize) -> Vec<usize> {
    let mut members = BTreeSet::from([from]);
    let mut queue = vec![from];
    while let Some(at) = queue.pop() {
        let named = (scene.current[at]..=scene.newest(at))
            .flat_map(|level| scene.edges(at, level))
            .filter_map(|edge| scene.place(edge.to));
        for other in named.chain(scene.dependents(at)) {
            if members.insert(other) {
                queue.push(other);
            }
        }
    }
    members.into_iter().collect()
}

type Score = (std::cmp::Reverse<usize>, Level);

fn search(scene: &Scene<'_>, members: &[usize], tops: &[Level], found: &mut Found) {
    let mut levels = scene.current.clone();
    let start: Vec<Level> = members.iter().map(|at| scene.current[*at]).collect();
    let mut score = |state: &[Level]| -> Score {
        for (at, level) in members.iter().zip(state) {
            levels[*at] = *level;
        }
        let wrong = members.iter().filter(|at| broken(scene, &levels, **at)).count();
        (std::cmp::Reverse(wrong), state.iter().sum())
    };
    let place: HashMap<usize, usize> = members.iter().enumerate().map(|(n, at)| (*at, n)).collect();
    let first_score = score(&start);
    let fixpoint: Vec<Level> = members.iter().map(|at| found.target[*at]).collect();
    let mut best = (first_score, start.clone());
    let mut parents: HashMap<Vec<Level>, Option<Vec<Level>>> = HashMap::from([(start.clone(), None)]);
    let mut heap = BinaryHeap::from([(first_score, start.clone())]);
    while let Some((value, state)) = heap.pop() {
        if value > best.0 {
            best = (value, state.clone());
        }
        if parents.len() >= STATES {
            found.complete = false;
            break;
        }
        for (n, at) in members.iter().enumerate() {
            let from = state[n];
            let one_by_one = scene.catalogue.products[scene.install(*at).product].one_by_one && from > 0;
            let most = if one_by_one {
                tops[n].min(from + 1)
            } else {
                tops[n]
            };
            for level in from + 1..=most {
                if !scene.allowed(*at, level) {
                    continue;
                }
                let neighbours =
                    |other: usize| [place.get(&other).map_or(scene.current[other], |n| state[*n])];
                if !scene.safe_from(*at, from, level, neighbours) {
                    continue;
                }
                let mut next = state.clone();
                next[n] = level;
                if !parents.contains_key(&next) {
                    parents.insert(next.clone(), Some(state.clone()));
                    heap.push((score(&next), next));
                }
            }
        }
    }
    // Nothing can move alone: what lowering found is kept, so that what must move together is named.
    if best.1 == start && fixpoint != start {
        return;
    }
    for (at, level) in members.iter().zip(&best.1) {
        found.target[*at] = *level;
        found.forced.insert(*at, None);
    }
    let mut step = best.1;
    while let Some(Some(parent)) = parents.get(&step) {
        if *parent == start {
            for ((at, from), to) in members.iter().zip(parent).zip(&step) {
                if from != to {
                    found.forced.insert(*at, Some(*to));
                }
            }
            return;
        }
        step = parent.clone();
    }
}
