//! What is asked of others. The binary wires each to the capability that knows.

use async_trait::async_trait;
use bascule_core::{
    Actor, Caller, CommentId, GroupId, IssueId, LabelId, MergeRequestId, ProjectId, Result, Timestamp, UserId,
};

/// Someone with an open account.
#[derive(Clone, Debug)]
pub struct Person {
    /// The account.
    pub id: UserId,
    /// Its user name.
    pub username: String,
    /// What people call them.
    pub display_name: String,
    /// Their address; may be empty.
    pub email: String,
    /// Themselves, signed in: for asking what they may read.
    pub caller: Caller,
}

/// Who is who (identity).
#[async_trait]
pub trait People: Send + Sync {
    /// An account; `None` where it is closed or gone.
    async fn person(&self, user: UserId) -> Result<Option<Person>>;

    /// The person behind an act, where one stands behind it.
    async fn behind(&self, actor: &Actor) -> Result<Option<UserId>>;
}

/// What a notice is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// An issue.
    Issue(IssueId),
    /// A merge request.
    Request(MergeRequestId),
}

/// A target, as someone who may read it sees it in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Which.
    pub target: Target,
    /// `group/project`.
    pub project: String,
    /// Its number within the project.
    pub number: i64,
    /// Its title.
    pub title: String,
    /// `open`, `closed` or `merged`.
    pub state: String,
}

/// A merge request as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its identifier.
    pub id: MergeRequestId,
    /// The project that it asks.
    pub project: ProjectId,
    /// Its number.
    pub number: i64,
    /// Its title.
    pub title: String,
    /// Its description, Markdown.
    pub description: String,
    /// `open`, `closed` or `merged`.
    pub state: String,
    /// Whether it is a draft.
    pub draft: bool,
    /// The branch that it comes from.
    pub source_branch: String,
    /// The branch that it is to go to.
    pub target_branch: String,
    /// The project that it comes from.
    pub source_project: ProjectId,
    /// The commit that is to be merged.
    pub head: String,
    /// The commit that the merge made.
    pub merge_sha: Option<String>,
    /// Who opened it, where it was a person.
    pub author: Option<UserId>,
    /// What they are called.
    pub author_name: String,
    /// Who is asked to review it.
    pub reviewers: Vec<UserId>,
    /// Who it is assigned to.
    pub assignees: Vec<UserId>,
    /// When it was opened.
    pub created_at: Timestamp,
    /// When something of it changed last.
    pub updated_at: Timestamp,
}

/// An issue as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    /// Its identifier.
    pub id: IssueId,
    /// The project.
    pub project: ProjectId,
    /// Its number.
    pub number: i64,
    /// Its title.
    pub title: String,
    /// Its description, Markdown.
    pub description: String,
    /// Whether it is open.
    pub open: bool,
    /// Whether few see it.
    pub confidential: bool,
    /// Who opened it, where it was a person.
    pub author: Option<UserId>,
    /// What they are called.
    pub author_name: String,
    /// Who has it.
    pub assignees: Vec<(UserId, String)>,
    /// The names of its labels.
    pub labels: Vec<String>,
}

/// Issues (planning) and merge requests (forge).
#[async_trait]
pub trait Matters: Send + Sync {
    /// A request, whoever may read it.
    async fn request(&self, id: MergeRequestId) -> Result<Option<Request>>;

    /// An issue, whoever may read it.
    async fn issue(&self, id: IssueId) -> Result<Option<Issue>>;

    /// Those of some targets that someone may read now, in any order.
    async fn seen(&self, caller: &Caller, asked: &[Target]) -> Result<Vec<Seen>>;

    /// Whom a request's description speaks to.
    async fn mentioned(&self, id: MergeRequestId) -> Result<Vec<UserId>>;

    /// Whose approval a request waits for by name: members of required teams, owners of its files.
    async fn awaited(&self, id: MergeRequestId) -> Result<Vec<UserId>>;

    /// Open requests that would merge this commit of this project.
    async fn requests_at(&self, project: ProjectId, sha: &str) -> Result<Vec<Request>>;

    /// How the open requests that are to go to this branch stand to it, the newest 50.
    async fn standing_to(&self, project: ProjectId, branch: &str) -> Result<Vec<Standing>>;

    /// How a request stands to its target branch; `None` where it is not open.
    async fn standing(&self, id: MergeRequestId) -> Result<Option<Standing>>;

    /// The text of a comment on a request; `None` once it was taken back.
    async fn request_comment(&self, id: MergeRequestId, comment: CommentId) -> Result<Option<String>>;

    /// The text of a comment on an issue.
    async fn issue_comment(&self, id: IssueId, number: i64) -> Result<Option<String>>;

    /// Who asked to hear of issues with one of these labels.
    async fn label_subscribers(&self, labels: &[LabelId]) -> Result<Vec<UserId>>;
}

/// A project, as programs are told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Project {
    /// Its identifier.
    pub id: ProjectId,
    /// Its group.
    pub group: GroupId,
    /// `group/project`.
    pub path: String,
    /// What it is for.
    pub description: String,
    /// `private` or `internal`.
    pub visibility: String,
    /// The branch by which it goes.
    pub default_branch: String,
    /// Where it is cloned from.
    pub clone_url: String,
    /// Where it is cloned from by SSH; empty where that is not served.
    pub ssh_url: String,
}

/// A commit, as programs are told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Its identifier.
    pub sha: String,
    /// Its message.
    pub message: String,
    /// Who wrote it, as they called themselves.
    pub author: String,
    /// Their address, as they gave it.
    pub email: String,
    /// When.
    pub at: Timestamp,
}

/// How an open request stands to its target branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The request.
    pub id: MergeRequestId,
    /// Its project.
    pub project: ProjectId,
    /// Its number there.
    pub number: i64,
    /// Who opened it.
    pub author: Option<UserId>,
    /// Whether both changed the same places.
    pub conflict: bool,
}

/// Projects and what is in them (forge).
#[async_trait]
pub trait Projects: Send + Sync {
    /// A project, whoever may see it.
    async fn project(&self, id: ProjectId) -> Result<Option<Project>>;

    /// A project by `group/project`, if someone may see it.
    async fn find(&self, caller: &Caller, path: &str) -> Result<Option<ProjectId>>;

    /// Some commits, those that there are, in the order given.
    async fn commits(&self, project: ProjectId, shas: &[String]) -> Result<Vec<Commit>>;
}
