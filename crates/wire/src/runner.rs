//! The GitLab runner protocol, as both sides speak it: our server with any runner, our runner with any server.
//! Field names are GitLab's. Reading is tolerant: what is absent or `null` becomes the default, and unknown
//! words become the default word, because runners and servers of many versions meet here. Writing is strict:
//! keys that other runners insist on (`dependencies`, `artifacts`, `paths`) are always there.

mod words;

pub use words::{ArtifactFormat, CachePolicy, FailureReason, JobState, RefType, When};

use bascule_core::JobId;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Header that carries the runner's token.
pub const RUNNER_TOKEN: &str = "RUNNER-TOKEN";
/// Header that carries a job's token.
pub const JOB_TOKEN: &str = "JOB-TOKEN";
/// Header of answers to trace patches and job updates: where the server says the job stands.
pub const JOB_STATUS: &str = "Job-Status";
/// Header of answers: seconds that the runner should leave between trace patches.
pub const TRACE_UPDATE_INTERVAL: &str = "X-GitLab-Trace-Update-Interval";
/// Header of a 204 to a job request; the runner echoes it as [`JobRequest::last_update`].
pub const LAST_UPDATE: &str = "X-GitLab-Last-Update";
/// User name that goes with a job token when git asks.
pub const GIT_USER: &str = "gitlab-ci-token";
/// How a job's token begins (GitLab's, so that scanners for leaked secrets know it).
pub const JOB_TOKEN_PREFIX: &str = "glcbt-";
/// Type of an artifact that is the job's plain archive.
pub const ARTIFACT_ARCHIVE: &str = "archive";

/// Reads `null` as the default, since Go writes empty lists and maps so.
fn nullable<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// `POST /api/v4/runners`: registers a runner with a registration token.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct RegisterRequest {
    /// The registration token.
    #[serde(deserialize_with = "nullable")]
    pub token: String,
    /// What people call it.
    #[serde(deserialize_with = "nullable")]
    pub description: String,
    /// Its tags, comma separated.
    #[serde(deserialize_with = "nullable")]
    pub tag_list: TagList,
    /// Whether it takes jobs without tags.
    pub run_untagged: Option<bool>,
    /// Whether it is bound to its project.
    pub locked: Option<bool>,
    /// `ref_protected`: it takes jobs of protected branches and tags only; else `not_protected`.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "String::is_empty")]
    pub access_level: String,
    /// An older word for `paused`, turned round.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active: Option<bool>,
    /// Longest job it takes, in seconds.
    pub maximum_timeout: Option<i64>,
    /// Whether it takes no jobs for now.
    pub paused: Option<bool>,
    /// About the program.
    #[serde(deserialize_with = "nullable")]
    pub info: RunnerInfo,
}

impl RegisterRequest {
    /// Whether it asks for jobs of protected branches and tags only.
    #[must_use]
    pub fn is_protected(&self) -> bool {
        self.access_level == "ref_protected"
    }

    /// Whether it asks for no jobs at first.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.paused.unwrap_or(self.active == Some(false))
    }
}

/// Tags; GitLab's runner sends them as one comma separated text, other clients as a list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(transparent)]
pub struct TagList(pub Vec<String>);

impl<'de> Deserialize<'de> for TagList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Text(String),
            List(Vec<String>),
        }
        let tags = match Option::<Either>::deserialize(deserializer)? {
            None => Vec::new(),
            Some(Either::Text(text)) => text.split(',').map(str::to_owned).collect(),
            Some(Either::List(list)) => list,
        };
        Ok(Self(
            tags.into_iter()
                .map(|t| t.trim().to_owned())
                .filter(|t| !t.is_empty())
                .collect(),
        ))
    }
}

/// Answer to registering and verifying a runner.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct RegisterResponse {
    /// The runner's number.
    pub id: i64,
    /// The runner's own token; not shown again.
    #[serde(deserialize_with = "nullable")]
    pub token: String,
    /// When the token ends, RFC 3339; `null` for never.
    pub token_expires_at: Option<String>,
}

