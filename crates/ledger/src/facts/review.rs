//! Facts about reviews of merge requests. People, threads and comments are named by identifier; what was
//! written stays in its table, so that it can be taken back.

use super::{fact, short};
use bascule_core::{CommentId, MergeRequestId, ProjectId, ThreadId, UserId};
use serde::{Deserialize, Serialize};

/// Who is asked to review changed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReviewersChanged {
    /// The project.
    pub project: ProjectId,
    /// The request.
    pub merge_request: MergeRequestId,
    /// Its number within the project.
    pub iid: i64,
    /// Who is asked now and was not before, or is asked again.
    pub requested: Vec<UserId>,
    /// Who is asked no more.
    pub removed: Vec<UserId>,
}
fact!(
    ReviewersChanged,
    "review.requested",
    |f| Some(f.project),
    |f| format!("merge_request:{}", f.merge_request),
    |f| match (f.requested.len(), f.removed.len()) {
        (0, gone) => format!("no longer asks {gone} to review !{}", f.iid),
        (new, _) => format!("asked {new} to review !{}", f.iid),
    }
);

/// Who a request is assigned to changed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AssigneesChanged {
    /// The project.
    pub project: ProjectId,
    /// The request.
    pub merge_request: MergeRequestId,
    /// Its number within the project.
    pub iid: i64,
    /// Who is new.
    pub assigned: Vec<UserId>,
    /// Who it is assigned to no more.
    pub removed: Vec<UserId>,
}
fact!(
    AssigneesChanged,
    "merge_request.assigned",
    |f| Some(f.project),
    |f| format!("merge_request:{}", f.merge_request),
    |f| format!("changed the assignees of !{}", f.iid)
);

/// A review was sent, with all comments that waited for it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReviewSubmitted {
    /// The project.
    pub project: ProjectId,
    /// The request.
    pub merge_request: MergeRequestId,
    /// Its number within the project.
    pub iid: i64,
    /// Whose it is, where it is a person's.
    pub reviewer: Option<UserId>,
    /// `commented`, `approved` or `changes_requested`.
    pub verdict: String,
    /// How many comments were sent with it.
    pub comments: i64,
    /// Who is mentioned in them.
    pub mentions: Vec<UserId>,
    /// The commit that was reviewed.
    pub head: String,
}
fact!(
    ReviewSubmitted,
    "review.submitted",
    |f| Some(f.project),
    |f| format!("merge_request:{}", f.merge_request),
    |f| format!(
        "reviewed !{} at {}: {}",
        f.iid,
        short(&f.head),
        f.verdict.replace('_', " ")
    )
);

/// A request was approved.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ApprovalGiven {
    /// The project.
    pub project: ProjectId,
    /// The request.
    pub merge_request: MergeRequestId,
    /// Its number within the project.
    pub iid: i64,
    /// Who approved.
    pub user: UserId,
    /// The commit that was approved.
    pub head: String,
}
fact!(
    ApprovalGiven,
    "review.approved",
    |f| Some(f.project),
    |f| format!("merge_request:{}", f.merge_request),
    |f| format!("approved !{} at {}", f.iid, short(&f.head))
);

/// An approval was taken back.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ApprovalWithdrawn {
    /// The project.
    pub project: ProjectId,
    /// The request.
    pub merge_request: MergeRequestId,
    /// Its number within the project.
    pub iid: i64,
    /// Whose it was.
    pub user: UserId,
}
fact!(
    ApprovalWithdrawn,
    "review.approval_withdrawn",
    |f| Some(f.project),
    |f| format!("merge_request:{}", f.merge_request),
    |f| format!("took the approval of !{} back", f.iid)
);

/// Approvals no longer count, since the change is another one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ApprovalsReset {
    /// The project.
    pub project: ProjectId,
    /// The request.
    pub merge_request: MergeRequestId,
    /// Its number within the project.
    pub iid: i64,
    /// Whose they were.
    pub users: Vec<UserId>,
    /// The commit that came.
    pub head: String,
}
fact!(
    ApprovalsReset,
    "review.approvals_reset",
    |f| Some(f.project),
    |f| format!("merge_request:{}", f.merge_request),
    |f| format!(
        "{} approvals of !{} no longer count, as {} changed it",
        f.users.len(),
        f.iid,
        short(&f.head)
    )
);

