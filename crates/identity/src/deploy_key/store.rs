//! The queries about deploy keys.

use bascule_core::{DeployKeyId, ProjectId, Timestamp};
use bascule_store::{Query, Result, Tx, args, row};

row! {
    /// A key in its project's list.
    pub(crate) struct DeployKey {
        pub(crate) id: DeployKeyId,
        pub(crate) title: String,
        pub(crate) algorithm: String,
        pub(crate) fingerprint: String,
        pub(crate) writes: bool,
        pub(crate) created_by: String,
        pub(crate) created_at: Timestamp,
        pub(crate) last_used_at: Option<Timestamp>,
    }
}

row! {
    /// A key and its project, as the gate of SSH reads them.
    pub(crate) struct Found {
        pub(crate) id: DeployKeyId,
        pub(crate) project_id: ProjectId,
        pub(crate) title: String,
        pub(crate) writes: bool,
        pub(crate) last_used_at: Option<Timestamp>,
    }
}

const COLUMNS: &str = "id, title, algorithm, fingerprint, writes, created_by, created_at, last_used_at";

pub(crate) async fn by_fingerprint(db: &impl Query, fingerprint: &str) -> Result<Option<Found>> {
    let sql = "SELECT id, project_id, title, writes, last_used_at FROM deploy_key WHERE fingerprint = $1";
    db.one(sql, args![fingerprint]).await
}

pub(crate) async fn of_project(db: &impl Query, project: ProjectId) -> Result<Vec<DeployKey>> {
    let sql =
        format!("SELECT {COLUMNS} FROM deploy_key WHERE project_id = $1 ORDER BY created_at DESC LIMIT 100");
    db.all(&sql, args![project]).await
}

pub(crate) async fn count(db: &impl Query, project: ProjectId) -> Result<i64> {
    db.count(
        "SELECT COUNT(*) AS n FROM deploy_key WHERE project_id = $1",
        args![project],
    )
    .await
}

pub(crate) async fn insert(tx: &Tx, project: ProjectId, key: &DeployKey, line: &str) -> Result<()> {
    tx.run(
        "INSERT INTO deploy_key (id, project_id, title, algorithm, public_key, fingerprint, writes, created_by, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        args![
            key.id,
            project,
            key.title,
            key.algorithm,
            line,
            key.fingerprint,
            key.writes,
            key.created_by,
            key.created_at
        ],
    )
    .await
    .map(drop)
}

row! {
    /// What went.
    pub(crate) struct Gone {
        pub(crate) title: String,
        pub(crate) fingerprint: String,
    }
}

/// Removes a key of a project; `None` where there is no such one.
pub(crate) async fn remove(tx: &Tx, project: ProjectId, id: DeployKeyId) -> Result<Option<Gone>> {
    let sql = "DELETE FROM deploy_key WHERE id = $1 AND project_id = $2 RETURNING title, fingerprint";
    tx.one(sql, args![id, project]).await
}

row! {
    /// A key that went with whoever had added it.
    pub(crate) struct Made {
        pub(crate) id: DeployKeyId,
        pub(crate) project_id: ProjectId,
        pub(crate) title: String,
        pub(crate) fingerprint: String,
    }
}

/// Removes the keys that a person added, in all projects.
pub(crate) async fn remove_made_by(tx: &Tx, username: &str) -> Result<Vec<Made>> {
    let sql = "DELETE FROM deploy_key WHERE created_by = $1 RETURNING id, project_id, title, fingerprint";
    tx.all(sql, args![username]).await
}

/// Notes the use of a key, unless another connection has just done so.
pub(crate) async fn touch(tx: &Tx, id: DeployKeyId, now: Timestamp, unless_since: Timestamp) -> Result<()> {
    let sql = "UPDATE deploy_key SET last_used_at = $2 WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < $3)";
    tx.run(sql, args![id, now, unless_since]).await.map(drop)
}

/// Removes all keys of a project.
pub(crate) async fn remove_all(tx: &Tx, project: ProjectId) -> Result<()> {
    let sql = "DELETE FROM deploy_key WHERE project_id = $1";
    tx.run(sql, args![project]).await.map(drop)
}
