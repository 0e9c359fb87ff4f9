//! Facts about what starts pipelines by itself: schedules, and what groups require.

use super::{fact, short};
use bascule_core::{GroupId, JobId, PipelineId, ProjectId, UserId};
use serde::{Deserialize, Serialize};

/// A group named the project whose file lists what must run in all of its projects, or took that back.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RequiredPipelinesSet {
    /// The group.
    pub group: GroupId,
    /// Its name.
    pub group_name: String,
    /// The policy project; `None`: nothing is required any more.
    pub policy: Option<ProjectId>,
    /// `group/project` of the policy project.
    #[serde(default)]
    pub policy_path: String,
}
fact!(
    RequiredPipelinesSet,
    "required_pipelines.set",
    |_| None,
    |f| format!("group:{}", f.group),
    |f| if f.policy.is_some() {
        format!(
            "made {} say which pipelines every project of {} runs",
            f.policy_path, f.group_name
        )
    } else {
        format!("took back which pipelines every project of {} runs", f.group_name)
    }
);

/// What a group requires of all its projects' pipelines changed with a commit of its policy project.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RequiredPipelinesChanged {
    /// The group.
    pub group: GroupId,
    /// Its name.
    pub group_name: String,
    /// The policy project.
    pub policy: ProjectId,
    /// Its commit, which holds from now on.
    pub sha: String,
    /// Names of the required pipelines.
    pub pipelines: Vec<String>,
}
fact!(
    RequiredPipelinesChanged,
    "required_pipelines.changed",
    |f| Some(f.policy),
    |f| format!("group:{}", f.group),
    |f| match f.pipelines.as_slice() {
        [] => format!(
            "requires no pipeline of {}'s projects any more (policy at {})",
            f.group_name,
            short(&f.sha)
        ),
        some => format!(
            "requires {} of every project of {} (policy at {})",
            some.join(", "),
            f.group_name,
            short(&f.sha)
        ),
    }
);

/// A commit of a policy project is faulty; what held before it still holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RequiredPipelinesRefused {
    /// The group.
    pub group: GroupId,
    /// Its name.
    pub group_name: String,
    /// The policy project.
    pub policy: ProjectId,
    /// The faulty commit.
    pub sha: String,
    /// What is wrong, and where.
    pub reason: String,
}
fact!(
    RequiredPipelinesRefused,
    "required_pipelines.refused",
    |f| Some(f.policy),
    |f| format!("group:{}", f.group),
    |f| format!(
        "the policy of {} at {} is faulty, and what held before still holds: {}",
        f.group_name,
        short(&f.sha),
        f.reason
    )
);

/// A schedule was made, changed or removed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ScheduleChanged {
    /// The project.
    pub project: ProjectId,
    /// Its number.
    pub schedule: i64,
    /// `created`, `changed`, `activated`, `deactivated`, `taken_over`, `deleted`.
    pub change: String,
    /// When it runs: cron expression and time zone.
    pub when: String,
    /// The branch or tag.
    pub reference: String,
}
fact!(
    ScheduleChanged,
    "schedule.changed",
    |f| Some(f.project),
    |f| format!("schedule:{}", f.schedule),
    |f| format!(
        "{} the schedule {} ({}, for {})",
        f.change.replace('_', " "),
        f.schedule,
        f.when,
        f.reference
    )
);

/// A schedule stopped, because its owner may not run it any more or its branch is gone.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ScheduleStopped {
    /// The project.
    pub project: ProjectId,
    /// Its number.
    pub schedule: i64,
    /// User name of its owner.
    pub owner: String,
    /// Its owner.
    #[serde(default)]
    pub owner_id: Option<UserId>,
    /// Why.
    pub reason: String,
}
fact!(
    ScheduleStopped,
    "schedule.stopped",
    |f| Some(f.project),
    |f| format!("schedule:{}", f.schedule),
    |f| format!("stopped the schedule {} of {}: {}", f.schedule, f.owner, f.reason)
);

