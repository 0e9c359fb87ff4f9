//! Who may do what. Roles are GitLab's, ordered; each permission names the least role that holds it, in
//! one table, so that a reader can check the whole matrix at a glance.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// A member's role in a group or project. Each role holds all that the lower ones hold.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Sees that the project exists and its plain facts; no code.
    Guest,
    /// Reads code, pipelines, releases, environments, incidents and measures.
    Reporter,
    /// Pushes, runs pipelines, deploys to staging, works on incidents, stops a rollout.
    Developer,
    /// Deploys to production, manages members, tokens and settings.
    Maintainer,
    /// Everything, including deletion.
    Owner,
}

/// An account's standing on the whole instance.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum InstanceRole {
    /// An outside partner: sees only the projects granted by name, with no role above
    /// [`Role::MOST_OF_PARTNERS`], and until the account's end date.
    External,
    /// Belongs to the institution: may create groups.
    Member,
    /// Reads everything, changes nothing.
    Auditor,
    /// Runs the instance.
    Admin,
}

macro_rules! permissions {
    ($($(#[$doc:meta])* $name:ident => $role:ident, $read:literal, $can:literal;)*) => {
        /// One thing a caller may be allowed to do. A project permission needs at least the role it names.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Permission { $($(#[$doc])* $name,)* }

        impl Permission {
            /// All permissions, for tests that walk them.
            pub const ALL: &'static [Permission] = &[$(Permission::$name,)*];

            /// The least role that holds this permission.
            #[must_use]
            pub const fn least_role(self) -> Role {
                match self { $(Self::$name => Role::$role,)* }
            }

            /// Whether it only reads; read-only tokens and auditors hold these.
            #[must_use]
            pub const fn is_read(self) -> bool {
                match self { $(Self::$name => $read,)* }
            }

            /// What it lets one do, to complete "you may not …".
            #[must_use]
            pub const fn describe(self) -> &'static str {
                match self { $(Self::$name => $can,)* }
            }
        }
    };
}

permissions! {
    /// See the project's name, description and members.
    ProjectView => Guest, true, "see this project";
    /// Read and clone code.
    CodeRead => Reporter, true, "read this project's code";
    /// Read pipelines, jobs and logs.
    PipelineRead => Reporter, true, "read this project's pipelines";
    /// Read releases, SBOMs and provenance.
    ReleaseRead => Reporter, true, "read this project's releases";
    /// Pull the images of releases.
    ImageRead => Reporter, true, "pull this project's images";
    /// Read environments, deployments and rollouts.
    EnvironmentRead => Reporter, true, "read this project's environments";
    /// Read telemetry, SLOs and alerts.
    TelemetryRead => Reporter, true, "read this project's telemetry";
    /// Read incidents.
    IncidentRead => Reporter, true, "read this project's incidents";
    /// Read measures and the facts behind them.
    InsightsRead => Reporter, true, "read this project's measures";
    /// Read the project's facts in the ledger.
    LedgerRead => Reporter, true, "read this project's facts";
    /// Read issues, boards, labels and milestones; confidential issues need more.
    IssueRead => Guest, true, "read this project's issues";
    /// Open issues and comment on them.
    IssueCreate => Guest, false, "open issues or comment on them";
    /// Edit, label, assign, move and close issues; manage labels and milestones.
    IssueManage => Reporter, false, "edit, assign or move issues";
    /// Push to branches that are not protected.
    CodePush => Developer, false, "push to this project";
    /// Open merge requests and speak in them.
    MergeRequestWrite => Reporter, false, "open merge requests in this project";
    /// Merge what the rules let through.
    MergeRequestMerge => Developer, false, "merge in this project";
    /// Approve merge requests or ask for changes, in one's own name.
    MergeRequestApprove => Developer, false, "approve merge requests in this project";
    /// Post what a program found about a commit.
    FindingWrite => Developer, false, "post findings in this project";
    /// Start, retry and cancel pipelines and jobs.
    PipelineRun => Developer, false, "run pipelines in this project";
    /// Deploy to environments below production.
    DeployStaging => Developer, false, "deploy to staging";
    /// Stop a rollout and put traffic back.
    RolloutAbort => Developer, false, "abort a rollout";
    /// Declare, acknowledge, comment on and resolve incidents.
    IncidentWrite => Developer, false, "work on incidents";
    /// Push to protected branches and tags.
    ProtectedPush => Maintainer, false, "push to a protected branch";
    /// Deploy to production; promote or pause a rollout.
    DeployProduction => Maintainer, false, "deploy to production";
    /// Decide on findings: waive them, or say that the product is not affected.
    FindingTriage => Maintainer, false, "decide on this project's findings";
    /// Change settings, protected branches, environments.
    ProjectManage => Maintainer, false, "change this project's settings";
    /// Add and remove members; create project tokens.
    MemberManage => Maintainer, false, "manage members and tokens";
    /// Delete the project.
    ProjectDelete => Owner, false, "delete this project";
    /// See a group and its projects.
    GroupView => Guest, true, "see this group";
    /// Create projects in a group.
    ProjectCreate => Maintainer, false, "create projects in this group";
    /// Manage a group's members and settings.
    GroupManage => Owner, false, "manage this group";
    /// Create groups (instance).
    GroupCreate => Owner, false, "create groups";
    /// Read the whole instance: all facts, all measures (instance).
    InstanceRead => Owner, true, "read the whole instance";
    /// Manage users, runners, agents and instance settings (instance).
    InstanceManage => Owner, false, "manage this instance";
}

impl Role {
    /// The highest role that an outside partner can have: who works along decides on nobody else.
    pub const MOST_OF_PARTNERS: Self = Self::Developer;

    /// Whether this role holds `permission`.
    #[must_use]
    pub fn holds(self, permission: Permission) -> bool {
        self >= permission.least_role()
    }

    /// The role's name as stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Guest => "guest",
            Self::Reporter => "reporter",
            Self::Developer => "developer",
            Self::Maintainer => "maintainer",
            Self::Owner => "owner",
        }
    }
}

