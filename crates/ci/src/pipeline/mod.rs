//! Pipelines: one run of a project's jobs for a commit.

pub mod api;
mod create;
pub mod graph;
pub(crate) mod guard;
mod links;
mod pages;
mod predefined;
mod prepare;
pub(crate) mod run;
mod service;
mod settings;
pub(crate) mod show;
pub mod state;
pub(crate) mod store;

use crate::{fault::Fault, status::PipelineStatus};
use bascule_core::{JobId, PipelineId, ProjectId, Timestamp};
use bascule_store::{Json, row};
use bascule_wire::ci as wire;

/// The source of what a bridge makes within its project.
pub(crate) const CHILD: &str = "parent_pipeline";
/// The source of what a bridge makes in another project.
/// Longest commit message that is kept, in characters.
const MESSAGE: usize = 10_000;
pub(crate) const DOWNSTREAM: &str = "pipeline";

pub use create::{Child, Created, More, Start, Upstream};
pub use links::Links;
pub(crate) use pages::{PipelineLine, line, status_badge};
pub(crate) use predefined::{
    ZERO, config_uri, of_job as predefined_of_job, of_person, of_pipeline as predefined_of_pipeline, slug,
};
pub(crate) use prepare::{Ask, Text};
pub(crate) use service::{TRAIN, milliseconds};
pub use settings::{MergeRequest, Settings};
pub(crate) use state::{Standing, summarize};

row! {
    /// A pipeline as stored.
    #[derive(Clone, Debug)]
    pub struct Pipeline {
        /// The pipeline.
        pub id: PipelineId,
        /// The project.
        pub project_id: ProjectId,
        /// Branch or tag name.
        pub reference: String,
        /// Whether it is a tag's.
        pub tag: bool,
        /// The commit.
        pub sha: String,
        /// The commit before the push.
        pub before_sha: Option<String>,
        /// What started it: `push`, `web`, `api`.
        pub source: String,
        /// Its name, if the file gives one.
        pub name: Option<String>,
        /// The commit's message.
        pub message: String,
        /// Whether the branch or tag is protected.
        pub protected: bool,
        /// How it stands.
        pub status: PipelineStatus,
        /// Its stages in order.
        pub stages: Json<Vec<String>>,
        /// What is wrong with the CI file, where that is why it failed.
        pub faults: Json<Vec<Fault>>,
        /// What is worth telling about the CI file.
        pub warnings: Json<Vec<Fault>>,
        /// Variables given by who started it.
        pub variables: Json<Vec<bascule_wire::runner::Variable>>,
        /// Digest of the CI file.
        pub ci_file_digest: Option<bascule_core::Digest>,
        /// Who started it.
        pub actor_name: String,
        /// The pipeline whose bridge made it.
        pub parent_id: Option<PipelineId>,
        /// The bridge that made it.
        pub parent_job_id: Option<JobId>,
        /// The first of those that led to it, which nobody's bridge made; `None` where that is itself.
        pub root_id: Option<PipelineId>,
        /// How many bridges lead to it.
        pub depth: i64,
        /// For a merged result: the request's own commit, which the pipeline stands for.
        pub head_sha: Option<String>,
        /// What it was made with.
        pub settings: Json<Settings>,
        /// When it was created.
        pub created_at: Timestamp,
        /// When its first job started.
        pub started_at: Option<Timestamp>,
        /// When it ended.
        pub finished_at: Option<Timestamp>,
    }
}

impl Pipeline {
    /// First line of the commit's message.
    #[must_use]
    pub fn title(&self) -> &str {
        self.message.lines().next().unwrap_or_default()
    }

    /// As the API tells it.
    #[must_use]
    pub fn to_wire(&self) -> wire::Pipeline {
        wire::Pipeline {
            id: self.id,
            project: self.project_id,
            reference: self.reference.clone(),
            tag: self.tag,
            sha: self.sha.clone(),
            source: self.source.clone(),
            name: self.name.clone(),
            title: self.title().to_owned(),
            status: self.status.to_string(),
            actor: self.actor_name.clone(),
            upstream: self.parent_id,
            merge_request: self.settings.0.merge_request.as_ref().map(|request| request.iid),
            schedule: self.settings.0.schedule,
            canceled_for: self.settings.0.canceled_for,
            created_at: self.created_at,
            started_at: self.started_at,
            finished_at: self.finished_at,
            faults: wire_faults(&self.faults.0),
            warnings: wire_faults(&self.warnings.0),
        }
    }
}

/// Faults as the API tells them.
#[must_use]
pub fn wire_faults(faults: &[Fault]) -> Vec<wire::CiFault> {
    faults
        .iter()
        .map(|fault| wire::CiFault {
            file: fault.file_name().to_owned(),
            line: fault.pos.line,
            column: fault.pos.column,
            message: fault.reason(),
        })
        .collect()
}
