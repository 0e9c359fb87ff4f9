//! Who may see and do what with issues, beyond what the route's access has decided already.
//!
//! As GitLab has it: guests see issues, open them and comment; from reporter up one edits, labels, assigns and moves.
//! Confidential issues are seen by members from reporter up, and by their author and assignees. That a project is
//! open for the whole institution to read makes nobody a member.

use crate::{Planning, ports::Reach};
use bascule_core::{Caller, GroupId, Permission, Problem, ProjectId, ProjectScope, Result, Role, UserId};

/// What someone sees and does in one project.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sight {
    /// The account, if one stands behind the request.
    pub(crate) me: Option<UserId>,
    /// Sees confidential issues.
    pub(crate) trusted: bool,
    /// Edits, labels, assigns and moves.
    pub(crate) manages: bool,
    /// Opens and comments.
    pub(crate) speaks: bool,
}

impl Sight {
    pub(crate) fn of(reach: &Reach, caller: &Caller, scope: &ProjectScope) -> Self {
        let acts = reach.acts(scope.id, scope.group_id);
        let reads = reach.reads(scope.id, scope.group_id);
        let reporter = |role: Option<Role>| role >= Some(Role::Reporter);
        Self {
            me: caller.user,
            trusted: reporter(reads),
            manages: reporter(acts) && scope.holds(Permission::IssueManage),
            // Whoever reads an internal project may speak there; an auditor changes nothing.
            speaks: (acts.is_some() || !reach.reads_only) && scope.holds(Permission::IssueCreate),
        }
    }

    pub(crate) fn sees(&self, confidential: bool, author: Option<UserId>, assignees: &[UserId]) -> bool {
        let mine = self
            .me
            .is_some_and(|me| author == Some(me) || assignees.contains(&me));
        !confidential || self.trusted || mine
    }

    pub(crate) fn must_manage(&self) -> Result<()> {
        if self.manages {
            return Ok(());
        }
        Err(Problem::forbidden(Permission::IssueManage).why(
            "It needs at least the role `reporter`, given in this project or its group, or a token with a matching scope.",
        ))
    }

    pub(crate) fn must_speak(&self) -> Result<()> {
        if self.speaks {
            return Ok(());
        }
        Err(Problem::forbidden(Permission::IssueCreate))
    }
}

impl Planning {
    /// What a caller sees and does in a project.
    pub(crate) async fn sight(&self, caller: &Caller, project: &ProjectScope) -> Result<Sight> {
        if !project.holds(Permission::IssueRead) {
            return Err(Problem::forbidden(Permission::IssueRead));
        }
        let reach = self.people.reach(caller).await?;
        Ok(Sight::of(&reach, caller, project))
    }

    /// Whether a caller manages what belongs to a group: its labels and milestones.
    pub(crate) async fn must_manage_group(&self, caller: &Caller, group: GroupId) -> Result<()> {
        let reach = self.people.reach(caller).await?;
        let reporter = reach.acts_in_group(group) >= Some(Role::Reporter);
        if reporter && caller.scope_allows(Permission::IssueManage) {
            Ok(())
        } else {
            Err(Problem::forbidden(Permission::IssueManage))
        }
    }
}

/// Which issues of several projects someone sees; for queries.
#[derive(Clone, Debug, Default)]
pub(crate) struct Among {
    /// The projects, each of which may be read.
    pub(crate) projects: Vec<ProjectId>,
    /// Those of them whose confidential issues are seen.
    pub(crate) trusted: Vec<ProjectId>,
    /// Whose own confidential issues are seen besides.
    pub(crate) me: Option<UserId>,
}

impl Among {
    /// One project.
    pub(crate) fn one(project: ProjectId, sight: &Sight) -> Self {
        Self {
            projects: vec![project],
            trusted: if sight.trusted { vec![project] } else { Vec::new() },
            me: sight.me,
        }
    }

    /// Several.
    pub(crate) fn several(reach: &Reach, caller: &Caller, scopes: &[ProjectScope]) -> Self {
        let readable = || scopes.iter().filter(|scope| scope.holds(Permission::IssueRead));
        Self {
            projects: readable().map(|scope| scope.id).collect(),
            trusted: readable()
                .filter(|scope| Sight::of(reach, caller, scope).trusted)
                .map(|scope| scope.id)
                .collect(),
            me: caller.user,
        }
    }
}
