//! Waking those who wait: runners for a job, pages for news. Within one process; what other replicas do is looked for
//! by [`crate::Ci::run`], once for all who wait here.

use crate::runner::Capability;
use bascule_core::{JobId, PipelineId, Problem, ProjectId, Result, limits};
use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, broadcast};

/// Something that a page may show has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A job or its log.
    Job(JobId),
    /// A pipeline.
    Pipeline(PipelineId),
}

/// Who waits for what. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Signals(Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    /// Runners that wait for a job.
    pub queue: Notify,
    /// The engine, which makes pipelines for bridges and gives resource groups away.
    pub engine: Notify,
    changes: broadcast::Sender<Change>,
    generation: AtomicU64,
    watched: Mutex<HashMap<JobId, usize>>,
    /// Jobs whose log was asked for again once; twice would be without end.
    asked_again: Mutex<HashSet<JobId>>,
    /// How often jobs could not be handed out.
    unhanded: Mutex<HashMap<JobId, u32>>,
    /// Who looks through the queue; within one process one does at a time, so that each sees what the one before took.
    pub turn: tokio::sync::Mutex<()>,
    /// Where the next look at the queue begins, where one look does not see all of it.
    cursor: Mutex<String>,
    /// For what kinds of runners there was nothing, at which generation, and when that was found.
    nothing: Mutex<HashMap<Capability, (u64, Instant)>>,
    /// Runners that wait for a job.
    waiters: AtomicUsize,
    /// Jobs of which a piece of log is being read.
    writing: Mutex<HashSet<JobId>>,
    /// Memory for pieces of logs, in KiB.
    log_memory: Arc<Semaphore>,
    /// What one project may have of it.
    log_shares: Mutex<HashMap<ProjectId, Arc<Semaphore>>>,
    /// Tells this process's generations from those of other replicas.
    boot: String,
}

/// How long it is believed that there is nothing for a kind of runner, if nobody says otherwise.
const BELIEVED: Duration = Duration::from_secs(4);
/// Most kinds of runners remembered.
const KINDS: usize = 1024;
/// How often it is tried to hand out a job, while it fails for no fault of the job's.
const HANDED_OUT: u32 = 3;
/// Most memory that the logs of one project take at once, in bytes.
const SHARE: usize = limits::TRACE_MEMORY / 4;
/// Projects whose shares are kept although nobody uses them.
const SHARES: usize = 1024;

/// Memory for a piece of log, until it is dropped.
#[derive(Debug)]
pub(crate) struct LogMemory(
    #[expect(dead_code, reason = "held, not read")] OwnedSemaphorePermit,
    #[expect(dead_code, reason = "held, not read")] OwnedSemaphorePermit,
);

fn kib(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1024).min(SHARE / 1024)).unwrap_or(u32::MAX)
}

