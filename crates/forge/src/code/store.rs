//! Branches that were deleted and can be brought back. The only file with their queries.

use bascule_core::{ProjectId, Timestamp};
use bascule_store::{Migration, Query, Result, Tx, args, row};

/// The table.
pub(crate) const DELETED_BRANCHES: Migration = Migration {
    id: "forge-0002-deleted-branches",
    sql: "
        CREATE TABLE deleted_branch (
            project_id TEXT NOT NULL,
            name TEXT NOT NULL,
            sha TEXT NOT NULL,
            deleted_by TEXT NOT NULL,
            at BIGINT NOT NULL,
            PRIMARY KEY (project_id, name, sha)
        );
        CREATE INDEX deleted_branch_at ON deleted_branch (at);
        CREATE INDEX deleted_branch_sha ON deleted_branch (project_id, sha);
    ",
};

row! {
    /// One of them.
    #[derive(Clone, Debug)]
    pub(crate) struct Deleted {
        pub(crate) project_id: ProjectId,
        pub(crate) name: String,
        pub(crate) sha: String,
        pub(crate) deleted_by: String,
        pub(crate) at: Timestamp,
    }
}

const COLUMNS: &str = "project_id, name, sha, deleted_by, at";

pub(crate) async fn insert_deleted(
    tx: &Tx,
    project: ProjectId,
    name: &str,
    sha: &str,
    by: &str,
    at: Timestamp,
) -> Result<u64> {
    tx.run(
        "INSERT INTO deleted_branch (project_id, name, sha, deleted_by, at) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (project_id, name, sha) DO UPDATE SET deleted_by = excluded.deleted_by, at = excluded.at",
        args![project, name, sha, by, at],
    )
    .await
}

/// Those of a project since a time, the latest first.
pub(crate) async fn deleted(
    on: &impl Query,
    project: ProjectId,
    since: Timestamp,
    limit: i64,
) -> Result<Vec<Deleted>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM deleted_branch WHERE project_id = $1 AND at >= $2 ORDER BY at DESC, name LIMIT $3"
    );
    on.all(&sql, args![project, since, limit]).await
}

/// The latest of a name.
pub(crate) async fn last_deleted(
    on: &impl Query,
    project: ProjectId,
    name: &str,
    since: Timestamp,
) -> Result<Option<Deleted>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM deleted_branch WHERE project_id = $1 AND name = $2 AND at >= $3
         ORDER BY at DESC LIMIT 1"
    );
    on.one(&sql, args![project, name, since]).await
}

/// Some that were deleted before a time.
pub(crate) async fn over(on: &impl Query, before: Timestamp, limit: i64) -> Result<Vec<Deleted>> {
    let sql = format!("SELECT {COLUMNS} FROM deleted_branch WHERE at < $1 ORDER BY at LIMIT $2");
    on.all(&sql, args![before, limit]).await
}

/// Whether the commit of one is needed by another, too.
pub(crate) async fn is_needed(on: &impl Query, one: &Deleted) -> Result<bool> {
    let others = on
        .count(
            "SELECT COUNT(*) AS n FROM deleted_branch WHERE project_id = $1 AND sha = $2 AND name <> $3",
            args![one.project_id, one.sha.clone(), one.name.clone()],
        )
        .await?;
    Ok(others > 0)
}

pub(crate) async fn forget_deleted(tx: &Tx, one: &Deleted) -> Result<u64> {
    tx.run(
        "DELETE FROM deleted_branch WHERE project_id = $1 AND name = $2 AND sha = $3",
        args![one.project_id, one.name.clone(), one.sha.clone()],
    )
    .await
}

pub(crate) async fn delete_project(tx: &Tx, project: ProjectId) -> Result<u64> {
    tx.run("DELETE FROM deleted_branch WHERE project_id = $1", args![project])
        .await
}
