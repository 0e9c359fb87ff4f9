//! A deployment whose instances are not proven yet: they become healthy and pass their smoke test, or it fails
//! before anyone met it. Then it takes over, as its product's strategy says.

use crate::{
    Delivery,
    deployment::{self, Deployment, Instance, Status, desired, instances},
    environment::{self, Environment},
    fleet::{self, Channel},
    judge::Judge,
    product::{RolloutPolicy, Strategy},
    rollout::{
        self,
        service::set_shares,
        sides::{Sides, pick, restarts},
        store::Rollout,
        weight_at,
    },
};
use bascule_core::{Actor, EnvironmentId, InstanceId, Problem, Result, RolloutId, Timestamp};
use bascule_ledger::facts::delivery::RolloutStarted;
use bascule_store::{Json, Tx};
use bascule_wire::agent::{InstanceState, Tier};
use std::time::Duration;

/// Restarts before it is proven after which an instance is given up.
const CRASH_LOOP: u32 = 3;
/// Time for fetching and unpacking, beyond what the product allows for its start.
pub(super) const FETCH: Duration = Duration::from_secs(120);

/// What an instance's state means for its deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    Waiting,
    Proven,
    Failed(String),
}

/// What several instances' states mean: one that failed is enough, and all must be proven.
pub(super) fn proofs(proofs: impl Iterator<Item = Proof>) -> Proof {
    let mut all = Proof::Proven;
    for proof in proofs {
        match proof {
            Proof::Failed(_) => return proof,
            Proof::Waiting => all = Proof::Waiting,
            Proof::Proven => {}
        }
    }
    all
}

fn proof(deployment: &Deployment, instance: &Instance, online: bool, waited: Duration) -> Proof {
    let Json(product) = &deployment.product;
    let detail = instance.message.trim();
    let with = |what: String| {
        if detail.is_empty() {
            what
        } else {
            format!("{what}: {detail}")
        }
    };
    let smoke = instance.smoke.as_ref().map(|Json(smoke)| smoke);
    match instance.state() {
        InstanceState::Failed => return Proof::Failed(with("the instance could not run".into())),
        _ if instance.restarts() >= CRASH_LOOP => {
            return Proof::Failed(with(format!(
                "the instance crashed {} times",
                instance.restarts()
            )));
        }
        InstanceState::Healthy | InstanceState::Unhealthy if smoke.is_some_and(|smoke| !smoke.passed) => {
            let lines = smoke.map(|smoke| smoke.details.join("; ")).unwrap_or_default();
            return Proof::Failed(format!("the smoke test failed: {lines}"));
        }
        InstanceState::Healthy if product.smoke.is_empty() || smoke.is_some() => return Proof::Proven,
        _ => {}
    }
    let allowed = Duration::from_millis(product.health.start_ms).saturating_add(FETCH);
    // While the agent is away nothing can start, and nothing can be said against the release.
    if online && waited > allowed {
        let seconds = allowed.as_secs();
        return Proof::Failed(with(format!(
            "the instance was not proven healthy within {seconds} seconds"
        )));
    }
    Proof::Waiting
}

impl Delivery {
    pub(super) async fn advance_starting(&self, deployment: &Deployment) -> Result<()> {
        let Some(environment) = environment::store::get(&self.db, deployment.environment_id).await? else {
            tracing::error!(deployment = %deployment.id, "a deployment without its environment");
            return Err(Problem::internal());
        };
        let living = instances::living(&self.db, environment.id).await?;
        let sides = Sides::of(deployment.id, living);
        if sides.new.is_empty() {
            return self.advance_hook(&environment, deployment).await;
        }
        let Json(product) = &deployment.product;
        let policy = product.rollout_in(environment.tier());
        if let Some(together) = self.together(deployment).await? {
            let turn = self.advance_together(&environment, deployment, &sides, &policy, together);
            return Box::pin(turn).await;
        }
        let online = self.online(&environment).await?;
        let running = |instance: &&Instance| instance.desired == desired::RUN;
        if !sides.new.iter().any(|i| running(&i)) {
            return self
                .begin(&environment, deployment, &sides, &policy, online)
                .await;
        }
        let found = proofs(
            sides
                .new
                .iter()
                .filter(running)
                .map(|i| self.proof(deployment, i, online)),
        );
        match found {
            Proof::Waiting => self.stand_beside(&environment, &sides, &policy).await.map(drop),
            Proof::Failed(reason) => self.fail(&environment, deployment, &sides, &reason).await,
            Proof::Proven => {
                self.proven(&environment, deployment, &sides, &policy, online)
                    .await
            }
        }
    }

