//! Environments: where a project's releases run.

pub(crate) mod service;
pub(crate) mod store;

use bascule_core::{AgentId, DeploymentId, EnvironmentId, ProjectId, Timestamp};
use bascule_store::row;
use bascule_wire::agent::Tier;

/// The environments that every product gets.
pub const DEFAULT: [(&str, Tier); 2] = [("staging", Tier::Staging), ("production", Tier::Production)];

row! {
    /// An environment.
    #[derive(Clone, Debug)]
    pub struct Environment {
        /// The environment.
        pub id: EnvironmentId,
        /// The project.
        pub project_id: ProjectId,
        /// `group/project`.
        pub project_path: String,
        /// Its name.
        pub name: String,
        /// `staging` or `production`.
        pub tier: String,
        /// The agent that runs its instances.
        pub agent_id: Option<AgentId>,
        /// The deployment that serves.
        pub serving_id: Option<DeploymentId>,
        /// The port that an edge serves it on.
        pub port: Option<i64>,
        /// Where clients reach it.
        pub url: Option<String>,
        /// When it was created.
        pub created_at: Timestamp,
    }
}

impl Environment {
    /// Below production, or production.
    #[must_use]
    pub fn tier(&self) -> Tier {
        parse_tier(&self.tier)
    }

    /// `environment.project.group`, the left part of its host name.
    #[must_use]
    pub fn host(&self) -> String {
        let (group, project) = self
            .project_path
            .split_once('/')
            .unwrap_or(("", &self.project_path));
        format!("{}.{project}.{group}", self.name)
    }
}

/// A tier as stored.
#[must_use]
pub const fn tier_name(tier: Tier) -> &'static str {
    match tier {
        Tier::Staging => "staging",
        Tier::Production => "production",
    }
}

/// A stored tier.
#[must_use]
pub fn parse_tier(text: &str) -> Tier {
    if text == "production" {
        Tier::Production
    } else {
        Tier::Staging
    }
}
