//! What policies found about releases: signature, provenance, findings, pre-approval. The verdicts are made
//! elsewhere and given as data.

use super::{Candidate, Constraint, Hold, Scope};
use crate::version::Version;

/// A policy's refusal of one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyVerdict {
    /// The version that is refused.
    pub version: Version,
    /// The policy.
    pub policy: String,
    /// Why.
    pub reason: String,
}

/// The versions that policies refuse.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Each refusal.
    pub refused: Vec<PolicyVerdict>,
}

impl Constraint for Policy {
    fn kind(&self) -> &'static str {
        "policy"
    }

    fn scope(&self) -> Scope {
        Scope::Version
    }

    fn judge(&self, candidate: &Candidate<'_>) -> Option<Hold> {
        let refused: Vec<_> = self
            .refused
            .iter()
            .filter(|verdict| verdict.version == candidate.release.version)
            .collect();
        let first = refused.first()?;
        let reasons: Vec<_> = refused
            .iter()
            .map(|verdict| format!("{} ({})", verdict.policy, verdict.reason))
            .collect();
        Some(Hold::when(
            self.kind(),
            format!("is refused by the policy {}", reasons.join(" and ")),
            format!("a release that the policy {} accepts", first.policy),
        ))
    }
}
