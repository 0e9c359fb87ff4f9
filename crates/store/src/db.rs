//! The database: one interface, two engines.
//!
//! SQLite allows one writer, so all writing goes through one connection and waits its turn there, while a
//! pool of readers never waits. PostgreSQL gets one pool for both.

use crate::{Error, FromRow, Result, Row, Value};
use sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DatabaseTransaction, DbBackend, Statement,
    TransactionTrait,
};
use std::{
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// Which engine serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// A file on this machine.
    Sqlite,
    /// A PostgreSQL server.
    Postgres,
}

/// How to reach a database.
#[derive(Clone, Debug)]
pub enum DbOptions {
    /// A file, created if missing.
    Sqlite(PathBuf),
    /// A `postgres://` URL.
    Postgres(String),
}

/// A database, cheap to clone.
#[derive(Clone, Debug)]
pub struct Db {
    read: DatabaseConnection,
    write: DatabaseConnection,
    backend: Backend,
}

type Hook = Box<dyn FnOnce() + Send>;

/// A transaction. What is not committed is rolled back when it is dropped. On SQLite there is one at a
/// time: keep it short, do no other I/O inside, and never begin a second one while holding one.
pub struct Tx {
    inner: DatabaseTransaction,
    backend: Backend,
    after_commit: Mutex<Vec<Hook>>,
}

/// How long a caller waits for its turn before giving up.
const ACQUIRE: Duration = Duration::from_secs(30);
const SQLITE_READERS: u32 = 6;
const POSTGRES_CONNECTIONS: u32 = 16;

impl Db {
    /// Opens the database.
    ///
    /// # Errors
    /// The file cannot be opened, or the server not be reached.
    pub async fn open(options: &DbOptions) -> Result<Self> {
        match options {
            DbOptions::Sqlite(path) => {
                let write = sqlite(path, 1).await?;
                let read = sqlite(path, SQLITE_READERS).await?;
                Ok(Self {
                    read,
                    write,
                    backend: Backend::Sqlite,
                })
            }
            DbOptions::Postgres(url) => {
                let mut connect = ConnectOptions::new(url.clone());
                connect
                    .max_connections(POSTGRES_CONNECTIONS)
                    .acquire_timeout(ACQUIRE)
                    .sqlx_logging(false)
                    .set_application_name("bascule");
                let pool = Database::connect(connect).await?;
                Ok(Self {
                    read: pool.clone(),
                    write: pool,
                    backend: Backend::Postgres,
                })
            }
        }
    }

    /// Which engine serves.
    #[must_use]
    pub fn backend(&self) -> Backend {
        self.backend
    }

    /// Begins a transaction.
    ///
    /// # Errors
    /// No connection came free in time.
    pub async fn begin(&self) -> Result<Tx> {
        let inner = self.write.begin().await?;
        Ok(Tx {
            inner,
            backend: self.backend,
            after_commit: Mutex::default(),
        })
    }

    /// Closes all connections, after those in use are given back.
    pub async fn close(self) {
        drop(self.write.close().await);
        drop(self.read.close().await);
    }
}

async fn sqlite(path: &std::path::Path, connections: u32) -> Result<DatabaseConnection> {
    let url = format!("sqlite://{}?mode=rwc", path.display());
    let mut connect = ConnectOptions::new(url);
    connect
        .max_connections(connections)
        .min_connections(1)
        .acquire_timeout(ACQUIRE)
        .test_before_acquire(false)
        .idle_timeout(None::<Duration>)
        .max_lifetime(None::<Duration>)
        .sqlx_logging(false)
        .map_sqlx_sqlite_opts(|options| {
            options
                .pragma("journal_mode", "WAL")
                // An acknowledged change survives a power cut, not only a crash of the process.
                .pragma("synchronous", "FULL")
                .pragma("busy_timeout", "30000")
                .pragma("foreign_keys", "ON")
                .pragma("temp_store", "MEMORY")
                .pragma("cache_size", "-8000")
        });
    Ok(Database::connect(connect).await?)
}

fn statement(backend: Backend, sql: &str, args: Vec<Value>) -> Statement {
    let backend = match backend {
        Backend::Sqlite => DbBackend::Sqlite,
        Backend::Postgres => DbBackend::Postgres,
    };
    Statement::from_sql_and_values(backend, sql, args)
}

