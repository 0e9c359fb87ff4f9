//! The queries about enrolment codes, the list of all members, and their removal.

use bascule_core::{AgentId, Timestamp};
use bascule_store::{Json, Query, Result, Tx, args, row};
use bascule_wire::agent::{Driver, MachineFacts, Resources};

row! {
    /// A code that was made.
    pub(crate) struct Code {
        pub kind: String,
        pub name: String,
        pub expires_at: Timestamp,
        pub used_at: Option<Timestamp>,
    }
}

const CODE: &str = "kind, name, expires_at, used_at";

pub(crate) async fn put(
    tx: &Tx,
    kind: &str,
    name: &str,
    hash: &str,
    (now, expires_at): (Timestamp, Timestamp),
) -> Result<()> {
    tx.run(
        "INSERT INTO enrolment_code (kind, name, code_hash, created_at, expires_at) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (kind, name) DO UPDATE SET code_hash = $3, created_at = $4, expires_at = $5, used_at = NULL",
        args![kind, name, hash, now, expires_at],
    )
    .await
    .map(drop)
}

pub(crate) async fn by_hash(db: &impl Query, hash: &str) -> Result<Option<Code>> {
    db.one(
        &format!("SELECT {CODE} FROM enrolment_code WHERE code_hash = $1"),
        args![hash],
    )
    .await
}

/// Codes that can still be used.
pub(crate) async fn open(db: &impl Query, now: Timestamp) -> Result<Vec<Code>> {
    let sql = format!(
        "SELECT {CODE} FROM enrolment_code WHERE used_at IS NULL AND expires_at >= $1 ORDER BY kind, name LIMIT 10000"
    );
    db.all(&sql, args![now]).await
}

/// Uses a code up; `false` where it was before.
pub(crate) async fn take(tx: &Tx, hash: &str, now: Timestamp) -> Result<bool> {
    let sql = "UPDATE enrolment_code SET used_at = $2 WHERE code_hash = $1 AND used_at IS NULL";
    Ok(tx.run(sql, args![hash, now]).await? == 1)
}

/// Forgets a name's code; whether there was one that could be used.
pub(crate) async fn forget(tx: &Tx, kind: &str, name: &str) -> Result<bool> {
    let unused = "SELECT COUNT(*) AS n FROM enrolment_code WHERE kind = $1 AND name = $2 AND used_at IS NULL";
    let unused = tx.count(unused, args![kind, name]).await? > 0;
    let sql = "DELETE FROM enrolment_code WHERE kind = $1 AND name = $2";
    tx.run(sql, args![kind, name]).await?;
    Ok(unused)
}

pub(crate) async fn describe_agent(
    tx: &Tx,
    id: AgentId,
    version: &str,
    machine: &MachineFacts,
) -> Result<()> {
    let sql = "UPDATE agent SET version = $2, machine = $3 WHERE id = $1";
    tx.run(sql, args![id, version, Json(machine)]).await.map(drop)
}

pub(crate) async fn describe_edge(tx: &Tx, name: &str, version: &str, machine: &MachineFacts) -> Result<()> {
    let sql = "UPDATE edge SET version = $2, machine = $3 WHERE name = $1";
    tx.run(sql, args![name, version, Json(machine)]).await.map(drop)
}

row! {
    /// All that is known of an agent.
    pub(crate) struct FullAgent {
        pub id: AgentId,
        pub name: String,
        pub version: String,
        pub online: bool,
        pub seen_at: Option<Timestamp>,
        pub skew_ms: i64,
        pub skewed: bool,
        pub disk_free: i64,
        pub resources: Json<Resources>,
        pub machine: Json<MachineFacts>,
        pub drivers: Json<Vec<Driver>>,
    }
}

pub(crate) async fn agents(db: &impl Query) -> Result<Vec<FullAgent>> {
    let sql =
        "SELECT id, name, version, online, seen_at, skew_ms, skewed, disk_free, resources, machine, drivers
               FROM agent ORDER BY name LIMIT 10000";
    db.all(sql, args![]).await
}

row! {
    /// All that is known of an edge.
    pub(crate) struct FullEdge {
        pub name: String,
        pub version: String,
        pub machine: Json<MachineFacts>,
        pub seen_at: Option<Timestamp>,
    }
}

pub(crate) async fn edges(db: &impl Query) -> Result<Vec<FullEdge>> {
    let sql = "SELECT name, version, machine, seen_at FROM edge ORDER BY name LIMIT 10000";
    db.all(sql, args![]).await
}

row! {
    /// How many, of an agent.
    pub(crate) struct Count {
        pub id: AgentId,
        pub n: i64,
    }
}

pub(crate) async fn instances(db: &impl Query) -> Result<Vec<Count>> {
    let sql =
        "SELECT e.agent_id AS id, COUNT(*) AS n FROM instance i JOIN environment e ON e.id = i.environment_id
               WHERE i.desired <> 'gone' AND e.agent_id IS NOT NULL GROUP BY e.agent_id";
    db.all(sql, args![]).await
}

pub(crate) async fn environments(db: &impl Query) -> Result<Vec<Count>> {
    let sql =
        "SELECT agent_id AS id, COUNT(*) AS n FROM environment WHERE agent_id IS NOT NULL AND tier <> 'preview'
               GROUP BY agent_id";
    db.all(sql, args![]).await
}

pub(crate) async fn environments_of(db: &impl Query, id: AgentId) -> Result<i64> {
    db.count(
        "SELECT COUNT(*) AS n FROM environment WHERE agent_id = $1",
        args![id],
    )
    .await
}

row! {
    /// Who takes environments over.
    pub(crate) struct Heir {
        pub id: AgentId,
        pub name: String,
    }
}

pub(crate) async fn oldest_other(db: &impl Query, id: AgentId) -> Result<Option<Heir>> {
    let sql = "SELECT id, name FROM agent WHERE id <> $1 ORDER BY created_at, id LIMIT 1";
    db.one(sql, args![id]).await
}

/// Gives an agent's environments to another. What ran there has to be started again: nobody can say any more
/// whether it answers.
pub(crate) async fn hand_over(tx: &Tx, from: AgentId, to: Option<AgentId>, at: Timestamp) -> Result<()> {
    let lost = "UPDATE instance SET state = 'starting', address = NULL, pid = NULL, state_at = $2
                WHERE desired <> 'gone' AND environment_id IN (SELECT id FROM environment WHERE agent_id = $1)";
    tx.run(lost, args![from, at]).await?;
    let sql = "UPDATE environment SET agent_id = $2 WHERE agent_id = $1";
    tx.run(sql, args![from, to]).await.map(drop)
}

pub(crate) async fn remove_agent(tx: &Tx, id: AgentId) -> Result<()> {
    tx.run("DELETE FROM agent WHERE id = $1", args![id])
        .await
        .map(drop)
}

pub(crate) async fn remove_edge(tx: &Tx, name: &str) -> Result<bool> {
    Ok(tx.run("DELETE FROM edge WHERE name = $1", args![name]).await? == 1)
}