/// A schedule's pipeline was refused, or is made again after one was. Runs that go well time after time are told by
/// their pipelines alone.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ScheduleRan {
    /// The project.
    pub project: ProjectId,
    /// Its number.
    pub schedule: i64,
    /// Its owner.
    pub owner: Option<UserId>,
    /// The pipeline.
    pub pipeline: Option<PipelineId>,
    /// Why it was refused or there is none; `None` where all is well again.
    pub refused: Option<String>,
}
fact!(
    ScheduleRan,
    "schedule.ran",
    |f| Some(f.project),
    |f| format!("schedule:{}", f.schedule),
    |f| match &f.refused {
        Some(why) => format!("could not run the schedule {}: {why}", f.schedule),
        None => format!("runs the schedule {} again", f.schedule),
    }
);

/// A trigger token was made or taken back.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TriggerTokenChanged {
    /// The project.
    pub project: ProjectId,
    /// Its number.
    pub trigger: i64,
    /// `created`, `deleted`.
    pub change: String,
    /// User name of its owner.
    pub owner: String,
}
fact!(
    TriggerTokenChanged,
    "trigger_token.changed",
    |f| Some(f.project),
    |f| format!("trigger:{}", f.trigger),
    |f| format!("{} the trigger token {} of {}", f.change, f.trigger, f.owner)
);

/// A static site of a project was made by a job, or removed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SiteChanged {
    /// The project.
    pub project: ProjectId,
    /// The job that made it.
    pub job: JobId,
    /// Under which prefix it is served; empty is the main site.
    pub prefix: String,
    /// `deployed`, `removed`.
    pub change: String,
}
fact!(
    SiteChanged,
    "site.changed",
    |f| Some(f.project),
    |f| format!("job:{}", f.job),
    |f| format!(
        "{} the site{} of job {}",
        f.change,
        if f.prefix.is_empty() {
            String::new()
        } else {
            format!(" {}", f.prefix)
        },
        f.job
    )
);

/// Someone canceled a pipeline as a whole.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PipelineCanceled {
    /// The project.
    pub project: ProjectId,
    /// The pipeline.
    pub pipeline: PipelineId,
}
fact!(
    PipelineCanceled,
    "pipeline.canceled",
    |f| Some(f.project),
    |f| format!("pipeline:{}", f.pipeline),
    |f| format!("canceled pipeline {}", f.pipeline)
);

/// A pipeline was canceled for the sake of a newer one of its branch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PipelineSuperseded {
    /// The project.
    pub project: ProjectId,
    /// The pipeline.
    pub pipeline: PipelineId,
    /// The newer one.
    pub by: PipelineId,
    /// Jobs that were canceled.
    pub jobs: i64,
    /// Whether it was the whole pipeline, or only those of its jobs that may be interrupted.
    pub whole: bool,
}
fact!(
    PipelineSuperseded,
    "pipeline.superseded",
    |f| Some(f.project),
    |f| format!("pipeline:{}", f.pipeline),
    |f| format!(
        "canceled {} jobs of pipeline {} for the newer pipeline {}",
        f.jobs, f.pipeline, f.by
    )
);

/// A job deployed to an environment that it names, or one was taken down.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CiEnvironmentChanged {
    /// The project.
    pub project: ProjectId,
    /// The environment's name.
    pub environment: String,
    /// `production`, `staging`, `testing`, `development`, `other`.
    pub tier: String,
    /// `deployed`, `stopping`, `stopped`.
    pub change: String,
    /// The pipeline that deployed last.
    pub pipeline: PipelineId,
    /// Its job.
    pub job: JobId,
    /// The commit that was deployed last.
    pub sha: String,
}
fact!(
    CiEnvironmentChanged,
    "ci_environment.changed",
    |f| Some(f.project),
    |f| format!("pipeline:{}", f.pipeline),
    |f| match f.change.as_str() {
        "deployed" => format!("job {} deployed {} to {}", f.job, short(&f.sha), f.environment),
        change => format!("the environment {} is {change}", f.environment),
    }
);
