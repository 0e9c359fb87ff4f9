//! Reacting to facts. Each subscriber keeps a cursor in the database and sees every fact of its kinds at
//! least once, in order; what it does must come to the same when done twice.

use crate::{Entry, Fact, Filter, Ledger, Page};
use async_trait::async_trait;
use bascule_store::{Query as _, Result, args};
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// What a subscriber's failure is told as.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Something that reacts to facts.
#[async_trait]
pub trait Subscriber: Send + Sync {
    /// A name that never changes: the cursor hangs on it.
    fn name(&self) -> &'static str;

    /// The kinds it wants.
    fn kinds(&self) -> Vec<&'static str>;

    /// Reacts to one fact. An error is logged and the fact offered again, with growing pauses.
    async fn handle(&self, entry: &Entry) -> Result<(), BoxError>;
}

/// Reads a fact out of an entry, with an error that names the entry.
///
/// # Errors
/// The entry holds another kind, or a body that this version cannot read.
pub fn decode<F: Fact>(entry: &Entry) -> Result<F, BoxError> {
    entry
        .fact::<F>()
        .ok_or_else(|| format!("fact {} is no readable {}", entry.seq, F::KIND).into())
}

/// All subscribers of a process.
#[derive(Clone, Default)]
pub struct Hub {
    subscribers: Vec<Arc<dyn Subscriber>>,
}

const BATCH: i64 = 100;
const PAUSE_AT_MOST: Duration = Duration::from_secs(60);
/// How often to look for facts that another replica appended.
const LOOK_EVERY: Duration = Duration::from_secs(1);

impl Hub {
    /// Adds a subscriber.
    #[must_use]
    pub fn with(mut self, subscriber: Arc<dyn Subscriber>) -> Self {
        self.subscribers.push(subscriber);
        self
    }

    /// Serves all subscribers until `stop`, each at its own pace.
    pub async fn run(self, ledger: Ledger, stop: CancellationToken) {
        let mut tasks = tokio::task::JoinSet::new();
        for subscriber in self.subscribers {
            tasks.spawn(serve(ledger.clone(), subscriber, stop.clone()));
        }
        while tasks.join_next().await.is_some() {}
    }

    /// Handles everything there is, and what comes of it, then returns: for tests and one-off commands.
    ///
    /// # Errors
    /// The database refused, or a subscriber failed.
    pub async fn settle(&self, ledger: &Ledger) -> Result<(), BoxError> {
        loop {
            let mut busy = false;
            for subscriber in &self.subscribers {
                while step(ledger, subscriber.as_ref()).await? {
                    busy = true;
                }
            }
            if !busy {
                return Ok(());
            }
        }
    }
}

/// Handles one batch; `false` when there was nothing.
async fn step(ledger: &Ledger, subscriber: &dyn Subscriber) -> Result<bool, BoxError> {
    let cursor = ledger
        .db
        .count(
            "SELECT cursor AS n FROM subscriber WHERE name = $1",
            args![subscriber.name()],
        )
        .await?;
    let head = ledger.head().await?;
    if head <= cursor {
        return Ok(false);
    }
    let kinds = subscriber.kinds().into_iter().map(str::to_owned).collect();
    let filter = Filter {
        kinds,
        ..Filter::default()
    };
    let entries = ledger
        .read(
            &filter,
            Page::After {
                after: cursor,
                limit: BATCH,
            },
        )
        .await?;
    let full = entries.len() as i64 == BATCH;
    for entry in &entries {
        if let Err(error) = subscriber.handle(entry).await {
            failed(ledger, subscriber.name(), &error.to_string()).await?;
            return Err(format!(
                "{} at fact {} ({}): {error}",
                subscriber.name(),
                entry.seq,
                entry.kind
            )
            .into());
        }
        advance(ledger, subscriber.name(), entry.seq).await?;
    }
    if !full {
        // Nothing more of these kinds up to the head that was read first.
        let last = entries.last().map_or(cursor, |entry| entry.seq);
        if head > last && head - last >= BATCH {
            advance(ledger, subscriber.name(), head).await?;
        }
    }
    Ok(!entries.is_empty())
}

async fn advance(ledger: &Ledger, name: &str, to: i64) -> Result<()> {
    let tx = ledger.db.begin().await?;
    tx.run(
        "INSERT INTO subscriber (name, cursor, failures) VALUES ($1, $2, 0)
         ON CONFLICT (name) DO UPDATE SET cursor = $2, failures = 0, error = NULL WHERE subscriber.cursor < $2",
        args![name, to],
    )
    .await?;
    tx.commit().await
}

async fn failed(ledger: &Ledger, name: &str, error: &str) -> Result<()> {
    let tx = ledger.db.begin().await?;
    tx.run(
        "INSERT INTO subscriber (name, cursor, failures, error) VALUES ($1, 0, 1, $2)
         ON CONFLICT (name) DO UPDATE SET failures = subscriber.failures + 1, error = $2",
        args![name, error],
    )
    .await?;
    tx.commit().await
}

async fn serve(ledger: Ledger, subscriber: Arc<dyn Subscriber>, stop: CancellationToken) {
    let mut watch = ledger.watch();
    let mut pause = Duration::from_millis(100);
    loop {
        watch.mark_unchanged();
        let wait = match step(&ledger, subscriber.as_ref()).await {
            Ok(true) => {
                pause = Duration::from_millis(100);
                continue;
            }
            Ok(false) => {
                pause = Duration::from_millis(100);
                LOOK_EVERY
            }
            Err(error) => {
                tracing::error!(subscriber = subscriber.name(), %error, "will be tried again");
                pause = (pause * 2).min(PAUSE_AT_MOST);
                pause
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            _ = watch.changed(), if wait == LOOK_EVERY => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}