    /// Whether the environment's agent reports.
    pub(crate) async fn online(&self, environment: &Environment) -> Result<bool> {
        let Some(agent) = environment.agent_id else {
            return Ok(false);
        };
        // What was heard just now may not be written down yet.
        self.write_signs().await?;
        let agent = fleet::store::agent(&self.db, agent).await?;
        Ok(agent.is_some_and(|agent| agent.is_heard(self.now())))
    }

    /// Neither a change of state nor a start of the server counts against the release.
    pub(super) fn proof(&self, deployment: &Deployment, instance: &Instance, online: bool) -> Proof {
        let since = deployment.created_at.max(instance.state_at).max(self.started);
        proof(deployment, instance, online, self.now().since(since))
    }

    /// Its instances wait for their turn: the strategy says how many may start, and what must end before.
    async fn begin(
        &self,
        environment: &Environment,
        deployment: &Deployment,
        sides: &Sides,
        policy: &RolloutPolicy,
        online: bool,
    ) -> Result<()> {
        let all = pick(&sides.new, Instance::held);
        let serving = sides.old.iter().any(Instance::serves);
        match policy.strategy {
            Strategy::Recreate => match environment.serving_id {
                // What runs is not ended for what nobody could start.
                _ if !online && !sides.old.is_empty() => Ok(()),
                Some(_) => self.begin_recreate(environment, deployment, sides, policy).await,
                None if sides.old.is_empty() => self.start(environment.id, &all).await,
                None => Ok(()),
            },
            Strategy::Rolling if serving && policy.max_surge == 0 => {
                self.begin_roll(environment, deployment, sides, policy).await
            }
            Strategy::Rolling if serving => {
                let batch = usize::try_from(policy.max_surge).unwrap_or(1);
                self.start(
                    environment.id,
                    all.get(..batch.min(all.len())).unwrap_or_default(),
                )
                .await
            }
            _ => self.start(environment.id, &all).await,
        }
    }

    /// Lets instances start whose turn has come.
    pub(super) async fn start(&self, environment: EnvironmentId, ids: &[InstanceId]) -> Result<()> {
        let tx = self.db.begin().await?;
        instances::start(&tx, ids, self.now()).await?;
        self.tell_agent_at(&tx, environment).await?;
        tx.commit().await?;
        Ok(())
    }

    /// While the new version starts, an instance of the old one starts beside it, if they are to be compared at
    /// the same age. Whether one was asked for just now.
    async fn stand_beside(
        &self,
        environment: &Environment,
        sides: &Sides,
        policy: &RolloutPolicy,
    ) -> Result<bool> {
        let healthy = |i: &Instance| i.in_service() && i.state() == InstanceState::Healthy;
        let wanted = policy.fresh && weight_at(policy, 0) < 100 && sides.baseline.is_empty();
        let Some(serving) = environment.serving_id else {
            return Ok(false);
        };
        if !wanted || !sides.old.iter().any(|i| i.deployment_id == serving && healthy(i)) {
            return Ok(false);
        }
        let new = instances::New {
            deployment: serving,
            environment: environment.id,
            desired: desired::RUN,
            weight: 0,
            baseline: true,
            count: 1,
        };
        let tx = self.db.begin().await?;
        instances::insert(&tx, &new, self.now()).await?;
        self.tell_agent_at(&tx, environment.id).await?;
        tx.commit().await?;
        Ok(true)
    }

