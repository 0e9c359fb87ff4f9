//! Users of the service: requests at a steady rate, bounded in time, each counted.

use rand::Rng as _;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{sync::watch, task::JoinHandle};

/// What came back.
#[derive(Default)]
pub struct Counts {
    pub good: AtomicU64,
    pub bad: AtomicU64,
    /// No answer at all: lost.
    pub lost: AtomicU64,
}

pub struct Load {
    pub counts: Arc<Counts>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

const AT_MOST: Duration = Duration::from_secs(420);

impl Load {
    /// Asks for the free days of some month, `rate` times a second.
    pub fn start(base: &str, rate: u32) -> Self {
        let counts = Arc::new(Counts::default());
        let (stop, stopped) = watch::channel(false);
        let (base, shared) = (base.trim_end_matches('/').to_owned(), counts.clone());
        let task = tokio::spawn(async move {
            let client = reqwest::Client::builder()
                .no_proxy()
                .timeout(Duration::from_secs(10))
                .build()
                .unwrap_or_default();
            let mut beat = tokio::time::interval(Duration::from_secs(1) / rate);
            let end = tokio::time::Instant::now() + AT_MOST;
            while !*stopped.borrow() && tokio::time::Instant::now() < end {
                beat.tick().await;
                let month = rand::rng().random_range(1..=12);
                let (client, counts, url) = (
                    client.clone(),
                    shared.clone(),
                    format!("{base}/appointments/{month}"),
                );
                tokio::spawn(async move {
                    let count = match client.get(url).send().await {
                        Ok(answer) if answer.status().is_success() => &counts.good,
                        Ok(_) => &counts.bad,
                        Err(_) => &counts.lost,
                    };
                    count.fetch_add(1, Ordering::Relaxed);
                });
            }
        });
        Self { counts, stop, task }
    }

    /// Ends the load; what came back: good, bad, lost.
    pub async fn stop(self) -> (u64, u64, u64) {
        // Nobody listens any more when the time was up.
        let _ = self.stop.send(true);
        drop(self.task.await);
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (
            read(&self.counts.good),
            read(&self.counts.bad),
            read(&self.counts.lost),
        )
    }
}
