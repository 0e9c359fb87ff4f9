//! Delivery: products as their `bascule.yaml` describes them, the environments they run in, deployments,
//! and rollouts that judge themselves.
//!
//! The way of a release: `release.published` → its product file is read → a deployment to staging → the
//! agent runs an instance, checks its health and smokes it → staging switches over at once. Production is
//! asked for by a person; there traffic goes over in steps, [`rollout`] decides and [`judge`] compares new
//! and old on what the edge counted. All state is in the database; [`Delivery::run`] drives it and may die
//! at any point.

mod api;
pub mod carry;
pub(crate) mod catalogue;
mod controller;
pub mod deployment;
pub mod environment;
pub mod fleet;
pub mod judge;
mod pages;
pub(crate) mod plan;
pub mod ports;
mod preview;
pub mod product;
pub mod rollout;
mod schema;
pub(crate) mod secret;
pub mod site;
mod subscriptions;
pub(crate) mod switch;
mod task;
#[cfg(test)]
mod tests;
mod view;
mod views;

pub use ports::{
    Arrival, Builds, ByteStream, Freight, NewBuild, Parcel, ParcelPart, Ports, ProjectFiles, ProjectInfo,
    ReleaseInfo, ReleasePart, Releases, RequestNow, Requests, TrafficSink,
};
pub use ports::{Budgets, CommitFound, History, Teams};
pub use preview::{Pipeline, card::Panel};
pub use schema::MIGRATIONS;

use bascule_core::{AgentId, Clock, EnvironmentId, ReleaseId, Result, Timestamp};
use bascule_ledger::{Ledger, Subscriber};
use bascule_store::{Db, Result as StoreResult, Tx};
use bascule_web::Routes;
use fleet::Channel;
use plan::Change;
use std::sync::Arc;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

/// The capability, cheap to clone.
#[derive(Clone)]
pub struct Delivery {
    pub(crate) db: Db,
    pub(crate) ledger: Ledger,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ports: Ports,
    pub(crate) signals: Arc<Signals>,
    /// When this process began: time before it is held against nobody.
    pub(crate) started: Timestamp,
    /// The listener of agents and edges, where there is one.
    pub(crate) door: Option<Arc<Door>>,
}

/// Where agents and edges call with certificates of their own.
#[derive(Debug)]
pub struct Door {
    /// What issues the certificates.
    pub authority: fleet::authority::Authority,
    /// The listener's address, as agents reach it.
    pub url: String,
}

/// How the parts of one process wake each other.
pub(crate) struct Signals {
    bells: fleet::bells::Bells,
    signs: fleet::signs::Signs,
    edge: watch::Sender<i64>,
    wake: Notify,
    /// Something that plans are made of has changed.
    replan: Notify,
    /// Something was said of previews.
    previews: Notify,
    budgets: plan::Budgets,
    shelves: plan::Shelves,
    stop: CancellationToken,
}

impl Delivery {
    /// Delivery over a database whose migrations were applied.
    #[must_use]
    pub fn new(db: Db, ledger: Ledger, ports: Ports) -> Self {
        let signals = Signals {
            bells: fleet::bells::Bells::default(),
            signs: fleet::signs::Signs::default(),
            edge: watch::Sender::new(0),
            wake: Notify::new(),
            replan: Notify::new(),
            previews: Notify::new(),
            budgets: plan::Budgets::default(),
            shelves: plan::Shelves::default(),
            stop: CancellationToken::new(),
        };
        let clock = ledger.clock().clone();
        let started = clock.now();
        Self {
            db,
            ledger,
            clock,
            ports,
            signals: Arc::new(signals),
            started,
            door: None,
        }
    }

    /// The same, where agents and edges call at a door of their own.
    #[must_use]
    pub fn with_door(self, door: Arc<Door>) -> Self {
        Self {
            door: Some(door),
            ..self
        }
    }

    /// All routes: JSON API, the sides of agents and edges, pages.
    #[must_use]
    pub fn routes(&self) -> Routes {
        api::routes()
            .merge(fleet::api::routes())
            .merge(fleet::members::routes())
            .merge(pages::routes())
            .merge(plan::routes())
            .merge(preview::routes())
            .merge(switch::api::routes())
            .merge(switch::pages::routes())
            .merge(site::routes())
            .merge(site::pages::routes())
            .merge(secret::routes())
            .merge(task::api::routes())
            .merge(views::routes())
            .merge(task::pages::routes())
            .with_state(self.clone())
    }

