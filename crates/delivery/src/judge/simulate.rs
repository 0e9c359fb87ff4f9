//! Rollouts played on simulated traffic, to measure how often a healthy version is undone and how soon a bad
//! one is caught. Pure: the same seed gives the same figures on every day and every machine.

use super::{Counts, Judge, Pair, float};
use crate::product::RolloutPolicy;
use crate::rollout::{Decision, Progress, Seen, Status, decide, weight_at};
use bascule_core::Timestamp;
use bascule_wire::agent::InstanceState;
use std::time::Duration;

/// A small reproducible generator (SplitMix64), so that the figures never depend on the day.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// A generator that gives the same numbers for the same seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number from 0 to below 1.
    pub fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        float((z ^ (z >> 31)) >> 12) / float(1 << 52)
    }

    /// Binomial by waiting times, quick where successes are rare.
    pub fn binomial(&mut self, n: u64, p: f64) -> u64 {
        if p > 0.5 {
            return n - self.binomial(n, 1.0 - p);
        }
        if n == 0 || p <= 0.0 {
            return 0;
        }
        let (mut at, mut hits, base) = (0.0, 0, (1.0 - p).ln());
        loop {
            at += (self.unit().max(1e-300).ln() / base).floor() + 1.0;
            if at > float(n) {
                return hits;
            }
            hits += 1;
        }
    }

    fn poisson(&mut self, mean: f64) -> u64 {
        self.binomial(10_000, mean / 10_000.0)
    }
}

/// How requests and errors come.
#[derive(Clone, Copy, Debug)]
pub struct Traffic {
    /// Requests in a slice, both sides together.
    pub per_slice: f64,
    /// Share of errors on the old side.
    pub rate: f64,
    /// Share of slices in which one instance errs ten to a hundred times as much, each for itself.
    pub bursts: f64,
    /// Share of slices in which both err, as when a database is gone.
    pub outages: f64,
}

impl Traffic {
    /// One slice, in which the new side errs at `new_rate` and has the share `weight` (0 to 1) of requests.
    pub fn slice(&self, dice: &mut Dice, new_rate: f64, weight: f64) -> Pair {
        let total = dice.poisson(self.per_slice);
        let new = dice.binomial(total, weight);
        let outage = if dice.unit() < self.outages {
            0.2 + 0.6 * dice.unit()
        } else {
            0.0
        };
        let mut side = |requests: u64, rate: f64| {
            let burst = if dice.unit() < self.bursts {
                0.05 + 0.9 * dice.unit()
            } else {
                0.0
            };
            let errors = dice.binomial(requests, rate.max(burst).max(outage));
            Counts {
                requests,
                errors,
                slow: errors / 2,
            }
        };
        Pair {
            new: side(new, new_rate),
            old: side(total - new, self.rate),
        }
    }
}

/// How a rollout ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The judge undid it.
    Undone,
    /// The new version got all requests.
    Promoted,
    /// It was under way or waited for a person until the time was over.
    Open,
}

/// A rollout that was played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Played {
    /// How it ended.
    pub end: End,
    /// After how many slices.
    pub slices: u64,
    /// Whether it ever waited for a person.
    pub asked: bool,
}

/// Plays one rollout by the policy, with the decisions that a real one takes, for at most so many slices.
/// Instances stay healthy, and nobody answers when a person is asked: the judge alone is measured.
#[must_use]
pub fn play(dice: &mut Dice, traffic: &Traffic, new_rate: f64, policy: &RolloutPolicy, most: u64) -> Played {
    let length = Duration::from_millis(policy.slice_ms);
    let seen = Seen {
        state: InstanceState::Healthy,
        since: Timestamp::from_micros(0),
        restarts: 0,
        reported_at: None,
        message: String::new(),
    };
    let mut now = Timestamp::from_micros(0);
    let mut judge = Judge::default();
    let mut progress = Progress {
        status: Status::Running,
        step: 0,
        step_at: now,
        extended: false,
        recovering_at: None,
        base_restarts: 0,
        held: false,
    };
    let mut asked = false;
    for slices in 1..=most {
        let weight = f64::from(weight_at(policy, progress.step)) / 100.0;
        judge.fold(&traffic.slice(dice, new_rate, weight));
        now = now.plus(length);
        let end = match decide(now, policy, &progress, (&seen, &seen), &judge, (&[], &[])) {
            Decision::Undo(..) => End::Undone,
            Decision::Promote(_) => End::Promoted,
            Decision::Step(_) => {
                progress.step += 1;
                progress.step_at = now;
                progress.extended = false;
                progress.status = Status::Running;
                judge.next_step();
                continue;
            }
            Decision::Extend(_) => {
                progress.extended = true;
                continue;
            }
            Decision::Ask(_) => {
                progress.extended = true;
                progress.status = Status::Waiting;
                asked = true;
                continue;
            }
            Decision::Stay | Decision::Hold(_) | Decision::Recovered => continue,
        };
        return Played { end, slices, asked };
    }
    Played {
        end: End::Open,
        slices: most,
        asked,
    }
}
