//! The queries about instances.

use super::{Instance, desired, state_name};
use bascule_core::{AgentId, DeploymentId, EnvironmentId, InstanceId, ProjectId, ReleaseId, Timestamp};
use bascule_store::{Json, Query, Result, ToSql as _, Tx, args, bind_all, row};
use bascule_wire::agent::{InstanceReport, InstanceState};

const COLUMNS: &str = "id, deployment_id, environment_id, desired, weight, state, address, restarts, message, smoke, \
     started_at, state_at, reported_at, retired_at, retired_revision, baseline";

/// The instances of a deployment that are not gone, oldest first; where all are gone, the last ones.
pub(crate) async fn of_deployment(db: &impl Query, deployment: DeploymentId) -> Result<Vec<Instance>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM instance WHERE deployment_id = $1 ORDER BY CASE WHEN desired = 'gone' THEN 1 ELSE 0 END,
                id DESC LIMIT 200"
    );
    let mut all: Vec<Instance> = db.all(&sql, args![deployment]).await?;
    if all.iter().any(|instance| instance.desired != desired::GONE) {
        all.retain(|instance| instance.desired != desired::GONE);
    }
    all.reverse();
    Ok(all)
}

/// The instances of an environment that are not gone, oldest first; those that wait for their turn as well.
pub(crate) async fn living(db: &impl Query, environment: EnvironmentId) -> Result<Vec<Instance>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM instance WHERE environment_id = $1 AND desired <> 'gone' ORDER BY id LIMIT 2000"
    );
    db.all(&sql, args![environment]).await
}

/// Instances that agents know of and that are not gone, in some environments.
pub(crate) async fn in_environments(
    db: &impl Query,
    environments: &[EnvironmentId],
) -> Result<Vec<Instance>> {
    if environments.is_empty() {
        return Ok(Vec::new());
    }
    let mut values = args![];
    let places = bind_all(&mut values, environments);
    let sql = format!(
        "SELECT {COLUMNS} FROM instance WHERE environment_id IN ({places}) AND desired IN ('run', 'drain') ORDER BY id LIMIT 20000"
    );
    db.all(&sql, values).await
}

/// Instances that are not gone, of an agent.
pub(crate) async fn of_agent(db: &impl Query, agent: AgentId) -> Result<Vec<Instance>> {
    let columns = COLUMNS
        .split(", ")
        .map(|c| format!("i.{}", c.trim()))
        .collect::<Vec<_>>()
        .join(", ");
    let sql = format!(
        "SELECT {columns} FROM instance i JOIN environment e ON e.id = i.environment_id
         WHERE i.desired IN ('run', 'drain') AND e.agent_id = $1 ORDER BY i.id LIMIT 10000"
    );
    db.all(&sql, args![agent]).await
}

/// Instances taken out of traffic that should still be told to drain.
pub(crate) async fn retired(db: &impl Query) -> Result<Vec<Instance>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM instance WHERE desired = 'run' AND retired_at IS NOT NULL ORDER BY id LIMIT 1000"
    );
    db.all(&sql, args![]).await
}

/// Instances to be made.
pub(crate) struct New<'a> {
    pub deployment: DeploymentId,
    pub environment: EnvironmentId,
    /// `run` or `held`.
    pub desired: &'a str,
    /// The share that their side has.
    pub weight: u32,
    pub baseline: bool,
    pub count: usize,
}

/// Makes instances; returns their identifiers.
pub(crate) async fn insert(tx: &Tx, new: &New<'_>, at: Timestamp) -> Result<Vec<InstanceId>> {
    let ids: Vec<InstanceId> = (0..new.count).map(|_| InstanceId::new()).collect();
    if ids.is_empty() {
        return Ok(ids);
    }
    let mut values = args![
        new.deployment,
        new.environment,
        new.desired,
        i64::from(new.weight),
        new.baseline,
        at
    ];
    let rows: Vec<String> = (values.len() + 1..)
        .zip(&ids)
        .map(|(n, _)| format!("(${n}, $1, $2, $3, $4, 'fetching', 0, '', $6, $6, $5)"))
        .collect();
    values.extend(ids.iter().map(bascule_store::ToSql::to_sql));
    let sql = format!(
        "INSERT INTO instance (id, deployment_id, environment_id, desired, weight, state, restarts, message, state_at,
                created_at, baseline) VALUES {}",
        rows.join(", ")
    );
    tx.run(&sql, values).await?;
    Ok(ids)
}

