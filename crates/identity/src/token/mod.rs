//! Access tokens: personal ones, which act as their holder, and project tokens, which act for a program in
//! one project.

mod api;
mod pages;
mod service;
pub(crate) mod store;

pub(crate) use api::routes as api_routes;
pub(crate) use pages::routes as page_routes;
pub(crate) use store::Token;

use bascule_core::{Caller, Problem, Result, Scope, Timestamp};
use bascule_wire::identity as wire;
use std::time::Duration;

/// The longest a token lives.
pub(crate) const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);
/// Most live tokens of one account or project.
const MOST: i64 = 100;

impl From<Token> for wire::Token {
    fn from(token: Token) -> Self {
        Self {
            id: token.id,
            name: token.name,
            scopes: token.scopes.0,
            role: token.role,
            created_by: token.created_by,
            created_at: token.created_at,
            expires_at: token.expires_at,
            last_used_at: token.last_used_at,
        }
    }
}

/// The end of a token's life: what is asked for, at most a year, and never after the end of the token by
/// which it is created.
fn end_of(asked: Option<Timestamp>, parent: Option<Timestamp>, now: Timestamp) -> Result<Timestamp> {
    let latest = now.plus(LONGEST);
    let end = asked.unwrap_or_else(|| parent.map_or(latest, |parent| parent.min(latest)));
    if end <= now {
        return Err(
            Problem::invalid("already_expired", "The token would have expired already.")
                .next("Choose a later end."),
        );
    }
    if end > latest {
        return Err(
            Problem::invalid("too_long_lived", "The token would live for more than a year.")
                .why("A token that nobody renews is one that nobody remembers.")
                .next("Choose an end within a year, and renew it then."),
        );
    }
    if parent.is_some_and(|parent| end > parent) {
        return Err(Problem::new(
            403,
            "outlives_parent",
            "The token would outlive the one by which it is created.",
        )
        .why("An end would otherwise be none.")
        .next("Choose an earlier end, or sign in with your password to create it."));
    }
    Ok(end)
}

/// Checks the scopes: at least one, each once, none that the caller's own token lacks.
fn scopes_of(caller: &Caller, asked: &[Scope]) -> Result<Vec<Scope>> {
    let mut scopes = asked.to_vec();
    scopes.sort_unstable();
    scopes.dedup();
    if scopes.is_empty() {
        return Err(
            Problem::invalid("no_scope", "The token would have no scope, and so be of no use.").next(
                "Choose at least one of api, read_api, read_repository, write_repository, read_registry.",
            ),
        );
    }
    let covered = |scope: &Scope| {
        caller
            .scopes
            .as_ref()
            .is_none_or(|own| own.contains(&Scope::Api) || own.contains(scope))
    };
    if let Some(scope) = scopes.iter().find(|scope| !covered(scope)) {
        return Err(Problem::new(
            403,
            "scope_above_own",
            format!("Your own token lacks the scope `{}`.", scope.as_str()),
        )
        .why("A token cannot give more than it has.")
        .next("Sign in with your password to create it."));
    }
    Ok(scopes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_token_lives_longer_than_a_year_or_than_its_parent() {
        let now = Timestamp::from_seconds(1_000_000);
        let day = |n: u64| now.plus(Duration::from_secs(n * 24 * 3600));
        assert_eq!(end_of(None, None, now).unwrap(), now.plus(LONGEST));
        assert_eq!(end_of(None, Some(day(3)), now).unwrap(), day(3));
        assert_eq!(end_of(Some(day(2)), Some(day(3)), now).unwrap(), day(2));
        assert!(end_of(Some(day(4)), Some(day(3)), now).is_err());
        assert!(end_of(Some(day(366)), None, now).is_err());
        assert!(end_of(Some(now), None, now).is_err());
    }

    #[test]
    fn a_token_gives_no_scope_that_it_lacks() {
        let with = |scopes: Option<Vec<Scope>>| Caller {
            scopes,
            ..Caller::anonymous()
        };
        assert!(scopes_of(&with(Some(vec![Scope::ReadApi])), &[Scope::Api]).is_err());
        assert!(scopes_of(&with(Some(vec![Scope::Api])), &[Scope::ReadRepository]).is_ok());
        assert_eq!(
            scopes_of(&with(None), &[Scope::Api, Scope::Api]).unwrap(),
            [Scope::Api]
        );
        assert!(scopes_of(&with(None), &[]).is_err());
    }
}
