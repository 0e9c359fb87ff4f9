//! A rollout without two versions at once: what runs ends, what comes starts. In between nothing serves, and how
//! long that was is written down.

use super::{
    starting::{Begun, Proof, proofs},
    together::Together,
};
use crate::{
    Delivery,
    deployment::{self, Deployment, Instance, Status as DeploymentStatus, desired, instances},
    environment::{self, Environment},
    product::RolloutPolicy,
    rollout::{
        Cause, Status,
        sides::{Sides, pick},
        store::{self, Rollout},
    },
    switch::{self, Course},
};
use bascule_core::{Actor, Result};
use bascule_store::Json;
use bascule_wire::agent::InstanceState;
use std::time::Duration;

/// The phases, as the rollout's step counts them; at 0 the old instances end.
const STARTING: usize = 1;
const STOPPING_NEW: usize = 2;
const STARTING_OLD: usize = 3;

impl Delivery {
    /// The old instances leave; from here on nothing serves.
    pub(super) async fn begin_recreate(
        &self,
        environment: &Environment,
        deployment: &Deployment,
        sides: &Sides,
        policy: &RolloutPolicy,
    ) -> Result<()> {
        let now = self.now();
        let policy = RolloutPolicy {
            steps: vec![100],
            ..policy.clone()
        };
        let begun = Begun {
            old_count: self.instances_before(environment, sides).await?,
            down_at: Some(now),
            ..Begun::default()
        };
        let tx = self.db.begin().await?;
        let opened = self
            .open_rollout(&tx, environment, deployment, sides, &policy, &begun)
            .await?;
        if opened.is_none() {
            // Nothing is left of what served before.
            drop(tx);
            if deployment.cause == switch::CAUSE {
                // It starts with the others, once what still runs has ended.
                return Ok(());
            }
            return self
                .start(environment.id, &pick(&sides.new, Instance::held))
                .await;
        }
        if !deployment::store::expose(&tx, deployment.id, DeploymentStatus::RollingOut, now).await? {
            return Ok(());
        }
        self.leave(&tx, &sides.old, now).await?;
        tx.commit().await?;
        Ok(())
    }

    /// How many instances to go back to: those that serve, or where none does, as many as its product asks for.
    async fn instances_before(&self, environment: &Environment, sides: &Sides) -> Result<Option<usize>> {
        let serving = sides.old.iter().filter(|i| i.serves()).count();
        let (0, Some(id)) = (serving, environment.serving_id) else {
            return Ok(None);
        };
        let before = deployment::store::get(&self.db, id).await?;
        Ok(before.map(|before| {
            let Json(product) = &before.product;
            usize::try_from(product.rollout_in(environment.tier()).replicas).unwrap_or(1)
        }))
    }

    pub(super) async fn advance_recreate(
        &self,
        deployment: &Deployment,
        rollout: &Rollout,
        sides: &Sides,
    ) -> Result<()> {
        let Some(environment) = environment::store::get(&self.db, rollout.environment_id).await? else {
            return Ok(());
        };
        let online = self.online(&environment).await?;
        let mut together = self.together(deployment).await?;
        if let Some(group) = &mut together {
            match (group.course(), rollout.status()) {
                (Course::Done, _) => {
                    let reason = format!(
                        "{}; nothing served for {}",
                        group.switch.why,
                        self.silence(rollout)
                    );
                    return self
                        .promote_rollout(&Actor::system(), rollout, Cause::Judge, &reason)
                        .await
                        .map(drop);
                }
                // Whoever went back alone takes the others along.
                (Course::Open, Status::Undoing) => {
                    self.give_up(group, deployment, &rollout.reason).await?;
                }
                (Course::Back, status) if status != Status::Undoing => {
                    let reason = format!("all that switch together go back: {}", group.switch.why);
                    return self
                        .set_course(rollout, Status::Undoing, Cause::Guardrail, &reason)
                        .await
                        .map(drop);
                }
                _ => {}
            }
        }
        if rollout.status() == Status::Undoing {
            // No old version starts beside a new one of the group.
            let alone = together.as_ref().is_none_or(Together::new_ended);
            return self.bring_back(rollout, sides, online, alone).await;
        }
        if !sides.old.is_empty() || together.as_ref().is_some_and(|group| !group.old_ended()) {
            return Ok(());
        }
        if sides.new.iter().any(Instance::held) {
            return self.start_phase(rollout, STARTING, &sides.new).await;
        }
        let found = proofs(sides.new.iter().map(|i| self.proof(deployment, i, online)));
        match (found, &mut together) {
            (Proof::Waiting, _) => Ok(()),
            (Proof::Failed(reason), Some(group)) => self.give_up(group, deployment, &reason).await,
            (Proof::Proven, Some(group)) => self.agree(group).await,
            (Proof::Failed(reason), None) => self
                .set_course(rollout, Status::Undoing, Cause::Guardrail, &reason)
                .await
                .map(drop),
            (Proof::Proven, None) => {
                let reason = format!(
                    "healthy, and smoke test passed; nothing served for {}",
                    self.silence(rollout)
                );
                self.promote_rollout(&Actor::system(), rollout, Cause::Judge, &reason)
                    .await
                    .map(drop)
            }
        }
    }

