//! Plans: for every product in every environment, what should run there, what holds it, and why. The planner
//! decides (`bascule-planner`, which does no I/O); here its input is read, its steps are carried out, and every
//! change of a plan is recorded with the verdict of each constraint.

mod api;
pub(crate) mod assemble;
mod bearings;
mod budgets;
mod change;
mod checks;
pub(crate) mod drill;
mod dry_run;
mod dues;
mod names;
pub(crate) mod pass;
mod promotions;
mod prune;
mod ramp;
mod remarks;
mod service;
mod shelf;
pub(crate) mod store;
mod veil;
mod waves;
mod why;
pub(crate) mod words;

pub(crate) use api::routes;
pub(crate) use budgets::Budgets;
pub(crate) use change::Change;
pub(crate) use shelf::Shelves;

use bascule_planner::{State, Verdict};
use bascule_store::{Json, row};

row! {
    /// A plan as stored.
    #[derive(Clone, Debug)]
    pub(crate) struct Stored {
        pub environment_id: bascule_core::EnvironmentId,
        pub state: String,
        pub current: String,
        pub target: String,
        pub step: String,
        pub why: String,
        pub verdicts: Json<Vec<Verdict>>,
        pub at: bascule_core::Timestamp,
    }
}

impl Stored {
    /// Whether it says the same, save for verdicts that decide nothing.
    pub fn same(&self, other: &Self) -> bool {
        self.state == other.state
            && self.current == other.current
            && self.target == other.target
            && self.step == other.step
            && self.why == other.why
    }
}

/// A state as stored and shown.
pub(crate) const fn state_name(state: State) -> &'static str {
    match state {
        State::UpToDate => "up_to_date",
        State::Moving => "moving",
        State::Ready => "ready",
        State::Held => "held",
        State::Blocked => "blocked",
        State::Coupled => "coupled",
    }
}
