//! The queries about agents, edges and revisions.

use super::{AGENT_SILENCE, Agent, Channel, Edge, signs::Sign};
use bascule_core::{AgentId, EnvironmentId, Timestamp};
use bascule_store::{Json, Query, Result, Tx, args, bind_all, row};
use bascule_wire::agent::AgentReport;
use std::collections::HashMap;

const AGENT: &str =
    "id, name, version, online, seen_at, skew_ms, skewed, disk_free, said, said_revision, silent_at,
        COALESCE((SELECT t.revision FROM agent_told t WHERE t.agent_id = agent.id), 1) AS revision";

pub(crate) async fn agents(db: &impl Query) -> Result<Vec<Agent>> {
    db.all(
        &format!("SELECT {AGENT} FROM agent ORDER BY name LIMIT 10000"),
        args![],
    )
    .await
}

pub(crate) async fn agent(db: &impl Query, id: AgentId) -> Result<Option<Agent>> {
    db.one(&format!("SELECT {AGENT} FROM agent WHERE id = $1"), args![id])
        .await
}

/// The agents that look after what is in some environments, by name.
pub(crate) async fn agents_in(db: &impl Query, names: &[String]) -> Result<Vec<Agent>> {
    let mut values = args![];
    let places = bind_all(&mut values, names);
    let sql = format!(
        "SELECT {AGENT} FROM agent WHERE id IN (SELECT e.agent_id FROM environment e WHERE e.name IN ({places}))
         LIMIT 10000"
    );
    db.all(&sql, values).await
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
    (said, said_revision): (&str, i64),
    at: Timestamp,
) -> Result<()> {
    let disk_free = i64::try_from(report.disk_free_bytes).unwrap_or(i64::MAX);
    let machine = super::enrol::bounded(&report.machine);
    let mut drivers = report.drivers.clone();
    drivers.sort_unstable();
    drivers.dedup();
    tx.run(
        "UPDATE agent SET version = $2, online = $3, seen_at = $4, skew_ms = $5, skewed = $6, disk_free = $7,
                resources = $8, machine = $9, drivers = $10, said = $11, said_revision = $12,
                silent_at = CASE WHEN silent_at > $13 THEN silent_at ELSE $13 END WHERE id = $1",
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
            Json(&drivers),
            said,
            said_revision,
            at.plus(AGENT_SILENCE)
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
pub(crate) async fn silent_agents(db: &impl Query, now: Timestamp) -> Result<Vec<Agent>> {
    let sql = format!(
        "SELECT {AGENT} FROM agent WHERE online = $1 AND seen_at < $2 AND (silent_at IS NULL OR silent_at < $3)
         LIMIT 10000"
    );
    db.all(&sql, args![true, now.minus(AGENT_SILENCE), now]).await
}

pub(crate) async fn agent_offline(tx: &Tx, id: AgentId, now: Timestamp) -> Result<bool> {
    let sql = "UPDATE agent SET online = $2 WHERE id = $1 AND online = $3 AND seen_at < $4
               AND (silent_at IS NULL OR silent_at < $5)";
    let values = args![id, false, true, now.minus(AGENT_SILENCE), now];
    Ok(tx.run(sql, values).await? == 1)
}

row! {
    /// How it stands with an agent.
    pub(crate) struct Stands {
        pub revision: i64,
        /// How many deployments are under way where it works: while there are any it is heard often, and what it says
        /// is noted.
        pub busy: i64,
    }
}

/// How it stands with an agent; `None` where there is no such agent.
pub(crate) async fn agent_stands(db: &impl Query, id: AgentId) -> Result<Option<Stands>> {
    let sql =
        "SELECT COALESCE((SELECT t.revision FROM agent_told t WHERE t.agent_id = agent.id), 1) AS revision,
               (SELECT COUNT(*) FROM environment e JOIN deployment o ON o.environment_id = e.id
                AND o.finished_at IS NULL WHERE e.agent_id = agent.id) AS busy FROM agent WHERE id = $1";
    db.one(sql, args![id]).await
}

/// No agent's call hangs any more that did before: each counts as silent from `at` on unless it is heard.
pub(crate) async fn none_hangs(tx: &Tx, at: Timestamp) -> Result<()> {
    let sql = "UPDATE agent SET silent_at = $1 WHERE silent_at > $1";
    tx.run(sql, args![at]).await.map(drop)
}

/// Signs of life in one statement, at most.
const SIGNS: usize = 200;

/// Writes down signs of life.
pub(crate) async fn put_signs(tx: &Tx, signs: &HashMap<AgentId, Sign>) -> Result<()> {
    // Always in the same order, so that two servers do not wait for each other.
    let mut all: Vec<_> = signs.iter().collect();
    all.sort_by_key(|(id, _)| **id);
    for some in all.chunks(SIGNS) {
        let (mut rows, mut values) = (Vec::new(), Vec::new());
        for (id, sign) in some {
            let n = values.len();
            rows.push(format!(
                "(CAST(${} AS TEXT), CAST(${} AS BIGINT), CAST(${} AS BIGINT), CAST(${} AS BIGINT), CAST(${} AS BIGINT), \
                 CAST(${} AS TEXT), CAST(${} AS BIGINT), CAST(${} AS BIGINT))",
                n + 1,
                n + 2,
                n + 3,
                n + 4,
                n + 5,
                n + 6,
                n + 7,
                n + 8
            ));
            let seen = sign.seen.as_ref();
            let resources = seen.and_then(|seen| serde_json::to_string(&seen.resources).ok());
            values.extend(args![
                **id,
                seen.map(|seen| seen.at),
                seen.map(|seen| seen.said_at),
                seen.map(|seen| seen.skew_ms),
                seen.map(|seen| seen.disk_free),
                resources,
                sign.silent_at,
                i64::from(sign.sooner)
            ]);
        }
        let sql = format!(
            "UPDATE agent SET seen_at = COALESCE(v.column2, agent.seen_at), said_at = COALESCE(v.column3, agent.said_at),
                    skew_ms = COALESCE(v.column4, agent.skew_ms), disk_free = COALESCE(v.column5, agent.disk_free),
                    resources = COALESCE(v.column6, agent.resources),
                    silent_at = CASE WHEN v.column8 = 0 AND agent.silent_at > v.column7 THEN agent.silent_at
                                ELSE v.column7 END
             FROM (VALUES {}) AS v WHERE agent.id = v.column1",
            rows.join(", ")
        );
        tx.run(&sql, values).await?;
    }
    Ok(())
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

/// The revision of what an agent is told; `None` where there is no such agent.
pub(crate) async fn agent_revision(db: &impl Query, id: AgentId) -> Result<Option<i64>> {
    row! { struct Revision { revision: i64 } }
    let sql =
        "SELECT COALESCE((SELECT t.revision FROM agent_told t WHERE t.agent_id = agent.id), 1) AS revision
               FROM agent WHERE id = $1";
    let row: Option<Revision> = db.one(sql, args![id]).await?;
    Ok(row.map(|row| row.revision))
}

row! {
    /// An agent that is told something new.
    pub(crate) struct Told {
        pub id: AgentId,
    }
}

/// Agents that were told something above a revision.
pub(crate) async fn told_since(db: &impl Query, revision: i64) -> Result<Vec<Told>> {
    let sql = "SELECT agent_id AS id FROM agent_told WHERE revision > $1 LIMIT 10000";
    db.all(sql, args![revision]).await
}

/// Something new for all agents.
pub(crate) async fn tell_all(tx: &Tx, revision: i64) -> Result<()> {
    let sql =
        "INSERT INTO agent_told (agent_id, revision) SELECT id, CAST($1 AS BIGINT) FROM agent WHERE TRUE
               ON CONFLICT (agent_id) DO UPDATE SET revision = excluded.revision";
    tx.run(sql, args![revision]).await.map(drop)
}

/// Something new for one agent.
pub(crate) async fn tell(tx: &Tx, revision: i64, agent: AgentId) -> Result<()> {
    let sql = "INSERT INTO agent_told (agent_id, revision) VALUES ($2, $1)
               ON CONFLICT (agent_id) DO UPDATE SET revision = excluded.revision";
    tx.run(sql, args![revision, agent]).await.map(drop)
}

/// The agent that looks after an environment.
pub(crate) async fn agent_of(db: &impl Query, environment: EnvironmentId) -> Result<Option<AgentId>> {
    row! { struct Looks { agent_id: Option<AgentId> } }
    let sql = "SELECT agent_id FROM environment WHERE id = $1";
    let row: Option<Looks> = db.one(sql, args![environment]).await?;
    Ok(row.and_then(|row| row.agent_id))
}
