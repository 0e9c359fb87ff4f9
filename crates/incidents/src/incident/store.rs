//! The queries.

use bascule_core::{EnvironmentId, IncidentId, ProjectId, Timestamp};
use bascule_store::{Query, Result, Tx, Value, args, bind_all, row};
use bascule_wire::incidents::{IncidentSummary, Postmortem, Severity};

row! {
    /// An incident as stored.
    #[derive(Clone, Debug)]
    pub struct Incident {
        /// The incident.
        pub id: IncidentId,
        /// Its number within the instance.
        pub number: i64,
        /// The project.
        pub project_id: ProjectId,
        /// `group/project`.
        pub path: String,
        /// Its title.
        pub title: String,
        /// How bad it is, as stored.
        pub severity: String,
        /// What opened it.
        pub cause: String,
        /// The environment, if it concerns one.
        pub environment_id: Option<EnvironmentId>,
        /// The environment's name.
        pub environment_name: Option<String>,
        /// The deployment at fault, if known, as an id.
        pub deployment_id: Option<String>,
        /// The version at fault, if known.
        pub version: Option<String>,
        /// Whether it is a drill.
        pub drill: bool,
        /// The cause as named by people.
        pub root_cause: String,
        /// When the failing began.
        pub began_at: Timestamp,
        /// When it was noticed.
        pub detected_at: Timestamp,
        /// When someone took it.
        pub acknowledged_at: Option<Timestamp>,
        /// Who took it.
        pub acknowledged_by: Option<String>,
        /// When the cause was named.
        pub identified_at: Option<Timestamp>,
        /// When the failing stopped, as far as known.
        pub restored_at: Option<Timestamp>,
        /// When it was resolved.
        pub resolved_at: Option<Timestamp>,
        /// Who resolved it.
        pub resolved_by: Option<String>,
        /// The project that holds the post-mortem.
        pub postmortem_home: Option<String>,
        /// The post-mortem's path there.
        pub postmortem_path: Option<String>,
        /// Its commit.
        pub postmortem_sha: Option<String>,
        /// Why it could not be committed.
        pub postmortem_error: Option<String>,
    }
}

row! {
    /// A comment as stored.
    #[derive(Clone, Debug)]
    pub(crate) struct Comment {
        pub(crate) number: i64,
        pub(crate) actor: String,
        pub(crate) body: String,
        pub(crate) at: Timestamp,
    }
}

row! {
    #[derive(Clone, Debug)]
    pub(crate) struct KnownEnvironment {
        pub(crate) environment_id: EnvironmentId,
        pub(crate) name: String,
        pub(crate) tier: String,
    }
}

impl Incident {
    /// `open`, `acknowledged`, `identified`, `resolved`.
    #[must_use]
    pub fn status(&self) -> &'static str {
        match self {
            Self {
                resolved_at: Some(_), ..
            } => "resolved",
            Self {
                identified_at: Some(_),
                ..
            } => "identified",
            Self {
                acknowledged_at: Some(_),
                ..
            } => "acknowledged",
            _ => "open",
        }
    }

    /// As the API carries it in a list.
    #[must_use]
    pub fn summary(&self) -> IncidentSummary {
        IncidentSummary {
            id: self.id,
            number: self.number,
            project: self.path.clone(),
            title: self.title.clone(),
            severity: Severity::parse(&self.severity),
            status: self.status().to_owned(),
            cause: self.cause.clone(),
            environment: self.environment_name.clone(),
            version: self.version.clone(),
            drill: self.drill,
            began_at: self.began_at,
            detected_at: self.detected_at,
            acknowledged_at: self.acknowledged_at,
            identified_at: self.identified_at,
            restored_at: self.restored_at,
            resolved_at: self.resolved_at,
        }
    }

    /// Where its post-mortem stands.
    #[must_use]
    pub fn postmortem(&self) -> Option<Postmortem> {
        let (home, path, sha) = (&self.postmortem_home, &self.postmortem_path, &self.postmortem_sha);
        Some(Postmortem {
            home: home.clone()?,
            path: path.clone()?,
            sha: sha.clone()?,
        })
    }
}

const SELECT: &str =
    "SELECT incident.id, number, incident.project_id, COALESCE(path, '') AS path, title, severity,
    cause, environment_id, environment_name, deployment_id, version, drill, root_cause, began_at, detected_at,
    acknowledged_at, acknowledged_by, identified_at, restored_at, resolved_at, resolved_by, postmortem_home,
    postmortem_path, postmortem_sha, postmortem_error
    FROM incident LEFT JOIN known_project ON known_project.project_id = incident.project_id";

