//! Agents and edges: the programs that carry deliveries out. They call, the server answers; what each
//! should know has a revision, and a call that knows the present one hangs until it changes.

pub(crate) mod agents;
pub(crate) mod api;
pub mod authority;
pub(crate) mod bells;
pub(crate) mod certificate_store;
pub(crate) mod certificates;
pub(crate) mod edges;
pub(crate) mod enrol;
pub(crate) mod enrol_store;
pub(crate) mod members;
pub(crate) mod schema;
pub(crate) mod signs;
pub(crate) mod store;

use bascule_core::{AgentId, Timestamp};
use bascule_store::row;
use std::time::Duration;

/// Silence after which an agent counts as offline.
pub const AGENT_SILENCE: Duration = Duration::from_secs(15);
/// Longest that an agent's call hangs while something is under way for it: well within [`AGENT_SILENCE`], so that
/// each call is a sign of life.
pub const AGENT_WAIT: Duration = Duration::from_secs(10);
/// Longest that an agent's call hangs at rest. As long as it hangs the agent is there; it counts as silent
/// [`AGENT_SILENCE`] after its connection was lost, or after the call should have ended.
pub const AGENT_REST: Duration = Duration::from_secs(240);
/// Longest that an edge's call hangs.
pub const EDGE_WAIT: Duration = Duration::from_secs(20);
/// Silence after which nobody waits for an edge to know a new configuration.
pub const EDGE_SILENCE: Duration = Duration::from_secs(45);
/// How often a sign of life is written down at once: of an agent for which something is under way, and of edges.
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
        /// Goes up with everything that it is told.
        pub revision: i64,
        /// The digest of the last report that was taken.
        pub said: String,
        /// The revision that the last report was taken at.
        pub said_revision: i64,
        /// When it counts as silent unless it is heard.
        pub silent_at: Option<Timestamp>,
    }
}

impl Agent {
    /// Whether it reports at this moment, as far as the last sign of life tells.
    pub(crate) fn is_heard(&self, now: Timestamp) -> bool {
        let until = self.silent_at.or(self.seen_at.map(|at| at.plus(AGENT_SILENCE)));
        self.online && until.is_some_and(|until| until >= now)
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
