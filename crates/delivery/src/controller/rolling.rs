//! A rollout under way: count, judge, decide, act.

use crate::{
    Delivery,
    deployment::{Deployment, Instance, Status as DeploymentStatus, instances},
    environment,
    judge::Pair,
    product::Strategy,
    rollout::{
        BURN_LOOK_BACK, Cause, Decision, GUARD_LOOK_BACK, Second, Seen, Status, UNHEALTHY_GRACE,
        closed_slices, decide, recent_pairs,
        sides::{Sides, restarts},
        store::{self, Rollout},
    },
};
use bascule_core::{Actor, Result};
use bascule_store::Json;
use bascule_wire::agent::InstanceState;
use std::time::Duration;

/// Seconds kept after they were judged, for the guardrail and for late counts of the same second.
const KEEP: Duration = Duration::from_secs(90);

/// What the hard limits look at: the last seconds, and the last minute.
pub(super) struct Recent {
    pub seconds: Vec<Pair>,
    pub minute: Vec<Pair>,
}

impl Delivery {
    pub(super) async fn advance_rolling(&self, deployment: &Deployment) -> Result<()> {
        let Some(rollout) = store::open_of(&self.db, deployment.id).await? else {
            return self.orphaned(deployment).await;
        };
        let living = instances::living(&self.db, rollout.environment_id).await?;
        let sides = Sides::of(rollout.deployment_id, living);
        match rollout.policy.0.strategy {
            Strategy::BlueGreen | Strategy::Canary => self.advance_shares(rollout, &sides).await,
            Strategy::Rolling => self.advance_roll(deployment, rollout, &sides).await,
            Strategy::Recreate => self.advance_recreate(deployment, &rollout, &sides).await,
        }
    }

    async fn advance_shares(&self, mut rollout: Rollout, sides: &Sides) -> Result<()> {
        let now = self.now();
        let serving = |side: &[Instance]| Seen::side(side.iter().filter(|i| i.serves()));
        let (new, old) = (serving(&sides.new), serving(&sides.old));
        if rollout.fresh && lost(sides, now) {
            let mut again = rollout.clone();
            again.fresh = false;
            let reason = format!(
                "the fresh instance of {} was lost; compared with those that served before from here on, and the \
                 step begins anew",
                rollout.baseline
            );
            let Json(judge) = &rollout.judge;
            self.step_rollout(&again, judge, rollout.step(), &reason).await?;
            return Ok(());
        }
        let Some(recent) = self.take_in(&mut rollout).await? else {
            return Ok(());
        };
        let (Json(policy), Json(judge)) = (&rollout.policy, &rollout.judge);
        let decision = decide(
            now,
            policy,
            &rollout.progress(),
            (&new, &old),
            judge,
            (&recent.seconds, &recent.minute),
        );
        self.carry_out(&rollout, sides, decision).await
    }

    /// Judges what was counted since; `None` where someone else moved the rollout meanwhile.
    pub(super) async fn take_in(&self, rollout: &mut Rollout) -> Result<Option<Recent>> {
        let now = self.now();
        let look_back = now.minus(GUARD_LOOK_BACK).max(rollout.created_at);
        let burn_back = now.minus(BURN_LOOK_BACK).max(rollout.created_at);
        let seconds = store::seconds(&self.db, rollout, burn_back.min(rollout.judged_until)).await?;
        if rollout.recovering_at.is_none() && !self.judge(rollout, &seconds).await? {
            return Ok(None);
        }
        Ok(Some(Recent {
            seconds: recent_pairs(&seconds, look_back),
            minute: recent_pairs(&seconds, burn_back),
        }))
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

    async fn carry_out(&self, rollout: &Rollout, sides: &Sides, decision: Decision) -> Result<()> {
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
                again.base_restarts = i64::from(restarts(&sides.new, Instance::serves));
                let reason =
                    "the server was restarted; both versions are healthy again, and the step begins anew";
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

/// Whether the fresh instance of the old version cannot be compared with any more.
fn lost(sides: &Sides, now: bascule_core::Timestamp) -> bool {
    let gone = |i: &Instance| {
        !i.serves() || (i.state() != InstanceState::Healthy && now.since(i.state_at) >= UNHEALTHY_GRACE)
    };
    sides.baseline.iter().all(gone)
}
