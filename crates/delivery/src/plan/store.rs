//! The queries about plans.

use super::{Change, Stored};
use bascule_core::{AgentId, DeploymentId, EnvironmentId, IncidentId, ProjectId, Timestamp};
use bascule_store::{FromRow, Json, Query, Result, Row, ToSql as _, Tx, args, bind_all, row};
use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

const COLUMNS: &str = "environment_id, state, current, target, step, why, verdicts, at";

/// Most installs that are planned.
const MOST: i64 = 100_000;

row! {
    /// A product in an environment, with what runs there and how.
    #[derive(Clone, Debug)]
    pub(crate) struct Place {
        pub id: EnvironmentId,
        pub project_id: ProjectId,
        pub project_path: String,
        pub name: String,
        pub tier: String,
        pub declared: bool,
        pub agent_id: Option<AgentId>,
        pub serving_id: Option<DeploymentId>,
        /// The version that a person went back from, and who did.
        pub left_version: Option<String>,
        pub left_by: Option<String>,
        pub serving_version: Option<String>,
        pub artifact_size: Option<i64>,
        pub settings: Option<Json<BTreeMap<String, String>>>,
        pub moving_version: Option<String>,
        pub instance_state: Option<String>,
    }
}

impl Place {
    /// Below production, or production.
    pub fn tier(&self) -> bascule_wire::agent::Tier {
        crate::environment::parse_tier(&self.tier)
    }
}

/// How an install stands: as the worst of the instances that serve there. One that leaves, and one that stands
/// beside them to be compared with, say nothing of it. `e` is its environment.
pub(crate) const WORST: &str =
    "(SELECT i.state FROM instance i WHERE i.deployment_id = e.serving_id AND i.desired = 'run'
        AND i.baseline = FALSE AND i.retired_at IS NULL
      ORDER BY CASE i.state WHEN 'failed' THEN 0 WHEN 'crashed' THEN 1 WHEN 'unhealthy' THEN 2
        WHEN 'stopped' THEN 3 WHEN 'draining' THEN 5 WHEN 'healthy' THEN 6 ELSE 4 END LIMIT 1)";

const PLACE: &str =
    "e.id, e.project_id, e.project_path, e.name, e.tier, e.declared, e.agent_id, e.serving_id,
                e.left_version, e.left_by, d.version AS serving_version, d.artifact_size, d.settings,
                o.version AS moving_version";

const PLACES: &str = "environment e LEFT JOIN deployment d ON d.id = e.serving_id
              LEFT JOIN deployment o ON o.environment_id = e.id AND o.finished_at IS NULL";

/// All products in all environments, by environment.
pub(crate) async fn places(db: &impl Query) -> Result<Vec<Place>> {
    let sql = format!(
        "SELECT {PLACE}, {WORST} AS instance_state FROM {PLACES} WHERE e.pruned_at IS NULL ORDER BY e.name, e.project_path LIMIT {MOST}"
    );
    db.all(&sql, args![]).await
}

/// All products in the environments of one name.
pub(crate) async fn places_in(db: &impl Query, name: &str) -> Result<Vec<Place>> {
    let sql = format!(
        "SELECT {PLACE}, {WORST} AS instance_state FROM {PLACES} WHERE e.name = $1 AND e.pruned_at IS NULL ORDER BY e.project_path LIMIT {MOST}"
    );
    db.all(&sql, args![name]).await
}

/// All products in the environments of some names, by environment.
pub(crate) async fn places_of(db: &impl Query, names: &[String]) -> Result<Vec<Place>> {
    let mut values = args![];
    let places = bind_all(&mut values, names);
    let sql = format!(
        "SELECT {PLACE}, {WORST} AS instance_state FROM {PLACES} WHERE e.name IN ({places}) AND e.pruned_at IS NULL
         ORDER BY e.name, e.project_path LIMIT {MOST}"
    );
    db.all(&sql, values).await
}

row! {
    /// The name of environments.
    pub(crate) struct Named {
        pub name: String,
    }
}

/// The names of all environments.
pub(crate) async fn names(db: &impl Query) -> Result<Vec<Named>> {
    let sql = format!("SELECT DISTINCT name FROM environment WHERE pruned_at IS NULL LIMIT {MOST}");
    db.all(&sql, args![]).await
}

