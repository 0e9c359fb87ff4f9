//! The queries about deployments.

use super::{Deployment, Status};
use bascule_core::{DeploymentId, EnvironmentId, ProjectId, ReleaseId, RolloutId, Timestamp};
use bascule_store::{Json, Query, Result, ToSql as _, Tx, args, bind_all, row};
use std::collections::BTreeMap;

pub(crate) const COLUMNS: &str = "id, project_id, environment_id, release_id, version, cause, actor, status, reason, \
     forced, artifact_digest, artifact_size, artifact_file, product, previous_id, created_at, exposed_at, finished_at";

pub(crate) async fn get(db: &impl Query, id: DeploymentId) -> Result<Option<Deployment>> {
    db.one(
        &format!("SELECT {COLUMNS} FROM deployment WHERE id = $1"),
        args![id],
    )
    .await
}

/// Deployments that are read at once.
const AT_ONCE: i64 = 500;

/// Deployments that have not ended, a page of them after one.
pub(crate) async fn open(db: &impl Query, after: Option<DeploymentId>) -> Result<Vec<Deployment>> {
    let (after, values) = match after {
        Some(id) => ("AND id > $1", args![id]),
        None => ("", Vec::new()),
    };
    let sql = format!(
        "SELECT {COLUMNS} FROM deployment WHERE finished_at IS NULL {after} ORDER BY id LIMIT {AT_ONCE}"
    );
    db.all(&sql, values).await
}

pub(crate) async fn open_in(db: &impl Query, environment: EnvironmentId) -> Result<Option<Deployment>> {
    let sql =
        format!("SELECT {COLUMNS} FROM deployment WHERE environment_id = $1 AND finished_at IS NULL LIMIT 1");
    db.one(&sql, args![environment]).await
}

/// Which deployments to list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Which {
    pub project: ProjectId,
    pub environment: Option<EnvironmentId>,
    pub before: Option<DeploymentId>,
    pub limit: i64,
}

/// Newest first. Identifiers sort by creation, so the page goes on before the last one seen.
pub(crate) async fn list(db: &impl Query, which: Which) -> Result<Vec<Deployment>> {
    // What runs in previews is told with their requests.
    let mut sql = format!(
        "SELECT {COLUMNS} FROM deployment WHERE project_id = $1
         AND environment_id NOT IN (SELECT id FROM environment WHERE project_id = $1 AND tier = 'preview')"
    );
    let mut args = args![which.project];
    if let Some(environment) = which.environment {
        args.push(environment.to_sql());
        sql.push_str(&format!(" AND environment_id = ${}", args.len()));
    }
    if let Some(before) = which.before {
        args.push(before.to_sql());
        sql.push_str(&format!(" AND id < ${}", args.len()));
    }
    args.push(which.limit.to_sql());
    sql.push_str(&format!(" ORDER BY id DESC LIMIT ${}", args.len()));
    db.all(&sql, args).await
}

/// The last deployment of a release in an environment.
pub(crate) async fn last_of_release(
    db: &impl Query,
    environment: EnvironmentId,
    release: ReleaseId,
) -> Result<Option<Deployment>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM deployment WHERE environment_id = $1 AND release_id = $2 ORDER BY id DESC LIMIT 1"
    );
    db.one(&sql, args![environment, release]).await
}

/// Whether a release ever succeeded in an environment.
pub(crate) async fn succeeded(
    db: &impl Query,
    environment: EnvironmentId,
    release: ReleaseId,
) -> Result<bool> {
    let sql = "SELECT COUNT(*) AS n FROM deployment WHERE environment_id = $1 AND release_id = $2 AND status = 'succeeded'";
    Ok(db.count(sql, args![environment, release]).await? > 0)
}

