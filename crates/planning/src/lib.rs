//! What is to be done, by whom, in what order: issues, labels, boards and milestones.
//!
//! The board has four columns. What stands in *Done* is closed, everything else is open. One order runs through a
//! whole group (`issue.rank`), and every board and list shows a part of it, so that what is above is more important
//! everywhere. People set it by hand; setting a `priority` label puts an issue above all that are less urgent.
//!
//! Whatever changes an issue first takes the group's row in `board` (`board::store::touch`): changes of one group
//! wait for each other, so that limits hold and no two issues get the same place; its number also tells pages
//! whether anything is new.
//!
//! Who is a member, which projects there are and what a commit says is asked through [`ports`].

pub mod board;
pub mod issue;
pub mod label;
pub mod milestone;
pub mod ports;
pub mod references;
mod schema;
mod sight;
mod subscriptions;
#[cfg(test)]
mod testing;
pub mod text;
pub mod transfer;

pub use schema::MIGRATIONS;
pub use subscriptions::{CloseByPush, Follow};

use bascule_core::{Clock, Timestamp};
use bascule_ledger::{Hub, Ledger};
use bascule_store::Db;
use bascule_web::Routes;
use ports::{Code, People, Projects};
use std::sync::Arc;

/// The capability, cheap to clone.
#[derive(Clone)]
pub struct Planning {
    pub(crate) db: Db,
    pub(crate) ledger: Ledger,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) people: Arc<dyn People>,
    pub(crate) projects: Arc<dyn Projects>,
    pub(crate) code: Arc<dyn Code>,
}

impl Planning {
    /// The capability over a database and a ledger.
    #[must_use]
    pub fn new(
        db: Db,
        ledger: Ledger,
        people: Arc<dyn People>,
        projects: Arc<dyn Projects>,
        code: Arc<dyn Code>,
    ) -> Self {
        let clock = ledger.clock().clone();
        Self {
            db,
            ledger,
            clock,
            people,
            projects,
            code,
        }
    }

    /// Adds this capability's subscribers to the process's.
    #[must_use]
    pub fn subscribe(&self, hub: Hub) -> Hub {
        hub.with(Arc::new(Follow(self.clone())))
            .with(Arc::new(CloseByPush(self.clone())))
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The present day in UTC, as `YYYY-MM-DD`.
    pub(crate) fn today(&self) -> String {
        text::day_of(self.now())
    }
}

/// All routes of this capability.
pub fn routes(planning: Planning) -> Routes {
    Routes::new()
        .merge(issue::pages::routes())
        .merge(issue::api::routes())
        .merge(label::pages::routes())
        .merge(label::api::routes())
        .merge(board::pages::routes())
        .merge(board::api::routes())
        .merge(milestone::pages::routes())
        .merge(milestone::api::routes())
        .merge(transfer::pages::routes())
        .merge(transfer::api::routes())
        .with_state(planning)
}
