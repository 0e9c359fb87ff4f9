//! A deployment that serves nobody yet is taken back by a person.

use super::{Status, create::permission, instances, store};
use crate::{Delivery, environment, rollout};
use bascule_core::{Caller, DeploymentId, Permission, Problem, ProjectId, Result};

impl Delivery {
    /// Ends a deployment before it takes traffic. A plan does not try the version there again by itself.
    ///
    /// # Errors
    /// It has ended or takes traffic already, no reason is given, or the caller may not deploy there.
    pub async fn cancel(
        &self,
        caller: &Caller,
        project: ProjectId,
        holds: impl Fn(Permission) -> bool + Send + Sync,
        id: DeploymentId,
        reason: &str,
    ) -> Result<()> {
        let tx = self.db.begin().await?;
        let Some(open) = store::get(&tx, id).await?.filter(|d| d.project_id == project) else {
            return Err(Problem::not_found("deployment"));
        };
        let Some(environment) = environment::store::get(&tx, open.environment_id).await? else {
            return Err(Problem::not_found("environment"));
        };
        let needed = permission(environment.tier());
        if !holds(needed) {
            return Err(Problem::forbidden(needed));
        }
        if let Some(rollout) = rollout::store::open_of(&tx, open.id).await? {
            return Err(Problem::conflict(
                "rollout_running",
                format!("{} is being rolled out in {}.", open.version, environment.name),
            )
            .why("Users may be on it: going back moves their traffic, which a rollout does in steps.")
            .next(format!(
                "Abort the rollout: bascule rollout abort {} {}",
                environment.project_path, rollout.id
            )));
        }
        let by = &caller.actor.name;
        let reason = match instances::cut(reason.trim(), 500) {
            reason if reason.is_empty() => format!("canceled by {by}"),
            reason => format!("canceled by {by}: {reason}"),
        };
        let now = self.now();
        let ended = self
            .end(
                &tx,
                &caller.actor,
                &environment,
                &open,
                Status::Canceled,
                &reason,
                now,
            )
            .await?;
        if !ended {
            return Err(Problem::conflict(
                "ended",
                format!("This deployment has ended: {}.", open.status().as_str()),
            )
            .why("Only what is under way can be canceled.")
            .next("To leave a version that serves, deploy another one."));
        }
        self.withdraw(&tx, &environment, &open).await?;
        self.tell_agent_at(&tx, environment.id).await?;
        tx.commit().await?;
        self.wake();
        Ok(())
    }
}
