//! A deployment whose instance is not proven yet: it becomes healthy and passes its smoke test, or it fails
//! before anyone met it.

use crate::{
    Delivery,
    deployment::{self, Deployment, Instance, Status, desired, instances},
    environment::{self, Environment},
    fleet::{self, Channel},
    judge::Judge,
    product::RolloutPolicy,
    rollout::{self, store::Rollout, weight_at},
};
use bascule_core::{Actor, Problem, Result, RolloutId};
use bascule_ledger::facts::delivery::RolloutStarted;
use bascule_store::Json;
use bascule_wire::agent::{InstanceState, Tier};
use std::time::Duration;

/// Restarts before it is proven after which an instance is given up.
const CRASH_LOOP: u32 = 3;
/// Time for fetching and unpacking, beyond what the product allows for its start.
const FETCH: Duration = Duration::from_secs(120);

/// What an instance's state means for its deployment.
#[derive(Debug, PartialEq, Eq)]
enum Proof {
    Waiting,
    Proven,
    Failed(String),
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
        let environment = environment::store::get(&self.db, deployment.environment_id).await?;
        let instance = instances::of_deployment(&self.db, deployment.id).await?;
        let (Some(environment), Some(instance)) = (environment, instance) else {
            tracing::error!(deployment = %deployment.id, "a deployment without its environment or instance");
            return Err(Problem::internal());
        };
        let agents = fleet::store::agents(&self.db).await?;
        let online = agents
            .iter()
            .any(|agent| Some(agent.id) == environment.agent_id && agent.online);
        // Neither a change of state nor a start of the server counts against the release.
        let since = deployment.created_at.max(instance.state_at).max(self.started);
        match proof(deployment, &instance, online, self.now().since(since)) {
            Proof::Waiting => Ok(()),
            Proof::Failed(reason) => self.fail(&environment, deployment, &instance, &reason).await,
            Proof::Proven => self.proven(&environment, deployment, &instance).await,
        }
    }

    async fn fail(
        &self,
        environment: &Environment,
        deployment: &Deployment,
        instance: &Instance,
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
            instances::set_desired(&tx, instance.id, desired::DRAIN).await?;
            self.bump(&tx, Channel::Agent).await?;
            tx.commit().await?;
        }
        Ok(())
    }

    /// Healthy and smoked: it takes over, at once or in steps.
    async fn proven(&self, environment: &Environment, deployment: &Deployment, new: &Instance) -> Result<()> {
        let old = match environment.serving_id {
            Some(serving) => instances::of_deployment(&self.db, serving)
                .await?
                .filter(Instance::serves),
            None => None,
        };
        let Json(product) = &deployment.product;
        let in_steps = environment.tier() == Tier::Production && weight_at(&product.rollout, 0) < 100;
        match old {
            Some(old) if in_steps && old.state() == InstanceState::Healthy => {
                self.begin_rollout(deployment, new, &old, &product.rollout).await
            }
            old => self.switch(environment, deployment, new, old.as_ref()).await,
        }
    }

    /// All traffic at once: below production, into an empty environment, or over a version that serves no more.
    async fn switch(
        &self,
        environment: &Environment,
        deployment: &Deployment,
        new: &Instance,
        old: Option<&Instance>,
    ) -> Result<()> {
        let reason = match old {
            None => "healthy, and smoke test passed; nothing served here before",
            Some(old) if environment.tier() == Tier::Production && old.state() != InstanceState::Healthy => {
                "healthy, and smoke test passed; the version before it was not healthy, so there was nothing to compare with"
            }
            Some(_) => "healthy, and smoke test passed",
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
        let revision = self.bump(&tx, Channel::Edge).await?;
        instances::set_weight(&tx, new.id, 100).await?;
        if let Some(old) = old {
            instances::retire(&tx, old.id, now, revision).await?;
        }
        environment::store::set_serving(&tx, environment.id, deployment.id).await?;
        tx.commit().await?;
        Ok(())
    }

    async fn begin_rollout(
        &self,
        deployment: &Deployment,
        new: &Instance,
        old: &Instance,
        policy: &RolloutPolicy,
    ) -> Result<()> {
        let now = self.now();
        let weight = weight_at(policy, 0);
        let tx = self.db.begin().await?;
        let Some(before) = deployment::store::get(&tx, old.deployment_id).await? else {
            return Ok(());
        };
        if !deployment::store::expose(&tx, deployment.id, Status::RollingOut, now).await? {
            return Ok(());
        }
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
            policy: Json(policy.clone()),
            status: rollout::Status::Running.as_str().to_owned(),
            step: 0,
            step_at: now,
            weight: i64::from(weight),
            extended: false,
            recovering_at: None,
            base_restarts: new.restarts,
            judge: Json(Judge::default()),
            judged_until: rollout::first_slice(now),
            cause: None,
            reason: String::new(),
            first_error_at: None,
            created_at: now,
            finished_at: None,
            held: false,
        };
        rollout::store::insert(&tx, &rollout).await?;
        instances::set_weight(&tx, new.id, weight).await?;
        instances::set_weight(&tx, old.id, 100_u32.saturating_sub(weight)).await?;
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
        self.ledger.append(&tx, &Actor::system(), &fact).await?;
        self.ledger
            .append(
                &tx,
                &Actor::system(),
                &rollout::service::stepped(&rollout, weight),
            )
            .await?;
        self.bump(&tx, Channel::Edge).await?;
        tx.commit().await?;
        Ok(())
    }
}
