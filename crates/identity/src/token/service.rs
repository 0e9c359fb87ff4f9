//! What can be done with access tokens.

use super::{
    MOST, end_of, scopes_of,
    store::{self, Owner, Token},
};
use crate::{
    Identity, secret, text,
    user::{self, holder},
};
use bascule_core::{
    Actor, ActorKind, Caller, Permission, Problem, ProjectId, ProjectScope, Result, Timestamp, TokenId,
    UserId,
};
use bascule_ledger::facts::identity::{TokenCreated, TokenRevoked};
use bascule_store::{Json, Tx};
use bascule_wire::identity::{CreatedToken, NewProjectToken, NewToken};

impl Identity {
    /// Creates a token that acts as the caller. The secret is told only in the answer.
    ///
    /// # Errors
    /// No account stands behind the request, or a value breaks a rule.
    pub async fn create_token(&self, caller: &Caller, new: &NewToken) -> Result<CreatedToken> {
        let user = holder(caller)?;
        let token = self
            .checked(caller, &new.name, &new.scopes, new.expires_at, None)
            .await?;
        self.keep(caller, token, Owner::Person(user), user).await
    }

    /// Creates a token for a program, limited to one project. The secret is told only in the answer.
    ///
    /// # Errors
    /// The caller may not, the role is above their own, or a value breaks a rule.
    pub async fn create_project_token(
        &self,
        caller: &Caller,
        project: &ProjectScope,
        new: &NewProjectToken,
    ) -> Result<CreatedToken> {
        let user = holder(caller)?;
        if !project.holds(Permission::MemberManage) {
            return Err(Problem::forbidden(Permission::MemberManage));
        }
        if new.role > project.role {
            return Err(crate::group::role_above_own(project.role));
        }
        let token = self
            .checked(caller, &new.name, &new.scopes, new.expires_at, Some(new.role))
            .await?;
        self.keep(
            caller,
            token,
            Owner::Project(project.id, project.group_id, new.role),
            user,
        )
        .await
    }

    async fn checked(
        &self,
        caller: &Caller,
        name: &str,
        scopes: &[bascule_core::Scope],
        end: Option<Timestamp>,
        role: Option<bascule_core::Role>,
    ) -> Result<Token> {
        let parent = match caller.actor.kind {
            ActorKind::Token => match caller.actor.id.parse() {
                Ok(id) => store::end_of(self.db(), id).await?,
                Err(_) => None,
            },
            _ => None,
        };
        let now = self.now();
        Ok(Token {
            id: TokenId::new(),
            name: text::required("name", name, 100)?,
            scopes: Json(scopes_of(caller, scopes)?),
            role,
            created_by: String::new(),
            created_at: now,
            expires_at: Some(end_of(end, parent, now)?),
            last_used_at: None,
        })
    }

    async fn keep(
        &self,
        caller: &Caller,
        mut token: Token,
        owner: Owner,
        creator: UserId,
    ) -> Result<CreatedToken> {
        let secret = secret::token();
        let tx = self.db().begin().await?;
        if !user::store::hold_open(&tx, creator).await? {
            return Err(Problem::unauthenticated());
        }
        if store::count(&tx, owner).await? >= MOST {
            return Err(
                Problem::conflict("too_many_tokens", format!("There are {MOST} tokens already."))
                    .why("So many cannot be watched over.")
                    .next("Revoke those that are not used."),
            );
        }
        token.created_by = user::store::by_id(&tx, creator)
            .await?
            .map_or_else(String::new, |account| account.username);
        self.insert_token(&tx, &caller.actor, &token, &secret, owner, creator)
            .await?;
        tx.commit().await?;
        Ok(CreatedToken {
            token: token.into(),
            secret,
        })
    }

    /// Stores a token with its fact.
    pub(crate) async fn insert_token(
        &self,
        tx: &Tx,
        actor: &Actor,
        token: &Token,
        secret: &str,
        owner: Owner,
        creator: UserId,
    ) -> Result<()> {
        store::insert(tx, token, &secret::hash(secret), owner, creator).await?;
        let (user, project) = match owner {
            Owner::Person(user) => (Some(user), None),
            Owner::Project(project, ..) => (None, Some(project)),
        };
        let fact = TokenCreated {
            token: token.id,
            name: token.name.clone(),
            user,
            project,
            scopes: token.scopes.0.clone(),
            expires_at: token.expires_at,
        };
        self.ledger().append(tx, actor, &fact).await?;
        Ok(())
    }

    /// The caller's live tokens.
    pub(crate) async fn tokens(&self, caller: &Caller) -> Result<Vec<Token>> {
        Ok(store::of_user(self.db(), holder(caller)?).await?)
    }

    /// A project's live tokens.
    pub(crate) async fn project_tokens(&self, project: ProjectId) -> Result<Vec<Token>> {
        Ok(store::of_project(self.db(), project).await?)
    }

    /// Revokes one of the caller's tokens.
    pub(crate) async fn revoke_token(&self, caller: &Caller, id: TokenId) -> Result<()> {
        self.revoke(caller, id, Some(holder(caller)?), None).await
    }

    /// Revokes one of a project's tokens.
    pub(crate) async fn revoke_project_token(
        &self,
        caller: &Caller,
        project: &ProjectScope,
        id: TokenId,
    ) -> Result<()> {
        if !project.holds(Permission::MemberManage) {
            return Err(Problem::forbidden(Permission::MemberManage));
        }
        self.revoke(caller, id, None, Some(project.id)).await
    }

    async fn revoke(
        &self,
        caller: &Caller,
        id: TokenId,
        user: Option<UserId>,
        project: Option<ProjectId>,
    ) -> Result<()> {
        let tx = self.db().begin().await?;
        let name = store::revoke(&tx, id, user, project, self.now()).await?;
        let name = name.ok_or_else(|| Problem::not_found("token"))?;
        self.ledger()
            .append(
                &tx,
                &caller.actor,
                &TokenRevoked {
                    token: id,
                    name,
                    project,
                },
            )
            .await?;
        tx.commit().await?;
        Ok(())
    }
}