    /// What this capability does on others' facts.
    #[must_use]
    pub fn subscribers(&self) -> Vec<Arc<dyn Subscriber>> {
        vec![
            Arc::new(subscriptions::OnRelease(self.clone())),
            Arc::new(subscriptions::OnEnvironments(self.clone())),
            Arc::new(catalogue::auto_recall::OnTrouble(self.clone())),
            Arc::new(catalogue::findings::OnFindings(self.clone())),
            Arc::new(plan::drill::OnDrills(self.clone())),
            Arc::new(preview::OnRequests(self.clone())),
        ]
    }

    /// Drives deployments, rollouts and plans until `stop`. Of several servers one does, by lease.
    pub async fn run(self, stop: CancellationToken) {
        tokio::join!(
            plan::pass::run(self.clone(), stop.clone()),
            preview::pass::run(self.clone(), stop.clone()),
            fleet::bells::run(self.clone(), stop.clone()),
            fleet::signs::run(self.clone(), stop.clone()),
            controller::run(self, stop)
        );
    }

    /// Where releases serve: pairs of one of them and the name of an environment.
    ///
    /// # Errors
    /// The database refused.
    pub async fn running(&self, releases: &[ReleaseId]) -> Result<Vec<(ReleaseId, String)>> {
        Ok(environment::store::running(&self.db, releases).await?)
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// A new revision of what edges are told, or of what all agents are; they hear of it once the transaction is
    /// durable. Where it is told to one agent, say so by [`Self::tell_agent`] or [`Self::tell_agent_at`].
    pub(crate) async fn bump(&self, tx: &Tx, channel: Channel) -> StoreResult<i64> {
        let revision = fleet::store::next_revision(tx, channel).await?;
        if channel == Channel::Agent {
            fleet::store::tell_all(tx, revision).await?;
        }
        let signals = self.signals.clone();
        tx.after_commit(move || {
            match channel {
                Channel::Agent => signals.bells.ring_all(),
                Channel::Edge => {
                    signals.edge.send_replace(revision);
                }
            }
            signals.wake.notify_one();
        });
        Ok(revision)
    }

    /// One agent is told something new; it alone hears of it, once the transaction is durable.
    pub(crate) async fn tell_agent(&self, tx: &Tx, agent: AgentId) -> StoreResult<()> {
        let revision = fleet::store::next_revision(tx, Channel::Agent).await?;
        fleet::store::tell(tx, revision, agent).await?;
        let signals = self.signals.clone();
        tx.after_commit(move || {
            signals.bells.ring(agent);
            signals.wake.notify_one();
        });
        Ok(())
    }

    /// The agent that looks after an environment is told something new, if there is one.
    pub(crate) async fn tell_agent_at(&self, tx: &Tx, environment: EnvironmentId) -> StoreResult<()> {
        match fleet::store::agent_of(tx, environment).await? {
            Some(agent) => self.tell_agent(tx, agent).await,
            None => {
                let signals = self.signals.clone();
                tx.after_commit(move || signals.wake.notify_one());
                Ok(())
            }
        }
    }

    /// Something that any plan may be made of changes in this transaction: all plans are made anew, and no step is
    /// taken that was planned before. Where it bears on some, say so by [`Self::replan_for`].
    pub(crate) async fn replan(&self, tx: &Tx) -> StoreResult<()> {
        self.replan_for(tx, Change::Everything).await
    }

    /// Something that plans are made of changes in this transaction: those that it bears on are made anew, and no
    /// step is taken that was planned before.
    pub(crate) async fn replan_for(&self, tx: &Tx, change: Change<'_>) -> StoreResult<()> {
        plan::store::changes(tx, &change).await?;
        let signals = self.signals.clone();
        tx.after_commit(move || signals.replan.notify_one());
        Ok(())
    }

    /// Lets the controller look at once instead of at its next turn.
    pub(crate) fn wake(&self) {
        self.signals.wake.notify_one();
    }
}
