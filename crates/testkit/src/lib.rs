//! What black-box tests share: the real binary on a data directory of its own, a temporary PostgreSQL,
//! stock git, and pages asserted by CSS selector. Nothing here sleeps for luck: every wait has a condition
//! and a limit.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a harness fails its test by panicking"
)]

mod app;
mod git;
mod page;
mod postgres;
mod smtp;

pub use app::{Cli, TestApp};
pub use git::Git;
pub use page::Page;
pub use postgres::Postgres;
pub use smtp::{Received, Smtp};

use bascule_store::{Db, DbOptions};
use std::{
    path::Path,
    time::{Duration, Instant},
};

/// Waits until `check` gives a value, looking again every 50 ms.
///
/// # Panics
/// After `limit`, naming `what` was waited for.
pub async fn until<T, F: AsyncFnMut() -> Option<T>>(what: &str, limit: Duration, mut check: F) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = check().await {
            return value;
        }
        assert!(started.elapsed() < limit, "waited {limit:?} in vain for: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A fresh SQLite file in a folder; or, with `BASCULE_TEST_POSTGRES` set to the URL of a database to be wiped, that
/// one (run tests one at a time then).
///
/// # Panics
/// The database cannot be opened.
pub async fn scratch_db(folder: &Path) -> Db {
    let Ok(url) = std::env::var("BASCULE_TEST_POSTGRES") else {
        return Db::open(&DbOptions::Sqlite(folder.join("test.db")))
            .await
            .unwrap();
    };
    let db = Db::open(&DbOptions::Postgres(url)).await.unwrap();
    for statement in ["DROP SCHEMA public CASCADE", "CREATE SCHEMA public"] {
        let tx = db.begin().await.unwrap();
        tx.run(statement, vec![]).await.unwrap();
        tx.commit().await.unwrap();
    }
    db
}
