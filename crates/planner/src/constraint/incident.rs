//! While an incident is open on a product, it is changed by those who work on the incident, not by the plan.

use super::{Candidate, Constraint, Hold, Scope};

/// An incident that is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incident(pub String);

impl Constraint for Incident {
    fn kind(&self) -> &'static str {
        "incident"
    }

    fn scope(&self) -> Scope {
        Scope::Moment
    }

    fn judge(&self, _: &Candidate<'_>) -> Option<Hold> {
        let why = format!("waits: {} is open", self.0);
        Some(Hold::when(self.kind(), why, "the incident's end"))
    }
}
