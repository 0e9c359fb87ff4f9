//! Which backend takes the next request. Shares are exact, not drawn by lot: the judge of a rollout compares
//! counts, and a share that only holds on average would add noise of its own.

use std::sync::atomic::{AtomicU64, Ordering};

/// Longest cycle; shares finer than one in this many are rounded.
const LONGEST_CYCLE: u64 = 10_000;

/// A cycle of turns in which every backend appears exactly in proportion to its weight, spread smoothly.
///
/// Each cycle starts at another place, so that traffic which itself has a rhythm (every tenth request is a
/// health check) does not always meet the same backend.
#[derive(Debug)]
pub(crate) struct Schedule {
    order: Box<[u16]>,
    turn: AtomicU64,
}

impl Schedule {
    /// The schedule for these weights; those of zero never get a turn.
    pub(crate) fn new(weights: &[u32]) -> Self {
        Self {
            order: smooth_order(&reduced(weights)),
            turn: AtomicU64::new(0),
        }
    }

    /// The index of the backend whose turn it is; `None` where none has a weight.
    pub(crate) fn next(&self) -> Option<usize> {
        let length = self.order.len() as u64;
        if length <= 1 {
            return self.order.first().map(|index| usize::from(*index));
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let (cycle, place) = (turn / length, turn % length);
        let place = (place + scramble(cycle) % length) % length;
        let place = usize::try_from(place).unwrap_or_default();
        self.order.get(place).map(|index| usize::from(*index))
    }

    /// Another backend than `failed` that has a weight, for a second try.
    pub(crate) fn other_than(&self, failed: usize) -> Option<usize> {
        let start = usize::try_from(self.turn.load(Ordering::Relaxed)).unwrap_or_default();
        let length = self.order.len();
        (0..length)
            .filter_map(|step| self.order.get(start.wrapping_add(step) % length))
            .map(|index| usize::from(*index))
            .find(|index| *index != failed)
    }
}

/// Weights divided by their greatest common divisor and scaled down to [`LONGEST_CYCLE`].
fn reduced(weights: &[u32]) -> Vec<u64> {
    let total: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
    let divisor = weights.iter().fold(0, |divisor, weight| {
        greatest_common_divisor(divisor, u64::from(*weight))
    });
    if total == 0 {
        return Vec::new();
    }
    let fits = total / divisor.max(1) <= LONGEST_CYCLE;
    weights
        .iter()
        .map(|weight| match u64::from(*weight) {
            0 => 0,
            weight if fits => weight / divisor.max(1),
            weight => (weight * LONGEST_CYCLE / total).max(1),
        })
        .collect()
}

const fn greatest_common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Smooth weighted round robin, written out for one cycle: each turn goes to whoever is furthest behind.
fn smooth_order(weights: &[u64]) -> Box<[u16]> {
    let total: u64 = weights.iter().sum();
    let total = i64::try_from(total).unwrap_or_default();
    let weights: Vec<i64> = weights
        .iter()
        .map(|weight| i64::try_from(*weight).unwrap_or_default())
        .collect();
    let mut credit = vec![0_i64; weights.len()];
    let mut order = Vec::new();
    for _ in 0..total {
        for (credit, weight) in credit.iter_mut().zip(&weights) {
            *credit += weight;
        }
        let ahead = credit
            .iter()
            .zip(&weights)
            .enumerate()
            .filter(|(_, (_, weight))| **weight > 0);
        let Some((index, _)) = ahead.max_by_key(|(index, (credit, _))| (**credit, std::cmp::Reverse(*index)))
        else {
            break;
        };
        if let Some(credit) = credit.get_mut(index) {
            *credit -= total;
        }
        order.push(u16::try_from(index).unwrap_or_default());
    }
    order.into_boxed_slice()
}

/// `SplitMix64`'s finaliser: neighbouring cycles start far apart.
const fn scramble(cycle: u64) -> u64 {
    let mut z = cycle.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_in_ten_gets_exactly_one_of_each_ten() {
        let schedule = Schedule::new(&[90, 10]);
        for _ in 0..100 {
            let turns: Vec<_> = (0..10).filter_map(|_| schedule.next()).collect();
            assert_eq!(turns.iter().filter(|index| **index == 1).count(), 1, "{turns:?}");
        }
    }

    #[test]
    fn a_rhythm_in_the_traffic_does_not_meet_one_backend_only() {
        let schedule = Schedule::new(&[9, 1]);
        let every_tenth: Vec<_> = (0..10_000).filter_map(|_| schedule.next()).step_by(10).collect();
        let new = every_tenth.iter().filter(|index| **index == 1).count();
        assert!(
            (60..140).contains(&new),
            "{new} of 1000 probes met the new version"
        );
    }

    #[test]
    fn zero_weights_get_nothing_and_a_second_try_goes_elsewhere() {
        assert_eq!(Schedule::new(&[]).next(), None);
        assert_eq!(Schedule::new(&[0, 0]).next(), None);
        let schedule = Schedule::new(&[0, 5, 5]);
        assert!((0..100).all(|_| schedule.next() != Some(0)));
        assert_eq!(schedule.other_than(1), Some(2));
        assert_eq!(Schedule::new(&[0, 5]).other_than(1), None);
    }

    proptest! {
        #[test]
        fn every_cycle_is_exactly_proportioned(weights in prop::collection::vec(0_u32..40, 1..6)) {
            let schedule = Schedule::new(&weights);
            let cycle = reduced(&weights).iter().sum::<u64>();
            let mut got = vec![0_u64; weights.len()];
            for _ in 0..cycle * 3 {
                if let Some(index) = schedule.next() { got[index] += 1; }
            }
            let expected: Vec<_> = reduced(&weights).iter().map(|weight| weight * 3).collect();
            if cycle > 0 { prop_assert_eq!(got, expected); }
        }

        #[test]
        fn huge_weights_stay_close(a in 1_u32.., b in 1_u32..) {
            let schedule = Schedule::new(&[a, b]);
            prop_assert!(schedule.order.len() as u64 <= LONGEST_CYCLE + 1);
            let share = schedule.order.iter().filter(|index| **index == 0).count() as f64 / schedule.order.len() as f64;
            let wanted = f64::from(a) / (f64::from(a) + f64::from(b));
            prop_assert!((share - wanted).abs() < 0.001, "{share} for {wanted}");
        }
    }
}