impl std::ops::Deref for Signals {
    type Target = Inner;
    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl Default for Signals {
    fn default() -> Self {
        Self(Arc::new(Inner {
            queue: Notify::new(),
            engine: Notify::new(),
            changes: broadcast::Sender::new(1024),
            generation: AtomicU64::new(1),
            watched: Mutex::default(),
            asked_again: Mutex::default(),
            unhanded: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            cursor: Mutex::default(),
            nothing: Mutex::default(),
            waiters: AtomicUsize::new(0),
            writing: Mutex::default(),
            log_memory: Arc::new(Semaphore::new(limits::TRACE_MEMORY / 1024)),
            log_shares: Mutex::default(),
            boot: bascule_core::FactId::new().to_string(),
        }))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Signals {
    /// A job became ready for a runner.
    pub fn job_waits(&self) {
        self.generation.fetch_add(1, Ordering::Relaxed);
        self.queue.notify_waiters();
    }

    /// Changes whenever a job became ready.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    /// The generation, as runners are told it and say it again.
    pub fn ticket(&self, generation: u64) -> String {
        format!("{}-{generation}", self.boot)
    }

    /// Whether it is known that nothing waits for this kind of runner.
    pub fn has_nothing(&self, kind: &Capability, generation: u64) -> bool {
        lock(&self.nothing)
            .get(kind)
            .is_some_and(|(at, when)| *at == generation && when.elapsed() < BELIEVED)
    }

    /// Nothing waited for this kind of runner, as of a generation.
    pub fn found_nothing(&self, kind: Capability, generation: u64) {
        let mut nothing = lock(&self.nothing);
        if nothing.len() >= KINDS {
            nothing.clear();
        }
        nothing.insert(kind, (generation, Instant::now()));
    }

    /// A piece of the job's log is read, until the result is dropped; `None` while another is.
    pub fn writes(&self, job: JobId) -> Option<Writing> {
        lock(&self.writing).insert(job).then(|| Writing {
            signals: self.clone(),
            job,
        })
    }

    /// Memory for so many bytes of a project's log, if there is some at once.
    pub fn memory_at_once(&self, project: ProjectId, bytes: usize) -> Option<LogMemory> {
        let amount = kib(bytes);
        let share = self.share(project).try_acquire_many_owned(amount).ok()?;
        let all = self.log_memory.clone().try_acquire_many_owned(amount).ok()?;
        Some(LogMemory(share, all))
    }

    /// Waits until there is memory for so many bytes of a project's log: first in the project's own share, so that the
    /// logs of one project hold up no other's.
    pub async fn memory_for_log(&self, project: ProjectId, bytes: usize) -> Result<LogMemory> {
        let closed = |_| Problem::internal();
        let amount = kib(bytes);
        let share = self
            .share(project)
            .acquire_many_owned(amount)
            .await
            .map_err(closed)?;
        let all = self.log_memory.clone().acquire_many_owned(amount).await;
        Ok(LogMemory(share, all.map_err(closed)?))
    }

    fn share(&self, project: ProjectId) -> Arc<Semaphore> {
        let mut shares = lock(&self.log_shares);
        if shares.len() >= SHARES {
            shares.retain(|_, share| Arc::strong_count(share) > 1);
        }
        shares
            .entry(project)
            .or_insert_with(|| Arc::new(Semaphore::new(SHARE / 1024)))
            .clone()
    }

    /// Where the next look at the queue begins.
    pub fn cursor(&self) -> String {
        lock(&self.cursor).clone()
    }

    /// Sets it.
    pub fn set_cursor(&self, at: String) {
        *lock(&self.cursor) = at;
    }

    /// A runner waits for a job, until the result is dropped.
    pub fn waits(&self) -> Waiter {
        self.waiters.fetch_add(1, Ordering::Relaxed);
        Waiter(self.clone())
    }

    /// Whether any runner waits here.
    pub fn anyone_waits(&self) -> bool {
        self.waiters.load(Ordering::Relaxed) > 0
    }

    /// Something changed.
    pub fn changed(&self, change: Change) {
        // Nobody listening is no error.
        drop(self.changes.send(change));
    }

    /// Hears of changes from now on.
    pub fn listen(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    /// Whether someone watches the job's log.
    pub fn is_watched(&self, job: JobId) -> bool {
        lock(&self.watched).contains_key(&job)
    }

    /// Someone watches the job's log, until the result is dropped.
    pub fn watch(&self, job: JobId) -> Watching {
        *lock(&self.watched).entry(job).or_default() += 1;
        Watching {
            signals: self.clone(),
            job,
        }
    }

    /// Whether the job's log may be asked for again; true once.
    pub fn may_ask_again(&self, job: JobId) -> bool {
        lock(&self.asked_again).insert(job)
    }

    /// Whether a job that could not be handed out may go back into the queue once more.
    pub fn may_hand_out_again(&self, job: JobId) -> bool {
        let mut unhanded = lock(&self.unhanded);
        if unhanded.len() >= KINDS {
            unhanded.clear();
        }
        let times = unhanded.entry(job).or_default();
        *times += 1;
        *times < HANDED_OUT
    }

    /// The job ended; nothing need be kept about it.
    pub fn forget(&self, job: JobId) {
        lock(&self.unhanded).remove(&job);
        lock(&self.asked_again).remove(&job);
    }
}

/// A runner waits for a job.
#[derive(Debug)]
pub(crate) struct Waiter(Signals);

impl Drop for Waiter {
    fn drop(&mut self) {
        self.0.waiters.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A piece of a job's log is read.
#[derive(Debug)]
pub(crate) struct Writing {
    signals: Signals,
    job: JobId,
}

impl Drop for Writing {
    fn drop(&mut self) {
        lock(&self.signals.writing).remove(&self.job);
    }
}

/// Someone watches a job's log.
#[derive(Debug)]
pub(crate) struct Watching {
    signals: Signals,
    job: JobId,
}

impl Drop for Watching {
    fn drop(&mut self) {
        let mut watched = lock(&self.signals.watched);
        if let Some(count) = watched.get_mut(&self.job) {
            *count -= 1;
            if *count == 0 {
                watched.remove(&self.job);
            }
        }
    }
}
