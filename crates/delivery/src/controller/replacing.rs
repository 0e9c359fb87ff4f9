//! A rollout that replaces instances some at a time, and its way back.

use super::starting::{Begun, Proof, proofs};
use crate::{
    Delivery,
    deployment::{self, Deployment, Instance, desired, instances},
    environment::{self, Environment},
    fleet::Channel,
    judge::Verdict,
    product::{Inconclusive, RolloutPolicy},
    rollout::{
        Cause, Progress, RECOVERY_GRACE, Seen, Status, broken, condemned,
        roll::{Count, Moves, Promise, moves},
        service::{judged, stepped},
        sides::{Sides, pick, restarts},
        store::{self, Rolled, Rollout},
    },
};
use bascule_core::{Actor, InstanceId, Result};
use bascule_store::Json;
use bascule_wire::agent::InstanceState;
use std::time::Duration;

/// What stands against the next batch.
enum Gate {
    Open(String),
    Shut,
    Undo(Cause, String),
}

impl Delivery {
    /// Instances begin to take each other's places; the next turn makes the first moves.
    pub(super) async fn begin_roll(
        &self,
        environment: &Environment,
        deployment: &Deployment,
        sides: &Sides,
        policy: &RolloutPolicy,
    ) -> Result<()> {
        let count = u32::try_from(sides.new.len()).unwrap_or(1).max(1);
        let policy = RolloutPolicy {
            steps: (1..=count).map(|n| n * 100 / count).collect(),
            ..policy.clone()
        };
        let tx = self.db.begin().await?;
        let begun = Begun::default();
        let opened = self
            .open_rollout(&tx, environment, deployment, sides, &policy, &begun)
            .await?;
        if opened.is_some() && deployment::store::roll(&tx, deployment.id).await? {
            tx.commit().await?;
            self.wake();
        }
        Ok(())
    }

    pub(super) async fn advance_roll(
        &self,
        deployment: &Deployment,
        mut rollout: Rollout,
        sides: &Sides,
    ) -> Result<()> {
        if rollout.recovering_at.is_some() {
            return self.recover_roll(&rollout, sides).await;
        }
        if rollout.status() == Status::Undoing {
            return self.roll_back(&rollout, sides).await;
        }
        let Some(environment) = environment::store::get(&self.db, rollout.environment_id).await? else {
            return Ok(());
        };
        let online = self.online(&environment).await?;
        let coming = |i: &&Instance| i.serves() && !i.in_service();
        let found = proofs(
            sides
                .new
                .iter()
                .filter(coming)
                .map(|i| self.proof(deployment, i, online)),
        );
        if let Proof::Failed(reason) = found {
            self.set_course(&rollout, Status::Undoing, Cause::Guardrail, &reason)
                .await?;
            return Ok(());
        }
        let Some(recent) = self.take_in(&mut rollout).await? else {
            return Ok(());
        };
        let gate = self.gate(&rollout, sides, (&recent.seconds, &recent.minute));
        let (open, reason) = match gate.await? {
            Gate::Undo(cause, reason) => {
                self.set_course(&rollout, Status::Undoing, cause, &reason).await?;
                return Ok(());
            }
            Gate::Open(reason) => (true, reason),
            Gate::Shut => (false, String::new()),
        };
        let proven = |i: &Instance| {
            i.serves() && !i.in_service() && self.proof(deployment, i, online) == Proof::Proven
        };
        let promise = promise(&rollout);
        let to = count(&sides.new, proven);
        let from = count(&sides.old, |_| false);
        if open && to.serving >= promise.target && from.serving + from.ill == 0 {
            let (cause, reason) = match rollout.status() {
                Status::Promoting => (Cause::Person, rollout.reason.clone()),
                _ => (Cause::Judge, reason),
            };
            self.promote_rollout(&Actor::system(), &rollout, cause, &reason)
                .await?;
            return Ok(());
        }
        // Whom users begin to meet in this turn has not proven itself to them yet.
        let open = open && (to.proven == 0 || rollout.status() == Status::Promoting);
        let moves = moves(promise, to, from, open);
        let plan = Plan::new(moves, &sides.new, &sides.old, proven);
        self.move_on(&rollout, sides, &plan, true, &reason).await
    }

