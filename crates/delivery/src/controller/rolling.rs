//! A rollout under way: count, judge, decide, act.

use crate::{
    Delivery,
    deployment::{Deployment, Instance, Status as DeploymentStatus, instances},
    environment,
    rollout::{
        BURN_LOOK_BACK, Cause, Decision, GUARD_LOOK_BACK, Second, Seen, Status, closed_slices, decide,
        recent_pairs,
        store::{self, Rollout},
    },
};
use bascule_core::{Actor, Problem, Result};
use bascule_store::Json;
use std::time::Duration;

/// Seconds kept after they were judged, for the guardrail and for late counts of the same second.
const KEEP: Duration = Duration::from_secs(90);

impl From<&Instance> for Seen {
    fn from(instance: &Instance) -> Self {
        Self {
            state: instance.state(),
            since: instance.state_at,
            restarts: instance.restarts(),
            reported_at: instance.reported_at,
            message: instance.message.clone(),
        }
    }
}

impl Delivery {
    pub(super) async fn advance_rolling(&self, deployment: &Deployment) -> Result<()> {
        let Some(mut rollout) = store::open_of(&self.db, deployment.id).await? else {
            return self.orphaned(deployment).await;
        };
        let new = instances::get(&self.db, rollout.new_instance_id).await?;
        let old = instances::get(&self.db, rollout.old_instance_id).await?;
        let (Some(new), Some(old)) = (new, old) else {
            tracing::error!(rollout = %rollout.id, "a rollout without its instances");
            return Err(Problem::internal());
        };
        let now = self.now();
        let look_back = now.minus(GUARD_LOOK_BACK).max(rollout.created_at);
        let burn_back = now.minus(BURN_LOOK_BACK).max(rollout.created_at);
        let seconds = store::seconds(&self.db, &rollout, burn_back.min(rollout.judged_until)).await?;
        if rollout.recovering_at.is_none() && !self.judge(&mut rollout, &seconds).await? {
            return Ok(());
        }
        let recent = recent_pairs(&seconds, look_back);
        let minute = recent_pairs(&seconds, burn_back);
        let (Json(policy), Json(judge)) = (&rollout.policy, &rollout.judge);
        let decision = decide(
            now,
            policy,
            &rollout.progress(),
            (&(&new).into(), &(&old).into()),
            judge,
            (&recent, &minute),
        );
        self.carry_out(&rollout, &new, decision).await
    }

    /// Takes in the slices that have ended; `false` where someone else moved the rollout meanwhile.
    async fn judge(&self, rollout: &mut Rollout, seconds: &[Second]) -> Result<bool> {
        let slices = closed_slices(
            seconds,
            rollout.judged_until,
            rollout.policy.0.slice_ms,
            self.now(),
        );
        let first_error = seconds
            .iter()
            .filter(|s| s.new && s.counts.errors > 0)
            .map(|s| s.at)
            .min();
        let new_error = rollout.first_error_at.is_none() && first_error.is_some();
        if slices.is_empty() && !new_error {
            return Ok(true);
        }
        let tx = self.db.begin().await?;
        let mut until = rollout.judged_until;
        for slice in &slices {
            rollout.judge.0.fold(&slice.pair);
            until = slice.end;
            store::put_point(&tx, rollout, slice, &rollout.judge.0).await?;
            if rollout.judge.0.failed().is_some() {
                break;
            }
        }
        if !store::judged(&tx, rollout, &rollout.judge.0, until, first_error).await? {
            return Ok(false);
        }
        store::forget_seconds(&tx, rollout.id, until.min(self.now()).minus(KEEP)).await?;
        tx.commit().await?;
        rollout.judged_until = until;
        rollout.first_error_at = rollout.first_error_at.or(first_error);
        Ok(true)
    }

    async fn carry_out(&self, rollout: &Rollout, new: &Instance, decision: Decision) -> Result<()> {
        let actor = Actor::system();
        let Json(judge) = &rollout.judge;
        match decision {
            Decision::Stay => {}
            Decision::Step(reason) => {
                self.step_rollout(rollout, judge, rollout.step() + 1, &reason)
                    .await?;
            }
            Decision::Recovered => {
                let mut again = rollout.clone();
                again.base_restarts = new.restarts;
                let reason =
                    "the server was restarted; both instances are healthy again, and the step begins anew";
                self.step_rollout(&again, judge, rollout.step(), reason).await?;
            }
            Decision::Extend(reason) => {
                self.extend_rollout(rollout, Status::Running, &reason).await?;
            }
            Decision::Ask(reason) => {
                self.extend_rollout(rollout, Status::Waiting, &reason).await?;
            }
            Decision::Hold(reason) => {
                self.hold_rollout(rollout, &reason).await?;
            }
            Decision::Promote(reason) => {
                self.promote_rollout(&actor, rollout, Cause::Judge, &reason)
                    .await?;
            }
            Decision::Undo(cause, reason) => {
                self.undo_rollout(&actor, rollout, cause, &reason).await?;
            }
        }
        Ok(())
    }

    /// A deployment that says it is rolling out but has no rollout: cannot be, so it is ended loudly.
    async fn orphaned(&self, deployment: &Deployment) -> Result<()> {
        tracing::error!(deployment = %deployment.id, "rolling out without a rollout; ended");
        let Some(environment) = environment::store::get(&self.db, deployment.environment_id).await? else {
            return Ok(());
        };
        let tx = self.db.begin().await?;
        let reason = "its rollout is not known to the platform";
        self.end(
            &tx,
            &Actor::system(),
            &environment,
            deployment,
            DeploymentStatus::RolledBack,
            reason,
            self.now(),
        )
        .await?;
        tx.commit().await?;
        Ok(())
    }
}
