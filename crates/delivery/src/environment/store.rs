//! The queries about environments and products.

use super::Environment;
use crate::product::{Product, Slo};
use bascule_core::{DeploymentId, EnvironmentId, ProjectId, ReleaseId, Timestamp};
use bascule_store::{Json, Query, Result, Tx, args, bind_all, row};

const COLUMNS: &str = "id, project_id, project_path, name, tier, agent_id, serving_id, port, url, created_at";

pub(crate) async fn of_project(db: &impl Query, project: ProjectId) -> Result<Vec<Environment>> {
    // Staging before production: the order in which a release meets them.
    let sql = format!(
        "SELECT {COLUMNS} FROM environment WHERE project_id = $1 AND pruned_at IS NULL ORDER BY tier DESC, name LIMIT 100"
    );
    db.all(&sql, args![project]).await
}

pub(crate) async fn get(db: &impl Query, id: EnvironmentId) -> Result<Option<Environment>> {
    db.one(
        &format!("SELECT {COLUMNS} FROM environment WHERE id = $1"),
        args![id],
    )
    .await
}

pub(crate) async fn by_name(db: &impl Query, project: ProjectId, name: &str) -> Result<Option<Environment>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM environment WHERE project_id = $1 AND name = $2 AND pruned_at IS NULL"
    );
    db.one(&sql, args![project, name]).await
}

/// Environments over all projects, production first, by project; after the given project path.
pub(crate) async fn all(db: &impl Query, after: &str, limit: i64) -> Result<Vec<Environment>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM environment WHERE project_path > $1 AND pruned_at IS NULL
         ORDER BY project_path, tier LIMIT $2"
    );
    db.all(&sql, args![after, limit]).await
}

/// Creates an environment, with the first agent to run it; `false` where it was there.
pub(crate) async fn create(tx: &Tx, environment: &Environment) -> Result<bool> {
    let changed = tx
        .run(
            "INSERT INTO environment (id, project_id, project_path, name, tier, agent_id, created_at, told_tier)
             VALUES ($1, $2, $3, $4, $5, (SELECT id FROM agent ORDER BY created_at, id LIMIT 1), $6, $5)
             ON CONFLICT (project_id, name) DO NOTHING",
            args![
                environment.id,
                environment.project_id,
                environment.project_path,
                environment.name,
                environment.tier,
                environment.created_at
            ],
        )
        .await?;
    Ok(changed == 1)
}

/// Sets a site's products free: people move them, until they are declared again.
pub(crate) async fn undeclare(tx: &Tx, site: &str, at: Timestamp) -> Result<()> {
    let sql =
        "UPDATE environment SET declared = FALSE, undeclared_at = $2 WHERE name = $1 AND declared = TRUE";
    tx.run(sql, args![site, at]).await.map(drop)
}

/// Makes a product belong in a declared site.
pub(crate) async fn declare(
    tx: &Tx,
    project: ProjectId,
    path: &str,
    site: &crate::site::Site,
    at: Timestamp,
) -> Result<()> {
    tx.run(
        "INSERT INTO environment (id, project_id, project_path, name, tier, agent_id, created_at, declared)
         VALUES ($1, $2, $3, $4, $5, NULL, $6, TRUE)
         ON CONFLICT (project_id, name) DO UPDATE SET declared = TRUE, undeclared_at = NULL, pruned_at = NULL",
        args![EnvironmentId::new(), project, path, site.name, site.tier, at],
    )
    .await
    .map(drop)
}

row! {
    /// A product that is declared in an environment.
    pub(crate) struct Declared {
        pub name: String,
        pub project_id: ProjectId,
    }
}

/// All that files declare.
pub(crate) async fn all_declared(db: &impl Query) -> Result<Vec<Declared>> {
    let sql = "SELECT name, project_id FROM environment WHERE declared = TRUE LIMIT 1000000";
    db.all(sql, args![]).await
}

/// Whether a file declares it.
pub(crate) async fn declared(db: &impl Query, id: EnvironmentId) -> Result<bool> {
    let sql = "SELECT COUNT(*) AS n FROM environment WHERE id = $1 AND declared = TRUE";
    Ok(db.count(sql, args![id]).await? > 0)
}

/// Whether any product has an environment of this name.
pub(crate) async fn named(db: &impl Query, name: &str) -> Result<bool> {
    let sql = "SELECT COUNT(*) AS n FROM environment WHERE name = $1 AND pruned_at IS NULL";
    Ok(db.count(sql, args![name]).await? > 0)
}

pub(crate) async fn set_path(tx: &Tx, project: ProjectId, path: &str) -> Result<()> {
    let sql = "UPDATE environment SET project_path = $2 WHERE project_id = $1 AND project_path <> $2";
    tx.run(sql, args![project, path]).await.map(drop)
}

