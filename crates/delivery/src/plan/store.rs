//! The queries about plans.

use super::Stored;
use bascule_core::{AgentId, DeploymentId, EnvironmentId, IncidentId, ProjectId};
use bascule_store::{Json, Query, Result, Tx, args, row};
use std::collections::BTreeMap;

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
        pub serving_version: Option<String>,
        pub artifact_size: Option<i64>,
        pub settings: Option<Json<BTreeMap<String, String>>>,
        pub moving_version: Option<String>,
        pub instance_state: Option<String>,
    }
}

/// All products in all environments, by environment.
pub(crate) async fn places(db: &impl Query) -> Result<Vec<Place>> {
    let sql = format!(
        "SELECT e.id, e.project_id, e.project_path, e.name, e.tier, e.declared, e.agent_id, e.serving_id,
                d.version AS serving_version, d.artifact_size, d.settings, o.version AS moving_version,
                (SELECT i.state FROM instance i WHERE i.deployment_id = e.serving_id AND i.desired = 'run'
                 ORDER BY i.id DESC LIMIT 1) AS instance_state
         FROM environment e LEFT JOIN deployment d ON d.id = e.serving_id
              LEFT JOIN deployment o ON o.environment_id = e.id AND o.finished_at IS NULL
         ORDER BY e.name, e.project_path LIMIT {MOST}"
    );
    db.all(&sql, args![]).await
}

row! {
    /// A version that failed in an environment and did not succeed there since.
    #[derive(Clone, Debug)]
    pub(crate) struct Failure {
        pub environment_id: EnvironmentId,
        pub version: String,
        pub reason: String,
    }
}

/// Versions that failed where they were put, and were not put there with success since.
pub(crate) async fn failures(db: &impl Query) -> Result<Vec<Failure>> {
    let sql = "SELECT f.environment_id, f.version, f.reason FROM deployment f
               WHERE f.status IN ('failed', 'rolled_back') AND NOT EXISTS (
                 SELECT 1 FROM deployment s WHERE s.environment_id = f.environment_id AND s.version = f.version
                 AND s.status = 'succeeded' AND s.id > f.id)
               ORDER BY f.id DESC LIMIT 100000";
    db.all(sql, args![]).await
}

pub(crate) async fn all(db: &impl Query) -> Result<Vec<Stored>> {
    let sql = format!("SELECT {COLUMNS} FROM plan LIMIT {MOST}");
    db.all(&sql, args![]).await
}

/// Keeps a plan and what it said before.
pub(crate) async fn put(tx: &Tx, plan: &Stored) -> Result<()> {
    for table in ["plan", "plan_log"] {
        let key = if table == "plan" {
            "environment_id"
        } else {
            "environment_id, at"
        };
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
    Ok(())
}

/// What was planned for an environment before, newest first.
pub(crate) async fn log(db: &impl Query, environments: &[EnvironmentId], limit: i64) -> Result<Vec<Stored>> {
    if environments.is_empty() {
        return Ok(Vec::new());
    }
    let places = crate::deployment::store::places(environments.len());
    let sql = format!(
        "SELECT {COLUMNS} FROM plan_log WHERE environment_id IN ({places}) ORDER BY at DESC LIMIT {limit}"
    );
    db.all(
        &sql,
        environments.iter().map(bascule_store::ToSql::to_sql).collect(),
    )
    .await
}

row! {
    /// An incident that is open.
    pub(crate) struct OpenIncident {
        pub project_id: ProjectId,
        pub number: i64,
    }
}

pub(crate) async fn incidents(db: &impl Query) -> Result<Vec<OpenIncident>> {
    let sql = "SELECT project_id, number FROM open_incident ORDER BY number LIMIT 100000";
    db.all(sql, args![]).await
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
