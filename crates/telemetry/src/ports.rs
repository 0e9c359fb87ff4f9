//! What telemetry asks of others. The binary wires it to delivery.

use async_trait::async_trait;
use bascule_core::{EnvironmentId, ProjectId, Result};

/// An environment and what is promised there.
#[derive(Clone, Debug, PartialEq)]
pub struct Environment {
    /// The environment.
    pub id: EnvironmentId,
    /// Its name.
    pub name: String,
    /// `staging` or `production`.
    pub tier: String,
    /// Its project.
    pub project: ProjectId,
    /// The promise, once a product file made one.
    pub objective: Option<Objective>,
}

/// What a product promises its users.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Objective {
    /// Share of requests answered without error, in percent.
    pub availability: f64,
    /// Over this many seconds.
    pub window_seconds: u64,
    /// A request slower than this counts as slow, in milliseconds.
    pub latency_ms: u64,
}

/// Environments and their objectives.
#[async_trait]
pub trait Objectives: Send + Sync {
    /// A project's environments, in any order.
    async fn environments(&self, project: ProjectId) -> Result<Vec<Environment>>;

    /// One environment; `None` if there is none (any more).
    async fn for_environment(&self, environment: EnvironmentId) -> Result<Option<Environment>>;
}
