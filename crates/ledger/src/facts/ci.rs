//! Facts about pipelines and jobs.

use super::{fact, short};
use bascule_core::{Digest, JobId, PipelineId, ProjectId, RunnerId, Timestamp};
use serde::{Deserialize, Serialize};

/// A pipeline was created for a commit.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PipelineCreated {
    /// The project.
    pub project: ProjectId,
    /// The pipeline.
    pub pipeline: PipelineId,
    /// Branch or tag name.
    pub reference: String,
    /// Whether it is a tag's.
    pub tag: bool,
    /// The commit.
    pub sha: String,
    /// What started it: `push`, `web`, `api`.
    pub source: String,
    /// Its jobs.
    pub jobs: i64,
}
fact!(
    PipelineCreated,
    "pipeline.created",
    |f| Some(f.project),
    |f| format!("pipeline:{}", f.pipeline),
    |f| format!(
        "started pipeline {} for {} at {}, {} jobs",
        f.pipeline,
        f.reference,
        short(&f.sha),
        f.jobs
    )
);

/// A pipeline could not be created because the project's CI file is wrong.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PipelineRefused {
    /// The project.
    pub project: ProjectId,
    /// Branch or tag name.
    pub reference: String,
    /// The commit.
    pub sha: String,
    /// Where the fault is, as `line:column`.
    pub position: String,
    /// What is wrong and what is allowed there.
    pub reason: String,
}
fact!(
    PipelineRefused,
    "pipeline.refused",
    |f| Some(f.project),
    |f| format!("project:{}", f.project),
    |f| format!(
        "no pipeline for {}: .gitlab-ci.yml:{}: {}",
        f.reference, f.position, f.reason
    )
);

/// A pipeline ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PipelineFinished {
    /// The project.
    pub project: ProjectId,
    /// The pipeline.
    pub pipeline: PipelineId,
    /// Branch or tag name.
    pub reference: String,
    /// The commit.
    pub sha: String,
    /// `success`, `warning`, `failed`, `canceled`, `skipped`.
    pub status: String,
    /// From creation to end, in milliseconds.
    pub duration_ms: i64,
}
fact!(
    PipelineFinished,
    "pipeline.finished",
    |f| Some(f.project),
    |f| format!("pipeline:{}", f.pipeline),
    |f| format!(
        "pipeline {} for {}: {} after {:.1} s",
        f.pipeline,
        f.reference,
        f.status,
        seconds(f.duration_ms)
    )
);

/// A runner took a job.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JobStarted {
    /// The project.
    pub project: ProjectId,
    /// The pipeline.
    pub pipeline: PipelineId,
    /// The job.
    pub job: JobId,
    /// Its name.
    pub name: String,
    /// The runner.
    pub runner: RunnerId,
    /// Time spent waiting for a runner, in milliseconds.
    pub queued_ms: i64,
}
fact!(
    JobStarted,
    "job.started",
    |f| Some(f.project),
    |f| format!("pipeline:{}", f.pipeline),
    |f| format!("started job {} ({})", f.name, f.job)
);

/// A job ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JobFinished {
    /// The project.
    pub project: ProjectId,
    /// The pipeline.
    pub pipeline: PipelineId,
    /// The job.
    pub job: JobId,
    /// Its name.
    pub name: String,
    /// `success`, `failed`, `canceled`.
    pub status: String,
    /// GitLab's failure reason, such as `script_failure` or `runner_system_failure`.
    pub failure_reason: Option<String>,
    /// From start to end, in milliseconds.
    pub duration_ms: i64,
}
fact!(
    JobFinished,
    "job.finished",
    |f| Some(f.project),
    |f| format!("pipeline:{}", f.pipeline),
    |f| format!(
        "job {} ({}): {}{} after {:.1} s",
        f.name,
        f.job,
        f.status,
        f.failure_reason
            .as_ref()
            .map(|r| format!(" ({r})"))
            .unwrap_or_default(),
        seconds(f.duration_ms)
    )
);

/// A job was queued again, by a person or because the platform lost its runner.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JobRetried {
    /// The project.
    pub project: ProjectId,
    /// The pipeline.
    pub pipeline: PipelineId,
    /// The job that ended.
    pub job: JobId,
    /// The job that takes its place.
    pub by: JobId,
    /// Its name.
    pub name: String,
    /// Why: `person`, or the failure reason.
    pub reason: String,
}
fact!(
    JobRetried,
    "job.retried",
    |f| Some(f.project),
    |f| format!("pipeline:{}", f.pipeline),
    |f| format!(
        "job {} ({}) is tried again as {}: {}",
        f.name, f.job, f.by, f.reason
    )
);

