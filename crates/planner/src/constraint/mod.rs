//! What may hold a version or a moment. One kind, one file; a new kind is a new file and nothing else.

mod agent;
mod approval;
mod budget;
mod capacity;
mod carried;
mod channel;
mod drill;
mod failed;
mod health;
mod incident;
mod pin;
mod policy;
mod rollback;
mod suppression;
mod wave;
mod window;

pub use agent::Agent;
pub use approval::{Approval, no_such_team};
pub use budget::ErrorBudget;
pub use capacity::Capacity;
pub use carried::Carried;
pub use channel::{Channel, Promotion, Wait, no_such_channel};
pub use drill::Drill;
pub use failed::FailedHere;
pub use health::Health;
pub use incident::Incident;
pub use pin::Pin;
pub use policy::{Policy, PolicyVerdict};
pub use rollback::RolledBack;
pub use suppression::Suppression;
pub use wave::Wave;
pub use window::Maintenance;

use crate::{model::Published, version::Version};
use bascule_core::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What a constraint bears on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Whether a version may be chosen at all: it bounds the target.
    Version,
    /// Whether a step may be taken now: the target stands, the step waits.
    Moment,
}

/// A change that is thought of.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// The product's key.
    pub product: &'a str,
    /// What runs.
    pub from: Option<&'a Version>,
    /// The release that would.
    pub release: &'a Published,
    /// The present.
    pub now: Timestamp,
}

/// What would lift a hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lift {
    /// Time alone, then.
    At(Timestamp),
    /// Something that has to happen, in words.
    When(String),
}

/// Why something is held. `why` goes on after "foo 1.1.0 …".
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// The kind of the constraint.
    pub kind: String,
    /// Why, in plain words.
    pub why: String,
    /// What would lift it.
    pub lifts: Lift,
}

impl Hold {
    pub(crate) fn until(kind: &str, why: impl Into<String>, at: Timestamp) -> Self {
        Self {
            kind: kind.to_owned(),
            why: why.into(),
            lifts: Lift::At(at),
        }
    }

    pub(crate) fn when(kind: &str, why: impl Into<String>, event: impl Into<String>) -> Self {
        Self {
            kind: kind.to_owned(),
            why: why.into(),
            lifts: Lift::When(event.into()),
        }
    }
}

/// Something that may hold a change.
pub trait Constraint: fmt::Debug + Send + Sync {
    /// Its kind, as verdicts name it.
    fn kind(&self) -> &'static str;

    /// What it bears on.
    fn scope(&self) -> Scope;

    /// Whether what it waits for is given to one version and not to another. An older version that has it then goes
    /// first, so that a newer one without does not starve it.
    fn by_version(&self) -> bool {
        false
    }

    /// `None`: it holds nothing.
    fn judge(&self, candidate: &Candidate<'_>) -> Option<Hold>;
}

/// What one constraint says of one change, for the plan log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// The kind of the constraint.
    pub kind: String,
    /// Why it holds; empty where it does not.
    pub why: String,
    /// What would lift it.
    pub lifts: Option<Lift>,
}

impl Verdict {
    /// Whether it lets the change pass.
    #[must_use]
    pub const fn allows(&self) -> bool {
        self.lifts.is_none()
    }

    pub(crate) fn of(kind: &str, hold: Option<Hold>) -> Self {
        let (why, lifts) = hold.map_or((String::new(), None), |hold| (hold.why, Some(hold.lifts)));
        Self {
            kind: kind.to_owned(),
            why,
            lifts,
        }
    }
}
