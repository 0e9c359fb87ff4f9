use super::*;
use crate::judge::Counts;
use proptest::prelude::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(seconds)
}

fn policy() -> RolloutPolicy {
    RolloutPolicy {
        steps: vec![10, 50, 100],
        step_ms: 10_000,
        slice_ms: 1_000,
        max_ms: 30_000,
        ..Default::default()
    }
}

fn progress(step: usize) -> Progress {
    Progress {
        status: Status::Running,
        step,
        step_at: at(100),
        extended: false,
        recovering_at: None,
        base_restarts: 0,
        held: false,
    }
}

fn seen(state: InstanceState) -> Seen {
    Seen {
        state,
        since: at(90),
        restarts: 0,
        reported_at: Some(at(99)),
        message: String::new(),
    }
}

fn judged(slices: u64, new_errors: u64) -> Judge {
    let mut judge = Judge::default();
    for _ in 0..slices {
        let counts = |errors| Counts {
            requests: 40,
            errors,
            slow: 0,
        };
        judge.fold(&Pair {
            new: counts(new_errors),
            old: counts(0),
        });
    }
    judge
}

fn next(now: i64, progress: &Progress, new: &Seen, judge: &Judge) -> Decision {
    decide(
        at(now),
        &policy(),
        progress,
        (new, &seen(InstanceState::Healthy)),
        judge,
        (&[], &[]),
    )
}

#[test]
fn steps_go_on_when_time_and_judge_agree() {
    let healthy = seen(InstanceState::Healthy);
    assert_eq!(
        next(105, &progress(0), &healthy, &judged(5, 0)),
        Decision::Stay,
        "the step lasts ten seconds"
    );
    assert!(matches!(
        next(110, &progress(0), &healthy, &judged(9, 0)),
        Decision::Step(_)
    ));
    assert!(matches!(
        next(110, &progress(1), &healthy, &judged(9, 0)),
        Decision::Promote(_)
    ));
    assert!(matches!(
        next(104, &progress(0), &healthy, &judged(20, 9)),
        Decision::Undo(Cause::Judge, _)
    ));
}

#[test]
fn without_traffic_it_extends_once_then_asks_once() {
    let healthy = seen(InstanceState::Healthy);
    let mut progress = progress(0);
    assert!(matches!(
        next(111, &progress, &healthy, &Judge::default()),
        Decision::Extend(_)
    ));
    progress.extended = true;
    assert_eq!(next(112, &progress, &healthy, &Judge::default()), Decision::Stay);
    assert!(matches!(
        next(131, &progress, &healthy, &Judge::default()),
        Decision::Ask(_)
    ));
    progress.status = Status::Waiting;
    assert_eq!(next(132, &progress, &healthy, &Judge::default()), Decision::Stay);
    assert!(
        matches!(next(133, &progress, &healthy, &judged(5, 0)), Decision::Step(_)),
        "traffic came after all"
    );

    let mut policy = policy();
    policy.inconclusive = Some(Inconclusive::Abort);
    progress.status = Status::Running;
    let decision = decide(
        at(131),
        &policy,
        &progress,
        (&healthy, &healthy),
        &Judge::default(),
        (&[], &[]),
    );
    assert!(
        matches!(decision, Decision::Undo(Cause::Judge, reason) if reason.contains("too little traffic"))
    );
}

#[test]
fn where_files_declare_it_a_quiet_step_goes_on_and_a_suspicious_one_asks() {
    let quiet = policy().inconclusive_in(true);
    let mut progress = progress(0);
    progress.extended = true;
    let after = |new: &Seen, judge: &Judge| {
        let old = seen(InstanceState::Healthy);
        decide(at(131), &quiet, &progress, (new, &old), judge, (&[], &[]))
    };
    let healthy = seen(InstanceState::Healthy);
    let decision = after(&healthy, &Judge::default());
    assert!(
        matches!(&decision, Decision::Step(reason) if reason.contains("too little traffic")),
        "{decision:?}"
    );
    let mut errs = Judge::default();
    let counts = |requests, errors| Counts {
        requests,
        errors,
        slow: 0,
    };
    while errs.suspicion().is_none() {
        errs.fold(&Pair {
            new: counts(20, 12),
            old: counts(20, 0),
        });
    }
    assert!(errs.failed().is_none(), "a suspicion comes before the proof");
    assert!(matches!(after(&healthy, &errs), Decision::Ask(_)));
    assert!(matches!(
        after(&seen(InstanceState::Starting), &Judge::default()),
        Decision::Ask(_)
    ));
    // What the product says counts for more than where it is.
    let mut asks = policy();
    asks.inconclusive = Some(Inconclusive::Ask);
    assert_eq!(asks.clone().inconclusive_in(true), asks);
}

