//! Counting what every instance answers, without a lock on the way of a request.
//!
//! A request counts in the second in which it ends, with all its figures at once, so that a slice is
//! consistent: `errors` and `slow` never exceed `requests`, and the histogram's sum equals it. It is an
//! **error** if the instance answered with 5xx, did not answer, or broke off in the middle of the body. It is
//! **slow** by the time to the response's head, because how fast a client takes the body is not the
//! instance's doing; the histogram holds the time to the body's last byte. An upgraded connection counts when
//! it is upgraded and stays in flight until it closes.

use crate::table::Backend;
use bascule_core::{DeploymentId, EnvironmentId, InstanceId, ProjectId, Timestamp};
use bascule_wire::edge::{LATENCY_BUCKETS, Slice, latency_bucket};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Whose counts they are.
#[derive(Clone, Debug)]
pub(crate) struct Owner {
    pub(crate) environment: EnvironmentId,
    pub(crate) project: ProjectId,
    pub(crate) deployment: DeploymentId,
    pub(crate) instance: InstanceId,
    pub(crate) version: String,
}

/// One worker's part of the counts, on cache lines of its own.
#[derive(Debug)]
#[repr(align(128))]
struct Shard {
    requests: AtomicU64,
    errors: AtomicU64,
    slow: AtomicU64,
    in_flight: AtomicI64,
    latency: [AtomicU32; LATENCY_BUCKETS],
}

impl Shard {
    fn new() -> Self {
        Self {
            requests: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            slow: AtomicU64::new(0),
            in_flight: AtomicI64::new(0),
            latency: [const { AtomicU32::new(0) }; LATENCY_BUCKETS],
        }
    }
}

/// The counts of one instance since they were last collected.
#[derive(Debug)]
pub(crate) struct Counts {
    owner: Owner,
    shards: Box<[Shard]>,
}

impl Counts {
    fn new(owner: Owner, workers: usize) -> Self {
        Self {
            owner,
            shards: (0..workers.max(1)).map(|_| Shard::new()).collect(),
        }
    }

    fn shard(&self, worker: usize) -> Option<&Shard> {
        self.shards.get(worker)
    }

    /// Takes what was counted, leaving zeros; `None` where nothing happened and nothing is in flight.
    fn take(&self, at: Timestamp) -> Option<Slice> {
        let (mut requests, mut errors, mut slow, mut in_flight) = (0, 0, 0, 0);
        let mut latency = vec![0_u64; LATENCY_BUCKETS];
        for shard in &self.shards {
            // Requests are raised last and taken first, so that a slice never shows more errors than requests.
            let answered = shard.requests.swap(0, Ordering::AcqRel);
            requests += answered;
            in_flight += shard.in_flight.load(Ordering::Relaxed);
            if answered == 0 {
                continue;
            }
            errors += take_at_most(&shard.errors, answered);
            slow += take_at_most(&shard.slow, answered);
            let mut left = answered;
            for (sum, bucket) in latency.iter_mut().zip(&shard.latency) {
                let count = u64::from(bucket.load(Ordering::Relaxed)).min(left);
                if count > 0 {
                    bucket.fetch_sub(u32::try_from(count).unwrap_or(u32::MAX), Ordering::Relaxed);
                    *sum += count;
                    left -= count;
                }
            }
        }
        let in_flight = u64::try_from(in_flight).unwrap_or_default();
        if requests == 0 && in_flight == 0 {
            return None;
        }
        let used = latency
            .iter()
            .rposition(|count| *count > 0)
            .map_or(0, |last| last + 1);
        latency.truncate(used);
        let owner = &self.owner;
        Some(Slice {
            environment: owner.environment,
            project: owner.project,
            deployment: owner.deployment,
            instance: owner.instance,
            version: owner.version.clone(),
            at,
            requests,
            errors,
            slow,
            in_flight,
            latency,
        })
    }
}

/// Takes a counter down by what it holds, but no more than `most`; the rest belongs to the next slice.
fn take_at_most(counter: &AtomicU64, most: u64) -> u64 {
    let taken = counter.load(Ordering::Relaxed).min(most);
    counter.fetch_sub(taken, Ordering::Relaxed);
    taken
}

/// All counts of an edge.
#[derive(Debug)]
pub(crate) struct Registry {
    workers: usize,
    counts: Mutex<HashMap<(EnvironmentId, InstanceId), Arc<Counts>>>,
}

impl Registry {
    pub(crate) fn new(workers: usize) -> Self {
        Self {
            workers,
            counts: Mutex::new(HashMap::new()),
        }
    }

    /// The counts of an instance, made where there are none.
    pub(crate) fn of(&self, owner: &Owner) -> Arc<Counts> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = counts.entry((owner.environment, owner.instance));
        Arc::clone(entry.or_insert_with(|| Arc::new(Counts::new(owner.clone(), self.workers))))
    }

    /// Takes all that was counted since the last call, and forgets instances that are gone.
    pub(crate) fn collect(&self, at: Timestamp) -> Vec<Slice> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut slices = Vec::new();
        counts.retain(|_, counts| {
            // Looked at before taking: who holds them after that could still count.
            let used = Arc::strong_count(counts) > 1;
            let slice = counts.take(at);
            let keep = used || slice.is_some();
            slices.extend(slice);
            keep
        });
        slices.sort_unstable_by_key(|slice| (slice.environment, slice.instance));
        slices
    }
}

/// One request on its way to one instance. Counts itself when dropped.
#[derive(Debug)]
pub(crate) struct Flight {
    backend: Arc<Backend>,
    worker: usize,
    started: Instant,
    slow_after: Duration,
    head_after: Option<Duration>,
    error: bool,
    counted: bool,
}

impl Flight {
    /// A request sets off.
    pub(crate) fn start(backend: &Arc<Backend>, worker: usize, slow_after: Duration) -> Self {
        if let Some(shard) = backend.counts.shard(worker) {
            shard.in_flight.fetch_add(1, Ordering::Relaxed);
        }
        let backend = Arc::clone(backend);
        Self {
            backend,
            worker,
            started: Instant::now(),
            slow_after,
            head_after: None,
            error: false,
            counted: false,
        }
    }

    /// The instance.
    pub(crate) fn backend(&self) -> &Arc<Backend> {
        &self.backend
    }

    /// The response's head arrived.
    pub(crate) fn head(&mut self, status: http::StatusCode) {
        self.head_after = Some(self.started.elapsed());
        self.error |= status.is_server_error();
    }

    /// The instance did not answer, or not to the end.
    pub(crate) fn fail(&mut self) {
        self.error = true;
    }

    /// Nothing reached the instance: it is as if the request had not been sent.
    pub(crate) fn forget(mut self) {
        self.counted = true;
    }

    /// Counts now; used where the connection goes on as something else than HTTP.
    pub(crate) fn count(&mut self) {
        if std::mem::replace(&mut self.counted, true) {
            return;
        }
        let Some(shard) = self.backend.counts.shard(self.worker) else {
            return;
        };
        let total = self.started.elapsed();
        let slow = self.head_after.unwrap_or(total) > self.slow_after;
        if let Some(bucket) = shard.latency.get(latency_bucket(total.as_secs_f64() * 1000.0)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        if slow {
            shard.slow.fetch_add(1, Ordering::Relaxed);
        }
        if self.error {
            shard.errors.fetch_add(1, Ordering::Relaxed);
        }
        shard.requests.fetch_add(1, Ordering::Release);
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.count();
        if let Some(shard) = self.backend.counts.shard(self.worker) {
            shard.in_flight.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
