//! What is done to a rollout, by the controller or by a person. Each act is one transaction that ends with
//! one new revision for the edges, so traffic moves all at once or not at all.

use super::{
    Cause, Status,
    sides::{Sides, pick, shares},
    store,
    store::Rollout,
    weight_at,
};
use crate::{
    Delivery,
    deployment::{self, Instance, instances},
    environment,
    fleet::Channel,
    judge::{Judge, Verdict},
    product::Strategy,
};
use bascule_core::{Actor, Caller, Problem, ProjectId, Result, RolloutId, Timestamp};
use bascule_ledger::facts::delivery::{RolloutFinished, RolloutJudged, RolloutPaused, RolloutStepped};
use bascule_store::{Json, Tx};
use bascule_wire::agent::InstanceState;

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
        let done = match rollout.policy.0.strategy {
            Strategy::BlueGreen | Strategy::Canary => {
                self.act_on_shares(caller, &rollout, act, &told).await?
            }
            Strategy::Rolling => self.act_on_roll(caller, &rollout, act, &told).await?,
            Strategy::Recreate => self.act_on_recreate(&rollout, act, &told).await?,
        };
        if done {
            return Ok(());
        }
        match store::get(&self.db, id).await? {
            Some(rollout) if rollout.finished_at.is_some() => Err(ended(&rollout)),
            Some(rollout) => Err(
                Problem::conflict("not_so", format!("The rollout is {}.", rollout.status))
                    .why("Only a running rollout can be paused, and only a paused one resumed; what goes back is not stopped.")
                    .next("Look at the rollout's page."),
            ),
            None => Err(Problem::not_found("rollout")),
        }
    }

    async fn act_on_shares(
        &self,
        caller: &Caller,
        rollout: &Rollout,
        act: Act,
        told: &(impl Fn(&str) -> String + Sync),
    ) -> Result<bool> {
        let actor = &caller.actor;
        match act {
            Act::Promote => {
                self.promote_rollout(actor, rollout, Cause::Person, &told("promoted"))
                    .await
            }
            Act::Abort => {
                self.undo_rollout(actor, rollout, Cause::Person, &told("aborted"))
                    .await
            }
            Act::Pause => self.pause_rollout(actor, rollout, true, &told("paused")).await,
            Act::Resume => self.pause_rollout(actor, rollout, false, "").await,
        }
    }

    /// Instances are replaced by the controller; a person sets its course.
    async fn act_on_roll(
        &self,
        caller: &Caller,
        rollout: &Rollout,
        act: Act,
        told: &(impl Fn(&str) -> String + Sync),
    ) -> Result<bool> {
        let actor = &caller.actor;
        match act {
            // Asked a second time, it does not wait for the old version to be whole again.
            Act::Abort if rollout.status() == Status::Undoing => {
                let living = instances::living(&self.db, rollout.environment_id).await?;
                let sides = Sides::of(rollout.deployment_id, living);
                if !sides
                    .old
                    .iter()
                    .any(|i| i.in_service() && i.state() == InstanceState::Healthy)
                {
                    return Err(Problem::conflict(
                        "nothing_else_serves",
                        format!("No instance of {} serves yet.", rollout.baseline),
                    )
                    .why("Taking the new ones away now would leave users with nothing.")
                    .next("Wait until one is healthy, or deploy a release that is."));
                }
                let reason = format!("{}; {}, without waiting", rollout.reason, told("aborted"));
                self.undo_rollout(actor, rollout, Cause::Person, &reason).await
            }
            Act::Abort => {
                self.set_course(rollout, Status::Undoing, Cause::Person, &told("aborted"))
                    .await
            }
            Act::Promote => {
                self.set_course(rollout, Status::Promoting, Cause::Person, &told("promoted"))
                    .await
            }
            Act::Pause => self.pause_rollout(actor, rollout, true, &told("paused")).await,
            Act::Resume => self.pause_rollout(actor, rollout, false, "").await,
        }
    }

    async fn act_on_recreate(
        &self,
        rollout: &Rollout,
        act: Act,
        told: &(impl Fn(&str) -> String + Sync),
    ) -> Result<bool> {
        if act == Act::Abort {
            return self
                .set_course(rollout, Status::Undoing, Cause::Person, &told("aborted"))
                .await;
        }
        Err(Problem::conflict(
            "no_steps",
            "A product that is recreated has no shares of traffic to hold or to skip.",
        )
        .why("The old instances end before the new ones start, and the new ones serve as soon as they are proven.")
        .next("Wait until it serves, or abort it."))
    }

    /// What the controller does from here on: it goes on without the judge, or back.
    pub(crate) async fn set_course(
        &self,
        rollout: &Rollout,
        to: Status,
        cause: Cause,
        reason: &str,
    ) -> Result<bool> {
        let tx = self.db.begin().await?;
        if !store::set_course(&tx, rollout.id, to, cause, reason, self.now()).await? {
            return Ok(false);
        }
        if to == Status::Undoing && matches!(cause, Cause::Judge | Cause::Guardrail) {
            let verdict = judged(rollout, &Verdict::Fail(reason.to_owned()));
            self.ledger.append(&tx, &Actor::system(), &verdict).await?;
        }
        tx.commit().await?;
        self.wake();
        Ok(true)
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
        let sides = sides_in(&tx, rollout).await?;
        if !rollout.fresh && !sides.baseline.is_empty() {
            // It was lost on the way: what served before takes its share and its place in the comparison.
            store::drop_fresh(&tx, rollout.id).await?;
            self.leave(&tx, &sides.baseline, now).await?;
        }
        set_shares(&tx, rollout, &sides, weight).await?;
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
        let sides = sides_in(&tx, rollout).await?;
        instances::set_share(&tx, &pick(&sides.new, Instance::serves), 100).await?;
        self.leave(&tx, &sides.old, now).await?;
        self.leave(&tx, &sides.baseline, now).await?;
        store::set_up(&tx, rollout.id, now).await?;
        environment::store::set_serving(&tx, rollout.environment_id, rollout.deployment_id).await?;
        if cause == Cause::Judge {
            self.ledger
                .append(&tx, actor, &judged(rollout, &Verdict::Pass(reason.to_owned())))
                .await?;
        }
        if rollout.weight() < 100 {
            self.ledger.append(&tx, actor, &stepped(rollout, 100)).await?;
        }
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
        let sides = sides_in(&tx, rollout).await?;
        instances::set_share(&tx, &pick(&sides.old, Instance::serves), 100).await?;
        self.leave(&tx, &sides.new, now).await?;
        self.leave(&tx, &sides.baseline, now).await?;
        store::set_up(&tx, rollout.id, now).await?;
        // What went back instance by instance was judged when it turned.
        if matches!(cause, Cause::Judge | Cause::Guardrail) && rollout.status() != Status::Undoing {
            self.ledger
                .append(&tx, actor, &judged(rollout, &Verdict::Fail(reason.to_owned())))
                .await?;
        }
        self.finish_facts(&tx, actor, rollout, Status::Aborted, cause, reason, now)
            .await?;
        tx.commit().await?;
        Ok(true)
    }

    /// A newer release came before this one was done. What serves goes on serving until that one takes over.
    pub(crate) async fn supersede_rollout(
        &self,
        tx: &Tx,
        actor: &Actor,
        rollout: &Rollout,
        reason: &str,
        now: Timestamp,
    ) -> Result<()> {
        let ended = (Status::Superseded, rollout.weight());
        if !store::finish(tx, rollout.id, ended, Cause::Superseded, reason, now).await? {
            return Ok(());
        }
        let sides = sides_in(tx, rollout).await?;
        match rollout.policy.0.strategy {
            // What serves of either version goes on; what was still to come never does.
            Strategy::Rolling => {
                let coming = |i: &Instance| i.held() || (i.serves() && !i.in_service());
                instances::end(tx, &pick(&sides.new, coming)).await?;
                instances::end(tx, &pick(&sides.old, coming)).await?;
            }
            Strategy::Recreate => instances::end(tx, &pick(&sides.new, |_| true)).await?,
            Strategy::BlueGreen | Strategy::Canary => {
                instances::set_share(tx, &pick(&sides.old, Instance::serves), 100).await?;
                self.leave(tx, &sides.new, now).await?;
                self.leave(tx, &sides.baseline, now).await?;
            }
        }
        self.tell_agent_at(tx, rollout.environment_id).await?;
        self.finish_facts(
            tx,
            actor,
            rollout,
            Status::Superseded,
            Cause::Superseded,
            reason,
            now,
        )
        .await
    }

    /// Takes instances out of service: those that users may meet drain once the edges know; others end at once.
    pub(crate) async fn leave(&self, tx: &Tx, instances: &[Instance], now: Timestamp) -> Result<()> {
        let met = pick(instances, Instance::in_service);
        let unmet = pick(instances, |i| i.retired_at.is_none() && !i.in_service());
        if !met.is_empty() {
            let revision = self.bump(tx, Channel::Edge).await?;
            instances::retire(tx, &met, now, revision).await?;
        }
        if let (Some(one), false) = (instances.first(), unmet.is_empty()) {
            instances::end(tx, &unmet).await?;
            self.tell_agent_at(tx, one.environment_id).await?;
        }
        Ok(())
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
            exposed_at: deployment.exposed_at,
            first_error_at: rollout.first_error_at,
            at: now,
        };
        self.ledger.append(tx, actor, &fact).await?;
        let result = match status {
            Status::Promoted => deployment::Status::Succeeded,
            Status::Superseded => deployment::Status::Superseded,
            _ if deployment.exposed_at.is_none() => deployment::Status::Failed,
            _ => deployment::Status::RolledBack,
        };
        self.end(tx, actor, &environment, &deployment, result, reason, now)
            .await?;
        Ok(())
    }
}

/// Who is who, read within a transaction.
async fn sides_in(tx: &Tx, rollout: &Rollout) -> Result<Sides> {
    let living = instances::living(tx, rollout.environment_id).await?;
    Ok(Sides::of(rollout.deployment_id, living))
}

/// Gives each side its share at a weight of the new version.
pub(crate) async fn set_shares(tx: &Tx, rollout: &Rollout, sides: &Sides, weight: u32) -> Result<()> {
    let new = pick(&sides.new, Instance::serves);
    let (share, baseline, old) = shares(weight, new.len(), rollout.fresh);
    instances::set_share(tx, &new, share).await?;
    if rollout.fresh {
        instances::set_share(tx, &pick(&sides.baseline, Instance::serves), baseline).await?;
    }
    Ok(instances::set_share(tx, &pick(&sides.old, Instance::serves), old).await?)
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

pub(crate) fn judged(rollout: &Rollout, verdict: &Verdict) -> RolloutJudged {
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
