//! Environments, deployments and rollouts as the JSON API and the command line carry them.

use bascule_core::{DeploymentId, Digest, EnvironmentId, InstanceId, ReleaseId, RolloutId, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::agent::{InstanceState, SmokeResult, Tier};

/// An environment of a project and what serves there.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Environment {
    /// The environment.
    pub id: EnvironmentId,
    /// `group/project`.
    pub project: String,
    /// Its name.
    pub name: String,
    /// Below production, or production.
    pub tier: Tier,
    /// Where clients reach it, once an edge serves it.
    pub url: Option<String>,
    /// The agent that runs its instances, if one is enrolled.
    pub agent: Option<String>,
    /// Whether that agent reports.
    pub agent_online: bool,
    /// What serves now.
    pub serving: Option<Deployment>,
    /// A deployment under way.
    pub active: Option<Deployment>,
    /// Instances that are not gone.
    pub instances: Vec<Instance>,
}

/// One release put in one environment.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Deployment {
    /// The deployment.
    pub id: DeploymentId,
    /// The environment.
    pub environment: EnvironmentId,
    /// The environment's name.
    pub environment_name: String,
    /// The release.
    pub release: ReleaseId,
    /// The release's version.
    pub version: String,
    /// What asked for it: `release`, `promotion`, `api`, `rollback`.
    pub cause: String,
    /// Who asked for it.
    pub actor: String,
    /// `starting`, `rolling_out`, `succeeded`, `failed`, `rolled_back`, `superseded`.
    pub status: String,
    /// Why it stands so, in plain words.
    pub reason: String,
    /// Why rules were set aside for it; empty where they were not.
    pub forced: String,
    /// Digest of the artifact that runs.
    pub artifact: Digest,
    /// Its rollout, if traffic went over in steps.
    pub rollout: Option<RolloutId>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When users first met it.
    pub exposed_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

/// A running copy of a release.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Instance {
    /// The instance.
    pub id: InstanceId,
    /// Its deployment.
    pub deployment: DeploymentId,
    /// The release's version.
    pub version: String,
    /// What its agent last said.
    pub state: InstanceState,
    /// Share of traffic, in percent.
    pub weight: u32,
    /// `host:port` where it answers the edge.
    pub address: Option<String>,
    /// Times it was started again after a crash.
    pub restarts: u32,
    /// Why it is in this state.
    pub message: String,
    /// The smoke test's result, once it ran.
    pub smoke: Option<SmokeResult>,
    /// When its process was started.
    pub started_at: Option<Timestamp>,
}

/// Asks for a deployment.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct NewDeployment {
    /// The release's version.
    pub version: String,
    /// The environment's name.
    pub environment: String,
    /// Set rules aside that may be set aside, such as "must have passed in staging".
    #[serde(default)]
    pub force: bool,
    /// Why; needed with `force`, and recorded.
    #[serde(default)]
    pub reason: String,
}

/// The staged exposure of one deployment.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Rollout {
    /// The rollout.
    pub id: RolloutId,
    /// The deployment that it exposes.
    pub deployment: DeploymentId,
    /// The environment.
    pub environment: EnvironmentId,
    /// The environment's name.
    pub environment_name: String,
    /// The new version.
    pub version: String,
    /// The version that served before.
    pub baseline: String,
    /// `running`, `paused`, `waiting`, `promoted`, `aborted`.
    pub status: String,
    /// Share of traffic of the new version now, in percent.
    pub weight: u32,
    /// How traffic goes over: `blue_green`, `canary`.
    #[serde(default)]
    pub strategy: String,
    /// Shares of traffic it goes through.
    pub steps: Vec<u32>,
    /// The same, each with its time and where it stands.
    #[serde(default)]
    pub plan: Vec<RolloutStep>,
    /// Index of the present step.
    pub step: u32,
    /// When the present step began.
    pub step_at: Timestamp,
    /// Least time a step lasts, in milliseconds.
    pub step_ms: u64,
    /// What ended it: `judge`, `guardrail`, `person`, `restart`.
    pub cause: Option<String>,
    /// Why it stands so, in plain words.
    pub reason: String,
    /// What it is judged on.
    pub numbers: RolloutNumbers,
    /// When the first request failed on the new version.
    pub first_error_at: Option<Timestamp>,
    /// When the new version first met users.
    pub created_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

/// One step of a rollout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RolloutStep {
    /// Share of traffic of the new version, in percent.
    pub weight: u32,
    /// Least time it lasts, in milliseconds; 0 for the last, which ends the rollout.
    pub time_ms: u64,
    /// Whether a person is waited for after it.
    pub pause: bool,
    /// `done`, `now`, `ahead`, `never`.
    pub state: String,
}

/// What a rollout is judged on: counts of the slices in which both versions answered, and the evidence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RolloutNumbers {
    /// Requests the new version answered.
    pub new_requests: u64,
    /// Of these, errors.
    pub new_errors: u64,
    /// Of these, slow.
    pub new_slow: u64,
    /// Requests the old version answered.
    pub old_requests: u64,
    /// Of these, errors.
    pub old_errors: u64,
    /// Of these, slow.
    pub old_slow: u64,
    /// Slices.
    pub slices: u64,
    /// Evidence that the new version errs more; 1 is none.
    pub error_evidence: f64,
    /// Evidence that the new version is slower.
    pub slow_evidence: f64,
    /// The evidence at which the rollout is undone.
    pub threshold: f64,
}

/// Why a person does something to a rollout.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct RolloutAct {
    /// The reason, recorded; may be empty.
    #[serde(default)]
    pub reason: String,
}
