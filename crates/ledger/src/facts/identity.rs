//! Facts about people, groups, sessions, tokens and keys.

use super::fact;
use bascule_core::{
    DeployKeyId, GroupId, InstanceRole, KeyId, ProjectId, Role, Scope, SessionId, Timestamp, TokenId, UserId,
};
use serde::{Deserialize, Serialize};

/// An account was created.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UserCreated {
    /// The account.
    pub user: UserId,
    /// Its user name.
    pub username: String,
    /// Its standing on the instance.
    pub role: InstanceRole,
}
fact!(
    UserCreated,
    "user.created",
    |_| None,
    |f| format!("user:{}", f.user),
    |f| format!("created the account {} ({})", f.username, f.role)
);

/// An account was changed, by its holder or by an administrator.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UserChanged {
    /// The account.
    pub user: UserId,
    /// Its user name.
    pub username: String,
    /// What was changed: `profile`, `password`, `role`, `active`.
    pub changed: String,
    /// The new standing on the instance, where that is what was changed.
    pub role: Option<InstanceRole>,
}
fact!(
    UserChanged,
    "user.changed",
    |_| None,
    |f| format!("user:{}", f.user),
    |f| match f.role {
        Some(role) => format!("made {} {role} of the instance", f.username),
        None if f.changed == "active" => format!("opened the account {} again", f.username),
        None => format!("changed the {} of the account {}", f.changed, f.username),
    }
);

/// An account was closed: all its sessions, tokens and keys ended in the same instant, and the deploy keys that its
/// holder had made.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UserDeactivated {
    /// The account.
    pub user: UserId,
    /// Its user name.
    pub username: String,
    /// Sessions ended.
    pub sessions: i64,
    /// Tokens revoked.
    pub tokens: i64,
    /// SSH keys removed.
    #[serde(default)]
    pub keys: i64,
    /// Whether it was an outside partner's.
    #[serde(default)]
    pub partner: bool,
    /// Why, as far as it was said.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}
fact!(
    UserDeactivated,
    "user.deactivated",
    |_| None,
    |f| format!("user:{}", f.user),
    |f| format!(
        "{} {}: {} sessions ended, {} tokens revoked{}",
        if f.partner {
            "cut off the outside partner"
        } else {
            "closed the account"
        },
        f.username,
        f.sessions,
        f.tokens,
        if f.reason.is_empty() {
            String::new()
        } else {
            format!(" ({})", f.reason)
        }
    )
);

/// The end of an outside partner's access was set, or moved.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UserEndSet {
    /// The account.
    pub user: UserId,
    /// Its user name.
    pub username: String,
    /// When it ended before, if it did.
    pub before: Option<Timestamp>,
    /// When it ends now.
    pub ends_at: Timestamp,
}
fact!(
    UserEndSet,
    "user.end_set",
    |_| None,
    |f| format!("user:{}", f.user),
    |f| format!("set the end of {}'s access to {}", f.username, f.ends_at)
);

/// Someone signed in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SignedIn {
    /// The account.
    pub user: UserId,
    /// The session.
    pub session: SessionId,
}
fact!(
    SignedIn,
    "session.started",
    |_| None,
    |f| format!("user:{}", f.user),
    |_| "signed in".to_owned()
);

/// A session ended by sign-out.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SignedOut {
    /// The account.
    pub user: UserId,
    /// The session.
    pub session: SessionId,
}
fact!(
    SignedOut,
    "session.ended",
    |_| None,
    |f| format!("user:{}", f.user),
    |_| "signed out".to_owned()
);

/// Sign-in was refused.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SignInRefused {
    /// The user name that was tried, cut to 63 characters.
    pub username: String,
    /// The rule: `bad_credentials`, `rate_limited`, `deactivated`.
    pub rule: String,
}
fact!(
    SignInRefused,
    "session.refused",
    |_| None,
    |f| format!("username:{}", f.username),
    |f| format!("was refused sign-in as {} ({})", f.username, f.rule)
);

