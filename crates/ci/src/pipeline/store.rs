//! Queries about pipelines.

use super::{Pipeline, Settings};
use crate::{config::JobSpec, status::PipelineStatus};
use bascule_core::{Actor, ActorKind, PipelineId, ProjectId, Timestamp};
use bascule_store::{Json, Migration, Query, Result, Tx, args, bind_all, row};
use std::collections::{HashMap, HashSet};

/// What pipelines that make pipelines, delayed jobs and jobs of a group need.
pub const ENGINE: Migration = Migration {
    id: "ci-2611-engine",
    sql: "
        ALTER TABLE pipeline ADD COLUMN parent_id BIGINT;
        ALTER TABLE pipeline ADD COLUMN parent_job_id BIGINT;
        ALTER TABLE pipeline ADD COLUMN root_id BIGINT;
        ALTER TABLE pipeline ADD COLUMN depth BIGINT NOT NULL DEFAULT 0;
        ALTER TABLE pipeline ADD COLUMN head_sha TEXT;
        ALTER TABLE pipeline ADD COLUMN settings TEXT NOT NULL DEFAULT '{}';
        CREATE INDEX pipeline_parent ON pipeline (parent_id);
        CREATE INDEX pipeline_root ON pipeline (root_id);
        CREATE INDEX pipeline_sha ON pipeline (project_id, sha);
        CREATE INDEX pipeline_head ON pipeline (project_id, head_sha);
        CREATE INDEX pipeline_open ON pipeline (project_id, reference, finished_at);
        ALTER TABLE job ADD COLUMN bridge BOOLEAN NOT NULL DEFAULT FALSE;
        ALTER TABLE job ADD COLUMN downstream_id BIGINT;
        ALTER TABLE job ADD COLUMN required TEXT;
        ALTER TABLE job ADD COLUMN gate BOOLEAN NOT NULL DEFAULT FALSE;
        ALTER TABLE job ADD COLUMN start_in BIGINT;
        ALTER TABLE job ADD COLUMN run_at BIGINT;
        CREATE INDEX job_run_at ON job (run_at) WHERE status = 'scheduled';
        CREATE INDEX job_resource ON job (project_id, resource_group, status) WHERE resource_group IS NOT NULL;
    ",
};

const COLUMNS: &str = "id, project_id, reference, tag, sha, before_sha, source, name, message, protected, status, \
    stages, faults, warnings, variables, ci_file_digest, actor_name, created_at, started_at, finished_at, parent_id, \
    parent_job_id, root_id, depth, head_sha, settings";

/// What identifies who started a pipeline and why.
pub struct Origin<'a> {
    pub actor: &'a Actor,
    /// The fact that caused it, so that the same fact makes one pipeline.
    pub source_fact: Option<String>,
}

pub async fn insert(tx: &Tx, p: &Pipeline, origin: &Origin<'_>) -> Result<bool> {
    let sql = format!(
        "INSERT INTO pipeline ({COLUMNS}, actor_kind, actor_id, source_fact)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23,
         $24, $25, $26, $27, $28, $29)
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
                p.parent_id,
                p.parent_job_id,
                p.root_id,
                p.depth,
                p.head_sha,
                p.settings,
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

/// The pipelines that bridges of a pipeline made, oldest first.
pub async fn children(on: &impl Query, parent: PipelineId) -> Result<Vec<Pipeline>> {
    let sql = format!("SELECT {COLUMNS} FROM pipeline WHERE parent_id = $1 ORDER BY id LIMIT 1000");
    on.all(&sql, args![parent]).await
}

/// How some pipelines stand.
pub async fn statuses(on: &impl Query, ids: &[PipelineId]) -> Result<HashMap<PipelineId, PipelineStatus>> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    row! { struct Row { id: PipelineId, status: PipelineStatus } }
    let mut values = args![];
    let places = bind_all(&mut values, ids);
    let sql = format!("SELECT id, status FROM pipeline WHERE id IN ({places})");
    let rows: Vec<Row> = on.all(&sql, values).await?;
    Ok(rows.into_iter().map(|row| (row.id, row.status)).collect())
}

