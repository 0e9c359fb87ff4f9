//! People, groups, members, tokens and keys, as the JSON API tells of them and the command line reads them.

use bascule_core::{
    DeployKeyId, GroupId, InstanceRole, KeyId, Name, ProjectId, Role, Scope, Timestamp, TokenId, UserId,
    Visibility,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct User {
    /// The account.
    pub id: UserId,
    /// The name one signs in with.
    pub username: String,
    /// What people call them.
    pub display_name: String,
    /// Where to write to; may be empty.
    pub email: String,
    /// Standing on the instance.
    pub role: InstanceRole,
    /// Whether the account is open.
    pub active: bool,
    /// When it was created.
    pub created_at: Timestamp,
    /// When its holder last signed in with the password.
    pub last_sign_in_at: Option<Timestamp>,
    /// When an outside partner's account ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<Timestamp>,
}

/// A project's own token, which has no account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProjectToken {
    /// As the ledger names it: `token:` and what it is called.
    pub username: String,
    /// The one project that it reaches.
    pub project: ProjectId,
    /// The role that it has there.
    pub role: Role,
    /// What it may be used for.
    pub scopes: Vec<Scope>,
}

/// Who a token or session belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum Holder {
    /// An account.
    Account(User),
    /// A project's own token.
    Project(ProjectToken),
}

/// An account to be created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NewUser {
    /// The name one signs in with.
    pub username: Name,
    /// What people call them; the user name if empty.
    #[serde(default)]
    pub display_name: String,
    /// Where to write to.
    #[serde(default)]
    pub email: String,
    /// The first password; a random one is made and told once if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// Standing on the instance.
    #[serde(default = "member")]
    pub role: InstanceRole,
    /// When an outside partner's account ends; a year from now if not given, and never later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<Timestamp>,
}

fn member() -> InstanceRole {
    InstanceRole::Member
}

/// An account that was just created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CreatedUser {
    /// The account.
    #[serde(flatten)]
    pub user: User,
    /// The random first password, told only here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial_password: Option<String>,
}

/// A change of an account's standing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UserChange {
    /// The new standing on the instance.
    pub role: InstanceRole,
}

/// One page of accounts, by user name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UserPage {
    /// The accounts.
    pub items: Vec<User>,
    /// Give it as `after` to get the next page; absent on the last.
    pub next: Option<String>,
}

/// A group of projects and members.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Group {
    /// The group.
    pub id: GroupId,
    /// Its name.
    pub name: Name,
    /// What it is for.
    pub description: String,
    /// Who sees it without being a member.
    pub visibility: Visibility,
    /// When it was created.
    pub created_at: Timestamp,
    /// The caller's role in it.
    pub role: Role,
}

/// A group to be created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NewGroup {
    /// Its name.
    pub name: Name,
    /// What it is for.
    #[serde(default)]
    pub description: String,
    /// Who sees it without being a member.
    #[serde(default = "private")]
    pub visibility: Visibility,
}

fn private() -> Visibility {
    Visibility::Private
}

/// One page of groups, by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GroupPage {
    /// The groups.
    pub items: Vec<Group>,
    /// Give it as `after` to get the next page; absent on the last.
    pub next: Option<String>,
}

/// Someone's role in a group or project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Member {
    /// The account.
    pub id: UserId,
    /// Its user name.
    pub username: String,
    /// What people call them.
    pub display_name: String,
    /// The role.
    pub role: Role,
    /// Whether the account is open.
    pub active: bool,
    /// Whether the role comes from the project's group.
    pub inherited: bool,
    /// Since when.
    pub since: Timestamp,
    /// Whether it is an outside partner.
    #[serde(default)]
    pub partner: bool,
    /// When the role ends by itself, if it does: its own end, or the account's if that is sooner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<Timestamp>,
}

/// The role to give.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SetMember {
    /// The role.
    pub role: Role,
    /// When a role in a project ends by itself; it does not if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<Timestamp>,
}

/// One page of members, by user name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MemberPage {
    /// The members.
    pub items: Vec<Member>,
    /// Give it as `after` to get the next page; absent on the last.
    pub next: Option<String>,
}

/// An outside partner: an account from outside the institution, limited to the projects that it was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Partner {
    /// The account.
    #[serde(flatten)]
    pub user: User,
    /// What it reaches.
    pub projects: Vec<PartnerProject>,
    /// Whether the end is less than two weeks away.
    pub ends_soon: bool,
    /// Whether the caller may set a later end.
    pub may_extend: bool,
}

