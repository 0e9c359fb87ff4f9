//! Where the newest target may not be the one that lowering finds, or the way there may be barred: a bounded search
//! over the states that single safe steps reach.
//!
//! # When
//! The consistent states are closed under taking the higher level of each product where no maximum falls as a product
//! gets newer; what minima do does not matter. Then there is one newest, lowering finds it, and no step towards it
//! can be the wrong one: join the states of any way there with the state that was reached, and it goes on from it.
//! That fails where a maximum falls, where a version is barred, where another is taken from a version on or not at
//! all, where a first install takes less on its way than others shall reach, and where what runs is inconsistent.
//! Only the installs that such a one is bound to, by a range that some version within reach could break, are searched.
//!
//! # Bound
//! [`WORK`] counts pairs of installs that are looked at, not time: the same input gives the same plan. Whatever is
//! found is safe, because each step was; where the bound was not met it is also the best that single safe steps reach:
//! fewest broken dependencies, then fewest products missing, then the highest levels in sum.

use crate::{
    lower::{Lowered, lower},
    model::Level,
    scene::{Pool, Scene},
};
use std::{
    cmp::Reverse,
    collections::{BTreeSet, BinaryHeap, HashMap, HashSet},
};

/// Pairs of installs that are looked at for one environment before the search is ended.
pub const WORK: u64 = 30_000;
/// Most installs that are searched together; more are planned by lowering alone.
pub const MEMBERS: usize = 64;
/// States kept at once, so that memory is bounded too.
const STATES: usize = 20_000;

/// What is left of [`WORK`].
pub(crate) struct Budget(u64);

impl Budget {
    pub const fn new() -> Self {
        Self(WORK)
    }

    /// `false` once there is none left.
    pub const fn spend(&mut self, work: usize) -> bool {
        self.0 = self.0.saturating_sub(work as u64);
        self.0 > 0
    }
}

/// Steps, one after the other: install and level.
pub(crate) type Path = Vec<(usize, Level)>;

/// Where installs shall go, and the way of those that were searched.
pub(crate) struct Solved {
    pub target: Vec<Level>,
    /// A way for each set of installs that was searched.
    pub routes: Vec<Path>,
    /// Whether an install was searched: it takes no step but those of its route.
    pub routed: Vec<bool>,
    /// Whether the bound was met before an install's search was at its end.
    pub cut: Vec<bool>,
}

pub(crate) fn solve(pool: &Pool<'_, '_>, budget: &mut Budget) -> Solved {
    let scene = pool.scene;
    let all = scene.len();
    let lowered = lower(pool);
    let mut solved = Solved {
        target: Vec::new(),
        routes: Vec::new(),
        routed: vec![false; all],
        cut: vec![false; all],
    };
    let mut ties = Ties {
        pool,
        known: HashMap::new(),
    };
    let mut seen = vec![false; all];
    let mut target = lowered.levels.clone();
    for at in 0..all {
        if seen[at] || !odd(pool, &lowered, at, budget) {
            continue;
        }
        let (members, whole) = ties.component(at, &mut seen, budget);
        if members.len() == 1 && whole && lowered.levels[at] == pool.tops[at] {
            continue;
        }
        let found = whole
            .then(|| Part::new(pool, &mut ties, members.clone(), budget).better(&lowered.levels, budget));
        let Some(found) = found else {
            for member in members {
                solved.cut[member] = true;
            }
            continue;
        };
        for (member, level) in members.iter().zip(found.target) {
            target[*member] = level;
            solved.cut[*member] = !found.complete;
            solved.routed[*member] = found.routed;
        }
        if found.routed {
            solved.routes.push(found.path);
        }
    }
    solved.target = target;
    solved
}

