//! Runners: programs that ask for jobs. The protocol they speak is GitLab's.

pub mod api;
mod pages;
mod protocol;
mod request;
mod service;
pub(crate) mod store;

use bascule_core::{RunnerId, Timestamp};
use bascule_store::{Json, row};
use bascule_wire::ci as wire;
use std::time::Duration;

pub(crate) use protocol::routes as protocol_routes;

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

/// A runner that was not heard of for so long is told as offline.
const OFFLINE_AFTER: Duration = Duration::from_secs(120);

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
            version: self.version.clone(),
            platform: self.platform.clone(),
            online: self.is_online(now),
            contacted_at: self.contacted_at,
            created_at: self.created_at,
        }
    }
}
