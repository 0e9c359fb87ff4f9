//! What starts pipelines by itself, in the JSON API: schedules, and what groups require.

use crate::ci::CiFault;
use bascule_core::{JobId, PipelineId, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// What a group requires of its projects' pipelines.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct RequiredPipelines {
    /// The policy project, as `group/project`; absent where nothing is required.
    pub policy: Option<String>,
    /// The policy's commit that holds.
    pub sha: Option<String>,
    /// What it requires.
    pub pipelines: Vec<RequiredPipeline>,
    /// A newer commit that is faulty and therefore does not hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused_sha: Option<String>,
    /// What is wrong with it, and where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused_why: Option<String>,
    /// Who named the policy project.
    pub set_by: Option<String>,
    /// Since when this holds.
    pub changed_at: Option<Timestamp>,
}

/// One required pipeline.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct RequiredPipeline {
    /// Its name, with which its jobs and stages begin.
    pub name: String,
    /// Its CI file in the policy project.
    pub file: String,
    /// Whether the project's own jobs wait for it.
    pub gate: bool,
    /// Patterns of names of projects that it is for; empty is for all.
    pub projects: Vec<String>,
    /// Patterns of names of projects that it is not for.
    pub except: Vec<String>,
    /// Its jobs.
    pub jobs: Vec<String>,
}

/// Names the policy project of a group.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetRequiredPipelines {
    /// `group/project`; `null` takes back what is required.
    pub policy: Option<String>,
}

/// Asks what a policy would do to all projects of a group.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RequiredDryRunRequest {
    /// The policy project, as `group/project`; absent is the one that is set.
    #[serde(default)]
    pub policy: Option<String>,
    /// A branch, tag or commit of it; absent is its default branch.
    #[serde(default, rename = "ref")]
    pub reference: Option<String>,
}

/// What a policy would do to all projects of a group.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct RequiredDryRun {
    /// The whole in one sentence: `would fail 12 of 300: …`.
    pub summary: String,
    /// The policy project, as `group/project`.
    pub policy: String,
    /// Its commit that was tried.
    pub sha: String,
    /// What is wrong with the policy itself; then no project was tried.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<CiFault>,
    /// Projects looked at.
    pub projects: i64,
    /// Projects in whose pipelines required jobs would run.
    pub would_run: i64,
    /// Projects whose next pipeline would fail or wait without end.
    pub would_fail: i64,
    /// Projects without a commit, which have no pipelines.
    pub empty: i64,
    /// Projects that the policy is not for, or in which its rules choose no job.
    pub untouched: i64,
    /// Why projects would fail, in the order of their paths.
    pub failures: Vec<DryRunFailure>,
    /// How many failures are left off, to keep the answer short.
    pub left_off: i64,
    /// Whether the group has more projects than are looked at at once.
    pub cut: bool,
}

/// Why a project's next pipeline would fail.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DryRunFailure {
    /// `group/project`.
    pub project: String,
    /// `own_config`: its CI file is faulty already; `required_config`: what is required cannot be planned there;
    /// `no_runner`: no runner takes a required job.
    pub kind: String,
    /// What is wrong, and where.
    pub reason: String,
}

/// A pipeline that starts by itself, again and again.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Schedule {
    /// Its number.
    pub id: i64,
    /// What it is for.
    pub description: String,
    /// Branch or tag.
    #[serde(rename = "ref")]
    pub reference: String,
    /// Five cron fields: minute, hour, day of month, month, day of week.
    pub cron: String,
    /// Time zone of the IANA database, such as `Europe/Paris`.
    pub timezone: String,
    /// Whether it runs.
    pub active: bool,
    /// In whose name it runs.
    pub owner: String,
    /// Names of its variables, with their values where the caller may change it.
    pub variables: BTreeMap<String, Option<String>>,
    /// Names of the inputs that it gives to the file's `spec:inputs`, with their values where the caller may change it.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub inputs: BTreeMap<String, Option<serde_json::Value>>,
    /// When it runs next; `null` while it does not.
    pub next_run_at: Option<Timestamp>,
    /// When it last ran.
    pub last_run_at: Option<Timestamp>,
    /// What came of it: the pipeline.
    pub last_pipeline: Option<PipelineId>,
    /// Why its last pipeline was refused, or none was made; `null` where all went well.
    pub last_note: Option<String>,
    /// Why the platform stopped it.
    pub stopped: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Makes a schedule.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSchedule {
    /// What it is for.
    pub description: String,
    /// Branch or tag; empty is the default branch.
    #[serde(default, rename = "ref")]
    pub reference: String,
    /// Five cron fields: minute, hour, day of month, month, day of week.
    pub cron: String,
    /// Time zone of the IANA database; empty is UTC.
    #[serde(default)]
    pub timezone: String,
    /// Variables; they count over those of the file.
    #[serde(default)]
    pub variables: BTreeMap<String, String>,
    /// Values for the file's `spec:inputs`; those left out are the file's.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub inputs: BTreeMap<String, serde_json::Value>,
    /// Whether it runs.
    #[serde(default = "yes")]
    pub active: bool,
}

/// Changes a schedule; what is absent stays.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeSchedule {
    /// What it is for.
    #[serde(default)]
    pub description: Option<String>,
    /// Branch or tag.
    #[serde(default, rename = "ref")]
    pub reference: Option<String>,
    /// Five cron fields.
    #[serde(default)]
    pub cron: Option<String>,
    /// Time zone.
    #[serde(default)]
    pub timezone: Option<String>,
    /// All of its variables.
    #[serde(default)]
    pub variables: Option<BTreeMap<String, String>>,
    /// All of its inputs.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub inputs: Option<BTreeMap<String, serde_json::Value>>,
    /// Whether it runs.
    #[serde(default)]
    pub active: Option<bool>,
}

/// Makes a trigger token.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTrigger {
    /// Who is to use it.
    pub description: String,
}

/// A trigger token: what another program starts pipelines with.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Trigger {
    /// Its number.
    pub id: i64,
    /// Who is to use it.
    pub description: String,
    /// The first letters of the token behind its prefix.
    pub hint: String,
    /// User name of who it runs for.
    pub owner: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last started a pipeline.
    pub last_used: Option<Timestamp>,
    /// The token; only in the answer to making it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

/// A static site that a job made.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Site {
    /// Under which prefix it is served; empty is the main site.
    pub prefix: String,
    /// The address that stays.
    pub url: String,
    /// The job that made it.
    pub job: JobId,
    /// Since when it is served.
    pub deployed_at: Timestamp,
    /// Until when.
    pub expires_at: Option<Timestamp>,
}

fn yes() -> bool {
    true
}
