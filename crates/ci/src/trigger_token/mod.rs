//! Trigger tokens: what another program starts a pipeline with, by GitLab's address
//! `POST /api/v4/projects/:id/trigger/pipeline`. A token runs with the rights that its owner has at that moment, and
//! opens nothing else.

pub(crate) mod api;
mod call;
mod pages;
pub(crate) mod store;

use crate::pipeline::guard::may_give;
use crate::{
    Ci,
    fault::shown,
    job::manual,
    pipeline::{More, Pipeline, Start},
    token,
};
use bascule_core::{Actor, ActorKind, Caller, Permission, Problem, ProjectId, ProjectScope, Result};
use bascule_ledger::facts::pipelines::TriggerTokenChanged;
use bascule_wire::{pipelines as wire, runner::Variable};
use std::collections::BTreeMap;
use store::Trigger;

/// Most tokens of a project.
const MOST: i64 = 100;
/// Longest description, in characters.
const DESCRIPTION: usize = 200;
/// What a pipeline is told to be started by.
pub(crate) const SOURCE: &str = "trigger";

/// What a call asks for.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Call {
    /// Proof.
    pub token: String,
    /// Branch or tag.
    pub reference: String,
    /// Variables for all jobs.
    pub variables: BTreeMap<String, String>,
    /// Values for the file's inputs.
    pub inputs: crate::config::Inputs,
    /// Whether those came as texts, to be read by the inputs' types.
    pub texts: bool,
    /// The whole of what was sent, for jobs that want it (`TRIGGER_PAYLOAD`).
    pub payload: Option<String>,
}

impl Trigger {
    fn owner(&self) -> Actor {
        Actor::new(ActorKind::User, self.owner_id.clone(), self.owner_name.clone())
    }

    pub(crate) fn to_wire(&self, token: Option<String>) -> wire::Trigger {
        wire::Trigger {
            id: self.id,
            description: self.description.clone(),
            hint: self.hint.clone(),
            owner: self.owner_name.clone(),
            created_at: self.created_at,
            last_used: self.last_used,
            token,
        }
    }
}