/// `POST /api/v4/runners/verify`, `DELETE /api/v4/runners`: a runner names itself.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct VerifyRequest {
    /// The runner's token.
    #[serde(deserialize_with = "nullable")]
    pub token: String,
    /// Which machine it runs on; one token may serve several.
    #[serde(deserialize_with = "nullable")]
    pub system_id: String,
    /// About the program.
    #[serde(deserialize_with = "nullable")]
    pub info: RunnerInfo,
}

/// About the runner program.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct RunnerInfo {
    /// The program's name.
    #[serde(deserialize_with = "nullable")]
    pub name: String,
    /// Its version.
    #[serde(deserialize_with = "nullable")]
    pub version: String,
    /// The commit it was built from.
    #[serde(deserialize_with = "nullable")]
    pub revision: String,
    /// Operating system.
    #[serde(deserialize_with = "nullable")]
    pub platform: String,
    /// Processor architecture.
    #[serde(deserialize_with = "nullable")]
    pub architecture: String,
    /// How it runs jobs.
    #[serde(deserialize_with = "nullable")]
    pub executor: String,
    /// The shell it runs scripts with.
    #[serde(deserialize_with = "nullable")]
    pub shell: String,
    /// What it can do, by GitLab's names. Values are nearly always true or false.
    #[serde(deserialize_with = "nullable")]
    #[schema(value_type = Object)]
    pub features: BTreeMap<String, serde_json::Value>,
}

impl RunnerInfo {
    /// Whether the runner announced a feature.
    #[must_use]
    pub fn has(&self, feature: &str) -> bool {
        self.features
            .get(feature)
            .and_then(serde_json::Value::as_bool)
            .unwrap_or(false)
    }
}

/// `POST /api/v4/jobs/request`: a runner asks for a job. 201 with a [`Job`], or 204.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct JobRequest {
    /// The runner's token.
    #[serde(deserialize_with = "nullable")]
    pub token: String,
    /// Which machine it runs on.
    #[serde(deserialize_with = "nullable")]
    pub system_id: String,
    /// The [`LAST_UPDATE`] of the last answer: nothing new since then means 204 at no cost.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "String::is_empty")]
    pub last_update: String,
    /// About the program.
    #[serde(deserialize_with = "nullable")]
    pub info: RunnerInfo,
}

/// A job handed to a runner, with all it needs to run.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Job {
    /// The job.
    pub id: JobId,
    /// Proof towards the server that the bearer runs this job.
    pub token: String,
    /// Whether the workspace of an earlier job may be fetched into.
    #[serde(default)]
    pub allow_git_fetch: bool,
    /// What the job is called and where it belongs.
    #[serde(default, deserialize_with = "nullable")]
    pub job_info: JobInfo,
    /// What to check out.
    #[serde(default, deserialize_with = "nullable")]
    pub git_info: GitInfo,
    /// About the runner, as the server knows it.
    #[serde(default, deserialize_with = "nullable")]
    pub runner_info: JobRunnerInfo,
    /// Variables, in order; a later one of the same name counts.
    #[serde(default, deserialize_with = "nullable")]
    pub variables: Vec<Variable>,
    /// What to run.
    #[serde(default, deserialize_with = "nullable")]
    pub steps: Vec<Step>,
    /// Container image, where the executor uses one.
    #[serde(default)]
    pub image: Option<Image>,
    /// Containers beside the job, where the executor can.
    #[serde(default, deserialize_with = "nullable")]
    pub services: Vec<Image>,
    /// What to keep of the job's files.
    #[serde(default, deserialize_with = "nullable")]
    pub artifacts: Vec<Artifact>,
    /// Files to carry from job to job where possible.
    #[serde(default, deserialize_with = "nullable")]
    pub cache: Vec<Cache>,
    /// Passwords for registries and the like.
    #[serde(default, deserialize_with = "nullable")]
    pub credentials: Vec<Credentials>,
    /// Jobs whose artifacts are wanted.
    #[serde(default, deserialize_with = "nullable")]
    pub dependencies: Vec<Dependency>,
    /// What the server asks of the runner.
    #[serde(default, deserialize_with = "nullable")]
    pub features: JobFeatures,
    /// Scripts at points of the runner's own work.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<Hook>,
    /// Set where the project's group requires the job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_options: Option<PolicyOptions>,
}