pub(crate) async fn insert(tx: &Tx, deployment: &Deployment) -> Result<()> {
    let sql = format!(
        "INSERT INTO deployment ({COLUMNS})
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)"
    );
    tx.run(
        &sql,
        args![
            deployment.id,
            deployment.project_id,
            deployment.environment_id,
            deployment.release_id,
            deployment.version,
            deployment.cause,
            deployment.actor,
            deployment.status,
            deployment.reason,
            deployment.forced,
            deployment.artifact_digest,
            deployment.artifact_size,
            deployment.artifact_file,
            deployment.product,
            deployment.previous_id,
            deployment.created_at,
            deployment.exposed_at,
            deployment.finished_at
        ],
    )
    .await
    .map(drop)
}

/// Notes what a declaration gave it, so that drift shows.
pub(crate) async fn set_settings(
    tx: &Tx,
    id: DeploymentId,
    settings: &BTreeMap<String, String>,
) -> Result<()> {
    let sql = "UPDATE deployment SET settings = $2 WHERE id = $1";
    tx.run(sql, args![id, Json(settings)]).await.map(drop)
}

row! { struct Settings { settings: Json<BTreeMap<String, String>> } }

/// What a declaration gave it.
pub(crate) async fn settings(db: &impl Query, id: DeploymentId) -> Result<BTreeMap<String, String>> {
    let sql = "SELECT settings FROM deployment WHERE id = $1";
    let found = db.one::<Settings>(sql, args![id]).await?;
    Ok(found.map(|row| row.settings.0).unwrap_or_default())
}

/// Ends a deployment; `false` where it has ended before.
pub(crate) async fn finish(
    tx: &Tx,
    id: DeploymentId,
    status: Status,
    reason: &str,
    at: Timestamp,
) -> Result<bool> {
    let sql = "UPDATE deployment SET status = $2, reason = $3, finished_at = $4 WHERE id = $1 AND finished_at IS NULL";
    Ok(tx.run(sql, args![id, status.as_str(), reason, at]).await? == 1)
}

/// Notes that users meet it from now on.
pub(crate) async fn expose(tx: &Tx, id: DeploymentId, status: Status, at: Timestamp) -> Result<bool> {
    let sql = "UPDATE deployment SET status = $2, exposed_at = COALESCE(exposed_at, $3) WHERE id = $1 AND finished_at IS NULL";
    Ok(tx.run(sql, args![id, status.as_str(), at]).await? == 1)
}

/// Its instances begin to take the places of others; no user met it yet.
pub(crate) async fn roll(tx: &Tx, id: DeploymentId) -> Result<bool> {
    let sql = "UPDATE deployment SET status = $2 WHERE id = $1 AND finished_at IS NULL";
    Ok(tx.run(sql, args![id, Status::RollingOut.as_str()]).await? == 1)
}

row! { pub(crate) struct RolloutOf { pub deployment_id: DeploymentId, pub id: RolloutId } }

/// The rollouts of some deployments.
pub(crate) async fn rollouts_of(db: &impl Query, deployments: &[DeploymentId]) -> Result<Vec<RolloutOf>> {
    if deployments.is_empty() {
        return Ok(Vec::new());
    }
    let mut values = args![];
    let places = bind_all(&mut values, deployments);
    let sql = format!("SELECT deployment_id, id FROM rollout WHERE deployment_id IN ({places})");
    db.all(&sql, values).await
}

/// Some deployments by their identifiers.
pub(crate) async fn some(db: &impl Query, ids: &[DeploymentId]) -> Result<Vec<Deployment>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let mut values = args![];
    let places = bind_all(&mut values, ids);
    let sql = format!("SELECT {COLUMNS} FROM deployment WHERE id IN ({places})");
    db.all(&sql, values).await
}

/// The deployments that have not ended, in some environments.
pub(crate) async fn open_in_all(db: &impl Query, environments: &[EnvironmentId]) -> Result<Vec<Deployment>> {
    if environments.is_empty() {
        return Ok(Vec::new());
    }
    let mut values = args![];
    let places = bind_all(&mut values, environments);
    let sql = format!(
        "SELECT {COLUMNS} FROM deployment WHERE finished_at IS NULL AND environment_id IN ({places})"
    );
    db.all(&sql, values).await
}
