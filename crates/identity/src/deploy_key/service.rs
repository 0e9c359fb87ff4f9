//! What can be done with deploy keys.

use super::{
    MOST,
    store::{self, DeployKey},
};
use crate::{
    Identity,
    authenticate::{TOUCH, Used},
    key, text,
    user::holder,
};
use bascule_core::{
    Actor, ActorKind, Caller, DeployKeyId, Permission, Problem, ProjectScope, Result, Role, Scope,
};
use bascule_ledger::facts::identity::{DeployKeyAdded, DeployKeyRemoved};
use bascule_wire::identity as wire;

impl Identity {
    /// Lets a public key into a project.
    ///
    /// # Errors
    /// The caller may not, the key cannot be used, or it opens something already.
    pub async fn add_deploy_key(
        &self,
        caller: &Caller,
        project: &ProjectScope,
        new: &wire::NewDeployKey,
    ) -> Result<wire::DeployKey> {
        holder(caller)?;
        if !project.holds(Permission::MemberManage) {
            return Err(Problem::forbidden(Permission::MemberManage));
        }
        let parsed = key::parse(&new.key)?;
        let title = [new.title.as_str(), &parsed.comment, &parsed.description]
            .into_iter()
            .find(|title| !title.trim().is_empty())
            .unwrap_or_default();
        let key = DeployKey {
            id: DeployKeyId::new(),
            title: text::required("title", title, 100)?,
            algorithm: parsed.description.clone(),
            fingerprint: parsed.fingerprint,
            writes: new.writes,
            created_by: caller.actor.name.clone(),
            created_at: self.now(),
            last_used_at: None,
        };
        let tx = self.db().begin().await?;
        if store::count(&tx, project.id).await? >= MOST {
            return Err(
                Problem::conflict("too_many_keys", format!("There are {MOST} deploy keys already."))
                    .next("Remove those that are not used."),
            );
        }
        if key::store::is_taken(&tx, &key.fingerprint).await? {
            return Err(taken("This key belongs to a person's account."));
        }
        if let Err(error) = store::insert(&tx, project.id, &key, &parsed.line).await {
            if error.is_unique_violation() {
                return Err(taken(
                    "This key is a deploy key already, here or of another project.",
                ));
            }
            return Err(error.into());
        }
        let fact = DeployKeyAdded {
            key: key.id,
            project: project.id,
            title: key.title.clone(),
            fingerprint: key.fingerprint.clone(),
            writes: key.writes,
        };
        self.ledger().append(&tx, &caller.actor, &fact).await?;
        tx.commit().await?;
        Ok(key.into())
    }

    /// A project's deploy keys, newest first.
    pub(crate) async fn deploy_keys(&self, project: &ProjectScope) -> Result<Vec<DeployKey>> {
        Ok(store::of_project(self.db(), project.id).await?)
    }

    /// Shuts a key out, at once.
    pub(crate) async fn remove_deploy_key(
        &self,
        caller: &Caller,
        project: &ProjectScope,
        id: DeployKeyId,
    ) -> Result<()> {
        let tx = self.db().begin().await?;
        let gone = store::remove(&tx, project.id, id)
            .await?
            .ok_or_else(|| Problem::not_found("deploy key"))?;
        let fact = DeployKeyRemoved {
            key: id,
            project: project.id,
            title: gone.title,
            fingerprint: gone.fingerprint,
        };
        self.ledger().append(&tx, &caller.actor, &fact).await?;
        Ok(tx.commit().await?)
    }

    /// Who a deploy key speaks for: a program, limited to one project.
    pub(crate) async fn by_deploy_key(&self, fingerprint: &str) -> Result<Option<Caller>> {
        let now = self.now();
        let Some(found) = store::by_fingerprint(self.db(), fingerprint).await? else {
            return Ok(None);
        };
        if found.last_used_at.is_none_or(|last| last < now.minus(TOUCH)) {
            self.touch(Used::DeployKey(found.id), now);
        }
        let (role, scope) = if found.writes {
            (Role::Developer, Scope::WriteRepository)
        } else {
            (Role::Reporter, Scope::ReadRepository)
        };
        Ok(Some(Caller {
            // The colon keeps it apart from people: no user name holds one.
            actor: Actor::new(ActorKind::Token, found.id, format!("deploy-key:{}", found.title)),
            scopes: Some(vec![scope]),
            only_project: Some((found.project_id, role)),
            ..Caller::anonymous()
        }))
    }
}

fn taken(what: &str) -> Problem {
    Problem::conflict("key_taken", what)
        .why("A key stands for one holder, who is found by it.")
        .next("Make a new pair for this project with `ssh-keygen -t ed25519`.")
}