/// About a job that comes of a policy and not of the project: its variables are the policy's alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct PolicyOptions {
    /// Whether it comes of a policy.
    #[serde(rename = "execution_policy_job", deserialize_with = "nullable")]
    pub policy_job: bool,
    /// The policy's name.
    #[serde(rename = "policy_name", deserialize_with = "nullable")]
    pub name: String,
    /// Whether variables of others may count over the policy's.
    #[serde(
        rename = "policy_variables_override_allowed",
        skip_serializing_if = "Option::is_none"
    )]
    pub override_allowed: Option<bool>,
}

/// Name of the hook that runs before the sources are fetched.
pub const HOOK_PRE_GET_SOURCES: &str = "pre_get_sources_script";
/// Name of the hook that runs after the sources were fetched.
pub const HOOK_POST_GET_SOURCES: &str = "post_get_sources_script";

/// A script at a point of the runner's own work.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Hook {
    /// [`HOOK_PRE_GET_SOURCES`] or [`HOOK_POST_GET_SOURCES`].
    #[serde(deserialize_with = "nullable")]
    pub name: String,
    /// Shell lines.
    #[serde(deserialize_with = "nullable")]
    pub script: Vec<String>,
}

/// What a job is called and where it belongs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct JobInfo {
    /// The job's name.
    #[serde(deserialize_with = "nullable")]
    pub name: String,
    /// Its stage.
    #[serde(deserialize_with = "nullable")]
    pub stage: String,
    /// The pipeline's number.
    #[serde(deserialize_with = "nullable")]
    pub pipeline_id: i64,
    /// The project's number, where projects are numbered.
    #[serde(deserialize_with = "nullable")]
    pub project_id: i64,
    /// The project's name.
    #[serde(deserialize_with = "nullable")]
    pub project_name: String,
    /// `group/project`.
    #[serde(deserialize_with = "nullable")]
    pub project_full_path: String,
    /// How long it waited for a runner, in seconds.
    #[serde(deserialize_with = "nullable")]
    pub time_in_queue_seconds: i64,
}

impl JobInfo {
    /// `name (stage)`, for logs.
    #[must_use]
    pub fn title(&self) -> String {
        if self.stage.is_empty() {
            self.name.clone()
        } else {
            format!("{} ({})", self.name, self.stage)
        }
    }
}

/// What to check out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct GitInfo {
    /// Address to fetch from; may hold user and password.
    #[serde(deserialize_with = "nullable")]
    pub repo_url: String,
    /// `sha1` or `sha256`; empty is `sha1`.
    #[serde(deserialize_with = "nullable")]
    pub repo_object_format: String,
    /// Branch or tag name.
    #[serde(rename = "ref", deserialize_with = "nullable")]
    pub reference: String,
    /// The commit.
    #[serde(deserialize_with = "nullable")]
    pub sha: String,
    /// The commit before the push.
    #[serde(deserialize_with = "nullable")]
    pub before_sha: String,
    /// Whether `reference` is a branch or a tag.
    #[serde(deserialize_with = "nullable")]
    pub ref_type: RefType,
    /// What to fetch; empty lets the runner choose.
    #[serde(deserialize_with = "nullable")]
    pub refspecs: Vec<String>,
    /// Commits to fetch; 0 is all.
    #[serde(deserialize_with = "nullable")]
    pub depth: i64,
    /// Whether the branch or tag is protected.
    #[serde(deserialize_with = "nullable")]
    pub protected: bool,
}

