//! While a drill or an experiment runs, nothing else changes: one cause at a time.

use super::{Candidate, Constraint, Hold, Scope};

/// A drill that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drill(pub String);

impl Constraint for Drill {
    fn kind(&self) -> &'static str {
        "drill"
    }

    fn scope(&self) -> Scope {
        Scope::Moment
    }

    fn judge(&self, _: &Candidate<'_>) -> Option<Hold> {
        let why = format!("waits: the drill {} runs", self.0);
        Some(Hold::when(self.kind(), why, "the drill's end"))
    }
}