    pub(super) async fn fail(
        &self,
        environment: &Environment,
        deployment: &Deployment,
        sides: &Sides,
        reason: &str,
    ) -> Result<()> {
        let reason = instances::cut(reason, 2_000);
        let tx = self.db.begin().await?;
        let actor = Actor::system();
        if self
            .end(
                &tx,
                &actor,
                environment,
                deployment,
                Status::Failed,
                &reason,
                self.now(),
            )
            .await?
        {
            instances::end(&tx, &pick(&sides.new, |_| true)).await?;
            instances::end(&tx, &pick(&sides.baseline, |_| true)).await?;
            self.tell_agent_at(&tx, environment.id).await?;
            tx.commit().await?;
        }
        Ok(())
    }

    /// Healthy and smoked: it takes over, at once or in steps.
    async fn proven(
        &self,
        environment: &Environment,
        deployment: &Deployment,
        sides: &Sides,
        policy: &RolloutPolicy,
        online: bool,
    ) -> Result<()> {
        let serving = sides.old.iter().any(Instance::serves);
        if policy.strategy == Strategy::Rolling && serving {
            return self.begin_roll(environment, deployment, sides, policy).await;
        }
        let in_steps = policy.strategy.in_shares() && weight_at(policy, 0) < 100;
        let healthy = |i: &Instance| i.serves() && i.state() == InstanceState::Healthy;
        if !in_steps || !sides.old.iter().any(healthy) {
            return self.switch(environment, deployment, sides).await;
        }
        let mut fresh = Vec::new();
        if policy.fresh {
            // The new version may be proven before the controller's next turn.
            if self.stand_beside(environment, sides, policy).await? {
                return Ok(());
            }
            let old = match environment.serving_id {
                Some(serving) => deployment::store::get(&self.db, serving).await?,
                None => None,
            };
            if let Some(old) = old.filter(|_| !sides.baseline.is_empty()) {
                let found = proofs(sides.baseline.iter().map(|i| self.proof(&old, i, online)));
                match found {
                    Proof::Waiting => return Ok(()),
                    Proof::Proven => fresh = pick(&sides.baseline, Instance::serves),
                    Proof::Failed(reason) => {
                        tracing::warn!(deployment = %deployment.id, %reason, "no fresh instance to compare with");
                    }
                }
            }
        }
        self.begin_shares(environment, deployment, sides, policy, !fresh.is_empty())
            .await
    }

