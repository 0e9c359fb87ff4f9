//! Merge requests, as the JSON API speaks of them; shared with the command line.

use bascule_core::{MergeRequestId, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A merge request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MergeRequest {
    /// Its identifier.
    pub id: MergeRequestId,
    /// Its number within the project: `!3`.
    pub iid: i64,
    /// `group/project` that it asks.
    pub project: String,
    /// Its title.
    pub title: String,
    /// Its description, Markdown.
    pub description: String,
    /// `open`, `merged` or `closed`.
    pub state: String,
    /// Whether it is a draft, which cannot be merged.
    pub draft: bool,
    /// `group/project` where the commits come from; empty if it is gone.
    pub source_project: String,
    /// The branch that they come from.
    pub source_branch: String,
    /// The branch that they are to go to.
    pub target_branch: String,
    /// Who opened it.
    pub author: String,
    /// The commit that is to be merged.
    pub head: String,
    /// The newest commit that source and target had in common, to which the changes are shown.
    pub base: String,
    /// The number of its present version; each push makes one.
    pub version: i64,
    /// Whether the source branch is deleted with the merge.
    pub delete_source_branch: bool,
    /// Who asked that it be merged once all checks pass, if someone did.
    pub auto_merge_by: Option<String>,
    /// The commit that the merge made.
    pub merge_sha: Option<String>,
    /// Who merged it.
    pub merged_by: Option<String>,
    /// When it was opened.
    pub created_at: Timestamp,
    /// When something of it changed last.
    pub updated_at: Timestamp,
    /// When it was merged or closed.
    pub ended_at: Option<Timestamp>,
    /// Its page.
    pub web_url: String,
}

/// One condition of merging.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MergeCheck {
    /// A stable word: `draft`, `conflicts`, `pipeline`, `approvals`, …; a broken rule of the workflow policy by its
    /// name.
    pub name: String,
    /// `passed`, `warned` (said, and holds nothing), `pending` or `failed`.
    pub state: String,
    /// How it stands, one sentence.
    pub what: String,
    /// Why the condition exists.
    pub why: String,
    /// The next step; empty where it passed.
    pub next: String,
}

/// A merge request with what holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MergeRequestDetail {
    /// The request.
    #[serde(flatten)]
    pub request: MergeRequest,
    /// Every condition; it can be merged once none is pending or failed.
    pub checks: Vec<MergeCheck>,
    /// Whether all conditions are met.
    pub mergeable: bool,
    /// Its place in the merge queue, where it is in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<QueuePlace>,
    /// Why it is not merged by itself any more, where somebody had asked for that: a push took it back, say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto_merge_dropped: Option<String>,
}

/// A place in a merge queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QueuePlace {
    /// Counted from 1, which is merged first.
    pub number: i64,
    /// The branch whose queue it is.
    pub target_branch: String,
}

/// A page of merge requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MergeRequestList {
    /// The requests, newest first.
    pub merge_requests: Vec<MergeRequest>,
    /// Give this as `before` to read on.
    pub next_before: Option<i64>,
}

/// A merge request to be opened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NewMergeRequest {
    /// `group/project` where the commits are, for a fork; the same project if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_project: Option<String>,
    /// The branch that holds the commits.
    pub source_branch: String,
    /// The branch that they are to go to; the default branch if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_branch: Option<String>,
    /// One line; the first commit's title if left out. `Draft:` in front makes it a draft.
    #[serde(default)]
    pub title: String,
    /// Markdown. `Closes #3` closes the issue with the merge.
    #[serde(default)]
    pub description: String,
    /// Whether it is a draft.
    #[serde(default)]
    pub draft: bool,
    /// Whether the source branch is deleted with the merge; as the project has it if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delete_source_branch: Option<bool>,
}

/// What to change of a merge request; what is left out stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MergeRequestChange {
    /// A new title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// A new description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Another branch to go to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_branch: Option<String>,
    /// Whether it is a draft.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draft: Option<bool>,
    /// Whether the source branch is deleted with the merge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delete_source_branch: Option<bool>,
}

/// One state of what a merge request would merge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MergeRequestVersion {
    /// From 1, one more with each push.
    pub number: i64,
    /// The commit that was to be merged.
    pub head: String,
    /// What its changes are shown against.
    pub base: String,
    /// Whether commits of the version before were taken out.
    pub forced: bool,
    /// How many commits it has.
    pub commits: i64,
    /// Who pushed it.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

/// The versions of a merge request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MergeRequestVersions {
    /// The newest first, at most 200.
    pub versions: Vec<MergeRequestVersion>,
}

/// A file that a merge request changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChangedFile {
    /// Its path; names that are not UTF-8 are spelt out.
    pub path: String,
    /// Where it was, if it was moved.
    pub old_path: Option<String>,
    /// `added`, `deleted`, `moved`, `changed`, `mode changed`.
    pub change: String,
    /// Lines added, where lines were compared.
    pub added: usize,
    /// Lines removed.
    pub removed: usize,
    /// The change as a unified diff, without its header.
    pub diff: String,
    /// Said instead of lines, where lines cannot be shown.
    pub note: String,
}

