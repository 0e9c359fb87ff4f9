//! No network reaches the environment: what changes there comes in bundles that people carry.

use super::{Candidate, Constraint, Hold, Scope};

/// Nothing is put there from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carried;

impl Constraint for Carried {
    fn kind(&self) -> &'static str {
        "air_gap"
    }

    fn scope(&self) -> Scope {
        Scope::Moment
    }

    fn judge(&self, _: &Candidate<'_>) -> Option<Hold> {
        let why = "waits: no network reaches this environment";
        Some(Hold::when(
            self.kind(),
            why,
            "a bundle that is carried there, and its report",
        ))
    }
}
