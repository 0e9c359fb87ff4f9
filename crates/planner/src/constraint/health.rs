//! Nothing is changed on top of a dependency that is not healthy.

use super::{Candidate, Constraint, Hold, Scope};

/// Dependencies of an install that do not serve well.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Their keys, each with what is wrong.
    pub unhealthy: Vec<(String, String)>,
}

impl Constraint for Health {
    fn kind(&self) -> &'static str {
        "health"
    }

    fn scope(&self) -> Scope {
        Scope::Moment
    }

    fn judge(&self, candidate: &Candidate<'_>) -> Option<Hold> {
        let asked: Vec<String> = self
            .unhealthy
            .iter()
            .filter(|(key, _)| candidate.release.needs.iter().any(|need| **need == **key))
            .map(|(key, state)| format!("{key} is {state}"))
            .collect();
        (!asked.is_empty()).then(|| {
            let what = asked.join(" and ");
            Hold::when(
                self.kind(),
                format!("waits: it depends on others, and {what}"),
                "its dependencies to be healthy",
            )
        })
    }
}