impl InstanceRole {
    /// Whether this standing alone holds an instance-wide permission.
    #[must_use]
    pub fn holds(self, permission: Permission) -> bool {
        match self {
            Self::Admin => true,
            Self::Auditor => permission.is_read() || permission == Permission::GroupCreate,
            Self::Member => permission == Permission::GroupCreate,
            Self::External => false,
        }
    }

    /// The role that this standing gives in every project, if any.
    #[must_use]
    pub const fn everywhere(self) -> Option<Role> {
        match self {
            Self::Admin => Some(Role::Owner),
            Self::Auditor => Some(Role::Reporter),
            Self::Member | Self::External => None,
        }
    }

    /// The standing's name as stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::External => "external",
            Self::Member => "member",
            Self::Auditor => "auditor",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [
            Self::Guest,
            Self::Reporter,
            Self::Developer,
            Self::Maintainer,
            Self::Owner,
        ]
        .into_iter()
        .find(|role| role.as_str() == text)
        .ok_or_else(|| format!("`{text}` is no role: use guest, reporter, developer, maintainer or owner"))
    }
}

impl fmt::Display for InstanceRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for InstanceRole {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::External, Self::Member, Self::Auditor, Self::Admin]
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| format!("`{text}` is no instance role: use external, member, auditor or admin"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_reads_no_code_and_nobody_below_maintainer_reaches_production() {
        assert!(Role::Guest.holds(Permission::ProjectView));
        assert!(!Role::Guest.holds(Permission::CodeRead));
        assert!(!Role::Developer.holds(Permission::DeployProduction));
        assert!(Role::Maintainer.holds(Permission::DeployProduction));
    }

    #[test]
    fn an_auditor_changes_nothing() {
        for permission in Permission::ALL
            .iter()
            .filter(|p| !p.is_read() && **p != Permission::GroupCreate)
        {
            assert!(!InstanceRole::Auditor.holds(*permission), "{permission:?}");
        }
    }
}