pub(crate) async fn set_serving(tx: &Tx, id: EnvironmentId, serving: DeploymentId) -> Result<()> {
    tx.run(
        "UPDATE environment SET serving_id = $2 WHERE id = $1",
        args![id, serving],
    )
    .await
    .map(drop)
}

row! { struct Left { left_version: Option<String> } }

/// The version that a person went back from, where one did.
pub(crate) async fn left(db: &impl Query, id: EnvironmentId) -> Result<Option<String>> {
    let sql = "SELECT left_version FROM environment WHERE id = $1";
    Ok(db
        .one::<Left>(sql, args![id])
        .await?
        .and_then(|row| row.left_version))
}

/// Notes the version that a person went back from, and who; `None`: nobody did.
pub(crate) async fn set_left(tx: &Tx, id: EnvironmentId, left: Option<(&str, &str)>) -> Result<()> {
    let (version, by) = left.unzip();
    let sql = "UPDATE environment SET left_version = $2, left_by = $3 WHERE id = $1";
    tx.run(sql, args![id, version, by]).await.map(drop)
}

pub(crate) async fn set_listener(tx: &Tx, id: EnvironmentId, port: i64, url: &str) -> Result<bool> {
    let sql = "UPDATE environment SET port = $2, url = $3 WHERE id = $1
               AND (port IS NULL OR url IS NULL OR port <> $2 OR url <> $3)";
    Ok(tx.run(sql, args![id, port, url]).await? > 0)
}

pub(crate) async fn set_product(
    tx: &Tx,
    project: ProjectId,
    release: ReleaseId,
    product: &Product,
    at: Timestamp,
) -> Result<()> {
    tx.run(
        "INSERT INTO product (project_id, release_id, body, updated_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (project_id) DO UPDATE SET release_id = $2, body = $3, updated_at = $4",
        args![project, release, Json(product), at],
    )
    .await
    .map(drop)
}

/// Marks a release as taken up; `false` where it was before.
pub(crate) async fn take_release(tx: &Tx, release: ReleaseId, at: Timestamp) -> Result<bool> {
    let sql =
        "INSERT INTO delivery_release (release_id, at) VALUES ($1, $2) ON CONFLICT (release_id) DO NOTHING";
    Ok(tx.run(sql, args![release, at]).await? == 1)
}

row! { struct Body { body: Json<Product> } }

/// The promise that stands in an environment: of what serves there, else of the newest product file.
pub(crate) async fn slo(db: &impl Query, environment: &Environment) -> Result<Option<Slo>> {
    let serving = "SELECT product AS body FROM deployment WHERE id = $1";
    if let Some(id) = environment.serving_id
        && let Some(row) = db.one::<Body>(serving, args![id]).await?
    {
        return Ok(Some(row.body.0.slo));
    }
    let newest = "SELECT body FROM product WHERE project_id = $1";
    Ok(db
        .one::<Body>(newest, args![environment.project_id])
        .await?
        .map(|row| row.body.0.slo))
}

/// Environments of some projects, by project; after the given project path.
pub(crate) async fn of_projects(
    db: &impl Query,
    projects: &[ProjectId],
    after: &str,
    limit: i64,
) -> Result<Vec<Environment>> {
    // The set is large for someone who sees many projects, and every engine bounds what may be bound.
    const AT_ONCE: usize = 500;
    let mut found: Vec<Environment> = Vec::new();
    for some in projects.chunks(AT_ONCE) {
        let mut values = args![after, limit];
        let places = bind_all(&mut values, some);
        let sql = format!(
            "SELECT {COLUMNS} FROM environment WHERE project_path > $1 AND pruned_at IS NULL
             AND project_id IN ({places}) ORDER BY project_path, tier LIMIT $2"
        );
        found.extend(db.all::<Environment>(&sql, values).await?);
    }
    found.sort_by(|a, b| (&a.project_path, &a.tier).cmp(&(&b.project_path, &b.tier)));
    found.truncate(usize::try_from(limit).unwrap_or(0));
    Ok(found)
}

row! {
    struct Running {
        release_id: ReleaseId,
        name: String,
    }
}

/// Where releases serve.
pub(crate) async fn running(db: &impl Query, releases: &[ReleaseId]) -> Result<Vec<(ReleaseId, String)>> {
    let mut all = Vec::new();
    for some in releases.chunks(200) {
        let mut values = args![];
        let places = bind_all(&mut values, some);
        let sql = format!(
            "SELECT DISTINCT d.release_id, e.name FROM environment e JOIN deployment d ON d.id = e.serving_id
             WHERE d.release_id IN ({places}) AND e.pruned_at IS NULL ORDER BY e.name LIMIT 20000"
        );
        let rows: Vec<Running> = db.all(&sql, values).await?;
        all.extend(rows.into_iter().map(|row| (row.release_id, row.name)));
    }
    Ok(all)
}
