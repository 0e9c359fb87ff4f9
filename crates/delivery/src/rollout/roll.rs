//! Replacing instances some at a time. Pure: how many stand where goes in, how many may be moved comes out. The way
//! back is the same with the sides exchanged, so the promise holds there as well.

/// What a replacement must keep to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Promise {
    /// Instances that should serve in the end.
    pub target: usize,
    /// Healthy instances in service, never fewer.
    pub serving: usize,
    /// Instances that may be missing from the target.
    pub missing: usize,
    /// Instances that run, never more.
    pub most: usize,
    /// Instances that may be started at once.
    pub batch: usize,
}

impl Promise {
    /// From `before` instances to `after`.
    pub fn new(before: usize, after: usize, max_surge: u32, max_unavailable: u32) -> Self {
        let size = |count: u32| usize::try_from(count).unwrap_or(0);
        let (surge, missing) = (size(max_surge), size(max_unavailable));
        Self {
            target: after,
            serving: before.min(after).saturating_sub(missing),
            missing,
            most: before.max(after) + surge,
            batch: (surge + missing).max(1),
        }
    }
}

/// Where the instances of one side stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    /// Not started yet.
    pub held: usize,
    /// Started, and not proven.
    pub starting: usize,
    /// Healthy, and out of service.
    pub proven: usize,
    /// In service and healthy.
    pub serving: usize,
    /// In service, but not healthy.
    pub ill: usize,
    /// Taken out of service, and not gone.
    pub leaving: usize,
}

impl Count {
    /// Those that run.
    pub const fn running(&self) -> usize {
        self.starting + self.proven + self.serving + self.ill + self.leaving
    }
}

/// How many may be moved now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Moves {
    /// Proven ones of the coming side, into service.
    pub expose: usize,
    /// Of the leaving side, out of service, those that are ill first.
    pub retire: usize,
    /// Of the coming side, started.
    pub start: usize,
}

/// What may be done now. `open`: what was done last has proven itself, so more may be replaced.
pub(crate) fn moves(promise: Promise, to: Count, from: Count, open: bool) -> Moves {
    let expose = to.proven;
    if !open {
        return Moves {
            expose,
            ..Moves::default()
        };
    }
    let arrived = to.serving + expose;
    let in_service = from.serving + from.ill;
    let needed = promise.target.saturating_sub(arrived + promise.missing);
    let dispensable = in_service.saturating_sub(needed);
    let ill = dispensable.min(from.ill);
    let above = (arrived + from.serving).saturating_sub(promise.serving);
    let healthy = (dispensable - ill).min(above).min(from.serving);
    let free = promise.most.saturating_sub(to.running() + from.running());
    let coming = to.starting + to.proven;
    Moves {
        expose,
        retire: ill + healthy,
        start: to.held.min(free).min(promise.batch.saturating_sub(coming)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A fleet whose agent takes its time: each event says which of the things that can happen does.
    fn play(promise: Promise, before: usize, held: usize, events: &[u8], turn_back_at: usize) {
        let mut to = Count {
            held,
            ..Count::default()
        };
        let mut from = Count {
            serving: before,
            ..Count::default()
        };
        let mut promise = promise;
        let mut back = false;
        let mut turns = 0;
        loop {
            let done = to.serving >= promise.target && from.serving + from.ill == 0;
            if done || turns > 2_000 {
                assert!(done, "it never ends: {promise:?} {to:?} {from:?}");
                return;
            }
            if turns == turn_back_at && !back {
                back = true;
                std::mem::swap(&mut to, &mut from);
                // What never served goes at once; what is missing on the old side is made anew.
                from.leaving += from.starting + from.proven;
                (from.held, from.starting, from.proven) = (0, 0, 0);
                to.held = before.saturating_sub(to.serving);
                promise.target = before;
            }
            let event = events.get(turns % events.len().max(1)).copied().unwrap_or(0);
            turns += 1;
            // Anything may be late, but nothing for ever.
            if (event & 1 == 0 || turns % 5 == 0) && to.starting > 0 {
                (to.starting, to.proven) = (to.starting - 1, to.proven + 1);
            }
            if event & 2 == 0 || turns % 5 == 0 {
                from.leaving = from.leaving.saturating_sub(1);
                to.leaving = to.leaving.saturating_sub(1);
            }
            let moves = moves(promise, to, from, event & 4 == 0 || turns % 3 == 0);
            assert!(moves.expose <= to.proven && moves.start <= to.held);
            assert!(moves.retire <= from.serving + from.ill);
            to.proven -= moves.expose;
            to.serving += moves.expose;
            to.held -= moves.start;
            to.starting += moves.start;
            let ill = moves.retire.min(from.ill);
            from.ill -= ill;
            from.serving -= moves.retire - ill;
            from.leaving += moves.retire;
            let serving = to.serving + from.serving;
            assert!(
                serving >= promise.serving,
                "{serving} serve: {promise:?} {to:?} {from:?}"
            );
            let running = to.running() + from.running();
            assert!(
                running <= promise.most,
                "{running} run: {promise:?} {to:?} {from:?}"
            );
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn never_fewer_serve_than_promised_nor_more_run_than_allowed_there_and_back(
            before in 1_usize..8, after in 1_usize..8, surge in 0_u32..4, missing in 0_u32..4,
            events in prop::collection::vec(any::<u8>(), 1..60), turn_back_at in 0_usize..60,
        ) {
            prop_assume!(surge + missing > 0);
            let promise = Promise::new(before, after, surge, missing);
            play(promise, before, after, &events, turn_back_at);
        }
    }

    #[test]
    fn one_at_a_time_the_new_one_comes_before_the_old_one_goes() {
        let promise = Promise::new(3, 3, 1, 0);
        let old = Count {
            serving: 3,
            ..Count::default()
        };
        let new = Count {
            held: 3,
            ..Count::default()
        };
        let first = moves(promise, new, old, true);
        assert_eq!((first.expose, first.retire, first.start), (0, 0, 1));
        let new = Count {
            held: 2,
            proven: 1,
            ..Count::default()
        };
        assert_eq!(moves(promise, new, old, false).expose, 1);
        let new = Count {
            held: 2,
            serving: 1,
            ..Count::default()
        };
        let next = moves(promise, new, old, true);
        assert_eq!((next.expose, next.retire, next.start), (0, 1, 0));
        assert_eq!(moves(promise, new, old, false), Moves::default());
    }

    #[test]
    fn an_ill_old_instance_goes_first_and_counts_for_nothing() {
        let promise = Promise::new(2, 2, 1, 0);
        let old = Count {
            serving: 1,
            ill: 1,
            ..Count::default()
        };
        let new = Count {
            held: 1,
            serving: 1,
            ..Count::default()
        };
        assert_eq!(moves(promise, new, old, true).retire, 1);
        let worse = Count {
            serving: 0,
            ill: 2,
            ..Count::default()
        };
        let promised = moves(promise, new, worse, true);
        assert_eq!(
            promised.retire, 1,
            "one ill one may go, the other is still needed"
        );
    }
}