/// A page of what a merge request changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChangedFiles {
    /// The commit before.
    pub base: String,
    /// The commit after.
    pub head: String,
    /// How many files there are in all.
    pub total: usize,
    /// The files of this page.
    pub files: Vec<ChangedFile>,
    /// Give this as `from` to read on.
    pub next_from: Option<usize>,
    /// Said where more differs than is looked at; then no file is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// How a project merges.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MergeSettings {
    /// `merge`, `squash`, `rebase` or `fast_forward`.
    pub strategy: String,
    /// Whether protected branches move by merge requests alone, for everybody.
    pub require_request: bool,
    /// Whether a green pipeline of the commit is needed.
    pub require_pipeline: bool,
    /// Whether developers merge into protected branches; else maintainers do.
    pub developers_merge: bool,
    /// Whether new requests delete their source branch with the merge.
    pub delete_source_branch: bool,
    /// Whether merges go through the queue.
    pub queue: bool,
    /// How many merges of the queue are tried at once.
    pub queue_parallel: i64,
    /// The message of merge commits; empty for the usual one.
    pub merge_message: String,
    /// The message of squashed commits; empty for the usual one.
    pub squash_message: String,
}

/// What to change of how a project merges; what is left out stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MergeSettingsChange {
    /// `merge`, `squash`, `rebase` or `fast_forward`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<String>,
    /// Whether protected branches move by merge requests alone, for everybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub require_request: Option<bool>,
    /// Whether a green pipeline of the commit is needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub require_pipeline: Option<bool>,
    /// Whether developers merge into protected branches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub developers_merge: Option<bool>,
    /// Whether new requests delete their source branch with the merge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delete_source_branch: Option<bool>,
    /// Whether merges go through the queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<bool>,
    /// How many merges of the queue are tried at once, 1 to 20.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_parallel: Option<i64>,
    /// The message of merge commits; empty for the usual one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merge_message: Option<String>,
    /// The message of squashed commits; empty for the usual one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub squash_message: Option<String>,
}

/// How to merge.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MergeOrder {
    /// The commit that was looked at: refused if there is another by now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha: Option<String>,
    /// `merge`, `squash`, `rebase` or `fast_forward`; as the project has it if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<String>,
    /// Do it once all checks pass.
    #[serde(default)]
    pub when_checks_pass: bool,
    /// Whether the source branch is deleted; as the request has it if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delete_source_branch: Option<bool>,
    /// A maintainer's reason to merge although rules of the workflow policy refuse; it is recorded. It holds for the
    /// present head.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bypass: Option<String>,
}

/// The merge queues of a project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MergeQueue {
    /// Who waits, by branch and in order.
    pub entries: Vec<QueueEntry>,
    /// Who was taken out, the newest first.
    pub taken_out: Vec<QueueLeft>,
}

/// A merge request that waits in a queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QueueEntry {
    /// Its number within the project.
    pub iid: i64,
    /// The branch that it is to go to.
    pub target_branch: String,
    /// The commit that is to be merged.
    pub head: String,
    /// Who asked for the merge.
    pub by: String,
    /// How its trial stands: `waiting` (not begun), `running`, `passed` or `failed`.
    #[serde(default)]
    pub state: String,
    /// The merge that is tried.
    pub trial: Option<String>,
    /// Its pipeline.
    pub pipeline: Option<i64>,
    /// Since when it waits.
    pub at: Timestamp,
}

/// A merge request that was taken out of a queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QueueLeft {
    /// Its number within the project.
    pub iid: i64,
    /// Its title.
    #[serde(default)]
    pub title: String,
    /// Why.
    pub detail: String,
    /// The pipeline that failed, if that was why.
    #[serde(default)]
    pub pipeline: Option<i64>,
    /// When.
    pub at: Timestamp,
}

/// Lines that two branches changed differently.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConflictHunk {
    /// The target branch's.
    pub ours: String,
    /// The source branch's.
    pub theirs: String,
}

/// A file in conflict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MergeConflict {
    /// Its path.
    pub path: String,
    /// `contents`, `modify/delete`, …
    pub kind: String,
    /// Where lines differ; none where only a whole side can be taken.
    pub hunks: Vec<ConflictHunk>,
}

/// All files in conflict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MergeConflicts {
    /// Where the target branch stands.
    pub target: String,
    /// Where the source branch stands.
    pub source: String,
    /// The files.
    pub files: Vec<MergeConflict>,
}

/// How one file is solved: one of the three.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConflictSolution {
    /// `ours`, `theirs` or `both` for each hunk.
    #[serde(default)]
    pub hunks: Vec<String>,
    /// The whole text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// `ours` or `theirs` for the whole file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub side: Option<String>,
}

/// How conflicts are solved.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ConflictSolutions {
    /// Where the target branch stood when it was looked at.
    pub target: String,
    /// Where the source branch stood.
    pub source: String,
    /// One for each file, in the order in which they were listed.
    pub files: Vec<ConflictSolution>,
}

/// A fork to be made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NewFork {
    /// The group to put it in; one named like you if left out, made if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Its name; the same if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// Where to take a merged change to, or off.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Replay {
    /// The branch to take it to; the request's target if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_branch: Option<String>,
}

/// How two versions of a merge request differ, commit by commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RangeDiff {
    /// The earlier version.
    pub from: i64,
    /// The later one.
    pub to: i64,
    /// What `git range-diff` says.
    pub text: String,
}
