//! Between the server and an edge, the proxy in front of products. The edge calls; the server answers.
//!
//! `GET /api/v1/edge/config?revision=R&wait=S` hangs up to `S` seconds while `R` is the present revision.
//! `POST /api/v1/edge/listeners` tells which port each route got. `POST /api/v1/edge/counts` sends what was
//! counted, one [`Slice`] per instance and second.

use bascule_core::{DeploymentId, EnvironmentId, InstanceId, ProjectId, ReleaseId, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// All routes of an edge.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct EdgeConfig {
    /// Changes whenever a route changes.
    pub revision: i64,
    /// One per environment of a product.
    pub routes: Vec<Route>,
}

/// Where requests for one product in one environment go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Route {
    /// The environment.
    pub environment: EnvironmentId,
    /// The project.
    pub project: ProjectId,
    /// `environment.project.group`, the left part of the host name under which the shared listener serves it.
    pub host: String,
    /// The port of its own that it got before, to take again; `None` takes any free one.
    pub port: Option<u16>,
    /// Latency above which a request counts as slow, in milliseconds.
    pub slow_ms: u64,
    /// Running instances and their share of new requests. Empty: requests get 503 with a reason.
    pub backends: Vec<Backend>,
}

/// One running instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Backend {
    /// The instance.
    pub instance: InstanceId,
    /// The deployment.
    pub deployment: DeploymentId,
    /// The release.
    pub release: ReleaseId,
    /// The release's version.
    pub version: String,
    /// `host:port`.
    pub address: String,
    /// Share of new requests; a share of the sum over all backends. Zero gets none.
    pub weight: u32,
}

/// The port on which an edge serves a route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ListenerReport {
    /// The environment.
    pub environment: EnvironmentId,
    /// `http://host:port` as clients reach it.
    pub url: String,
    /// The port.
    pub port: u16,
}

/// What one instance did in one second. A request counts in the second in which it ends, with all its
/// figures at once, so `errors` and `slow` never exceed `requests`, and the histogram's sum equals it. A slice
/// never changes: one that arrives twice (the first answer got lost) replaces itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Slice {
    /// The environment.
    pub environment: EnvironmentId,
    /// The project.
    pub project: ProjectId,
    /// The deployment.
    pub deployment: DeploymentId,
    /// The instance.
    pub instance: InstanceId,
    /// The release's version.
    pub version: String,
    /// The second's beginning, by the edge's clock.
    pub at: Timestamp,
    /// Requests answered.
    pub requests: u64,
    /// Of these, answered with 5xx, or not answered by the instance at all, or not to the body's end. A request
    /// that another instance answered after this one refused the connection counts here as an error too.
    pub errors: u64,
    /// Of these, slower than the route's limit, by the time to the response's head.
    pub slow: u64,
    /// Requests in flight at the second's end (saturation).
    pub in_flight: u64,
    /// Latency histogram to the body's last byte: counts by bucket of [`latency_bucket`], trailing zeros cut.
    pub latency: Vec<u64>,
}

/// Buckets of the latency histogram grow by 10 % each, from 0.1 ms: at most 5 % relative error, as in
/// DDSketch (Masson, Rim, Lee 2019).
pub const LATENCY_GROWTH: f64 = 1.1;
/// Lower edge of the second bucket, in milliseconds.
pub const LATENCY_FIRST_MS: f64 = 0.1;
/// Number of buckets; the last takes all that is slower (about 150 s).
pub const LATENCY_BUCKETS: usize = 150;

/// The bucket for a latency.
#[must_use]
pub fn latency_bucket(milliseconds: f64) -> usize {
    if milliseconds <= LATENCY_FIRST_MS {
        return 0;
    }
    let bucket = ((milliseconds / LATENCY_FIRST_MS).ln() / LATENCY_GROWTH.ln()).ceil();
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "positive and clamped below"
    )]
    let bucket = bucket.min(1e6) as usize;
    bucket.min(LATENCY_BUCKETS - 1)
}

/// The upper edge of a bucket, in milliseconds.
#[must_use]
pub fn latency_upper_ms(bucket: usize) -> f64 {
    LATENCY_FIRST_MS * LATENCY_GROWTH.powi(i32::try_from(bucket).unwrap_or(i32::MAX))
}

/// The latency below which a share `quantile` (0 to 1) of the requests in a histogram fell, in
/// milliseconds; `None` where there were none.
#[must_use]
pub fn latency_quantile_ms(histogram: &[u64], quantile: f64) -> Option<f64> {
    let total: u64 = histogram.iter().sum();
    if total == 0 {
        return None;
    }
    #[allow(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
    let target = quantile.clamp(0.0, 1.0) * total as f64;
    let mut seen = 0_u64;
    for (bucket, count) in histogram.iter().enumerate() {
        seen += count;
        #[allow(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
        if seen as f64 >= target {
            return Some(latency_upper_ms(bucket));
        }
    }
    Some(latency_upper_ms(histogram.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_the_growth_of_the_truth() {
        let mut histogram = vec![0_u64; LATENCY_BUCKETS];
        for ms in 1..=1000_u32 {
            histogram[latency_bucket(f64::from(ms))] += 1;
        }
        for (quantile, truth) in [(0.5, 500.0), (0.95, 950.0), (0.99, 990.0)] {
            let got = latency_quantile_ms(&histogram, quantile).unwrap();
            assert!(
                got >= truth * 0.99 && got <= truth * LATENCY_GROWTH,
                "{quantile}: {got}"
            );
        }
        assert_eq!(latency_quantile_ms(&[], 0.5), None);
    }
}
