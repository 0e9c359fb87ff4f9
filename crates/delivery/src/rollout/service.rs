//! What is done to a rollout, by the controller or by a person. Each act is one transaction that ends with
//! one new revision for the edges, so traffic moves all at once or not at all.

use super::{Cause, Status, store, store::Rollout, weight_at};
use crate::{
    Delivery,
    deployment::{self, instances},
    environment,
    fleet::Channel,
    judge::{Judge, Verdict},
};
use bascule_core::{Actor, Caller, Problem, ProjectId, Result, RolloutId, Timestamp};
use bascule_ledger::facts::delivery::{RolloutFinished, RolloutJudged, RolloutPaused, RolloutStepped};
use bascule_store::{Json, Tx};

/// What a person does to a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// All traffic to the new version now.
    Promote,
    /// Stay at this step.
    Pause,
    /// Go on.
    Resume,
    /// All traffic back now.
    Abort,
}

impl Delivery {
    /// Does what a person asks of a rollout.
    ///
    /// # Errors
    /// There is no such rollout, or it stands otherwise than the act supposes.
    pub async fn act_on_rollout(
        &self,
        caller: &Caller,
        project: ProjectId,
        id: RolloutId,
        act: Act,
        reason: &str,
    ) -> Result<()> {
        let rollout = store::get(&self.db, id)
            .await?
            .filter(|r| r.project_id == project);
        let Some(rollout) = rollout else {
            return Err(Problem::not_found("rollout"));
        };
        if rollout.finished_at.is_some() {
            return Err(ended(&rollout));
        }
        let by = &caller.actor.name;
        let told = |what: &str| match instances::cut(reason.trim(), 500) {
            reason if reason.is_empty() => format!("{what} by {by}"),
            reason => format!("{what} by {by}: {reason}"),
        };
        let actor = &caller.actor;
        let done = match act {
            Act::Promote => {
                self.promote_rollout(actor, &rollout, Cause::Person, &told("promoted"))
                    .await?
            }
            Act::Abort => {
                self.undo_rollout(actor, &rollout, Cause::Person, &told("aborted"))
                    .await?
            }
            Act::Pause => self.pause_rollout(actor, &rollout, true, &told("paused")).await?,
            Act::Resume => self.pause_rollout(actor, &rollout, false, "").await?,
        };
        if done {
            return Ok(());
        }
        match store::get(&self.db, id).await? {
            Some(rollout) if rollout.finished_at.is_some() => Err(ended(&rollout)),
            Some(rollout) => Err(
                Problem::conflict("not_so", format!("The rollout is {}.", rollout.status))
                    .why("Only a running rollout can be paused, and only a paused one resumed.")
                    .next("Look at the rollout's page."),
            ),
            None => Err(Problem::not_found("rollout")),
        }
    }

    async fn pause_rollout(
        &self,
        actor: &Actor,
        rollout: &Rollout,
        pause: bool,
        reason: &str,
    ) -> Result<bool> {
        let (from, to) = if pause {
            ([Status::Running, Status::Waiting], Status::Paused)
        } else {
            ([Status::Paused, Status::Waiting], Status::Running)
        };
        let tx = self.db.begin().await?;
        if !store::set_status(&tx, rollout.id, &from, to, reason).await? {
            return Ok(false);
        }
        let fact = RolloutPaused {
            project: rollout.project_id,
            rollout: rollout.id,
            version: rollout.version.clone(),
            paused: pause,
        };
        self.ledger.append(&tx, actor, &fact).await?;
        tx.commit().await?;
        self.wake();
        Ok(true)
    }

