//! A person said: this version, or versions like this, and no others.

use super::{Candidate, Constraint, Hold, Scope};
use crate::version::Matcher;

/// The versions that an install is pinned to.
#[derive(Clone, Debug)]
pub struct Pin {
    /// Which.
    pub versions: Matcher,
    /// Why, or where it stands; may be empty.
    pub reason: String,
}

impl Constraint for Pin {
    fn kind(&self) -> &'static str {
        "pin"
    }

    fn scope(&self) -> Scope {
        Scope::Version
    }

    fn judge(&self, candidate: &Candidate<'_>) -> Option<Hold> {
        (!self.versions.admits(&candidate.release.version)).then(|| {
            let because = if self.reason.is_empty() {
                String::new()
            } else {
                format!(": {}", self.reason)
            };
            let why = format!("is kept out by the pin to {}{because}", self.versions);
            Hold::when(self.kind(), why, "the pin's removal")
        })
    }
}
