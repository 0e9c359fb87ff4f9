//! What planning asks of others. The binary wires each to the capability that knows.

use async_trait::async_trait;
use bascule_core::{Actor, Caller, GroupId, ProjectId, ProjectScope, Result, Role, UserId};
use bascule_wire::planning::IssueTemplate;
use std::collections::HashMap;

/// Someone who has a role in a project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The account.
    pub user: UserId,
    /// The user name.
    pub username: String,
    /// The role.
    pub role: Role,
    /// Whether the account is open.
    pub active: bool,
}

/// What someone was given by name, and what standing on the instance adds. That a project is open for the whole
/// institution to read gives nothing here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// The role held in every project by standing: an administrator's, or an auditor's.
    pub standing: Option<Role>,
    /// Whether that standing only reads.
    pub reads_only: bool,
    /// Roles in groups, which hold in their projects too.
    pub groups: HashMap<GroupId, Role>,
    /// Roles in single projects.
    pub projects: HashMap<ProjectId, Role>,
}

impl Reach {
    /// The role by which someone acts in a project.
    #[must_use]
    pub fn acts(&self, project: ProjectId, group: GroupId) -> Option<Role> {
        let standing = self.standing.filter(|_| !self.reads_only);
        let given = self
            .projects
            .get(&project)
            .copied()
            .max(self.groups.get(&group).copied());
        given.max(standing)
    }

    /// The role by which someone reads in a project.
    #[must_use]
    pub fn reads(&self, project: ProjectId, group: GroupId) -> Option<Role> {
        self.acts(project, group).max(self.standing)
    }

    /// The role by which someone acts in a group.
    #[must_use]
    pub fn acts_in_group(&self, group: GroupId) -> Option<Role> {
        self.groups
            .get(&group)
            .copied()
            .max(self.standing.filter(|_| !self.reads_only))
    }
}

/// Who is who (identity).
#[async_trait]
pub trait People: Send + Sync {
    /// Everyone with a role in a project, those of its group included; at most 1,000.
    async fn members(&self, project: ProjectId, group: GroupId) -> Result<Vec<Member>>;

    /// What a caller was given.
    async fn reach(&self, caller: &Caller) -> Result<Reach>;

    /// What stands behind a fact's actor: for what the platform does on their behalf.
    async fn behind(&self, actor: &Actor) -> Result<Reach>;
}

/// Which projects there are (forge), as someone sees them.
#[async_trait]
pub trait Projects: Send + Sync {
    /// A project by `group/project`, if the caller may see it.
    async fn find(&self, caller: &Caller, path: &str) -> Result<Option<ProjectScope>>;

    /// A project by its identifier, if the caller may see it.
    async fn get(&self, caller: &Caller, project: ProjectId) -> Result<Option<ProjectScope>>;

    /// A group's projects that the caller may see, at most 1,000.
    async fn of_group(&self, caller: &Caller, group: GroupId) -> Result<Vec<ProjectScope>>;

    /// A project's group, whoever may see it.
    async fn group_of(&self, project: ProjectId) -> Result<Option<GroupId>>;

    /// The branch by which a project goes, whoever may see it.
    async fn default_branch(&self, project: ProjectId) -> Result<Option<String>>;

    /// A project by `group/project`, whoever may see it.
    async fn id_of(&self, path: &str) -> Result<Option<(ProjectId, GroupId)>>;
}

/// A merge request that says that it closes an issue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClosingRequest {
    /// Its number within the project.
    pub number: i64,
    /// Its title.
    pub title: String,
    /// `open`, `merged` or `closed`.
    pub state: &'static str,
}

/// What is in the repository (forge).
#[async_trait]
pub trait Code: Send + Sync {
    /// A commit's message.
    async fn message(&self, project: ProjectId, sha: &str) -> Result<Option<String>>;

    /// Markdown files directly in a folder on the default branch, by name, at most 50 of 64 KiB each; empty where
    /// there is no such folder.
    async fn templates(&self, project: ProjectId, folder: &str) -> Result<Vec<IssueTemplate>>;

    /// Merge requests of a project whose title or description says that they close one of its issues, newest first,
    /// at most 20.
    async fn closing(&self, project: ProjectId, issue: i64) -> Result<Vec<ClosingRequest>>;
}
