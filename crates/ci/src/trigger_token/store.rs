//! The table of trigger tokens. The only file with these queries.

use bascule_core::{ProjectId, Timestamp};
use bascule_store::{Migration, Query, Result, Tx, args, row};

/// Tables of this room.
pub const MIGRATION: Migration = Migration {
    id: "ci-2711-trigger-token",
    sql: "
        CREATE TABLE ci_trigger (
            id BIGINT PRIMARY KEY,
            project_id TEXT NOT NULL,
            description TEXT NOT NULL,
            hint TEXT NOT NULL,
            token_hash TEXT NOT NULL,
            owner_id TEXT NOT NULL,
            owner_name TEXT NOT NULL,
            created_at BIGINT NOT NULL,
            last_used BIGINT
        );
        CREATE UNIQUE INDEX ci_trigger_token ON ci_trigger (token_hash);
        CREATE INDEX ci_trigger_project ON ci_trigger (project_id, id);
    ",
};

const COLUMNS: &str = "id, project_id, description, hint, owner_id, owner_name, created_at, last_used";

row! {
    /// A trigger token as stored.
    #[derive(Clone, Debug)]
    pub struct Trigger {
        /// Its number.
        pub id: i64,
        /// The project.
        pub project_id: ProjectId,
        /// Who is to use it.
        pub description: String,
        /// The first letters of the token.
        pub hint: String,
        /// The account with whose rights it runs.
        pub owner_id: String,
        /// Its user name.
        pub owner_name: String,
        /// When it was made.
        pub created_at: Timestamp,
        /// When it last started a pipeline.
        pub last_used: Option<Timestamp>,
    }
}

pub(crate) async fn insert(tx: &Tx, trigger: &Trigger, hash: &str) -> Result<()> {
    tx.run(
        "INSERT INTO ci_trigger (id, project_id, description, hint, token_hash, owner_id, owner_name, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        args![
            trigger.id,
            trigger.project_id,
            trigger.description,
            trigger.hint,
            hash,
            trigger.owner_id,
            trigger.owner_name,
            trigger.created_at
        ],
    )
    .await
    .map(drop)
}

pub(crate) async fn list(on: &impl Query, project: ProjectId) -> Result<Vec<Trigger>> {
    let sql = format!("SELECT {COLUMNS} FROM ci_trigger WHERE project_id = $1 ORDER BY id LIMIT 1000");
    on.all(&sql, args![project]).await
}

pub(crate) async fn count(on: &impl Query, project: ProjectId) -> Result<i64> {
    on.count(
        "SELECT COUNT(*) AS n FROM ci_trigger WHERE project_id = $1",
        args![project],
    )
    .await
}

pub(crate) async fn find(on: &impl Query, project: ProjectId, id: i64) -> Result<Option<Trigger>> {
    let sql = format!("SELECT {COLUMNS} FROM ci_trigger WHERE project_id = $1 AND id = $2");
    on.one(&sql, args![project, id]).await
}

pub(crate) async fn by_hash(on: &impl Query, hash: &str) -> Result<Option<Trigger>> {
    let sql = format!("SELECT {COLUMNS} FROM ci_trigger WHERE token_hash = $1");
    on.one(&sql, args![hash]).await
}

pub(crate) async fn used(tx: &Tx, id: i64, now: Timestamp) -> Result<()> {
    tx.run(
        "UPDATE ci_trigger SET last_used = $2 WHERE id = $1",
        args![id, now],
    )
    .await
    .map(drop)
}

pub(crate) async fn delete(tx: &Tx, id: i64) -> Result<()> {
    tx.run("DELETE FROM ci_trigger WHERE id = $1", args![id])
        .await
        .map(drop)
}

pub(crate) async fn delete_project(tx: &Tx, project: ProjectId) -> Result<()> {
    tx.run("DELETE FROM ci_trigger WHERE project_id = $1", args![project])
        .await
        .map(drop)
}
