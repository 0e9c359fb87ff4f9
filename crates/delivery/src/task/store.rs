//! The queries about tasks.

use super::{OUTPUTS, Task, status};
use bascule_core::{AgentId, Digest, EnvironmentId, ProjectId, ReleaseId, TaskId, Timestamp};
use bascule_store::{Json, Query, Result, ToSql as _, Tx, args, bind_all, row};
use std::collections::BTreeMap;

const COLUMNS: &str = "t.id, t.project_id, t.environment_id, e.name AS environment, t.deployment_id, t.version, \
     t.command, t.reason, t.actor, t.actor_id, t.teams, t.status, t.cancelled, t.timeout_ms, t.output_bytes, \
     t.exit_code, t.message, t.created_at, t.queued_at, t.started_at, t.finished_at";
const FROM: &str = "FROM task t JOIN environment e ON e.id = t.environment_id";

pub(crate) async fn insert(tx: &Tx, task: &Task) -> Result<()> {
    let sql = "INSERT INTO task (id, project_id, environment_id, deployment_id, version, command, reason, actor, \
               actor_id, teams, status, timeout_ms, created_at, queued_at) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)";
    let values = args![
        task.id,
        task.project_id,
        task.environment_id,
        task.deployment_id,
        task.version,
        task.command,
        task.reason,
        task.actor,
        task.actor_id,
        task.teams,
        task.status,
        task.timeout_ms,
        task.created_at,
        task.queued_at
    ];
    tx.run(sql, values).await.map(drop)
}

/// Forgets what tasks of a project wrote, except the newest.
pub(crate) async fn forget_outputs(tx: &Tx, project: ProjectId) -> Result<()> {
    let sql = "DELETE FROM task_output WHERE task_id IN (SELECT id FROM task WHERE project_id = $1
               AND finished_at IS NOT NULL ORDER BY id DESC LIMIT 1000 OFFSET $2)";
    tx.run(sql, args![project, OUTPUTS]).await.map(drop)
}

pub(crate) async fn get(db: &impl Query, project: ProjectId, id: TaskId) -> Result<Option<Task>> {
    let sql = format!("SELECT {COLUMNS} {FROM} WHERE t.id = $1 AND t.project_id = $2");
    db.one(&sql, args![id, project]).await
}

/// Newest first; older than one of them.
pub(crate) async fn list(
    db: &impl Query,
    project: ProjectId,
    before: Option<TaskId>,
    limit: i64,
) -> Result<Vec<Task>> {
    let mut sql = format!("SELECT {COLUMNS} {FROM} WHERE t.project_id = $1");
    let mut values = args![project];
    if let Some(before) = before {
        values.push(before.to_sql());
        sql.push_str(" AND t.id < $2");
    }
    values.push(limit.to_sql());
    sql.push_str(&format!(" ORDER BY t.id DESC LIMIT ${}", values.len()));
    db.all(&sql, values).await
}

pub(crate) async fn open_in(db: &impl Query, environment: EnvironmentId) -> Result<i64> {
    let sql = "SELECT COUNT(*) AS n FROM task WHERE environment_id = $1 AND finished_at IS NULL";
    db.count(sql, args![environment]).await
}

row! {
    /// An approval that was given.
    #[derive(Clone, Debug)]
    pub(crate) struct Approved {
        pub task_id: TaskId,
        pub team: String,
        pub actor: String,
    }
}

pub(crate) async fn approvals(db: &impl Query, tasks: &[TaskId]) -> Result<Vec<Approved>> {
    if tasks.is_empty() {
        return Ok(Vec::new());
    }
    let mut values = args![];
    let places = bind_all(&mut values, tasks);
    let sql = format!("SELECT task_id, team, actor FROM task_approval WHERE task_id IN ({places})");
    db.all(&sql, values).await
}

/// Notes an approval; `false` where it was given before.
pub(crate) async fn approve(tx: &Tx, task: TaskId, team: &str, actor: &str, at: Timestamp) -> Result<bool> {
    let sql =
        "INSERT INTO task_approval (task_id, team, actor, at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
    Ok(tx.run(sql, args![task, team, actor, at]).await? == 1)
}

/// Lets a task that waited be run; `false` where it does not wait any more.
pub(crate) async fn queue(tx: &Tx, task: TaskId, at: Timestamp) -> Result<bool> {
    let sql = "UPDATE task SET status = $2, queued_at = $3 WHERE id = $1 AND status = $4";
    Ok(tx
        .run(sql, args![task, status::QUEUED, at, status::WAITING])
        .await?
        == 1)
}