/// Changes some instances by identifier; `values` are `$1` and so on, the identifiers come after them.
async fn change(
    tx: &Tx,
    set: &str,
    only: &str,
    mut values: Vec<bascule_store::Value>,
    ids: &[InstanceId],
) -> Result<u64> {
    if ids.is_empty() {
        return Ok(0);
    }
    let places = bind_all(&mut values, ids);
    let sql = format!("UPDATE instance SET {set} WHERE {only} AND id IN ({places})");
    tx.run(&sql, values).await
}

/// Gives the side that these instances are a share of traffic.
pub(crate) async fn set_share(tx: &Tx, ids: &[InstanceId], share: u32) -> Result<()> {
    let values = args![i64::from(share)];
    change(tx, "weight = $1", "retired_at IS NULL", values, ids)
        .await
        .map(drop)
}

/// Takes instances out of traffic, at a revision of the edges' configuration; they drain once the edges know.
pub(crate) async fn retire(tx: &Tx, ids: &[InstanceId], at: Timestamp, revision: i64) -> Result<()> {
    let set = "weight = 0, retired_at = $1, retired_revision = $2";
    change(tx, set, "retired_at IS NULL", args![at, revision], ids)
        .await
        .map(drop)
}

/// Instances whose turn has come are started.
pub(crate) async fn start(tx: &Tx, ids: &[InstanceId], at: Timestamp) -> Result<()> {
    change(
        tx,
        "desired = 'run', state_at = $1",
        "desired = 'held'",
        args![at],
        ids,
    )
    .await
    .map(drop)
}

/// Ends instances that meet no user: what runs drains, what waits for its turn never comes.
pub(crate) async fn end(tx: &Tx, ids: &[InstanceId]) -> Result<()> {
    let set = "desired = CASE WHEN desired = 'held' THEN 'gone' ELSE 'drain' END, weight = 0";
    change(tx, set, "desired IN ('run', 'held')", args![], ids)
        .await
        .map(drop)
}

pub(crate) async fn set_desired(tx: &Tx, id: InstanceId, to: &str) -> Result<bool> {
    let sql = "UPDATE instance SET desired = $2 WHERE id = $1 AND desired <> $2 AND desired <> 'gone'";
    Ok(tx.run(sql, args![id, to]).await? == 1)
}

/// Whether an instance in this state has no process that could still be answering.
pub(crate) const fn ended(state: InstanceState) -> bool {
    matches!(state, InstanceState::Stopped | InstanceState::Failed)
}

/// Notes what the agent says; the state's time moves only with the state.
pub(crate) async fn report(tx: &Tx, before: &Instance, report: &InstanceReport, at: Timestamp) -> Result<()> {
    let state = state_name(report.state);
    let state_at = if state == before.state {
        before.state_at
    } else {
        at
    };
    let gone = ended(report.state) && before.desired == desired::DRAIN;
    tx.run(
        "UPDATE instance SET state = $2, address = $3, pid = $4, restarts = $5, message = $6, smoke = $7,
                started_at = $8, state_at = $9, reported_at = $10, desired = $11 WHERE id = $1",
        args![
            before.id,
            state,
            report.address,
            report.pid.map(i64::from),
            i64::from(report.restarts),
            cut(&report.message, 4_000),
            report
                .smoke
                .as_ref()
                .and_then(|smoke| serde_json::to_string(smoke).ok()),
            report.started_at,
            state_at,
            at,
            if gone {
                desired::GONE
            } else {
                before.desired.as_str()
            }
        ],
    )
    .await
    .map(drop)
}

/// The agent does not list it: a draining one is gone, a running one has to be started again.
pub(crate) async fn missing(tx: &Tx, before: &Instance, at: Timestamp) -> Result<()> {
    let (state, desired) = if before.desired == desired::DRAIN {
        ("stopped", desired::GONE)
    } else {
        ("starting", desired::RUN)
    };
    let sql = "UPDATE instance SET state = $2, desired = $3, address = NULL, pid = NULL, state_at = $4, reported_at = $4
               WHERE id = $1";
    tx.run(sql, args![before.id, state, desired, at]).await.map(drop)
}

