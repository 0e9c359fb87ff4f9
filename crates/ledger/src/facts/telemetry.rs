//! Facts about objectives, budgets and alerts.

use super::fact;
use bascule_core::{EnvironmentId, ProjectId, Timestamp};
use serde::{Deserialize, Serialize};

/// What an environment served in a span of time; availability is computed from these.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TrafficSummarised {
    /// The project.
    pub project: ProjectId,
    /// The environment.
    pub environment: EnvironmentId,
    /// The environment's name.
    pub environment_name: String,
    /// `staging` or `production`.
    pub tier: String,
    /// The span's beginning.
    pub from: Timestamp,
    /// The span's end (exclusive).
    pub to: Timestamp,
    /// Requests.
    pub total: u64,
    /// Of these, answered without error.
    pub good: u64,
    /// The availability objective that stood then, in percent, if the product names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objective: Option<f64>,
}
fact!(
    TrafficSummarised,
    "traffic.summarised",
    |f| Some(f.project),
    |f| format!("environment:{}", f.environment),
    |f| {
        format!(
            "{} served {} requests, {} failed",
            f.environment_name,
            f.total,
            f.total.saturating_sub(f.good)
        )
    }
);

/// An alert fired.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AlertOpened {
    /// The project.
    pub project: ProjectId,
    /// The environment.
    pub environment: EnvironmentId,
    /// The environment's name.
    pub environment_name: String,
    /// The alert's own key, one per open alert.
    pub alert: String,
    /// The SLO that burns.
    pub slo: String,
    /// Share of the error budget used per budget period, as a multiple: 1 uses it up exactly in time.
    pub burn_rate: f64,
    /// When the failing began, as far as the counts show.
    pub began_at: Timestamp,
    /// When the alert fired.
    pub at: Timestamp,
    /// The version with most errors in the window, if known.
    pub version: Option<String>,
}
fact!(
    AlertOpened,
    "alert.opened",
    |f| Some(f.project),
    |f| format!("environment:{}", f.environment),
    |f| format!(
        "{} burns its error budget {:.0} times too fast in {}",
        f.slo, f.burn_rate, f.environment_name
    )
);

/// An alert's condition holds no longer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AlertClosed {
    /// The project.
    pub project: ProjectId,
    /// The environment.
    pub environment: EnvironmentId,
    /// The environment's name.
    pub environment_name: String,
    /// The alert's own key.
    pub alert: String,
    /// The SLO.
    pub slo: String,
    /// When.
    pub at: Timestamp,
}
fact!(
    AlertClosed,
    "alert.closed",
    |f| Some(f.project),
    |f| format!("environment:{}", f.environment),
    |f| format!(
        "{} is back within its budget's pace in {}",
        f.slo, f.environment_name
    )
);
