//! Who acts, and what they may reach.

use crate::{GroupId, InstanceRole, Permission, Problem, ProjectId, Result, Role, UserId};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What kind of actor stands behind an act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ActorKind {
    /// A person.
    User,
    /// A project or personal token acting for a program.
    Token,
    /// A CI job.
    Job,
    /// A runner.
    Runner,
    /// An environment's agent.
    Agent,
    /// A traffic proxy.
    Edge,
    /// The platform itself.
    System,
    /// Nobody known.
    Anonymous,
}

/// Who did something, as the ledger keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Actor {
    /// The kind.
    pub kind: ActorKind,
    /// The identifier within its kind; empty for the platform and for nobody.
    pub id: String,
    /// What people call it, at the time of the act.
    pub name: String,
}

impl Actor {
    /// An actor of a kind.
    #[must_use]
    pub fn new(kind: ActorKind, id: impl fmt::Display, name: impl Into<String>) -> Self {
        Self {
            kind,
            id: id.to_string(),
            name: name.into(),
        }
    }

    /// The platform acting by itself.
    #[must_use]
    pub fn system() -> Self {
        Self::new(ActorKind::System, "", "bascule")
    }

    /// Someone not signed in.
    #[must_use]
    pub fn anonymous() -> Self {
        Self::new(ActorKind::Anonymous, "", "anonymous")
    }
}

impl ActorKind {
    /// The kind's name as stored.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Token => "token",
            Self::Job => "job",
            Self::Runner => "runner",
            Self::Agent => "agent",
            Self::Edge => "edge",
            Self::System => "system",
            Self::Anonymous => "anonymous",
        }
    }

    /// Reads a stored name; what is unknown is [`ActorKind::Anonymous`].
    #[must_use]
    pub fn parse(text: &str) -> Self {
        [
            Self::User,
            Self::Token,
            Self::Job,
            Self::Runner,
            Self::Agent,
            Self::Edge,
            Self::System,
        ]
        .into_iter()
        .find(|kind| kind.as_str() == text)
        .unwrap_or(Self::Anonymous)
    }
}

/// What a token may be used for (GitLab's names).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// The whole API.
    Api,
    /// Reading through the API.
    ReadApi,
    /// Cloning and fetching.
    ReadRepository,
    /// Cloning, fetching and pushing.
    WriteRepository,
    /// Pulling images.
    ReadRegistry,
}

impl Scope {
    /// All scopes.
    pub const ALL: [Self; 5] = [
        Self::Api,
        Self::ReadApi,
        Self::ReadRepository,
        Self::WriteRepository,
        Self::ReadRegistry,
    ];

    /// The scope's name as stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::ReadApi => "read_api",
            Self::ReadRepository => "read_repository",
            Self::WriteRepository => "write_repository",
            Self::ReadRegistry => "read_registry",
        }
    }

    /// Reads a scope's name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == text)
    }

    /// Whether a token with this scope may use `permission`.
    #[must_use]
    pub fn allows(self, permission: Permission) -> bool {
        match self {
            Self::Api => true,
            Self::ReadApi => permission.is_read(),
            Self::ReadRepository => matches!(permission, Permission::CodeRead),
            Self::ReadRegistry => matches!(permission, Permission::ImageRead),
            Self::WriteRepository => {
                matches!(
                    permission,
                    Permission::CodeRead | Permission::CodePush | Permission::ProtectedPush
                )
            }
        }
    }
}

/// Who is asking, established once per request before any handler runs.
#[derive(Clone, Debug)]
pub struct Caller {
    /// As the ledger will name them.
    pub actor: Actor,
    /// The account, where one stands behind the request.
    pub user: Option<UserId>,
    /// Standing on the instance.
    pub instance_role: InstanceRole,
    /// `None`: a signed-in person with all their rights. `Some`: a token limited to these.
    pub scopes: Option<Vec<Scope>>,
    /// Set for project tokens and jobs: the one project they may reach, and with what role.
    pub only_project: Option<(ProjectId, Role)>,
    /// Whether the request came with a browser's session cookie, and so needs CSRF checks.
    pub by_cookie: bool,
}

