//! The queries about sites and suppression windows.

use super::{Declared, Site, Suppressed};
use bascule_core::Timestamp;
use bascule_store::{Json, Query, Result, Tx, args};

const COLUMNS: &str = "name, body, sha, declared_at";

/// All sites that are declared, by name.
pub(crate) async fn all(db: &impl Query) -> Result<Vec<Declared>> {
    let sql = format!("SELECT {COLUMNS} FROM site WHERE removed_at IS NULL ORDER BY name LIMIT 5000");
    db.all(&sql, args![]).await
}

pub(crate) async fn get(db: &impl Query, name: &str) -> Result<Option<Declared>> {
    let sql = format!("SELECT {COLUMNS} FROM site WHERE name = $1 AND removed_at IS NULL");
    db.one(&sql, args![name]).await
}

pub(crate) async fn put(tx: &Tx, site: &Site, sha: &str, at: Timestamp) -> Result<()> {
    tx.run(
        "INSERT INTO site (name, body, sha, declared_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (name) DO UPDATE SET body = $2, sha = $3, declared_at = $4, removed_at = NULL",
        args![site.name, Json(site), sha, at],
    )
    .await
    .map(drop)
}

pub(crate) async fn remove(tx: &Tx, name: &str, at: Timestamp) -> Result<()> {
    let sql = "UPDATE site SET removed_at = $2 WHERE name = $1";
    tx.run(sql, args![name, at]).await.map(drop)
}

/// Suppression windows that are open.
pub(crate) async fn suppressed(db: &impl Query, now: Timestamp) -> Result<Vec<Suppressed>> {
    let sql = "SELECT site, cause, reason, actor, opened_at, until_at FROM suppression
               WHERE until_at IS NULL OR until_at > $1 ORDER BY site, cause LIMIT 10000";
    db.all(sql, args![now]).await
}

pub(crate) async fn suppress(tx: &Tx, new: &Suppressed) -> Result<()> {
    tx.run(
        "INSERT INTO suppression (site, cause, reason, actor, opened_at, until_at) VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (site, cause) DO UPDATE SET reason = $3, actor = $4, opened_at = $5, until_at = $6",
        args![new.site, new.cause, new.reason, new.actor, new.opened_at, new.until_at],
    )
    .await
    .map(drop)
}

/// Closes a suppression window; `false` where none was open.
pub(crate) async fn release(tx: &Tx, site: &str, cause: &str) -> Result<bool> {
    let sql = "DELETE FROM suppression WHERE site = $1 AND cause = $2";
    Ok(tx.run(sql, args![site, cause]).await? > 0)
}

/// Gives a site's installs its tier and agent: the one that it names, and no other; where it names none, the
/// first that enrolled.
pub(crate) async fn assign(tx: &Tx, site: &Site) -> Result<()> {
    tx.run(
        "UPDATE environment SET tier = $2, agent_id = CASE WHEN $3 = ''
           THEN COALESCE(agent_id, (SELECT id FROM agent ORDER BY created_at, id LIMIT 1))
           ELSE (SELECT id FROM agent WHERE name = $3) END
         WHERE name = $1 AND declared = TRUE",
        args![site.name, site.tier, site.agent],
    )
    .await
    .map(drop)
}

/// Assigns agents anew, as when one enrolled.
pub(crate) async fn assign_all(tx: &Tx) -> Result<()> {
    for declared in all(tx).await? {
        assign(tx, &declared.body.0).await?;
    }
    Ok(())
}
