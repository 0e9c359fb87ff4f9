//! Projects and code, as the JSON API speaks of them; shared with the command line.

use bascule_core::{GroupId, ProjectId, Timestamp, Visibility};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Project {
    /// Its identifier, which survives renaming.
    pub id: ProjectId,
    /// Its group's identifier.
    pub group_id: GroupId,
    /// Its group's name.
    pub group: String,
    /// Its name within the group.
    pub name: String,
    /// `group/name`.
    pub path: String,
    /// What it is for, one line.
    pub description: String,
    /// Who sees it without being a member.
    pub visibility: Visibility,
    /// The branch that clones begin with.
    pub default_branch: String,
    /// When it was created.
    pub created_at: Timestamp,
    /// When something was last pushed to it.
    pub pushed_at: Option<Timestamp>,
    /// The address that `git clone` takes.
    pub clone_url: String,
    /// The same over SSH; left out where that is off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh_url: Option<String>,
}

/// A project to be created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NewProject {
    /// Its name: 1 to 63 of a-z, 0-9, '-', '_', '.'.
    pub name: String,
    /// What it is for, one line.
    #[serde(default)]
    pub description: String,
    /// Who sees it without being a member; `private` if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visibility: Option<Visibility>,
    /// The branch that clones begin with; `main` if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_branch: Option<String>,
}

/// What to change of a project; what is left out stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProjectChange {
    /// A new name. The old address leads to the new one until another project takes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// A new description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// A new visibility.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visibility: Option<Visibility>,
    /// Another default branch; it becomes protected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_branch: Option<String>,
}

/// A page of projects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProjectList {
    /// The projects, by path.
    pub projects: Vec<Project>,
    /// The number of the next page, if there is one.
    pub next_page: Option<i64>,
}

/// A branch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Branch {
    /// Its name, without `refs/heads/`.
    pub name: String,
    /// The commit it points to.
    pub sha: String,
    /// Whether it is protected.
    pub protected: bool,
    /// Whether it is the default branch.
    pub default: bool,
    /// First line of the commit's message.
    pub title: String,
    /// When that commit was made.
    pub committed_at: Timestamp,
}

/// A page of branches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BranchList {
    /// The branches, by name.
    pub branches: Vec<Branch>,
    /// The number of the next page, if there is one.
    pub next_page: Option<i64>,
}

/// A tag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Tag {
    /// Its name, without `refs/tags/`.
    pub name: String,
    /// The commit it leads to.
    pub sha: String,
    /// First line of the commit's message.
    pub title: String,
    /// When that commit was made.
    pub committed_at: Timestamp,
}

/// A page of tags.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TagList {
    /// The tags, newest name first.
    pub tags: Vec<Tag>,
    /// The number of the next page, if there is one.
    pub next_page: Option<i64>,
}

/// A commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Commit {
    /// Its identifier, 40 hexadecimal digits.
    pub sha: String,
    /// First line of its message.
    pub title: String,
    /// Its message.
    pub message: String,
    /// Who wrote it.
    pub author_name: String,
    /// Their address.
    pub author_email: String,
    /// When it was written.
    pub authored_at: Timestamp,
    /// When it was committed.
    pub committed_at: Timestamp,
    /// The commits before it.
    pub parents: Vec<String>,
}

/// Lines one after the other that one commit wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BlameHunk {
    /// The commit.
    pub sha: String,
    /// Who wrote it.
    pub author_name: String,
    /// When it was written.
    pub authored_at: Timestamp,
    /// First line of the commit's message.
    pub title: String,
    /// The number of the first line, from 1.
    pub first_line: u64,
    /// The lines, without their ends.
    pub lines: Vec<String>,
}

/// A page of a file, with who wrote each line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Blame {
    /// The lines, in order.
    pub hunks: Vec<BlameHunk>,
    /// Lines in the file.
    pub lines: u64,
    /// The first line of the next page, if there is one.
    pub next_line: Option<u64>,
}

/// A file that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChangedFile {
    /// Its path.
    pub path: String,
    /// Where it was, if it was moved as it is.
    pub old_path: Option<String>,
    /// `added`, `changed`, `deleted` or `moved`.
    pub change: String,
}

