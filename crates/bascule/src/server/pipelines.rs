//! What pipelines ask: other projects, and what the people behind pipelines may do there.

use async_trait::async_trait;
use bascule_ci::ports::{self, Neighbour};
use bascule_core::{Actor, ActorKind, Caller, GroupId, Permission, ProjectId, Result, UserId};
use bascule_forge::{Forge, ProjectInfo};
use bascule_identity::{Account, Identity};

/// Other projects, and what people may do there.
#[derive(Clone)]
pub struct Reach {
    pub forge: Forge,
    pub identity: Identity,
}

fn neighbour(project: &ProjectInfo) -> Neighbour {
    Neighbour {
        id: project.id,
        group: project.group_id,
        path: project.path(),
        default_branch: project.default_branch.clone(),
    }
}

impl Reach {
    /// The open account behind an actor. Programs limited to one project, whose names hold a colon, have none: nobody
    /// answers for what they would do elsewhere.
    async fn account(&self, actor: &Actor) -> Result<Option<Account>> {
        match actor.kind {
            ActorKind::User => match actor.id.parse::<UserId>() {
                Ok(user) => self.identity.open_user_by_id(user).await,
                Err(_) => Ok(None),
            },
            ActorKind::Token if !actor.name.contains(':') => self.identity.open_user(&actor.name).await,
            _ => Ok(None),
        }
    }
}

#[async_trait]
impl ports::Reach for Reach {
    async fn find(&self, path: &str) -> Result<Option<Neighbour>> {
        let Some((group, name)) = path.trim_matches('/').split_once('/') else {
            return Ok(None);
        };
        Ok(self.forge.find(group, name).await?.map(|found| neighbour(&found)))
    }

    async fn get(&self, project: ProjectId) -> Result<Option<Neighbour>> {
        Ok(self.forge.project_by_id(project).await?.as_ref().map(neighbour))
    }

    async fn of_group(&self, group: GroupId, after: &str, limit: i64) -> Result<Vec<Neighbour>> {
        Ok(self
            .forge
            .projects_of_group(group, after, limit)
            .await?
            .iter()
            .map(neighbour)
            .collect())
    }

    async fn may(&self, actor: &Actor, project: ProjectId, permission: Permission) -> Result<bool> {
        let Some(account) = self.account(actor).await? else {
            return Ok(false);
        };
        let Some(project) = self.forge.project_by_id(project).await? else {
            return Ok(false);
        };
        let caller = Caller {
            actor: actor.clone(),
            user: Some(account.id),
            instance_role: account.instance_role,
            ..Caller::anonymous()
        };
        let role = self
            .identity
            .role_in_project(&caller, project.id, project.group_id, project.visibility)
            .await?;
        Ok(role.is_some_and(|role| role.holds(permission)))
    }

    async fn is_open(&self, user: &str) -> Result<bool> {
        match user.parse::<UserId>() {
            Ok(user) => Ok(self.identity.open_user_by_id(user).await?.is_some()),
            Err(_) => Ok(false),
        }
    }
}
