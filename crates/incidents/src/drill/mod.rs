//! Drills: something is made to fail on purpose in an environment, and for that time nothing else changes there. A
//! drill ends by itself at its time, also when the server died meanwhile: the time stands in the database.

mod api;
mod service;
mod store;
#[cfg(test)]
mod tests;

pub(crate) use api::routes;
pub(crate) use store::DRILLS;

use bascule_core::Timestamp;
use bascule_store::row;
use bascule_wire::drill::Drill;

row! {
    /// A drill as it is kept.
    #[derive(Clone, Debug)]
    pub(crate) struct Kept {
        pub number: i64,
        pub environment: String,
        pub reason: String,
        pub started_by: String,
        pub started_at: Timestamp,
        pub until_at: Timestamp,
        pub ended_at: Option<Timestamp>,
        pub ended_by: Option<String>,
    }
}

impl From<Kept> for Drill {
    fn from(kept: Kept) -> Self {
        Self {
            state: if kept.ended_at.is_some() {
                "over"
            } else {
                "running"
            }
            .to_owned(),
            number: kept.number,
            environment: kept.environment,
            reason: kept.reason,
            started_by: kept.started_by,
            started_at: kept.started_at,
            until: kept.until_at,
            ended_at: kept.ended_at,
            ended_by: kept.ended_by,
        }
    }
}
