//! What jobs do to environments, and what takes environments down.

use super::{Environment, state, store};
use crate::{
    Ci,
    config::seconds,
    job::{self, Job},
    pipeline::{self, Pipeline},
    results,
    status::JobStatus,
    variables::{expand, resolve},
};
use bascule_core::{Actor, Problem, ProjectId, ProjectScope, Result};
use bascule_ledger::facts::pipelines::CiEnvironmentChanged;
use bascule_store::Tx;
use bascule_wire::runner::Variable;
use std::time::Duration;

/// What a job that succeeded does to its environment.
#[derive(Clone, Debug)]
pub(crate) struct Effect {
    environment: Environment,
    action: String,
    /// Whether the job says when the environment is taken down by itself.
    auto_stop: bool,
}

impl Ci {
    /// What a job does to its environment when it succeeds. Asked before the transaction in which it ends.
    pub(crate) async fn effect_of(&self, job: &Job, pipeline: &Pipeline) -> Result<Option<Effect>> {
        let Some(spec) = &job.spec.0.environment else {
            return Ok(None);
        };
        let Some(info) = self.code.project(job.project_id).await? else {
            return Ok(None);
        };
        let mut listed = self.job_variables(job, pipeline, &info).await?;
        // A job may find out only while it runs where its environment answers.
        let made = results::store::dotenv(&self.db, &[job.id]).await?;
        listed.extend(made.into_iter().map(|one| Variable {
            raw: true,
            ..Variable::public(one.name, one.value)
        }));
        let values = resolve(&listed);
        let name = expand(&spec.name, &values);
        if name.is_empty() {
            return Ok(None);
        }
        let now = self.clock.now();
        let stop_in = spec
            .auto_stop_in
            .as_ref()
            .map(|text| expand(text, &values))
            .filter(|text| text != "never")
            .and_then(|text| seconds(&text));
        Ok(Some(Effect {
            action: spec.action.clone(),
            auto_stop: spec.auto_stop_in.is_some(),
            environment: Environment {
                id: 0,
                project_id: job.project_id,
                tier: spec.tier(&name).to_owned(),
                name,
                state: state::AVAILABLE.to_owned(),
                url: spec
                    .url
                    .as_ref()
                    .map(|url| expand(url, &values))
                    .filter(|url| url.starts_with("http://") || url.starts_with("https://")),
                reference: pipeline.reference.clone(),
                on_stop: spec.on_stop.clone(),
                auto_stop_at: stop_in.map(|seconds| now.plus(Duration::from_secs(seconds))),
                job_id: job.id,
                pipeline_id: pipeline.id,
                sha: pipeline.sha.clone(),
                actor_name: pipeline.actor_name.clone(),
                deployed_at: now,
                changed_at: now,
            },
        }))
    }

    /// Does it, in the transaction in which the job ends.
    pub(crate) async fn take_effect(&self, tx: &Tx, effect: Effect, actor: &Actor) -> Result<()> {
        let Effect {
            mut environment,
            action,
            auto_stop,
        } = effect;
        let (project, name) = (environment.project_id, environment.name.clone());
        match action.as_str() {
            "stop" => {
                if store::set_state(tx, project, &name, state::STOPPED, self.clock.now()).await? {
                    self.tell_environment(tx, &environment, state::STOPPED, actor)
                        .await?;
                }
            }
            // They look after what is there, and may put its end off.
            "prepare" | "verify" | "access" => {
                if auto_stop {
                    store::set_auto_stop(tx, project, &name, environment.auto_stop_at).await?;
                }
            }
            _ => {
                environment.id = tx.next_number("ci_environment").await?;
                store::deployed(tx, &environment).await?;
                self.tell_environment(tx, &environment, "deployed", actor).await?;
            }
        }
        Ok(())
    }

    async fn tell_environment(
        &self,
        tx: &Tx,
        environment: &Environment,
        change: &str,
        actor: &Actor,
    ) -> Result<()> {
        let fact = CiEnvironmentChanged {
            project: environment.project_id,
            environment: environment.name.clone(),
            tier: environment.tier.clone(),
            change: change.to_owned(),
            pipeline: environment.pipeline_id,
            job: environment.job_id,
            sha: environment.sha.clone(),
        };
        self.ledger.append(tx, actor, &fact).await?;
        Ok(())
    }