    /// All traffic at once: below production, into an empty environment, or over a version that serves no more.
    pub(super) async fn switch(
        &self,
        environment: &Environment,
        deployment: &Deployment,
        sides: &Sides,
    ) -> Result<()> {
        let old: Vec<&Instance> = sides.old.iter().filter(|i| i.serves()).collect();
        let healthy = old.iter().any(|i| i.state() == InstanceState::Healthy);
        let reason = if old.is_empty() {
            "healthy, and smoke test passed; nothing served here before"
        } else if environment.tier() == Tier::Production && !healthy {
            "healthy, and smoke test passed; the version before it was not healthy, so there was nothing to compare with"
        } else {
            "healthy, and smoke test passed"
        };
        let now = self.now();
        let tx = self.db.begin().await?;
        if !deployment::store::expose(&tx, deployment.id, Status::Starting, now).await? {
            return Ok(());
        }
        self.end(
            &tx,
            &Actor::system(),
            environment,
            deployment,
            Status::Succeeded,
            reason,
            now,
        )
        .await?;
        instances::set_share(&tx, &pick(&sides.new, Instance::serves), 100).await?;
        let revision = self.bump(&tx, Channel::Edge).await?;
        instances::retire(&tx, &pick(&sides.old, Instance::serves), now, revision).await?;
        self.leave(&tx, &sides.baseline, now).await?;
        environment::store::set_serving(&tx, environment.id, deployment.id).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Shares of traffic go over, between two whole sets of instances.
    async fn begin_shares(
        &self,
        environment: &Environment,
        deployment: &Deployment,
        sides: &Sides,
        policy: &RolloutPolicy,
        fresh: bool,
    ) -> Result<()> {
        let weight = weight_at(policy, 0);
        let tx = self.db.begin().await?;
        let begun = Begun {
            weight,
            fresh,
            ..Begun::default()
        };
        let Some(rollout) = self
            .open_rollout(&tx, environment, deployment, sides, policy, &begun)
            .await?
        else {
            return Ok(());
        };
        if !deployment::store::expose(&tx, deployment.id, Status::RollingOut, rollout.created_at).await? {
            return Ok(());
        }
        if !fresh {
            self.leave(&tx, &sides.baseline, rollout.created_at).await?;
        }
        set_shares(&tx, &rollout, sides, weight).await?;
        let step = rollout::service::stepped(&rollout, weight);
        self.ledger.append(&tx, &Actor::system(), &step).await?;
        self.bump(&tx, Channel::Edge).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Writes a rollout down and says that it began; `None` where there is nothing to roll out over.
    pub(super) async fn open_rollout(
        &self,
        tx: &Tx,
        environment: &Environment,
        deployment: &Deployment,
        sides: &Sides,
        policy: &RolloutPolicy,
        begun: &Begun,
    ) -> Result<Option<Rollout>> {
        let now = self.now();
        let served = sides
            .old
            .iter()
            .find(|i| i.serves())
            .map(|i| i.deployment_id)
            .or(environment.serving_id);
        let before = match environment.serving_id.or(served) {
            Some(before) => deployment::store::get(tx, before).await?,
            None => None,
        };
        let (Some(before), Some(new)) = (before, sides.new.first()) else {
            return Ok(None);
        };
        let last = instances::of_deployment(tx, before.id).await?;
        let Some(old) = sides.old.first().or_else(|| last.first()) else {
            return Ok(None);
        };
        let count = sides.old.iter().filter(|i| i.serves()).count().max(1);
        let declared = environment::store::declared(tx, environment.id).await?;
        let rollout = Rollout {
            id: RolloutId::new(),
            project_id: deployment.project_id,
            environment_id: deployment.environment_id,
            deployment_id: deployment.id,
            old_deployment_id: before.id,
            new_instance_id: new.id,
            old_instance_id: old.id,
            version: deployment.version.clone(),
            baseline: before.version,
            policy: Json(policy.clone().inconclusive_in(declared)),
            status: rollout::Status::Running.as_str().to_owned(),
            step: 0,
            step_at: now,
            weight: i64::from(begun.weight),
            extended: false,
            recovering_at: None,
            base_restarts: i64::from(restarts(&sides.new, Instance::serves)),
            judge: Json(Judge::default()),
            judged_until: rollout::first_slice(now),
            cause: None,
            reason: String::new(),
            first_error_at: None,
            created_at: now,
            finished_at: None,
            held: false,
            fresh: begun.fresh,
            old_count: i64::try_from(begun.old_count.unwrap_or(count)).unwrap_or(1),
            down_at: begun.down_at,
            up_at: None,
        };
        rollout::store::insert(tx, &rollout).await?;
        let fact = RolloutStarted {
            project: rollout.project_id,
            rollout: rollout.id,
            deployment: rollout.deployment_id,
            environment: rollout.environment_id,
            version: rollout.version.clone(),
            baseline: rollout.baseline.clone(),
            steps: policy.steps.clone(),
            step_ms: i64::try_from(policy.step_ms).unwrap_or(i64::MAX),
            strategy: policy.strategy.as_str().to_owned(),
        };
        self.ledger.append(tx, &Actor::system(), &fact).await?;
        Ok(Some(rollout))
    }
}

/// How a rollout begins.
#[derive(Default)]
pub(super) struct Begun {
    /// Share of traffic of the new version.
    pub weight: u32,
    /// Whether a fresh instance of the old version is compared with.
    pub fresh: bool,
    /// Instances to go back to, if not those that serve.
    pub old_count: Option<usize>,
    /// Since when nothing serves.
    pub down_at: Option<Timestamp>,
}