/// Which of some pipelines run what a protected branch or tag holds.
pub async fn protected(on: &impl Query, ids: &[PipelineId]) -> Result<HashSet<PipelineId>> {
    if ids.is_empty() {
        return Ok(HashSet::new());
    }
    row! { struct Row { id: PipelineId } }
    let mut values = args![];
    let places = bind_all(&mut values, ids);
    let sql = format!("SELECT id FROM pipeline WHERE protected AND id IN ({places})");
    let rows: Vec<Row> = on.all(&sql, values).await?;
    Ok(rows.into_iter().map(|row| row.id).collect())
}

row! {
    /// A child pipeline, and the bridge that made it.
    #[derive(Clone, Debug)]
    pub(crate) struct Born {
        pub id: PipelineId,
        pub parent_id: PipelineId,
        pub spec: Json<JobSpec>,
    }
}

const BORN: &str = "SELECT p.id, p.parent_id, j.spec FROM pipeline p JOIN job j ON j.id = p.parent_job_id
    WHERE p.source = 'parent_pipeline' AND p.parent_id IS NOT NULL";

/// Children of some pipelines, without those whose bridge was tried again.
pub(crate) async fn born_of(on: &impl Query, parents: &[PipelineId]) -> Result<Vec<Born>> {
    if parents.is_empty() {
        return Ok(Vec::new());
    }
    let mut values = Vec::new();
    let wanted = bind_all(&mut values, parents);
    let sql = format!("{BORN} AND j.retried = FALSE AND p.parent_id IN ({wanted}) ORDER BY p.id");
    on.all(&sql, values).await
}

/// How a pipeline came to be, if it is a child.
pub(crate) async fn birth(on: &impl Query, id: PipelineId) -> Result<Option<Born>> {
    on.one(&format!("{BORN} AND p.id = $1"), args![id]).await
}

/// How many pipelines one has led to, directly or not.
pub async fn family(on: &impl Query, root: PipelineId) -> Result<i64> {
    on.count(
        "SELECT COUNT(*) AS n FROM pipeline WHERE root_id = $1",
        args![root],
    )
    .await
}

/// Pipelines of a ref that have not ended and that are older than another, newest first.
pub async fn open_before(on: &impl Query, newer: &Pipeline) -> Result<Vec<Pipeline>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM pipeline WHERE project_id = $1 AND reference = $2 AND tag = FALSE AND id < $3
         AND finished_at IS NULL AND source = $4 AND sha <> $5 ORDER BY id DESC LIMIT 100"
    );
    on.all(
        &sql,
        args![
            newer.project_id,
            newer.reference,
            newer.id,
            newer.source,
            newer.sha
        ],
    )
    .await
}

/// Replaces what a pipeline was made with.
pub async fn set_settings(tx: &Tx, id: PipelineId, settings: &Settings) -> Result<()> {
    tx.run(
        "UPDATE pipeline SET settings = $2 WHERE id = $1",
        args![id, Json(settings.clone())],
    )
    .await?;
    Ok(())
}

/// Newest first, those before a number; those that bridges made within their own project are told with their
/// parents only.
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
                "SELECT {COLUMNS} FROM pipeline WHERE project_id = $1 AND id < $2
                 AND source <> 'parent_pipeline' ORDER BY id DESC LIMIT $3"
            );
            on.all(&sql, args![project, before, limit]).await
        }
        Some(reference) => {
            let sql = format!(
                "SELECT {COLUMNS} FROM pipeline WHERE project_id = $1 AND id < $2 AND reference = $4
                 AND source <> 'parent_pipeline' ORDER BY id DESC LIMIT $3"
            );
            on.all(&sql, args![project, before, limit, reference]).await
        }
    }
}

