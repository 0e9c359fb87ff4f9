//! The merge queue: requests for one branch, in order. The first few are merged on top of each other as a trial,
//! each trial gets a pipeline, and the branch moves only to a trial whose pipeline passed and before which all
//! passed. So what people see on the branch was tested exactly as it is.
//!
//! Everything stands in tables: a round looks at what is there, does the next thing, and can be cut off anywhere.

pub(crate) mod api;
pub(crate) mod pages;
mod service;
pub(crate) mod store;

use bascule_core::{Actor, ActorKind, MergeRequestId, ProjectId, Timestamp};
use bascule_store::row;

row! {
    /// A request that waits in a queue.
    #[derive(Clone, Debug)]
    pub(crate) struct Entry {
        pub(crate) merge_request_id: MergeRequestId,
        pub(crate) project_id: ProjectId,
        pub(crate) iid: i64,
        pub(crate) target_branch: String,
        pub(crate) position: i64,
        /// The commit that is to be merged.
        pub(crate) head: String,
        pub(crate) strategy: String,
        pub(crate) delete_source: bool,
        pub(crate) actor_kind: String,
        pub(crate) actor_id: String,
        pub(crate) actor_name: String,
        /// What the trial stands on.
        pub(crate) base_sha: Option<String>,
        /// The trial.
        pub(crate) sha: Option<String>,
        /// Whether CI was asked for a pipeline of the trial.
        pub(crate) started: bool,
        /// The trial's pipeline, if CI made one.
        pub(crate) pipeline: Option<i64>,
        pub(crate) at: Timestamp,
    }
}

/// The condition that tells of a request which the queue found to break its branch.
pub(crate) const CONDITION: &str = "merge_queue";

row! {
    /// Why a request was last taken out of a queue.
    #[derive(Clone, Debug)]
    pub(crate) struct Left {
        pub(crate) reason: String,
        pub(crate) detail: String,
        pub(crate) pipeline: Option<i64>,
        pub(crate) at: Timestamp,
    }
}

impl Entry {
    pub(crate) fn actor(&self) -> Actor {
        Actor::new(
            ActorKind::parse(&self.actor_kind),
            self.actor_id.clone(),
            self.actor_name.clone(),
        )
    }

    /// Where the trial is kept.
    pub(crate) fn reference(&self) -> String {
        reference(self.iid)
    }
}

/// Where a trial is kept. A request is in one queue at most, so its number is enough of a name; a branch's name in
/// it could stand in the way of another's.
pub(crate) fn reference(iid: i64) -> String {
    format!("refs/merge-queue/{iid}")
}
