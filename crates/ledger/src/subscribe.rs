//! Reacting to facts. Each subscriber keeps a cursor in the database and sees every fact of its kinds at
//! least once, in order; what it does must come to the same when done twice. The cursor is written once for
//! many facts: after a crash, the last batch is offered again from its beginning.

use crate::{Entry, Fact, Filter, Ledger, Page};
use async_trait::async_trait;
use bascule_store::{Backend, Query as _, Result, args};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::watch;
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

    /// Reacts to one fact. An error is logged and the fact offered again, with growing pauses. After a crash
    /// a fact may come again although facts after it were handled already.
    async fn handle(&self, entry: &Entry) -> Result<(), BoxError>;

    /// The number of a fact up to which all are handled, durably, for a subscriber that reads ahead in the
    /// ledger by itself. Others say zero.
    fn ahead(&self) -> i64 {
        0
    }
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

/// Facts read at once, and at most between two writes of a cursor.
const BATCH: i64 = 500;
/// How long facts are handled, at most, before the cursor is written: where each takes long, few are redone.
const WRITE_EVERY: Duration = Duration::from_millis(500);
/// How far the head may be away from the last fact of a subscriber's kinds before its cursor moves there.
const IDLE: i64 = 100;
const PAUSE_AT_MOST: Duration = Duration::from_secs(60);
/// How often to look for facts that another replica appended: one question for all subscribers.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often a subscriber looks by itself. It hears of every fact; this is to find nothing.
const NET: Duration = Duration::from_secs(15);

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
        // A file has no other replica.
        if ledger.db.engine() == Backend::Postgres {
            tasks.spawn(look(ledger, stop));
        }
        while tasks.join_next().await.is_some() {}
    }

    /// Handles everything there is, and what comes of it, then returns: for tests and one-off commands.
    ///
    /// # Errors
    /// The database refused, or a subscriber failed.
    pub async fn settle(&self, ledger: &Ledger) -> Result<(), BoxError> {
        let never = CancellationToken::new();
        loop {
            let mut busy = false;
            for subscriber in &self.subscribers {
                while step(ledger, subscriber.as_ref(), &never).await?.is_none() {
                    busy = true;
                }
            }
            if !busy {
                return Ok(());
            }
        }
    }
}

/// Handles one batch. When there was nothing, the number of the fact up to which it looked. Ends early, in good order,
/// when `stop` says so.
async fn step(
    ledger: &Ledger,
    subscriber: &dyn Subscriber,
    stop: &CancellationToken,
) -> Result<Option<i64>, BoxError> {
    let name = subscriber.name();
    let cursor = ledger
        .db
        .count("SELECT cursor AS n FROM subscriber WHERE name = $1", args![name])
        .await?;
    let head = ledger.head().await?;
    if head <= cursor {
        return Ok(Some(head));
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
    let (mut handled, mut written) = (cursor, cursor);
    let mut since = Instant::now();
    for entry in &entries {
        if stop.is_cancelled() {
            break;
        }
        if entry.seq <= handled {
            // It read ahead.
            continue;
        }
        if let Err(error) = subscriber.handle(entry).await {
            if handled > written {
                advance(ledger, name, handled).await?;
            }
            failed(ledger, name, &error.to_string()).await?;
            return Err(format!("{name} at fact {} ({}): {error}", entry.seq, entry.kind).into());
        }
        handled = entry.seq.max(subscriber.ahead());
        if since.elapsed() >= WRITE_EVERY {
            advance(ledger, name, handled).await?;
            (written, since) = (handled, Instant::now());
        }
    }
    let all = entries.last().is_none_or(|last| last.seq <= handled);
    if all && (entries.len() as i64) < BATCH && head - handled >= IDLE {
        // Nothing more of these kinds up to the head that was read first.
        handled = head;
    }
    if handled > written {
        advance(ledger, name, handled).await?;
    }
    Ok(entries.is_empty().then_some(head))
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
    let kinds = subscriber.kinds();
    let mut pause = Duration::from_millis(100);
    while !stop.is_cancelled() {
        watch.mark_unchanged();
        match step(&ledger, subscriber.as_ref(), &stop).await {
            Ok(None) => pause = Duration::from_millis(100),
            Ok(Some(looked)) => {
                pause = Duration::from_millis(100);
                let net = tokio::time::sleep(NET);
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = something(&ledger, &kinds, looked, &mut watch) => {}
                    () = net => {}
                }
            }
            Err(error) => {
                tracing::error!(subscriber = subscriber.name(), %error, "will be tried again");
                pause = (pause * 2).min(PAUSE_AT_MOST);
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(pause) => {}
                }
            }
        }
    }
}

