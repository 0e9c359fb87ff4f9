//! Merge requests: a branch that asks to be taken into another, with what holds it.
//!
//! The commit that a request would merge is kept in the asked project under `refs/merge-requests/IID/head`, and
//! each earlier one under `…/vN`, so that neither a forced push nor the end of a fork takes away what was looked
//! at. A push makes a new version when its fact is heard; whoever merges brings the request up to date first,
//! under the project's lock, so that nobody merges what was not checked.

pub(crate) mod api;
pub(crate) mod api_more;
pub(crate) mod checks;
pub(crate) mod conflicts;
mod keep;
pub(crate) mod merge;
pub(crate) mod notice;
pub(crate) mod options;
pub(crate) mod pages;
mod range;
pub(crate) mod read;
mod replay;
pub(crate) mod service;
pub(crate) mod settings;
pub(crate) mod store;
pub(crate) mod subscriptions;
pub(crate) mod text;

pub use checks::{Check, CheckState};
pub use merge::MergedCommit;
pub(crate) use merge::held;
pub(crate) use service::{ended, may_edit, source_gone};
pub use settings::{Settings, Strategy};

use bascule_core::{Actor, ActorKind, MergeRequestId, ProjectId, Timestamp, UserId};
use bascule_store::{Column, Row, ToSql, Value, row};

/// Where a request stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It waits.
    Open,
    /// Its commits are in the target branch.
    Merged,
    /// It was given up.
    Closed,
}

impl State {
    /// As stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Merged => "merged",
            Self::Closed => "closed",
        }
    }

    /// Reads a stored state.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Open, Self::Merged, Self::Closed]
            .into_iter()
            .find(|state| state.as_str() == text)
    }
}

impl Column for State {
    fn read_opt(row: &Row, name: &str) -> bascule_store::Result<Option<Self>> {
        Ok(String::read_opt(row, name)?.map(|text| Self::parse(&text).unwrap_or(Self::Closed)))
    }
}

impl ToSql for State {
    fn to_sql(&self) -> Value {
        self.as_str().to_sql()
    }
}

row! {
    /// A merge request.
    #[derive(Clone, Debug)]
    pub struct MergeRequest {
        /// Its identifier.
        pub id: MergeRequestId,
        /// The project that it asks.
        pub project_id: ProjectId,
        /// Its number within the project.
        pub iid: i64,
        /// Its title, one line.
        pub title: String,
        /// Its description, Markdown.
        pub description: String,
        /// Where the commits come from.
        pub source_project_id: ProjectId,
        /// The branch that they come from.
        pub source_branch: String,
        /// The branch that they are to go to.
        pub target_branch: String,
        /// Who opened it, where it was a person.
        pub author_id: Option<UserId>,
        /// What they were called.
        pub author_name: String,
        /// Where it stands in its life.
        pub state: State,
        /// Whether it is a draft.
        pub draft: bool,
        /// The commit that is to be merged.
        pub head: String,
        /// The newest commit that source and target had in common.
        pub base: String,
        /// The number of its present version.
        pub version: i64,
        /// Facts of the ledger up to this number were heard.
        pub heard: i64,
        /// Whether the source branch is gone.
        pub source_gone: bool,
        /// Whether the source branch is deleted with the merge.
        pub delete_source: bool,
        /// Who asked that it be merged once all checks pass.
        pub auto_id: Option<String>,
        /// Their kind.
        pub auto_kind: Option<String>,
        /// What they were called.
        pub auto_name: Option<String>,
        /// The strategy that they chose, if they did.
        pub auto_strategy: Option<String>,
        /// The commit that the merge made.
        pub merge_sha: Option<String>,
        /// Where the target branch stood before the merge.
        pub merge_before: Option<String>,
        /// Who merged or closed it.
        pub ended_by: Option<String>,
        /// When it was opened.
        pub created_at: Timestamp,
        /// When something of it changed last.
        pub updated_at: Timestamp,
        /// When it was merged or closed.
        pub ended_at: Option<Timestamp>,
    }
}

row! {
    /// One state of what a request would merge.
    #[derive(Clone, Debug)]
    pub struct Version {
        /// From 1.
        pub number: i64,
        /// The commit that was to be merged.
        pub head: String,
        /// What its changes are shown against.
        pub base: String,
        /// Whether commits of the version before were taken out.
        pub forced: bool,
        /// How many commits it has.
        pub commit_count: i64,
        /// Who pushed it, by identifier within their kind.
        pub by_id: String,
        /// What they were called.
        pub by_name: String,
        /// When.
        pub at: Timestamp,
    }
}

impl MergeRequest {
    /// Who asked that it be merged once all checks pass.
    #[must_use]
    pub fn auto(&self) -> Option<Actor> {
        let (id, kind, name) = (
            self.auto_id.as_ref()?,
            self.auto_kind.as_ref()?,
            self.auto_name.as_ref()?,
        );
        Some(Actor::new(ActorKind::parse(kind), id.clone(), name.clone()))
    }

    /// Whether it comes from another project.
    #[must_use]
    pub fn is_fork(&self) -> bool {
        self.source_project_id != self.project_id
    }
}

/// Reads hostile bytes with every reader of this room.
pub(crate) fn hostile(data: &[u8]) {
    drop(merge::parse(data));
    let Ok(read) = std::str::from_utf8(data) else {
        return;
    };
    drop(text::title(read));
    drop(text::closes(read));
    if text::check_template(read).is_ok() {
        drop(text::fill(read, ToOwned::to_owned));
    }
    if let Some(pieces) = conflicts::pieces(read, "one", "two") {
        drop(conflicts::assemble(&pieces, &[conflicts::Take::Both]));
    }
    for line in read.lines() {
        range::class(line);
    }
}