/// Someone erased a job's log and what it left.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JobErased {
    /// The project.
    pub project: ProjectId,
    /// The pipeline.
    pub pipeline: PipelineId,
    /// The job.
    pub job: JobId,
    /// Its name.
    pub name: String,
}
fact!(
    JobErased,
    "job.erased",
    |f| Some(f.project),
    |f| format!("pipeline:{}", f.pipeline),
    |f| format!("erased the log and artifacts of job {} ({})", f.name, f.job)
);

/// A job's artifact archive that a release takes over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactRef {
    /// The job that made it.
    pub job: JobId,
    /// The job's name.
    pub job_name: String,
    /// File name of the archive.
    pub file_name: String,
    /// Digest of the archive.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: i64,
}

/// A `release:` job succeeded: a release is to be made of this tag.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReleaseRequested {
    /// The project.
    pub project: ProjectId,
    /// `group/project`.
    pub project_path: String,
    /// The pipeline.
    pub pipeline: PipelineId,
    /// The release job.
    pub job: JobId,
    /// The tag.
    pub tag: String,
    /// The commit.
    pub sha: String,
    /// The release's name.
    pub name: String,
    /// The release's description, Markdown.
    pub description: String,
    /// The pipeline's job artifacts.
    pub artifacts: Vec<ArtifactRef>,
    /// The runner that ran the release job.
    pub runner: Option<RunnerId>,
    /// When the pipeline was created.
    pub started_at: Timestamp,
    /// When the release job ended.
    pub finished_at: Timestamp,
    /// Digest of the CI file that was run.
    pub ci_file_digest: Option<Digest>,
}
fact!(
    ReleaseRequested,
    "release.requested",
    |f| Some(f.project),
    |f| format!("pipeline:{}", f.pipeline),
    |f| format!("asked for the release {}", f.tag)
);

/// A runner was made, changed or removed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunnerChanged {
    /// The runner.
    pub runner: RunnerId,
    /// Its number.
    pub number: i64,
    /// What people call it.
    pub description: String,
    /// Whom it serves: `instance`, `group`, `project`.
    pub scope: String,
    /// The project that it serves, where it is one's.
    pub project: Option<ProjectId>,
    /// `created`, `changed`, `paused`, `resumed`, `enabled`, `disabled`, `removed`.
    pub change: String,
}
fact!(
    RunnerChanged,
    "runner.changed",
    |f| f.project,
    |f| format!("runner:{}", f.runner),
    |f| format!("{} the runner #{} {}", f.change, f.number, f.description)
);

/// A CI variable was set or removed; its value is in no fact.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CiVariableSet {
    /// Whose it is: `instance`, `group`, `project`.
    pub scope: String,
    /// The group's name or the project's identifier; empty for the instance.
    pub target: String,
    /// The project, where it is one's.
    pub project: Option<ProjectId>,
    /// Its name.
    pub name: String,
    /// For which environments it is.
    pub environment: String,
    /// Whether it was removed.
    pub removed: bool,
}
fact!(
    CiVariableSet,
    "ci.variable_set",
    |f| f.project,
    |f| format!("{}:{}", f.scope, f.target),
    |f| format!(
        "{} the CI variable {} of the {}{}",
        if f.removed { "removed" } else { "set" },
        f.name,
        f.scope,
        if f.environment == "*" {
            String::new()
        } else {
            format!(" for {}", f.environment)
        }
    )
);

/// How many jobs of a group may run at once was set.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CiLimitSet {
    /// The group's name.
    pub group: String,
    /// The most; `None` for no limit.
    pub running: Option<i64>,
}
fact!(
    CiLimitSet,
    "ci.limit_set",
    |_| None,
    |f| format!("group:{}", f.group),
    |f| match f.running {
        Some(running) => format!("limited group {} to {running} running jobs", f.group),
        None => format!("lifted the limit of running jobs from group {}", f.group),
    }
);

#[allow(clippy::cast_precision_loss, reason = "durations stay far below 2^52 ms")]
fn seconds(milliseconds: i64) -> f64 {
    milliseconds as f64 / 1000.0
}
