//! Commands on jobs: ending, trying again, starting by hand, stopping.

use super::{Job, artifact, log, store};
use crate::{
    Change, Ci,
    pipeline::{self, Pipeline, state},
    status::JobStatus,
};
use bascule_core::{Actor, ActorKind, JobId, PipelineId, Problem, ProjectId, Result, RunnerId};
use bascule_ledger::facts::ci::{ArtifactRef, JobRetried};
use bascule_store::{Query, Tx};
use bascule_wire::runner::ARTIFACT_ARCHIVE;

/// Why a job failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// GitLab's word.
    pub reason: String,
    /// The script's exit code.
    pub exit_code: Option<i64>,
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Well.
    Success,
    /// Badly.
    Failed(Failure),
}

/// The platform's own failures, which are not the developer's.
const SYSTEM_FAILURE: &str = "runner_system_failure";

impl Ci {
    /// A job of a project.
    ///
    /// # Errors
    /// There is none by that number in that project.
    pub async fn job(&self, project: ProjectId, id: JobId) -> Result<Job> {
        store::in_project(&self.db, project, id)
            .await?
            .ok_or_else(|| Problem::not_found("job"))
    }

    /// Ends a running job. `false` if it was not running any more.
    pub(crate) async fn end_job(&self, id: JobId, outcome: Outcome, actor: &Actor) -> Result<bool> {
        let Some(job) = store::find(&self.db, id).await? else {
            return Ok(false);
        };
        let Some(pipeline) = pipeline::store::find(&self.db, job.pipeline_id).await? else {
            return Ok(false);
        };
        // Asked before the transaction: it may go to git.
        let (outcome, release) = match outcome {
            Outcome::Success if pipeline.tag => match self.release_of(&job, &pipeline).await? {
                Ok(release) => (Outcome::Success, release),
                Err(words) => (self.refuse_release(&job, &words).await?, None),
            },
            other => (other, None),
        };
        let effect = match &outcome {
            Outcome::Success => Box::pin(self.effect_of(&job, &pipeline)).await?,
            Outcome::Failed(_) => None,
        };
        let now = self.clock.now();
        let (status, reason, exit_code) = match &outcome {
            Outcome::Success => (JobStatus::Success, None, Some(0)),
            Outcome::Failed(failure) => (
                JobStatus::Failed,
                Some(failure.reason.as_str()),
                failure.exit_code,
            ),
        };
        let tx = self.db.begin().await?;
        pipeline::store::lock(&tx, pipeline.id).await?;
        // However a job ends that someone stopped, it is canceled.
        let stopped = store::finish(
            &tx,
            id,
            &[JobStatus::Canceling],
            JobStatus::Canceled,
            None,
            exit_code,
            now,
        )
        .await?;
        let (status, reason) = if stopped {
            (JobStatus::Canceled, None)
        } else {
            (status, reason)
        };
        if !stopped && !store::finish(&tx, id, &[JobStatus::Running], status, reason, exit_code, now).await? {
            return Ok(false);
        }
        // Also others may go on now: a place came free in its group and its resource group.
        let signals = self.signals.clone();
        tx.after_commit(move || signals.job_waits());
        self.tell_finished(&tx, &job, status, reason, actor).await?;
        if !stopped
            && let Outcome::Failed(failure) = &outcome
            && tries_again(
                &job,
                failure,
                store::lost_before(&tx, &job, SYSTEM_FAILURE).await?,
            )
        {
            self.try_again(&tx, &job, &failure.reason, &Actor::system())
                .await?;
        }
        if let Some(mut request) = release.filter(|_| !stopped) {
            request.artifacts = archives(&tx, &pipeline).await?;
            request.finished_at = now;
            self.ledger.append(&tx, actor, &request).await?;
        }
        if let Some(effect) = effect.filter(|_| !stopped) {
            self.take_effect(&tx, effect, actor).await?;
        }
        self.settle(&tx, &pipeline, actor).await?;
        tx.commit().await?;
        self.signals.forget(id);
        Ok(true)
    }