/// Someone said something.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CommentAdded {
    /// The project.
    pub project: ProjectId,
    /// The request.
    pub merge_request: MergeRequestId,
    /// Its number within the project.
    pub iid: i64,
    /// The discussion.
    pub thread: ThreadId,
    /// The comment.
    pub comment: CommentId,
    /// Whose it is, where it is a person's.
    pub author: Option<UserId>,
    /// Who is mentioned.
    pub mentions: Vec<UserId>,
    /// Who spoke in the discussion before.
    pub participants: Vec<UserId>,
}
fact!(
    CommentAdded,
    "review.commented",
    |f| Some(f.project),
    |f| format!("merge_request:{}", f.merge_request),
    |f| format!("commented on !{}", f.iid)
);

/// A comment was changed by its author.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CommentEdited {
    /// The project.
    pub project: ProjectId,
    /// The request.
    pub merge_request: MergeRequestId,
    /// Its number within the project.
    pub iid: i64,
    /// The discussion.
    pub thread: ThreadId,
    /// The comment.
    pub comment: CommentId,
    /// Who is mentioned now.
    pub mentions: Vec<UserId>,
}
fact!(
    CommentEdited,
    "review.comment_edited",
    |f| Some(f.project),
    |f| format!("merge_request:{}", f.merge_request),
    |f| format!("edited a comment on !{}", f.iid)
);

/// A comment was taken back.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CommentDeleted {
    /// The project.
    pub project: ProjectId,
    /// The request.
    pub merge_request: MergeRequestId,
    /// Its number within the project.
    pub iid: i64,
    /// The discussion.
    pub thread: ThreadId,
    /// The comment.
    pub comment: CommentId,
}
fact!(
    CommentDeleted,
    "review.comment_deleted",
    |f| Some(f.project),
    |f| format!("merge_request:{}", f.merge_request),
    |f| format!("deleted a comment on !{}", f.iid)
);

/// A discussion was settled, or opened again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ThreadResolved {
    /// The project.
    pub project: ProjectId,
    /// The request.
    pub merge_request: MergeRequestId,
    /// Its number within the project.
    pub iid: i64,
    /// The discussion.
    pub thread: ThreadId,
    /// Whether it is settled now.
    pub resolved: bool,
}
fact!(
    ThreadResolved,
    "review.thread_resolved",
    |f| Some(f.project),
    |f| format!("merge_request:{}", f.merge_request),
    |f| format!(
        "{} a thread of !{}",
        if f.resolved { "resolved" } else { "reopened" },
        f.iid
    )
);

/// Suggestions were made a commit.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SuggestionsApplied {
    /// The project.
    pub project: ProjectId,
    /// The request.
    pub merge_request: MergeRequestId,
    /// Its number within the project.
    pub iid: i64,
    /// The comments that held them.
    pub comments: Vec<CommentId>,
    /// The commit.
    pub commit: String,
}
fact!(
    SuggestionsApplied,
    "review.suggestions_applied",
    |f| Some(f.project),
    |f| format!("merge_request:{}", f.merge_request),
    |f| format!(
        "applied {} {} to !{} as {}",
        f.comments.len(),
        if f.comments.len() == 1 {
            "suggestion"
        } else {
            "suggestions"
        },
        f.iid,
        short(&f.commit)
    )
);

/// A program told what it found about a commit.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FindingsPosted {
    /// The project.
    pub project: ProjectId,
    /// The commit.
    pub sha: String,
    /// The program.
    pub tool: String,
    /// How many findings it has.
    pub found: i64,
    /// How many of them are errors.
    pub errors: i64,
}
fact!(
    FindingsPosted,
    "findings.posted",
    |f| Some(f.project),
    |f| format!("project:{}", f.project),
    |f| format!(
        "posted {} findings of {} about {}",
        f.found,
        f.tool,
        short(&f.sha)
    )
);
