//! Facts about merge requests and the queues in front of branches. Titles and descriptions stay out: a fact is
//! for ever, and what people wrote is theirs to change.

use super::{fact, short};
use bascule_core::{MergeRequestId, ProjectId, Timestamp, UserId};
use serde::{Deserialize, Serialize};

/// A merge request was opened.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MergeRequestOpened {
    /// The project that it asks.
    pub project: ProjectId,
    /// The request.
    pub merge_request: MergeRequestId,
    /// Its number within the project.
    pub iid: i64,
    /// Where the commits come from; another project for a fork.
    pub source_project: ProjectId,
    /// The branch that they come from.
    pub source_branch: String,
    /// The branch that they are to go to.
    pub target_branch: String,
    /// The commit that is to be merged.
    pub head: String,
    /// Whether it is a draft.
    pub draft: bool,
    /// When.
    pub at: Timestamp,
}
fact!(
    MergeRequestOpened,
    "merge_request.opened",
    |f| Some(f.project),
    |f| format!("merge_request:{}", f.merge_request),
    |f| format!(
        "opened merge request !{} from {} to {}",
        f.iid, f.source_branch, f.target_branch
    )
);

/// What a merge request would merge changed: its branch was pushed to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MergeRequestUpdated {
    /// The project.
    pub project: ProjectId,
    /// The request.
    pub merge_request: MergeRequestId,
    /// Its number within the project.
    pub iid: i64,
    /// The number of the version that this makes.
    pub version: i64,
    /// The commit before.
    pub before: String,
    /// The commit now.
    pub head: String,
    /// Whether commits were taken out.
    pub forced: bool,
    /// When.
    pub at: Timestamp,
}
fact!(
    MergeRequestUpdated,
    "merge_request.updated",
    |f| Some(f.project),
    |f| format!("merge_request:{}", f.merge_request),
    |f| format!(
        "{} merge request !{}, now at {} (version {})",
        if f.forced { "rewrote" } else { "added to" },
        f.iid,
        short(&f.head),
        f.version
    )
);

/// A setting of a merge request changed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MergeRequestChanged {
    /// The project.
    pub project: ProjectId,
    /// The request.
    pub merge_request: MergeRequestId,
    /// Its number within the project.
    pub iid: i64,
    /// What: `title`, `description`, `target_branch`, `draft`, `auto_merge`, …
    pub field: String,
    /// The new value, where it is no text of people.
    pub value: String,
    /// Whom it concerns, where that is not who did it: who had asked for the merge that a push takes back, say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub person: Option<UserId>,
}
fact!(
    MergeRequestChanged,
    "merge_request.changed",
    |f| Some(f.project),
    |f| format!("merge_request:{}", f.merge_request),
    |f| if f.value.is_empty() {
        format!("changed the {} of merge request !{}", f.field, f.iid)
    } else {
        format!("set {} of merge request !{} to {}", f.field, f.iid, f.value)
    }
);

/// A merge request was closed without a merge.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MergeRequestClosed {
    /// The project.
    pub project: ProjectId,
    /// The request.
    pub merge_request: MergeRequestId,
    /// Its number within the project.
    pub iid: i64,
    /// When.
    pub at: Timestamp,
}
fact!(
    MergeRequestClosed,
    "merge_request.closed",
    |f| Some(f.project),
    |f| format!("merge_request:{}", f.merge_request),
    |f| format!("closed merge request !{}", f.iid)
);

/// A closed merge request was opened again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MergeRequestReopened {
    /// The project.
    pub project: ProjectId,
    /// The request.
    pub merge_request: MergeRequestId,
    /// Its number within the project.
    pub iid: i64,
    /// When.
    pub at: Timestamp,
}
fact!(
    MergeRequestReopened,
    "merge_request.reopened",
    |f| Some(f.project),
    |f| format!("merge_request:{}", f.merge_request),
    |f| format!("reopened merge request !{}", f.iid)
);

