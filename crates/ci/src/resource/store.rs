//! Who has and who waits for resource groups. The only file with these queries.

use super::{Holder, Mode};
use bascule_core::{JobId, PipelineId, ProjectId};
use bascule_store::{Migration, Query, Result, Tx, args, row};
use bascule_wire::ci::ResourceGroup;

/// Tables of this room.
pub const MIGRATION: Migration = Migration {
    id: "ci-2611-resource",
    sql: "
        CREATE TABLE ci_resource_group (
            project_id TEXT NOT NULL,
            name TEXT NOT NULL,
            mode TEXT NOT NULL,
            PRIMARY KEY (project_id, name)
        );
    ",
};

row! {
    /// A job that comes next.
    pub struct Next { pub id: JobId, pub pipeline_id: PipelineId }
}

/// Groups that jobs wait for.
pub async fn waited_for(on: &impl Query) -> Result<Vec<(ProjectId, String)>> {
    row! { struct Row { project_id: ProjectId, resource_group: String } }
    let rows: Vec<Row> = on
        .all(
            "SELECT DISTINCT project_id, resource_group FROM job
             WHERE status = 'waiting_for_resource' AND resource_group IS NOT NULL
             ORDER BY project_id, resource_group LIMIT 1000",
            args![],
        )
        .await?;
    Ok(rows
        .into_iter()
        .map(|row| (row.project_id, row.resource_group))
        .collect())
}

/// Makes others wait who give the same group away, and says who comes next in it.
pub async fn lock(tx: &Tx, project: ProjectId, group: &str) -> Result<Mode> {
    tx.run(
        "INSERT INTO ci_resource_group (project_id, name, mode) VALUES ($1, $2, $3)
         ON CONFLICT (project_id, name) DO UPDATE SET mode = ci_resource_group.mode",
        args![project, group, Mode::default().as_str()],
    )
    .await?;
    mode(tx, project, group).await
}

/// Who comes next in a group.
pub async fn mode(on: &impl Query, project: ProjectId, group: &str) -> Result<Mode> {
    row! { struct Row { mode: String } }
    let found: Option<Row> = on
        .one(
            "SELECT mode FROM ci_resource_group WHERE project_id = $1 AND name = $2",
            args![project, group],
        )
        .await?;
    Ok(found.and_then(|row| Mode::parse(&row.mode)).unwrap_or_default())
}

pub async fn set_mode(tx: &Tx, project: ProjectId, group: &str, mode: Mode) -> Result<()> {
    tx.run(
        "UPDATE ci_resource_group SET mode = $3 WHERE project_id = $1 AND name = $2",
        args![project, group, mode.as_str()],
    )
    .await
    .map(drop)
}

/// The job that has a group: it runs, or waits for a runner.
pub async fn holder(on: &impl Query, project: ProjectId, group: &str) -> Result<Option<Holder>> {
    row! { struct Row { id: JobId, name: String, pipeline_id: PipelineId } }
    let found: Option<Row> = on
        .one(
            "SELECT id, name, pipeline_id FROM job WHERE project_id = $1 AND resource_group = $2
             AND status IN ('pending', 'running', 'canceling') ORDER BY status DESC, id LIMIT 1",
            args![project, group],
        )
        .await?;
    Ok(found.map(|row| Holder {
        job: row.id,
        name: row.name,
        pipeline: row.pipeline_id,
    }))
}

/// The job that comes next, ready or not.
pub async fn next(on: &impl Query, project: ProjectId, group: &str, mode: Mode) -> Result<Option<Next>> {
    let (states, order) = match mode {
        Mode::Unordered => ("'waiting_for_resource'", "queued_at, id"),
        Mode::NewestReadyFirst => ("'waiting_for_resource'", "pipeline_id DESC, id"),
        Mode::OldestFirst => (
            "'created', 'scheduled', 'waiting_for_resource'",
            "pipeline_id, id",
        ),
        Mode::NewestFirst => (
            "'created', 'scheduled', 'waiting_for_resource'",
            "pipeline_id DESC, id",
        ),
    };
    // Within one pipeline those that are ready come before those that are not.
    let order = order.replace(
        ", id",
        ", CASE status WHEN 'waiting_for_resource' THEN 0 ELSE 1 END, id",
    );
    let sql = format!(
        "SELECT id, pipeline_id FROM job WHERE project_id = $1 AND resource_group = $2 AND retried = FALSE
         AND status IN ({states}) ORDER BY {order} LIMIT 1"
    );
    on.one(&sql, args![project, group]).await
}

/// The groups of a project with how they stand.
pub async fn list(on: &impl Query, project: ProjectId) -> Result<Vec<ResourceGroup>> {
    row! { struct Row { name: String, mode: Option<String>, waiting: i64, holder: Option<JobId> } }
    let rows: Vec<Row> = on
        .all(
            "SELECT names.name AS name, g.mode AS mode,
                 (SELECT COUNT(*) FROM job w WHERE w.project_id = $1 AND w.resource_group = names.name
                     AND w.status = 'waiting_for_resource') AS waiting,
                 (SELECT MIN(h.id) FROM job h WHERE h.project_id = $1 AND h.resource_group = names.name
                     AND h.status IN ('pending', 'running', 'canceling')) AS holder
             FROM (SELECT DISTINCT resource_group AS name FROM job
                   WHERE project_id = $1 AND resource_group IS NOT NULL) names
             LEFT JOIN ci_resource_group g ON g.project_id = $1 AND g.name = names.name
             ORDER BY names.name LIMIT 500",
            args![project],
        )
        .await?;
    Ok(rows
        .into_iter()
        .map(|row| ResourceGroup {
            key: row.name,
            process_mode: row.mode.unwrap_or_else(|| Mode::default().as_str().to_owned()),
            waiting: row.waiting,
            held_by: row.holder,
        })
        .collect())
}