/// Whether an install's ranges, within reach, are not such that lowering is enough.
fn odd(pool: &Pool<'_, '_>, lowered: &Lowered, at: usize, budget: &mut Budget) -> bool {
    let scene = pool.scene;
    let floor = scene.floor[at];
    let broken = |edge: &crate::model::Edge| {
        scene
            .place(edge.to())
            .is_some_and(|other| !edge.allows(scene.floor[other]))
    };
    if scene.edges(at, floor).iter().any(broken) {
        return true;
    }
    let odd = scene.catalogue.products[scene.install(at).product].odd;
    if odd.falls || odd.holes || (floor == 0 && odd.bounds) {
        budget.spend(1 + (pool.tops[at] - floor) / 4);
    }
    if floor == 0 && odd.bounds {
        // On its way it could take less than others shall reach.
        let narrow = |edge: &crate::model::Edge| {
            scene
                .place(edge.to())
                .is_some_and(|other| edge.most() < lowered.levels[other])
        };
        let short = |level: Level| level < lowered.levels[at] && scene.edges(at, level).iter().any(narrow);
        if lowered.torn.contains(&at) || pool.levels(at).any(short) {
            return true;
        }
    }
    (odd.falls && falls(pool, at)) || (odd.holes && has_hole(pool, at))
}

/// The levels that an install could be at once it is there.
fn within<'p>(pool: &'p Pool<'_, '_>, at: usize) -> impl Iterator<Item = Level> + 'p {
    let floor = pool.scene.floor[at];
    (floor > 0).then_some(floor).into_iter().chain(pool.levels(at))
}

/// Whether it takes less of another the newer it gets, or bars it.
fn falls(pool: &Pool<'_, '_>, at: usize) -> bool {
    let scene = pool.scene;
    let mut before: Vec<(usize, Level)> = Vec::new();
    for (nth, level) in within(pool, at).enumerate() {
        let mut now: Vec<(usize, Level)> = Vec::with_capacity(before.len());
        for edge in scene.edges(at, level) {
            let Some(other) = scene.place(edge.to()) else {
                continue;
            };
            let top = pool.tops[other];
            if edge.bars() {
                if edge.least() <= edge.most() && edge.least() <= top && edge.most() >= scene.floor[other] {
                    return true;
                }
                continue;
            }
            let most = edge.most().min(top);
            let taken = before.iter().find(|(known, _)| *known == other);
            if nth > 0 && most < taken.map_or(top, |(_, taken)| *taken) {
                return true;
            }
            now.push((other, most));
        }
        before = now;
    }
    false
}

/// Whether it takes another that is not there yet from a version on or not at all.
fn has_hole(pool: &Pool<'_, '_>, at: usize) -> bool {
    let scene = pool.scene;
    within(pool, at).any(|level| {
        scene.edges(at, level).iter().any(|edge| {
            edge.optional()
                && edge.least() > 1
                && scene
                    .place(edge.to())
                    .is_some_and(|other| scene.floor[other] == 0 && pool.tops[other] > 0)
        })
    })
}

/// Who is bound to whom by a range that some version within reach could break.
struct Ties<'p, 's, 'a> {
    pool: &'p Pool<'s, 'a>,
    known: HashMap<usize, Vec<usize>>,
}

impl Ties<'_, '_, '_> {
    fn named(&mut self, at: usize, budget: &mut Budget) -> &[usize] {
        let pool = self.pool;
        self.known.entry(at).or_insert_with(|| {
            let scene = pool.scene;
            let mut all = Vec::new();
            let mut looked = 0;
            for level in within(pool, at) {
                for edge in scene.edges(at, level) {
                    looked += 1;
                    let Some(other) = scene.place(edge.to()) else {
                        continue;
                    };
                    let (floor, top) = (scene.floor[other], pool.tops[other]);
                    let breaks = if edge.bars() {
                        edge.least() <= edge.most() && edge.least() <= top && edge.most() >= floor
                    } else {
                        let least = if edge.optional() { floor.max(1) } else { floor };
                        edge.most() < top || (edge.least() > least && top >= least)
                    };
                    if breaks && other != at && !all.contains(&other) {
                        all.push(other);
                    }
                }
            }
            budget.spend(1 + looked / 8);
            all
        })
    }

    fn neighbours(&mut self, at: usize, budget: &mut Budget) -> Vec<usize> {
        let scene: &Scene<'_> = self.pool.scene;
        let mut all = self.named(at, budget).to_vec();
        for other in scene.dependents(at) {
            if self.named(other, budget).contains(&at) && !all.contains(&other) {
                all.push(other);
            }
        }
        all
    }

    /// All that an install is bound to, in the environment's order; and whether that is all.
    fn component(&mut self, from: usize, seen: &mut [bool], budget: &mut Budget) -> (Vec<usize>, bool) {
        let mut members = vec![from];
        seen[from] = true;
        let mut next = 0;
        while let Some(at) = members.get(next).copied() {
            next += 1;
            if !budget.spend(1) {
                return (members, false);
            }
            for other in self.neighbours(at, budget) {
                if !seen[other] {
                    seen[other] = true;
                    members.push(other);
                }
            }
        }
        members.sort_unstable();
        (members, true)
    }
}

