//! Approvals: given for one state of a change, weighed anew each time.

pub(crate) mod api;
mod check;
mod demands;
mod freshness;
mod people;
mod service;
mod settings;
pub(crate) mod store;
mod writers;

pub(crate) use freshness::Memory;
pub(crate) use service::{Weighed, reviewer};

use bascule_core::{GroupId, Timestamp, UserId};
use bascule_store::row;

row! {
    /// What a project asks of reviews.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Settings {
        /// How many must approve each request.
        pub(crate) approvals: i64,
        /// Whether owners of files must approve.
        pub(crate) code_owners: bool,
        /// Whether whoever wrote or pushed a part may not approve.
        pub(crate) writers_barred: bool,
        /// Whether approvals stop counting when the change becomes another one.
        pub(crate) reset_on_change: bool,
        /// Whether threads must be resolved before a merge.
        pub(crate) resolve_threads: bool,
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            approvals: 0,
            code_owners: true,
            writers_barred: true,
            reset_on_change: true,
            resolve_threads: false,
        }
    }
}

row! {
    /// A team that must approve.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub(crate) struct Team {
        pub(crate) name: String,
        pub(crate) group_id: GroupId,
        pub(crate) required: i64,
    }
}

row! {
    /// An approval as kept.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub(crate) struct Given {
        pub(crate) user_id: UserId,
        pub(crate) user_name: String,
        pub(crate) head: String,
        /// What the change stood on; empty of old ones.
        pub(crate) base: String,
        pub(crate) target_branch: String,
        pub(crate) told_stale: bool,
        pub(crate) at: Timestamp,
    }
}

row! {
    /// What someone is to a request.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub(crate) struct Involved {
        pub(crate) user_id: UserId,
        pub(crate) user_name: String,
        pub(crate) reviewer: bool,
        pub(crate) assignee: bool,
        /// `commented`, `approved`, `changes_requested`; empty while nothing was said.
        pub(crate) verdict: String,
        /// The head that the verdict is about.
        pub(crate) head: String,
    }
}

/// As kept: what someone said who wants changes.
pub(crate) const CHANGES: &str = "changes_requested";
/// As kept: what someone said who approved.
pub(crate) const APPROVED: &str = "approved";
/// As kept: what someone said who only commented.
pub(crate) const COMMENTED: &str = "commented";

impl Involved {
    /// Somebody who is nothing yet.
    pub(crate) fn nobody(user_id: UserId, user_name: &str) -> Self {
        Self {
            user_id,
            user_name: user_name.to_owned(),
            reviewer: false,
            assignee: false,
            verdict: String::new(),
            head: String::new(),
        }
    }

    /// As the API tells it.
    pub(crate) fn state(&self) -> &str {
        if self.verdict.is_empty() {
            "waiting"
        } else {
            &self.verdict
        }
    }
}
