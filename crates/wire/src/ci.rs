//! Pipelines, jobs, runners and variables in the JSON API.

use bascule_core::{Digest, JobId, PipelineId, ProjectId, RunnerId, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// A fault or warning in a CI file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CiFault {
    /// The file's path.
    pub file: String,
    /// Line, from one.
    pub line: u32,
    /// Column, from one.
    pub column: u32,
    /// What is wrong and what is allowed there.
    pub message: String,
}

/// One run for a commit.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Pipeline {
    /// The pipeline.
    pub id: PipelineId,
    /// The project.
    pub project: ProjectId,
    /// Branch or tag name.
    #[serde(rename = "ref")]
    pub reference: String,
    /// Whether it is a tag's.
    pub tag: bool,
    /// The commit.
    pub sha: String,
    /// What started it: `push`, `web`, `api`, `schedule`, `trigger`, `merge_request_event`, `pipeline`,
    /// `parent_pipeline`.
    pub source: String,
    /// Its name, if the file gives one.
    pub name: Option<String>,
    /// First line of the commit's message.
    pub title: String,
    /// `created`, `pending`, `running`, `success`, `warning`, `failed`, `canceled`, `skipped`, `manual`, `scheduled`.
    pub status: String,
    /// Who started it.
    pub actor: String,
    /// The pipeline whose bridge made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<PipelineId>,
    /// Number of the merge request that it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merge_request: Option<i64>,
    /// The schedule that started it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<i64>,
    /// The newer pipeline for whose sake it was canceled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canceled_for: Option<PipelineId>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When its first job started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// What is wrong with the CI file, where that is why it failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<CiFault>,
    /// What is accepted in the CI file but worth telling.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<CiFault>,
}

/// A part of a list of pipelines, newest first.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct PipelineList {
    /// The pipelines.
    pub pipelines: Vec<Pipeline>,
    /// Ask with `before` this for older ones; `null` when there are none.
    pub next: Option<PipelineId>,
}

/// A pipeline with its jobs.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct PipelineDetail {
    /// The pipeline.
    #[serde(flatten)]
    pub pipeline: Pipeline,
    /// Its stages in order.
    pub stages: Vec<String>,
    /// Its jobs, by stage; those tried again too.
    pub jobs: Vec<Job>,
    /// The pipeline whose bridge made it, where the caller may see it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream_pipeline: Option<LinkedPipeline>,
    /// The pipelines that its bridges made, where the caller may see them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub downstream_pipelines: Vec<LinkedPipeline>,
}

/// A pipeline as another one leads to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LinkedPipeline {
    /// The pipeline.
    pub id: PipelineId,
    /// Its project, as `group/project`.
    pub project: String,
    /// Its name, if its file gives one.
    pub name: Option<String>,
    /// How it stands.
    pub status: String,
    /// The bridge between the two, a job of the upstream pipeline.
    pub job: Option<JobId>,
    /// The bridge's name.
    pub job_name: Option<String>,
    /// Whether it is of the same project (`parent_pipeline`).
    pub child: bool,
}

/// One job of a pipeline.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Job {
    /// The job.
    pub id: JobId,
    /// Its pipeline.
    pub pipeline: PipelineId,
    /// Its name.
    pub name: String,
    /// Its stage.
    pub stage: String,
    /// `created`, `pending`, `running`, `success`, `failed`, `canceled`, `skipped`, `manual`, `scheduled`,
    /// `waiting_for_resource`.
    pub status: String,
    /// Whether its failure leaves the pipeline alone.
    pub allow_failure: bool,
    /// Jobs that it waits for; `null` is all of the earlier stages.
    pub needs: Option<Vec<String>>,
    /// What a runner must offer.
    pub tags: Vec<String>,
    /// The group's required pipeline that it belongs to; absent for the project's own jobs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub required: Option<String>,
    /// The pipeline that it made, for a job with `trigger`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub downstream: Option<PipelineId>,
    /// When it begins by itself, for a job that waits for its time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_at: Option<Timestamp>,
    /// Its resource group, of which one job runs at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_group: Option<String>,
    /// What a person is asked before starting it by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manual_confirmation: Option<String>,
    /// Why it failed, by GitLab's words.
    pub failure_reason: Option<String>,
    /// The script's exit code.
    pub exit_code: Option<i64>,
    /// The runner that has or had it.
    pub runner: Option<RunnerId>,
    /// Whether another job took its place.
    pub retried: bool,
    /// Which try it is, from one.
    pub attempt: i64,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it began to wait for a runner.
    pub queued_at: Option<Timestamp>,
    /// When a runner took it.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Bytes of its log.
    pub log_bytes: i64,
    /// What it left.
    #[serde(default)]
    pub artifacts: Vec<JobArtifact>,
}

