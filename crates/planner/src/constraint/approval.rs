//! A change that someone has to approve, version by version.

use super::{Candidate, Constraint, Hold, Scope};
use crate::version::Version;

/// An approval that is asked for, and the versions that have it.
#[derive(Clone, Debug)]
pub struct Approval {
    /// Who has to approve: a team or a role.
    pub by: String,
    /// Versions that were approved.
    pub given: Vec<Version>,
    /// Whether there is nobody of that name, so that it is never given.
    pub nobody: bool,
}

/// What is wrong where a team is to approve that does not exist.
#[must_use]
pub fn no_such_team(team: &str) -> String {
    format!("approval by {team}, and there is no group of that name")
}

impl Constraint for Approval {
    fn kind(&self) -> &'static str {
        "approval"
    }

    fn scope(&self) -> Scope {
        Scope::Moment
    }

    fn by_version(&self) -> bool {
        true
    }

    fn judge(&self, candidate: &Candidate<'_>) -> Option<Hold> {
        let given = self.given.contains(&candidate.release.version);
        (!given).then(|| {
            if self.nobody {
                return Hold::when(
                    self.kind(),
                    format!("waits for {}", no_such_team(&self.by)),
                    format!("a group {}, or another in the environment's file", self.by),
                );
            }
            let event = format!("approval by {}", self.by);
            Hold::when(self.kind(), format!("waits for {event}"), event)
        })
    }
}
