//! Agents and edges: the programs that carry deliveries out. They call, the server answers; what each
//! should know has a revision, and a call that knows the present one hangs until it changes.

pub(crate) mod agents;
pub(crate) mod api;
pub(crate) mod edges;
pub(crate) mod enrol;
pub(crate) mod enrol_store;
pub(crate) mod members;
pub(crate) mod pulls;
pub(crate) mod schema;
pub(crate) mod store;

pub use pulls::PULL_SECRET;

use bascule_core::{AgentId, Timestamp};
use bascule_store::row;
use std::time::Duration;

/// Silence after which an agent counts as offline.
pub const AGENT_SILENCE: Duration = Duration::from_secs(15);
/// Longest that an agent's call hangs: well within [`AGENT_SILENCE`], so that each call is a sign of life.
pub const AGENT_WAIT: Duration = Duration::from_secs(10);
/// Longest that an edge's call hangs.
pub const EDGE_WAIT: Duration = Duration::from_secs(20);
/// Silence after which nobody waits for an edge to know a new configuration.
pub const EDGE_SILENCE: Duration = Duration::from_secs(45);
/// How often a sign of life is written down.
pub const SEEN_EVERY: Duration = Duration::from_secs(8);
/// A report that is older than the last one by no more than this was overtaken; by more, the agent's clock was
/// set back.
pub const OVERTAKEN: Duration = Duration::from_secs(60);

/// How long an enrolment code is good.
pub const CODE_LIFE: Duration = Duration::from_secs(15 * 60);
/// An agent's clock may differ from the server's by this much.
pub const SKEW: Duration = Duration::from_secs(60);

/// Which revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Channel {
    Agent,
    Edge,
}

impl Channel {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Edge => "edge",
        }
    }
}

row! {
    /// An agent.
    #[derive(Clone, Debug)]
    pub struct Agent {
        /// The agent.
        pub id: AgentId,
        /// Its name.
        pub name: String,
        /// Its version; empty until it reported.
        pub version: String,
        /// Whether it reports.
        pub online: bool,
        /// When it last did.
        pub seen_at: Option<Timestamp>,
        /// Its clock against the server's, in milliseconds.
        pub skew_ms: i64,
        /// Whether that is too much.
        pub skewed: bool,
        /// Free space where it unpacks, in bytes.
        pub disk_free: i64,
    }
}

row! {
    #[derive(Clone, Debug)]
    pub(crate) struct Edge {
        pub name: String,
        pub acked: i64,
        pub seen_at: Option<Timestamp>,
    }
}
