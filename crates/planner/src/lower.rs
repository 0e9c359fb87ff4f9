//! The highest consistent levels, found from above: whoever violates a dependency is lowered to the next level that
//! does not.
//!
//! A product that is not there yet takes all of others, and once it is there only some: its maxima fall, although
//! those of its releases may not. So it is first found out how high each install could be if no such maximum counted;
//! then whoever can be there at all is counted on.

use crate::{
    model::Level,
    scene::{Pool, Scene},
    search::MEMBERS,
};
use std::{cmp::Reverse, collections::VecDeque};

/// So few first installs that every choice among them is tried.
const FEW: usize = 6;
/// Of more, those that are left out one after the other, at most.
const ROUNDS: usize = 8;

/// What lowering found.
pub(crate) struct Lowered {
    pub levels: Vec<Level>,
    /// First installs of which not all can be there together.
    pub torn: Vec<usize>,
}

struct Run<'p, 's, 'a> {
    pool: &'p Pool<'s, 'a>,
    scene: &'s Scene<'a>,
    levels: Vec<Level>,
    /// Whether an install's maxima count.
    counts: Vec<bool>,
    queue: VecDeque<usize>,
    queued: Vec<bool>,
}

pub(crate) fn lower(pool: &Pool<'_, '_>) -> Lowered {
    let scene = pool.scene;
    let all = scene.len();
    let mut run = Run {
        pool,
        scene,
        levels: pool.tops.clone(),
        counts: scene.floor.iter().map(|floor| *floor > 0).collect(),
        queue: (0..all).collect(),
        queued: vec![true; all],
    };
    run.settle_all();
    let fresh: Vec<usize> = (0..all)
        .filter(|at| {
            let bounds = scene.catalogue.products[scene.install(*at).product].odd.bounds;
            bounds && !run.counts[*at] && run.levels[*at] > 0
        })
        .collect();
    let before = run.levels.clone();
    for at in &fresh {
        run.counts[*at] = true;
        run.again(*at);
    }
    run.settle_all();
    if !run.lost(&before) || fresh.len() > MEMBERS {
        return Lowered {
            levels: run.levels.clone(),
            torn: if run.lost(&before) { fresh } else { Vec::new() },
        };
    }
    // Not all of them together: those are left out without whom most others are there.
    let mut out: Vec<usize> = Vec::new();
    let mut best = run.beside(&before, &fresh, &out);
    if fresh.len() <= FEW {
        for bits in 1..1_usize << fresh.len() {
            let chosen = fresh.iter().enumerate().filter(|(n, _)| bits & (1 << n) != 0);
            let some: Vec<usize> = chosen.map(|(_, at)| *at).collect();
            let there = run.beside(&before, &fresh, &some);
            if there > best {
                (best, out) = (there, some);
            }
        }
    } else {
        for _ in 0..ROUNDS {
            let without = fresh.iter().copied().filter(|at| !out.contains(at)).map(|at| {
                let mut more = out.clone();
                more.push(at);
                (run.beside(&before, &fresh, &more), Reverse(at))
            });
            match without.max() {
                Some((there, Reverse(at))) if there > best => {
                    best = there;
                    out.push(at);
                }
                _ => break,
            }
        }
    }
    run.beside(&before, &fresh, &out);
    Lowered {
        levels: run.levels,
        torn: fresh,
    }
}

impl Run<'_, '_, '_> {
    fn again(&mut self, at: usize) {
        if !self.queued[at] {
            self.queued[at] = true;
            self.queue.push_back(at);
        }
    }

    /// Whether a first install is out of reach that was in reach before its maxima counted.
    fn lost(&self, before: &[Level]) -> bool {
        self.levels
            .iter()
            .zip(before)
            .any(|(now, before)| *now == 0 && *before > 0)
    }

    /// Lowers anew, the maxima of all but those left out counted, and says how many are there. One that cannot be there
    /// is left out too, and then bounds nobody.
    fn beside(&mut self, highest: &[Level], fresh: &[usize], out: &[usize]) -> usize {
        let mut out = out.to_vec();
        loop {
            self.levels = highest.to_vec();
            for at in 0..self.levels.len() {
                let floor = self.scene.floor[at];
                let left = out.contains(&at);
                self.counts[at] = floor > 0 || (!left && fresh.contains(&at));
                if left {
                    self.levels[at] = floor;
                }
                self.again(at);
            }
            self.settle_all();
            let lost = fresh
                .iter()
                .filter(|at| self.levels[**at] == 0 && !out.contains(*at));
            let lost: Vec<usize> = lost.copied().collect();
            if lost.is_empty() {
                return self.levels.iter().filter(|level| **level > 0).count();
            }
            out.extend(lost);
        }
    }

    fn settle_all(&mut self) {
        while let Some(at) = self.queue.pop_front() {
            self.queued[at] = false;
            let Some(lowered) = self.settle(at) else {
                continue;
            };
            self.again(at);
            self.again(lowered);
            let scene = self.scene;
            for other in scene.dependents(lowered) {
                self.again(other);
            }
        }
    }

    /// Looks at what one install asks of others, and lowers one of them where that is not given; says which.
    fn settle(&mut self, at: usize) -> Option<usize> {
        let scene = self.scene;
        for edge in scene.edges(at, self.levels[at]) {
            if scene.edge_ok(edge, &self.levels) {
                continue;
            }
            let other = scene.place(edge.to());
            if let Some(other) = other
                && !edge.bars()
                && self.levels[other] > edge.most()
                && edge.most() >= scene.floor[other]
            {
                let most = self.pool.highest(other, edge.most());
                if self.counts[at] {
                    self.levels[other] = most;
                    return Some(other);
                }
                // Decided later, where there is anything to decide.
                if edge.allows(most) {
                    continue;
                }
            }
            if self.levels[at] > scene.floor[at] {
                self.levels[at] = self.pool.highest(at, self.levels[at] - 1);
                return Some(at);
            }
            // It is where it is and asks for what is not there: the environment is inconsistent already. What another
            // one could give way is still given.
            if let Some(other) = other
                && self.levels[other] > scene.floor[other]
                && edge.allows(scene.floor[other])
            {
                self.levels[other] = scene.floor[other];
                return Some(other);
            }
        }
        None
    }
}
