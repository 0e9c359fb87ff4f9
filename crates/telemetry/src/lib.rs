//! What products do for their users, measured at the edge with no change to their code: the four golden
//! signals per version, kept in buckets of ten seconds; availability objectives with their error budgets;
//! and alerts that fire when a budget burns too fast.
//!
//! Knows nothing of how products are deployed: which environments there are and what they promise is asked
//! through [`ports::Objectives`]. Incidents hear of alerts as facts.

pub mod ports;
mod schema;
pub mod signals;
pub mod slo;
mod summary;
#[cfg(test)]
mod testing;

pub use schema::MIGRATIONS;

use bascule_core::Clock;
use bascule_ledger::Ledger;
use bascule_store::Db;
use bascule_web::Routes;
use ports::Objectives;
use std::{sync::Arc, time::Duration};
use tokio::sync::Notify;

/// What may be set.
#[derive(Clone, Debug)]
pub struct Config {
    /// Time scale of the alert's windows: 1 for the SRE workbook's hours, 1/60 makes minutes of them for
    /// a demonstration.
    pub alert_time_scale: f64,
    /// Fewest requests in the long window for an alert to fire.
    pub alert_min_requests: u64,
    /// Fewest errors in the long window for an alert to fire, so that one failed request of two pages nobody.
    pub alert_min_errors: u64,
    /// How often traffic is told to the ledger.
    pub summary_every: Duration,
    /// How long buckets of ten seconds are kept.
    pub keep_fine: Duration,
    /// How long buckets of a minute are kept.
    pub keep_minutes: Duration,
    /// How long buckets of an hour are kept.
    pub keep_hours: Duration,
}

impl Default for Config {
    fn default() -> Self {
        const DAY: u64 = 86_400;
        Self {
            alert_time_scale: 1.0,
            alert_min_requests: 30,
            alert_min_errors: 5,
            summary_every: Duration::from_secs(300),
            keep_fine: Duration::from_secs(2 * DAY),
            keep_minutes: Duration::from_secs(8 * DAY),
            keep_hours: Duration::from_secs(400 * DAY),
        }
    }
}

/// The capability, cheap to clone.
#[derive(Clone)]
pub struct Telemetry {
    pub(crate) db: Db,
    pub(crate) ledger: Ledger,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) objectives: Arc<dyn Objectives>,
    pub(crate) config: Arc<Config>,
    /// Rings when counts arrived.
    pub(crate) news: Arc<Notify>,
}

impl Telemetry {
    /// The capability over a database and a ledger; `objectives` answers what environments promise.
    #[must_use]
    pub fn new(db: Db, ledger: Ledger, objectives: Arc<dyn Objectives>, config: Config) -> Self {
        let clock = ledger.clock().clone();
        Self {
            db,
            ledger,
            clock,
            objectives,
            config: Arc::new(config),
            news: Arc::default(),
        }
    }
}

/// All routes of this capability.
pub fn routes(telemetry: Telemetry) -> Routes {
    Routes::new()
        .merge(signals::pages::routes())
        .merge(signals::api::routes())
        .with_state(telemetry)
}
