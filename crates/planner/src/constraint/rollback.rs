//! A person went back: what they left is not put there again by a plan. What is newer than that is.

use super::{Candidate, Constraint, Hold, Scope};
use crate::version::Version;

/// A person went back from a version.
#[derive(Clone, Debug)]
pub struct RolledBack {
    /// The version that they left.
    pub from: Version,
    /// Who.
    pub by: String,
}

impl Constraint for RolledBack {
    fn kind(&self) -> &'static str {
        "rolled_back"
    }

    fn scope(&self) -> Scope {
        Scope::Version
    }

    fn judge(&self, candidate: &Candidate<'_>) -> Option<Hold> {
        let version = &candidate.release.version;
        let left = candidate.from.is_some_and(|here| version > here) && *version <= self.from;
        left.then(|| {
            Hold::when(
                self.kind(),
                format!("is kept out since {} went back from {}", self.by, self.from),
                format!(
                    "a release newer than {}, or a deployment of it by hand",
                    self.from
                ),
            )
        })
    }
}
