//! Simulated rollouts: how often a healthy version is undone, and how soon a bad one is caught.

use super::simulate::{Dice, Traffic as Load};
use super::*;
use crate::product::RolloutPolicy;

/// Plays a rollout; the slice in which it was undone, if it was.
fn play(dice: &mut Dice, load: Load, new_rate: f64, steps: &[(f64, u64)], most: u64) -> Option<u64> {
    let mut judge = Judge::default();
    let mut seen = 0;
    for (weight, slices) in steps {
        judge.next_step();
        let mut in_step = 0;
        loop {
            judge.fold(&load.slice(dice, new_rate, *weight));
            seen += 1;
            in_step += 1;
            if judge.failed().is_some() {
                return Some(seen);
            }
            if seen >= most {
                return None;
            }
            if in_step >= *slices && matches!(judge.verdict(), Verdict::Pass(_)) || in_step >= slices * 3 {
                break;
            }
        }
    }
    None
}

/// Rollouts played per case: few, because tests run often. `bench judge` plays thousands.
const RUNS: usize = 120;
const STEPS: &[(f64, u64)] = &[(0.10, 10), (0.25, 10), (0.50, 10)];

#[test]
fn healthy_versions_are_undone_in_less_than_one_rollout_of_a_hundred() {
    let runs = RUNS;
    let mut dice = Dice::new(1);
    let mut all = 0;
    let mut worst = 0;
    for per_slice in [20.0, 200.0, 2000.0] {
        for (rate, bursts, outages) in [
            (0.001, 0.0, 0.0),
            (0.02, 0.0, 0.0),
            (0.005, 0.05, 0.0),
            (0.005, 0.0, 0.1),
            (0.01, 0.2, 0.1),
        ] {
            let load = Load {
                per_slice,
                rate,
                bursts,
                outages,
            };
            let undone = (0..runs)
                .filter(|_| play(&mut dice, load, rate, STEPS, 90).is_some())
                .count();
            worst = worst.max(undone);
            all += undone;
        }
    }
    let rollouts = runs * 15;
    println!("healthy: {all} of {rollouts} undone, {worst} of {runs} in the worst case");
    assert!(
        all * 100 < rollouts,
        "{all} of {rollouts} healthy versions were undone"
    );
    assert!(worst * 50 <= runs, "{worst} of {runs} in the worst case");
}

#[test]
fn a_long_healthy_life_beside_the_old_version_is_left_alone() {
    let load = Load {
        per_slice: 600.0,
        rate: 0.01,
        bursts: 0.05,
        outages: 0.05,
    };
    let mut dice = Dice::new(2);
    for weight in [0.1, 0.9] {
        let undone = (0..20)
            .filter(|_| play(&mut dice, load, 0.01, &[(weight, 500)], 500).is_some())
            .count();
        assert!(undone == 0, "{undone} of 20 at {weight}");
    }
}

/// Slices after which the given share of the runs was caught.
fn caught_within(runs: usize, share: f64, mut play: impl FnMut() -> Option<u64>) -> (usize, u64, u64) {
    let mut when: Vec<u64> = (0..runs).filter_map(|_| play()).collect();
    when.sort_unstable();
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "small"
    )]
    let at = (runs as f64 * share) as usize;
    (
        when.len(),
        when.get(runs / 2).copied().unwrap_or(u64::MAX),
        when.get(at).copied().unwrap_or(u64::MAX),
    )
}

#[test]
fn a_rise_from_half_to_two_and_a_half_percent_at_200_a_minute_is_caught() {
    let load = Load {
        per_slice: 200.0,
        rate: 0.005,
        bursts: 0.0,
        outages: 0.0,
    };
    let mut dice = Dice::new(3);
    let (caught, median, late) = caught_within(RUNS, 0.95, || {
        play(&mut dice, load, 0.025, &[(0.10, 10), (0.25, 10), (0.50, 30)], 90)
    });
    println!("0.5 to 2.5 % at 200/min: {caught} of {RUNS}, median {median} min, 95 % within {late} min");
    assert!(caught * 100 >= RUNS * 95, "{caught} of {RUNS}");
    assert!(late <= 45, "95 % within {late} minutes");
}

#[test]
fn the_same_rise_is_caught_when_errors_come_in_bursts() {
    let load = Load {
        per_slice: 200.0,
        rate: 0.005,
        bursts: 0.05,
        outages: 0.0,
    };
    let (policy, mut dice) = (RolloutPolicy::default(), Dice::new(6));
    let runs = 400;
    let ends: Vec<_> = (0..runs)
        .map(|_| simulate::play(&mut dice, &load, 0.025, &policy, 240).end)
        .collect();
    let caught = ends.iter().filter(|end| **end == simulate::End::Undone).count();
    println!("bursty 0.5 to 2.5 % at 200/min: {caught} of {runs}");
    assert!(caught * 100 >= runs * 96, "{caught} of {runs}");
}

