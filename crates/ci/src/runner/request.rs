//! Handing out jobs: each to one runner, at once when one becomes free to run. Who comes first, [`super::fair`] says.

use super::{
    Reach, Runner,
    fair::{self, Waiting},
    queue, store,
};
use crate::{
    Change, Ci,
    job::{self, Failure, Job, Outcome, runner_actor},
    pipeline::{self, milliseconds},
    status::PipelineStatus,
    token,
};
use bascule_core::{Actor, JobId, Problem, Result};
use bascule_ledger::facts::ci::JobStarted;
use bascule_store::{Backend, Query as _, Tx};
use bascule_wire::runner as wire;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How often a waiting runner looks even if nobody woke it.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How often to look for what another replica made ready, while runners wait here.
const REPLICAS: Duration = Duration::from_millis(200);
/// How often the queue is looked through again because others were quicker.
const TRIES: usize = 5;
/// Most pages of the queue seen in one look; the next goes on from there.
const PAGES: usize = 40;

/// What sets a runner apart for the queue: two runners of one capability may have the same jobs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Capability {
    tags: Vec<String>,
    run_untagged: bool,
    protected: bool,
    reach: Reach,
}

impl Capability {
    fn of(runner: &Runner, reach: &Reach) -> Self {
        let mut tags = runner.tags.0.clone();
        tags.sort();
        Self {
            tags,
            run_untagged: runner.run_untagged,
            protected: runner.protected,
            reach: reach.clone(),
        }
    }
}

/// What the runner program can do that changes how it is given a job.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Can {
    /// A job is only offered at first, and is the runner's when it says that it runs.
    pub two_phase: bool,
    /// A job that is stopped may still run its `after_script`.
    pub graceful: bool,
}

impl Can {
    pub fn of(info: &wire::RunnerInfo) -> Self {
        Self {
            two_phase: info.has("two_phase_job_commit"),
            graceful: info.has("cancel_gracefully"),
        }
    }
}

/// What became of an attempt to give a job to a runner.
enum Attempt {
    Given(Box<Job>, String),
    /// Someone else was quicker, or something stands in the way by now.
    Gone,
}