pub(crate) async fn get(db: &impl Query, id: IncidentId) -> Result<Option<Incident>> {
    db.one(&format!("{SELECT} WHERE incident.id = $1"), args![id])
        .await
}

pub(crate) async fn by_number(db: &impl Query, project: ProjectId, number: i64) -> Result<Option<Incident>> {
    db.one(
        &format!("{SELECT} WHERE incident.project_id = $1 AND number = $2"),
        args![project, number],
    )
    .await
}

/// The open incident of an environment.
pub(crate) async fn open_in(db: &impl Query, environment: EnvironmentId) -> Result<Option<Incident>> {
    let sql = format!("{SELECT} WHERE environment_id = $1 AND resolved_at IS NULL");
    db.one(&sql, args![environment]).await
}

/// An incident of an environment resolved since an instant, that was not yet over at another.
pub(crate) async fn just_over(
    db: &impl Query,
    environment: EnvironmentId,
    resolved_since: Timestamp,
    failing_at: Timestamp,
) -> Result<Option<Incident>> {
    let sql = format!(
        "{SELECT} WHERE environment_id = $1 AND resolved_at >= $2 AND restored_at >= $3 ORDER BY number DESC LIMIT 1"
    );
    db.one(&sql, args![environment, resolved_since, failing_at]).await
}

/// Incidents of all projects or of some; open ones, or resolved ones with a number below `before`; newest
/// first.
pub(crate) async fn list(
    db: &impl Query,
    projects: Option<&[ProjectId]>,
    open: bool,
    before: Option<i64>,
    limit: i64,
) -> Result<Vec<Incident>> {
    let mut values: Vec<Value> = args![before.unwrap_or(i64::MAX), limit];
    let mut within = String::new();
    if let Some(projects) = projects {
        if projects.is_empty() {
            return Ok(Vec::new());
        }
        let places = bind_all(&mut values, projects.get(..30_000).unwrap_or(projects));
        within = format!(" AND incident.project_id IN ({places})");
    }
    let state = if open { "IS NULL" } else { "IS NOT NULL" };
    let sql =
        format!("{SELECT} WHERE resolved_at {state} AND number < $1{within} ORDER BY number DESC LIMIT $2");
    db.all(&sql, values).await
}

/// Creates an incident.
pub(crate) async fn insert(tx: &Tx, new: &Incident) -> Result<()> {
    tx.run(
        "INSERT INTO incident (id, number, project_id, title, severity, cause, environment_id, environment_name,
             deployment_id, version, drill, root_cause, began_at, detected_at, restored_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, '', $12, $13, $14)",
        args![
            new.id,
            new.number,
            new.project_id,
            new.title,
            new.severity,
            new.cause,
            new.environment_id,
            new.environment_name,
            new.deployment_id,
            new.version,
            new.drill,
            new.began_at,
            new.detected_at,
            new.restored_at
        ],
    )
    .await
    .map(drop)
}

/// Adds what was learnt later, and never takes away what was known.
pub(crate) async fn learn(
    tx: &Tx,
    id: IncidentId,
    deployment: Option<&str>,
    version: Option<&str>,
    restored_at: Option<Timestamp>,
) -> Result<()> {
    tx.run(
        "UPDATE incident SET deployment_id = COALESCE(deployment_id, $2), version = COALESCE(version, $3),
             restored_at = COALESCE(restored_at, $4) WHERE id = $1",
        args![id, deployment, version, restored_at],
    )
    .await
    .map(drop)
}

/// What a state changes.
pub(crate) async fn set_acknowledged(tx: &Tx, id: IncidentId, at: Timestamp, by: &str) -> Result<bool> {
    let sql = "UPDATE incident SET acknowledged_at = $2, acknowledged_by = $3
               WHERE id = $1 AND acknowledged_at IS NULL AND resolved_at IS NULL";
    Ok(tx.run(sql, args![id, at, by]).await? == 1)
}

pub(crate) async fn set_identified(tx: &Tx, id: IncidentId, at: Timestamp, root_cause: &str) -> Result<bool> {
    let sql = "UPDATE incident SET identified_at = COALESCE(identified_at, $2), root_cause = $3
               WHERE id = $1 AND resolved_at IS NULL";
    Ok(tx.run(sql, args![id, at, root_cause]).await? == 1)
}

pub(crate) async fn set_resolved(
    tx: &Tx,
    id: IncidentId,
    at: Timestamp,
    by: &str,
    restored_at: Timestamp,
) -> Result<bool> {
    let sql = "UPDATE incident SET resolved_at = $2, resolved_by = $3, restored_at = $4
               WHERE id = $1 AND resolved_at IS NULL";
    Ok(tx.run(sql, args![id, at, by, restored_at]).await? == 1)
}

