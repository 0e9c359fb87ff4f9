//! Waking those who wait: runners for a job, pages for news. Within one process; who must also hear of other
//! replicas looks again now and then.

use bascule_core::{JobId, PipelineId};
use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::sync::{Notify, broadcast};

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
    changes: broadcast::Sender<Change>,
    generation: AtomicU64,
    watched: Mutex<HashMap<JobId, usize>>,
    /// Jobs whose log was asked for again once; twice would be without end.
    asked_again: Mutex<HashSet<JobId>>,
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
            changes: broadcast::Sender::new(1024),
            generation: AtomicU64::new(1),
            watched: Mutex::default(),
            asked_again: Mutex::default(),
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

    /// The job ended; nothing need be kept about it.
    pub fn forget(&self, job: JobId) {
        lock(&self.asked_again).remove(&job);
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