/// A file that a job left.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct JobArtifact {
    /// `archive`, or a report's kind.
    pub kind: String,
    /// `zip`, `gzip` or `raw`.
    pub format: String,
    /// Its name.
    pub file_name: String,
    /// Digest of its bytes.
    pub digest: Digest,
    /// Size in bytes.
    pub size: i64,
    /// When it is no longer kept; `null` for always.
    pub expires_at: Option<Timestamp>,
}

/// An environment that jobs name.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct CiEnvironment {
    /// Its number.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// Its name, fit for a host name.
    pub slug: String,
    /// `production`, `staging`, `testing`, `development`, `other`.
    pub tier: String,
    /// `available`, `stopping`, `stopped`.
    pub state: String,
    /// Where it answers.
    pub url: Option<String>,
    /// When it is taken down by itself.
    pub auto_stop_at: Option<Timestamp>,
    /// The job that takes it down.
    pub on_stop: Option<String>,
    /// What was deployed last.
    pub last_deployment: CiDeployment,
}

/// What a job deployed.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct CiDeployment {
    /// The job.
    pub job: JobId,
    /// Its pipeline.
    pub pipeline: PipelineId,
    /// Branch or tag.
    #[serde(rename = "ref")]
    pub reference: String,
    /// The commit.
    pub sha: String,
    /// Who started the pipeline.
    pub actor: String,
    /// When.
    pub at: Timestamp,
}

/// How pipelines of merge requests are made.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MergePipelines {
    /// Whether they try what merging would make, rather than the request's own commit.
    pub merged_results: bool,
}

/// A resource group: of the jobs that name it, one runs at a time.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ResourceGroup {
    /// Its name.
    pub key: String,
    /// Who comes next: `unordered`, `oldest_first`, `newest_first`, `newest_ready_first`.
    pub process_mode: String,
    /// How many jobs wait for it.
    pub waiting: i64,
    /// The job that has it.
    pub held_by: Option<JobId>,
}

/// Sets who comes next in a resource group.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetResourceGroup {
    /// `unordered`, `oldest_first`, `newest_first`, `newest_ready_first`.
    pub process_mode: String,
}

/// Starts a pipeline.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RunPipeline {
    /// Branch or tag; empty is the default branch.
    #[serde(default, rename = "ref")]
    pub reference: String,
    /// Variables; they count over those of the file.
    #[serde(default)]
    pub variables: BTreeMap<String, String>,
    /// Values for the file's `spec:inputs`.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub inputs: BTreeMap<String, serde_json::Value>,
}

/// Checks a CI file without running it.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LintRequest {
    /// The file's text; absent checks the project's own.
    #[serde(default)]
    pub content: Option<String>,
    /// Branch or tag to plan for; empty is the default branch.
    #[serde(default, rename = "ref")]
    pub reference: String,
    /// What starts the pipeline: `push`, `web`, `api`, `schedule`, `trigger`, `pipeline`,
    /// `merge_request_event`; empty is `push`.
    #[serde(default)]
    pub source: String,
    /// Variables as if given by who starts the pipeline.
    #[serde(default)]
    pub variables: BTreeMap<String, String>,
    /// Values for the file's `spec:inputs`.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub inputs: BTreeMap<String, serde_json::Value>,
    /// Whether the merged file is wanted.
    #[serde(default)]
    pub merged: bool,
}

