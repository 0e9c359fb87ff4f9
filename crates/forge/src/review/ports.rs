//! What reviews ask about people. The binary wires it to identity.

use crate::ProjectInfo;
use async_trait::async_trait;
use bascule_core::{GroupId, Result, Role, UserId};

/// Who people are, and what they may do now. Nothing is remembered between two questions.
#[async_trait]
pub trait People: Send + Sync {
    /// The open account of this name.
    async fn by_name(&self, username: &str) -> Result<Option<Known>>;

    /// Open accounts by e-mail address in lower case, with the address: all that have it.
    async fn by_emails(&self, addresses: &[String]) -> Result<Vec<(String, Known)>>;

    /// The open account that an administrator gave this address, in lower case.
    async fn by_given_email(&self, address: &str) -> Result<Option<Known>>;

    /// The role that an account holds in a project; `None` for none, and for a closed account.
    async fn role(&self, user: UserId, project: &ProjectInfo) -> Result<Option<Role>>;

    /// Open accounts that were given a role in a project or its group, at most 2,000.
    async fn members(&self, project: &ProjectInfo) -> Result<Vec<(Known, Role)>>;

    /// A group and its members.
    async fn team(&self, group: GroupId) -> Result<Option<Team>>;

    /// The same by name.
    async fn team_named(&self, name: &str) -> Result<Option<Team>>;

    /// What an account is called in commits: its name and its address.
    async fn signature(&self, user: UserId) -> Result<Option<crate::Signature>>;
}

/// An open account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// The account.
    pub id: UserId,
    /// Its user name.
    pub username: String,
}

/// A group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Team {
    /// The group.
    pub id: GroupId,
    /// Its name.
    pub name: String,
    /// Open accounts that are developers or more in it, at most 2,000.
    pub members: Vec<UserId>,
}
