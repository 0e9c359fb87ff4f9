//! Projects: what they are and which branches they protect.

pub(crate) mod api;
pub(crate) mod pages;
mod protection;
mod service;
pub(crate) mod store;

pub(crate) use protection::{branch_name, pattern_name, unmistakable};
pub use store::MIGRATIONS;

use bascule_core::{Caller, GroupId, ProjectId, ProjectScope, Role, Timestamp, Visibility};

/// A project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectInfo {
    /// Its identifier; the repository's place on disk follows from it, so renaming moves nothing.
    pub id: ProjectId,
    /// Its group.
    pub group_id: GroupId,
    /// The group's name.
    pub group: String,
    /// Its name.
    pub name: String,
    /// What it is for, one line.
    pub description: String,
    /// Who sees it without being a member.
    pub visibility: Visibility,
    /// The branch that clones begin with.
    pub default_branch: String,
    /// When it was created.
    pub created_at: Timestamp,
    /// Who created it, as they were called then.
    pub created_by: String,
    /// When something was last pushed to it.
    pub pushed_at: Option<Timestamp>,
}

impl ProjectInfo {
    /// `group/name`.
    #[must_use]
    pub fn path(&self) -> String {
        format!("{}/{}", self.group, self.name)
    }

    /// What a caller who holds a role in it may reach.
    #[must_use]
    pub fn scope(&self, caller: &Caller, role: Role) -> ProjectScope {
        ProjectScope {
            id: self.id,
            group_id: self.group_id,
            group: self.group.clone(),
            name: self.name.clone(),
            role,
            scopes: caller.scopes.clone(),
        }
    }
}

/// Which projects someone may see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Visible {
    /// All of them.
    All,
    /// These only.
    Some {
        /// All projects of these groups.
        groups: Vec<GroupId>,
        /// These projects.
        projects: Vec<ProjectId>,
        /// And all internal ones.
        internal: bool,
    },
}
