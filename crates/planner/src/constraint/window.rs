//! Changes happen in maintenance windows only, where an environment has any.

use super::{Candidate, Constraint, Hold, Scope};
use crate::calendar::Calendar;
use std::sync::Arc;

/// The maintenance windows of an environment.
#[derive(Clone, Debug)]
pub struct Maintenance {
    /// When changes may happen.
    pub calendar: Arc<Calendar>,
}

impl Constraint for Maintenance {
    fn kind(&self) -> &'static str {
        "maintenance_window"
    }

    fn scope(&self) -> Scope {
        Scope::Moment
    }

    fn judge(&self, candidate: &Candidate<'_>) -> Option<Hold> {
        let calendar = &self.calendar;
        if calendar.is_always() || calendar.is_open(candidate.now) {
            return None;
        }
        Some(match calendar.next_opening(candidate.now) {
            Some(opening) => Hold::until(
                self.kind(),
                format!("waits for the window {}", opening.label),
                opening.from,
            ),
            None => Hold::when(
                self.kind(),
                "waits for a maintenance window, and none opens within nine years",
                "a maintenance window",
            ),
        })
    }
}
