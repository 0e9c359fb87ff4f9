//! What this crate asks of others. The binary wires it to identity, CI and planning.

use crate::merge_request::MergeRequest;
pub use crate::review::ports::{Known, People, Team};
use crate::{ProjectInfo, Visible};
use async_trait::async_trait;
use bascule_core::{
    Caller, GroupScope, InstanceRole, PipelineId, ProjectId, ProjectScope, Result, Role, UserId,
};
use bascule_web::Markup;
use std::collections::{BTreeMap, HashSet};

/// Who sees what, and who people are.
#[async_trait]
pub trait Sight: Send + Sync {
    /// Which projects the caller may see, as far as it can be said without asking each project.
    async fn visible(&self, caller: &Caller) -> Result<Visible>;

    /// The caller's role in a project, as it is now; `None` where they may not see it.
    async fn role(&self, caller: &Caller, project: &ProjectInfo) -> Result<Option<Role>>;

    /// The group in which the caller may create a project: the one of this name, or else the one named like them,
    /// which is made if there is none and they may.
    async fn home(&self, caller: &Caller, group: Option<&str>) -> Result<GroupScope>;

    /// The person behind an account; `None` if there is none or it is closed.
    async fn person(&self, user: UserId) -> Result<Option<Person>>;
}

/// A person with an open account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// The name one signs in with.
    pub username: String,
    /// What people call them.
    pub display_name: String,
    /// Their address; may be empty.
    pub email: String,
    /// Their standing on the instance.
    pub instance_role: InstanceRole,
}

/// How pipelines stand.
#[async_trait]
pub trait Pipelines: Send + Sync {
    /// The pipeline that counts for a request's newest commit, if there is one.
    async fn of_request(&self, request: &MergeRequest) -> Result<Option<Pipeline>>;

    /// How the pipeline of a trial of the merge queue stands; `None` where it is gone.
    async fn of_trial(&self, project: ProjectId, pipeline: PipelineId) -> Result<Option<Outcome>>;

    /// Makes a pipeline of a trial of the merge queue; `None` where the project has none to run. Asked again for
    /// the same commit, it answers the same.
    async fn try_merge(&self, trial: &Trial) -> Result<Option<PipelineId>>;

    /// How what the project's group requires stands at a request's newest commit; `None` where it requires nothing of it.
    /// No setting of the project puts that off.
    async fn required(&self, _: &MergeRequest) -> Result<Option<Demand>> {
        Ok(None)
    }

    /// What the results of a request's newest pipeline say against its merge, such as too little of the code that
    /// tests reach; `None` for nothing.
    async fn concern(&self, _: &ProjectInfo, _: &MergeRequest) -> Result<Option<Concern>> {
        Ok(None)
    }

    /// Lines of some files at a commit that no test reached, by file as spans of the first and the last; nothing where
    /// no report tells of them.
    async fn missed(&self, _project: ProjectId, _sha: &str, _files: &[String]) -> Result<Missed> {
        Ok(Missed::new())
    }

    /// Stops a pipeline that nobody waits for any more.
    async fn cancel(&self, project: ProjectId, pipeline: PipelineId) -> Result<()>;
}

/// Lines that no test reached, by file.
pub type Missed = BTreeMap<String, Vec<(u32, u32)>>;

/// What the results of a pipeline say against a merge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Concern {
    /// Whether it holds the merge; otherwise it warns.
    pub holds: bool,
    /// One sentence.
    pub what: String,
    /// Why the rule exists.
    pub why: String,
    /// What to do.
    pub next: String,
}

/// A pipeline, as far as merging asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pipeline {
    /// Its number.
    pub id: PipelineId,
    /// How it stands.
    pub outcome: Outcome,
}

/// How a pipeline stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It has not ended.
    Running,
    /// It waits for a person to start one of its jobs.
    Waiting,
    /// Green.
    Passed,
    /// A job of it failed, or its file is faulty.
    Failed,
    /// Someone stopped it.
    Canceled,
    /// None of its jobs ran.
    Skipped,
}

/// What a group requires of the commits that are merged into its projects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demand {
    /// The group's name.
    pub group: String,
    /// Names of the required pipelines.
    pub names: Vec<String>,
    /// How they stand.
    pub stands: Stands,
}

/// How required jobs stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stands {
    /// All that must succeed did.
    Passed,
    /// These jobs have not run for the commit.
    Missing(Vec<String>),
    /// They cannot be planned for it, and why.
    Faulty(String),
    /// These jobs hold it.
    Open {
        /// The pipeline that the first of them belongs to.
        pipeline: PipelineId,
        /// How they stand.
        outcome: Outcome,
        /// Their names.
        jobs: Vec<String>,
    },
}

/// Issues, as far as rules ask about them.
#[async_trait]
pub trait Issues: Send + Sync {
    /// Which of these issues of a project are open, whoever may see them.
    async fn open(&self, project: ProjectId, numbers: &[i64]) -> Result<HashSet<i64>>;
}

/// Whose keys sign commits.
#[async_trait]
pub trait Signers: Send + Sync {
    /// Of these keys (`SHA256:…`) those that belong to open accounts, with the account's address.
    async fn addresses(&self, fingerprints: &[String]) -> Result<Vec<(String, String)>>;
}

/// Whose SSH keys these are, and what their holders may reach.
#[async_trait]
pub trait Keys: Send + Sync {
    /// Who holds the key with this fingerprint (`SHA256:…`): a person, or a program limited to one project.
    async fn holder(&self, fingerprint: &str) -> Result<Caller>;

    /// Which of these keys still open something.
    async fn alive(&self, fingerprints: &[String]) -> Result<HashSet<String>>;

    /// The project, if the caller may see that it exists; by its present path or by one that it had.
    async fn project(&self, caller: &Caller, group: &str, project: &str) -> Result<Option<ProjectScope>>;
}

/// What other capabilities show on a request's page.
#[async_trait]
pub trait Panels: Send + Sync {
    /// Their parts, for one who may read the project's code.
    async fn panels(&self, caller: &Caller, scope: &ProjectScope, request: &MergeRequest) -> Result<Shown>;
}

/// Parts of a request's page.
#[derive(Default)]
pub struct Shown {
    /// For the column of its discussion.
    pub below: Vec<Markup>,
    /// For the one beside it.
    pub beside: Vec<Markup>,
}

/// Who reads files of a project and acts on them, such as the environments that a project declares (delivery). What it
/// says is shown to people and refuses nothing.
#[async_trait]
pub trait Keeper: Send + Sync {
    /// The folder of this project that is read on its default branch; `None`: none is.
    async fn folder(&self, project: ProjectId) -> Result<Option<String>>;

    /// What is wrong with the files of that folder as a push brings them; they are not there yet.
    async fn judge(&self, project: ProjectId, files: Vec<(String, Vec<u8>)>) -> Result<Option<String>>;

    /// What stands against the default branch as it is, to be said on the project's page.
    async fn notice(&self, project: ProjectId) -> Result<Option<String>>;
}

/// A merge that the queue tries before the branch moves.
#[derive(Clone, Debug)]
pub struct Trial {
    /// The project.
    pub project: ProjectId,
    /// Differs each time that the request enters the queue.
    pub attempt: i64,
    /// The request's number.
    pub iid: i64,
    /// The branch that it is to go to.
    pub target_branch: String,
    /// What jobs are told as the branch's name; there is no such branch.
    pub reference: String,
    /// The commit.
    pub sha: String,
    /// What it stands on.
    pub base: String,
    /// Who asked for the merge.
    pub actor: bascule_core::Actor,
}
