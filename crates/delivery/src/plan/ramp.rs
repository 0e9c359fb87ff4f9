//! Ramps: the environments of a channel take a release spread over a time, each at a moment of its own that
//! depends on nothing but their names and the version.

use bascule_core::{Digest, Timestamp};
use bascule_planner::{Constraint, Hold, Lift, Scope, Version, constraint::Candidate};
use std::time::Duration;

/// When an install's turn comes for each release that is in the ramp of its channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ramp {
    pub channel: String,
    pub turns: Vec<(Version, Timestamp)>,
}

impl Constraint for Ramp {
    fn kind(&self) -> &'static str {
        "ramp"
    }

    /// Of the version: until its turn comes an older one that had its turn may still be taken.
    fn scope(&self) -> Scope {
        Scope::Version
    }

    fn judge(&self, candidate: &Candidate<'_>) -> Option<Hold> {
        let (_, at) = self
            .turns
            .iter()
            .find(|(version, _)| *version == candidate.release.version)?;
        (candidate.now < *at).then(|| Hold {
            kind: self.kind().to_owned(),
            why: format!("waits for its turn in the ramp of the channel {}", self.channel),
            lifts: Lift::At(*at),
        })
    }
}

/// When an environment's turn comes: evenly spread from the moment a release entered the channel over the ramp's
/// length. The version counts too, so that it is not always the same environment that goes first.
pub(super) fn turn(
    site: &str,
    product: &str,
    version: &str,
    entered: Timestamp,
    ramp: Duration,
) -> Timestamp {
    let digest = Digest::of(format!("{site}\n{product}\n{version}").as_bytes());
    // Sixteen hexadecimal digits of the hash: a number from 0 up to 2^64.
    let share = digest
        .hex()
        .get(..16)
        .and_then(|hex| u64::from_str_radix(hex, 16).ok())
        .unwrap_or(0);
    let micros = (ramp.as_micros() * u128::from(share)) >> 64;
    entered.plus(Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_spread_evenly_and_stay_the_same() {
        let entered = Timestamp::from_seconds(1_000_000);
        let week = Duration::from_secs(7 * 86_400);
        let at = |site: usize, version: &str| turn(&format!("site-{site}"), "g/p", version, entered, week);
        let mut days = [0_usize; 7];
        for site in 0..7_000 {
            let waits = at(site, "1.1.0").since(entered);
            assert!(waits < week);
            days[usize::try_from(waits.as_secs() / 86_400).unwrap()] += 1;
        }
        assert!(days.iter().all(|count| (900..1_100).contains(count)), "{days:?}");
        assert_eq!(at(7, "1.1.0"), at(7, "1.1.0"));
        assert_ne!(at(7, "1.1.0"), at(7, "1.2.0"), "another version, another turn");
        assert_eq!(turn("a", "g/p", "1.0.0", entered, Duration::ZERO), entered);
    }
}
