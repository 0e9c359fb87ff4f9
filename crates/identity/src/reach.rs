//! What a caller may reach: one query at most.

use crate::{Identity, group};
use bascule_core::{Caller, GroupId, InstanceRole, ProjectId, Result, Role, Visibility};
use std::collections::HashMap;

/// All that a caller may reach, for lists over many projects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// The role held in every group and project.
    pub everywhere: Option<Role>,
    /// Whether what is internal may be read.
    pub internal: bool,
    /// Roles in groups, which hold in their projects too.
    pub groups: HashMap<GroupId, Role>,
    /// Roles in single projects.
    pub projects: HashMap<ProjectId, Role>,
}

impl Reach {
    /// The role in a group, if it may be seen.
    #[must_use]
    pub fn in_group(&self, group: GroupId, visibility: Visibility) -> Option<Role> {
        self.groups.get(&group).copied().max(self.base(visibility))
    }

    /// The role in a project, if it may be seen.
    #[must_use]
    pub fn in_project(&self, project: ProjectId, group: GroupId, visibility: Visibility) -> Option<Role> {
        let granted = self
            .projects
            .get(&project)
            .copied()
            .max(self.groups.get(&group).copied());
        granted.max(self.base(visibility))
    }

    fn base(&self, visibility: Visibility) -> Option<Role> {
        let read = (self.internal && visibility == Visibility::Internal).then_some(Role::Reporter);
        self.everywhere.max(read)
    }

    /// Takes what outside partners cannot have: a role in a group, and one above developer.
    fn cut_for(mut self, caller: &Caller) -> Self {
        if caller.instance_role == InstanceRole::External && caller.only_project.is_none() {
            self.groups.clear();
            for role in self.projects.values_mut() {
                *role = (*role).min(Role::MOST_OF_PARTNERS);
            }
        }
        self
    }

    /// What standing alone gives: nothing to those limited to one project.
    fn of_standing(caller: &Caller) -> Self {
        if caller.only_project.is_some() {
            return Self::default();
        }
        let internal = caller.user.is_some() && caller.instance_role >= InstanceRole::Member;
        Self {
            everywhere: caller.instance_role.everywhere(),
            internal,
            ..Self::default()
        }
    }
}

impl Identity {
    /// Everything the caller may reach.
    ///
    /// # Errors
    /// The database refused.
    pub async fn reach(&self, caller: &Caller) -> Result<Reach> {
        let mut reach = Reach::of_standing(caller);
        if let Some((project, role)) = caller.only_project {
            reach.projects.insert(project, role);
        } else if let Some(user) = caller.user {
            for member in group::store::memberships(self.db(), user, self.now()).await? {
                if let Some(id) = member.group_id {
                    reach.groups.insert(id, member.role);
                }
                if let Some(id) = member.project_id {
                    reach.projects.insert(id, member.role);
                }
            }
        }
        Ok(reach.cut_for(caller))
    }

    /// The caller's role in a group, or `None` where they may not see it.
    ///
    /// # Errors
    /// The database refused.
    pub async fn role_in_group(
        &self,
        caller: &Caller,
        group: GroupId,
        visibility: Visibility,
    ) -> Result<Option<Role>> {
        let mut reach = Reach::of_standing(caller);
        if let Some(user) = caller.person()
            && let Some(role) = group::store::role_in_group(self.db(), user, group).await?
        {
            reach.groups.insert(group, role);
        }
        Ok(reach.cut_for(caller).in_group(group, visibility))
    }

    /// The caller's role in a project, or `None` where they may not see it: the highest of what the group,
    /// the project, the standing on the instance, and the project's visibility give. Project tokens and jobs
    /// reach their own project alone.
    ///
    /// # Errors
    /// The database refused.
    pub async fn role_in_project(
        &self,
        caller: &Caller,
        project: ProjectId,
        group: GroupId,
        visibility: Visibility,
    ) -> Result<Option<Role>> {
        let mut reach = Reach::of_standing(caller);
        if let Some((only, role)) = caller.only_project {
            return Ok((only == project).then_some(role));
        }
        if let Some(user) = caller.user {
            let held = group::store::roles_in_project(self.db(), user, project, group, self.now()).await?;
            for held in held {
                if held.of_group {
                    reach.groups.insert(group, held.role);
                } else {
                    reach.projects.insert(project, held.role);
                }
            }
        }
        Ok(reach.cut_for(caller).in_project(project, group, visibility))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bascule_core::{Actor, ActorKind, UserId};

    fn caller(role: InstanceRole) -> Caller {
        Caller {
            actor: Actor::new(ActorKind::User, "1", "ann"),
            user: Some(UserId::new()),
            instance_role: role,
            ..Caller::anonymous()
        }
    }

    #[test]
    fn outsiders_see_only_what_is_granted_by_name() {
        let (group, project) = (GroupId::new(), ProjectId::new());
        let role = |standing, visibility| {
            Reach::of_standing(&caller(standing)).in_project(project, group, visibility)
        };
        assert_eq!(role(InstanceRole::External, Visibility::Internal), None);
        assert_eq!(
            role(InstanceRole::Member, Visibility::Internal),
            Some(Role::Reporter)
        );
        assert_eq!(role(InstanceRole::Member, Visibility::Private), None);
        assert_eq!(
            role(InstanceRole::Auditor, Visibility::Private),
            Some(Role::Reporter)
        );
        assert_eq!(role(InstanceRole::Admin, Visibility::Private), Some(Role::Owner));
        assert_eq!(
            Reach::of_standing(&Caller::anonymous()).in_project(project, group, Visibility::Internal),
            None
        );
    }

    #[test]
    fn a_partner_has_no_role_by_a_group_and_none_above_developer() {
        let (group, project) = (GroupId::new(), ProjectId::new());
        let role = |standing| {
            let caller = caller(standing);
            let mut reach = Reach::of_standing(&caller);
            reach.groups.insert(group, Role::Owner);
            let by_group = reach
                .clone()
                .cut_for(&caller)
                .in_project(project, group, Visibility::Internal);
            reach.projects.insert(project, Role::Maintainer);
            let reach = reach.cut_for(&caller);
            let in_group = reach.in_group(group, Visibility::Internal);
            (
                by_group,
                in_group,
                reach.in_project(project, group, Visibility::Internal),
            )
        };
        assert_eq!(role(InstanceRole::External), (None, None, Some(Role::Developer)));
        assert_eq!(
            role(InstanceRole::Member),
            (Some(Role::Owner), Some(Role::Owner), Some(Role::Owner))
        );
    }

    #[test]
    fn the_highest_role_counts() {
        let (group, project) = (GroupId::new(), ProjectId::new());
        let mut reach = Reach::of_standing(&caller(InstanceRole::Member));
        reach.groups.insert(group, Role::Guest);
        assert_eq!(
            reach.in_project(project, group, Visibility::Internal),
            Some(Role::Reporter)
        );
        reach.projects.insert(project, Role::Maintainer);
        assert_eq!(
            reach.in_project(project, group, Visibility::Private),
            Some(Role::Maintainer)
        );
        assert_eq!(
            reach.in_project(ProjectId::new(), group, Visibility::Private),
            Some(Role::Guest)
        );
    }
}
