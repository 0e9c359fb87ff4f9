//! Environments as jobs name them (`environment`): where they answer, what was deployed there last, and how they are
//! taken down. Who deploys is the job's own script; environments that the platform itself deploys to are delivery's.

pub(crate) mod api;
mod pages;
mod service;
pub(crate) mod store;

use bascule_core::{JobId, PipelineId, ProjectId, Timestamp};
use bascule_store::row;
use bascule_wire::ci as wire;

/// How an environment stands.
pub mod state {
    /// It is there.
    pub const AVAILABLE: &str = "available";
    /// Its stop job runs.
    pub const STOPPING: &str = "stopping";
    /// It was taken down.
    pub const STOPPED: &str = "stopped";
}

row! {
    /// An environment as stored.
    #[derive(Clone, Debug)]
    pub struct Environment {
        /// Its number.
        pub id: i64,
        /// The project.
        pub project_id: ProjectId,
        /// Its name, with variables replaced.
        pub name: String,
        /// `production`, `staging`, `testing`, `development`, `other`.
        pub tier: String,
        /// One of [`state`].
        pub state: String,
        /// Where it answers.
        pub url: Option<String>,
        /// The branch or tag that was deployed last.
        pub reference: String,
        /// The job that takes it down.
        pub on_stop: Option<String>,
        /// When it is taken down by itself.
        pub auto_stop_at: Option<Timestamp>,
        /// The job that deployed last.
        pub job_id: JobId,
        /// Its pipeline.
        pub pipeline_id: PipelineId,
        /// The commit that was deployed last.
        pub sha: String,
        /// Who started that pipeline.
        pub actor_name: String,
        /// When.
        pub deployed_at: Timestamp,
        /// When its state last changed.
        pub changed_at: Timestamp,
    }
}

impl Environment {
    /// As the API tells it.
    #[must_use]
    pub fn to_wire(&self) -> wire::CiEnvironment {
        wire::CiEnvironment {
            id: self.id,
            name: self.name.clone(),
            slug: crate::pipeline::slug(&self.name),
            tier: self.tier.clone(),
            state: self.state.clone(),
            url: self.url.clone(),
            auto_stop_at: self.auto_stop_at,
            on_stop: self.on_stop.clone(),
            last_deployment: wire::CiDeployment {
                job: self.job_id,
                pipeline: self.pipeline_id,
                reference: self.reference.clone(),
                sha: self.sha.clone(),
                actor: self.actor_name.clone(),
                at: self.deployed_at,
            },
        }
    }
}
