//! Tells people and programs what happened: to-dos, mail and webhooks. Everything here follows from facts; nothing of
//! it is a fact, but that a webhook was made or changed.
//!
//! Each subscriber keeps the number of the last fact that it heard in the same transaction as what came of it
//! ([`heard`](store::hear)), so that a fact that comes again, after a crash or on another replica, does nothing. It
//! begins with the first fact after this crate came to the instance: nobody is told of years past.
//!
//! Who people are, and what issues and requests say, is asked through [`ports`] when it is shown or sent. Here only
//! their identifiers are kept, so that what was taken back or closed off is told to nobody.

pub mod mail;
pub mod ports;
mod schema;
mod store;
#[cfg(test)]
mod testing;
pub mod todo;
pub mod webhook;

pub use schema::MIGRATIONS;

use bascule_core::{Clock, Timestamp};
use bascule_ledger::{Hub, Ledger};
use bascule_store::{Backend, Db};
use bascule_web::Routes;
use ports::{Matters, People, Projects};
use std::sync::Arc;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// What an instance may set.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// The instance's address, without a slash at the end.
    pub url: String,
    /// How mail is sent; none where it is not.
    pub mail: Option<mail::Settings>,
    /// Which addresses webhooks may call although they are no public ones.
    pub webhooks: webhook::Allowed,
}

/// The capability, cheap to clone.
#[derive(Clone)]
pub struct Notices(Arc<Inner>);

struct Inner {
    db: Db,
    ledger: Ledger,
    clock: Arc<dyn Clock>,
    people: Arc<dyn People>,
    matters: Arc<dyn Matters>,
    projects: Arc<dyn Projects>,
    config: Config,
    /// Names this process in leases.
    holder: String,
    /// A mail waits.
    mails: Notify,
    /// A delivery waits.
    deliveries: Notify,
}

impl Notices {
    /// The capability over a database and a ledger.
    #[must_use]
    pub fn new(
        db: Db,
        ledger: Ledger,
        people: Arc<dyn People>,
        matters: Arc<dyn Matters>,
        projects: Arc<dyn Projects>,
        config: Config,
    ) -> Self {
        let clock = ledger.clock().clone();
        let holder = match db.backend() {
            // One process has the file, by the lock on its directory: after a crash it need not wait for itself.
            Backend::Sqlite => "the one".to_owned(),
            Backend::Postgres => bascule_core::FactId::new().to_string(),
        };
        Self(Arc::new(Inner {
            db,
            ledger,
            clock,
            people,
            matters,
            projects,
            config,
            holder,
            mails: Notify::new(),
            deliveries: Notify::new(),
        }))
    }

    /// Adds this capability's subscribers to the process's.
    #[must_use]
    pub fn subscribe(&self, hub: Hub) -> Hub {
        hub.with(Arc::new(todo::Tell(self.clone())))
            .with(Arc::new(todo::Conflicts(self.clone())))
            .with(Arc::new(webhook::Events(self.clone())))
    }

    /// Sends mail and calls webhooks until `stop`; of several replicas, one does each.
    pub async fn run(self, stop: CancellationToken) {
        let (mail, hooks, old) = (self.clone(), self.clone(), self);
        tokio::join!(
            mail.run_mail(stop.clone()),
            hooks.run_webhooks(stop.clone()),
            old.run_retention(stop)
        );
    }

    pub(crate) fn db(&self) -> &Db {
        &self.0.db
    }

    pub(crate) fn ledger(&self) -> &Ledger {
        &self.0.ledger
    }

    pub(crate) fn config(&self) -> &Config {
        &self.0.config
    }

    pub(crate) fn people(&self) -> &dyn People {
        self.0.people.as_ref()
    }

    pub(crate) fn matters(&self) -> &dyn Matters {
        self.0.matters.as_ref()
    }

    pub(crate) fn projects(&self) -> &dyn Projects {
        self.0.projects.as_ref()
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.0.clock.now()
    }
}

/// All routes of this capability.
pub fn routes(notices: Notices) -> Routes {
    Routes::new()
        .merge(todo::pages::routes())
        .merge(todo::api::routes())
        .merge(mail::pages::routes())
        .merge(mail::api::routes())
        .merge(webhook::pages::routes())
        .merge(webhook::api::routes())
        .with_state(notices)
}