    /// The next step: another share of traffic. `recovered` repeats the present step after a restart.
    pub(crate) async fn step_rollout(
        &self,
        rollout: &Rollout,
        judge: &Judge,
        step: usize,
        reason: &str,
    ) -> Result<bool> {
        let weight = weight_at(&rollout.policy.0, step);
        let mut judge = judge.clone();
        let numbers = judge.numbers();
        judge.next_step();
        let actor = Actor::system();
        let now = self.now();
        let tx = self.db.begin().await?;
        if !store::set_step(&tx, rollout, step, weight, &judge, now).await? {
            return Ok(false);
        }
        instances::set_weight(&tx, rollout.new_instance_id, weight).await?;
        instances::set_weight(&tx, rollout.old_instance_id, 100_u32.saturating_sub(weight)).await?;
        let verdict = if step == rollout.step() { "extend" } else { "pass" };
        let fact = RolloutJudged {
            project: rollout.project_id,
            rollout: rollout.id,
            environment: rollout.environment_id,
            version: rollout.version.clone(),
            verdict: verdict.to_owned(),
            reason: reason.to_owned(),
            numbers,
        };
        self.ledger.append(&tx, &actor, &fact).await?;
        if step != rollout.step() {
            self.ledger.append(&tx, &actor, &stepped(rollout, weight)).await?;
        }
        self.bump(&tx, Channel::Edge).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Says once that a step is extended, or that a person must decide.
    pub(crate) async fn extend_rollout(&self, rollout: &Rollout, to: Status, reason: &str) -> Result<bool> {
        let tx = self.db.begin().await?;
        if !store::set_status(&tx, rollout.id, &[Status::Running, Status::Waiting], to, reason).await? {
            return Ok(false);
        }
        let reason = if to == Status::Waiting {
            format!("waits for a person: {reason}")
        } else {
            reason.to_owned()
        };
        self.ledger
            .append(&tx, &Actor::system(), &judged(rollout, &Verdict::Extend(reason)))
            .await?;
        tx.commit().await?;
        Ok(true)
    }

    /// The step passed and the policy waits here: recorded with the numbers, and left to a person.
    pub(crate) async fn hold_rollout(&self, rollout: &Rollout, reason: &str) -> Result<bool> {
        let actor = Actor::system();
        let told = format!("the policy pauses at {} %: {reason}", rollout.weight);
        let tx = self.db.begin().await?;
        if !store::hold(&tx, rollout, &told).await? {
            return Ok(false);
        }
        self.ledger
            .append(&tx, &actor, &judged(rollout, &Verdict::Pass(told)))
            .await?;
        let fact = RolloutPaused {
            project: rollout.project_id,
            rollout: rollout.id,
            version: rollout.version.clone(),
            paused: true,
        };
        self.ledger.append(&tx, &actor, &fact).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// All traffic to the new version; the old instance drains once the edges know.
    pub(crate) async fn promote_rollout(
        &self,
        actor: &Actor,
        rollout: &Rollout,
        cause: Cause,
        reason: &str,
    ) -> Result<bool> {
        let now = self.now();
        let tx = self.db.begin().await?;
        if !store::finish(&tx, rollout.id, (Status::Promoted, 100), cause, reason, now).await? {
            return Ok(false);
        }
        let revision = self.bump(&tx, Channel::Edge).await?;
        instances::set_weight(&tx, rollout.new_instance_id, 100).await?;
        instances::retire(&tx, rollout.old_instance_id, now, revision).await?;
        environment::store::set_serving(&tx, rollout.environment_id, rollout.deployment_id).await?;
        if cause == Cause::Judge {
            self.ledger
                .append(&tx, actor, &judged(rollout, &Verdict::Pass(reason.to_owned())))
                .await?;
        }
        self.ledger.append(&tx, actor, &stepped(rollout, 100)).await?;
        self.finish_facts(&tx, actor, rollout, Status::Promoted, cause, reason, now)
            .await?;
        tx.commit().await?;
        Ok(true)
    }

    /// All traffic back to the old version; the new instance drains once the edges know.
    pub(crate) async fn undo_rollout(
        &self,
        actor: &Actor,
        rollout: &Rollout,
        cause: Cause,
        reason: &str,
    ) -> Result<bool> {
        let now = self.now();
        let tx = self.db.begin().await?;
        if !store::finish(&tx, rollout.id, (Status::Aborted, 0), cause, reason, now).await? {
            return Ok(false);
        }
        let revision = self.bump(&tx, Channel::Edge).await?;
        instances::set_weight(&tx, rollout.old_instance_id, 100).await?;
        instances::retire(&tx, rollout.new_instance_id, now, revision).await?;
        if matches!(cause, Cause::Judge | Cause::Guardrail) {
            self.ledger
                .append(&tx, actor, &judged(rollout, &Verdict::Fail(reason.to_owned())))
                .await?;
        }
        self.finish_facts(&tx, actor, rollout, Status::Aborted, cause, reason, now)
            .await?;
        tx.commit().await?;
        Ok(true)
    }

    #[allow(
        clippy::too_many_arguments,
        reason = "each is a field of the facts that are written"
    )]
    async fn finish_facts(
        &self,
        tx: &Tx,
        actor: &Actor,
        rollout: &Rollout,
        status: Status,
        cause: Cause,
        reason: &str,
        now: Timestamp,
    ) -> Result<()> {
        let environment = environment::store::get(tx, rollout.environment_id).await?;
        let deployment = deployment::store::get(tx, rollout.deployment_id).await?;
        let (Some(environment), Some(deployment)) = (environment, deployment) else {
            tracing::error!(rollout = %rollout.id, "a rollout without its environment or deployment");
            return Err(Problem::internal());
        };
        let fact = RolloutFinished {
            project: rollout.project_id,
            rollout: rollout.id,
            deployment: rollout.deployment_id,
            environment: rollout.environment_id,
            environment_name: environment.name.clone(),
            version: rollout.version.clone(),
            baseline: rollout.baseline.clone(),
            result: status.as_str().to_owned(),
            cause: cause.as_str().to_owned(),
            reason: reason.to_owned(),
            exposed_at: Some(rollout.created_at),
            first_error_at: rollout.first_error_at,
            at: now,
        };
        self.ledger.append(tx, actor, &fact).await?;
        let result = match status {
            Status::Promoted => deployment::Status::Succeeded,
            _ => deployment::Status::RolledBack,
        };
        self.end(tx, actor, &environment, &deployment, result, reason, now)
            .await?;
        Ok(())
    }
}

fn ended(rollout: &Rollout) -> Problem {
    Problem::conflict(
        "rollout_ended",
        format!(
            "The rollout of {} has ended: it was {}.",
            rollout.version, rollout.status
        ),
    )
    .why(rollout.reason.clone())
    .next("To change what serves, deploy a release.")
}

pub(crate) fn stepped(rollout: &Rollout, weight: u32) -> RolloutStepped {
    RolloutStepped {
        project: rollout.project_id,
        rollout: rollout.id,
        environment: rollout.environment_id,
        version: rollout.version.clone(),
        weight,
    }
}

fn judged(rollout: &Rollout, verdict: &Verdict) -> RolloutJudged {
    let Json(judge) = &rollout.judge;
    let (verdict, reason) = match verdict {
        Verdict::Pass(reason) => ("pass", reason),
        Verdict::Fail(reason) => ("fail", reason),
        Verdict::Extend(reason) => ("extend", reason),
    };
    RolloutJudged {
        project: rollout.project_id,
        rollout: rollout.id,
        environment: rollout.environment_id,
        version: rollout.version.clone(),
        verdict: verdict.to_owned(),
        reason: reason.clone(),
        numbers: judge.numbers(),
    }
}