/// About the runner, as the server knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct JobRunnerInfo {
    /// Seconds the job may take.
    #[serde(deserialize_with = "nullable")]
    pub timeout: i64,
    /// The runner's identifier.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "String::is_empty")]
    pub uuid: String,
}

/// One variable of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Variable {
    /// Its name.
    #[serde(deserialize_with = "nullable")]
    pub key: String,
    /// Its value.
    #[serde(deserialize_with = "nullable")]
    pub value: String,
    /// Whether it may be shown.
    #[serde(deserialize_with = "nullable")]
    pub public: bool,
    /// Whether the value goes to a file and the variable holds the file's path.
    #[serde(deserialize_with = "nullable")]
    pub file: bool,
    /// Whether the value is replaced in the log.
    #[serde(deserialize_with = "nullable")]
    pub masked: bool,
    /// Whether `$` in the value means nothing.
    #[serde(deserialize_with = "nullable")]
    pub raw: bool,
}

impl Variable {
    /// A plain public variable.
    #[must_use]
    pub fn public(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            value: value.into(),
            public: true,
            ..Self::default()
        }
    }

    /// A variable whose value is kept out of the log.
    #[must_use]
    pub fn masked(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            value: value.into(),
            masked: true,
            ..Self::default()
        }
    }
}

/// Name of the step that holds `before_script` and `script`.
pub const STEP_SCRIPT: &str = "script";
/// Name of the step that runs afterwards in any case.
pub const STEP_AFTER_SCRIPT: &str = "after_script";

/// One step of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Step {
    /// [`STEP_SCRIPT`] or [`STEP_AFTER_SCRIPT`].
    #[serde(deserialize_with = "nullable")]
    pub name: String,
    /// Shell lines.
    #[serde(deserialize_with = "nullable")]
    pub script: Vec<String>,
    /// Seconds it may take.
    #[serde(deserialize_with = "nullable")]
    pub timeout: i64,
    /// When it runs.
    #[serde(deserialize_with = "nullable")]
    pub when: When,
    /// Whether its failure leaves the job's result alone.
    #[serde(deserialize_with = "nullable")]
    pub allow_failure: bool,
}

/// A container image, or a service's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Image {
    /// Its name.
    #[serde(deserialize_with = "nullable")]
    pub name: String,
    /// Host name of a service.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "String::is_empty")]
    pub alias: String,
    /// Replaces the image's entry point.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    /// Replaces the image's command.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// When it is pulled: `always`, `if-not-present`, `never`; tried in order.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub pull_policy: Vec<String>,
    /// More of what some executors know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub executor_opts: Option<ExecutorOptions>,
    /// Variables of a service alone.
    #[serde(deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub variables: Vec<Variable>,
}

/// What only some executors know of an image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct ExecutorOptions {
    /// For executors that run containers on their own machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub docker: Option<UserOptions>,
    /// For executors that run pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<UserOptions>,
}

/// As whom, and as what, a container runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct UserOptions {
    /// User, or `user:group`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Platform, such as `linux/arm64`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
}

/// Files to keep of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Artifact {
    /// Name of the archive, without ending.
    #[serde(deserialize_with = "nullable")]
    pub name: String,
    /// Whether files that git does not track are added.
    #[serde(deserialize_with = "nullable")]
    pub untracked: bool,
    /// Patterns of what to keep.
    #[serde(deserialize_with = "nullable")]
    pub paths: Vec<String>,
    /// Patterns of what to leave out of it.
    #[serde(deserialize_with = "nullable")]
    pub exclude: Vec<String>,
    /// When they are kept.
    #[serde(deserialize_with = "nullable")]
    pub when: When,
    /// `archive`, or a report's kind: `junit`, `dotenv`, `cyclonedx`, …
    #[serde(deserialize_with = "nullable")]
    pub artifact_type: String,
    /// How they are packed.
    #[serde(deserialize_with = "nullable")]
    pub artifact_format: ArtifactFormat,
    /// How long the server keeps them, as written: `1 week`.
    pub expire_in: Option<String>,
}