impl Caller {
    /// Someone not signed in.
    #[must_use]
    pub fn anonymous() -> Self {
        Self {
            actor: Actor::anonymous(),
            user: None,
            instance_role: InstanceRole::External,
            scopes: None,
            only_project: None,
            by_cookie: false,
        }
    }

    /// The platform itself, for commands it starts on its own.
    #[must_use]
    pub fn system() -> Self {
        Self {
            actor: Actor::system(),
            instance_role: InstanceRole::Admin,
            ..Self::anonymous()
        }
    }

    /// Whether nobody known stands behind the request.
    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        self.actor.kind == ActorKind::Anonymous
    }

    /// The person who calls; none for programs, such as the holder of a project's own token.
    #[must_use]
    pub fn person(&self) -> Option<UserId> {
        self.user.filter(|_| self.only_project.is_none())
    }

    /// Refuses programs what would take the need for a person's word away. Programs do not approve, so they must not be
    /// able to say either that nobody has to. `what` completes "Only a person …".
    ///
    /// # Errors
    /// The caller is a program.
    pub fn must_be_person(&self, what: &str) -> Result<()> {
        // The platform itself does what a person has asked for.
        if self.person().is_some() || self.actor.kind == ActorKind::System {
            return Ok(());
        }
        Err(
            Problem::new(403, "not_a_person", format!("Only a person {what}."))
                .why("Programs do not approve: one that could change the rules of merging, or who may change them, could do without the people who approve. No account stands behind this token.")
                .next("A person with the role maintainer does this, signed in or with a personal token with the scope `api`."),
        )
    }

    /// Whether the token used, if any, has a scope for `permission`.
    #[must_use]
    pub fn scope_allows(&self, permission: Permission) -> bool {
        self.scopes
            .as_ref()
            .is_none_or(|scopes| scopes.iter().any(|scope| scope.allows(permission)))
    }

    /// Whether the caller holds an instance-wide permission.
    #[must_use]
    pub fn holds(&self, permission: Permission) -> bool {
        self.only_project.is_none() && self.instance_role.holds(permission) && self.scope_allows(permission)
    }
}

/// Who sees a project or group without being a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Visibility {
    /// Members only.
    Private,
    /// Every account of the institution (not external ones) reads.
    Internal,
}

impl Visibility {
    /// As stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::Internal => "internal",
        }
    }

    /// Reads a stored value; what is unknown is private.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        if text == "internal" {
            Self::Internal
        } else {
            Self::Private
        }
    }
}

/// A project that the request's path names and the caller may see; put into the request by the gate.
#[derive(Clone, Debug)]
pub struct ProjectScope {
    /// The project.
    pub id: ProjectId,
    /// Its group.
    pub group_id: GroupId,
    /// The group's name.
    pub group: String,
    /// The project's name.
    pub name: String,
    /// The caller's role here.
    pub role: Role,
    /// What the caller's token, if any, is limited to.
    pub scopes: Option<Vec<Scope>>,
}

impl ProjectScope {
    /// `group/project`.
    #[must_use]
    pub fn path(&self) -> String {
        format!("{}/{}", self.group, self.name)
    }

    /// Whether the caller may do this here: by role, and by the scope of the token used.
    #[must_use]
    pub fn holds(&self, permission: Permission) -> bool {
        self.role.holds(permission)
            && self
                .scopes
                .as_ref()
                .is_none_or(|scopes| scopes.iter().any(|scope| scope.allows(permission)))
    }
}

/// A group that the request's path names and the caller may see.
#[derive(Clone, Debug)]
pub struct GroupScope {
    /// The group.
    pub id: GroupId,
    /// Its name.
    pub name: String,
    /// The caller's role here.
    pub role: Role,
}