/// Marks a task as to be ended; `false` where it was marked or has ended.
pub(crate) async fn cancel(tx: &Tx, task: TaskId) -> Result<bool> {
    let sql = "UPDATE task SET cancelled = TRUE WHERE id = $1 AND cancelled = FALSE AND finished_at IS NULL";
    Ok(tx.run(sql, args![task]).await? == 1)
}

/// Notes that a task was begun; `false` where that was known.
pub(crate) async fn started(tx: &Tx, task: TaskId, at: Timestamp) -> Result<bool> {
    let sql = "UPDATE task SET status = $2, started_at = $3 WHERE id = $1 AND status = $4";
    Ok(tx
        .run(sql, args![task, status::RUNNING, at, status::QUEUED])
        .await?
        == 1)
}

/// Notes how a task ended; `false` where that was known.
pub(crate) async fn finish(
    tx: &Tx,
    task: TaskId,
    to: &str,
    exit_code: Option<i32>,
    message: &str,
    at: Timestamp,
) -> Result<bool> {
    let sql = "UPDATE task SET status = $2, exit_code = $3, message = $4, finished_at = $5
               WHERE id = $1 AND finished_at IS NULL";
    let values = args![task, to, exit_code.map(i64::from), message, at];
    Ok(tx.run(sql, values).await? == 1)
}

row! {
    /// All that an agent is told of a task.
    pub(crate) struct Wanted {
        pub id: TaskId,
        pub project_id: ProjectId,
        pub environment_id: EnvironmentId,
        pub project_path: String,
        pub environment: String,
        pub release_id: ReleaseId,
        pub version: String,
        pub artifact_digest: Digest,
        pub artifact_size: i64,
        pub artifact_file: String,
        pub product: Json<crate::product::Product>,
        pub settings: Json<BTreeMap<String, String>>,
        pub command: Json<Vec<String>>,
        pub status: String,
        pub cancelled: bool,
        pub timeout_ms: i64,
        pub queued_at: Option<Timestamp>,
        pub output_bytes: i64,
    }
}

/// The tasks that an agent should run or has to tell the end of.
pub(crate) async fn wanted_of(db: &impl Query, agent: AgentId) -> Result<Vec<Wanted>> {
    let sql = "SELECT t.id, t.project_id, t.environment_id, e.project_path, e.name AS environment, d.release_id,
                 t.version, d.artifact_digest, d.artifact_size, d.artifact_file, d.product, d.settings, t.command, t.status,
                 t.cancelled, t.timeout_ms, t.queued_at, t.output_bytes
               FROM task t JOIN environment e ON e.id = t.environment_id JOIN deployment d ON d.id = t.deployment_id
               WHERE t.finished_at IS NULL AND t.status <> 'waiting' AND e.agent_id = $1 ORDER BY t.id LIMIT 1000";
    db.all(sql, args![agent]).await
}

row! { struct Length { output_bytes: i64 } }
row! {
    /// A piece of output.
    pub(crate) struct Piece {
        pub start: i64,
        pub bytes: Vec<u8>,
    }
}

/// Claims a task's row, so that what is added to its output is added one after the other; its length until now.
pub(crate) async fn claim_output(tx: &Tx, task: TaskId) -> Result<i64> {
    let sql = "UPDATE task SET output_bytes = output_bytes WHERE id = $1 RETURNING output_bytes";
    let found: Option<Length> = tx.one(sql, args![task]).await?;
    Ok(found.map_or(0, |length| length.output_bytes))
}

pub(crate) async fn add_output(tx: &Tx, task: TaskId, start: i64, bytes: &[u8]) -> Result<()> {
    let length = i64::try_from(bytes.len()).unwrap_or_default();
    let sql = "INSERT INTO task_output (task_id, start, length, bytes) VALUES ($1, $2, $3, $4)";
    tx.run(sql, args![task, start, length, bytes.to_vec()]).await?;
    let sql = "UPDATE task SET output_bytes = $2 WHERE id = $1";
    tx.run(sql, args![task, start + length]).await.map(drop)
}

/// Some pieces from a byte on.
pub(crate) async fn output(db: &impl Query, task: TaskId, from: i64) -> Result<Vec<Piece>> {
    let sql = "SELECT start, bytes FROM task_output WHERE task_id = $1 AND start + length > $2 ORDER BY start LIMIT 16";
    db.all(sql, args![task, from]).await
}