/// What was found.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct LintResult {
    /// Whether a pipeline could be made.
    pub valid: bool,
    /// What is wrong.
    pub faults: Vec<CiFault>,
    /// What is worth telling.
    pub warnings: Vec<CiFault>,
    /// Stages that have jobs, in order.
    pub stages: Vec<String>,
    /// Jobs that would run.
    pub jobs: Vec<LintJob>,
    /// Jobs that would not, with the reason.
    pub left_out: Vec<LintJob>,
    /// Why no pipeline would be made, where that is so.
    pub none: Option<String>,
    /// The pipeline's name, if the file gives one.
    #[serde(default)]
    pub name: Option<String>,
    /// The files that the configuration is made of.
    #[serde(default)]
    pub files: Vec<String>,
    /// All of it in one, with what it includes, extends and references; where it was asked for.
    #[serde(default)]
    pub merged: Option<String>,
}

/// A job as planned.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct LintJob {
    /// Its name.
    pub name: String,
    /// Its stage.
    pub stage: String,
    /// When it would run.
    pub when: String,
    /// Jobs that it would wait for; `null` is all of the earlier stages.
    pub needs: Option<Vec<String>>,
    /// Whether its failure would be allowed.
    pub allow_failure: bool,
    /// Why it is in or out.
    pub reason: String,
}

/// A runner of the instance.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Runner {
    /// The runner.
    pub id: RunnerId,
    /// Its number in the runner protocol.
    pub number: i64,
    /// What people call it.
    pub description: String,
    /// Its tags.
    pub tags: Vec<String>,
    /// Whether it takes jobs without tags.
    pub run_untagged: bool,
    /// Whether it takes no jobs for now.
    pub paused: bool,
    /// Whether it takes jobs of protected branches and tags only.
    #[serde(default)]
    pub protected: bool,
    /// Whether it stays with the projects that it has.
    #[serde(default)]
    pub locked: bool,
    /// Whom it serves: `instance`, `group` or `project`.
    #[serde(default)]
    pub scope: String,
    /// The group that it serves, where it is a group's.
    #[serde(default)]
    pub group: Option<String>,
    /// Longest job it takes, in seconds; `null` for as long as jobs say.
    #[serde(default)]
    pub maximum_timeout: Option<i64>,
    /// How it runs jobs, in its own word.
    #[serde(default)]
    pub executor: String,
    /// How many jobs it has at the moment.
    #[serde(default)]
    pub held: i64,
    /// What it runs at the moment, as far as the caller may see it.
    #[serde(default)]
    pub jobs: Vec<HeldJob>,
    /// The program's version.
    pub version: String,
    /// Operating system and architecture.
    pub platform: String,
    /// Whether it was heard of lately.
    pub online: bool,
    /// When it was last heard of.
    pub contacted_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Makes a runner.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateRunner {
    /// What people call it.
    pub description: String,
    /// Its tags.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Whether it takes jobs without tags.
    #[serde(default = "yes")]
    pub run_untagged: bool,
    /// Whether it takes jobs of protected branches and tags only.
    #[serde(default)]
    pub protected: bool,
    /// Whether it stays with the project that it is made for.
    #[serde(default)]
    pub locked: bool,
    /// Whether it takes no jobs at first.
    #[serde(default)]
    pub paused: bool,
    /// Longest job it takes, in seconds, at least 600.
    #[serde(default)]
    pub maximum_timeout: Option<i64>,
}

/// A job that a runner has.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct HeldJob {
    /// The job.
    pub id: JobId,
    /// `group/project`.
    pub project: String,
    /// Its name.
    pub name: String,
    /// `pending` while it is only offered, `running`, or `canceling`.
    pub status: String,
    /// When it started.
    pub started_at: Option<Timestamp>,
}

/// A job that waits for a runner.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct QueuedJob {
    /// The job.
    pub id: JobId,
    /// Its pipeline.
    pub pipeline: PipelineId,
    /// `group/project`.
    pub project: String,
    /// Its name.
    pub name: String,
    /// Its stage.
    pub stage: String,
    /// Branch or tag name.
    #[serde(rename = "ref")]
    pub reference: String,
    /// What a runner must offer.
    pub tags: Vec<String>,
    /// Whether its branch or tag is protected.
    pub protected: bool,
    /// Since when it waits.
    pub queued_at: Option<Timestamp>,
    /// Its place among all that wait, from one, if nothing else were to come: the project with the fewest running jobs
    /// first.
    pub place: i64,
    /// Why it waits, for programs: `runners_busy`, `no_runner_with_tags`, `group_limit`, `resource_group`, …
    pub why: String,
    /// The same in words, with what would let it go on.
    pub reason: String,
    /// Seconds it will probably wait yet, by the pace of the last quarter of an hour; `null` where that cannot be told.
    pub estimate: Option<i64>,
}

