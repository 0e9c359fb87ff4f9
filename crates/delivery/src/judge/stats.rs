//! The mean of a bet over all ways to thin the larger side and to forgive the margin.

use super::float;

/// Above this mean, forgiven errors are taken as their mean instead of as a draw.
const DRAWN_FORGIVENESS: f64 = 8.0;

/// A small distribution over whole numbers, from `from` on.
struct Spread {
    from: u64,
    shares: Vec<f64>,
}

impl Spread {
    const fn certain(value: u64) -> Self {
        Self {
            from: value,
            shares: Vec::new(),
        }
    }

    /// From ratios of neighbouring shares around a value near the top; no logarithm, no factorial.
    fn around(top: u64, least: u64, most: u64, up: impl Fn(u64) -> f64) -> Self {
        const NOTHING: f64 = 1e-15;
        let mut below = Vec::new();
        let (mut share, mut at) = (1.0, top);
        while at > least {
            share /= up(at - 1);
            if share < NOTHING {
                break;
            }
            below.push(share);
            at -= 1;
        }
        let from = at.max(top - u64::try_from(below.len()).unwrap_or(0));
        below.reverse();
        below.push(1.0);
        let (mut share, mut at) = (1.0, top);
        while at < most {
            share *= up(at);
            if share < NOTHING {
                break;
            }
            below.push(share);
            at += 1;
        }
        let all: f64 = below.iter().sum();
        for share in &mut below {
            *share /= all;
        }
        Self { from, shares: below }
    }

    /// How many bad ones are among `drawn` of `size` requests, `bad` of which are bad.
    fn hypergeometric(size: u64, bad: u64, drawn: u64) -> Self {
        let least = (drawn + bad).saturating_sub(size);
        let most = bad.min(drawn);
        if least == most {
            return Self::certain(least);
        }
        let mode = float(drawn + 1) * float(bad + 1) / float(size + 2);
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped to the counts themselves"
        )]
        let top = (mode as u64).clamp(least, most);
        Self::around(top, least, most, |h| {
            float(bad - h) * float(drawn - h) / (float(h + 1) * float(size + h + 1 - bad - drawn))
        })
    }

    fn poisson(mean: f64) -> Self {
        if mean <= 0.0 {
            return Self::certain(0);
        }
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "at most eight"
        )]
        let top = mean as u64;
        Self::around(top, 0, 60, |g| mean / float(g + 1))
    }

    fn plus(&self, other: &Self) -> Self {
        let from = self.from + other.from;
        match (self.shares.is_empty(), other.shares.is_empty()) {
            (true, _) => Self {
                from,
                shares: other.shares.clone(),
            },
            (_, true) => Self {
                from,
                shares: self.shares.clone(),
            },
            _ => {
                let mut shares = vec![0.0; self.shares.len() + other.shares.len() - 1];
                for (i, a) in self.shares.iter().enumerate() {
                    for (sum, b) in shares.iter_mut().skip(i).zip(&other.shares) {
                        *sum += a * b;
                    }
                }
                Self { from, shares }
            }
        }
    }

    fn each(&self, mut visit: impl FnMut(u64, f64)) {
        if self.shares.is_empty() {
            return visit(self.from, 1.0);
        }
        for (value, share) in (self.from..).zip(&self.shares) {
            visit(value, *share);
        }
    }
}

/// For `(requests, bad)` of both sides and each stake c: the mean of tanh(c·t) over all draws of as many
/// requests from the larger side as the smaller has, and over what the margin forgives, where t compares
/// the bad ones as the module says.
pub(super) fn mean_bets<const N: usize>(
    new: (u64, u64),
    old: (u64, u64),
    margin: f64,
    stakes: [f64; N],
) -> [f64; N] {
    let m = new.0.min(old.0);
    let forgiven = margin * float(m);
    let (draw, shift) = if forgiven > DRAWN_FORGIVENESS {
        (Spread::certain(0), forgiven)
    } else {
        (Spread::poisson(forgiven), 0.0)
    };
    let a = Spread::hypergeometric(new.0, new.1, m);
    let b = Spread::hypergeometric(old.0, old.1, m).plus(&draw);
    let mut sums = [0.0; N];
    a.each(|bad_new, share_a| {
        b.each(|bad_old, share_b| {
            let (x, y) = (float(bad_new), float(bad_old) + shift);
            let t = (x - y) / (x + y + 1.0).sqrt();
            for (sum, stake) in sums.iter_mut().zip(stakes) {
                *sum += share_a * share_b * (stake * t).tanh();
            }
        });
    });
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean(spread: &Spread) -> f64 {
        let (mut sum, mut all) = (0.0, 0.0);
        spread.each(|value, share| {
            sum += float(value) * share;
            all += share;
        });
        assert!((all - 1.0).abs() < 1e-9);
        sum
    }

    #[test]
    fn draws_have_the_means_they_must_have() {
        for (size, bad, drawn) in [
            (100, 10, 20),
            (1_000_000, 900_000, 1_000),
            (50, 50, 10),
            (9, 4, 7),
            (3, 0, 2),
        ] {
            let spread = Spread::hypergeometric(size, bad, drawn);
            let expected = float(bad) * float(drawn) / float(size);
            assert!(
                (mean(&spread) - expected).abs() < 1e-6 * expected.max(1.0),
                "{size} {bad} {drawn}"
            );
        }
        assert!((mean(&Spread::poisson(0.04)) - 0.04).abs() < 1e-9);
        assert!((mean(&Spread::poisson(7.9)) - 7.9).abs() < 1e-6);
    }

    #[test]
    fn swapping_the_sides_swaps_the_sign() {
        for (new, old) in [
            ((10, 3), (10, 1)),
            ((500, 20), (90, 40)),
            ((5, 0), (5, 5)),
            ((7, 0), (900, 2)),
        ] {
            let one = mean_bets(new, old, 0.0, [1.0, 3.0]);
            let two = mean_bets(old, new, 0.0, [1.0, 3.0]);
            assert!((one[0] + two[0]).abs() < 1e-9 && (one[1] + two[1]).abs() < 1e-9);
        }
    }

    #[test]
    fn the_margin_only_ever_speaks_for_the_new_version() {
        for m in [1_u64, 20, 1_000, 100_000] {
            for bad in [0, m / 10, m / 2] {
                let [without] = mean_bets((m, bad), (m * 2, bad), 0.0, [1.0]);
                let [with] = mean_bets((m, bad), (m * 2, bad), 0.002, [1.0]);
                assert!(with <= without + 1e-9 && with >= -1.001 && without <= 1.001);
            }
        }
    }
}