/// The names of the environments that a product belongs in.
pub(crate) async fn names_of_project(db: &impl Query, project: ProjectId) -> Result<Vec<Named>> {
    let sql =
        format!("SELECT name FROM environment WHERE project_id = $1 AND pruned_at IS NULL LIMIT {MOST}");
    db.all(&sql, args![project]).await
}

/// The names of the environments that an agent looks after.
pub(crate) async fn names_of_agent(db: &impl Query, agent: AgentId) -> Result<Vec<Named>> {
    let sql = format!(
        "SELECT DISTINCT name FROM environment WHERE agent_id = $1 AND pruned_at IS NULL LIMIT {MOST}"
    );
    db.all(&sql, args![agent]).await
}

row! {
    /// A project's path.
    pub(crate) struct Path {
        pub project_id: ProjectId,
        pub project_path: String,
    }
}

/// The paths of all projects that have environments.
pub(crate) async fn paths(db: &impl Query) -> Result<Vec<Path>> {
    let sql = format!(
        "SELECT DISTINCT project_id, project_path FROM environment WHERE pruned_at IS NULL LIMIT {MOST}"
    );
    db.all(&sql, args![]).await
}

row! {
    /// A version of a product.
    pub(crate) struct Runs {
        pub project_path: String,
        pub version: String,
    }
}

/// What runs, or is being deployed, and is not in the catalogue.
pub(crate) async fn unlisted(db: &impl Query) -> Result<Vec<Runs>> {
    let sql = format!(
        "SELECT DISTINCT e.project_path, d.version
         FROM environment e JOIN deployment d ON d.id = e.serving_id
              LEFT JOIN catalogue_release c ON c.project_id = e.project_id AND c.version = d.version
         WHERE e.pruned_at IS NULL AND c.release_id IS NULL
         UNION
         SELECT DISTINCT e.project_path, o.version
         FROM environment e JOIN deployment o ON o.environment_id = e.id AND o.finished_at IS NULL
              LEFT JOIN catalogue_release c ON c.project_id = e.project_id AND c.version = o.version
         WHERE e.pruned_at IS NULL AND c.release_id IS NULL LIMIT {MOST}"
    );
    db.all(&sql, args![]).await
}

/// A product in an environment with its plan.
pub(crate) struct Entry {
    pub place: Place,
    pub plan: Stored,
}

impl FromRow for Entry {
    fn from_row(row: &Row) -> Result<Self> {
        Ok(Self {
            place: Place::from_row(row)?,
            plan: Stored::from_row(row)?,
        })
    }
}

/// Products with their plans, after an environment and product, in one environment or in all.
pub(crate) async fn entries(
    db: &impl Query,
    site: Option<&str>,
    (name, path): (&str, &str),
    limit: i64,
) -> Result<Vec<Entry>> {
    let mut values = args![name, path, limit];
    let only = match site {
        Some(site) => {
            values.push(site.to_sql());
            "AND e.name = $4"
        }
        None => "",
    };
    let sql = format!(
        "SELECT {PLACE}, {WORST} AS instance_state, p.environment_id, p.state, p.current, p.target, p.step, p.why, p.verdicts, p.at
         FROM {PLACES} JOIN plan p ON p.environment_id = e.id
         WHERE (e.name, e.project_path) > ($1, $2) AND e.pruned_at IS NULL {only} ORDER BY e.name, e.project_path LIMIT $3"
    );
    db.all(&sql, values).await
}

row! {
    /// A version that failed in an environment, or cannot be put there, with the variables that it was given.
    #[derive(Clone, Debug)]
    pub(crate) struct Failure {
        pub environment_id: EnvironmentId,
        pub version: String,
        pub reason: String,
        pub settings: Json<BTreeMap<String, String>>,
    }
}

/// Versions that failed where files declare products, and were not put there with success since.
pub(crate) async fn failures(db: &impl Query) -> Result<Vec<Failure>> {
    let sql = "SELECT f.environment_id, f.version, f.reason, f.settings
               FROM plan_failure f JOIN environment e ON e.id = f.environment_id
               WHERE e.declared = TRUE ORDER BY f.at DESC LIMIT 100000";
    db.all(sql, args![]).await
}

/// The same, in the environments of some names.
pub(crate) async fn failures_in(db: &impl Query, names: &[String]) -> Result<Vec<Failure>> {
    let mut values = args![];
    let places = bind_all(&mut values, names);
    let sql = format!(
        "SELECT f.environment_id, f.version, f.reason, f.settings
         FROM plan_failure f JOIN environment e ON e.id = f.environment_id
         WHERE e.declared = TRUE AND e.name IN ({places}) ORDER BY f.at DESC LIMIT 100000"
    );
    db.all(&sql, values).await
}