impl Ci {
    /// Waits up to `wait` for a job that the runner may take. `known` is the ticket of an earlier answer: if nothing
    /// happened since, the queue need not be looked through before waiting.
    pub(crate) async fn request_job(
        &self,
        runner: &Runner,
        can: Can,
        known: &str,
        wait: Duration,
    ) -> Result<Option<wire::Job>> {
        let deadline = Instant::now() + wait;
        let _waits = self.signals.waits();
        let mut look = known != self.signals.ticket(self.signals.generation());
        loop {
            // Listening begins before looking, so that nothing slips between.
            let mut woken = std::pin::pin!(self.signals.queue.notified());
            woken.as_mut().enable();
            if look {
                let Some(runner) = store::find(&self.db, runner.id).await? else {
                    return Ok(None);
                };
                if !runner.paused
                    && let Some(job) = self.take_job(&runner, can).await?
                {
                    return Ok(Some(job));
                }
            }
            look = true;
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

    /// Takes the job that is the runner's turn.
    async fn take_job(&self, runner: &Runner, can: Can) -> Result<Option<wire::Job>> {
        let reach = store::reach(&self.db, runner).await?;
        let capability = Capability::of(runner, &reach);
        loop {
            let given = {
                let _turn = self.signals.turn.lock().await;
                let generation = self.signals.generation();
                if self.signals.has_nothing(&capability, generation) {
                    return Ok(None);
                }
                let given = self.pick(runner, &reach, can).await?;
                if given.is_none() {
                    self.signals.found_nothing(capability.clone(), generation);
                }
                given
            };
            let Some((job, token)) = given else {
                return Ok(None);
            };
            match self.payload(&job, runner, &token).await {
                Ok(payload) => return Ok(Some(payload)),
                Err(problem) => {
                    tracing::warn!(job = %job.id, %problem, "a job cannot be handed out");
                    // What fails for no fault of the job's is tried again, but not without end.
                    if problem.status != 422 && self.signals.may_hand_out_again(job.id) {
                        self.put_back(job.id).await?;
                        return Err(problem);
                    }
                    self.fail_unhanded(&job, &problem, can).await?;
                }
            }
        }
    }

    /// Fails a job that cannot be handed out, and says why in its log.
    async fn fail_unhanded(&self, job: &Job, problem: &Problem, can: Can) -> Result<()> {
        if can.two_phase {
            self.accept_job(job).await?;
        }
        // What the author can put right is told in the log; anything else is ours.
        let reason = match (problem.status, problem.code.as_str()) {
            (422, job::MISSING_DEPENDENCY) => "missing_dependency_failure",
            (422, _) => "configuration_error",
            _ => "data_integrity_failure",
        };
        if problem.status == 422 {
            let text = format!("\n\u{1b}[31;1m{problem}\u{1b}[0m\n");
            job::log::append_line(&self.db, job.id, text.as_bytes()).await?;
        }
        let failure = Failure {
            reason: reason.to_owned(),
            exit_code: None,
        };
        self.end_job(job.id, Outcome::Failed(failure), &Actor::system())
            .await?;
        Ok(())
    }

    /// Puts a job back into the queue of which its runner knows nothing.
    async fn put_back(&self, id: JobId) -> Result<()> {
        let tx = self.db.begin().await?;
        job::store::put_back(&tx, id).await?;
        let signals = self.signals.clone();
        tx.after_commit(move || signals.job_waits());
        Ok(tx.commit().await?)
    }

    /// Looks for a job through the whole queue, a page of its kinds at a time, from where the last look found one.
    async fn pick(&self, runner: &Runner, reach: &Reach, can: Can) -> Result<Option<(Job, String)>> {
        let begin = self.signals.cursor();
        let mut from = begin.clone();
        let mut around = false;
        let mut tries = 0;
        for _ in 0..PAGES {
            let (waiting, next) = self.waiting_kinds(&from).await?;
            let held = self.held(&self.db).await?;
            let order = fair::order(&waiting, &held, runner, reach);
            for candidate in &order {
                if let Attempt::Given(job, token) = self.take(candidate, runner, can).await? {
                    self.signals.set_cursor(next.unwrap_or_default());
                    return Ok(Some((*job, token)));
                }
            }
            // Other replicas were quicker with each of them; there may be others of the same kinds.
            if !order.is_empty() && tries < TRIES {
                tries += 1;
                continue;
            }
            from = match next {
                Some(next) if !around || next < begin => next,
                None if !around && !begin.is_empty() => {
                    around = true;
                    String::new()
                }
                _ => return Ok(None),
            };
        }
        self.signals.set_cursor(from);
        Ok(None)
    }

    /// Gives the job to the runner, if nobody else was quicker and nothing stands in the way.
    async fn take(&self, candidate: &Waiting, runner: &Runner, can: Can) -> Result<Attempt> {
        let now = self.clock.now();
        let Some(job) = job::store::find(&self.db, candidate.job).await? else {
            return Ok(Attempt::Gone);
        };
        let Some(pipeline) = pipeline::store::find(&self.db, job.pipeline_id).await? else {
            return Ok(Attempt::Gone);
        };
        let token = token::new(token::JOB);
        let offer = job::store::Offer {
            runner: runner.id,
            token_hash: token::hash_of_job(&token),
            timeout: timeout(&job, runner),
            graceful: can.graceful,
            two_phase: can.two_phase,
            now,
        };
        let tx = self.db.begin().await?;
        pipeline::store::lock(&tx, pipeline.id).await?;
        if !self.nothing_in_the_way(&tx, candidate).await? || !job::store::take(&tx, job.id, &offer).await? {
            return Ok(Attempt::Gone);
        }
        if !can.two_phase {
            self.note_started(&tx, &job, &pipeline, runner).await?;
        }
        let (signals, change) = (self.signals.clone(), Change::Job(job.id));
        tx.after_commit(move || signals.changed(change));
        tx.commit().await?;
        let taken = Job {
            runner_id: Some(runner.id),
            started_at: Some(now),
            timeout: offer.timeout,
            ..job
        };
        Ok(Attempt::Given(Box::new(taken), token))
    }

    /// Looks again, inside the transaction, at what replicas could otherwise each find free at the same moment.
    async fn nothing_in_the_way(&self, tx: &Tx, candidate: &Waiting) -> Result<bool> {
        // SQLite has one writer, and within this process one looks at a time.
        if tx.engine() == Backend::Sqlite {
            return Ok(true);
        }
        if let Some(name) = &candidate.demand.resource_group {
            queue::store::lock_resource(tx, candidate.demand.project, name).await?;
        }
        if queue::store::limit(tx, &candidate.group).await?.is_none() {
            return Ok(true);
        }
        queue::store::lock_limit(tx, &candidate.group).await?;
        Ok(self.held(tx).await?.reached(&candidate.group).is_none())
    }

    /// A job became a runner's, in the same transaction.
    async fn note_started(
        &self,
        tx: &Tx,
        job: &Job,
        pipeline: &pipeline::Pipeline,
        runner: &Runner,
    ) -> Result<()> {
        let now = self.clock.now();
        pipeline::store::set_started(tx, pipeline.id, now).await?;
        let fact = JobStarted {
            project: job.project_id,
            pipeline: job.pipeline_id,
            job: job.id,
            name: job.name.clone(),
            runner: runner.id,
            queued_ms: job.queued_at.map_or(0, |at| milliseconds(now.since(at))),
        };
        let actor = runner_actor(runner.id, &runner.description);
        self.ledger.append(tx, &actor, &fact).await?;
        // That a job began changes no other job, and the pipeline only if it did not run yet.
        let stands = pipeline::store::find(tx, pipeline.id).await?.map(|p| p.status);
        if stands != Some(PipelineStatus::Running) {
            self.settle(tx, pipeline, &actor).await?;
        }
        Ok(())
    }

    /// A runner to which a job was offered says that it runs it.
    ///
    /// # Errors
    /// The offer went back to the queue meanwhile, or the job was stopped.
    pub(crate) async fn accept_job(&self, job: &Job) -> Result<()> {
        let gone = || {
            Problem::conflict("offer_ended", "The job is not offered to this runner any more.")
                .why("An offer that is not taken goes back to the queue.")
                .next("Ask for another job.")
        };
        let runner = match job.runner_id {
            Some(id) => store::find(&self.db, id).await?,
            None => None,
        };
        let (Some(runner), Some(pipeline)) =
            (runner, pipeline::store::find(&self.db, job.pipeline_id).await?)
        else {
            return Err(gone());
        };
        let now = self.clock.now();
        let tx = self.db.begin().await?;
        pipeline::store::lock(&tx, pipeline.id).await?;
        if !job::store::accept(&tx, job.id, runner.id, timeout(job, &runner), now).await? {
            return Err(gone());
        }
        self.note_started(&tx, job, &pipeline, &runner).await?;
        let (signals, change) = (self.signals.clone(), Change::Job(job.id));
        tx.after_commit(move || signals.changed(change));
        Ok(tx.commit().await?)
    }

    /// Puts offers that nobody took back into the queue. Called by a timer.
    pub(crate) async fn take_back_offers(&self) -> Result<()> {
        let silent = self.clock.now().minus(self.options.lost_after);
        for id in job::store::unanswered(&self.db, silent).await? {
            self.take_back(id, silent).await?;
        }
        Ok(())
    }

    /// Puts an offered job back into the queue, whatever its runner says later.
    pub(crate) async fn take_back_now(&self, id: JobId) -> Result<()> {
        self.take_back(id, bascule_core::Timestamp::from_micros(i64::MAX))
            .await
    }

    async fn take_back(&self, id: JobId, silent: bascule_core::Timestamp) -> Result<()> {
        let tx = self.db.begin().await?;
        if job::store::take_back(&tx, id, silent).await? {
            job::log::clear_in(&tx, id, self.clock.now()).await?;
            let signals = self.signals.clone();
            tx.after_commit(move || signals.job_waits());
            tracing::info!(job = %id, "a job that was offered and not taken is in the queue again");
        }
        Ok(tx.commit().await?)
    }

    /// While runners wait here, looks for what other replicas made ready, once for all of them.
    pub(crate) async fn watch_replicas(&self) {
        if self.db.engine() == Backend::Sqlite {
            return;
        }
        let mut known = (0, 0);
        loop {
            tokio::select! {
                () = self.options.stop.cancelled() => return,
                () = sleep(REPLICAS) => {}
            }
            if !self.signals.anyone_waits() {
                continue;
            }
            match queue::store::pulse(&self.db).await {
                Ok(pulse) if pulse != known => {
                    known = pulse;
                    self.signals.job_waits();
                }
                Ok(_) => {}
                Err(problem) => tracing::debug!(%problem, "the queue could not be looked at"),
            }
        }
    }
}

/// Seconds that the job may take on this runner.
fn timeout(job: &Job, runner: &Runner) -> i64 {
    runner
        .maximum_timeout
        .map_or(job.timeout, |most| job.timeout.min(most))
}
