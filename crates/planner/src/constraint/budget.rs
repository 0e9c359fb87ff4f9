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
        // A first install has no budget to protect.
        let (left, least) = (self.left * 100.0, self.least * 100.0);
        (candidate.from.is_some() && self.left < self.least).then(|| {
            Hold::when(
                self.kind(),
                format!("waits: {left:.0} % of the error budget is left, and a change needs {least:.0} %"),
                "the error budget to recover",
            )
        })
    }
}
