//! The judge against fixed thresholds, on simulated rollouts: how many healthy versions are undone, how many
//! bad ones are caught, and how soon.
//!
//! The fixed-threshold rule is coded here alone. It looks at the new version's share of answers without error
//! once an interval, counts the looks at which it is too low, and undoes at the limit: so do Flagger
//! (`request-success-rate`, `threshold`) and Argo Rollouts (`successCondition`, `failureLimit`).

use crate::{
    Result,
    report::{Goal, goals},
    size, tell,
};
use bascule_delivery::{
    judge::simulate::{Dice, End, Traffic, play},
    product::RolloutPolicy,
};
use std::fmt::Write as _;

/// A rule with fixed thresholds, with the values of its project's own example.
struct Fixed {
    name: &'static str,
    /// Minutes between two looks.
    interval: u64,
    /// Least share of answers without error.
    success: f64,
    /// Looks at which it is lower, at which the rollout is undone.
    failures: u64,
}

const FIXED: [Fixed; 2] = [
    Fixed {
        name: "99 % a minute, 5 failures (as Flagger's example)",
        interval: 1,
        success: 0.99,
        failures: 5,
    },
    Fixed {
        name: "95 % in 5 minutes, 4 failures (as Argo Rollouts' example)",
        interval: 5,
        success: 0.95,
        failures: 4,
    },
];

/// How errors come, in words and numbers: the old side's rate, bursts, outages.
const SHAPES: [(&str, f64, f64, f64); 3] = [
    ("steady, 0.5 %", 0.005, 0.0, 0.0),
    ("bursts in 5 % of the minutes of one instance", 0.005, 0.05, 0.0),
    (
        "both, and outages of all in 5 % of the minutes",
        0.005,
        0.05,
        0.05,
    ),
];
const LOADS: [f64; 3] = [20.0, 200.0, 2_000.0];
/// Error rate of the bad version.
const BAD: f64 = 0.025;
/// A rollout that has not ended by then is left: nobody waits longer.
const MOST: u64 = 240;

/// What came of many rollouts of one kind.
#[derive(Default)]
struct Many {
    runs: usize,
    undone: Vec<u64>,
    promoted: usize,
    asked: usize,
}

impl Many {
    fn add(&mut self, end: End, slices: u64, asked: bool) {
        self.runs += 1;
        self.asked += usize::from(asked);
        match end {
            End::Undone => self.undone.push(slices),
            End::Promoted => self.promoted += 1,
            End::Open => {}
        }
    }

    fn share(&self) -> f64 {
        percent(self.undone.len(), self.runs)
    }

    /// The minute within which a share of those that were undone were undone.
    fn within(&mut self, percent: usize) -> String {
        self.undone.sort_unstable();
        let at = self.undone.len() * percent / 100;
        self.undone
            .get(at)
            .map_or_else(|| "–".to_owned(), |minutes| format!("{minutes}"))
    }
}

#[allow(clippy::cast_precision_loss, reason = "counts of rollouts")]
fn percent(part: usize, whole: usize) -> f64 {
    part as f64 * 100.0 / whole.max(1) as f64
}

fn by_judge(runs: usize, seed: u64, traffic: &Traffic, new_rate: f64) -> Many {
    let policy = RolloutPolicy::default();
    let mut dice = Dice::new(seed);
    let mut many = Many::default();
    for _ in 0..runs {
        let played = play(&mut dice, traffic, new_rate, &policy, MOST);
        many.add(played.end, played.slices, played.asked);
    }
    many
}

fn by_threshold(runs: usize, seed: u64, traffic: &Traffic, new_rate: f64, rule: &Fixed) -> Many {
    let policy = RolloutPolicy::default();
    let step = policy.step_ms / 60_000;
    let mut dice = Dice::new(seed);
    let mut many = Many::default();
    for _ in 0..runs {
        let (mut failures, mut requests, mut errors, mut minute) = (0, 0, 0, 0);
        let mut end = End::Promoted;
        'rollout: for weight in policy.steps.iter().filter(|weight| **weight < 100) {
            for _ in 0..step {
                let new = traffic.slice(&mut dice, new_rate, f64::from(*weight) / 100.0).new;
                minute += 1;
                requests += new.requests;
                errors += new.errors;
                if minute % rule.interval != 0 {
                    continue;
                }
                #[allow(clippy::cast_precision_loss, reason = "counts of requests")]
                let good = requests == 0 || 1.0 - errors as f64 / requests as f64 >= rule.success;
                failures += u64::from(!good);
                (requests, errors) = (0, 0);
                if failures >= rule.failures {
                    end = End::Undone;
                    break 'rollout;
                }
            }
        }
        many.add(end, minute, false);
    }
    many
}

