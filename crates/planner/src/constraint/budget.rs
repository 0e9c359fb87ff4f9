//! A product that has used up its error budget changes only to get better.

use super::{Candidate, Constraint, Hold, Scope};

/// What is left of the error budget.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ErrorBudget {
    /// Share left, from 1 (untouched) to 0 and below (overspent).
    pub left: f64,
    /// Least share for a change.
    pub least: f64,
}

impl Constraint for ErrorBudget {
    fn kind(&self) -> &'static str {
        "error_budget"
    }

    fn scope(&self) -> Scope {
        Scope::Moment
    }

    fn judge(&self, candidate: &Candidate<'_>) -> Option<Hold> {
        // The share that is left changes with each request; a reason stays the same while it holds.
        let least = self.least * 100.0;
        // A first install has no budget to protect.
        (candidate.from.is_some() && self.left < self.least).then(|| {
            Hold::when(
                self.kind(),
                format!("waits: less of the error budget is left than the {least:.0} % that a change needs"),
                "the error budget to recover",
            )
        })
    }
}
