//! Accounts of people.

mod api;
mod pages;
pub(crate) mod service;
pub(crate) mod store;

pub(crate) use api::routes as api_routes;
pub(crate) use pages::routes as page_routes;
pub use store::Account;

use bascule_core::{Caller, InstanceRole, Permission, Problem, Result, UserId};
use bascule_wire::identity as wire;

/// The instance roles, lowest first, for choices on pages.
pub(crate) const INSTANCE_ROLES: [InstanceRole; 4] = [
    InstanceRole::External,
    InstanceRole::Member,
    InstanceRole::Auditor,
    InstanceRole::Admin,
];

impl From<Account> for wire::User {
    fn from(account: Account) -> Self {
        Self {
            id: account.id,
            username: account.username,
            display_name: account.display_name,
            email: account.email,
            role: account.instance_role,
            active: account.active,
            created_at: account.created_at,
            last_sign_in_at: account.last_sign_in_at,
            ends_at: account.ends_at,
        }
    }
}

/// The account behind a caller.
pub(crate) fn holder(caller: &Caller) -> Result<UserId> {
    caller.user.ok_or_else(|| {
        Problem::new(
            403,
            "not_a_person",
            "This belongs to a person's account, and no account stands behind the request.",
        )
        .why("A project token acts for a program.")
        .next("Sign in, or use a personal token.")
    })
}

/// Refuses whoever may not manage the instance.
pub(crate) fn administrator(caller: &Caller) -> Result<()> {
    if caller.holds(Permission::InstanceManage) {
        Ok(())
    } else {
        Err(Problem::forbidden(Permission::InstanceManage))
    }
}

pub(crate) fn no_account(username: &str) -> Problem {
    let shown: String = username.chars().take(63).collect();
    Problem::new(404, "no_such_user", format!("There is no account `{shown}`."))
        .why("User names are exact.")
        .next("Check the spelling, or ask an administrator to create the account.")
}

fn last_administrator() -> Problem {
    Problem::conflict(
        "last_administrator",
        "This is the last open administrator's account.",
    )
    .why("Without one nobody could manage the instance any more.")
    .next("Make another account administrator first.")
}