    /// Whether the next batch may be replaced now.
    async fn gate(
        &self,
        rollout: &Rollout,
        sides: &Sides,
        recent: (&[crate::judge::Pair], &[crate::judge::Pair]),
    ) -> Result<Gate> {
        let (now, progress) = (self.now(), rollout.progress());
        let (Json(policy), Json(judge)) = (&rollout.policy, &rollout.judge);
        let exposed = sides.new.iter().filter(|i| i.in_service());
        let status = rollout.status();
        if exposed.clone().next().is_none() {
            // Nothing was done yet that could prove itself.
            return Ok(match status {
                Status::Paused => Gate::Shut,
                _ => Gate::Open("nothing is replaced yet".to_owned()),
            });
        }
        let new = Seen::side(exposed);
        if status == Status::Promoting {
            return Ok(match broken(now, &progress, &new) {
                Some(reason) => Gate::Undo(Cause::Guardrail, reason),
                None => Gate::Open(rollout.reason.clone()),
            });
        }
        if let Some((cause, reason)) = condemned(now, policy, &progress, &new, judge, recent) {
            return Ok(Gate::Undo(cause, reason));
        }
        let waited = now.since(rollout.step_at);
        if status == Status::Paused
            || new.state != InstanceState::Healthy
            || waited < Duration::from_millis(policy.step_ms)
        {
            return Ok(Gate::Shut);
        }
        match judge.suspicion() {
            None => {
                let total = judge.total();
                Ok(Gate::Open(format!(
                    "{} of {} new instances serve; {} of {} requests failed on them, {} of {} on the old ones",
                    sides.new.iter().filter(|i| i.in_service()).count(),
                    sides.new.len(),
                    total.new.errors,
                    total.new.requests,
                    total.old.errors,
                    total.old.requests,
                )))
            }
            Some(reason) => self.suspicious(rollout, &progress, waited, reason).await,
        }
    }

    async fn suspicious(
        &self,
        rollout: &Rollout,
        progress: &Progress,
        waited: Duration,
        reason: String,
    ) -> Result<Gate> {
        let Json(policy) = &rollout.policy;
        if waited < Duration::from_millis(policy.max_ms) {
            if !progress.extended {
                self.extend_rollout(rollout, Status::Running, &reason).await?;
            }
            return Ok(Gate::Shut);
        }
        Ok(match policy.inconclusive.unwrap_or(Inconclusive::Ask) {
            // Here something is suspicious, always: a lack of users alone holds no batch.
            Inconclusive::Ask | Inconclusive::Quiet => {
                if progress.status != Status::Waiting {
                    self.extend_rollout(rollout, Status::Waiting, &reason).await?;
                }
                Gate::Shut
            }
            Inconclusive::Abort => Gate::Undo(Cause::Judge, format!("not judged in time: {reason}")),
            Inconclusive::Promote => Gate::Open(format!("taken on although not judged: {reason}")),
        })
    }

    /// After a restart of the server, word of all that is in service is waited for, then the step begins anew.
    async fn recover_roll(&self, rollout: &Rollout, sides: &Sides) -> Result<()> {
        let Some(since) = rollout.recovering_at else {
            return Ok(());
        };
        let mut in_service = sides.new.iter().chain(&sides.old).filter(|i| i.in_service());
        let back = in_service.all(|i| {
            i.state() == InstanceState::Healthy && i.reported_at.is_some_and(|reported| reported >= since)
        });
        let now = self.now();
        if !back && now.since(since) < RECOVERY_GRACE {
            return Ok(());
        }
        // Those that are not back are ill, and dealt with as such.
        let tx = self.db.begin().await?;
        let again = Rolled {
            step: rollout.step(),
            step_at: now,
            weight: rollout.weight(),
            base_restarts: restarts(&sides.new, Instance::in_service),
            passed: false,
        };
        if store::set_roll(&tx, rollout, &again, now).await? {
            tx.commit().await?;
        }
        Ok(())
    }

    /// The old version comes back by the same rules, started anew where its instances are gone.
    async fn roll_back(&self, rollout: &Rollout, sides: &Sides) -> Result<()> {
        let now = self.now();
        // What no user needs goes first: what never served, and what is ill.
        let useless = |i: &Instance| {
            i.retired_at.is_none()
                && (i.held() || (i.serves() && (!i.in_service() || i.state() != InstanceState::Healthy)))
        };
        let out: Vec<Instance> = sides.new.iter().filter(|i| useless(i)).cloned().collect();
        if !out.is_empty() {
            let tx = self.db.begin().await?;
            self.leave(&tx, &out, now).await?;
            tx.commit().await?;
            return Ok(());
        }
        let healthy = |i: &Instance| i.serves() && !i.in_service() && i.state() == InstanceState::Healthy;
        let mut promise = promise(rollout);
        promise.target = rollout.old_count();
        let mut to = count(&sides.old, healthy);
        let from = count(&sides.new, |_| false);
        to.held = promise
            .target
            .saturating_sub(to.starting + to.proven + to.serving + to.ill);
        if to.serving >= promise.target && from.serving + from.ill == 0 {
            let cause = Cause::parse(rollout.cause.as_deref().unwrap_or_default());
            self.undo_rollout(&Actor::system(), rollout, cause, &rollout.reason)
                .await?;
            return Ok(());
        }
        let moves = moves(promise, to, from, true);
        let plan = Plan::new(moves, &sides.old, &sides.new, healthy);
        if moves.start > 0 {
            let new = instances::New {
                deployment: rollout.old_deployment_id,
                environment: rollout.environment_id,
                desired: desired::RUN,
                weight: 0,
                baseline: false,
                count: moves.start,
            };
            let tx = self.db.begin().await?;
            instances::insert(&tx, &new, now).await?;
            self.tell_agent_at(&tx, rollout.environment_id).await?;
            tx.commit().await?;
        }
        self.move_on(rollout, sides, &plan, false, "").await
    }

