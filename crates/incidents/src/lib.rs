//! When something goes wrong for users: an undone rollout or a fast-burn alert opens an incident, people
//! take it, say what they find, and resolve it; the timeline writes itself from facts, and the platform
//! commits the draft of a post-mortem.
//!
//! Knows nothing of how rollouts are judged or alerts are computed: both arrive as facts. Where documents
//! are kept is asked through [`ports::PostmortemHome`].

pub mod drill;
pub mod incident;
pub mod ports;
pub mod postmortem;
mod schema;
mod subscriptions;
#[cfg(test)]
mod testing;
pub mod timeline;

pub use schema::MIGRATIONS;
pub use subscriptions::{Watch, WritePostmortem};

use bascule_core::Clock;
use bascule_ledger::{Hub, Ledger};
use bascule_store::Db;
use bascule_web::Routes;
use ports::{PostmortemHome, Visible};
use std::sync::Arc;
use tokio::sync::Notify;

/// The capability, cheap to clone.
#[derive(Clone)]
pub struct Incidents {
    pub(crate) db: Db,
    pub(crate) ledger: Ledger,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) visible: Arc<dyn Visible>,
    pub(crate) home: Arc<dyn PostmortemHome>,
    /// A drill began, and may be the next to end.
    pub(crate) drills: Arc<Notify>,
}

impl Incidents {
    /// The capability over a database and a ledger.
    #[must_use]
    pub fn new(db: Db, ledger: Ledger, visible: Arc<dyn Visible>, home: Arc<dyn PostmortemHome>) -> Self {
        let clock = ledger.clock().clone();
        Self {
            db,
            ledger,
            clock,
            visible,
            home,
            drills: Arc::default(),
        }
    }

    /// Adds this capability's subscribers to the process's.
    #[must_use]
    pub fn subscribe(&self, hub: Hub) -> Hub {
        hub.with(Arc::new(Watch(self.clone())))
            .with(Arc::new(WritePostmortem(self.clone())))
    }
}

/// All routes of this capability.
pub fn routes(incidents: Incidents) -> Routes {
    Routes::new()
        .merge(incident::pages::routes())
        .merge(incident::api::routes())
        .merge(drill::routes())
        .with_state(incidents)
}
