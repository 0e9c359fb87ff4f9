//! Outside partners: accounts from outside the institution. They see the projects that they were given, nothing
//! beside them, obey the same rules there, and end by themselves. Whoever is cut off loses every way in at once.
//!
//! An outside partner is an account whose standing is `external`. Whoever manages members in a project may invite one
//! to it. The safe direction is easy: each who manages one of a partner's projects may cut the partner off. The other
//! is not: a later end takes all of them, or an administrator.

mod api;
mod pages;
pub mod ports;
mod service;
mod store;

pub(crate) use api::routes as api_routes;
pub(crate) use pages::routes as page_routes;

use crate::group::Place;
use bascule_core::{InstanceRole, Problem, Result, Role, Timestamp};
use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// The longest that an account of a partner lasts before someone has to say so again.
const LONGEST: Duration = DAY.saturating_mul(365);
/// How long before the end it is warned of.
pub(crate) const WARNED: Duration = DAY.saturating_mul(14);

/// When an account with this standing ends: partners' do, within a year; others' do not.
pub(crate) fn end_of_account(
    role: InstanceRole,
    asked: Option<Timestamp>,
    now: Timestamp,
) -> Result<Option<Timestamp>> {
    match (role, asked) {
        (InstanceRole::External, asked) => {
            within_a_year(asked.unwrap_or_else(|| now.plus(LONGEST)), now).map(Some)
        }
        (_, None) => Ok(None),
        (_, Some(_)) => Err(Problem::invalid(
            "no_end_here",
            "Only accounts of outside partners have an end date.",
        )
        .why("Who belongs to the institution stays until an administrator closes the account.")
        .next("Leave the end out, or make the account external.")),
    }
}

/// Refuses an end that has passed or is more than a year away.
fn within_a_year(end: Timestamp, now: Timestamp) -> Result<Timestamp> {
    if end <= now {
        return Err(
            Problem::invalid("end_has_passed", format!("The end, {end}, has passed already."))
                .next("Choose a later one; to end access now, cut the partner off."),
        );
    }
    // A day more, so that the same date of next year can be chosen.
    if end > now.plus(LONGEST + DAY) {
        return Err(
            Problem::invalid("end_too_far", "The end is more than a year away.")
                .why("Access that nobody has to renew is access that nobody remembers.")
                .next("Choose an end within a year, and extend it then."),
        );
    }
    Ok(end)
}

/// Whether an outside partner may have this role in this place.
pub(crate) fn may_have(place: Place, role: Role) -> Result<()> {
    if matches!(place, Place::Group(_)) {
        return Err(Problem::new(
            403,
            "partner_in_group",
            "An outside partner cannot be a member of a group.",
        )
        .why("A group's projects come and go; partners see those that they were given by name.")
        .next("Give a role in single projects."));
    }
    if role > Role::MOST_OF_PARTNERS {
        return Err(Problem::new(
            403,
            "partner_role",
            format!("An outside partner can be {} at most.", Role::MOST_OF_PARTNERS),
        )
        .why("Who manages a project lets others in and deploys to production; that stays in the institution.")
        .next("Give a lower role."));
    }
    Ok(())
}

/// Checks the end of a role: only roles in projects have one, and none outlives its account.
pub(crate) fn check_end_of_role(
    place: Place,
    end: Option<Timestamp>,
    account: Option<Timestamp>,
    now: Timestamp,
) -> Result<()> {
    let Some(end) = end else { return Ok(()) };
    if matches!(place, Place::Group(_)) {
        return Err(
            Problem::invalid("no_end_in_group", "A role in a group has no end date.")
                .next("Give a role in single projects, or take it away when it is time."),
        );
    }
    if end <= now {
        return Err(
            Problem::invalid("end_has_passed", format!("The end, {end}, has passed already."))
                .next("Choose a later one, or remove the member."),
        );
    }
    match account {
        Some(account) if end > account => Err(Problem::invalid(
            "end_after_account",
            format!("The account itself ends before that, at {account}."),
        )
        .why("A role ends with the account that holds it.")
        .next("Leave the end out, or extend the account first.")),
        _ => Ok(()),
    }
}

/// The end of a day as a form gives it, in UTC; nothing where the field is empty.
pub(crate) fn end_of_day(text: &str) -> Result<Option<Timestamp>> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    format!("{text}T23:59:59Z").parse().map(Some).map_err(|_| {
        Problem::invalid("bad_date", "The end is no date.").next("Write it as year-month-day: 2027-01-31.")
    })
}

/// Whether an end is near enough to be warned of.
pub(crate) fn is_soon(end: Option<Timestamp>, now: Timestamp) -> bool {
    end.is_some_and(|end| end > now && end.since(now) <= WARNED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bascule_core::{GroupId, ProjectId};

    #[test]
    fn partners_end_within_a_year_and_others_not_at_all() {
        let now = Timestamp::from_seconds(1_000_000);
        let days = |n| now.plus(DAY * n);
        let end = |role, asked| end_of_account(role, asked, now).map_err(|problem| problem.code);
        assert_eq!(end(InstanceRole::External, None), Ok(Some(days(365))));
        assert_eq!(end(InstanceRole::External, Some(days(3))), Ok(Some(days(3))));
        assert_eq!(end(InstanceRole::Member, None), Ok(None));
        for (role, asked, code) in [
            (InstanceRole::External, now, "end_has_passed"),
            (InstanceRole::External, days(400), "end_too_far"),
            (InstanceRole::Admin, days(3), "no_end_here"),
        ] {
            assert_eq!(end(role, Some(asked)), Err(code.to_owned()));
        }
    }

    #[test]
    fn a_partner_is_in_no_group_and_developer_at_most() {
        let project = Place::Project(ProjectId::new(), GroupId::new());
        assert!(may_have(project, Role::Developer).is_ok());
        assert_eq!(
            may_have(project, Role::Maintainer).unwrap_err().code,
            "partner_role"
        );
        let group = Place::Group(GroupId::new());
        assert_eq!(may_have(group, Role::Guest).unwrap_err().code, "partner_in_group");
    }

    #[test]
    fn a_role_never_outlives_its_account() {
        let now = Timestamp::from_seconds(1_000_000);
        let days = |n| now.plus(DAY * n);
        let project = Place::Project(ProjectId::new(), GroupId::new());
        let check = |place, end, account| {
            check_end_of_role(place, end, account, now)
                .err()
                .map(|problem| problem.code)
        };
        assert_eq!(check(project, None, Some(days(1))), None);
        assert_eq!(check(project, Some(days(1)), Some(days(2))), None);
        assert_eq!(check(project, Some(days(9)), None), None);
        assert_eq!(
            check(project, Some(days(3)), Some(days(2))).as_deref(),
            Some("end_after_account")
        );
        assert_eq!(check(project, Some(now), None).as_deref(), Some("end_has_passed"));
        let group = Place::Group(GroupId::new());
        assert_eq!(
            check(group, Some(days(1)), None).as_deref(),
            Some("no_end_in_group")
        );
    }

    #[test]
    fn an_end_is_warned_of_for_two_weeks() {
        let now = Timestamp::from_seconds(1_000_000);
        assert!(is_soon(Some(now.plus(DAY)), now));
        assert!(!is_soon(Some(now.plus(DAY * 15)), now));
        assert!(!is_soon(Some(now), now) && !is_soon(None, now));
    }
}
