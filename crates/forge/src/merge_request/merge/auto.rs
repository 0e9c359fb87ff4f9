//! Merges that wait for their conditions, and the queues: looked at whenever something happened, and now and then.

use super::store;
use crate::{
    Forge, ProjectInfo,
    merge_request::{MergeRequest, store as requests},
    told::sentences,
};
use bascule_core::{Actor, Caller, ProjectScope, Result, UserId};
use bascule_wire::merge_request::MergeOrder;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often to look without having been woken: for what other replicas heard.
const LOOK_EVERY: Duration = Duration::from_secs(5);

impl Forge {
    /// Looks after merges that wait, until `stop`.
    pub(crate) async fn look_after_merges(&self, stop: CancellationToken) {
        loop {
            if let Err(problem) = self.merge_round().await {
                tracing::error!(%problem, "merges that wait could not be looked at; will be tried again");
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.merges_woken() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    async fn merge_round(&self) -> Result<()> {
        for project in store::projects(self.db()).await? {
            let lock = self.pushes().lock(project);
            let _lock = lock.lock_owned().await;
            self.settle_leftovers(project).await?;
            self.finish_merges(project).await?;
        }
        for request in requests::automatic(self.db()).await? {
            if let Err(problem) = self.merge_wished(&request).await {
                tracing::error!(%problem, iid = request.iid, "a merge that was asked for could not be tried");
            }
        }
        self.queue_round().await
    }

    async fn merge_wished(&self, request: &MergeRequest) -> Result<()> {
        let Some(project) = self.project_by_id(request.project_id).await? else {
            return Ok(());
        };
        let checks = self.merge_checks(&project, request).await?;
        if checks.iter().any(|check| check.state.holds()) {
            return Ok(());
        }
        let Some((caller, scope)) = self.acting(request.auto().as_ref(), &project).await? else {
            return self
                .drop_wish(
                    request,
                    &Actor::system(),
                    "off: the person may not merge any more",
                    Some("They may not merge here any more. Whoever may merges it, or asks anew.".to_owned()),
                )
                .await;
        };
        let order = MergeOrder {
            sha: Some(request.head.clone()),
            strategy: request.auto_strategy.clone(),
            when_checks_pass: true,
            ..MergeOrder::default()
        };
        // Boxed: the future is large, and most rounds make none.
        match Box::pin(self.merge(&caller, &scope, request.iid, &order)).await {
            Ok(_) => Ok(()),
            // It changed while we looked; the next round sees it as it is then.
            Err(problem) if problem.code == "head_moved" || problem.code == "branch_moved" => Ok(()),
            Err(problem) if problem.is_server_fault() => Err(problem),
            Err(problem) => {
                let why = sentences([problem.what.as_str(), problem.why.as_str(), problem.next.as_str()]);
                let value = format!("off: {}", problem.code);
                self.drop_wish(request, &Actor::system(), &value, Some(why)).await
            }
        }
    }

    /// The person who asked, with the role that they hold now; `None` if they lost it or are gone.
    pub(crate) async fn acting(
        &self,
        actor: Option<&Actor>,
        project: &ProjectInfo,
    ) -> Result<Option<(Caller, ProjectScope)>> {
        let Some(user) = actor.and_then(|actor| actor.id.parse::<UserId>().ok()) else {
            return Ok(None);
        };
        let Some(person) = self.sight().person(user).await? else {
            return Ok(None);
        };
        let caller = Caller {
            actor: Actor::new(bascule_core::ActorKind::User, user, person.username),
            user: Some(user),
            instance_role: person.instance_role,
            ..Caller::anonymous()
        };
        let Some(role) = self.sight().role(&caller, project).await? else {
            return Ok(None);
        };
        let scope = ProjectScope {
            id: project.id,
            group_id: project.group_id,
            group: project.group.clone(),
            name: project.name.clone(),
            role,
            scopes: None,
        };
        Ok(Some((caller, scope)))
    }
}