/// Fewest broken dependencies, fewest missing products, highest levels, not counting those whose needs stay unmet.
type Score = (Reverse<usize>, Reverse<usize>, usize);

/// Installs that are bound to each other. States are levels in the members' order.
struct Part<'p, 's, 'a> {
    pool: &'p Pool<'s, 'a>,
    members: Vec<usize>,
    /// For each member, those that it is bound to.
    bound: Vec<Vec<usize>>,
    /// For each member, the levels that it may go to.
    options: Vec<Vec<Level>>,
    start: Vec<Level>,
    wrong: usize,
}

/// What was found for a part.
struct Better {
    target: Vec<Level>,
    path: Path,
    routed: bool,
    complete: bool,
}

impl<'p, 's, 'a> Part<'p, 's, 'a> {
    fn new(
        pool: &'p Pool<'s, 'a>,
        ties: &mut Ties<'p, 's, 'a>,
        members: Vec<usize>,
        budget: &mut Budget,
    ) -> Self {
        let place: HashMap<usize, usize> = members.iter().enumerate().map(|(n, at)| (*at, n)).collect();
        let bound = members
            .iter()
            .map(|at| {
                let near = ties.neighbours(*at, budget);
                near.iter()
                    .filter_map(|other| place.get(other).copied())
                    .collect()
            })
            .collect();
        let mut part = Self {
            pool,
            bound,
            options: members.iter().map(|at| pool.levels(*at).collect()).collect(),
            start: members.iter().map(|at| pool.scene.floor[*at]).collect(),
            members,
            wrong: 0,
        };
        part.wrong = part.wrong_pairs(&part.start).len();
        part
    }

    fn better(&self, lowered: &[Level], budget: &mut Budget) -> Better {
        let fixed: Vec<Level> = self.members.iter().map(|at| lowered[*at]).collect();
        let ceiling = self.ceiling(budget);
        let (way, end) = self.walk(&fixed, budget);
        let (mut path, mut reached, mut complete) = (way, end, true);
        let done = reached == fixed && ceiling.as_ref() == Some(&fixed) && self.settled(&fixed, budget);
        if !done {
            complete = false;
            if self.members.len() <= MEMBERS {
                let (way, end, whole) = self.search(ceiling.as_ref(), budget);
                complete = whole && budget.spend(0);
                if self.score(&end) > self.score(&reached) {
                    (path, reached) = (way, end);
                }
            }
        }
        // What lowering found may need several to switch together: it stays the target, if this leads towards it.
        let towards = reached.iter().zip(&fixed).all(|(a, b)| a <= b);
        let higher = self.score(&fixed) > self.score(&reached);
        let global = |path: Path| {
            path.into_iter()
                .map(|(n, level)| (self.members[n], level))
                .collect()
        };
        Better {
            target: if towards && higher { fixed } else { reached },
            path: global(path),
            routed: true,
            complete,
        }
    }

    /// Whether no state that is reached could have fewer broken dependencies.
    fn settled(&self, state: &[Level], budget: &mut Budget) -> bool {
        let wrong = self.wrong_pairs(state);
        let mendable = |(one, other): &(usize, usize)| {
            self.levels(*one).any(|a| {
                self.levels(*other)
                    .any(|b| !budget.spend(1) || self.pair_ok(*one, a, *other, b))
            })
        };
        !wrong.iter().any(mendable)
    }

