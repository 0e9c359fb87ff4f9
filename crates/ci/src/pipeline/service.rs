//! Commands on pipelines, and what happens to a pipeline when its jobs change.

use super::{
    More, Pipeline, Start, guard,
    state::{self, JobState, Standing},
    store,
};
use crate::{
    Change, Ci,
    config::{OnJobFailure, OnNewCommit},
    job::{self, Job},
    status::{JobStatus, PipelineStatus},
};
use bascule_core::{Actor, JobId, Permission, PipelineId, Problem, ProjectId, ProjectScope, Result};
use bascule_ledger::facts::{
    ci::{JobFinished, PipelineFinished},
    pipelines::{PipelineCanceled, PipelineSuperseded},
};
use bascule_store::Tx;
use bascule_wire::ci::RunPipeline;
use std::collections::HashMap;

/// The event of a merge request's pipeline in the merge queue, which looks after its pipelines itself.
pub(crate) const TRAIN: &str = "merge_train";

impl Ci {
    /// A pipeline of a project.
    ///
    /// # Errors
    /// There is none by that number in that project.
    pub async fn pipeline(&self, project: ProjectId, id: PipelineId) -> Result<Pipeline> {
        store::find(&self.db, id)
            .await?
            .filter(|pipeline| pipeline.project_id == project)
            .ok_or_else(|| Problem::not_found("pipeline"))
    }