/// A merge request was merged.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MergeRequestMerged {
    /// The project.
    pub project: ProjectId,
    /// The request.
    pub merge_request: MergeRequestId,
    /// Its number within the project.
    pub iid: i64,
    /// Where the commits came from.
    pub source_project: ProjectId,
    /// The branch that they came from.
    pub source_branch: String,
    /// The branch that they went to.
    pub target_branch: String,
    /// The commit that was merged.
    pub head: String,
    /// Where the target branch stood before.
    pub before: String,
    /// Where it stands now.
    pub after: String,
    /// `merge`, `squash`, `rebase`, `fast_forward`; `push` where someone's push brought the commits.
    pub strategy: String,
    /// Whether the queue merged it.
    pub queued: bool,
    /// Numbers of issues that it closes.
    pub closes: Vec<i64>,
    /// Who approved it, by identifier of account.
    pub approvals: Vec<String>,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// When.
    pub at: Timestamp,
}
fact!(
    MergeRequestMerged,
    "merge_request.merged",
    |f| Some(f.project),
    |f| format!("merge_request:{}", f.merge_request),
    |f| format!(
        "merged !{} into {}, now at {} ({})",
        f.iid,
        f.target_branch,
        short(&f.after),
        f.strategy
    )
);

/// A merge request entered the queue of its target branch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MergeQueued {
    /// The project.
    pub project: ProjectId,
    /// The request.
    pub merge_request: MergeRequestId,
    /// Its number within the project.
    pub iid: i64,
    /// The branch whose queue it is.
    pub target_branch: String,
    /// The commit that is to be merged.
    pub head: String,
}
fact!(
    MergeQueued,
    "merge_request.queued",
    |f| Some(f.project),
    |f| format!("merge_request:{}", f.merge_request),
    |f| format!("put !{} into the merge queue of {}", f.iid, f.target_branch)
);

/// A merge request left the queue without being merged.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MergeUnqueued {
    /// The project.
    pub project: ProjectId,
    /// The request.
    pub merge_request: MergeRequestId,
    /// Its number within the project.
    pub iid: i64,
    /// The branch whose queue it was.
    pub target_branch: String,
    /// Why: `pipeline_failed`, `conflict`, `changed`, `check`, `taken_out`, `closed`.
    pub reason: String,
    /// The pipeline that decided, if one did.
    pub pipeline: Option<i64>,
}
fact!(
    MergeUnqueued,
    "merge_request.unqueued",
    |f| Some(f.project),
    |f| format!("merge_request:{}", f.merge_request),
    |f| format!(
        "took !{} out of the merge queue of {}: {}",
        f.iid,
        f.target_branch,
        f.reason.replace('_', " ")
    )
);

/// The queue made a merge that is to be tried before the branch moves: CI makes a pipeline of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MergeSpeculated {
    /// The project.
    pub project: ProjectId,
    /// The request whose turn it is; those before it in the queue are merged in too.
    pub merge_request: MergeRequestId,
    /// Its number within the project.
    pub iid: i64,
    /// The branch whose queue it is.
    pub target_branch: String,
    /// The reference that holds it, in full: `refs/merge-queue/…`.
    pub reference: String,
    /// The commit to try.
    pub sha: String,
    /// What it stands on: the branch, or the merge before it in the queue.
    pub base: String,
}
fact!(
    MergeSpeculated,
    "merge_request.speculated",
    |f| Some(f.project),
    |f| format!("merge_request:{}", f.merge_request),
    |f| format!(
        "tries !{} on top of {} for {}, as {}",
        f.iid,
        short(&f.base),
        f.target_branch,
        short(&f.sha)
    )
);

/// A project was made as a fork of another.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProjectForked {
    /// The fork.
    pub project: ProjectId,
    /// What it is a fork of.
    pub parent: ProjectId,
    /// `group/project` of the fork.
    pub path: String,
}
fact!(
    ProjectForked,
    "project.forked",
    |f| Some(f.project),
    |f| format!("project:{}", f.project),
    |f| format!("made {} as a fork", f.path)
);
