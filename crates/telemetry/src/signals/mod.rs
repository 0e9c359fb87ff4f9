//! The four golden signals (latency, traffic, errors, saturation): counts of seconds folded into buckets.
//! Pure; the queries are in `store`.

pub(crate) mod api;
mod charts;
pub(crate) mod pages;
mod service;
pub(crate) mod store;

use bascule_core::{DeploymentId, EnvironmentId, ProjectId, Timestamp};
use bascule_wire::{
    edge::{LATENCY_BUCKETS, Slice, latency_quantile_ms},
    telemetry::Signals,
};
use std::{collections::BTreeMap, time::Duration};

/// Lengths of a bucket, in seconds: what a person looks at is never drawn from more than some hundred rows.
pub const STEPS: [i64; 3] = [FINE, MINUTE, HOUR];
/// The finest bucket, in seconds.
pub const FINE: i64 = 10;
/// A minute.
pub const MINUTE: i64 = 60;
/// An hour.
pub const HOUR: i64 = 3600;

/// Which bucket.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// The environment.
    pub environment: EnvironmentId,
    /// Its length in seconds.
    pub step: i64,
    /// Its beginning.
    pub at: Timestamp,
    /// The deployment that answered.
    pub deployment: DeploymentId,
}

/// What a bucket holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts {
    /// The project.
    pub project: ProjectId,
    /// The release's version.
    pub version: String,
    /// Requests answered.
    pub requests: u64,
    /// Of these, errors.
    pub errors: u64,
    /// Of these, slow.
    pub slow: u64,
    /// Most in flight at the end of a second.
    pub in_flight: u64,
    /// Latency histogram, trailing zeros cut.
    pub latency: Vec<u64>,
}

/// The beginning of the bucket that holds an instant.
#[must_use]
pub fn floor(at: Timestamp, step: i64) -> Timestamp {
    Timestamp::from_seconds(at.seconds().div_euclid(step) * step)
}

/// Folds counts of seconds into buckets of every length. Instances of one deployment in the same second add
/// up, also in what they have in flight.
#[must_use]
pub fn fold<'a>(slices: impl IntoIterator<Item = &'a Slice>) -> BTreeMap<Key, Counts> {
    let mut seconds: BTreeMap<(Timestamp, EnvironmentId, DeploymentId), Counts> = BTreeMap::new();
    for slice in slices {
        let key = (slice.at, slice.environment, slice.deployment);
        let one = Counts {
            project: slice.project,
            version: slice.version.clone(),
            requests: slice.requests,
            // A count that contradicts itself is made harmless here, once.
            errors: slice.errors.min(slice.requests),
            slow: slice.slow.min(slice.requests),
            in_flight: slice.in_flight,
            latency: slice.latency.iter().take(LATENCY_BUCKETS).copied().collect(),
        };
        match seconds.get_mut(&key) {
            Some(sum) => {
                let in_flight = sum.in_flight.saturating_add(one.in_flight);
                sum.add(&one);
                sum.in_flight = in_flight;
            }
            None => drop(seconds.insert(key, one)),
        }
    }
    let mut buckets: BTreeMap<Key, Counts> = BTreeMap::new();
    for ((at, environment, deployment), counts) in seconds {
        for step in STEPS {
            let key = Key {
                environment,
                step,
                at: floor(at, step),
                deployment,
            };
            match buckets.get_mut(&key) {
                Some(sum) => sum.add(&counts),
                None => drop(buckets.insert(key, counts.clone())),
            }
        }
    }
    buckets
}

impl Counts {
    /// Adds what happened at another time.
    pub fn add(&mut self, other: &Self) {
        self.requests = self.requests.saturating_add(other.requests);
        self.errors = self.errors.saturating_add(other.errors);
        self.slow = self.slow.saturating_add(other.slow);
        self.in_flight = self.in_flight.max(other.in_flight);
        if self.latency.len() < other.latency.len() {
            self.latency.resize(other.latency.len(), 0);
        }
        for (sum, count) in self.latency.iter_mut().zip(&other.latency) {
            *sum = sum.saturating_add(*count);
        }
    }

    /// The golden signals of a span of `seconds`.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
    pub fn signals(&self, seconds: f64) -> Signals {
        let quantile = |q| latency_quantile_ms(&self.latency, q).map(|ms| (ms * 100.0).round() / 100.0);
        Signals {
            requests: self.requests,
            per_second: if seconds > 0.0 {
                self.requests as f64 / seconds
            } else {
                0.0
            },
            errors: self.errors,
            error_share: if self.requests == 0 {
                0.0
            } else {
                self.errors as f64 / self.requests as f64
            },
            slow: self.slow,
            in_flight: self.in_flight,
            p50_ms: quantile(0.50),
            p95_ms: quantile(0.95),
            p99_ms: quantile(0.99),
        }
    }
}