    /// A pipeline, and the archives that its jobs left, for others to keep.
    ///
    /// # Errors
    /// There is no such pipeline, or the store cannot be reached.
    pub async fn pipeline_archives(
        &self,
        project: ProjectId,
        id: PipelineId,
    ) -> Result<(Pipeline, Vec<ArtifactRef>)> {
        let pipeline = self.pipeline(project, id).await?;
        let left = archives(&self.db, &pipeline).await?;
        Ok((pipeline, left))
    }

    /// Puts a new job in the place of one that ended, and gives those behind it that were skipped another
    /// chance. The caller settles the pipeline, which starts it when what stands before it allows that.
    pub(crate) async fn try_again(&self, tx: &Tx, job: &Job, reason: &str, actor: &Actor) -> Result<JobId> {
        if !store::mark_retried(tx, job.id).await? {
            return Err(
                Problem::conflict("already_retried", "This job was already tried again.")
                    .next("Look at the newest try of it in the pipeline."),
            );
        }
        let now = self.clock.now();
        let id = JobId(tx.next_number("job").await?);
        let next = Job {
            id,
            status: JobStatus::Created,
            runner_id: None,
            downstream_id: None,
            run_at: None,
            failure_reason: None,
            exit_code: None,
            retried: false,
            attempt: job.attempt + 1,
            created_at: now,
            queued_at: None,
            started_at: None,
            finished_at: None,
            heard_at: None,
            trace_bytes: 0,
            trace_crc: 0,
            ..job.clone()
        };
        store::insert(tx, &next).await?;
        let states = store::states(tx, job.pipeline_id).await?;
        let status = state::again(&states, id, job.started_at.is_some());
        if status != JobStatus::Created {
            store::set_waiting(tx, id, status, now).await?;
        }
        self.revive_in(tx, &states, &next).await?;
        let fact = JobRetried {
            project: job.project_id,
            pipeline: job.pipeline_id,
            job: job.id,
            by: id,
            name: job.name.clone(),
            reason: reason.to_owned(),
        };
        self.ledger.append(tx, actor, &fact).await?;
        Ok(id)
    }

    pub(crate) async fn revive(&self, tx: &Tx, job: &Job) -> Result<()> {
        let states = store::states(tx, job.pipeline_id).await?;
        self.revive_in(tx, &states, job).await
    }

    async fn revive_in(&self, tx: &Tx, states: &[state::JobState], job: &Job) -> Result<()> {
        for skipped in state::revived(states, &job.name) {
            store::set_waiting(tx, skipped, JobStatus::Created, self.clock.now()).await?;
        }
        Ok(())
    }

    /// Tries an ended job again.
    ///
    /// # Errors
    /// It did not end, or was tried again already.
    pub async fn retry_job(&self, project: ProjectId, id: JobId, actor: &Actor) -> Result<Job> {
        let (job, pipeline) = self.job_and_pipeline(project, id).await?;
        if !matches!(
            job.status,
            JobStatus::Success | JobStatus::Failed | JobStatus::Canceled
        ) {
            return Err(Problem::conflict(
                "not_ended",
                format!("The job is {}; only ended jobs can be tried again.", job.status),
            )
            .next(match job.status {
                JobStatus::Skipped => "It has not run: try again what it waited for, or the whole pipeline.",
                JobStatus::Manual | JobStatus::Scheduled => "It has not run yet: start it.",
                _ => "Wait for its end, or cancel it first.",
            }));
        }
        let tx = self.db.begin().await?;
        pipeline::store::lock(&tx, pipeline.id).await?;
        let by = self.try_again(&tx, &job, "person", actor).await?;
        self.settle(&tx, &pipeline, actor).await?;
        tx.commit().await?;
        Box::pin(self.reopen_bridge(&pipeline, actor)).await?;
        self.job(project, by).await
    }

