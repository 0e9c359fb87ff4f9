//! Slices on their way to the server, kept while it is away.

use bascule_core::{Clock, Timestamp};
use bascule_wire::edge::Slice;
use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::Notify;

/// How much is kept while the server is away: ten minutes.
const KEPT: Duration = Duration::from_secs(600);
/// Most slices kept, whatever their age.
const MOST: usize = 60_000;
/// Most slices sent at once, which stays below the server's limit on bodies.
const BATCH: usize = 400;

/// What waits to be sent, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    waiting: Mutex<VecDeque<Slice>>,
    news: Notify,
}

impl Outbox {
    /// Adds slices; those too old to be of use go.
    pub(crate) fn add(&self, slices: Vec<Slice>) {
        let Some(newest) = slices.last().map(|slice| slice.at) else {
            return;
        };
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.extend(slices);
        let before = waiting.len();
        while waiting
            .front()
            .is_some_and(|oldest| newest.since(oldest.at) > KEPT)
            || waiting.len() > MOST
        {
            waiting.pop_front();
        }
        if waiting.len() < before {
            tracing::warn!(
                lost = before - waiting.len(),
                "counts are dropped, the server was away for too long"
            );
        }
        drop(waiting);
        self.news.notify_one();
    }

    /// The oldest slices, as many as are sent at once; waits until there are some. They stay until
    /// [`Self::sent`].
    pub(crate) async fn batch(&self) -> Vec<Slice> {
        loop {
            let batch = self.peek();
            if !batch.is_empty() {
                return batch;
            }
            self.news.notified().await;
        }
    }

    /// The oldest slices now.
    pub(crate) fn peek(&self) -> Vec<Slice> {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.iter().take(BATCH).cloned().collect()
    }

    /// The server has this batch.
    pub(crate) fn sent(&self, batch: &[Slice]) {
        let Some(last) = batch.last() else { return };
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        // By what they are and not by number: old ones may have been dropped since.
        let position = waiting
            .iter()
            .position(|slice| slice.at == last.at && slice.instance == last.instance);
        if let Some(position) = position {
            waiting.drain(..=position);
        }
    }

    /// Takes all.
    pub(crate) fn drain(&self) -> Vec<Slice> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.drain(..).collect()
    }
}

/// Labels slices by the second that they cover, each second once.
#[derive(Debug)]
pub(crate) struct Seconds {
    last: i64,
}

impl Seconds {
    pub(crate) fn new() -> Self {
        Self { last: i64::MIN }
    }

    /// The second that just ended, or `None` where it was given out before (the clock went back).
    pub(crate) fn ended(&mut self, clock: &dyn Clock) -> Option<Timestamp> {
        // A tick comes about at a full second, a little early or late.
        let ended = clock.now().plus(Duration::from_millis(500)).seconds() - 1;
        (ended > self.last).then(|| {
            self.last = ended;
            Timestamp::from_seconds(ended)
        })
    }

    /// The label for what is left when the edge stops.
    pub(crate) fn last(&mut self, clock: &dyn Clock) -> Timestamp {
        self.last = clock.now().seconds().max(self.last.saturating_add(1));
        Timestamp::from_seconds(self.last)
    }

    /// Time until the next full second.
    pub(crate) fn until_next(clock: &dyn Clock) -> Duration {
        let into = clock.now().micros().rem_euclid(1_000_000);
        Duration::from_micros(u64::try_from(1_000_000 - into).unwrap_or(1_000_000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bascule_core::{DeploymentId, EnvironmentId, FakeClock, InstanceId, ProjectId};

    fn slice(second: i64) -> Slice {
        Slice {
            environment: EnvironmentId::new(),
            project: ProjectId::new(),
            deployment: DeploymentId::new(),
            instance: InstanceId::new(),
            version: "1.0.0".to_owned(),
            at: Timestamp::from_seconds(second),
            requests: 1,
            errors: 0,
            slow: 0,
            in_flight: 0,
            latency: vec![1],
        }
    }

    #[test]
    fn ten_minutes_are_kept_and_what_was_sent_goes() {
        let outbox = Outbox::default();
        for second in 0..700 {
            outbox.add(vec![slice(second)]);
        }
        let batch = outbox.peek();
        assert_eq!(batch.first().map(|slice| slice.at.seconds()), Some(99));
        outbox.sent(&batch);
        assert_eq!(outbox.drain().len(), 601 - batch.len());
    }

    #[test]
    fn each_second_is_given_out_once() {
        let clock = FakeClock::at(Timestamp::from_micros(99_990_000));
        let mut seconds = Seconds::new();
        assert_eq!(seconds.ended(&clock), Some(Timestamp::from_seconds(99)));
        clock.advance(Duration::from_millis(20));
        assert_eq!(seconds.ended(&clock), None);
        clock.advance(Duration::from_secs(1));
        assert_eq!(seconds.ended(&clock), Some(Timestamp::from_seconds(100)));
        assert_eq!(seconds.last(&clock), Timestamp::from_seconds(101));
        assert_eq!(seconds.last(&clock), Timestamp::from_seconds(102));
    }
}
