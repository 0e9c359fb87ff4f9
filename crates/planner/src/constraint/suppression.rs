//! A suppression window: nothing changes while it is open, whatever maintenance windows say. Opened by hand, by
//! an incident, or because too many products fail.

use super::{Candidate, Constraint, Hold, Scope};
use bascule_core::Timestamp;

/// An open suppression window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suppression {
    /// Why it was opened.
    pub reason: String,
    /// When it closes by itself; `None`: when someone closes it.
    pub until: Option<Timestamp>,
}

impl Constraint for Suppression {
    fn kind(&self) -> &'static str {
        "suppression_window"
    }

    fn scope(&self) -> Scope {
        Scope::Moment
    }

    fn judge(&self, candidate: &Candidate<'_>) -> Option<Hold> {
        let why = format!("waits: changes are suppressed ({})", self.reason);
        match self.until {
            Some(until) if until <= candidate.now => None,
            Some(until) => Some(Hold::until(self.kind(), why, until)),
            None => Some(Hold::when(self.kind(), why, "the suppression window's end")),
        }
    }
}