    /// Starts a job that waits for a person.
    ///
    /// # Errors
    /// It does not wait for a person.
    pub async fn play_job(&self, project: ProjectId, id: JobId, actor: &Actor) -> Result<Job> {
        let (_, pipeline) = self.job_and_pipeline(project, id).await?;
        let tx = self.db.begin().await?;
        pipeline::store::lock(&tx, pipeline.id).await?;
        let job = store::find(&tx, id)
            .await?
            .ok_or_else(|| Problem::not_found("job"))?;
        if !matches!(job.status, JobStatus::Manual | JobStatus::Scheduled) {
            return Err(Problem::conflict(
                "not_manual",
                format!(
                    "The job is {}; it does not wait for a person or for its time.",
                    job.status
                ),
            )
            .next("Only jobs with `when: manual` or `when: delayed` are started by hand."));
        }
        store::set_waiting(&tx, id, job.ready(), self.clock.now()).await?;
        self.revive(&tx, &job).await?;
        self.settle(&tx, &pipeline, actor).await?;
        tx.commit().await?;
        self.job(project, id).await
    }

    /// Takes a delayed job off its time; it then waits for a person.
    ///
    /// # Errors
    /// It does not wait for its time.
    pub async fn unschedule_job(&self, project: ProjectId, id: JobId, actor: &Actor) -> Result<Job> {
        let (_, pipeline) = self.job_and_pipeline(project, id).await?;
        let tx = self.db.begin().await?;
        pipeline::store::lock(&tx, pipeline.id).await?;
        let job = store::find(&tx, id)
            .await?
            .ok_or_else(|| Problem::not_found("job"))?;
        if job.status != JobStatus::Scheduled {
            return Err(Problem::conflict(
                "not_scheduled",
                format!("The job is {}; it does not wait for its time.", job.status),
            )
            .next("Only jobs with `when: delayed` that have not begun are taken off their time."));
        }
        store::set_waiting(&tx, id, JobStatus::Manual, self.clock.now()).await?;
        self.settle(&tx, &pipeline, actor).await?;
        tx.commit().await?;
        self.job(project, id).await
    }

    /// Stops a job that has not ended; its runner learns of it with its next word to us. If the runner can, it lets
    /// `after_script` run first, and the job is `canceling` until then; stopped once more, it ends at once.
    ///
    /// # Errors
    /// It ended already.
    pub async fn cancel_job(&self, project: ProjectId, id: JobId, actor: &Actor) -> Result<Job> {
        let (job, pipeline) = self.job_and_pipeline(project, id).await?;
        let tx = self.db.begin().await?;
        pipeline::store::lock(&tx, pipeline.id).await?;
        if !self.stop_job(&tx, &job, actor).await? {
            return Err(Problem::conflict("ended", "The job ended already.").next("Look at its log."));
        }
        self.settle(&tx, &pipeline, actor).await?;
        tx.commit().await?;
        self.job(project, id).await
    }

    /// Stops a job in the transaction of whoever stops it, who settles the pipeline; `false` if it ended already.
    pub(crate) async fn stop_job(&self, tx: &Tx, job: &Job, actor: &Actor) -> Result<bool> {
        let (signals, change) = (self.signals.clone(), Change::Job(job.id));
        tx.after_commit(move || {
            signals.changed(change);
            signals.job_waits();
        });
        if store::set_canceling(tx, job.id).await? {
            return Ok(true);
        }
        let open = store::OPEN;
        let now = self.clock.now();
        if !store::finish(tx, job.id, open, JobStatus::Canceled, None, None, now).await? {
            return Ok(false);
        }
        self.tell_finished(tx, job, JobStatus::Canceled, None, actor)
            .await?;
        Ok(true)
    }

