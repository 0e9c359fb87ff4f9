//! Runners: programs that ask for jobs. The protocol they speak is GitLab's.

pub mod api;
pub(crate) mod fair;
mod migrations;
mod pages;
mod protocol;
pub(crate) mod queue;
mod request;
mod service;
pub(crate) mod store;
pub(crate) mod upload;

use bascule_core::{ProjectId, RunnerId, Timestamp};
use bascule_store::{Json, row};
use bascule_wire::ci as wire;
use std::time::Duration;

pub use migrations::QUEUE;
pub(crate) use protocol::routes as protocol_routes;
pub(crate) use request::Capability;
pub use service::NewRunner;

row! {
    /// A runner as stored.
    #[derive(Clone, Debug)]
    pub struct Runner {
        /// The runner.
        pub id: RunnerId,
        /// Its number in the protocol.
        pub number: i64,
        /// What people call it.
        pub description: String,
        /// Its tags.
        pub tags: Json<Vec<String>>,
        /// Whether it takes jobs without tags.
        pub run_untagged: bool,
        /// Whether it takes no jobs for now.
        pub paused: bool,
        /// Whether it takes jobs of protected branches and tags only.
        pub protected: bool,
        /// Whether it stays with the projects that it has.
        pub locked: bool,
        /// Whom it serves: `instance`, `group` or `project`.
        pub scope: String,
        /// The group that it serves, where it is a group's.
        pub group_name: Option<String>,
        /// How it runs jobs, in its own word.
        pub executor: String,
        /// Longest job it takes, in seconds.
        pub maximum_timeout: Option<i64>,
        /// The program's version.
        pub version: String,
        /// Operating system and architecture.
        pub platform: String,
        /// When it was made.
        pub created_at: Timestamp,
        /// When it was last heard of.
        pub contacted_at: Option<Timestamp>,
    }
}

/// A runner that was not heard of for so long is told as offline: as long as until its jobs are given up. It asks anew
/// after half a minute at most, and what it says of its jobs counts too.
const OFFLINE_AFTER: Duration = Duration::from_secs(60);

/// Whose jobs a runner takes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reach {
    /// Everyone's.
    Instance,
    /// Those of a group's projects.
    Group(String),
    /// Those of some projects.
    Projects(Vec<ProjectId>),
}

impl Reach {
    /// Whether a project of a group is served.
    #[must_use]
    pub fn covers(&self, project: ProjectId, group: &str) -> bool {
        match self {
            Self::Instance => true,
            Self::Group(name) => name == group,
            Self::Projects(list) => list.contains(&project),
        }
    }
}

impl Reach {
    /// Whether a job with this demand is served.
    pub(crate) fn serves(&self, demand: &fair::Demand, group: &str) -> bool {
        self.covers(demand.project, group) && !(demand.required && matches!(self, Self::Projects(_)))
    }
}

impl Runner {
    /// Whether it was heard of lately.
    #[must_use]
    pub fn is_online(&self, now: Timestamp) -> bool {
        self.contacted_at.is_some_and(|at| now.since(at) < OFFLINE_AFTER)
    }

    /// Whether it may take a job with these tags.
    #[must_use]
    pub fn matches(&self, tags: &[String]) -> bool {
        if tags.is_empty() {
            self.run_untagged
        } else {
            tags.iter().all(|tag| self.tags.0.contains(tag))
        }
    }

    /// Whether it may take a job with these tags of a branch or tag that is protected or not.
    #[must_use]
    pub fn takes(&self, tags: &[String], protected: bool) -> bool {
        self.matches(tags) && (protected || !self.protected)
    }

    /// As the API tells it.
    #[must_use]
    pub fn to_wire(&self, now: Timestamp) -> wire::Runner {
        wire::Runner {
            id: self.id,
            number: self.number,
            description: self.description.clone(),
            tags: self.tags.0.clone(),
            run_untagged: self.run_untagged,
            paused: self.paused,
            protected: self.protected,
            locked: self.locked,
            scope: self.scope.clone(),
            group: self.group_name.clone(),
            maximum_timeout: self.maximum_timeout,
            executor: self.executor.clone(),
            held: 0,
            jobs: Vec::new(),
            version: self.version.clone(),
            platform: self.platform.clone(),
            online: self.is_online(now),
            contacted_at: self.contacted_at,
            created_at: self.created_at,
        }
    }
}
