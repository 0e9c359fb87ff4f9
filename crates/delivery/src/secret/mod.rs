//! Secrets of environments: files refer to them as `secret:NAME`; the values are kept sealed in the database,
//! opened when an environment's agent asks what to run, and stand in no fact, plan, log or page.
//!
//! Only what a file of the environments project says is a reference. A product's own `bascule.yaml` may hold the
//! same text and gets just that text: otherwise whoever may change a product could read an environment's secrets.

mod api;
mod seal;
mod service;
pub(crate) mod store;

pub(crate) use api::routes;
pub(crate) use service::{Opened, sealed_for};

use bascule_planner::{Constraint, Hold, Lift, Scope, constraint::Candidate};

/// What a value that refers to a secret begins with.
pub const PREFIX: &str = "secret:";
/// Largest value, in bytes.
pub const VALUE_BYTES: usize = 32 * 1024;
/// The environment whose secrets count everywhere, unless the environment has one of that name.
pub const EVERYWHERE: &str = "*";
/// What the place of the secrets of a project's previews begins with; no environment's name can.
pub const PREVIEWS: &str = "preview:";

/// Whether the secrets of all environments count in a place. In previews they do not: anybody's branch runs there.
pub(crate) fn takes_everywhere(site: &str) -> bool {
    !site.starts_with(PREVIEWS)
}

/// The name that a value refers to, if it refers to any.
#[must_use]
pub fn reference(value: &str) -> Option<&str> {
    value.strip_prefix(PREFIX)
}

/// Whether a text may name a secret.
#[must_use]
pub fn is_name(name: &str) -> bool {
    (1..=100).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
}

/// Secrets that a file refers to and nobody has set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Missing(pub Vec<String>);

impl Constraint for Missing {
    fn kind(&self) -> &'static str {
        "secret"
    }

    fn scope(&self) -> Scope {
        Scope::Moment
    }

    fn judge(&self, _: &Candidate<'_>) -> Option<Hold> {
        let names = self.0.join(", ");
        (!self.0.is_empty()).then(|| Hold {
            kind: self.kind().to_owned(),
            why: format!("waits: nobody has set the secret {names}"),
            lifts: Lift::When(format!("`bascule secret set` of {names}")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_begins_so_is_a_reference() {
        assert_eq!(reference("secret:DB"), Some("DB"));
        assert_eq!(reference("a secret:DB"), None);
        assert!(is_name("DB_PASSWORD.1") && !is_name("") && !is_name("a b") && !is_name("../x"));
    }
}