/// Notes that a version is not to be tried again by a plan, with these variables.
pub(crate) async fn put_failure(
    tx: &Tx,
    environment: EnvironmentId,
    version: &str,
    reason: &str,
    settings: &BTreeMap<String, String>,
    at: Timestamp,
) -> Result<()> {
    let sql =
        "INSERT INTO plan_failure (environment_id, version, reason, settings, at) VALUES ($1, $2, $3, $4, $5)
               ON CONFLICT (environment_id, version) DO UPDATE SET reason = $3, settings = $4, at = $5";
    tx.run(sql, args![environment, version, reason, Json(settings), at])
        .await
        .map(drop)
}

/// A deployment failed: a plan does not try it again with the same variables.
pub(crate) async fn deployment_failed(
    tx: &Tx,
    deployment: DeploymentId,
    reason: &str,
    at: Timestamp,
) -> Result<()> {
    let sql = "INSERT INTO plan_failure (environment_id, version, reason, settings, at)
               SELECT environment_id, version, CAST($2 AS TEXT), settings, CAST($3 AS BIGINT) FROM deployment WHERE id = $1
               ON CONFLICT (environment_id, version)
               DO UPDATE SET reason = excluded.reason, settings = excluded.settings, at = excluded.at";
    tx.run(sql, args![deployment, reason, at]).await.map(drop)
}

/// A version serves: whatever stood against it is over.
pub(crate) async fn forget_failure(tx: &Tx, environment: EnvironmentId, version: &str) -> Result<()> {
    let sql = "DELETE FROM plan_failure WHERE environment_id = $1 AND version = $2";
    tx.run(sql, args![environment, version]).await.map(drop)
}

/// What failed of a product in an environment may be tried again.
pub(crate) async fn forget_failures(tx: &Tx, site: &str, project: ProjectId) -> Result<()> {
    let sql = "DELETE FROM plan_failure WHERE environment_id IN
                 (SELECT id FROM environment WHERE name = $1 AND project_id = $2)";
    tx.run(sql, args![site, project]).await.map(drop)
}

/// The epoch: it goes up with every change of what plans are made of.
pub(crate) async fn epoch(db: &impl Query) -> Result<i64> {
    let sql = "SELECT value AS n FROM delivery_revision WHERE name = 'plan'";
    db.count(sql, args![]).await
}

/// Something changes: the epoch goes up, and what it bears on is written down under it.
pub(crate) async fn changes(tx: &Tx, change: &Change<'_>) -> Result<()> {
    let sql = "UPDATE delivery_revision SET value = value + 1 WHERE name = 'plan' RETURNING value AS n";
    let epoch = tx.count(sql, args![]).await?;
    let sql = "INSERT INTO plan_change (epoch, what) VALUES ($1, $2)";
    tx.run(sql, args![epoch, change.to_string()]).await?;
    if change.of_releases() {
        let sql = "UPDATE delivery_revision SET value = value + 1 WHERE name = 'releases'";
        tx.run(sql, args![]).await?;
    }
    Ok(())
}

/// The revision of all releases as plans are made of them.
pub(crate) async fn releases_revision(db: &impl Query) -> Result<i64> {
    let sql = "SELECT value AS n FROM delivery_revision WHERE name = 'releases'";
    db.count(sql, args![]).await
}

row! {
    /// What changed, and the epoch that it made.
    pub(crate) struct Changed {
        pub epoch: i64,
        pub what: String,
    }
}

/// What changed after an epoch.
pub(crate) async fn changed_since(db: &impl Query, epoch: i64, limit: i64) -> Result<Vec<Changed>> {
    let sql = "SELECT epoch, what FROM plan_change WHERE epoch > $1 ORDER BY epoch LIMIT $2";
    db.all(sql, args![epoch, limit]).await
}

/// What changed up to an epoch was seen.
pub(crate) async fn forget_changes(tx: &Tx, epoch: i64) -> Result<()> {
    let sql = "DELETE FROM plan_change WHERE epoch <= $1";
    tx.run(sql, args![epoch]).await.map(drop)
}

