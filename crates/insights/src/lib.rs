//! What the facts add up to: DORA's measures, mean times, the resilient collaboration index, and the pages
//! on which people read the ledger itself. Definitions stand in `docs/src/insights.md` and in [`measure`].
//!
//! Reads facts only. What pages need is kept in small tables beside the ledger, which can be dropped and
//! built again from it at any time ([`Insights::rebuild`]).

pub mod facts;
pub mod home;
pub mod measure;
pub mod ports;
mod projection;
mod schema;
#[cfg(test)]
mod testing;

pub use projection::Project;
pub use schema::MIGRATIONS;

use bascule_core::{Caller, Clock, ProjectId, Result};
use bascule_ledger::{Hub, Ledger};
use bascule_store::Db;
use bascule_web::Routes;
use measure::service::Cache;
use ports::{Visible, Waits};
use std::sync::{Arc, atomic::AtomicI64};

/// The capability, cheap to clone.
#[derive(Clone)]
pub struct Insights {
    pub(crate) db: Db,
    pub(crate) ledger: Ledger,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) visible: Arc<dyn Visible>,
    pub(crate) waits: Option<Arc<dyn Waits>>,
    pub(crate) cache: Arc<Cache>,
    /// One projector at a time in this process; the cursor's row guards against others.
    pub(crate) projecting: Arc<tokio::sync::Mutex<()>>,
    /// The newest fact that this process knows to be applied.
    pub(crate) applied: Arc<AtomicI64>,
    /// One verification of the whole ledger at a time.
    pub(crate) verifying: Arc<tokio::sync::Mutex<()>>,
}

/// Which projects a question is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The whole instance.
    All,
    /// These projects.
    Projects(Vec<ProjectId>),
}

impl Insights {
    /// The capability over a database and a ledger.
    #[must_use]
    pub fn new(db: Db, ledger: Ledger, visible: Arc<dyn Visible>) -> Self {
        let clock = ledger.clock().clone();
        let (projecting, verifying) = (Arc::default(), Arc::default());
        Self {
            db,
            ledger,
            clock,
            visible,
            waits: None,
            cache: Arc::default(),
            projecting,
            applied: Arc::default(),
            verifying,
        }
    }

    /// With what others know of what waits for people.
    #[must_use]
    pub fn with_waits(self, waits: Arc<dyn Waits>) -> Self {
        Self {
            waits: Some(waits),
            ..self
        }
    }

    /// Adds this capability's subscriber to the process's.
    #[must_use]
    pub fn subscribe(&self, hub: Hub) -> Hub {
        hub.with(Arc::new(Project(self.clone())))
    }

    /// What a caller may see.
    pub(crate) async fn scope(&self, caller: &Caller) -> Result<Scope> {
        Ok(self
            .visible
            .projects(caller)
            .await?
            .map_or(Scope::All, Scope::Projects))
    }
}

/// All routes of this capability.
pub fn routes(insights: Insights) -> Routes {
    Routes::new()
        .merge(home::routes())
        .merge(measure::pages::routes())
        .merge(measure::api::routes())
        .merge(facts::pages::routes())
        .merge(facts::api::routes())
        .with_state(insights)
}
