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
    /// Whether no network reaches it: bundles are carried there, and `told` is all that is known of it.
    #[serde(default)]
    pub apart: bool,
    /// What runs by the last report that was carried back, where one was.
    #[serde(default)]
    pub told: Option<ToldServing>,
}

/// What runs in an environment that no network reaches, by its last report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ToldServing {
    /// The version; empty: nothing runs.
    pub version: String,
    /// How it is: `healthy`, `crashed`, …; empty where nothing runs.
    pub health: String,
    /// When the site told it, by its clock.
    pub at: Timestamp,
    /// The number of the report.
    pub sequence: i64,
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
    /// What asked for it: `release`, `promotion`, `api`, `rollback`, `plan`, `recall`, `drift`.
    pub cause: String,
    /// Who asked for it.
    pub actor: String,
    /// `starting`, `rolling_out`, `succeeded`, `failed`, `rolled_back`, `superseded`, `canceled`.
    pub status: String,
    /// Why it stands so, in plain words.
    pub reason: String,
    /// Why rules were set aside for it; empty where they were not.
    pub forced: String,
    /// Digest of the artifact that runs.
    pub artifact: Digest,
    /// The driver that runs it: `process`, `podman` or `kubernetes`.
    pub driver: String,
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
    /// Whether it stands only to be compared with a version that is being rolled out.
    #[serde(default)]
    pub baseline: bool,
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
    /// `running`, `paused`, `waiting`, `promoting`, `undoing`; ended: `promoted`, `aborted`, `superseded`.
    pub status: String,
    /// Share of traffic of the new version now, in percent.
    pub weight: u32,
    /// How the new version takes over: `blue_green`, `canary`, `rolling`, `recreate`.
    #[serde(default)]
    pub strategy: String,
    /// Instances that the new version should have.
    #[serde(default)]
    pub replicas: u32,
    /// Whether it is compared with an instance of the old version that was started with it.
    #[serde(default)]
    pub fresh: bool,
    /// How long nothing served, in milliseconds, where the old instances end before the new ones start; until now
    /// while nothing does.
    #[serde(default)]
    pub downtime_ms: Option<u64>,
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
    /// What ended it: `judge`, `guardrail`, `person`, `restart`, `superseded`.
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
    /// `done`, `now`, `ahead`; of a rollout that was undone or left before its end `undone` or `left`, and `never`.
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

/// What is planned for one product in one environment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PlanEntry {
    /// The environment's name.
    pub environment: String,
    /// Below production, or production.
    pub tier: Tier,
    /// `group/project`.
    pub product: String,
    /// Whether a file declares it, so that steps are taken by themselves.
    pub declared: bool,
    /// `up_to_date`, `moving`, `ready`, `held`, `blocked`, `coupled`, `drifted`.
    pub state: String,
    /// What runs; empty: nothing.
    pub current: String,
    /// What should; empty: nothing.
    pub target: String,
    /// The next safe step; empty: none.
    pub step: String,
    /// Why, in plain words.
    pub why: String,
    /// What each constraint says.
    pub verdicts: Vec<PlanVerdict>,
    /// Since when it stands so.
    pub at: Timestamp,
}

/// What one constraint says of a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlanVerdict {
    /// Its kind, such as `maintenance_window`.
    pub kind: String,
    /// Why it holds; empty where it lets the step pass.
    pub why: String,
    /// What would lift it: a time, or an event in words; empty where nothing holds.
    pub lifts: String,
}

/// The answer to "why not this version here?".
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WhyNot {
    /// The environment's name.
    pub environment: String,
    /// `group/project`.
    pub product: String,
    /// The version asked about.
    pub version: String,
    /// Whether it runs, or could be put there now.
    pub clear: bool,
    /// All of it in one sentence.
    pub sentence: String,
    /// Link by link.
    pub links: Vec<WhyLink>,
}

/// One link of the chain of reasons.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WhyLink {
    /// What kind of constraint.
    pub kind: String,
    /// The product that it is about.
    pub product: String,
    /// The version that it holds.
    pub version: String,
    /// In plain words.
    pub text: String,
    /// What would lift it, all of it in words; empty where another link says so.
    pub lifts: String,
    /// Each thing that holds it by itself; empty where another link says so.
    #[serde(default)]
    pub holds: Vec<WhyHold>,
}

/// One of the things that hold a version at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WhyHold {
    /// What kind of constraint, such as `approval`.
    pub kind: String,
    /// In plain words.
    pub text: String,
    /// What would lift it: a time, or an event in words.
    pub lifts: String,
    /// When time alone lifts it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// Products that can only switch together, and what that costs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GroupStep {
    /// The environment's name.
    pub environment: String,
    /// Each product of the group.
    pub members: Vec<GroupMember>,
    /// About how long nothing of the group serves, in seconds, as earlier starts took.
    pub downtime_seconds: u64,
    /// What holds it at this moment, in plain words; empty: it can be taken.
    pub held: Vec<String>,
    /// What became of it when it was tried before, in plain words. A person may try it again.
    #[serde(default)]
    pub tried: Vec<String>,
}

/// A product of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GroupMember {
    /// `group/project`.
    pub product: String,
    /// What runs; empty: nothing.
    pub from: String,
    /// What it goes to.
    pub to: String,
}

/// Lets a group switch.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct NewSwitch {
    /// The group as it was shown: `group/project@version` for each of its products.
    pub members: Vec<String>,
    /// Why it is taken now.
    pub reason: String,
    /// Whether to set aside what holds it at this moment.
    #[serde(default)]
    pub force: bool,
}

/// A group that switches.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Switched {
    /// The group step.
    pub id: DeploymentId,
    /// Its deployments.
    pub deployments: Vec<DeploymentId>,
}

/// Recalls releases.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct NewRecall {
    /// One version, or a family such as `1.2.x`.
    pub versions: String,
    /// What is wrong with them.
    pub reason: String,
    /// The oldest version that may be gone back to; empty: only forward.
    #[serde(default)]
    pub floor: String,
}

/// What was recalled.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Recalled {
    /// The versions.
    pub versions: Vec<String>,
}

/// Lifts a recall.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct RecallLift {
    /// One version, or a family such as `1.2.x`.
    pub versions: String,
    /// Why they may be run again.
    pub reason: String,
}

/// Approves a version in a team's name.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct NewApproval {
    /// The version.
    pub version: String,
    /// `environment:NAME` or `channel:NAME`.
    pub scope: String,
    /// The team: a group.
    pub team: String,
}

/// Holds all changes in an environment.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct NewSuppression {
    /// Why.
    pub reason: String,
    /// For how long, in minutes; none: until someone lets them go on.
    #[serde(default)]
    pub minutes: Option<u32>,
}

/// A release that is not published yet, to be checked.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct NewPublishCheck {
    /// Its version.
    pub version: String,
    /// Its `bascule.yaml`.
    pub file: String,
}

/// What publishing a release would do.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct PublishCheck {
    /// Environments that it would strand, each with the reason.
    pub stranded: Vec<String>,
    /// What is lawful but makes planning harder.
    pub warnings: Vec<String>,
}