/// Holds the epoch for this transaction; `false` where it has gone up.
pub(crate) async fn claim_epoch(tx: &Tx, epoch: i64) -> Result<bool> {
    let sql = "UPDATE delivery_revision SET value = value WHERE name = 'plan' AND value = $1";
    Ok(tx.run(sql, args![epoch]).await? == 1)
}

/// The plans of the environments of some names.
pub(crate) async fn plans_of(db: &impl Query, names: &[String]) -> Result<Vec<Stored>> {
    let mut values = args![];
    let places = bind_all(&mut values, names);
    let sql = format!(
        "SELECT {COLUMNS} FROM plan WHERE environment_id IN (SELECT e.id FROM environment e WHERE e.name IN ({places}))
         LIMIT {MOST}"
    );
    db.all(&sql, values).await
}

/// How long what was planned before is kept; the ledger keeps it for good.
const LOG: Duration = Duration::from_secs(90 * 86_400);

/// Keeps a plan, and in the log where it is news.
pub(crate) async fn put(tx: &Tx, plan: &Stored, news: bool) -> Result<()> {
    let tables = [("plan", "environment_id"), ("plan_log", "environment_id, at")];
    for (table, key) in tables.into_iter().take(if news { 2 } else { 1 }) {
        let sql = format!(
            "INSERT INTO {table} ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT ({key})
             DO UPDATE SET state = $2, current = $3, target = $4, step = $5, why = $6, verdicts = $7, at = $8"
        );
        let values = args![
            plan.environment_id,
            plan.state,
            plan.current,
            plan.target,
            plan.step,
            plan.why,
            Json(&plan.verdicts.0),
            plan.at
        ];
        tx.run(&sql, values).await?;
    }
    if news {
        let sql = "DELETE FROM plan_log WHERE environment_id = $1 AND at < $2";
        tx.run(sql, args![plan.environment_id, plan.at.minus(LOG)])
            .await?;
    }
    Ok(())
}

/// What was planned for an environment before, newest first.
pub(crate) async fn log(db: &impl Query, environments: &[EnvironmentId], limit: i64) -> Result<Vec<Stored>> {
    if environments.is_empty() {
        return Ok(Vec::new());
    }
    let mut values = args![];
    let places = bind_all(&mut values, environments);
    let sql = format!(
        "SELECT {COLUMNS} FROM plan_log WHERE environment_id IN ({places}) ORDER BY at DESC LIMIT {limit}"
    );
    db.all(&sql, values).await
}

row! {
    /// An incident that is open.
    pub(crate) struct OpenIncident {
        pub project_id: ProjectId,
        pub number: i64,
    }
}

/// The number of an open incident of each product that has one.
pub(crate) async fn incidents(db: &impl Query) -> Result<HashMap<ProjectId, i64>> {
    let sql = "SELECT project_id, number FROM open_incident ORDER BY number LIMIT 100000";
    let open: Vec<OpenIncident> = db.all(sql, args![]).await?;
    Ok(open.into_iter().map(|one| (one.project_id, one.number)).collect())
}

pub(crate) async fn incident_opened(
    tx: &Tx,
    incident: IncidentId,
    project: ProjectId,
    number: i64,
) -> Result<()> {
    let sql = "INSERT INTO open_incident (incident_id, project_id, number) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
    tx.run(sql, args![incident, project, number]).await.map(drop)
}

pub(crate) async fn incident_over(tx: &Tx, incident: IncidentId) -> Result<()> {
    let sql = "DELETE FROM open_incident WHERE incident_id = $1";
    tx.run(sql, args![incident]).await.map(drop)
}

row! {
    /// A drill that runs.
    pub(crate) struct RunningDrill {
        pub number: i64,
        pub environment: String,
        pub reason: String,
    }
}

pub(crate) async fn drills(db: &impl Query) -> Result<Vec<RunningDrill>> {
    let sql = "SELECT number, environment, reason FROM running_drill ORDER BY number LIMIT 10000";
    db.all(sql, args![]).await
}

pub(crate) async fn drill_started(tx: &Tx, number: i64, environment: &str, reason: &str) -> Result<()> {
    let sql =
        "INSERT INTO running_drill (number, environment, reason) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
    tx.run(sql, args![number, environment, reason]).await.map(drop)
}

pub(crate) async fn drill_over(tx: &Tx, number: i64) -> Result<()> {
    let sql = "DELETE FROM running_drill WHERE number = $1";
    tx.run(sql, args![number]).await.map(drop)
}