    async fn start_phase(&self, rollout: &Rollout, step: usize, held: &[Instance]) -> Result<()> {
        let now = self.now();
        let tx = self.db.begin().await?;
        if !store::set_phase(&tx, rollout, step, rollout.down_at, now).await? {
            return Ok(());
        }
        instances::start(&tx, &pick(held, Instance::held), now).await?;
        self.tell_agent_at(&tx, rollout.environment_id).await?;
        tx.commit().await?;
        Ok(())
    }

    /// The new instances end, and the old version starts again: `alone` says that no new one of those that switch with
    /// it is left either.
    async fn bring_back(&self, rollout: &Rollout, sides: &Sides, online: bool, alone: bool) -> Result<()> {
        let now = self.now();
        if rollout.step() < STOPPING_NEW {
            let tx = self.db.begin().await?;
            if store::set_phase(&tx, rollout, STOPPING_NEW, rollout.down_at, now).await? {
                self.leave(&tx, &sides.new, now).await?;
                tx.commit().await?;
            }
            return Ok(());
        }
        if rollout.step() < STARTING_OLD {
            if !alone || !sides.new.is_empty() || sides.old.iter().any(|i| !i.serves()) {
                return Ok(());
            }
            let new = instances::New {
                deployment: rollout.old_deployment_id,
                environment: rollout.environment_id,
                desired: desired::RUN,
                weight: 100,
                baseline: false,
                count: rollout.old_count().saturating_sub(sides.old.len()),
            };
            let tx = self.db.begin().await?;
            if store::set_phase(&tx, rollout, STARTING_OLD, rollout.down_at, now).await? {
                instances::insert(&tx, &new, now).await?;
                self.tell_agent_at(&tx, rollout.environment_id).await?;
                tx.commit().await?;
            }
            return Ok(());
        }
        let Some(old) = deployment::store::get(&self.db, rollout.old_deployment_id).await? else {
            return Ok(());
        };
        let Json(product) = &old.product;
        let healthy = |i: &Instance| i.state() == InstanceState::Healthy;
        let (version, silence) = (&rollout.baseline, self.silence(rollout));
        let end = if !sides.old.is_empty() && sides.old.iter().all(healthy) {
            format!("{version} was started again; nothing served for {silence}")
        } else {
            let allowed =
                Duration::from_millis(product.health.start_ms).saturating_add(super::starting::FETCH);
            let started = rollout.step_at.max(self.started);
            if !online || now.since(started) < allowed {
                return Ok(());
            }
            format!("{version} was started again and is not healthy yet, {silence} after it was ended")
        };
        let cause = Cause::parse(rollout.cause.as_deref().unwrap_or_default());
        let reason = format!("{}; {end}", rollout.reason.trim_end_matches('.'));
        self.undo_rollout(&Actor::system(), rollout, cause, &reason)
            .await
            .map(drop)
    }

    /// How long nothing served until now, in words.
    fn silence(&self, rollout: &Rollout) -> String {
        let down = rollout.down_at.unwrap_or(rollout.created_at);
        let tenths = self.now().since(down).as_millis() / 100;
        format!("{}.{} s", tenths / 10, tenths % 10)
    }
}