/// What a database and a transaction have in common: asking.
#[allow(async_fn_in_trait, reason = "implemented here only; both futures are Send")]
pub trait Query: Send + Sync {
    /// All rows of an answer. Bound it with LIMIT.
    fn all<R: FromRow>(&self, sql: &str, args: Vec<Value>) -> impl Future<Output = Result<Vec<R>>> + Send;

    /// The first row of an answer.
    fn one<R: FromRow>(&self, sql: &str, args: Vec<Value>) -> impl Future<Output = Result<Option<R>>> + Send;

    /// One number, from a column named `n`; zero where there is no row or it is NULL.
    fn count(&self, sql: &str, args: Vec<Value>) -> impl Future<Output = Result<i64>> + Send {
        async move {
            crate::row! { struct Count { n: Option<i64> } }
            Ok(self
                .one::<Count>(sql, args)
                .await?
                .and_then(|row| row.n)
                .unwrap_or(0))
        }
    }

    /// Which engine serves.
    fn engine(&self) -> Backend;
}

async fn all<R: FromRow>(on: &impl ConnectionTrait, statement: Statement) -> Result<Vec<R>> {
    on.query_all_raw(statement)
        .await?
        .into_iter()
        .map(|row| R::from_row(&Row(row)))
        .collect()
}

async fn one<R: FromRow>(on: &impl ConnectionTrait, statement: Statement) -> Result<Option<R>> {
    on.query_one_raw(statement)
        .await?
        .map(|row| R::from_row(&Row(row)))
        .transpose()
}

impl Query for Db {
    async fn all<R: FromRow>(&self, sql: &str, args: Vec<Value>) -> Result<Vec<R>> {
        all(&self.read, statement(self.backend, sql, args)).await
    }

    async fn one<R: FromRow>(&self, sql: &str, args: Vec<Value>) -> Result<Option<R>> {
        one(&self.read, statement(self.backend, sql, args)).await
    }

    fn engine(&self) -> Backend {
        self.backend
    }
}

impl Query for Tx {
    async fn all<R: FromRow>(&self, sql: &str, args: Vec<Value>) -> Result<Vec<R>> {
        all(&self.inner, statement(self.backend, sql, args)).await
    }

    async fn one<R: FromRow>(&self, sql: &str, args: Vec<Value>) -> Result<Option<R>> {
        one(&self.inner, statement(self.backend, sql, args)).await
    }

    fn engine(&self) -> Backend {
        self.backend
    }
}

impl Tx {
    /// Changes rows; returns how many.
    ///
    /// # Errors
    /// The database refused.
    pub async fn run(&self, sql: &str, args: Vec<Value>) -> Result<u64> {
        Ok(self
            .inner
            .execute_raw(statement(self.backend, sql, args))
            .await?
            .rows_affected())
    }

    /// Runs statements without arguments; for migrations.
    pub(crate) async fn script(&self, sql: &str) -> Result<()> {
        self.inner.execute_unprepared(sql).await?;
        Ok(())
    }

    /// The next whole number of a named sequence, from 1. Numbers of a rolled-back transaction are given
    /// again; within a committed history there is no gap.
    ///
    /// # Errors
    /// The database refused.
    pub async fn next_number(&self, name: &str) -> Result<i64> {
        let sql = "INSERT INTO number (name, value) VALUES ($1, 1)
                   ON CONFLICT (name) DO UPDATE SET value = number.value + 1 RETURNING value AS n";
        self.count(sql, crate::args![name]).await
    }

    /// So many next whole numbers of a named sequence; the first of them.
    ///
    /// # Errors
    /// The database refused.
    pub async fn next_numbers(&self, name: &str, count: usize) -> Result<i64> {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        let sql = "INSERT INTO number (name, value) VALUES ($1, $2)
                   ON CONFLICT (name) DO UPDATE SET value = number.value + $2 RETURNING value AS n";
        Ok(self.count(sql, crate::args![name, count]).await? - count + 1)
    }

