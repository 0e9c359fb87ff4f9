//! Groups, and who is a member of groups and projects.

mod api;
mod pages;
mod service;
pub(crate) mod store;

pub(crate) use api::routes as api_routes;
pub(crate) use pages::routes as page_routes;
pub use service::Place;
pub use store::Member;

use bascule_core::{GroupId, Name, Problem, Result, Role, Visibility};
use bascule_wire::identity as wire;

/// A group, as others need to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupInfo {
    /// The group.
    pub id: GroupId,
    /// Its name.
    pub name: Name,
    /// What it is for.
    pub description: String,
    /// Who sees it without being a member.
    pub visibility: Visibility,
}

impl From<Member> for wire::Member {
    fn from(member: Member) -> Self {
        Self {
            id: member.user_id,
            username: member.username,
            display_name: member.display_name,
            role: member.role,
            active: member.active,
            inherited: member.inherited,
            since: member.created_at,
            partner: member.partner,
            ends_at: member.ends_at,
        }
    }
}

/// Roles, lowest first, for choices on pages.
pub(crate) const ROLES: [Role; 5] = [
    Role::Guest,
    Role::Reporter,
    Role::Developer,
    Role::Maintainer,
    Role::Owner,
];

pub(crate) fn role_above_own(own: Role) -> Problem {
    Problem::new(
        403,
        "role_above_own",
        format!("Your own role here is `{own}`; you may not give or take a higher one."),
    )
    .why("Whoever could give more than they have would have it themselves.")
    .next("Ask an owner.")
}

/// Whether someone with the role `own` may change another's role from `before` to `after` (`None`: not a
/// member), where `owners` is how many open owners there are, if the place must keep one.
fn may_change(own: Role, before: Option<Role>, after: Option<Role>, owners: Option<i64>) -> Result<()> {
    if before.max(after).is_some_and(|role| role > own) {
        return Err(role_above_own(own));
    }
    if before == Some(Role::Owner) && after != Some(Role::Owner) && owners.is_some_and(|count| count <= 1) {
        return Err(Problem::conflict("last_owner", "This is the group's last owner.")
            .why("Without an owner nobody in the group could manage it any more.")
            .next("Make someone else owner first."));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_gives_or_takes_more_than_they_have() {
        let change = |own, before, after| may_change(own, before, after, None);
        assert!(change(Role::Maintainer, None, Some(Role::Owner)).is_err());
        assert!(change(Role::Maintainer, Some(Role::Owner), None).is_err());
        assert!(change(Role::Maintainer, Some(Role::Owner), Some(Role::Guest)).is_err());
        assert!(change(Role::Maintainer, None, Some(Role::Maintainer)).is_ok());
        assert!(change(Role::Owner, Some(Role::Owner), None).is_ok());
    }

    #[test]
    fn a_group_keeps_an_owner() {
        let code = |after, owners| {
            may_change(Role::Owner, Some(Role::Owner), after, Some(owners))
                .err()
                .map(|p| p.code)
        };
        assert_eq!(code(None, 1).as_deref(), Some("last_owner"));
        assert_eq!(code(Some(Role::Maintainer), 1).as_deref(), Some("last_owner"));
        assert_eq!(code(Some(Role::Owner), 1), None);
        assert_eq!(code(None, 2), None);
    }
}
