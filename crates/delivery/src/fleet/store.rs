//! The queries about agents, edges and revisions.

use super::{Agent, Channel, Edge};
use bascule_core::{AgentId, Timestamp};
use bascule_store::{Json, Query, Result, Tx, args};
use bascule_wire::agent::AgentReport;

const AGENT: &str = "id, name, version, online, seen_at, skew_ms, skewed, disk_free";

pub(crate) async fn agents(db: &impl Query) -> Result<Vec<Agent>> {
    db.all(
        &format!("SELECT {AGENT} FROM agent ORDER BY name LIMIT 10000"),
        args![],
    )
    .await
}

pub(crate) async fn agent_by_token(db: &impl Query, hash: &str) -> Result<Option<Agent>> {
    db.one(
        &format!("SELECT {AGENT} FROM agent WHERE token_hash = $1"),
        args![hash],
    )
    .await
}

pub(crate) async fn agent_by_name(db: &impl Query, name: &str) -> Result<Option<Agent>> {
    db.one(&format!("SELECT {AGENT} FROM agent WHERE name = $1"), args![name])
        .await
}

pub(crate) async fn insert_agent(tx: &Tx, id: AgentId, name: &str, hash: &str, at: Timestamp) -> Result<()> {
    tx.run(
        "INSERT INTO agent (id, name, token_hash, version, online, skew_ms, disk_free, created_at)
         VALUES ($1, $2, $3, '', $4, 0, 0, $5)",
        args![id, name, hash, false, at],
    )
    .await?;
    // Environments that were created before any agent wait for the first one.
    tx.run(
        "UPDATE environment SET agent_id = $1 WHERE agent_id IS NULL AND declared = FALSE",
        args![id],
    )
    .await?;
    // Those that a file declares get the agent that it names.
    crate::site::store::assign_all(tx).await
}

pub(crate) async fn set_agent_token(tx: &Tx, id: AgentId, hash: &str) -> Result<()> {
    tx.run("UPDATE agent SET token_hash = $2 WHERE id = $1", args![id, hash])
        .await
        .map(drop)
}

/// Gives an agent another pull secret.
pub(crate) async fn set_pull_secret(tx: &Tx, id: AgentId, hash: &str, at: Timestamp) -> Result<()> {
    let sql = "INSERT INTO agent_pull (agent_id, secret_hash, created_at) VALUES ($1, $2, $3)
               ON CONFLICT (agent_id) DO UPDATE SET secret_hash = $2, created_at = $3";
    tx.run(sql, args![id, hash, at]).await.map(drop)
}

pub(crate) async fn agent_by_pull_secret(db: &impl Query, hash: &str) -> Result<Option<Agent>> {
    let sql = format!(
        "SELECT {AGENT} FROM agent WHERE id = (SELECT agent_id FROM agent_pull WHERE secret_hash = $1)"
    );
    db.one(&sql, args![hash]).await
}

/// Notes a sign of life.
pub(crate) async fn agent_seen(
    tx: &Tx,
    id: AgentId,
    version: &str,
    (skew_ms, skewed): (i64, bool),
    report: &AgentReport,
    at: Timestamp,
) -> Result<()> {
    let disk_free = i64::try_from(report.disk_free_bytes).unwrap_or(i64::MAX);
    let machine = super::enrol::bounded(&report.machine);
    let mut drivers = report.drivers.clone();
    drivers.sort_unstable();
    drivers.dedup();
    tx.run(
        "UPDATE agent SET version = $2, online = $3, seen_at = $4, skew_ms = $5, skewed = $6, disk_free = $7,
                resources = $8, machine = $9, drivers = $10 WHERE id = $1",
        args![
            id,
            version,
            true,
            at,
            skew_ms,
            skewed,
            disk_free,
            Json(&report.resources),
            Json(&machine),
            Json(&drivers)
        ],
    )
    .await
    .map(drop)
}

/// Claims the agent's row for a report made at `at` by the agent's clock; `false` where a later one was taken
/// already, as an agent's two calls may overtake each other. What was
/// said after `set_back` was said by a clock that has been set back since, and counts no more.
pub(crate) async fn claim_report(tx: &Tx, id: AgentId, at: Timestamp, set_back: Timestamp) -> Result<bool> {
    let sql =
        "UPDATE agent SET said_at = $2 WHERE id = $1 AND (said_at IS NULL OR said_at <= $2 OR said_at > $3)";
    Ok(tx.run(sql, args![id, at, set_back]).await? == 1)
}

/// Agents that are held for online but have not been seen since.
pub(crate) async fn silent_agents(db: &impl Query, since: Timestamp) -> Result<Vec<Agent>> {
    let sql = format!("SELECT {AGENT} FROM agent WHERE online = $1 AND seen_at < $2 LIMIT 10000");
    db.all(&sql, args![true, since]).await
}

pub(crate) async fn agent_offline(tx: &Tx, id: AgentId, since: Timestamp) -> Result<bool> {
    let sql = "UPDATE agent SET online = $2 WHERE id = $1 AND online = $3 AND seen_at < $4";
    Ok(tx.run(sql, args![id, false, true, since]).await? == 1)
}

const EDGE: &str = "name, acked, seen_at";

pub(crate) async fn edge_by_token(db: &impl Query, hash: &str) -> Result<Option<Edge>> {
    db.one(
        &format!("SELECT {EDGE} FROM edge WHERE token_hash = $1"),
        args![hash],
    )
    .await
}

pub(crate) async fn set_edge(tx: &Tx, name: &str, hash: &str, at: Timestamp) -> Result<()> {
    tx.run(
        "INSERT INTO edge (name, token_hash, acked, created_at) VALUES ($1, $2, 0, $3)
         ON CONFLICT (name) DO UPDATE SET token_hash = $2",
        args![name, hash, at],
    )
    .await
    .map(drop)
}

/// Notes which configuration an edge has.
pub(crate) async fn edge_acked(tx: &Tx, name: &str, revision: i64, at: Timestamp) -> Result<()> {
    tx.run(
        "UPDATE edge SET acked = $2, seen_at = $3 WHERE name = $1",
        args![name, revision, at],
    )
    .await
    .map(drop)
}

/// Edges seen since that do not have a revision yet.
pub(crate) async fn edges_behind(db: &impl Query, revision: i64, since: Timestamp) -> Result<i64> {
    let sql = "SELECT COUNT(*) AS n FROM edge WHERE seen_at >= $1 AND acked < $2";
    db.count(sql, args![since, revision]).await
}

pub(crate) async fn revision(db: &impl Query, channel: Channel) -> Result<i64> {
    db.count(
        "SELECT value AS n FROM delivery_revision WHERE name = $1",
        args![channel.as_str()],
    )
    .await
}

/// The next revision; what changes in the same transaction is told under it.
pub(crate) async fn next_revision(tx: &Tx, channel: Channel) -> Result<i64> {
    let sql = "UPDATE delivery_revision SET value = value + 1 WHERE name = $1 RETURNING value AS n";
    tx.count(sql, args![channel.as_str()]).await
}