    /// Calls `hook` once the transaction is durable, and never if it is not.
    pub fn after_commit(&self, hook: impl FnOnce() + Send + 'static) {
        self.after_commit
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Box::new(hook));
    }

    /// Makes all changes durable, then calls the hooks.
    ///
    /// # Errors
    /// Nothing was changed.
    pub async fn commit(self) -> Result<()> {
        self.inner.commit().await?;
        let hooks = std::mem::take(&mut *self.after_commit.lock().unwrap_or_else(PoisonError::into_inner));
        for hook in hooks {
            hook();
        }
        Ok(())
    }

    /// Undoes all changes at once, rather than when dropped.
    ///
    /// # Errors
    /// The connection is lost; the changes are undone all the same.
    pub async fn rollback(self) -> Result<()> {
        self.inner.rollback().await.map_err(Error::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Migration, args, row};
    use std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    };

    row! { struct Thing { id: i64, name: Option<String>, on: bool, share: f64 } }

    const MIGRATIONS: &[Migration] = &[Migration {
        id: "test-0001",
        sql: "CREATE TABLE thing (id BIGINT PRIMARY KEY, name TEXT, \"on\" BOOLEAN NOT NULL, share DOUBLE PRECISION NOT NULL);",
    }];

    async fn open() -> (tempfile::TempDir, Db) {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(&DbOptions::Sqlite(dir.path().join("test.db")))
            .await
            .unwrap();
        db.migrate(&[crate::MIGRATIONS, MIGRATIONS]).await.unwrap();
        (dir, db)
    }

    #[tokio::test]
    async fn values_round_trip_and_uncommitted_changes_vanish() {
        let (_dir, db) = open().await;
        let insert = "INSERT INTO thing (id, name, \"on\", share) VALUES ($1, $2, $3, $4)";
        let tx = db.begin().await.unwrap();
        tx.run(insert, args![1_i64, None::<String>, true, 0.25])
            .await
            .unwrap();
        tx.commit().await.unwrap();
        let tx = db.begin().await.unwrap();
        tx.run(insert, args![2_i64, "lost", false, 1.0]).await.unwrap();
        drop(tx);

        let things: Vec<Thing> = db.all("SELECT * FROM thing ORDER BY id", args![]).await.unwrap();
        assert_eq!(things.len(), 1);
        assert_eq!(
            (things[0].id, things[0].name.clone(), things[0].on),
            (1, None, true)
        );
        assert!((things[0].share - 0.25).abs() < 1e-9);

        let tx = db.begin().await.unwrap();
        let again = tx
            .run(insert, args![1_i64, "twice", false, 1.0])
            .await
            .unwrap_err();
        assert!(again.is_unique_violation(), "{again}");
    }

    #[tokio::test]
    async fn hooks_run_after_commit_only() {
        let (_dir, db) = open().await;
        let ran = Arc::new(AtomicBool::new(false));
        let tx = db.begin().await.unwrap();
        let hook = ran.clone();
        tx.after_commit(move || hook.store(true, Ordering::SeqCst));
        drop(tx);
        assert!(!ran.load(Ordering::SeqCst));
        let tx = db.begin().await.unwrap();
        let hook = ran.clone();
        tx.after_commit(move || hook.store(true, Ordering::SeqCst));
        tx.commit().await.unwrap();
        assert!(ran.load(Ordering::SeqCst));
    }

    #[tokio::test]
    async fn numbers_have_no_gaps_under_concurrency() {
        let (_dir, db) = open().await;
        let mut tasks = Vec::new();
        for _ in 0..20 {
            let db = db.clone();
            tasks.push(tokio::spawn(async move {
                let tx = db.begin().await.unwrap();
                let number = tx.next_number("job").await.unwrap();
                tx.commit().await.unwrap();
                number
            }));
        }
        let mut numbers = Vec::new();
        for task in tasks {
            numbers.push(task.await.unwrap());
        }
        numbers.sort_unstable();
        assert_eq!(numbers, (1..=20).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn several_numbers_are_taken_at_once_without_a_gap() {
        let (_dir, db) = open().await;
        let tx = db.begin().await.unwrap();
        assert_eq!(tx.next_numbers("job", 3).await.unwrap(), 1);
        assert_eq!(tx.next_number("job").await.unwrap(), 4);
        assert_eq!(tx.next_numbers("job", 2).await.unwrap(), 5);
        tx.commit().await.unwrap();
        let tx = db.begin().await.unwrap();
        assert_eq!(tx.next_number("job").await.unwrap(), 7);
    }
}
