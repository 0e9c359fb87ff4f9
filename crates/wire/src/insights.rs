//! Measures and facts as the JSON API and the command line carry them. What each measure means stands in
//! `docs/src/insights.md`.

use bascule_core::{FactId, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// All measures of a project, or of all projects that the caller may see.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Insights {
    /// `group/project`; absent for the whole instance.
    pub project: Option<String>,
    /// The period's beginning.
    pub from: Timestamp,
    /// The period's end (exclusive).
    pub to: Timestamp,
    /// DORA's four and reliability.
    pub dora: Dora,
    /// Mean times, by calendar month of detection, newest first; drills are left out.
    pub mttx: Vec<MttxMonth>,
    /// The resilient collaboration index of the quarter in which the period ends, and the two before it,
    /// newest first.
    pub rci: Vec<Rci>,
}

/// Which facts a number was computed from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FactsBehind {
    /// How many facts.
    pub count: i64,
    /// Their numbers in the ledger, the newest 100.
    pub seqs: Vec<i64>,
    /// The page that lists exactly these.
    pub href: String,
}

/// DORA's measures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Dora {
    /// The edition of the classes.
    pub edition: String,
    /// How often a change reaches production.
    pub deployment_frequency: DeploymentFrequency,
    /// From commit to production.
    pub lead_time: LeadTime,
    /// Share of changes that failed in production.
    pub change_failure_rate: ChangeFailureRate,
    /// How long users waited after a failed change.
    pub time_to_restore: TimeToRestore,
    /// Whether users were served as promised.
    pub reliability: Reliability,
}

/// How often a change reaches production.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DeploymentFrequency {
    /// Deployments to production that succeeded.
    pub deployments: i64,
    /// Per day.
    pub per_day: f64,
    /// Per month of 365.25 / 12 days.
    pub per_month: f64,
    /// `high`, `medium`, `low`, `below low`, or `between medium and high`; absent without data.
    pub class: Option<String>,
    /// The facts behind it.
    pub facts: FactsBehind,
}

/// From commit to production.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LeadTime {
    /// Commits that reached production.
    pub changes: i64,
    /// Median, in seconds.
    pub median_seconds: Option<f64>,
    /// 90th percentile, in seconds.
    pub p90_seconds: Option<f64>,
    /// The class; absent without data.
    pub class: Option<String>,
    /// The facts behind it.
    pub facts: FactsBehind,
}

/// Share of changes that failed in production.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChangeFailureRate {
    /// Deployments that users met.
    pub exposed: i64,
    /// Of these, undone, failed, or cause of an incident.
    pub failed: i64,
    /// The share, 0 to 1; absent without data.
    pub share: Option<f64>,
    /// The class; absent without data.
    pub class: Option<String>,
    /// The facts behind it.
    pub facts: FactsBehind,
}

/// How long users waited after a failed change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TimeToRestore {
    /// Failures that a change caused and that are over.
    pub failures: i64,
    /// Median, in seconds.
    pub median_seconds: Option<f64>,
    /// Mean, in seconds.
    pub mean_seconds: Option<f64>,
    /// The class, of the median; absent without data.
    pub class: Option<String>,
    /// The facts behind it.
    pub facts: FactsBehind,
}

/// Whether users were served as promised.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Reliability {
    /// Requests answered in production.
    pub requests: i64,
    /// Of these, without error.
    pub good: i64,
    /// Availability, 0 to 1; absent without traffic.
    pub availability: Option<f64>,
    /// The objective, 0 to 1: of the one environment, or the strictest of several; absent if none is set.
    pub objective: Option<f64>,
    /// Production environments with an objective.
    pub environments: i64,
    /// Of these, those that met it.
    pub met: i64,
    /// The facts behind it.
    pub facts: FactsBehind,
}

/// The mean times of one calendar month.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MttxMonth {
    /// `2024-07`.
    pub month: String,
    /// Time to detect: from the failing's beginning to its detection.
    pub detect: Spread,
    /// Time to acknowledge: from detection to someone taking it.
    pub acknowledge: Spread,
    /// Time to identify: from acknowledgement to the cause being named.
    pub identify: Spread,
    /// Time to repair: from acknowledgement to the failing's end.
    pub repair: Spread,
    /// Time between failures: from one failure's beginning to the next one's, within one project.
    pub between: Spread,
    /// The facts behind them.
    pub facts: FactsBehind,
}

/// How durations spread. Durations are heavily skewed, so the mean never stands alone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Spread {
    /// How many.
    pub count: i64,
    /// Mean, in seconds.
    pub mean_seconds: Option<f64>,
    /// Median, in seconds.
    pub median_seconds: Option<f64>,
    /// 90th percentile, in seconds.
    pub p90_seconds: Option<f64>,
    /// Each one, in seconds, shortest first, at most 200.
    pub points: Vec<f64>,
}

/// The resilient collaboration index of one quarter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Rci {
    /// `2022-Q4`.
    pub quarter: String,
    /// Days since creation, at the quarter's end or now.
    pub days: i64,
    /// Contributors since creation.
    pub contributors: i64,
    /// Successful deployments to production in the quarter.
    pub deployments: i64,
    /// Availability in the quarter, 0 to 1; absent without traffic.
    pub availability: Option<f64>,
    /// Their product; absent without traffic.
    pub value: Option<f64>,
    /// Growth against the quarter before it, as a share of that; absent if that had none.
    pub trend: Option<f64>,
    /// The facts behind it.
    pub facts: FactsBehind,
}

/// A fact of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FactEntry {
    /// Its place, from 1 without gaps.
    pub seq: i64,
    /// Its identifier.
    pub id: FactId,
    /// When it was appended.
    pub at: Timestamp,
    /// Who did it.
    pub actor: bascule_core::Actor,
    /// What kind of fact.
    pub kind: String,
    /// `group/project`, if it belongs to one.
    pub project: Option<String>,
    /// What it is about, as `noun:id`.
    pub subject: String,
    /// One plain sentence.
    pub summary: String,
    /// The fact's own JSON.
    #[schema(value_type = Object)]
    pub body: serde_json::Value,
    /// Hash over this entry and the one before it.
    pub hash: String,
}

/// Some facts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FactPage {
    /// The facts, newest first; oldest first if `after` was given.
    pub items: Vec<FactEntry>,
    /// Give this as `before` (or `after`, if that was given) to go on; absent at the end.
    pub next: Option<i64>,
}

/// What a verification of the ledger found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LedgerVerification {
    /// Entries whose hashes were recomputed.
    pub entries: i64,
    /// Checkpoints whose signatures were checked.
    pub checkpoints: i64,
    /// Whether nothing is wrong.
    pub clean: bool,
    /// The first entry that is wrong.
    pub fault_seq: Option<i64>,
    /// What is wrong with it.
    pub fault: Option<String>,
}
