//! A version that failed here is not tried again by a plan. A person may, and so may a corrected declaration.

use super::{Candidate, Constraint, Hold, Scope};
use crate::version::Version;

/// The versions that failed, and how.
#[derive(Clone, Debug, Default)]
pub struct FailedHere {
    /// Each with its reason.
    pub versions: Vec<(Version, String)>,
}

impl Constraint for FailedHere {
    fn kind(&self) -> &'static str {
        "failed"
    }

    fn scope(&self) -> Scope {
        Scope::Version
    }

    fn judge(&self, candidate: &Candidate<'_>) -> Option<Hold> {
        let version = &candidate.release.version;
        let (_, reason) = self.versions.iter().find(|(failed, _)| failed == version)?;
        Some(Hold::when(
            self.kind(),
            format!("is not tried again by itself ({reason})"),
            format!("a newer release, a corrected declaration, or a deployment of {version} by hand"),
        ))
    }
}
