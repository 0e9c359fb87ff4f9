//! A step needs an agent that reports, and whose clock can be trusted with windows.

use super::{Candidate, Constraint, Hold, Scope};

/// What is known of an environment's agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    /// Its name; `None`: none is assigned.
    pub name: Option<String>,
    /// The one that is asked for, which may not be there; empty: any.
    pub asked: String,
    /// Whether it reports.
    pub online: bool,
    /// How far its clock is ahead, in milliseconds.
    pub skew_ms: i64,
    /// How far it may be off before windows are refused, in milliseconds; `None` where no window is kept.
    pub skew_limit_ms: Option<i64>,
}

impl Constraint for Agent {
    fn kind(&self) -> &'static str {
        "agent"
    }

    fn scope(&self) -> Scope {
        Scope::Moment
    }

    fn judge(&self, _: &Candidate<'_>) -> Option<Hold> {
        let Some(name) = &self.name else {
            if !self.asked.is_empty() {
                let why = format!(
                    "waits: the agent {}, which is to run this environment, is not enrolled",
                    self.asked
                );
                return Some(Hold::when(
                    self.kind(),
                    why,
                    format!("the enrolment of the agent {}", self.asked),
                ));
            }
            let why = "waits: no agent runs this environment";
            return Some(Hold::when(self.kind(), why, "an agent"));
        };
        if !self.online {
            let why = format!("waits: the agent {name} does not report");
            return Some(Hold::when(
                self.kind(),
                why,
                format!("a report of the agent {name}"),
            ));
        }
        let off = self.skew_limit_ms.is_some_and(|limit| self.skew_ms.abs() > limit);
        off.then(|| {
            let seconds = self.skew_limit_ms.unwrap_or(0) / 1_000;
            let why = format!(
                "waits: the clock of the agent {name} is off by more than {seconds} s, so a window there cannot be kept"
            );
            Hold::when(self.kind(), why, "a clock that is right")
        })
    }
}
