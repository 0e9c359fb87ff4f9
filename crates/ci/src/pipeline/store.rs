//! Queries about pipelines.

use super::Pipeline;
use crate::status::PipelineStatus;
use bascule_core::{Actor, ActorKind, PipelineId, ProjectId, Timestamp};
use bascule_store::{Query, Result, Tx, args, row};

const COLUMNS: &str = "id, project_id, reference, tag, sha, before_sha, source, name, message, protected, status, \
    stages, faults, warnings, variables, ci_file_digest, actor_name, created_at, started_at, finished_at";

/// What identifies who started a pipeline and why.
pub struct Origin<'a> {
    pub actor: &'a Actor,
    /// The fact that caused it, so that the same fact makes one pipeline.
    pub source_fact: Option<String>,
}

pub async fn insert(tx: &Tx, p: &Pipeline, origin: &Origin<'_>) -> Result<bool> {
    let sql = format!(
        "INSERT INTO pipeline ({COLUMNS}, actor_kind, actor_id, source_fact)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23)
         ON CONFLICT (source_fact) DO NOTHING"
    );
    let rows = tx
        .run(
            &sql,
            args![
                p.id,
                p.project_id,
                p.reference,
                p.tag,
                p.sha,
                p.before_sha,
                p.source,
                p.name,
                p.message,
                p.protected,
                p.status,
                p.stages,
                p.faults,
                p.warnings,
                p.variables,
                p.ci_file_digest,
                p.actor_name,
                p.created_at,
                p.started_at,
                p.finished_at,
                origin.actor.kind.as_str(),
                origin.actor.id,
                origin.source_fact
            ],
        )
        .await?;
    Ok(rows == 1)
}

pub async fn find(on: &impl Query, id: PipelineId) -> Result<Option<Pipeline>> {
    on.one(
        &format!("SELECT {COLUMNS} FROM pipeline WHERE id = $1"),
        args![id],
    )
    .await
}

pub async fn of_fact(on: &impl Query, fact: &str) -> Result<Option<Pipeline>> {
    on.one(
        &format!("SELECT {COLUMNS} FROM pipeline WHERE source_fact = $1"),
        args![fact],
    )
    .await
}

row! { struct Starter { actor_name: String } }

/// The user name of the account that started a pipeline. What programs are called holds a colon, which no user name
/// does.
pub async fn starter(on: &impl Query, id: PipelineId) -> Result<Option<String>> {
    let found: Option<Starter> = on
        .one(
            "SELECT actor_name FROM pipeline WHERE id = $1 AND actor_kind IN ('user', 'token')",
            args![id],
        )
        .await?;
    Ok(found
        .map(|starter| starter.actor_name)
        .filter(|name| !name.contains(':')))
}

row! { struct Starting { actor_kind: String, actor_id: String, actor_name: String } }

/// Who started a pipeline.
pub async fn actor(on: &impl Query, id: PipelineId) -> Result<Option<Actor>> {
    let found: Option<Starting> = on
        .one(
            "SELECT actor_kind, actor_id, actor_name FROM pipeline WHERE id = $1",
            args![id],
        )
        .await?;
    Ok(found.map(|row| Actor::new(ActorKind::parse(&row.actor_kind), row.actor_id, row.actor_name)))
}

/// Pipelines that an account started and that have not ended.
pub async fn open_of(on: &impl Query, username: &str) -> Result<Vec<Pipeline>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM pipeline
         WHERE actor_name = $1 AND actor_kind IN ('user', 'token') AND finished_at IS NULL ORDER BY id LIMIT 500"
    );
    on.all(&sql, args![username]).await
}

/// Newest first, those before a number.
pub async fn list(
    on: &impl Query,
    project: ProjectId,
    reference: Option<&str>,
    before: Option<PipelineId>,
    limit: i64,
) -> Result<Vec<Pipeline>> {
    let before = before.unwrap_or(PipelineId(i64::MAX));
    match reference {
        None => {
            let sql = format!(
                "SELECT {COLUMNS} FROM pipeline WHERE project_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3"
            );
            on.all(&sql, args![project, before, limit]).await
        }
        Some(reference) => {
            let sql = format!(
                "SELECT {COLUMNS} FROM pipeline WHERE project_id = $1 AND id < $2 AND reference = $4
                 ORDER BY id DESC LIMIT $3"
            );
            on.all(&sql, args![project, before, limit, reference]).await
        }
    }
}

/// Sets the status if it differs; whether it did.
pub async fn set_status(
    tx: &Tx,
    id: PipelineId,
    status: PipelineStatus,
    finished: Option<Timestamp>,
) -> Result<bool> {
    let rows = tx
        .run(
            "UPDATE pipeline SET status = $2, finished_at = $3 WHERE id = $1 AND status <> $2",
            args![id, status, finished],
        )
        .await?;
    Ok(rows == 1)
}

pub async fn set_started(tx: &Tx, id: PipelineId, at: Timestamp) -> Result<()> {
    tx.run(
        "UPDATE pipeline SET started_at = $2 WHERE id = $1 AND started_at IS NULL",
        args![id, at],
    )
    .await?;
    Ok(())
}

/// Makes others wait who change jobs of the same pipeline, so that both see what the other did. On SQLite
/// there is one writer anyway.
pub async fn lock(tx: &Tx, id: PipelineId) -> Result<()> {
    tx.run("UPDATE pipeline SET status = status WHERE id = $1", args![id])
        .await?;
    Ok(())
}

/// The newest pipeline of a commit.
pub async fn of_commit(on: &impl Query, project: ProjectId, sha: &str) -> Result<Option<Pipeline>> {
    let sql =
        format!("SELECT {COLUMNS} FROM pipeline WHERE project_id = $1 AND sha = $2 ORDER BY id DESC LIMIT 1");
    on.one(&sql, args![project, sha]).await
}

pub async fn delete_project(tx: &Tx, project: ProjectId) -> Result<()> {
    crate::results::store::delete_project(tx, project).await?;
    for sql in [
        "DELETE FROM job_trace WHERE job_id IN (SELECT id FROM job WHERE project_id = $1)",
        "DELETE FROM job_artifact WHERE job_id IN (SELECT id FROM job WHERE project_id = $1)",
        "DELETE FROM job WHERE project_id = $1",
        "DELETE FROM pipeline WHERE project_id = $1",
        "DELETE FROM ci_variable WHERE project_id = $1",
    ] {
        tx.run(sql, args![project]).await?;
    }
    Ok(())
}