pub fn measure() -> Result<String> {
    let runs = size("BENCH_ROLLOUTS", 2_000);
    let mut text = format!(
        "## Judge\n\n`bench judge`: {runs} simulated rollouts a line from fixed seeds, each under the usual policy \
         (10, 25, 50 %, ten minutes each at least, thirty at most, slices of a minute) and by the decisions that real \
         rollouts take; nobody answers when a person is asked, and after {MOST} minutes the rollout is left. Rules \
         with fixed thresholds go through the same steps in thirty minutes. Slow requests are simulated with the \
         errors (half of them).\n\n### Equal versions: undone by mistake\n\n\
         | Requests a minute | Errors | Judge | Judge: a person was asked | {} | {} |\n|---|---|---|---|---|---|\n",
        FIXED[0].name, FIXED[1].name
    );
    let (mut worst, mut all, mut undone) = (0.0_f64, 0, 0);
    let mut seed = 1;
    for per_slice in LOADS {
        for (name, rate, bursts, outages) in SHAPES {
            let traffic = Traffic {
                per_slice,
                rate,
                bursts,
                outages,
            };
            seed += 1;
            let judge = by_judge(runs, seed, &traffic, rate);
            all += judge.runs;
            undone += judge.undone.len();
            worst = worst.max(judge.share());
            let _ = write!(
                text,
                "| {per_slice} | {name} | {:.2} % | {:.1} % |",
                judge.share(),
                percent(judge.asked, judge.runs)
            );
            for rule in &FIXED {
                let fixed = by_threshold(runs, seed, &traffic, rate, rule);
                let _ = write!(text, " {:.2} % |", fixed.share());
            }
            text.push('\n');
        }
        tell(&format!("equal versions at {per_slice} requests a minute played"));
    }
    text.push_str(
        "\n### A rise from 0.5 % to 2.5 %\n\n\
         | Requests a minute | Errors | Rule | Undone | Promoted | A person was asked | Median, minutes | 95 % within |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    let mut caught = Vec::new();
    for per_slice in LOADS {
        for (name, rate, bursts, outages) in SHAPES {
            let traffic = Traffic {
                per_slice,
                rate,
                bursts,
                outages,
            };
            seed += 1;
            let mut lines = vec![("judge", by_judge(runs, seed, &traffic, BAD))];
            for rule in &FIXED {
                lines.push((rule.name, by_threshold(runs, seed, &traffic, BAD, rule)));
            }
            if (per_slice - 200.0).abs() < 1.0
                && outages == 0.0
                && let Some((_, many)) = lines.first_mut()
            {
                let kind = if bursts == 0.0 { "steady" } else { "bursty" };
                caught.push(Goal {
                    goal: format!(
                        "judge: a rise from 0.5 to 2.5 % at 200 requests a minute, {kind} errors, caught in over 95 %"
                    ),
                    measured: format!("{:.1} %, median {} min", many.share(), many.within(50)),
                    met: many.share() > 95.0,
                });
            }
            for (rule, many) in &mut lines {
                let _ = writeln!(
                    text,
                    "| {per_slice} | {name} | {rule} | {:.1} % | {:.1} % | {:.1} % | {} | {} |",
                    many.share(),
                    percent(many.promoted, many.runs),
                    percent(many.asked, many.runs),
                    many.within(50),
                    many.within(95),
                );
            }
        }
        tell(&format!("bad versions at {per_slice} requests a minute played"));
    }
    text.push('\n');
    let mut list = vec![Goal {
        goal: "judge: equal versions undone in under 1 % of rollouts, in each kind of traffic".to_owned(),
        measured: format!("{:.2} % of {all}; worst kind {worst:.2} %", percent(undone, all)),
        met: worst < 1.0,
    }];
    list.append(&mut caught);
    text.push_str(&goals(&list));
    Ok(text)
}
