//! Deployments that switch together: none of the new versions starts before all the old ones have ended, none serves
//! before all are proven, and all go back where one is not.

use super::starting::{Proof, proofs};
use crate::{
    Delivery,
    deployment::{self, Deployment, Instance, Status, desired, instances},
    environment::{self, Environment},
    product::RolloutPolicy,
    rollout::sides::{Sides, pick},
    switch::{self, Course, Switch},
};
use bascule_core::Result;

/// A deployment's group, as it is now.
pub(super) struct Together {
    pub switch: Switch,
    members: Vec<Standing>,
}

struct Standing {
    deployment: Deployment,
    place: i64,
    path: String,
    sides: Sides,
    online: bool,
}

impl Standing {
    fn began(&self) -> bool {
        self.sides.new.iter().any(|i| i.desired == desired::RUN) || self.deployment.exposed_at.is_some()
    }
}

impl Together {
    pub fn course(&self) -> Course {
        self.switch.course()
    }

    /// Whether what runs of the group may begin to end: all of it can be started afterwards.
    fn ready(&self) -> bool {
        let begun = self.members.iter().any(Standing::began);
        let can = |standing: &Standing| !standing.sides.new.is_empty() && standing.online;
        begun || self.members.iter().all(can)
    }

    /// Whether it is a deployment's turn to end what runs: all that need it have ended.
    fn may_end(&self, deployment: &Deployment) -> bool {
        let own = self.members.iter().find(|one| one.deployment.id == deployment.id);
        let place = own.map_or(0, |own| own.place);
        self.members
            .iter()
            .filter(|one| one.place < place)
            .all(|one| one.sides.old.is_empty())
    }

    /// Whether nothing of the old versions runs any more.
    pub fn old_ended(&self) -> bool {
        self.members.iter().all(|one| one.sides.old.is_empty())
    }

    /// Whether nothing of the new versions runs any more.
    pub fn new_ended(&self) -> bool {
        self.members.iter().all(|one| one.sides.new.is_empty())
    }
}

impl Delivery {
    /// The group that a deployment switches with, if any. Where one of it has ended without serving, all go back.
    pub(super) async fn together(&self, deployment: &Deployment) -> Result<Option<Together>> {
        if deployment.cause != switch::CAUSE {
            return Ok(None);
        }
        let Some(found) = switch::store::of(&self.db, deployment.id).await? else {
            return Ok(None);
        };
        let mut together = Together {
            switch: found,
            members: Vec::new(),
        };
        let mut lost = None;
        for member in switch::store::members(&self.db, together.switch.id).await? {
            let Some(one) = deployment::store::get(&self.db, member.deployment_id).await? else {
                continue;
            };
            let Some(environment) = environment::store::get(&self.db, one.environment_id).await? else {
                continue;
            };
            if one.finished_at.is_some() && one.status() != Status::Succeeded {
                let reason = one.reason.trim_end_matches('.');
                lost = Some(format!("{} {}: {reason}", environment.project_path, one.version));
            }
            let living = instances::living(&self.db, environment.id).await?;
            together.members.push(Standing {
                sides: Sides::of(one.id, living),
                online: self.online(&environment).await?,
                place: member.place,
                path: environment.project_path,
                deployment: one,
            });
        }
        if let (Course::Open, Some(why)) = (together.course(), lost) {
            self.settle(&mut together, Course::Back, &why).await?;
        }
        Ok(Some(together))
    }

    /// Decides for the whole group.
    pub(super) async fn settle(&self, together: &mut Together, course: Course, why: &str) -> Result<()> {
        let why = instances::cut(why, 1_000);
        let tx = self.db.begin().await?;
        if switch::store::decide(&tx, together.switch.id, course, &why).await? {
            tx.commit().await?;
            course.as_str().clone_into(&mut together.switch.course);
            together.switch.why = why;
            self.wake();
        }
        Ok(())
    }

    /// One of the group is not proven: all go back.
    pub(super) async fn give_up(
        &self,
        together: &mut Together,
        deployment: &Deployment,
        reason: &str,
    ) -> Result<()> {
        let own = together
            .members
            .iter()
            .find(|one| one.deployment.id == deployment.id);
        let path = own.map(|own| own.path.clone()).unwrap_or_default();
        let why = format!("{path} {}: {}", deployment.version, reason.trim_end_matches('.'));
        self.settle(together, Course::Back, &why).await
    }

    /// One of the group is proven: all serve once all are.
    pub(super) async fn agree(&self, together: &mut Together) -> Result<()> {
        let running = |i: &&Instance| i.desired == desired::RUN;
        let all = together.members.iter().all(|one| {
            let new: Vec<&Instance> = one.sides.new.iter().filter(running).collect();
            let proof = |i: &&Instance| self.proof(&one.deployment, i, one.online);
            !new.is_empty() && proofs(new.iter().map(proof)) == Proof::Proven
        });
        if all {
            self.settle(
                together,
                Course::Done,
                "all are healthy, and their smoke tests passed",
            )
            .await?;
        }
        Ok(())
    }

    /// A deployment of a group that no rollout stands for yet.
    pub(super) async fn advance_together(
        &self,
        environment: &Environment,
        deployment: &Deployment,
        sides: &Sides,
        policy: &RolloutPolicy,
        mut together: Together,
    ) -> Result<()> {
        match together.course() {
            Course::Back => {
                let why = format!("all that switch together went back: {}", together.switch.why);
                return self.fail(environment, deployment, sides, &why).await;
            }
            Course::Done => return self.switch(environment, deployment, sides).await,
            Course::Open => {}
        }
        let running: Vec<&Instance> = sides.new.iter().filter(|i| i.desired == desired::RUN).collect();
        if running.is_empty() {
            if !together.ready() {
                return Ok(());
            }
            if !sides.old.is_empty() {
                return if together.may_end(deployment) {
                    self.begin_recreate(environment, deployment, sides, policy).await
                } else {
                    Ok(())
                };
            }
            // Nothing of it served here: it starts with the others.
            return if together.old_ended() {
                self.start(environment.id, &pick(&sides.new, Instance::held))
                    .await
            } else {
                Ok(())
            };
        }
        let online = self.online(environment).await?;
        match proofs(running.iter().map(|i| self.proof(deployment, i, online))) {
            Proof::Waiting => Ok(()),
            Proof::Failed(reason) => self.give_up(&mut together, deployment, &reason).await,
            Proof::Proven => self.agree(&mut together).await,
        }
    }
}