/// Notes that an agent's report named its instances as they were known.
pub(crate) async fn refresh(tx: &Tx, agent: AgentId, at: Timestamp) -> Result<()> {
    let sql = "UPDATE instance SET reported_at = $2 WHERE desired <> 'gone' AND reported_at IS NOT NULL
               AND environment_id IN (SELECT id FROM environment WHERE agent_id = $1)";
    tx.run(sql, args![agent, at]).await.map(drop)
}

row! {
    /// All that an agent or an edge is told of an instance.
    pub(crate) struct Wanted {
        pub id: InstanceId,
        pub deployment_id: DeploymentId,
        pub environment_id: EnvironmentId,
        pub project_id: ProjectId,
        pub project_path: String,
        pub environment: String,
        pub tier: String,
        pub release_id: ReleaseId,
        pub version: String,
        pub artifact_digest: bascule_core::Digest,
        pub artifact_size: i64,
        pub artifact_file: String,
        pub product: Json<crate::product::Product>,
        pub settings: Json<std::collections::BTreeMap<String, String>>,
        pub desired: String,
        pub weight: i64,
        pub state: String,
        pub address: Option<String>,
        pub retired_at: Option<Timestamp>,
        pub baseline: bool,
    }
}

const WANTED: &str = "SELECT i.id, i.deployment_id, i.environment_id, d.project_id, e.project_path,
        e.name AS environment, e.tier, d.release_id, d.version, d.artifact_digest, d.artifact_size, d.artifact_file, d.product,
        d.settings, i.desired, i.weight, i.state, i.address, i.retired_at, i.baseline
     FROM instance i JOIN deployment d ON d.id = i.deployment_id JOIN environment e ON e.id = i.environment_id
     WHERE i.desired IN ('run', 'drain')";

/// What an agent should run.
pub(crate) async fn wanted_of(db: &impl Query, agent: AgentId) -> Result<Vec<Wanted>> {
    db.all(
        &format!("{WANTED} AND e.agent_id = $1 ORDER BY i.id LIMIT 10000"),
        args![agent],
    )
    .await
}

/// What edges could send requests to.
pub(crate) async fn wanted(db: &impl Query) -> Result<Vec<Wanted>> {
    db.all(&format!("{WANTED} ORDER BY i.id LIMIT 100000"), args![])
        .await
}

/// A text of at most so many bytes, cut between characters.
pub(crate) fn cut(text: &str, most: usize) -> String {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}

/// Whether an agent runs anything of a project, or is to run a task of it.
pub(crate) async fn serves_project(
    db: &impl Query,
    agent: AgentId,
    project: bascule_core::ProjectId,
) -> Result<bool> {
    let sql = "SELECT COUNT(*) AS n FROM deployment d JOIN environment e ON e.id = d.environment_id
               WHERE e.agent_id = $1 AND d.project_id = $2
                 AND (EXISTS (SELECT 1 FROM instance i WHERE i.deployment_id = d.id AND i.desired IN ('run', 'drain'))
                   OR EXISTS (SELECT 1 FROM task t WHERE t.deployment_id = d.id AND t.finished_at IS NULL))";
    Ok(db.count(sql, vec![agent.to_sql(), project.to_sql()]).await? > 0)
}

/// Whether an agent runs an artifact with this digest, or is to run a task in it, and so may fetch it.
pub(crate) async fn may_fetch(
    db: &impl Query,
    agent: AgentId,
    digest: &bascule_core::Digest,
) -> Result<bool> {
    let sql = "SELECT COUNT(*) AS n FROM deployment d JOIN environment e ON e.id = d.environment_id
               WHERE e.agent_id = $1 AND d.artifact_digest = $2
                 AND (EXISTS (SELECT 1 FROM instance i WHERE i.deployment_id = d.id AND i.desired IN ('run', 'drain'))
                   OR EXISTS (SELECT 1 FROM task t WHERE t.deployment_id = d.id AND t.finished_at IS NULL))";
    Ok(db.count(sql, vec![agent.to_sql(), digest.to_sql()]).await? > 0)
}