/// What one branch, tag or commit has and another lacks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Comparison {
    /// Where the two parted; none where their histories have nothing in common.
    pub merge_base: Option<String>,
    /// Commits that only the second has.
    pub ahead: u64,
    /// Commits that only the first has.
    pub behind: u64,
    /// A page of the commits that only the second has, newest first.
    pub commits: Vec<Commit>,
    /// The number of the next page of commits, if there is one.
    pub next_page: Option<i64>,
    /// Files that differ between where they parted and the second, at most 10,000.
    pub files: Vec<ChangedFile>,
    /// How many differ in all.
    pub file_count: u64,
    /// Said where more differ than are looked at; then none is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// A branch that was deleted and can be brought back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeletedBranch {
    /// Its name.
    pub name: String,
    /// Where it stood.
    pub sha: String,
    /// Who deleted it.
    pub deleted_by: String,
    /// When.
    pub at: Timestamp,
}

/// Branches that can be brought back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeletedBranchList {
    /// The latest first, at most 100.
    pub branches: Vec<DeletedBranch>,
}

/// A branch to bring back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RestoreBranch {
    /// Its name.
    pub name: String,
}

/// A page of commits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CommitList {
    /// The commits, newest first.
    pub commits: Vec<Commit>,
    /// The number of the next page, if there is one.
    pub next_page: Option<i64>,
}

/// Files to be committed to a branch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NewCommit {
    /// The branch; made, from the default branch, if it is not there.
    pub branch: String,
    /// The message.
    pub message: String,
    /// The files, whole.
    pub files: Vec<NewFile>,
}

/// A file to be committed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NewFile {
    /// Its path from the top of the project.
    pub path: String,
    /// Its text.
    pub content: String,
}

/// A commit that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Committed {
    /// The commit.
    pub sha: String,
}

/// A branch, or a pattern of branches with `*`, that only maintainers push to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProtectedBranch {
    /// The name or pattern.
    pub pattern: String,
}

/// The protected branches of a project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProtectedBranches {
    /// The names and patterns.
    pub branches: Vec<ProtectedBranch>,
}

/// Where git over SSH is served, and how the server proves itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SshServer {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// The fingerprint of its key, as `ssh` shows it at the first connection.
    pub fingerprint: String,
    /// A line for `~/.ssh/known_hosts`.
    pub known_hosts: String,
    /// What an address looks like.
    pub example: String,
}

/// Limits that were set, in bytes; what is left out holds as it does without.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StorageLimits {
    /// Largest file in a push.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_bytes: Option<i64>,
    /// Largest push.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub push_bytes: Option<i64>,
    /// Quota: of a project, or of all projects of a group together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota_bytes: Option<i64>,
}

/// What a project takes on disk, and what it may.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Storage {
    /// What it takes, in bytes: as last measured, with the pushes since.
    pub bytes: i64,
    /// Largest file in a push that is taken, in bytes.
    pub file_bytes: i64,
    /// Largest push that is taken, in bytes.
    pub push_bytes: i64,
    /// The project's quota in bytes; none where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota_bytes: Option<i64>,
    /// The quota of all projects of its group together, in bytes; none where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_quota_bytes: Option<i64>,
    /// What was set for this project.
    pub set: StorageLimits,
}

/// What a group's projects take on disk together, and what they may.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GroupStorage {
    /// What they take, in bytes.
    pub bytes: i64,
    /// Largest file in a push that is taken, in bytes.
    pub file_bytes: i64,
    /// Largest push that is taken, in bytes.
    pub push_bytes: i64,
    /// Their quota together, in bytes; none where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota_bytes: Option<i64>,
    /// What was set for this group.
    pub set: StorageLimits,
}

/// The last upkeep or check of a repository, or the one that is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UpkeepRun {
    /// `upkeep` (packing, commit graph, bitmaps) or `fsck` (git's check of all objects).
    pub kind: String,
    /// When it was asked for, or began by itself.
    pub requested_at: Timestamp,
    /// Who asked.
    pub requested_by: String,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Whether all was well.
    pub good: Option<bool>,
    /// What came of it.
    pub told: String,
}

/// What was done to a repository last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UpkeepRuns {
    /// One of each kind at most.
    pub runs: Vec<UpkeepRun>,
}
