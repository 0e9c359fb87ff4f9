//! The tables of merge queues. The only file with their queries.

use super::{Entry, Left};
use bascule_core::{MergeRequestId, ProjectId, Timestamp};
use bascule_store::{Migration, Query, Result, Tx, args, row};

/// Tables of merge queues.
pub(crate) const MIGRATION: Migration = Migration {
    id: "forge-2611-merge-queue",
    sql: "
        CREATE TABLE merge_queue (
            merge_request_id TEXT PRIMARY KEY,
            project_id TEXT NOT NULL,
            iid BIGINT NOT NULL,
            target_branch TEXT NOT NULL,
            position BIGINT NOT NULL,
            head TEXT NOT NULL,
            strategy TEXT NOT NULL,
            delete_source BOOLEAN NOT NULL,
            actor_kind TEXT NOT NULL,
            actor_id TEXT NOT NULL,
            actor_name TEXT NOT NULL,
            base_sha TEXT,
            sha TEXT,
            started BOOLEAN NOT NULL,
            pipeline BIGINT,
            at BIGINT NOT NULL
        );
        CREATE INDEX merge_queue_place ON merge_queue (project_id, target_branch, position);
        CREATE TABLE merge_queue_left (
            merge_request_id TEXT PRIMARY KEY,
            project_id TEXT NOT NULL,
            reason TEXT NOT NULL,
            detail TEXT NOT NULL,
            pipeline BIGINT,
            at BIGINT NOT NULL
        );
    ",
};

const COLUMNS: &str = "merge_request_id, project_id, iid, target_branch, position, head, strategy, delete_source, actor_kind, \
     actor_id, actor_name, base_sha, sha, started, pipeline, at";

/// The next place at the end.
pub(crate) async fn next_position(tx: &Tx) -> Result<i64> {
    tx.next_number("merge_queue").await
}

/// Puts a request at the end; how many rows changed, so that none is in twice.
pub(crate) async fn insert(tx: &Tx, entry: &Entry) -> Result<u64> {
    tx.run(
        "DELETE FROM merge_queue_left WHERE merge_request_id = $1",
        args![entry.merge_request_id],
    )
    .await?;
    let sql = format!(
        "INSERT INTO merge_queue ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
         ON CONFLICT (merge_request_id) DO NOTHING"
    );
    tx.run(
        &sql,
        args![
            entry.merge_request_id,
            entry.project_id,
            entry.iid,
            entry.target_branch,
            entry.position,
            entry.head,
            entry.strategy,
            entry.delete_source,
            entry.actor_kind,
            entry.actor_id,
            entry.actor_name,
            entry.base_sha,
            entry.sha,
            entry.started,
            entry.pipeline,
            entry.at
        ],
    )
    .await
}

/// Every branch that has a queue.
pub(crate) async fn places(on: &impl Query) -> Result<Vec<(ProjectId, String)>> {
    on.all(
        "SELECT DISTINCT project_id AS c0, target_branch AS c1 FROM merge_queue LIMIT 1000",
        args![],
    )
    .await
}

/// In order.
pub(crate) async fn list(
    on: &impl Query,
    project: ProjectId,
    target: &str,
    limit: i64,
) -> Result<Vec<Entry>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM merge_queue WHERE project_id = $1 AND target_branch = $2 ORDER BY position LIMIT $3"
    );
    on.all(&sql, args![project, target, limit]).await
}

/// All queues of a project, in order.
pub(crate) async fn of_project(on: &impl Query, project: ProjectId, limit: i64) -> Result<Vec<Entry>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM merge_queue WHERE project_id = $1 ORDER BY target_branch, position LIMIT $2"
    );
    on.all(&sql, args![project, limit]).await
}

pub(crate) async fn find(on: &impl Query, id: MergeRequestId) -> Result<Option<Entry>> {
    let sql = format!("SELECT {COLUMNS} FROM merge_queue WHERE merge_request_id = $1");
    on.one(&sql, args![id]).await
}

/// How many stand before it.
pub(crate) async fn before(on: &impl Query, entry: &Entry) -> Result<i64> {
    on.count(
        "SELECT COUNT(*) AS n FROM merge_queue WHERE project_id = $1 AND target_branch = $2 AND position < $3",
        args![entry.project_id, entry.target_branch, entry.position],
    )
    .await
}

/// Notes a trial; the pipeline of the one before does not count any more.
pub(crate) async fn set_trial(
    tx: &Tx,
    id: MergeRequestId,
    base: Option<&str>,
    sha: Option<&str>,
) -> Result<u64> {
    tx.run(
        "UPDATE merge_queue SET base_sha = $2, sha = $3, started = $4, pipeline = NULL WHERE merge_request_id = $1",
        args![id, base, sha, false],
    )
    .await
}

/// Notes that CI was asked.
pub(crate) async fn set_started(
    tx: &Tx,
    id: MergeRequestId,
    sha: &str,
    pipeline: Option<i64>,
) -> Result<u64> {
    tx.run(
        "UPDATE merge_queue SET started = $3, pipeline = $4 WHERE merge_request_id = $1 AND sha = $2",
        args![id, sha, true, pipeline],
    )
    .await
}

pub(crate) async fn delete(tx: &Tx, id: MergeRequestId) -> Result<u64> {
    tx.run("DELETE FROM merge_queue WHERE merge_request_id = $1", args![id])
        .await
}

pub(crate) async fn leave(
    tx: &Tx,
    id: MergeRequestId,
    project: ProjectId,
    reason: &str,
    detail: &str,
    pipeline: Option<i64>,
    at: Timestamp,
) -> Result<()> {
    tx.run(
        "INSERT INTO merge_queue_left (merge_request_id, project_id, reason, detail, pipeline, at)
         VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (merge_request_id) DO UPDATE SET reason = $3, detail = $4, pipeline = $5, at = $6",
        args![id, project, reason, detail, pipeline, at],
    )
    .await?;
    Ok(())
}

pub(crate) async fn left(on: &impl Query, id: MergeRequestId) -> Result<Option<Left>> {
    on.one(
        "SELECT reason, detail, pipeline, at FROM merge_queue_left WHERE merge_request_id = $1",
        args![id],
    )
    .await
}

row! {
    /// A request that was taken out.
    pub(crate) struct Gone {
        pub(crate) iid: i64,
        pub(crate) title: String,
        pub(crate) detail: String,
        pub(crate) pipeline: Option<i64>,
        pub(crate) at: Timestamp,
    }
}

/// Who was taken out of a project's queues, the newest first.
pub(crate) async fn all_left(on: &impl Query, project: ProjectId, limit: i64) -> Result<Vec<Gone>> {
    on.all(
        "SELECT merge_request.iid AS iid, merge_request.title AS title, merge_queue_left.detail AS detail,
                    merge_queue_left.pipeline AS pipeline, merge_queue_left.at AS at
             FROM merge_queue_left JOIN merge_request ON merge_request.id = merge_queue_left.merge_request_id
             WHERE merge_queue_left.project_id = $1 ORDER BY merge_queue_left.at DESC LIMIT $2",
        args![project, limit],
    )
    .await
}

/// Forgets all of a project that is deleted.
pub(crate) async fn delete_project(tx: &Tx, project: ProjectId) -> Result<()> {
    tx.run("DELETE FROM merge_queue WHERE project_id = $1", args![project])
        .await?;
    tx.run(
        "DELETE FROM merge_queue_left WHERE project_id = $1",
        args![project],
    )
    .await?;
    Ok(())
}