pub(crate) async fn set_severity(tx: &Tx, id: IncidentId, severity: Severity) -> Result<bool> {
    let sql = "UPDATE incident SET severity = $2 WHERE id = $1 AND severity <> $2";
    Ok(tx.run(sql, args![id, severity.as_str()]).await? == 1)
}

pub(crate) async fn set_postmortem(tx: &Tx, id: IncidentId, at: &Postmortem) -> Result<bool> {
    let sql = "UPDATE incident SET postmortem_home = $2, postmortem_path = $3, postmortem_sha = $4,
                   postmortem_error = NULL WHERE id = $1 AND postmortem_sha IS NULL";
    Ok(tx.run(sql, args![id, at.home, at.path, at.sha]).await? == 1)
}

pub(crate) async fn set_postmortem_error(tx: &Tx, id: IncidentId, error: &str) -> Result<()> {
    tx.run(
        "UPDATE incident SET postmortem_error = $2 WHERE id = $1",
        args![id, error],
    )
    .await
    .map(drop)
}

/// Adds a comment; returns its number.
pub(crate) async fn comment(tx: &Tx, id: IncidentId, actor: &str, body: &str, at: Timestamp) -> Result<i64> {
    let last = "SELECT MAX(number) AS n FROM incident_comment WHERE incident_id = $1";
    let number = tx.count(last, args![id]).await? + 1;
    let sql =
        "INSERT INTO incident_comment (incident_id, number, actor, body, at) VALUES ($1, $2, $3, $4, $5)";
    tx.run(sql, args![id, number, actor, body, at]).await?;
    Ok(number)
}

pub(crate) async fn comments(db: &impl Query, id: IncidentId) -> Result<Vec<Comment>> {
    let sql = "SELECT number, actor, body, at FROM incident_comment WHERE incident_id = $1 ORDER BY number LIMIT 1000";
    db.all(sql, args![id]).await
}

/// Marks a fact as taken up by an incident; `false` where it was before.
pub(crate) async fn take_source(
    tx: &Tx,
    fact: bascule_core::FactId,
    incident: IncidentId,
    (seq, kind): (i64, &str),
    alert: Option<&str>,
) -> Result<bool> {
    let sql =
        "INSERT INTO incident_source (fact_id, incident_id, seq, kind, alert) VALUES ($1, $2, $3, $4, $5)
               ON CONFLICT (fact_id) DO NOTHING";
    Ok(tx.run(sql, args![fact, incident, seq, kind, alert]).await? == 1)
}

/// Whether a fact was taken up before.
pub(crate) async fn source_taken(db: &impl Query, fact: bascule_core::FactId) -> Result<bool> {
    Ok(db
        .count(
            "SELECT COUNT(*) AS n FROM incident_source WHERE fact_id = $1",
            args![fact],
        )
        .await?
        > 0)
}

/// Notes that an alert is over, in the incident that it belongs to.
pub(crate) async fn alert_over(tx: &Tx, alert: &str, at: Timestamp) -> Result<()> {
    let sql = "UPDATE incident SET restored_at = COALESCE(restored_at, $2) WHERE resolved_at IS NULL
               AND id IN (SELECT incident_id FROM incident_source WHERE alert = $1)";
    tx.run(sql, args![alert, at]).await.map(drop)
}

pub(crate) async fn environment(db: &impl Query, id: EnvironmentId) -> Result<Option<KnownEnvironment>> {
    db.one(
        "SELECT environment_id, name, tier FROM known_environment WHERE environment_id = $1",
        args![id],
    )
    .await
}

pub(crate) async fn environments(db: &impl Query, project: ProjectId) -> Result<Vec<KnownEnvironment>> {
    let sql = "SELECT environment_id, name, tier FROM known_environment WHERE project_id = $1
               ORDER BY tier, name LIMIT 100";
    db.all(sql, args![project]).await
}

pub(crate) async fn know_environment(
    tx: &Tx,
    id: EnvironmentId,
    project: ProjectId,
    name: &str,
    tier: &str,
) -> Result<()> {
    let sql = "INSERT INTO known_environment (environment_id, project_id, name, tier) VALUES ($1, $2, $3, $4)
               ON CONFLICT (environment_id) DO UPDATE SET name = $3, tier = $4";
    tx.run(sql, args![id, project, name, tier]).await.map(drop)
}

pub(crate) async fn know_project(tx: &Tx, project: ProjectId, path: &str) -> Result<()> {
    let sql = "INSERT INTO known_project (project_id, path) VALUES ($1, $2)
               ON CONFLICT (project_id) DO UPDATE SET path = $2";
    tx.run(sql, args![project, path]).await.map(drop)
}
