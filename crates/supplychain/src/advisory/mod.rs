//! Advisories, and what they mean for releases: a new advisory is matched with all releases that have its packages,
//! a new release with all advisories of its components. Nothing is fetched: advisories are imported, as OSV.
//!
//! [`osv`], [`range`] and [`split`] are pure. A *finding* is a vulnerability in a package that a project uses; its key
//! stays the same from release to release, so that what people decide on it holds on.

mod api;
mod import;
mod list;
mod matching;
pub mod osv;
mod pages;
pub mod range;
pub mod split;
mod store;
#[cfg(test)]
mod tests;
mod triage;

pub use api::routes;
pub use matching::OnReleases;
pub(crate) use store::ADVISORIES;

use crate::ports::{Places, Sight};
use bascule_core::Timestamp;
use bascule_ledger::Ledger;
use bascule_store::Db;
use std::{sync::Arc, time::Duration};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

/// How often it is looked whether a waiver's time has passed.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Advisories and findings, cheap to clone.
#[derive(Clone)]
pub struct Advisories {
    db: Db,
    ledger: Ledger,
    sight: Arc<dyn Sight>,
    places: Arc<dyn Places>,
    /// One import at a time, and one matching.
    turn: Arc<Mutex<()>>,
    matching: Arc<Mutex<()>>,
}

impl Advisories {
    /// The service over a database whose migrations were applied.
    #[must_use]
    pub fn new(db: Db, ledger: Ledger, sight: Arc<dyn Sight>, places: Arc<dyn Places>) -> Self {
        Self {
            db,
            ledger,
            sight,
            places,
            turn: Arc::default(),
            matching: Arc::default(),
        }
    }

    /// Matches what an import that was cut short had left, and ends waivers whose time has passed, until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        loop {
            if let Err(problem) = self.drain().await {
                tracing::error!(%problem, "advisories could not be matched; tried again");
            }
            if let Err(problem) = self.end_waivers().await {
                tracing::error!(%problem, "waivers could not be ended; tried again");
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    fn now(&self) -> Timestamp {
        self.ledger.clock().now()
    }
}
