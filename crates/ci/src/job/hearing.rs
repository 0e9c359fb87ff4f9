//! Since when a runner could have been heard.

use bascule_core::Timestamp;
use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// Silence counts only while somebody listened: no word of a runner is kept while this server is not there, is
/// suspended, or cannot reach its database; and that all jobs of all runners were lost at once is never true.
#[derive(Debug)]
pub struct Hearing(Mutex<State>);

#[derive(Clone, Copy, Debug)]
struct State {
    /// Since when words have been kept without a gap.
    since: Timestamp,
    /// When that was last known.
    last: Timestamp,
}

impl Hearing {
    /// From its own start on.
    pub(crate) fn since(now: Timestamp) -> Self {
        Self(Mutex::new(State {
            since: now,
            last: now,
        }))
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who was not heard of since this time is lost. Where there was no listening for that long, nobody is.
    pub(crate) fn silent_since(&self, now: Timestamp, lost_after: Duration) -> Timestamp {
        let state = *self.state();
        let silent = now.minus(lost_after);
        if silent < state.since || is_gap(state.last, now, lost_after) {
            Timestamp::from_micros(i64::MIN)
        } else {
            silent
        }
    }

    /// The database answered at this time.
    pub(crate) fn heard(&self, now: Timestamp, lost_after: Duration) {
        let mut state = self.state();
        if is_gap(state.last, now, lost_after) {
            state.since = now;
        }
        state.last = now;
    }
}

/// It is asked ten times within the time after which a job is lost.
fn is_gap(last: Timestamp, now: Timestamp, lost_after: Duration) -> bool {
    now.since(last) > lost_after / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_gap_silence_counts_from_its_end() {
        let (minute, at) = (Duration::from_secs(60), Timestamp::from_seconds);
        let hearing = Hearing::since(at(1_000));
        let never = Timestamp::from_micros(i64::MIN);
        for now in (1_000..=1_060).step_by(20) {
            hearing.heard(at(now), minute);
        }
        assert_eq!(hearing.silent_since(at(1_050), minute), never, "just begun");
        assert_eq!(hearing.silent_since(at(1_070), minute), at(1_010));
        // The database was away, or the machine slept.
        assert_eq!(hearing.silent_since(at(1_130), minute), never);
        hearing.heard(at(1_130), minute);
        assert_eq!(hearing.silent_since(at(1_135), minute), never);
        for now in (1_130..=1_190).step_by(20) {
            hearing.heard(at(now), minute);
        }
        assert_eq!(hearing.silent_since(at(1_195), minute), at(1_135));
    }
}