/// Files to carry from job to job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Cache {
    /// Which cache; may hold variables.
    #[serde(deserialize_with = "nullable")]
    pub key: String,
    /// Whether files that git does not track are added.
    #[serde(deserialize_with = "nullable")]
    pub untracked: bool,
    /// What the job does with it.
    #[serde(deserialize_with = "nullable")]
    pub policy: CachePolicy,
    /// Patterns of what to carry.
    #[serde(deserialize_with = "nullable")]
    pub paths: Vec<String>,
    /// When it is stored.
    #[serde(deserialize_with = "nullable")]
    pub when: When,
    /// Keys to try when there is none under `key`.
    #[serde(deserialize_with = "nullable")]
    pub fallback_keys: Vec<String>,
}

/// A password for a registry or the like.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Credentials {
    /// What it is for: `registry`.
    #[serde(rename = "type", deserialize_with = "nullable")]
    pub kind: String,
    /// Where it counts.
    #[serde(deserialize_with = "nullable")]
    pub url: String,
    /// User name.
    #[serde(deserialize_with = "nullable")]
    pub username: String,
    /// Password.
    #[serde(deserialize_with = "nullable")]
    pub password: String,
}

/// A job whose artifacts are wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Dependency {
    /// The job.
    pub id: JobId,
    /// That job's own token, to download with.
    #[serde(default, deserialize_with = "nullable")]
    pub token: String,
    /// That job's name.
    #[serde(default, deserialize_with = "nullable")]
    pub name: String,
    /// Its archive; `null` if it has none.
    #[serde(default)]
    pub artifacts_file: Option<ArtifactFile>,
}

/// A stored archive.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct ArtifactFile {
    /// Its name.
    #[serde(deserialize_with = "nullable")]
    pub filename: String,
    /// Its size in bytes.
    #[serde(deserialize_with = "nullable")]
    pub size: u64,
}

/// What the server asks of the runner.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct JobFeatures {
    /// Whether the log marks its sections.
    #[serde(deserialize_with = "nullable")]
    pub trace_sections: bool,
    /// Whether the server keeps caches: `GET` and `PUT /api/v4/jobs/{id}/cache?key=`. Not GitLab's.
    #[serde(deserialize_with = "nullable")]
    pub server_cache: bool,
    /// Words with these beginnings are masked wherever they appear.
    #[serde(deserialize_with = "nullable")]
    pub token_mask_prefixes: Vec<String>,
    /// Failure reasons that the server understands.
    #[serde(deserialize_with = "nullable")]
    pub failure_reasons: Vec<String>,
}

/// `PUT /api/v4/jobs/:id`: a runner tells how a job stands.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct JobUpdate {
    /// The job's token.
    #[serde(deserialize_with = "nullable")]
    pub token: String,
    /// Where it stands.
    #[serde(deserialize_with = "nullable")]
    pub state: JobState,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_reason: Option<FailureReason>,
    /// The script's exit code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// What the whole log must be, so that the server sees gaps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<JobOutput>,
    /// `crc32:…` of the log, from runners that send it here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checksum: Option<String>,
    /// About the program.
    #[serde(deserialize_with = "nullable")]
    pub info: RunnerInfo,
}

impl JobUpdate {
    /// The log's checksum, wherever this runner sends it.
    #[must_use]
    pub fn log_checksum(&self) -> Option<&str> {
        self.output
            .as_ref()
            .map(|o| o.checksum.as_str())
            .filter(|c| !c.is_empty())
            .or(self.checksum.as_deref())
    }
}

/// What the whole log must be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct JobOutput {
    /// `crc32:` and eight hexadecimal digits.
    #[serde(deserialize_with = "nullable")]
    pub checksum: String,
    /// Its length.
    #[serde(deserialize_with = "nullable")]
    pub bytesize: u64,
}