#[test]
fn a_pause_stops_steps_but_not_the_judge() {
    let mut progress = progress(0);
    progress.status = Status::Paused;
    let healthy = seen(InstanceState::Healthy);
    assert_eq!(next(500, &progress, &healthy, &judged(9, 0)), Decision::Stay);
    assert!(matches!(
        next(500, &progress, &healthy, &judged(20, 9)),
        Decision::Undo(Cause::Judge, _)
    ));
}

#[test]
fn a_broken_instance_is_undone_whatever_the_counts() {
    for state in [
        InstanceState::Crashed,
        InstanceState::Failed,
        InstanceState::Stopped,
    ] {
        let decision = next(101, &progress(0), &seen(state), &Judge::default());
        assert!(
            matches!(decision, Decision::Undo(Cause::Guardrail, _)),
            "{state:?}"
        );
    }
    let mut ill = seen(InstanceState::Unhealthy);
    ill.since = at(100);
    assert_eq!(next(103, &progress(0), &ill, &Judge::default()), Decision::Stay);
    assert!(matches!(
        next(106, &progress(0), &ill, &Judge::default()),
        Decision::Undo(Cause::Guardrail, _)
    ));
    let mut restarted = seen(InstanceState::Healthy);
    restarted.restarts = 1;
    assert!(matches!(
        next(103, &progress(0), &restarted, &Judge::default()),
        Decision::Undo(Cause::Guardrail, _)
    ));
}

#[test]
fn after_a_restart_both_must_come_back_in_time() {
    let mut progress = progress(0);
    progress.recovering_at = Some(at(200));
    let stale = seen(InstanceState::Healthy);
    assert_eq!(
        next(205, &progress, &stale, &Judge::default()),
        Decision::Stay,
        "the report is from before"
    );
    let mut fresh = stale.clone();
    fresh.reported_at = Some(at(204));
    let both = decide(
        at(205),
        &policy(),
        &progress,
        (&fresh, &fresh),
        &Judge::default(),
        (&[], &[]),
    );
    assert_eq!(both, Decision::Recovered);
    let Decision::Undo(Cause::Restart, reason) = next(231, &progress, &fresh, &Judge::default()) else {
        unreachable!("the old one is not back")
    };
    assert!(reason.contains("old instance"), "{reason}");
}

#[test]
fn seconds_become_slices_aligned_to_the_step() {
    let from = first_slice(Timestamp::from_micros(100_400_000));
    assert_eq!(from, at(102));
    let second = |s: i64, new: bool, requests: u64| Second {
        at: at(s),
        new,
        counts: Counts {
            requests,
            errors: 0,
            slow: 0,
        },
    };
    let seconds = [
        second(101, true, 99),
        second(102, true, 1),
        second(102, false, 5),
        second(104, true, 2),
    ];
    let slices = closed_slices(&seconds, from, 1_000, at(106));
    assert_eq!(slices.len(), 2, "103 has ended and arrived, 104 may still arrive");
    assert_eq!((slices[0].pair.new.requests, slices[0].pair.old.requests), (1, 5));
    assert_eq!(slices[1].pair, Pair::default());
    assert_eq!(closed_slices(&seconds, from, 60_000, at(163)).len(), 0);
    let minute = closed_slices(&seconds, from, 60_000, at(164));
    assert_eq!((minute.len(), minute[0].pair.new.requests), (1, 3));
    assert_eq!(recent_pairs(&seconds, at(102)).len(), 2);
}

proptest! {
    #[test]
    fn every_rollout_under_steady_traffic_ends(errors in 0_u64..40, share in proptest::collection::vec(1_u32..100, 0..5)) {
        let mut steps = share;
        steps.sort_unstable();
        steps.dedup();
        steps.push(100);
        let policy = RolloutPolicy { steps, inconclusive: Some(Inconclusive::Abort), ..policy() };
        let healthy = seen(InstanceState::Healthy);
        let (mut judge, mut progress, mut ended) = (Judge::default(), progress(0), false);
        for second in 100..400 {
            let counts = |errors| Counts { requests: 40, errors, slow: 0 };
            judge.fold(&Pair { new: counts(errors), old: counts(1) });
            match decide(at(second), &policy, &progress, (&healthy, &healthy), &judge, (&[], &[])) {
                Decision::Step(_) => {
                    progress.step += 1;
                    progress.step_at = at(second);
                    judge.next_step();
                }
                Decision::Extend(_) => progress.extended = true,
                Decision::Promote(_) | Decision::Undo(..) => { ended = true; break; }
                _ => {}
            }
        }
        prop_assert!(ended);
        prop_assert!(weight_at(&policy, progress.step) <= 100);
    }
}