    /// Fails a running job as the platform's own fault and says so in its log; it is tried again once.
    pub(crate) async fn fail_by_platform(&self, job: &Job, reason: &str, words: &str) -> Result<()> {
        let line = format!("\n\u{1b}[31;1mBascule: {words}\u{1b}[0m\n");
        log::append_line(&self.db, job.id, line.as_bytes()).await?;
        let failure = Failure {
            reason: reason.to_owned(),
            exit_code: None,
        };
        self.end_job(job.id, Outcome::Failed(failure), &Actor::system())
            .await?;
        Ok(())
    }

    /// Fails all jobs that a runner has, because it is known not to have them any more. Each is tried again
    /// once.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub async fn fail_jobs_of_runner(&self, runner: RunnerId, why: &str) -> Result<usize> {
        let jobs = store::running_on(&self.db, runner).await?;
        for job in &jobs {
            if job.status == JobStatus::Pending {
                // It was only offered, and nothing of it ran.
                self.take_back_now(job.id).await?;
            } else {
                self.fail_by_platform(job, SYSTEM_FAILURE, why).await?;
            }
        }
        Ok(jobs.len())
    }

    /// Fails what its runner lost and what took too long. Called by a timer.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub async fn sweep(&self) -> Result<()> {
        self.take_back_offers().await?;
        let now = self.clock.now();
        self.give_up_pending(now).await?;
        let silent = self.hearing.silent_since(now, self.options.lost_after);
        let overdue = store::overdue(&self.db, silent, now).await?;
        self.hearing.heard(now, self.options.lost_after);
        for job in overdue {
            let too_long = job.started_at.is_some_and(|at| {
                now.since(at).as_secs() > u64::try_from(job.timeout).unwrap_or_default() + 60
            });
            if too_long {
                let words = format!("the job took longer than {} seconds and was ended", job.timeout);
                self.fail_by_platform(&job, "job_execution_timeout", &words)
                    .await?;
            } else {
                let seconds = self.options.lost_after.as_secs();
                let words = format!("the runner was not heard of for {seconds} seconds; the job is given up");
                self.fail_by_platform(&job, SYSTEM_FAILURE, &words).await?;
            }
        }
        Ok(())
    }

    async fn job_and_pipeline(&self, project: ProjectId, id: JobId) -> Result<(Job, Pipeline)> {
        let job = self.job(project, id).await?;
        let pipeline = self.pipeline(project, job.pipeline_id).await?;
        Ok((job, pipeline))
    }
}

/// Whether a failed job is tried again without being asked: the platform's failures once, others as the file
/// says.
pub(super) fn tries_again(job: &Job, failure: &Failure, lost_before: i64) -> bool {
    if failure.reason == SYSTEM_FAILURE && lost_before == 0 {
        return true;
    }
    let retry = &job.spec.0.retry;
    // What the platform lost is not taken from the tries that the file asks for.
    job.attempt - lost_before <= i64::from(retry.max) && retry.covers(&failure.reason, failure.exit_code)
}

/// The archives that the pipeline's jobs left.
async fn archives(on: &impl Query, pipeline: &Pipeline) -> Result<Vec<ArtifactRef>> {
    let jobs = store::of_pipeline(on, pipeline.id).await?;
    let artifacts = artifact::of_pipeline(on, pipeline.id).await?;
    Ok(artifacts
        .into_iter()
        .filter(|artifact| artifact.kind == ARTIFACT_ARCHIVE)
        .filter_map(|artifact| {
            let job = jobs
                .iter()
                .find(|job| job.id == artifact.job_id && !job.retried)?;
            Some(ArtifactRef {
                job: job.id,
                job_name: job.name.clone(),
                file_name: artifact.file_name,
                digest: artifact.digest,
                size: artifact.size,
            })
        })
        .collect())
}

/// A runner as the ledger names it.
pub(crate) fn runner_actor(id: RunnerId, name: &str) -> Actor {
    Actor::new(ActorKind::Runner, id, name)
}