    /// Carries moves out. `forward`: the new side comes.
    async fn move_on(
        &self,
        rollout: &Rollout,
        sides: &Sides,
        plan: &Plan,
        forward: bool,
        reason: &str,
    ) -> Result<()> {
        let now = self.now();
        if plan.expose.is_empty() && plan.retire.is_empty() {
            if plan.start.is_empty() {
                return Ok(());
            }
            return self.start(rollout.environment_id, &plan.start).await;
        }
        let stays =
            |i: &Instance| plan.expose.contains(&i.id) || (i.in_service() && !plan.retire.contains(&i.id));
        let (new, old) = (pick(&sides.new, stays), pick(&sides.old, stays));
        let weight = share(new.len(), old.len());
        let exposed = forward && !plan.expose.is_empty();
        let tx = self.db.begin().await?;
        let passed = forward && !plan.retire.is_empty();
        let rolled = Rolled {
            step: new.len().saturating_sub(1),
            step_at: if exposed { now } else { rollout.step_at },
            weight,
            base_restarts: restarts(&sides.new, stays),
            passed: !exposed && (passed || rollout.held),
        };
        if !store::set_roll(&tx, rollout, &rolled, now).await? {
            return Ok(());
        }
        let actor = Actor::system();
        if passed && !rollout.held && rollout.weight() > 0 {
            let verdict = judged(rollout, &Verdict::Pass(reason.to_owned()));
            self.ledger.append(&tx, &actor, &verdict).await?;
        }
        if exposed {
            deployment::store::expose(&tx, rollout.deployment_id, deployment::Status::RollingOut, now)
                .await?;
        }
        let revision = self.bump(&tx, Channel::Edge).await?;
        instances::retire(&tx, &plan.retire, now, revision).await?;
        instances::set_share(&tx, &new, weight).await?;
        instances::set_share(&tx, &old, 100 - weight).await?;
        if weight != rollout.weight() {
            self.ledger.append(&tx, &actor, &stepped(rollout, weight)).await?;
        }
        if forward && !plan.start.is_empty() {
            instances::start(&tx, &plan.start, now).await?;
            self.tell_agent_at(&tx, rollout.environment_id).await?;
        }
        tx.commit().await?;
        Ok(())
    }
}

/// Which instances a turn moves.
struct Plan {
    expose: Vec<InstanceId>,
    retire: Vec<InstanceId>,
    start: Vec<InstanceId>,
}

impl Plan {
    fn new(moves: Moves, to: &[Instance], from: &[Instance], proven: impl Fn(&Instance) -> bool) -> Self {
        let mut leaving: Vec<&Instance> = from.iter().filter(|i| i.in_service()).collect();
        // The ill ones first, then the oldest.
        leaving.sort_by_key(|i| (i.state() == InstanceState::Healthy, i.id));
        Self {
            expose: pick(to, proven).into_iter().take(moves.expose).collect(),
            retire: leaving.iter().take(moves.retire).map(|i| i.id).collect(),
            start: pick(to, Instance::held).into_iter().take(moves.start).collect(),
        }
    }
}

fn promise(rollout: &Rollout) -> Promise {
    let Json(policy) = &rollout.policy;
    Promise::new(
        rollout.old_count(),
        usize::try_from(policy.replicas).unwrap_or(1),
        policy.max_surge,
        policy.max_unavailable,
    )
}

fn count(side: &[Instance], proven: impl Fn(&Instance) -> bool) -> Count {
    let mut count = Count::default();
    for instance in side {
        let place = if instance.held() {
            &mut count.held
        } else if !instance.serves() {
            &mut count.leaving
        } else if !instance.in_service() {
            if proven(instance) {
                &mut count.proven
            } else {
                &mut count.starting
            }
        } else if instance.state() == InstanceState::Healthy {
            &mut count.serving
        } else {
            &mut count.ill
        };
        *place += 1;
    }
    count
}

/// The share in percent of so many instances beside so many others; none for none, and all for all.
fn share(new: usize, old: usize) -> u32 {
    let all = new + old;
    if new == 0 || all == 0 {
        return 0;
    }
    if old == 0 {
        return 100;
    }
    u32::try_from(new * 100 / all).unwrap_or(100).clamp(1, 99)
}