/// Waits for facts that may be of these kinds. There are dozens of subscribers, and most facts are for one or two of them:
/// the others need not ask the database.
async fn something(ledger: &Ledger, kinds: &[&'static str], looked: i64, watch: &mut watch::Receiver<i64>) {
    loop {
        if watch.changed().await.is_err() {
            return std::future::pending().await;
        }
        let head = *watch.borrow_and_update();
        // A file has no other replica: what this process did not append is not there.
        let elsewhere = ledger.db.engine() != Backend::Sqlite;
        if elsewhere || ledger.newest(kinds) > looked || head - looked >= IDLE {
            return;
        }
    }
}

/// Tells all who hear of new facts of those that other replicas appended.
async fn look(ledger: Ledger, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        match ledger.head().await {
            Ok(head) => ledger.heard(head),
            Err(error) => tracing::warn!(%error, "other replicas' facts could not be looked for"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{InstanceKey, facts::identity::GroupCreated};
    use bascule_core::{Actor, FakeClock, GroupId, Timestamp};
    use bascule_store::{Db, DbOptions};
    use std::sync::{
        Mutex,
        atomic::{AtomicI64, Ordering},
    };

    async fn ledger(dir: &std::path::Path, groups: usize) -> Ledger {
        let db = Db::open(&DbOptions::Sqlite(dir.join("test.db"))).await.unwrap();
        db.migrate(&[bascule_store::MIGRATIONS, crate::MIGRATIONS])
            .await
            .unwrap();
        let clock = Arc::new(FakeClock::at(Timestamp::from_seconds(1_700_000_000)));
        let ledger = Ledger::new(db, clock, InstanceKey::generate());
        let tx = ledger.db.begin().await.unwrap();
        for number in 0..groups {
            let fact = GroupCreated {
                group: GroupId::new(),
                name: format!("group{number}"),
            };
            ledger.append(&tx, &Actor::system(), &fact).await.unwrap();
        }
        tx.commit().await.unwrap();
        ledger
    }

    async fn cursor(ledger: &Ledger) -> i64 {
        let sql = "SELECT MAX(cursor) AS n FROM subscriber";
        ledger.db.count(sql, args![]).await.unwrap()
    }

    /// Notes what it sees; at one fact it fails, stops, or never comes back.
    #[derive(Default)]
    struct Seen {
        seqs: Mutex<Vec<i64>>,
        fails_at: AtomicI64,
        hangs_at: AtomicI64,
        stops_at: AtomicI64,
        reads_ahead_to: AtomicI64,
        stop: CancellationToken,
    }

    #[async_trait]
    impl Subscriber for Seen {
        fn name(&self) -> &'static str {
            "seen"
        }
        fn kinds(&self) -> Vec<&'static str> {
            vec![GroupCreated::KIND]
        }
        async fn handle(&self, entry: &Entry) -> Result<(), BoxError> {
            if entry.seq == self.hangs_at.load(Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
            if entry.seq == self.fails_at.load(Ordering::SeqCst) {
                return Err("no".into());
            }
            if entry.seq == self.stops_at.load(Ordering::SeqCst) {
                self.stop.cancel();
            }
            self.seqs.lock().unwrap().push(entry.seq);
            Ok(())
        }
        fn ahead(&self) -> i64 {
            self.reads_ahead_to.load(Ordering::SeqCst)
        }
    }

    const MANY: i64 = 2 * BATCH + 7;

    #[tokio::test]
    async fn a_batch_writes_its_cursor_once_and_a_failure_keeps_what_was_handled() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = ledger(dir.path(), MANY as usize).await;
        let seen = Seen::default();
        let never = CancellationToken::new();
        // SQLite counts the writes: none but the cursor's happen here.
        let tx = ledger.db.begin().await.unwrap();
        tx.run("CREATE TABLE written (cursor BIGINT NOT NULL)", args![])
            .await
            .unwrap();
        for event in ["INSERT", "UPDATE"] {
            let sql = format!(
                "CREATE TRIGGER on_{event} AFTER {event} ON subscriber BEGIN INSERT INTO written VALUES (NEW.cursor); END"
            );
            tx.run(&sql, args![]).await.unwrap();
        }
        tx.commit().await.unwrap();
        for _ in 0..3 {
            assert!(step(&ledger, &seen, &never).await.unwrap().is_none());
        }
        assert_eq!(*seen.seqs.lock().unwrap(), (1..=MANY).collect::<Vec<_>>());
        assert_eq!(cursor(&ledger).await, MANY);
        let writes = ledger
            .db
            .count("SELECT COUNT(*) AS n FROM written", args![])
            .await
            .unwrap();
        // One a batch; on a machine that crawls, one each half second too.
        assert!(writes < MANY / 10, "{writes} writes");

        // A failure in the middle of a batch: the cursor stands right before it.
        seen.seqs.lock().unwrap().clear();
        seen.fails_at.store(BATCH + 9, Ordering::SeqCst);
        let tx = ledger.db.begin().await.unwrap();
        tx.run("DELETE FROM subscriber", args![]).await.unwrap();
        tx.commit().await.unwrap();
        assert!(step(&ledger, &seen, &never).await.unwrap().is_none());
        assert!(step(&ledger, &seen, &never).await.is_err());
        assert_eq!(cursor(&ledger).await, BATCH + 8);
        seen.fails_at.store(0, Ordering::SeqCst);
        while step(&ledger, &seen, &never).await.unwrap().is_none() {}
        assert_eq!(*seen.seqs.lock().unwrap(), (1..=MANY).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn what_a_crash_cuts_off_comes_again() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = ledger(dir.path(), MANY as usize).await;
        let seen = Arc::new(Seen::default());
        seen.hangs_at.store(BATCH + 20, Ordering::SeqCst);
        let hub = Hub::default().with(seen.clone());
        // Dropped in the middle of handling, as by kill -9: nothing more is written.
        let run = tokio::spawn(hub.clone().run(ledger.clone(), CancellationToken::new()));
        while seen.seqs.lock().unwrap().len() < (BATCH + 19) as usize {
            tokio::task::yield_now().await;
        }
        run.abort();
        assert!(run.await.unwrap_err().is_cancelled());
        assert!(cursor(&ledger).await < BATCH + 20);
        seen.hangs_at.store(0, Ordering::SeqCst);
        hub.settle(&ledger).await.unwrap();
        let mut seqs = seen.seqs.lock().unwrap().clone();
        assert_eq!(seqs.last(), Some(&MANY));
        seqs.sort_unstable();
        seqs.dedup();
        assert_eq!(seqs, (1..=MANY).collect::<Vec<_>>(), "each at least once");
    }

    #[tokio::test]
    async fn a_stop_in_a_backlog_is_heard_at_once_and_nothing_is_redone() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = ledger(dir.path(), MANY as usize).await;
        let seen = Arc::new(Seen::default());
        seen.stops_at.store(40, Ordering::SeqCst);
        let hub = Hub::default().with(seen.clone());
        hub.clone().run(ledger.clone(), seen.stop.clone()).await;
        assert_eq!(cursor(&ledger).await, 40);
        hub.settle(&ledger).await.unwrap();
        assert_eq!(*seen.seqs.lock().unwrap(), (1..=MANY).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn one_that_reads_ahead_is_not_offered_what_it_had() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = ledger(dir.path(), MANY as usize).await;
        let seen = Arc::new(Seen::default());
        seen.reads_ahead_to.store(MANY - 2, Ordering::SeqCst);
        let hub = Hub::default().with(seen.clone());
        hub.settle(&ledger).await.unwrap();
        assert_eq!(*seen.seqs.lock().unwrap(), [1, MANY - 1, MANY]);
    }

    #[tokio::test]
    async fn facts_of_other_kinds_wake_nobody_and_those_of_its_own_do() {
        use crate::facts::identity::MemberRemoved;
        let dir = tempfile::tempdir().unwrap();
        let ledger = ledger(dir.path(), 1).await;
        let seen = Arc::new(Seen::default());
        let stop = CancellationToken::new();
        let hub = Hub::default().with(Arc::clone(&seen) as Arc<dyn Subscriber>);
        let running = tokio::spawn(hub.run(ledger.clone(), stop.clone()));
        let mut watch = ledger.watch();
        let append = async |other: bool| {
            let tx = ledger.db.begin().await.unwrap();
            if other {
                let fact = MemberRemoved {
                    user: bascule_core::UserId::new(),
                    username: "developer".to_owned(),
                    group: None,
                    project: None,
                };
                ledger.append(&tx, &Actor::system(), &fact).await.unwrap();
            } else {
                let fact = GroupCreated {
                    group: GroupId::new(),
                    name: "late".to_owned(),
                };
                ledger.append(&tx, &Actor::system(), &fact).await.unwrap();
            }
            tx.commit().await.unwrap();
        };
        let until = async |count: usize| {
            while seen.seqs.lock().unwrap().len() < count {
                tokio::task::yield_now().await;
            }
        };
        until(1).await;
        append(true).await;
        let looked = *watch.borrow_and_update();
        let mut other = ledger.watch();
        other.mark_unchanged();
        let waits = something(&ledger, &[GroupCreated::KIND], looked, &mut other);
        let mut waits = std::pin::pin!(waits);
        append(true).await;
        let waiting = tokio::time::timeout(Duration::from_millis(20), &mut waits).await;
        assert!(waiting.is_err(), "woken by a fact of another kind");
        append(false).await;
        waits.await;
        until(2).await;
        assert_eq!(*seen.seqs.lock().unwrap(), [1, 4]);
        stop.cancel();
        running.await.unwrap();
    }
}
