//! Jobs: one script of a pipeline, run by a runner.

mod access;
pub mod ansi;
pub mod api;
mod archive;
pub(crate) mod artifact;
pub(crate) mod browse;
mod cache;
mod follow;
mod hearing;
mod id_token;
pub(crate) mod log;
pub(crate) mod manual;
mod pages;
mod payload;
mod pending;
mod release;
mod service;
mod sheet;
pub(crate) mod store;

use crate::{
    config::{AllowFailure, JobSpec, Need, When},
    pipeline::state::{Track, ready},
    status::JobStatus,
};
use bascule_core::{JobId, PipelineId, ProjectId, RunnerId, Timestamp};
use bascule_store::{Json, row};
use bascule_wire::{ci as wire, runner};

pub use access::JOB_TOKENS;
pub(crate) use access::{MISSING_DEPENDENCY, routes as access_routes};
pub(crate) use archive::Given as FileGiven;
pub use artifact::{Artifact, UPLOADS};
pub use cache::CACHES;
pub use follow::JobIdentity;
pub use hearing::Hearing;
pub use id_token::ID_KEY;
pub(crate) use id_token::{Signer, routes as id_token_routes};
pub use log::LARGE_PIECES;
pub use manual::Given;
pub(crate) use pages::InputField;
pub(crate) use service::runner_actor;
pub use service::{Failure, Outcome};
pub(crate) use sheet::Lines;
pub use store::STANDING;
pub use store::{LAST_TOKENS, RELEASES_WAIT};

row! {
    /// A job as stored.
    #[derive(Clone, Debug)]
    pub struct Job {
        /// The job.
        pub id: JobId,
        /// Its pipeline.
        pub pipeline_id: PipelineId,
        /// Its project.
        pub project_id: ProjectId,
        /// Its name.
        pub name: String,
        /// Its stage.
        pub stage: String,
        /// Index of the stage in the pipeline.
        pub stage_index: i64,
        /// Place within the pipeline.
        pub position: i64,
        /// How it stands.
        pub status: JobStatus,
        /// When it runs.
        pub run_when: Json<When>,
        /// Whether its failure leaves the pipeline alone.
        pub allow_failure: Json<AllowFailure>,
        /// Jobs that it waits for; `None` is all of the earlier stages.
        pub needs: Option<Json<Vec<Need>>>,
        /// Jobs whose artifacts it takes; `None` is those it waits for.
        pub dependencies: Option<Json<Vec<String>>>,
        /// Variables of file, matrix, rule and person.
        pub variables: Json<Vec<runner::Variable>>,
        /// What the runner is told.
        pub spec: Json<JobSpec>,
        /// What a runner must offer.
        pub tags: Json<Vec<String>>,
        /// Jobs of one resource group run one at a time; its name with variables replaced.
        pub resource_group: Option<String>,
        /// Whether it makes another pipeline (`trigger`) rather than run on a runner.
        pub bridge: bool,
        /// The pipeline that it made, for a bridge.
        pub downstream_id: Option<PipelineId>,
        /// Name of the group's required pipeline that it belongs to; `None` for the project's own jobs.
        pub required: Option<String>,
        /// Whether the project's own jobs wait for it.
        pub gate: bool,
        /// Seconds to wait before it begins (`when: delayed`).
        pub start_in: Option<i64>,
        /// When it begins by itself, while it waits for its time.
        pub run_at: Option<Timestamp>,
        /// Longest run, in seconds.
        pub timeout: i64,
        /// The runner that has or had it.
        pub runner_id: Option<RunnerId>,
        /// Why it failed, by GitLab's words.
        pub failure_reason: Option<String>,
        /// The script's exit code.
        pub exit_code: Option<i64>,
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
        /// When its runner was last heard of.
        pub heard_at: Option<Timestamp>,
        /// Bytes of its log.
        pub trace_bytes: i64,
        /// CRC-32 of its log.
        pub trace_crc: i64,
    }
}

/// Whose a job is, by what is stored of it.
#[must_use]
pub(crate) const fn track(required: bool, gate: bool) -> Track {
    match (required, gate) {
        (false, _) => Track::Own,
        (true, false) => Track::Required,
        (true, true) => Track::Gate,
    }
}

impl Job {
    /// Whether its failure, as it stands, leaves the pipeline alone.
    #[must_use]
    pub fn failure_allowed(&self) -> bool {
        self.allow_failure.0.stands(self.status, self.exit_code)
    }

    /// Whose it is.
    #[must_use]
    pub fn track(&self) -> Track {
        track(self.required.is_some(), self.gate)
    }

    /// How it stands once nothing before it holds it up.
    #[must_use]
    pub fn ready(&self) -> JobStatus {
        ready(self.bridge, self.resource_group.is_some())
    }

    /// Names of the jobs that it waits for.
    #[must_use]
    pub fn need_names(&self) -> Option<Vec<String>> {
        self.needs
            .as_ref()
            .map(|needs| needs.0.iter().map(|need| need.job.clone()).collect())
    }

    /// As the API tells it.
    #[must_use]
    pub fn to_wire(&self, artifacts: &[Artifact]) -> wire::Job {
        wire::Job {
            id: self.id,
            pipeline: self.pipeline_id,
            name: self.name.clone(),
            stage: self.stage.clone(),
            status: self.status.to_string(),
            allow_failure: self.failure_allowed(),
            needs: self.need_names(),
            tags: self.tags.0.clone(),
            required: self.required.clone(),
            downstream: self.downstream_id,
            run_at: self.run_at.filter(|_| self.status == JobStatus::Scheduled),
            resource_group: self.resource_group.clone(),
            failure_reason: self.failure_reason.clone(),
            exit_code: self.exit_code,
            runner: self.runner_id,
            retried: self.retried,
            attempt: self.attempt,
            created_at: self.created_at,
            manual_confirmation: self.spec.0.manual_confirmation.clone(),
            queued_at: self.queued_at,
            started_at: self.started_at,
            finished_at: self.finished_at,
            log_bytes: self.trace_bytes,
            artifacts: artifacts
                .iter()
                .filter(|a| a.job_id == self.id)
                .map(Artifact::to_wire)
                .collect(),
        }
    }
}