    /// Starts a pipeline by hand.
    ///
    /// # Errors
    /// There is no such ref, no file, a faulty file, or no job to run.
    pub async fn run_pipeline(
        &self,
        scope: &ProjectScope,
        request: RunPipeline,
        source: &'static str,
        actor: &Actor,
    ) -> Result<Pipeline> {
        let project = scope.id;
        let variables = request
            .variables
            .into_iter()
            .map(|(key, value)| job::manual::variable(key, value))
            .collect::<Result<Vec<_>>>()?;
        let reference = self.named_or_default(project, &request.reference).await?;
        let commit = self.code.resolve(project, &reference).await?.ok_or_else(|| {
            Problem::invalid("no_such_ref", format!("There is no branch or tag `{reference}`."))
                .next("Push it first, or name another.")
        })?;
        let protected = self
            .code
            .is_protected(project, &commit.reference, commit.tag)
            .await?;
        self.guard(scope, &commit.reference, protected).await?;
        if !(variables.is_empty() && request.inputs.is_empty()) {
            let may_push = scope.holds(Permission::ProtectedPush);
            let next = "Run it without variables and inputs, run another branch, or ask a maintainer.";
            guard::may_give(&commit.reference, protected, may_push, next)?;
        }
        let start = Start {
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
                inputs: request.inputs,
                ..More::default()
            },
        };
        let created = self.create_pipeline(start).await?;
        self.made_or_why(project, created).await
    }

    /// Stops all that has not ended.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub async fn cancel_pipeline(
        &self,
        project: ProjectId,
        id: PipelineId,
        actor: &Actor,
    ) -> Result<Pipeline> {
        let pipeline = self.pipeline(project, id).await?;
        let tx = self.db.begin().await?;
        store::lock(&tx, id).await?;
        if self.cancel_open(&tx, id, actor, |_| true).await? > 0 {
            let fact = PipelineCanceled {
                project,
                pipeline: id,
            };
            self.ledger.append(&tx, actor, &fact).await?;
        }
        self.settle(&tx, &pipeline, actor).await?;
        tx.commit().await?;
        self.pipeline(project, id).await
    }

    /// Cancels those open jobs of a pipeline that are wanted canceled; how many. The caller settles the pipeline.
    /// What bridges made is canceled as the ledger tells of theirs (see [`Bridges`](crate::subscriptions::Bridges)).
    pub(crate) async fn cancel_open(
        &self,
        tx: &Tx,
        id: PipelineId,
        actor: &Actor,
        wanted: impl Fn(&Job) -> bool,
    ) -> Result<i64> {
        let mut count = 0;
        for job in job::store::of_pipeline(tx, id).await? {
            if JobStatus::OPEN.contains(&job.status) && wanted(&job) && self.stop_job(tx, &job, actor).await?
            {
                count += 1;
            }
        }
        Ok(count)
    }

    /// A pipeline of a newer commit is there: older ones of the same ref and source that have not ended are canceled,
    /// as far as their own files let them be.
    pub(crate) async fn supersede_older(&self, newer: PipelineId) -> Result<()> {
        let Some(newer) = store::find(&self.db, newer).await? else {
            return Ok(());
        };
        let merges = newer.settings.0.merge_request.as_ref();
        let queued = merges.is_some_and(|request| request.event == TRAIN);
        if newer.tag || queued || !matches!(newer.source.as_str(), "push" | "merge_request_event") {
            return Ok(());
        }
        for older in store::open_before(&self.db, &newer).await? {
            self.supersede(older, &newer).await?;
        }
        Ok(())
    }

    async fn supersede(&self, mut older: Pipeline, newer: &Pipeline) -> Result<()> {
        let whole = match older.settings.0.auto_cancel.on_new_commit {
            OnNewCommit::None => return Ok(()),
            OnNewCommit::Conservative => true,
            OnNewCommit::Interruptible => false,
        };
        let (actor, tx) = (Actor::system(), self.db.begin().await?);
        store::lock(&tx, older.id).await?;
        if whole {
            let jobs = job::store::of_pipeline(&tx, older.id).await?;
            let begun = |job: &Job| job.started_at.is_some() && !job.spec.0.interruptible;
            if jobs.iter().any(begun) {
                return Ok(());
            }
        }
        let jobs = self
            .cancel_open(&tx, older.id, &actor, |job| whole || job.spec.0.interruptible)
            .await?;
        if jobs == 0 {
            return Ok(());
        }
        older.settings.0.canceled_for = Some(newer.id);
        store::set_settings(&tx, older.id, &older.settings.0).await?;
        let fact = PipelineSuperseded {
            project: older.project_id,
            pipeline: older.id,
            by: newer.id,
            jobs,
            whole,
        };
        self.ledger.append(&tx, &actor, &fact).await?;
        self.settle(&tx, &older, &actor).await?;
        Ok(tx.commit().await?)
    }

    /// Tries all failed and canceled jobs again.
    ///
    /// # Errors
    /// There is none to try again.
    pub async fn retry_pipeline(
        &self,
        project: ProjectId,
        id: PipelineId,
        actor: &Actor,
    ) -> Result<Pipeline> {
        let pipeline = self.pipeline(project, id).await?;
        let tx = self.db.begin().await?;
        store::lock(&tx, id).await?;
        let jobs = job::store::of_pipeline(&tx, id).await?;
        let again: Vec<&Job> = jobs
            .iter()
            .filter(|job| !job.retried && matches!(job.status, JobStatus::Failed | JobStatus::Canceled))
            .collect();
        if again.is_empty() {
            return Err(Problem::conflict(
                "nothing_to_retry",
                "No job of this pipeline failed or was canceled.",
            )
            .next("Run a new pipeline, or try a single job again."));
        }
        for job in again {
            self.try_again(&tx, job, "person", actor).await?;
        }
        self.settle(&tx, &pipeline, actor).await?;
        tx.commit().await?;
        Box::pin(self.reopen_bridge(&pipeline, actor)).await?;
        self.pipeline(project, id).await
    }

    /// After any change of a pipeline's jobs, in the same transaction: starts what may start now, and tells
    /// how the whole stands.
    pub(crate) async fn settle(&self, tx: &Tx, pipeline: &Pipeline, actor: &Actor) -> Result<()> {
        let now = self.clock.now();
        let mut standings = job::store::standings(tx, pipeline.id).await?;
        if pipeline.settings.0.auto_cancel.on_job_failure == OnJobFailure::All
            && standings.ways.iter().any(|way| way.failed())
        {
            self.cancel_open(tx, pipeline.id, &Actor::system(), |_| true)
                .await?;
            standings = job::store::standings(tx, pipeline.id).await?;
        }
        // Only jobs that have not come to their turn may come to it now.
        if standings.ways.iter().any(|way| way.status == JobStatus::Created) {
            let states = job::store::states(tx, pipeline.id).await?;
            let changes: HashMap<_, _> = state::advance(&states).into_iter().collect();
            let mut by_status: HashMap<JobStatus, Vec<JobId>> = HashMap::new();
            for (id, status) in &changes {
                by_status.entry(*status).or_default().push(*id);
            }
            for (status, jobs) in by_status {
                job::store::set_all_waiting(tx, &jobs, status, now).await?;
            }
            let now_stands = |state: &JobState| Standing {
                status: changes.get(&state.id).copied().unwrap_or(state.status),
                ..state.standing()
            };
            standings.ways = states.iter().map(now_stands).collect();
        }
        if standings.ways.iter().any(|way| way.status == JobStatus::Pending) {
            let signals = self.signals.clone();
            tx.after_commit(move || signals.job_waits());
        }
        // A bridge to cross, or a resource group to give or take.
        if standings.engine {
            let signals = self.signals.clone();
            tx.after_commit(move || signals.engine.notify_one());
        }
        let mut status = state::summarize(&standings.ways);
        // What the group requires ran although the project's own file is faulty; that is no success.
        if !pipeline.faults.0.is_empty()
            && matches!(status, PipelineStatus::Success | PipelineStatus::Warning)
        {
            status = PipelineStatus::Failed;
        }
        let finished = status.is_final().then_some(now);
        if store::set_status(tx, pipeline.id, status, finished).await? && status.is_final() {
            let fact = PipelineFinished {
                project: pipeline.project_id,
                pipeline: pipeline.id,
                reference: pipeline.reference.clone(),
                sha: pipeline.sha.clone(),
                status: status.to_string(),
                duration_ms: milliseconds(now.since(pipeline.created_at)),
            };
            self.ledger.append(tx, actor, &fact).await?;
        }
        let (signals, change) = (self.signals.clone(), Change::Pipeline(pipeline.id));
        tx.after_commit(move || signals.changed(change));
        Ok(())
    }

    pub(crate) async fn tell_finished(
        &self,
        tx: &Tx,
        job: &Job,
        status: JobStatus,
        reason: Option<&str>,
        actor: &Actor,
    ) -> Result<()> {
        let now = self.clock.now();
        let fact = JobFinished {
            project: job.project_id,
            pipeline: job.pipeline_id,
            job: job.id,
            name: job.name.clone(),
            status: status.to_string(),
            failure_reason: reason.map(str::to_owned),
            duration_ms: job
                .started_at
                .map_or(0, |started| milliseconds(now.since(started))),
        };
        self.ledger.append(tx, actor, &fact).await?;
        let (signals, change) = (self.signals.clone(), Change::Job(job.id));
        tx.after_commit(move || signals.changed(change));
        Ok(())
    }

    /// How the newest pipeline of a branch's commit, or of its merge request, stands. What the group requires is another
    /// matter: see [`Ci::required_standing`].
    ///
    /// # Errors
    /// The store cannot be reached.
    pub async fn branch_status(
        &self,
        project: ProjectId,
        branch: &str,
        sha: &str,
    ) -> Result<Option<(PipelineId, PipelineStatus)>> {
        let newest = store::of_branch(&self.db, project, branch, sha).await?;
        Ok(newest.map(|newest| (newest.id, newest.status)))
    }

    /// How one pipeline stands.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub async fn pipeline_status(
        &self,
        project: ProjectId,
        id: PipelineId,
    ) -> Result<Option<PipelineStatus>> {
        let found = store::find(&self.db, id).await?;
        Ok(found
            .filter(|found| found.project_id == project)
            .map(|found| found.status))
    }

    /// How the newest pipeline of a commit stands.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub async fn commit_status(
        &self,
        project: ProjectId,
        sha: &str,
    ) -> Result<Option<(PipelineId, PipelineStatus)>> {
        Ok(store::of_commit(&self.db, project, sha)
            .await?
            .map(|pipeline| (pipeline.id, pipeline.status)))
    }
}

/// Whole milliseconds.
pub(crate) fn milliseconds(span: std::time::Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}