/// An access token was created.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TokenCreated {
    /// The token.
    pub token: TokenId,
    /// Its name.
    pub name: String,
    /// The account it acts for, for a personal token.
    pub user: Option<UserId>,
    /// The project it is limited to, for a project token.
    pub project: Option<ProjectId>,
    /// What it may be used for.
    pub scopes: Vec<Scope>,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
}
fact!(
    TokenCreated,
    "token.created",
    |f| f.project,
    |f| format!("token:{}", f.token),
    |f| format!("created the access token {}", f.name)
);

/// An access token was revoked.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TokenRevoked {
    /// The token.
    pub token: TokenId,
    /// Its name.
    pub name: String,
    /// The project it was limited to.
    pub project: Option<ProjectId>,
}
fact!(
    TokenRevoked,
    "token.revoked",
    |f| f.project,
    |f| format!("token:{}", f.token),
    |f| format!("revoked the access token {}", f.name)
);

/// A public key was added to an account.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeyAdded {
    /// The key.
    pub key: KeyId,
    /// The account.
    pub user: UserId,
    /// Its SHA-256 fingerprint as `ssh-keygen -l` prints it.
    pub fingerprint: String,
}
fact!(
    KeyAdded,
    "key.added",
    |_| None,
    |f| format!("user:{}", f.user),
    |f| format!("added the key {}", f.fingerprint)
);

/// A public key was removed from an account.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeyRemoved {
    /// The key.
    pub key: KeyId,
    /// The account.
    pub user: UserId,
    /// Its fingerprint.
    pub fingerprint: String,
}
fact!(
    KeyRemoved,
    "key.removed",
    |_| None,
    |f| format!("user:{}", f.user),
    |f| format!("removed the key {}", f.fingerprint)
);

/// A public key was let into a project.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeployKeyAdded {
    /// The key.
    pub key: DeployKeyId,
    /// The project.
    pub project: ProjectId,
    /// What it is called.
    pub title: String,
    /// Its SHA-256 fingerprint.
    pub fingerprint: String,
    /// Whether it may push.
    pub writes: bool,
}
fact!(
    DeployKeyAdded,
    "deploy_key.added",
    |f| Some(f.project),
    |f| format!("project:{}", f.project),
    |f| format!(
        "added the deploy key {}, which may {}",
        f.title,
        if f.writes { "push" } else { "read" }
    )
);

/// A public key was shut out of a project.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DeployKeyRemoved {
    /// The key.
    pub key: DeployKeyId,
    /// The project.
    pub project: ProjectId,
    /// What it was called.
    pub title: String,
    /// Its SHA-256 fingerprint.
    pub fingerprint: String,
}
fact!(
    DeployKeyRemoved,
    "deploy_key.removed",
    |f| Some(f.project),
    |f| format!("project:{}", f.project),
    |f| format!("removed the deploy key {}", f.title)
);

/// A group was created.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GroupCreated {
    /// The group.
    pub group: GroupId,
    /// Its name.
    pub name: String,
}
fact!(
    GroupCreated,
    "group.created",
    |_| None,
    |f| format!("group:{}", f.group),
    |f| format!("created the group {}", f.name)
);

/// Someone was given a role in a group or project, or another role than before.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MemberSet {
    /// The account.
    pub user: UserId,
    /// Its user name.
    pub username: String,
    /// The group, for a group membership.
    pub group: Option<GroupId>,
    /// The project, for a project membership.
    pub project: Option<ProjectId>,
    /// The role.
    pub role: Role,
    /// When it ends by itself, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<Timestamp>,
}
fact!(
    MemberSet,
    "member.set",
    |f| f.project,
    |f| format!("user:{}", f.user),
    |f| match f.ends_at {
        Some(end) => format!("made {} {} until {end}", f.username, f.role),
        None => format!("made {} {}", f.username, f.role),
    }
);

/// Someone lost their role in a group or project.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MemberRemoved {
    /// The account.
    pub user: UserId,
    /// Its user name.
    pub username: String,
    /// The group, for a group membership.
    pub group: Option<GroupId>,
    /// The project, for a project membership.
    pub project: Option<ProjectId>,
}
fact!(
    MemberRemoved,
    "member.removed",
    |f| f.project,
    |f| format!("user:{}", f.user),
    |f| format!("removed {}", f.username)
);