    /// The environments of a project, by name, those behind one; of some states, or of all where none is named.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub async fn ci_environments(
        &self,
        project: ProjectId,
        states: &[&str],
        after: &str,
        limit: i64,
    ) -> Result<Vec<Environment>> {
        Ok(store::list(&self.db, project, states, after, limit).await?)
    }

    /// Takes back that an environment is taken down by itself.
    ///
    /// # Errors
    /// There is none by that number, or it is not there any more.
    pub async fn keep_environment(&self, project: ProjectId, id: i64, actor: &Actor) -> Result<Environment> {
        let mut found = self.standing_environment(project, id).await?;
        let tx = self.db.begin().await?;
        store::set_auto_stop(&tx, project, &found.name, None).await?;
        self.tell_environment(&tx, &found, "kept", actor).await?;
        tx.commit().await?;
        found.auto_stop_at = None;
        Ok(found)
    }

    /// Refuses who may not run what deployed there.
    async fn guard_environment(&self, scope: &ProjectScope, environment: &Environment) -> Result<()> {
        match pipeline::store::find(&self.db, environment.pipeline_id).await? {
            Some(pipeline) => self.guard(scope, &pipeline.reference, pipeline.protected).await,
            // It is long gone; its branch may be what it was.
            None => {
                let reference = &environment.reference;
                let protected = self.code.is_protected(scope.id, reference, false).await?;
                self.guard(scope, reference, protected).await
            }
        }
    }

    async fn standing_environment(&self, project: ProjectId, id: i64) -> Result<Environment> {
        let found = store::find(&self.db, project, id)
            .await?
            .ok_or_else(|| Problem::not_found("environment"))?;
        if found.state == state::AVAILABLE {
            return Ok(found);
        }
        Err(
            Problem::conflict("not_available", format!("The environment is {}.", found.state))
                .next("Look at its stop job, or deploy to it again."),
        )
    }

    /// Takes an environment down: its stop job runs, or where it has none it counts as stopped.
    ///
    /// # Errors
    /// There is none by that number, it is not there any more, or what was deployed there came of a protected branch or
    /// tag whose jobs the caller may not run.
    pub async fn stop_environment(
        &self,
        scope: &ProjectScope,
        id: i64,
        actor: &Actor,
    ) -> Result<Environment> {
        let project = scope.id;
        let found = self.standing_environment(project, id).await?;
        self.guard_environment(scope, &found).await?;
        self.take_down(&found, actor).await?;
        store::find(&self.db, project, id)
            .await?
            .ok_or_else(|| Problem::not_found("environment"))
    }

    /// Forgets an environment that was taken down.
    ///
    /// # Errors
    /// There is none by that number, it was not taken down, or the caller may not run what deployed there.
    pub async fn delete_environment(&self, scope: &ProjectScope, id: i64, actor: &Actor) -> Result<()> {
        let found = store::find(&self.db, scope.id, id)
            .await?
            .ok_or_else(|| Problem::not_found("environment"))?;
        self.guard_environment(scope, &found).await?;
        let tx = self.db.begin().await?;
        if !store::delete(&tx, scope.id, id).await? {
            return Err(
                Problem::conflict("not_stopped", format!("The environment is {}.", found.state))
                    .why("Only what was taken down is forgotten.")
                    .next("Stop it first."),
            );
        }
        self.tell_environment(&tx, &found, "deleted", actor).await?;
        Ok(tx.commit().await?)
    }

    /// Starts the stop job first and notes it after: done twice, the job is started once.
    async fn take_down(&self, environment: &Environment, actor: &Actor) -> Result<()> {
        let (project, name) = (environment.project_id, environment.name.as_str());
        let state = match self.stop_job_of(environment).await? {
            Some(job) if job.status == JobStatus::Manual => {
                self.play_job(project, job.id, actor).await?;
                state::STOPPING
            }
            Some(job) if job.status.is_active() => state::STOPPING,
            // It is not in that pipeline, or ended already.
            _ => state::STOPPED,
        };
        let tx = self.db.begin().await?;
        if store::set_state(&tx, project, name, state, self.clock.now()).await? {
            self.tell_environment(&tx, environment, state, actor).await?;
        }
        Ok(tx.commit().await?)
    }

    pub(super) async fn stop_job_of(&self, environment: &Environment) -> Result<Option<Job>> {
        let Some(name) = &environment.on_stop else {
            return Ok(None);
        };
        let jobs = job::store::states(&self.db, environment.pipeline_id).await?;
        let found = jobs
            .iter()
            .find(|state| &state.name == name && state.track == pipeline::state::Track::Own);
        match found {
            Some(found) => Ok(job::store::find(&self.db, found.id).await?),
            None => Ok(None),
        }
    }

    /// A branch is gone: what it was deployed to and has a way to be taken down is.
    pub(crate) async fn branch_is_gone(&self, project: ProjectId, branch: &str, actor: &Actor) -> Result<()> {
        for environment in store::of_branch(&self.db, project, branch).await? {
            if environment.on_stop.is_some() {
                self.take_down(&environment, actor).await?;
            }
        }
        Ok(())
    }

    /// Takes down what has had its time.
    pub(crate) async fn stop_due(&self) -> Result<()> {
        for environment in store::due(&self.db, self.clock.now()).await? {
            // What fails for one keeps no other back.
            if let Err(problem) = self.take_down(&environment, &Actor::system()).await {
                tracing::warn!(%problem, environment = environment.name, "an environment could not be stopped");
            }
        }
        Ok(())
    }
}
