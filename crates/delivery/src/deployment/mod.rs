//! Deployments: one release put in one environment; and the instances that run it.

pub(crate) mod cancel;
pub(crate) mod create;
pub(crate) mod instances;
pub(crate) mod store;

use crate::product::Product;
use bascule_core::{DeploymentId, Digest, EnvironmentId, InstanceId, ProjectId, ReleaseId, Timestamp};
use bascule_store::{Json, row};
use bascule_wire::agent::{InstanceState, SmokeResult};

pub use create::Order;

/// Where a deployment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Its instance is not proven yet.
    Starting,
    /// It takes traffic in steps.
    RollingOut,
    /// It took all traffic.
    Succeeded,
    /// It never took traffic.
    Failed,
    /// It took traffic and was undone.
    RolledBack,
    /// Another one came before it was proven.
    Superseded,
    /// A person took it back before it took traffic.
    Canceled,
}

impl Status {
    const ALL: [Self; 7] = [
        Self::Starting,
        Self::RollingOut,
        Self::Succeeded,
        Self::Failed,
        Self::RolledBack,
        Self::Superseded,
        Self::Canceled,
    ];

    /// As stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::RollingOut => "rolling_out",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::RolledBack => "rolled_back",
            Self::Superseded => "superseded",
            Self::Canceled => "canceled",
        }
    }

    /// Reads a stored status; what is unknown has failed.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        Self::ALL
            .into_iter()
            .find(|status| status.as_str() == text)
            .unwrap_or(Self::Failed)
    }
}

row! {
    /// A deployment.
    #[derive(Clone, Debug)]
    pub(crate) struct Deployment {
        pub id: DeploymentId,
        pub project_id: ProjectId,
        pub environment_id: EnvironmentId,
        pub release_id: ReleaseId,
        pub version: String,
        pub cause: String,
        pub actor: String,
        pub status: String,
        pub reason: String,
        pub forced: String,
        pub artifact_digest: Digest,
        pub artifact_size: i64,
        pub artifact_file: String,
        pub product: Json<Product>,
        pub previous_id: Option<DeploymentId>,
        pub created_at: Timestamp,
        pub exposed_at: Option<Timestamp>,
        pub finished_at: Option<Timestamp>,
    }
}

impl Deployment {
    pub fn status(&self) -> Status {
        Status::parse(&self.status)
    }
}

row! {
    /// An instance: what should be, and what its agent last said.
    #[derive(Clone, Debug)]
    pub(crate) struct Instance {
        pub id: InstanceId,
        pub deployment_id: DeploymentId,
        pub environment_id: EnvironmentId,
        pub desired: String,
        pub weight: i64,
        pub state: String,
        pub address: Option<String>,
        pub restarts: i64,
        pub message: String,
        pub smoke: Option<Json<SmokeResult>>,
        pub started_at: Option<Timestamp>,
        pub state_at: Timestamp,
        pub reported_at: Option<Timestamp>,
        pub retired_at: Option<Timestamp>,
        pub retired_revision: Option<i64>,
        /// Whether it stands only to be compared with, as old as the version that is being rolled out.
        pub baseline: bool,
    }
}

/// What should become of an instance.
pub(crate) mod desired {
    /// It should run once its turn comes; no agent hears of it yet.
    pub const HELD: &str = "held";
    /// It should run.
    pub const RUN: &str = "run";
    /// It should end, once requests in flight are done.
    pub const DRAIN: &str = "drain";
    /// It is gone.
    pub const GONE: &str = "gone";
}

impl Instance {
    pub fn state(&self) -> InstanceState {
        parse_state(&self.state)
    }

    /// Whether it may be counted on: it should run and was not taken out of traffic.
    pub fn serves(&self) -> bool {
        self.desired == desired::RUN && self.retired_at.is_none()
    }

    /// The share of traffic that its side has, in percent. The edges spread it over the side's instances.
    pub fn weight(&self) -> u32 {
        u32::try_from(self.weight).unwrap_or(0).min(100)
    }

    /// Whether it is in service: users meet it if it is healthy.
    pub fn in_service(&self) -> bool {
        self.serves() && self.weight > 0
    }

    /// Whether it waits for its turn to be started.
    pub fn held(&self) -> bool {
        self.desired == desired::HELD
    }

    pub fn restarts(&self) -> u32 {
        u32::try_from(self.restarts).unwrap_or(0)
    }
}

const STATES: [(InstanceState, &str); 8] = [
    (InstanceState::Fetching, "fetching"),
    (InstanceState::Starting, "starting"),
    (InstanceState::Healthy, "healthy"),
    (InstanceState::Unhealthy, "unhealthy"),
    (InstanceState::Crashed, "crashed"),
    (InstanceState::Failed, "failed"),
    (InstanceState::Draining, "draining"),
    (InstanceState::Stopped, "stopped"),
];

/// A state as stored and shown.
#[must_use]
pub fn state_name(state: InstanceState) -> &'static str {
    STATES
        .iter()
        .find(|(known, _)| *known == state)
        .map_or("starting", |(_, name)| name)
}

/// Reads a stored state.
#[must_use]
pub fn parse_state(text: &str) -> InstanceState {
    STATES
        .iter()
        .find(|(_, name)| *name == text)
        .map_or(InstanceState::Starting, |(state, _)| *state)
}