/// A project that an outside partner was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PartnerProject {
    /// `group/project`.
    pub path: String,
    /// The role there.
    pub role: Role,
    /// When the role ends before the account does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<Timestamp>,
}

/// One page of outside partners, by user name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PartnerPage {
    /// The partners.
    pub items: Vec<Partner>,
    /// Give it as `after` to get the next page; absent on the last.
    pub next: Option<String>,
}

/// An outside partner to be invited to a project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NewPartner {
    /// The name one signs in with.
    pub username: Name,
    /// What people call them; the user name if empty.
    #[serde(default)]
    pub display_name: String,
    /// Where to write to.
    #[serde(default)]
    pub email: String,
    /// The first password; a random one is made and told once if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// The role in the project: guest, reporter or developer.
    pub role: Role,
    /// When the account ends, at most a year from now.
    pub ends_at: Timestamp,
}

/// Why an outside partner is cut off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CutOff {
    /// In a few words; it stands in the ledger for ever.
    pub reason: String,
}

/// A new end of an outside partner's access.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PartnerEnd {
    /// When, at most a year from now.
    pub ends_at: Timestamp,
}

/// An access token, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Token {
    /// The token.
    pub id: TokenId,
    /// Its name.
    pub name: String,
    /// What it may be used for.
    pub scopes: Vec<Scope>,
    /// Its role in the project, for a project token.
    pub role: Option<Role>,
    /// Who created it.
    pub created_by: String,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it ends; absent for one that does not.
    pub expires_at: Option<Timestamp>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<Timestamp>,
}

/// A personal token to be created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NewToken {
    /// Its name: what will use it.
    pub name: String,
    /// What it may be used for.
    pub scopes: Vec<Scope>,
    /// When it ends; a year from now if not given, and never later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

/// A project token to be created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NewProjectToken {
    /// Its name: what will use it.
    pub name: String,
    /// What it may be used for.
    pub scopes: Vec<Scope>,
    /// Its role in the project, no higher than the caller's own.
    pub role: Role,
    /// When it ends; a year from now if not given, and never later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

/// A token that was just created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CreatedToken {
    /// The token.
    #[serde(flatten)]
    pub token: Token,
    /// The secret, told only here.
    pub secret: String,
}

/// A list of access tokens, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenList {
    /// The tokens that are not revoked.
    pub items: Vec<Token>,
}

/// A public SSH key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Key {
    /// The key.
    pub id: KeyId,
    /// What it is called.
    pub title: String,
    /// The algorithm and, for RSA, its length.
    pub algorithm: String,
    /// SHA-256 fingerprint as `ssh-keygen -l` prints it.
    pub fingerprint: String,
    /// When it was added.
    pub created_at: Timestamp,
    /// When it was last used, to the minute.
    pub last_used_at: Option<Timestamp>,
}

/// A key to be added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NewKey {
    /// What to call it; the key's own comment if empty.
    #[serde(default)]
    pub title: String,
    /// One line in OpenSSH's public key format, as in `id_ed25519.pub`.
    pub key: String,
}

/// A person's keys, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyList {
    /// The keys.
    pub items: Vec<Key>,
}

/// A public key that reaches one project over SSH.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeployKey {
    /// The key.
    pub id: DeployKeyId,
    /// What it is called.
    pub title: String,
    /// The algorithm and, for RSA, its length.
    pub algorithm: String,
    /// SHA-256 fingerprint as `ssh-keygen -l` prints it.
    pub fingerprint: String,
    /// Whether it may push to branches that are not protected; else it reads.
    pub writes: bool,
    /// Who added it.
    pub created_by: String,
    /// When it was added.
    pub created_at: Timestamp,
    /// When it was last used, to the minute.
    pub last_used_at: Option<Timestamp>,
}

/// A deploy key to be added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NewDeployKey {
    /// What to call it; the key's own comment if empty.
    #[serde(default)]
    pub title: String,
    /// One line in OpenSSH's public key format, as in `id_ed25519.pub`.
    pub key: String,
    /// Whether it may push.
    #[serde(default)]
    pub writes: bool,
}

/// A project's deploy keys, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeployKeyList {
    /// The keys.
    pub items: Vec<DeployKey>,
}