    /// Where a member starts and where it may go.
    fn levels(&self, n: usize) -> impl DoubleEndedIterator<Item = Level> + '_ {
        std::iter::once(self.start[n]).chain(self.options[n].iter().copied())
    }

    fn pair_ok(&self, n: usize, level: Level, other: usize, other_level: Level) -> bool {
        let (one, two) = (self.members[n], self.members[other]);
        self.pool.scene.pair_ok(one, level, two, other_level)
    }

    fn wrong_pairs(&self, state: &[Level]) -> Vec<(usize, usize)> {
        let mut all = Vec::new();
        for (n, near) in self.bound.iter().enumerate() {
            for other in near.iter().copied().filter(|other| *other > n) {
                if !self.pair_ok(n, state[n], other, state[other]) {
                    all.push((n, other));
                }
            }
        }
        all
    }

    fn score(&self, state: &[Level]) -> Score {
        let missing = state.iter().filter(|level| **level == 0).count();
        let sum = state.iter().sum();
        // Steps are safe: from what is right nothing wrong is reached.
        if self.wrong == 0 {
            return (Reverse(0), Reverse(missing), sum);
        }
        let wrong = self.wrong_pairs(state);
        // Nothing is won by a newer version whose own needs are not met either.
        let mut vain = BTreeSet::new();
        for (one, other) in &wrong {
            vain.extend(
                [(*one, *other), (*other, *one)]
                    .into_iter()
                    .filter_map(|(n, other)| {
                        let scene = self.pool.scene;
                        let met = scene.takes(self.members[n], state[n], self.members[other], state[other]);
                        (!met).then_some(n)
                    }),
            );
        }
        let lost: usize = vain.into_iter().map(|n| state[n] - self.start[n]).sum();
        (Reverse(wrong.len()), Reverse(missing), sum - lost)
    }

    fn safe(&self, n: usize, level: Level, state: &[Level], budget: &mut Budget) -> bool {
        self.bound[n].iter().copied().all(|other| {
            budget.spend(1)
                && (self.pair_ok(n, level, other, state[other])
                    || !self.pair_ok(n, state[n], other, state[other]))
        })
    }

    /// Whether what a member asks for is there; always so where nothing was wrong and the step is safe.
    fn met(&self, n: usize, level: Level, state: &[Level]) -> bool {
        let scene = self.pool.scene;
        self.wrong == 0
            || self.bound[n]
                .iter()
                .all(|other| scene.takes(self.members[n], level, self.members[*other], state[*other]))
    }

    /// The levels that one step may go to.
    fn moves(&self, n: usize, from: Level) -> impl DoubleEndedIterator<Item = Level> + '_ {
        let (scene, at) = (self.pool.scene, self.members[n]);
        let only = scene.steps_one_by_one(at, from).then(|| scene.next(at, from));
        self.options[n]
            .iter()
            .copied()
            .filter(move |level| *level > from && only.is_none_or(|only| only == *level))
    }

    /// Upper bounds of all that is reached: each level goes with some level of each of the others.
    fn ceiling(&self, budget: &mut Budget) -> Option<Vec<Level>> {
        let mut highest: Vec<Level> = (0..self.members.len())
            .map(|n| self.options[n].last().copied().unwrap_or(self.start[n]))
            .collect();
        let mut queue: Vec<usize> = (0..self.members.len()).rev().collect();
        while let Some(n) = queue.pop() {
            let mut goes = |level: Level| {
                self.bound[n].iter().copied().all(|other| {
                    // A pair that is wrong already bounds nothing.
                    !self.pair_ok(n, self.start[n], other, self.start[other])
                        || self
                            .levels(other)
                            .rev()
                            .filter(|there| *there <= highest[other])
                            .any(|there| budget.spend(1) && self.pair_ok(n, level, other, there))
                })
            };
            let found = self
                .levels(n)
                .rev()
                .filter(|level| *level <= highest[n])
                .find(|level| goes(*level))
                .unwrap_or(self.start[n]);
            if !budget.spend(1) {
                return None;
            }
            if found < highest[n] {
                highest[n] = found;
                queue.extend(self.bound[n].iter().copied());
            }
        }
        Some(highest)
    }

    /// Straight towards a target: each one there where it can, and only then short of it.
    fn walk(&self, target: &[Level], budget: &mut Budget) -> (Path, Vec<Level>) {
        let mut state = self.start.clone();
        let mut path = Vec::new();
        loop {
            let before = path.len();
            for n in 0..state.len() {
                let goal = self
                    .moves(n, state[n])
                    .rfind(|level| *level <= target[n])
                    .filter(|level| self.met(n, *level, &state) && self.safe(n, *level, &state, budget));
                if let Some(level) = goal {
                    state[n] = level;
                    path.push((n, level));
                }
            }
            if path.len() > before {
                continue;
            }
            // A first install waits: short of its target it could take less of others than they shall reach.
            let short = [false, true].into_iter().find_map(|first| {
                (0..state.len())
                    .filter(|n| (state[*n] == 0) == first)
                    .find_map(|n| {
                        self.moves(n, state[n])
                            .rev()
                            .filter(|level| *level < target[n])
                            .find(|level| self.met(n, *level, &state) && self.safe(n, *level, &state, budget))
                            .map(|level| (n, level))
                    })
            });
            let Some((n, level)) = short else {
                return (path, state);
            };
            state[n] = level;
            path.push((n, level));
        }
    }

    /// The best state that single safe steps reach, the way there, and whether all were looked at. Of each member's
    /// moves the highest comes first; the next lower one once that was looked into.
    fn search(&self, ceiling: Option<&Vec<Level>>, budget: &mut Budget) -> (Path, Vec<Level>, bool) {
        let first = self.score(&self.start);
        let mut seen = Seen {
            nodes: vec![Node {
                state: self.start.clone(),
                from: None,
            }],
            known: HashSet::from([self.start.clone()]),
            heap: BinaryHeap::from([(first, Reverse(0_usize))]),
        };
        let mut best = (first, 0);
        let mut whole = true;
        while let Some((score, Reverse(at))) = seen.heap.pop() {
            if score > best.0 {
                best = (score, at);
            }
            let node = &seen.nodes[at];
            let full = score.2 == node.state.iter().sum::<Level>();
            if full && ceiling == Some(&node.state) && self.settled(&node.state, budget) {
                break;
            }
            if let Some((parent, n)) = node.from {
                let reached = node.state[n];
                whole &= self.open(&mut seen, parent, n, reached, budget);
            }
            for n in 0..self.members.len() {
                whole &= self.open(&mut seen, at, n, Level::MAX, budget);
            }
            if !whole {
                break;
            }
        }
        // What was seen but not looked into counts too.
        for (score, Reverse(at)) in seen.heap {
            if score > best.0 || (score == best.0 && at < best.1) {
                best = (score, at);
            }
        }
        let nodes = seen.nodes;
        let mut path = Vec::new();
        let mut at = best.1;
        while let Some((from, n)) = nodes[at].from {
            path.push((n, nodes[at].state[n]));
            at = from;
        }
        path.reverse();
        (path, nodes[best.1].state.clone(), whole)
    }

    /// Sees the highest state, below a level, that a safe step of one member reaches; `false`: the bound is met.
    fn open(&self, seen: &mut Seen, from: usize, n: usize, below: Level, budget: &mut Budget) -> bool {
        let state = seen.nodes[from].state.clone();
        for level in self.moves(n, state[n]).rev().filter(|level| *level < below) {
            if seen.nodes.len() >= STATES || !budget.spend(1) {
                return false;
            }
            if !self.safe(n, level, &state, budget) {
                continue;
            }
            let mut next = state.clone();
            next[n] = level;
            if seen.known.insert(next.clone()) {
                budget.spend(next.len() / 8);
                seen.heap.push((self.score(&next), Reverse(seen.nodes.len())));
                seen.nodes.push(Node {
                    state: next,
                    from: Some((from, n)),
                });
                return true;
            }
        }
        true
    }
}

/// States of a search.
struct Seen {
    nodes: Vec<Node>,
    known: HashSet<Vec<Level>>,
    heap: BinaryHeap<(Score, Reverse<usize>)>,
}

struct Node {
    state: Vec<Level>,
    from: Option<(usize, usize)>,
}
