//! Golden signals, objectives and alerts as the JSON API and the command line carry them.

use bascule_core::{DeploymentId, EnvironmentId, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a project's environments served in a span of time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Telemetry {
    /// `group/project`.
    pub project: String,
    /// The span's beginning.
    pub from: Timestamp,
    /// The span's end (exclusive).
    pub to: Timestamp,
    /// Length of a point, in seconds.
    pub step_seconds: i64,
    /// One per environment, production first.
    pub environments: Vec<EnvironmentSignals>,
}

/// What one environment served.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EnvironmentSignals {
    /// The environment.
    pub environment: EnvironmentId,
    /// Its name.
    pub name: String,
    /// `staging` or `production`.
    pub tier: String,
    /// All versions together.
    pub total: Signals,
    /// Each version that answered.
    pub versions: Vec<VersionSignals>,
    /// The objective and how it stands, if the product names one.
    pub slo: Option<SloStatus>,
}

/// The four golden signals of one version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct VersionSignals {
    /// The deployment.
    pub deployment: DeploymentId,
    /// The release's version.
    pub version: String,
    /// Over the whole span.
    pub signals: Signals,
    /// Over time; spans without traffic are left out.
    pub points: Vec<SignalPoint>,
}

/// The signals in one step of time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SignalPoint {
    /// The step's beginning.
    pub at: Timestamp,
    /// The signals.
    pub signals: Signals,
}

/// The four golden signals: latency, traffic, errors, saturation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Signals {
    /// Requests answered.
    pub requests: u64,
    /// Requests a second (traffic).
    pub per_second: f64,
    /// Of the requests, those that failed.
    pub errors: u64,
    /// Share of requests that failed (errors).
    pub error_share: f64,
    /// Of the requests, those slower than the product's limit.
    pub slow: u64,
    /// Most requests in flight at once (saturation).
    pub in_flight: u64,
    /// Median latency, in milliseconds.
    pub p50_ms: Option<f64>,
    /// 95th percentile of latency, in milliseconds.
    pub p95_ms: Option<f64>,
    /// 99th percentile of latency, in milliseconds.
    pub p99_ms: Option<f64>,
}

/// An availability objective and how it stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SloStatus {
    /// The objective's name: `availability`.
    pub slo: String,
    /// Share of requests to be answered without error, in percent.
    pub objective: f64,
    /// Over how many seconds.
    pub window_seconds: u64,
    /// Requests in the window.
    pub requests: u64,
    /// Of these, errors.
    pub errors: u64,
    /// Share answered without error, in percent; absent without traffic.
    pub availability: Option<f64>,
    /// The error budget.
    pub budget: ErrorBudget,
    /// How fast the budget burns.
    pub burn: Vec<BurnWindow>,
    /// The alert that is open, if one.
    pub alert: Option<Alert>,
}

/// How much may fail, and how much has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ErrorBudget {
    /// Requests that may fail, of those answered in the window.
    pub allowed_requests: f64,
    /// Requests that failed.
    pub used_requests: u64,
    /// Requests that may still fail; negative once overspent.
    pub left_requests: f64,
    /// Share of the budget that is left, 1 to 0; negative once overspent.
    pub left_share: f64,
    /// The budget as minutes of full outage.
    pub allowed_minutes: f64,
    /// What is left of these minutes; negative once overspent.
    pub left_minutes: f64,
}

/// One rule of the fast-burn alert: both windows must burn faster than the threshold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BurnWindow {
    /// The burn rate at which it fires; 1 uses the budget up exactly in time.
    pub threshold: f64,
    /// The long window, in seconds.
    pub long_seconds: u64,
    /// Burn rate over the long window.
    pub long_rate: f64,
    /// The short window, in seconds.
    pub short_seconds: u64,
    /// Burn rate over the short window.
    pub short_rate: f64,
    /// Whether it fires now.
    pub firing: bool,
}

/// A fast-burn alert.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Alert {
    /// The alert's own key.
    pub key: String,
    /// The environment.
    pub environment: EnvironmentId,
    /// The objective that burns.
    pub slo: String,
    /// The burn rate when it fired.
    pub burn_rate: f64,
    /// The version with most errors, if known.
    pub version: Option<String>,
    /// When the failing began, as far as the counts show.
    pub began_at: Timestamp,
    /// When it fired.
    pub opened_at: Timestamp,
    /// When its condition held no longer.
    pub closed_at: Option<Timestamp>,
}
