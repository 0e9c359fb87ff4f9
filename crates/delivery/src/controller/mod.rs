//! The loop that drives deployments and rollouts. It keeps nothing in memory but its lease: every turn reads
//! what is open from the database, decides, and writes, so it may be killed between any two lines.

pub(crate) mod claim;
mod recreating;
mod replacing;
mod rolling;
mod starting;
mod together;

use crate::{
    Delivery,
    deployment::{self, Status, desired, instances},
    fleet,
    plan::Change,
    rollout,
};
use bascule_core::{Actor, Result};
use bascule_ledger::facts::delivery::AgentSeen;
use claim::Claim;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Time between turns while something is under way.
const BUSY: Duration = Duration::from_millis(250);
/// Time between turns otherwise; only silent agents are looked for.
const IDLE: Duration = Duration::from_secs(5);
/// Time that edges get to know a new configuration before what they may still use is drained all the same.
const ACKNOWLEDGE: Duration = Duration::from_secs(5);

pub(crate) async fn run(delivery: Delivery, stop: CancellationToken) {
    let mut driver = Driver::new(delivery);
    loop {
        let wait = match driver.turn().await {
            Ok(true) => BUSY,
            Ok(false) => IDLE,
            Err(error) => {
                tracing::error!(%error, "delivery's turn failed; it is taken again");
                Duration::from_secs(1)
            }
        };
        tokio::select! {
            () = stop.cancelled() => break,
            () = driver.delivery.signals.wake.notified() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
    // Calls that hang would otherwise hold up the server's end.
    driver.delivery.signals.stop.cancel();
    driver.claim.release().await;
}

/// One process's claim to drive.
pub(crate) struct Driver {
    delivery: Delivery,
    claim: Claim,
    recovered: bool,
}

impl Driver {
    pub fn new(delivery: Delivery) -> Self {
        Self {
            claim: Claim::new(delivery.clone(), "delivery"),
            delivery,
            recovered: false,
        }
    }

    /// Takes one turn; whether something is under way.
    pub async fn turn(&mut self) -> Result<bool> {
        if !self.claim.holds().await? {
            self.recovered = false;
            return Ok(false);
        }
        if !self.recovered {
            self.recover().await?;
            self.recovered = true;
        }
        self.delivery.advance().await
    }

    /// Another process drove until now, and its end may have taken instances along.
    async fn recover(&self) -> Result<()> {
        if rollout::store::open(&self.delivery.db).await?.is_empty() {
            return Ok(());
        }
        let tx = self.delivery.db.begin().await?;
        let count = rollout::store::begin_recovery(&tx, self.delivery.now()).await?;
        tx.commit().await?;
        tracing::info!(count, "rollouts wait for their instances to be seen again");
        Ok(())
    }
}

impl Delivery {
    /// Takes everything that is open one step further; whether something is under way.
    async fn advance(&self) -> Result<bool> {
        let (mut after, mut busy) = (None, false);
        loop {
            let open = deployment::store::open(&self.db, after).await?;
            let Some(last) = open.last() else { break };
            (after, busy) = (Some(last.id), true);
            for deployment in &open {
                let done = match deployment.status() {
                    // Boxed: each strategy has a future of its own size.
                    Status::Starting => Box::pin(self.advance_starting(deployment)).await,
                    Status::RollingOut => Box::pin(self.advance_rolling(deployment)).await,
                    _ => Ok(()),
                };
                // One that cannot be advanced must not hold up the others.
                if let Err(error) = done {
                    tracing::error!(deployment = %deployment.id, %error, "a deployment could not be advanced");
                }
            }
        }
        let draining = self.drain_retired().await?;
        self.find_silent_agents().await?;
        Ok(draining || busy)
    }

    /// Instances out of traffic are told to drain once every edge knows, or ought to.
    async fn drain_retired(&self) -> Result<bool> {
        let retired = instances::retired(&self.db).await?;
        let now = self.now();
        let mut waiting = false;
        for instance in retired {
            let revision = instance.retired_revision.unwrap_or(0);
            let late = instance.retired_at.is_none_or(|at| now.since(at) >= ACKNOWLEDGE);
            if !late
                && fleet::store::edges_behind(&self.db, revision, now.minus(fleet::EDGE_SILENCE)).await? > 0
            {
                waiting = true;
                continue;
            }
            let tx = self.db.begin().await?;
            if instances::set_desired(&tx, instance.id, desired::DRAIN).await? {
                self.tell_agent_at(&tx, instance.environment_id).await?;
                tx.commit().await?;
            }
        }
        Ok(waiting)
    }

    async fn find_silent_agents(&self) -> Result<()> {
        let now = self.now();
        // What was heard just now may not be written down yet.
        self.write_signs().await?;
        // While no server ran nobody could be heard.
        if now.since(self.started) < fleet::AGENT_SILENCE {
            return Ok(());
        }
        for agent in fleet::store::silent_agents(&self.db, now).await? {
            let tx = self.db.begin().await?;
            if fleet::store::agent_offline(&tx, agent.id, now).await? {
                let fact = AgentSeen {
                    agent: agent.id,
                    name: agent.name,
                    online: false,
                };
                self.ledger.append(&tx, &Actor::system(), &fact).await?;
                self.replan_for(&tx, Change::Agent(agent.id)).await?;
                tx.commit().await?;
            }
        }
        Ok(())
    }
}