/// Writes a log's CRC-32 as it goes over the wire.
#[must_use]
pub fn log_checksum(crc32: u32) -> String {
    format!("crc32:{crc32:08x}")
}

/// Query of `POST /api/v4/jobs/:id/artifacts`; other clients send the same as form fields.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct ArtifactQuery {
    /// How the file is packed.
    #[serde(deserialize_with = "nullable")]
    pub artifact_format: ArtifactFormat,
    /// `archive` or a report's kind; empty is `archive`.
    #[serde(deserialize_with = "nullable")]
    pub artifact_type: String,
    /// How long to keep it, as written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expire_in: Option<String>,
}

/// The two numbers of a trace patch's `Content-Range`: where it starts, and its end as the sender counts it
/// (often wrong: trust the start and the body's length). `None` if it is no range.
#[must_use]
pub fn parse_content_range(value: &str) -> Option<(u64, u64)> {
    let value = value.trim();
    let value = value.strip_prefix("bytes").map_or(value, str::trim_start);
    let range = value.split('/').next()?;
    let (start, end) = range.split_once('-')?;
    Some((start.trim().parse().ok()?, end.trim().parse().ok()?))
}

/// The `Range` header of an answer to a trace patch: `0-` and the number of bytes stored (not inclusive).
#[must_use]
pub fn stored_range(bytes: u64) -> String {
    format!("0-{bytes}")
}

/// Reads [`stored_range`].
#[must_use]
pub fn parse_stored_range(value: &str) -> Option<u64> {
    value.rsplit('-').next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_job_of_another_server_is_read_with_nulls_and_unknown_words() {
        let job: Job = serde_json::from_value(json!({
            "id": 7, "token": "t", "variables": null, "artifacts": [{"name": null, "paths": null, "when": "never heard of"}],
            "steps": [{"name": "script", "script": ["true"], "timeout": 3600, "when": "always", "new": 1}],
            "git_info": {"ref": "main", "ref_type": "tag", "depth": null}, "inputs": [], "hooks": null,
            "dependencies": [{"id": 3, "token": "d", "name": "build", "artifacts_file": null}],
        }))
        .unwrap();
        assert_eq!(job.id, JobId(7));
        assert_eq!(job.steps[0].when, When::Always);
        assert_eq!(job.artifacts[0].when, When::OnSuccess);
        assert_eq!(job.git_info.ref_type, RefType::Tag);
        assert!(job.dependencies[0].artifacts_file.is_none());
    }

    #[test]
    fn strict_runners_find_every_key_they_insist_on() {
        let job: Job = serde_json::from_value(json!({"id": 1, "token": "t"})).unwrap();
        let out = serde_json::to_value(&job).unwrap();
        assert_eq!(out["dependencies"], json!([]));
        assert_eq!(out["artifacts"], json!([]));
        let artifact = serde_json::to_value(Artifact::default()).unwrap();
        assert_eq!(artifact["paths"], json!([]));
        assert_eq!(artifact["when"], "on_success");
    }

    #[test]
    fn ranges_and_tags_as_sent_by_both_kinds_of_clients() {
        assert_eq!(parse_content_range("0-9"), Some((0, 9)));
        assert_eq!(parse_content_range("bytes 10-19/*"), Some((10, 19)));
        assert_eq!(parse_content_range("-"), None);
        assert_eq!(parse_content_range("0-99999999999999999999999"), None);
        assert_eq!(parse_stored_range(&stored_range(42)), Some(42));
        let text: RegisterRequest = serde_json::from_value(json!({"tag_list": "a, b,,"})).unwrap();
        let list: RegisterRequest = serde_json::from_value(json!({"tag_list": ["a", "b"]})).unwrap();
        assert_eq!(text.tag_list, list.tag_list);
        assert_eq!(log_checksum(255), "crc32:000000ff");
    }
}
