//! Installs that can only switch together: named, offered as one step with what it costs, never taken by itself.

use crate::{
    model::Level,
    scene::{Pool, Scene},
    solve::Coupled,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

type Moves = BTreeMap<usize, Level>;

/// The groups that let those move who cannot move alone. `stuck` says who may be in one: who has a target, and no step
/// nor anyone to wait for.
pub(crate) fn groups(
    pool: &Pool<'_, '_>,
    target: &[Level],
    stuck: impl Fn(usize) -> bool,
) -> (Vec<Coupled>, Vec<bool>) {
    let scene = pool.scene;
    let mut inside = vec![false; scene.len()];
    let mut found: BTreeMap<Vec<usize>, Coupled> = BTreeMap::new();
    for at in (0..scene.len()).filter(|at| target[*at] > scene.current[*at] && stuck(*at)) {
        let Some(moves) = closure(pool, target, at, &stuck) else {
            continue;
        };
        if moves.len() > 1 {
            for member in moves.keys() {
                inside[*member] = true;
            }
            found
                .entry(moves.keys().copied().collect())
                .or_insert_with(|| group(scene, &moves));
        }
    }
    // A set that holds a smaller one waits for it.
    let sets: Vec<BTreeSet<usize>> = found.keys().map(|all| all.iter().copied().collect()).collect();
    let smallest = |members: &[usize]| {
        let all: BTreeSet<usize> = members.iter().copied().collect();
        !sets
            .iter()
            .any(|other| other.len() < all.len() && other.is_subset(&all))
    };
    let groups = found
        .into_iter()
        .filter(|(members, _)| smallest(members))
        .map(|(_, group)| group)
        .collect();
    (groups, inside)
}

/// The smallest set of moves, within the target, that lets an install move at all. Found from below: what one needs is
/// raised to the least that will do; where nothing will, it is raised itself, past the version that needs it. `None`
/// where there is none, or where one of them can move alone.
fn closure(pool: &Pool<'_, '_>, target: &[Level], at: usize, stuck: impl Fn(usize) -> bool) -> Option<Moves> {
    let scene = pool.scene;
    let mut set = Set {
        pool,
        target,
        moves: Moves::new(),
        queue: VecDeque::new(),
    };
    set.raise(at, set.first(at, scene.current[at] + 1, |_| true)?);
    while let Some(at) = set.queue.pop_front() {
        if !stuck(at) {
            return None;
        }
        let others: BTreeSet<usize> = scene
            .edges(at, set.there(at))
            .iter()
            .filter_map(|edge| scene.place(edge.to()))
            .chain(scene.dependents(at))
            .filter(|other| *other != at)
            .collect();
        for other in others {
            let (level, there) = (set.there(at), set.there(other));
            // What is wrong already need not be right after.
            let wrong = !scene.pair_ok(at, scene.current[at], other, scene.current[other]);
            if wrong || scene.pair_ok(at, level, other, there) {
                continue;
            }
            // The other further on, or else this one.
            let further = set.first(other, there + 1, |next| scene.pair_ok(at, level, other, next));
            if let Some(next) = further {
                set.raise(other, next);
            } else {
                set.raise(at, set.first(at, level + 1, |_| true)?);
                break;
            }
        }
    }
    Some(set.moves)
}

struct Set<'p, 's, 'a> {
    pool: &'p Pool<'s, 'a>,
    target: &'p [Level],
    moves: Moves,
    queue: VecDeque<usize>,
}

impl Set<'_, '_, '_> {
    fn there(&self, at: usize) -> Level {
        let current = self.pool.scene.current[at];
        self.moves.get(&at).copied().unwrap_or(current)
    }

    fn raise(&mut self, at: usize, level: Level) {
        self.moves.insert(at, level);
        self.queue.push_back(at);
    }

    /// The least level that will do, within the target. None is skipped where versions are taken one by one.
    fn first(&self, at: usize, least: Level, fits: impl Fn(Level) -> bool) -> Option<Level> {
        let scene = self.pool.scene;
        let current = scene.current[at];
        let most = if scene.steps_one_by_one(at, current) {
            self.target[at].min(scene.next(at, current))
        } else {
            self.target[at]
        };
        (least..=most).find(|level| self.pool.allowed(at, *level) && fits(*level))
    }
}

fn group(scene: &Scene<'_>, members: &Moves) -> Coupled {
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
