//! The gate: identity says who asks and with what role, the forge says which project the path means, CI
//! says which job a job token belongs to.

use async_trait::async_trait;
use bascule_ci::Ci;
use bascule_core::{
    Actor, ActorKind, Caller, GroupScope, InstanceRole, Problem, ProjectScope, Result, Role, Scope,
};
use bascule_delivery::{Delivery, fleet::PULL_SECRET};
use bascule_forge::Forge;
use bascule_identity::{Credential, Identity};
use bascule_notices::Notices;
use bascule_web::Gate;
use http::request::Parts;
use std::collections::HashSet;

/// Roles in a project go with the pull secret of an agent that runs something of it.
const PULLER: Role = Role::Reporter;
/// Git's user name for job tokens, as GitLab runners send it.
const JOB_USER: &str = "gitlab-ci-token";

#[derive(Clone)]
pub struct Door {
    pub identity: Identity,
    pub forge: Forge,
    pub ci: Ci,
    pub delivery: Delivery,
    pub notices: Notices,
}

#[async_trait]
impl Gate for Door {
    async fn caller(&self, parts: &Parts) -> Result<Caller> {
        if let Some(Credential::Basic { username, password }) = Credential::of(&parts.headers)?
            && username == JOB_USER
        {
            return self.job(&password).await;
        }
        // Our own command line in a job sends the job's token as any other.
        if let Some(Credential::Token(token)) = Credential::of(&parts.headers)?
            && token.starts_with(bascule_ci::JOB_TOKEN)
        {
            return self.job(&token).await;
        }
        // Only clients of the registry send it, and only the registry knows it.
        if parts.uri.path().starts_with("/v2/") {
            let secret = match Credential::of(&parts.headers)? {
                Some(Credential::Basic { password, .. }) => Some(password),
                Some(Credential::Token(token)) => Some(token),
                _ => None,
            };
            if let Some(secret) = secret.filter(|secret| secret.starts_with(PULL_SECRET)) {
                return self.puller(&secret).await;
            }
        }
        self.identity.authenticate(parts).await
    }

    async fn group(&self, caller: &Caller, group: &str) -> Result<Option<GroupScope>> {
        let Some(group) = self.identity.find_group(group).await? else {
            return Ok(None);
        };
        let role = self
            .identity
            .role_in_group(caller, group.id, group.visibility)
            .await?;
        Ok(role.map(|role| GroupScope {
            id: group.id,
            name: group.name.to_string(),
            role,
        }))
    }

    async fn project(&self, caller: &Caller, group: &str, project: &str) -> Result<Option<ProjectScope>> {
        let found = match self.forge.find(group, project).await? {
            Some(found) => Some(found),
            None => self.forge.find_moved(group, project).await?,
        };
        let Some(project) = found else {
            return Ok(None);
        };
        let role = if caller.actor.kind == ActorKind::Agent {
            let agent = caller.actor.id.parse().map_err(|_| Problem::internal())?;
            let serves = self.delivery.agent_serves(agent, project.id).await?;
            serves.then_some(PULLER)
        } else {
            let role = self
                .identity
                .role_in_project(caller, project.id, project.group_id, project.visibility)
                .await?;
            match (role, caller.actor.kind, caller.only_project) {
                // A job reads what lets its project in, as it reads its own.
                (None, ActorKind::Job, Some((from, role))) => {
                    self.ci.job_token_opens(from, project.id).await?.then_some(role)
                }
                (role, ..) => role,
            }
        };
        Ok(role.map(|role| project.scope(caller, role)))
    }

    async fn waiting(&self, caller: &Caller) -> Option<i64> {
        // A page is worth more than this number.
        match self.notices.waiting(caller.user?).await {
            Ok(waiting) => Some(waiting),
            Err(problem) => {
                tracing::warn!(%problem, "to-dos could not be counted");
                None
            }
        }
    }
}

#[async_trait]
impl bascule_forge::ports::Keys for Door {
    async fn holder(&self, fingerprint: &str) -> Result<Caller> {
        self.identity.authenticate_key(fingerprint).await
    }

    async fn alive(&self, fingerprints: &[String]) -> Result<HashSet<String>> {
        self.identity.keys_alive(fingerprints).await
    }

    async fn project(&self, caller: &Caller, group: &str, project: &str) -> Result<Option<ProjectScope>> {
        Gate::project(self, caller, group, project).await
    }
}

impl Door {
    /// A cluster pulls what its agent runs, and nothing else.
    async fn puller(&self, secret: &str) -> Result<Caller> {
        let agent = self.delivery.agent_by_pull_secret(secret).await?.ok_or_else(|| {
            Problem::new(401, "pull_secret_ended", "The pull secret is not valid.")
                .why("An agent gets a new one at its start, and the one before it ends.")
                .next("Start the agent again; it puts the new one into the cluster.")
        })?;
        Ok(Caller {
            actor: Actor::new(ActorKind::Agent, agent.id, agent.name),
            scopes: Some(vec![Scope::ReadRegistry]),
            ..Caller::anonymous()
        })
    }

    /// A job reads its own project while it runs, those that let its project in, and nothing else.
    async fn job(&self, token: &str) -> Result<Caller> {
        let job = self.ci.job_for_token(token).await?.ok_or_else(|| {
            Problem::new(401, "job_token_ended", "The job token is not valid.")
                .why("A job's token ends with its job.")
                .next("Use a project or personal token outside jobs.")
        })?;
        // It acts for whoever started its pipeline, and ends with them.
        if let Some(starter) = &job.starter
            && self.identity.open_user(starter).await?.is_none()
        {
            return Err(
                Problem::new(401, "job_token_ended", "The job token is not valid any more.")
                    .why("The account that started the pipeline is closed, and its jobs act for nobody.")
                    .next("Someone else can run the pipeline again."),
            );
        }
        Ok(Caller {
            actor: Actor::new(ActorKind::Job, job.job, job.name),
            user: None,
            instance_role: InstanceRole::External,
            scopes: Some(vec![Scope::ReadRepository, Scope::ReadRegistry]),
            only_project: Some((job.project, Role::Reporter)),
            by_cookie: false,
        })
    }
}