/// A part of the queue, in the order in which jobs are to start.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Queue {
    /// The jobs.
    pub jobs: Vec<QueuedJob>,
    /// All jobs that wait and that the caller may see.
    pub waiting: i64,
    /// Jobs that runners have.
    pub held: i64,
    /// Runners that were heard of lately and are not paused.
    pub runners_online: i64,
    /// Ask with `offset` this for the rest; `null` when there is none.
    pub next: Option<i64>,
}

/// How many jobs of a group's projects may run at once.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CiLimit {
    /// The most; `null` for no limit.
    #[serde(default)]
    pub running: Option<i64>,
}

fn yes() -> bool {
    true
}

/// A runner just made.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct CreatedRunner {
    /// The runner.
    pub runner: Runner,
    /// Its token; not shown again.
    pub token: String,
}

/// Changes a runner; what is absent stays as it is.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeRunner {
    /// What people call it.
    #[serde(default)]
    pub description: Option<String>,
    /// Its tags.
    #[serde(default)]
    pub tags: Option<Vec<String>>,
    /// Whether it takes jobs without tags.
    #[serde(default)]
    pub run_untagged: Option<bool>,
    /// Whether it takes jobs of protected branches and tags only.
    #[serde(default)]
    pub protected: Option<bool>,
    /// Whether it stays with the projects that it has.
    #[serde(default)]
    pub locked: Option<bool>,
    /// Longest job it takes, in seconds, at least 600; 0 for as long as jobs say.
    #[serde(default)]
    pub maximum_timeout: Option<i64>,
    /// Whether it takes no jobs for now.
    #[serde(default)]
    pub paused: Option<bool>,
}

/// A group or project whose job tokens may read another project.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JobTokenAccess {
    /// `group` for all its projects, or `group/project`.
    pub path: String,
    /// Since when.
    #[serde(default)]
    pub added_at: Option<Timestamp>,
}

/// A registration token just made; older ones end.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct RegistrationToken {
    /// The token; not shown again.
    pub token: String,
}

/// A CI variable of a project, a group or the instance.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct CiVariable {
    /// Its name.
    pub name: String,
    /// For jobs of which environments it is: a name, a pattern such as `review/*`, or `*` for all jobs.
    #[serde(default)]
    pub environment: String,
    /// Its value; `null` where it is masked.
    pub value: Option<String>,
    /// Whether it is hidden here and in logs.
    pub masked: bool,
    /// Whether only jobs of protected branches and tags get it.
    pub protected: bool,
    /// Whether the job gets the path of a file that holds the value.
    pub file: bool,
    /// Whether `$` in the value is expanded.
    pub expand: bool,
    /// Whether only jobs get it that name it under `secrets`.
    #[serde(default)]
    pub secret: bool,
    /// When it was last set.
    pub updated_at: Timestamp,
}

/// Sets a project's CI variable.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetCiVariable {
    /// Its value.
    pub value: String,
    /// Hide it here and in logs.
    #[serde(default)]
    pub masked: bool,
    /// Only for jobs of protected branches and tags.
    #[serde(default)]
    pub protected: bool,
    /// Give the job the path of a file that holds the value.
    #[serde(default)]
    pub file: bool,
    /// Expand `$` in the value.
    #[serde(default = "yes")]
    pub expand: bool,
    /// Only for jobs that name it under `secrets` (`gitlab_secrets_manager`); always masked.
    #[serde(default)]
    pub secret: bool,
    /// For jobs of which environments: a name, a pattern such as `review/*`, or `*` for all jobs.
    #[serde(default = "everywhere")]
    pub environment: String,
}

fn everywhere() -> String {
    "*".to_owned()
}
