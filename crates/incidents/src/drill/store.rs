//! The queries about drills.

use super::Kept;
use bascule_core::Timestamp;
use bascule_store::{Migration, Query, Result, Tx, args};

/// Drills; one at a time in each environment.
pub(crate) const DRILLS: Migration = Migration {
    id: "incidents-2611-drills",
    sql: "
        CREATE TABLE drill (
            number BIGINT PRIMARY KEY,
            environment TEXT NOT NULL,
            reason TEXT NOT NULL,
            started_by TEXT NOT NULL,
            started_at BIGINT NOT NULL,
            until_at BIGINT NOT NULL,
            ended_at BIGINT,
            ended_by TEXT
        );
        CREATE UNIQUE INDEX drill_one_running ON drill (environment) WHERE ended_at IS NULL;
        CREATE INDEX drill_due ON drill (ended_at, until_at);
    ",
};

const COLUMNS: &str = "number, environment, reason, started_by, started_at, until_at, ended_at, ended_by";

/// Whether an environment of that name is known.
pub(super) async fn is_environment(db: &impl Query, name: &str) -> Result<bool> {
    let sql = "SELECT COUNT(*) AS n FROM known_environment WHERE name = $1";
    Ok(db.count(sql, args![name]).await? > 0)
}

/// The drill that runs in an environment.
pub(super) async fn running_in(db: &impl Query, environment: &str) -> Result<Option<Kept>> {
    let sql = format!("SELECT {COLUMNS} FROM drill WHERE environment = $1 AND ended_at IS NULL");
    db.one(&sql, args![environment]).await
}

pub(super) async fn get(db: &impl Query, number: i64) -> Result<Option<Kept>> {
    let sql = format!("SELECT {COLUMNS} FROM drill WHERE number = $1");
    db.one(&sql, args![number]).await
}

/// Drills, newest first, those before a number.
pub(super) async fn list(db: &impl Query, before: i64, limit: i64) -> Result<Vec<Kept>> {
    let sql = format!("SELECT {COLUMNS} FROM drill WHERE number < $1 ORDER BY number DESC LIMIT $2");
    db.all(&sql, args![before, limit]).await
}

/// Drills that run, the one that ends first at the beginning.
pub(super) async fn running(db: &impl Query, limit: i64) -> Result<Vec<Kept>> {
    let sql =
        format!("SELECT {COLUMNS} FROM drill WHERE ended_at IS NULL ORDER BY until_at, number LIMIT {limit}");
    db.all(&sql, args![]).await
}

pub(super) async fn start(tx: &Tx, drill: &Kept) -> Result<()> {
    let sql = "INSERT INTO drill (number, environment, reason, started_by, started_at, until_at)
               VALUES ($1, $2, $3, $4, $5, $6)";
    let values = args![
        drill.number,
        drill.environment,
        drill.reason,
        drill.started_by,
        drill.started_at,
        drill.until_at
    ];
    tx.run(sql, values).await.map(drop)
}

/// Ends a drill; `false` where it was over.
pub(super) async fn end(tx: &Tx, number: i64, at: Timestamp, by: &str) -> Result<bool> {
    let sql = "UPDATE drill SET ended_at = $2, ended_by = $3 WHERE number = $1 AND ended_at IS NULL";
    Ok(tx.run(sql, args![number, at, by]).await? == 1)
}