/// A span of time that a person may choose to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// As it stands in the address.
    pub name: &'static str,
    /// As people read it.
    pub label: &'static str,
    /// How long.
    pub length: Duration,
    /// Length of the buckets it is drawn from, in seconds.
    pub step: i64,
}

/// All ranges, shortest first.
pub const RANGES: [Range; 5] = [
    Range {
        name: "15m",
        label: "15 minutes",
        length: Duration::from_secs(900),
        step: FINE,
    },
    Range {
        name: "1h",
        label: "1 hour",
        length: Duration::from_secs(3600),
        step: FINE,
    },
    Range {
        name: "6h",
        label: "6 hours",
        length: Duration::from_secs(6 * 3600),
        step: MINUTE,
    },
    Range {
        name: "24h",
        label: "24 hours",
        length: Duration::from_secs(86_400),
        step: MINUTE,
    },
    Range {
        name: "28d",
        label: "28 days",
        length: Duration::from_secs(28 * 86_400),
        step: HOUR,
    },
];

/// The range of a name; the shortest for a name that is none.
#[must_use]
pub fn range(name: &str) -> Range {
    RANGES
        .into_iter()
        .find(|range| range.name == name)
        .unwrap_or(RANGES[0])
}

#[cfg(test)]
mod tests {
    use super::*;
    use bascule_core::InstanceId;
    use bascule_wire::edge::latency_bucket;

    fn slice(second: i64, requests: u64, errors: u64) -> Slice {
        Slice {
            environment: EnvironmentId::new(),
            project: ProjectId::new(),
            deployment: DeploymentId::new(),
            instance: InstanceId::new(),
            version: "1.0.0".to_owned(),
            at: Timestamp::from_seconds(second),
            requests,
            errors,
            slow: 0,
            in_flight: 2,
            latency: vec![requests],
        }
    }

    #[test]
    fn seconds_fold_into_every_length_of_bucket() {
        let first = slice(1_700_000_001, 10, 1);
        let same_bucket = Slice {
            at: Timestamp::from_seconds(1_700_000_009),
            requests: 5,
            ..first.clone()
        };
        let next_bucket = Slice {
            at: Timestamp::from_seconds(1_700_000_010),
            ..first.clone()
        };
        let buckets = fold([&first, &same_bucket, &next_bucket]);
        let fine: Vec<u64> = buckets
            .iter()
            .filter(|(k, _)| k.step == FINE)
            .map(|(_, c)| c.requests)
            .collect();
        assert_eq!(fine, [15, 10]);
        let hour: Vec<u64> = buckets
            .iter()
            .filter(|(k, _)| k.step == HOUR)
            .map(|(_, c)| c.requests)
            .collect();
        assert_eq!(hour, [25]);
    }

    #[test]
    fn instances_of_one_second_add_their_saturation_and_seconds_take_the_most() {
        let one = slice(1_700_000_001, 1, 0);
        let other = Slice {
            instance: InstanceId::new(),
            in_flight: 3,
            ..one.clone()
        };
        let later = Slice {
            at: Timestamp::from_seconds(1_700_000_002),
            in_flight: 4,
            ..one.clone()
        };
        let buckets = fold([&one, &other, &later]);
        assert!(buckets.values().all(|counts| counts.in_flight == 5));
    }

    #[test]
    fn signals_read_from_the_histogram() {
        let mut latency = vec![0; LATENCY_BUCKETS];
        latency[latency_bucket(20.0)] = 99;
        latency[latency_bucket(900.0)] = 1;
        let counts = Counts {
            requests: 100,
            errors: 8,
            latency,
            ..slice_counts()
        };
        let signals = counts.signals(10.0);
        assert!((signals.per_second - 10.0).abs() < 1e-9 && (signals.error_share - 0.08).abs() < 1e-9);
        assert!(signals.p50_ms.unwrap() < 25.0 && signals.p99_ms.unwrap() < 25.0);
        assert_eq!(
            Counts {
                requests: 0,
                latency: vec![],
                ..slice_counts()
            }
            .signals(10.0)
            .p50_ms,
            None
        );
    }

    fn slice_counts() -> Counts {
        fold([&slice(0, 0, 0)]).into_values().next().unwrap()
    }

    #[test]
    fn a_hostile_count_is_made_harmless() {
        let hostile = Slice {
            errors: u64::MAX,
            slow: u64::MAX,
            latency: vec![1; 100_000],
            ..slice(0, 1, 0)
        };
        let counts = fold([&hostile]).into_values().next().unwrap();
        assert_eq!(
            (counts.errors, counts.slow, counts.latency.len()),
            (1, 1, LATENCY_BUCKETS)
        );
    }
}
