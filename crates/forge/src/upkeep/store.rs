//! What was done to repositories last, and what was asked for. The only file with these queries.

use bascule_core::{ProjectId, Timestamp};
use bascule_store::{Migration, Query, Result, Tx, args, row};

/// Tables of this room.
pub(crate) const MIGRATION: Migration = Migration {
    id: "forge-2611-upkeep",
    sql: "
        CREATE TABLE upkeep_run (
            project_id TEXT NOT NULL,
            kind TEXT NOT NULL,
            requested_at BIGINT NOT NULL,
            requested_by TEXT NOT NULL,
            started_at BIGINT,
            ended_at BIGINT,
            good BOOLEAN,
            told TEXT NOT NULL,
            PRIMARY KEY (project_id, kind)
        );
        CREATE INDEX upkeep_run_waiting ON upkeep_run (ended_at, requested_at);
    ",
};

row! {
    /// The last run of a kind, or the one that is asked for.
    #[derive(Clone, Debug)]
    pub(crate) struct Run {
        pub(crate) kind: String,
        pub(crate) requested_at: Timestamp,
        pub(crate) requested_by: String,
        pub(crate) started_at: Option<Timestamp>,
        pub(crate) ended_at: Option<Timestamp>,
        pub(crate) good: Option<bool>,
        pub(crate) told: String,
    }
}

row! {
    /// One that waits.
    #[derive(Clone, Debug)]
    pub(crate) struct Waiting {
        pub(crate) project_id: ProjectId,
        pub(crate) kind: String,
    }
}

pub(crate) async fn of_project(on: &impl Query, project: ProjectId) -> Result<Vec<Run>> {
    on.all(
        "SELECT kind, requested_at, requested_by, started_at, ended_at, good, told FROM upkeep_run
         WHERE project_id = $1 ORDER BY kind",
        args![project],
    )
    .await
}

/// The next that was asked for, oldest first.
pub(crate) async fn next(on: &impl Query) -> Result<Option<Waiting>> {
    on.one(
        "SELECT project_id, kind FROM upkeep_run WHERE ended_at IS NULL ORDER BY requested_at, project_id LIMIT 1",
        args![],
    )
    .await
}

pub(crate) async fn request(tx: &Tx, project: ProjectId, kind: &str, by: &str, at: Timestamp) -> Result<()> {
    tx.run(
        "INSERT INTO upkeep_run (project_id, kind, requested_at, requested_by, told) VALUES ($1, $2, $3, $4, '')
         ON CONFLICT (project_id, kind) DO UPDATE SET requested_at = excluded.requested_at,
             requested_by = excluded.requested_by, started_at = NULL, ended_at = NULL, good = NULL, told = ''",
        args![project, kind, at, by],
    )
    .await
    .map(drop)
}

pub(crate) async fn begin(tx: &Tx, project: ProjectId, kind: &str, at: Timestamp) -> Result<()> {
    let sql = "UPDATE upkeep_run SET started_at = $3 WHERE project_id = $1 AND kind = $2";
    tx.run(sql, args![project, kind, at]).await.map(drop)
}

pub(crate) async fn end(
    tx: &Tx,
    project: ProjectId,
    kind: &str,
    at: Timestamp,
    good: bool,
    told: &str,
) -> Result<()> {
    tx.run(
        "UPDATE upkeep_run SET ended_at = $3, good = $4, told = $5 WHERE project_id = $1 AND kind = $2",
        args![project, kind, at, good, told],
    )
    .await
    .map(drop)
}

pub(crate) async fn forget(tx: &Tx, project: ProjectId) -> Result<()> {
    tx.run("DELETE FROM upkeep_run WHERE project_id = $1", args![project])
        .await
        .map(drop)
}