#[test]
fn one_burst_on_the_old_side_does_not_clear_a_version_that_errs() {
    let pair = |new, old| Pair {
        new: Counts {
            requests: 100,
            errors: new,
            slow: 0,
        },
        old: Counts {
            requests: 100,
            errors: old,
            slow: 0,
        },
    };
    let mut judge = Judge::default();
    for _ in 0..9 {
        judge.fold(&pair(3, 0));
    }
    judge.fold(&pair(3, 90));
    assert!(judge.failed().is_none());
    let evidence = judge.error_evidence();
    assert!(evidence > SUSPICION, "{evidence}");
    assert!(matches!(judge.verdict(), Verdict::Extend(_)));
}

#[test]
fn a_judge_stored_by_an_older_version_is_read_and_its_game_begins_anew() {
    let old = r#"{"errors":{"held":[9.0,9.0,9.0],"slices":7},"slow":{"held":[0.1,0.1,0.1],"slices":4},
        "total":{"new":{"requests":9,"errors":1,"slow":0},"old":{"requests":9,"errors":0,"slow":0}},
        "slices":7,"step_slices":7,"step_requests":9}"#;
    let judge: Judge = serde_json::from_str(old).unwrap();
    assert_eq!((judge.total().new.requests, judge.slices), (9, 7));
    assert!(judge.error_evidence() < 1.0);
}

#[test]
fn eight_percent_at_sixty_a_second_is_caught_in_seconds() {
    let load = Load {
        per_slice: 60.0,
        rate: 0.002,
        bursts: 0.0,
        outages: 0.0,
    };
    let mut dice = Dice::new(4);
    for (steps, at_most) in [(STEPS, (25, 35)), (&[(0.25, 60)][..], (18, 28))] {
        let (caught, median, late) = caught_within(RUNS, 0.95, || play(&mut dice, load, 0.08, steps, 60));
        println!(
            "8 % at 60/s from {}: {caught} of {RUNS}, median {median} s, 95 % within {late} s",
            steps[0].0
        );
        assert_eq!(caught, RUNS);
        assert!(
            median <= at_most.0 && late <= at_most.1,
            "median {median} s, 95 % within {late} s"
        );
    }
}

#[test]
fn trouble_that_begins_late_is_still_caught() {
    let load = Load {
        per_slice: 60.0,
        rate: 0.005,
        bursts: 0.0,
        outages: 0.0,
    };
    let mut dice = Dice::new(5);
    let mut judge = Judge::default();
    for _ in 0..600 {
        judge.fold(&load.slice(&mut dice, 0.005, 0.25));
    }
    assert!(judge.failed().is_none());
    let mut seconds = 0;
    while judge.failed().is_none() {
        judge.fold(&load.slice(&mut dice, 0.10, 0.25));
        seconds += 1;
    }
    assert!(seconds <= 60, "{seconds} s");
}

#[test]
fn slow_requests_alone_undo_a_version() {
    let mut judge = Judge::default();
    let pair = |slow| Pair {
        new: Counts {
            requests: 50,
            errors: 0,
            slow,
        },
        old: Counts {
            requests: 50,
            errors: 0,
            slow: 1,
        },
    };
    for _ in 0..30 {
        judge.fold(&pair(20));
    }
    assert!(
        judge.failed().is_some_and(|reason| reason.contains("slow")),
        "{:?}",
        judge.numbers()
    );
    let mut judge = Judge::default();
    for _ in 0..300 {
        judge.fold(&pair(3));
    }
    assert!(judge.failed().is_none(), "four percent more is within the margin");
}

#[test]
fn a_step_without_traffic_is_extended_and_says_why() {
    let mut judge = Judge::default();
    let Verdict::Extend(reason) = judge.verdict() else {
        unreachable!("nothing was seen")
    };
    assert!(reason.contains("too little traffic"), "{reason}");
    for _ in 0..4 {
        let counts = Counts {
            requests: 10,
            errors: 0,
            slow: 0,
        };
        judge.fold(&Pair {
            new: counts,
            old: counts,
        });
    }
    assert!(matches!(judge.verdict(), Verdict::Pass(_)));
    judge.next_step();
    assert!(
        matches!(judge.verdict(), Verdict::Extend(_)),
        "each step must see its own traffic"
    );
}

#[test]
fn the_guardrail_speaks_of_broken_versions_only() {
    let pair = |new: (u64, u64), old: (u64, u64)| Pair {
        new: Counts {
            requests: new.0,
            errors: new.1,
            slow: 0,
        },
        old: Counts {
            requests: old.0,
            errors: old.1,
            slow: 0,
        },
    };
    assert!(guardrail(&[pair((10, 9), (50, 0)); 3]).is_some());
    assert!(
        guardrail(&[pair((100, 90), (500, 0)), Pair::default()]).is_none(),
        "one second is a hiccup"
    );
    assert!(
        guardrail(&[pair((10, 9), (50, 45)); 3]).is_none(),
        "the old one fails as well"
    );
    assert!(
        guardrail(&[pair((2, 2), (50, 0)); 3]).is_none(),
        "too few requests"
    );
}
