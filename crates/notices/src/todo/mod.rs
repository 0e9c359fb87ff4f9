//! To-dos: what waits for one person. As in GitLab, one waits per person, target and reason: what happens again makes
//! it new instead of making another.

pub(crate) mod api;
mod meaning;
pub(crate) mod pages;
pub(crate) mod service;
pub(crate) mod store;
mod subscriptions;

pub use service::Filter;
pub use subscriptions::{Conflicts, Tell};

pub(crate) use meaning::{Meaning, Settle};

use crate::ports::Target;
use bascule_core::{IssueId, MergeRequestId, ProjectId, Timestamp, TodoId};

/// Why something waits for someone; GitLab's words where it has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// They were given it.
    Assigned,
    /// They are asked to review it.
    ReviewRequested,
    /// Their approval is waited for, as a member of a required team or an owner of files.
    ApprovalRequired,
    /// They were spoken to.
    Mentioned,
    /// Someone spoke in a thread in which they had spoken.
    Replied,
    /// Someone spoke on their request.
    Commented,
    /// Their request was reviewed.
    ReviewSubmitted,
    /// Their request cannot be merged any more.
    Unmergeable,
    /// Their request was thrown out of the merge queue.
    MergeTrainRemoved,
    /// The merge that they asked for once all is met was taken back.
    AutoMergeDropped,
    /// The pipeline of their request failed.
    BuildFailed,
}

impl Action {
    /// All.
    pub const ALL: [Self; 11] = [
        Self::Assigned,
        Self::ReviewRequested,
        Self::ApprovalRequired,
        Self::Mentioned,
        Self::Replied,
        Self::Commented,
        Self::ReviewSubmitted,
        Self::Unmergeable,
        Self::MergeTrainRemoved,
        Self::AutoMergeDropped,
        Self::BuildFailed,
    ];

    /// As stored and written in addresses.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Assigned => "assigned",
            Self::ReviewRequested => "review_requested",
            Self::ApprovalRequired => "approval_required",
            Self::Mentioned => "mentioned",
            Self::Replied => "replied",
            Self::Commented => "commented",
            Self::ReviewSubmitted => "review_submitted",
            Self::Unmergeable => "unmergeable",
            Self::MergeTrainRemoved => "merge_train_removed",
            Self::AutoMergeDropped => "auto_merge_dropped",
            Self::BuildFailed => "build_failed",
        }
    }

    /// Reads the stored word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.as_str() == text)
    }

    /// In words, to be read after the name of whoever did it; of the platform's own there is none.
    #[must_use]
    pub const fn told(self) -> &'static str {
        match self {
            Self::Assigned => "gave it to you",
            Self::ReviewRequested => "asks you for a review",
            Self::ApprovalRequired => "waits for your approval",
            Self::Mentioned => "mentioned you",
            Self::Replied => "answered in a thread of yours",
            Self::Commented => "commented",
            Self::ReviewSubmitted => "reviewed it",
            Self::Unmergeable => "It is in conflict with its target branch",
            Self::MergeTrainRemoved => "It was taken out of the merge queue",
            Self::AutoMergeDropped => "It is not merged by itself any more, as you had asked",
            Self::BuildFailed => "Its pipeline failed",
        }
    }

    /// As a choice in a list.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Assigned => "Assigned",
            Self::ReviewRequested => "Review asked",
            Self::ApprovalRequired => "Approval waited for",
            Self::Mentioned => "Mentioned",
            Self::Replied => "Thread answered",
            Self::Commented => "Commented",
            Self::ReviewSubmitted => "Reviewed",
            Self::Unmergeable => "In conflict",
            Self::MergeTrainRemoved => "Out of the queue",
            Self::AutoMergeDropped => "Merge taken back",
            Self::BuildFailed => "Pipeline failed",
        }
    }

    /// Whether it tells of the platform's doing, which even who caused it should know.
    pub(crate) const fn of_platform(self) -> bool {
        matches!(
            self,
            Self::Unmergeable | Self::MergeTrainRemoved | Self::AutoMergeDropped | Self::BuildFailed
        )
    }

    /// Whether it is news when it happens again while it still waits.
    pub(crate) const fn speaks_again(self) -> bool {
        !matches!(
            self,
            Self::Assigned | Self::ReviewRequested | Self::ApprovalRequired | Self::Unmergeable
        )
    }
}

bascule_store::row! {
    /// A to-do as kept.
    #[derive(Clone, Debug)]
    pub(crate) struct TodoRow {
        pub(crate) id: TodoId,
        pub(crate) project_id: ProjectId,
        pub(crate) action: String,
        pub(crate) target: String,
        pub(crate) target_id: String,
        pub(crate) number: i64,
        pub(crate) anchor: String,
        pub(crate) actor: String,
        pub(crate) at: Timestamp,
        pub(crate) done_at: Option<Timestamp>,
        pub(crate) done_how: Option<String>,
    }
}

impl Target {
    /// The kind as stored and told.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Issue(_) => "issue",
            Self::Request(_) => "merge_request",
        }
    }

    /// The identifier as stored.
    #[must_use]
    pub fn id(self) -> String {
        match self {
            Self::Issue(id) => id.to_string(),
            Self::Request(id) => id.to_string(),
        }
    }

    /// Reads what is stored.
    #[must_use]
    pub fn parse(kind: &str, id: &str) -> Option<Self> {
        match kind {
            "issue" => id.parse::<IssueId>().ok().map(Self::Issue),
            _ => id.parse::<MergeRequestId>().ok().map(Self::Request),
        }
    }

    /// Where it is, as a path of this instance.
    #[must_use]
    pub fn href(self, project: &str, number: i64, anchor: &str) -> String {
        let room = match self {
            Self::Issue(_) => "issues",
            Self::Request(_) => "merge-requests",
        };
        let mark = if anchor.is_empty() { "" } else { "#" };
        format!("/{project}/-/{room}/{number}{mark}{anchor}")
    }
}