impl Ci {
    /// A project's trigger tokens, without the tokens themselves.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub async fn triggers(&self, project: ProjectId) -> Result<Vec<Trigger>> {
        Ok(store::list(&self.db, project).await?)
    }

    /// Makes a trigger token that runs with the caller's rights; and the token, which is shown this once.
    ///
    /// # Errors
    /// The caller is no person, says nothing of what it is for, or the project has too many.
    pub async fn create_trigger(
        &self,
        caller: &Caller,
        project: ProjectId,
        description: &str,
    ) -> Result<(Trigger, String)> {
        let Some(owner) = caller.person() else {
            return Err(
                Problem::new(403, "not_a_person", "Only a person can own a trigger token.")
                    .why("It runs with the rights that its owner has when it is used.")
                    .next("Do it with your own account."),
            );
        };
        let description = description.trim();
        if description.is_empty() || description.chars().count() > DESCRIPTION {
            return Err(
                Problem::invalid("bad_description", "Say who is to use the token.")
                    .next(format!("Write 1 to {DESCRIPTION} characters.")),
            );
        }
        if store::count(&self.db, project).await? >= MOST {
            return Err(Problem::conflict(
                "too_many",
                format!("A project has at most {MOST} trigger tokens."),
            )
            .next("Remove one that is not used any more."));
        }
        let token = token::new(token::TRIGGER);
        let hint: String = token.chars().skip(token::TRIGGER.len()).take(4).collect();
        let mut trigger = Trigger {
            id: 0,
            project_id: project,
            description: description.to_owned(),
            hint,
            owner_id: owner.to_string(),
            owner_name: caller.actor.name.clone(),
            created_at: self.clock.now(),
            last_used: None,
        };
        let tx = self.db.begin().await?;
        trigger.id = tx.next_number("ci_trigger").await?;
        store::insert(&tx, &trigger, &token::hash(&token)).await?;
        self.tell_trigger(&tx, &trigger, "created", &caller.actor).await?;
        tx.commit().await?;
        Ok((trigger, token))
    }

    /// Takes a trigger token back, at once.
    ///
    /// # Errors
    /// There is none by that number in that project.
    pub async fn delete_trigger(&self, project: ProjectId, id: i64, actor: &Actor) -> Result<()> {
        let trigger = store::find(&self.db, project, id)
            .await?
            .ok_or_else(|| Problem::not_found("trigger token"))?;
        let tx = self.db.begin().await?;
        store::delete(&tx, id).await?;
        self.tell_trigger(&tx, &trigger, "deleted", actor).await?;
        Ok(tx.commit().await?)
    }

    async fn tell_trigger(
        &self,
        tx: &bascule_store::Tx,
        trigger: &Trigger,
        change: &str,
        actor: &Actor,
    ) -> Result<()> {
        let fact = TriggerTokenChanged {
            project: trigger.project_id,
            trigger: trigger.id,
            change: change.to_owned(),
            owner: trigger.owner_name.clone(),
        };
        self.ledger.append(tx, actor, &fact).await?;
        Ok(())
    }

    /// Starts the pipeline that a call with a token asks for, in the project that the address names.
    pub(crate) async fn trigger(&self, project: &str, call: Call) -> Result<Pipeline> {
        let unknown = || {
            Problem::not_found("project with such a trigger token").next(
                "Make a token in the project's settings, under Pipeline triggers, and send it as `token`.",
            )
        };
        let Some(here) = self.addressed(project).await? else {
            return Err(unknown());
        };
        if call.token.starts_with(token::JOB) {
            return self.trigger_by_job(here, call).await;
        }
        let found = store::by_hash(&self.db, &token::hash(&call.token)).await?;
        let Some(trigger) = found.filter(|trigger| trigger.project_id == here) else {
            return Err(unknown());
        };
        let owner = trigger.owner();
        if !self.reach().may(&owner, here, Permission::PipelineRun).await? {
            return Err(Problem::new(
                403,
                "owner_may_not",
                format!("{} may not run pipelines in this project.", trigger.owner_name),
            )
            .why("A trigger token has the rights that its owner has now.")
            .next("Let somebody who may make a new token."));
        }
        let start = self.start_of(here, call, SOURCE, &owner).await?;
        let pipeline = self.triggered(start, Some(&trigger)).await?;
        let tx = self.db.begin().await?;
        store::used(&tx, trigger.id, self.clock.now()).await?;
        tx.commit().await?;
        Ok(pipeline)
    }

    /// A running job starts a pipeline of another project, with the rights of who started its own.
    async fn trigger_by_job(&self, here: ProjectId, call: Call) -> Result<Pipeline> {
        let job = self.job_by_token(&call.token).await?.ok_or_else(|| {
            Problem::new(403, "job_not_running", "The job of this token does not run.")
                .why("A job's token ends with the job.")
                .next("Use a trigger token outside of jobs.")
        })?;
        let actor = crate::pipeline::store::actor(&self.db, job.pipeline_id)
            .await?
            .unwrap_or_else(Actor::anonymous);
        if !self.reach().may(&actor, here, Permission::PipelineRun).await? {
            return Err(Problem::new(
                403,
                "may_not_run",
                format!("{} may not run pipelines in this project.", actor.name),
            )
            .why("A job's token has the rights of who started its pipeline.")
            .next("Ask for the role developer there."));
        }
        let start = self
            .start_of(here, call, crate::pipeline::DOWNSTREAM, &actor)
            .await?;
        self.triggered(start, None).await
    }

    async fn triggered(&self, start: Start, trigger: Option<&Trigger>) -> Result<Pipeline> {
        let (project, mut start) = (start.project, start);
        start.more.trigger_hint = trigger.map(|trigger| trigger.hint.clone());
        let created = Box::pin(self.create_pipeline(start)).await?;
        self.made_or_why(project, created).await
    }

    /// The project that an address names: by its identifier, or `group/project`.
    async fn addressed(&self, text: &str) -> Result<Option<ProjectId>> {
        if let Ok(id) = text.parse::<ProjectId>() {
            return Ok(self.reach().get(id).await?.map(|here| here.id));
        }
        Ok(self.reach().find(text).await?.map(|here| here.id))
    }

    async fn start_of(
        &self,
        project: ProjectId,
        call: Call,
        source: &'static str,
        actor: &Actor,
    ) -> Result<Start> {
        if call.reference.is_empty() {
            return Err(Problem::bad_request("no_ref", "The call names no branch or tag.")
                .next("Send it as `ref`, such as `ref=main`."));
        }
        let commit = self
            .code
            .resolve(project, &call.reference)
            .await?
            .ok_or_else(|| {
                Problem::bad_request(
                    "no_such_ref",
                    format!("There is no branch or tag `{}`.", shown(&call.reference)),
                )
                .next("Push it first, or name another.")
            })?;
        let mut variables = manual::given(call.variables)?;
        let protected = self
            .code
            .is_protected(project, &commit.reference, commit.tag)
            .await?;
        let may_push = !protected
            || self
                .reach()
                .may(actor, project, Permission::ProtectedPush)
                .await?;
        self.guard_of(project, &commit.reference, protected, may_push)
            .await?;
        // Jobs read what a webhook sends, too.
        if !variables.is_empty() || !call.inputs.is_empty() || call.payload.is_some() {
            let next = "Call without variables, inputs and payload, or let a maintainer own the token.";
            may_give(&commit.reference, protected, may_push, next)?;
        }
        if let Some(payload) = call.payload {
            variables.push(Variable {
                public: false,
                file: true,
                raw: true,
                ..Variable::public("TRIGGER_PAYLOAD", payload)
            });
        }
        Ok(Start {
            project,
            reference: commit.reference,
            tag: commit.tag,
            sha: commit.sha,
            before: None,
            source,
            fact: None,
            variables,
            actor: actor.clone(),
            more: More {
                inputs: call.inputs,
                input_texts: call.texts,
                ..More::default()
            },
        })
    }

    /// Forms and tools show who may be asked; the scope says what the caller may do.
    pub(crate) async fn triggers_shown(&self, scope: &ProjectScope) -> Result<Vec<wire::Trigger>> {
        let all = self.triggers(scope.id).await?;
        Ok(all.iter().map(|trigger| trigger.to_wire(None)).collect())
    }
}