/// The newest of a branch, or of a tag of the same name.
pub async fn newest_of(
    on: &impl Query,
    project: ProjectId,
    (reference, tag): (&str, bool),
    limit: i64,
) -> Result<Vec<Pipeline>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM pipeline WHERE project_id = $1 AND reference = $2 AND tag = $3
         AND source <> 'parent_pipeline' ORDER BY id DESC LIMIT $4"
    );
    on.all(&sql, args![project, reference, tag, limit]).await
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

/// The newest pipeline of a commit, or of what comes of merging it. What a bridge made counts by its parent.
pub async fn of_commit(on: &impl Query, project: ProjectId, sha: &str) -> Result<Option<Pipeline>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM pipeline WHERE project_id = $1 AND (sha = $2 OR head_sha = $2)
         AND source <> 'parent_pipeline' ORDER BY id DESC LIMIT 1"
    );
    on.one(&sql, args![project, sha]).await
}

/// The newest pipeline of a branch's commit, or of merging it. The same commit on another branch is another matter: there
/// the file's rules may let less run. One in which the group's required jobs run alone stands for the project's own only
/// where there is no other.
pub async fn of_branch(
    on: &impl Query,
    project: ProjectId,
    branch: &str,
    sha: &str,
) -> Result<Option<Pipeline>> {
    const OWN: &str = "AND (faults <> '[]' OR EXISTS (
        SELECT 1 FROM job WHERE job.pipeline_id = pipeline.id AND job.required IS NULL))";
    match newest_of_branch(on, project, branch, sha, OWN).await? {
        Some(own) => Ok(Some(own)),
        None => newest_of_branch(on, project, branch, sha, "").await,
    }
}

/// The newest pipeline that a push of this commit to the branch made.
pub async fn of_push(
    on: &impl Query,
    project: ProjectId,
    branch: &str,
    sha: &str,
) -> Result<Option<Pipeline>> {
    newest_of_branch(on, project, branch, sha, "AND source = 'push'").await
}

async fn newest_of_branch(
    on: &impl Query,
    project: ProjectId,
    branch: &str,
    sha: &str,
    and: &'static str,
) -> Result<Option<Pipeline>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM pipeline WHERE project_id = $1 AND (sha = $2 OR head_sha = $2) AND reference = $3
         AND tag = FALSE AND source <> 'parent_pipeline' {and} ORDER BY id DESC LIMIT 1"
    );
    on.one(&sql, args![project, sha, branch]).await
}

pub async fn delete_project(tx: &Tx, project: ProjectId, now: Timestamp) -> Result<()> {
    crate::retention::store::note_project(tx, project, now).await?;
    crate::results::store::delete_project(tx, project).await?;
    for sql in [
        "DELETE FROM job_trace WHERE job_id IN (SELECT id FROM job WHERE project_id = $1)",
        "DELETE FROM job_artifact WHERE job_id IN (SELECT id FROM job WHERE project_id = $1)",
        "DELETE FROM job WHERE project_id = $1",
        "DELETE FROM pipeline WHERE project_id = $1",
        "DELETE FROM ci_schedule WHERE project_id = $1",
        "DELETE FROM ci_resource_group WHERE project_id = $1",
        "DELETE FROM ci_merged_results WHERE project_id = $1",
        "DELETE FROM ci_environment WHERE project_id = $1",
        "DELETE FROM ci_cache WHERE project_id = $1",
        "DELETE FROM ci_job_token_access WHERE project_id = $1",
        "DELETE FROM ci_resource_lock WHERE project_id = $1",
        "DELETE FROM runner_project WHERE project_id = $1",
    ] {
        tx.run(sql, args![project]).await?;
    }
    crate::trigger_token::store::delete_project(tx, project).await?;
    crate::site::store::delete_project(tx, project).await?;
    crate::variable::store::delete_project(tx, project).await?;
    Ok(())
}
