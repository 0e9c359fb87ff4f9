//! Handing out jobs: longest waiting first, each to one runner, at once when one becomes free to run.

use super::{Runner, store};
use crate::{
    Change, Ci,
    job::{self, Failure, Job, Outcome},
    pipeline::{self, milliseconds},
    token,
};
use bascule_core::{Actor, ActorKind, JobId, Result, Timestamp};
use bascule_ledger::facts::ci::JobStarted;
use bascule_wire::runner as wire;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Jobs looked at in one go.
const PAGE: i64 = 50;
/// How often to look for jobs that another replica made ready.
const LOOK_EVERY: Duration = Duration::from_secs(1);

impl Ci {
    /// Waits up to `wait` for a job that the runner may take.
    pub(crate) async fn request_job(&self, runner: &Runner, wait: Duration) -> Result<Option<wire::Job>> {
        let deadline = Instant::now() + wait;
        loop {
            // Listening begins before looking, so that nothing slips between.
            let mut woken = std::pin::pin!(self.signals.queue.notified());
            woken.as_mut().enable();
            let Some(runner) = store::find(&self.db, runner.id).await? else {
                return Ok(None);
            };
            if !runner.paused
                && let Some(job) = self.take_job(&runner).await?
            {
                return Ok(Some(job));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            tokio::select! {
                () = &mut woken => {}
                () = sleep(left.min(LOOK_EVERY)) => {}
                () = self.options.stop.cancelled() => return Ok(None),
            }
        }
    }

    /// Takes the longest waiting job that the runner may have.
    async fn take_job(&self, runner: &Runner) -> Result<Option<wire::Job>> {
        let mut after = (Timestamp::from_micros(i64::MIN), JobId(0));
        loop {
            let page = job::store::pending(&self.db, after, PAGE).await?;
            for candidate in &page {
                if !runner.matches(&candidate.tags.0) {
                    continue;
                }
                if let Some((job, token)) = self.take(candidate, runner).await? {
                    match self.payload(&job, runner, &token).await {
                        Ok(payload) => return Ok(Some(payload)),
                        Err(problem) => {
                            tracing::warn!(job = %job.id, %problem, "a job cannot be handed out");
                            let failure = Failure {
                                reason: "data_integrity_failure".to_owned(),
                                exit_code: None,
                            };
                            self.end_job(job.id, Outcome::Failed(failure), &Actor::system())
                                .await?;
                        }
                    }
                }
            }
            match page.last() {
                Some(last) if page.len() == usize::try_from(PAGE).unwrap_or(0) => {
                    after = (last.queued_at.unwrap_or_default(), last.id);
                }
                _ => return Ok(None),
            }
        }
    }

    /// Gives the job to the runner, if nobody else was quicker.
    async fn take(&self, job: &Job, runner: &Runner) -> Result<Option<(Job, String)>> {
        let now = self.clock.now();
        let token = token::new(token::JOB);
        let timeout = runner
            .maximum_timeout
            .map_or(job.timeout, |most| job.timeout.min(most));
        let Some(pipeline) = pipeline::store::find(&self.db, job.pipeline_id).await? else {
            return Ok(None);
        };
        let tx = self.db.begin().await?;
        pipeline::store::lock(&tx, pipeline.id).await?;
        if !job::store::take(&tx, job, runner.id, &token::hash(&token), timeout, now).await? {
            return Ok(None);
        }
        pipeline::store::set_started(&tx, pipeline.id, now).await?;
        let fact = JobStarted {
            project: job.project_id,
            pipeline: job.pipeline_id,
            job: job.id,
            name: job.name.clone(),
            runner: runner.id,
            queued_ms: job.queued_at.map_or(0, |at| milliseconds(now.since(at))),
        };
        let actor = Actor::new(ActorKind::Runner, runner.id, runner.description.clone());
        self.ledger.append(&tx, &actor, &fact).await?;
        self.settle(&tx, &pipeline, &actor).await?;
        let (signals, change) = (self.signals.clone(), Change::Job(job.id));
        tx.after_commit(move || signals.changed(change));
        tx.commit().await?;
        let taken = Job {
            runner_id: Some(runner.id),
            started_at: Some(now),
            timeout,
            ..job.clone()
        };
        Ok(Some((taken, token)))
    }
}
