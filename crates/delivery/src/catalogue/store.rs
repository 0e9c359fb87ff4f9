//! The queries about the catalogue.

use super::Listed;
use crate::{ReleaseInfo, product::Relations};
use bascule_core::{ProjectId, ReleaseId, Timestamp};
use bascule_store::{Json, Query, Result, Tx, args, bind_all, row};

const COLUMNS: &str = "release_id, project_id, version, sha, relations, published_at, recall_reason, recall_floor, recall_cause";

/// Most releases that are planned with.
pub(crate) const MOST: i64 = 500_000;

pub(crate) async fn all(db: &impl Query) -> Result<Vec<Listed>> {
    let sql = format!("SELECT {COLUMNS} FROM catalogue_release ORDER BY project_id LIMIT {MOST}");
    db.all(&sql, args![]).await
}

pub(crate) async fn of_project(db: &impl Query, project: ProjectId) -> Result<Vec<Listed>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM catalogue_release WHERE project_id = $1 ORDER BY published_at DESC LIMIT 10000"
    );
    db.all(&sql, args![project]).await
}

pub(crate) async fn put(
    tx: &Tx,
    release: &ReleaseInfo,
    relations: &Relations,
    at: Timestamp,
) -> Result<bool> {
    let changed = tx
        .run(
            "INSERT INTO catalogue_release (release_id, project_id, version, sha, relations, published_at)
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
            args![
                release.id,
                release.project,
                release.version,
                release.sha,
                Json(relations),
                at
            ],
        )
        .await?;
    Ok(changed == 1)
}

row! {
    pub(crate) struct InChannel {
        pub release_id: ReleaseId,
        pub channel: String,
    }
}

pub(crate) async fn channels(db: &impl Query) -> Result<Vec<InChannel>> {
    let sql = format!("SELECT release_id, channel FROM catalogue_channel ORDER BY at LIMIT {MOST}");
    db.all(&sql, args![]).await
}

/// Puts a release into a channel; `false` where it was there.
pub(crate) async fn enter(tx: &Tx, release: ReleaseId, channel: &str, at: Timestamp) -> Result<bool> {
    let sql =
        "INSERT INTO catalogue_channel (release_id, channel, at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
    Ok(tx.run(sql, args![release, channel, at]).await? == 1)
}

/// Calls a release back; `false` where it was before, for the same reason and to the same floor. A recall for findings,
/// which would be lifted with them, gives way.
pub(crate) async fn recall(tx: &Tx, release: ReleaseId, reason: &str, floor: &str) -> Result<bool> {
    let sql = "UPDATE catalogue_release SET recall_reason = $2, recall_floor = $3, recall_cause = ''
               WHERE release_id = $1 AND (recall_reason IS NULL OR recall_cause = 'finding'
                 OR recall_reason <> $2 OR COALESCE(recall_floor, '') <> $3)";
    Ok(tx.run(sql, args![release, reason, floor]).await? == 1)
}

row! {
    #[derive(Clone, Debug)]
    pub(crate) struct Approved {
        pub project_id: ProjectId,
        pub version: String,
        pub scope: String,
        pub team: String,
    }
}

pub(crate) async fn approvals(db: &impl Query) -> Result<Vec<Approved>> {
    let sql = "SELECT project_id, version, scope, team FROM delivery_approval ORDER BY at DESC LIMIT 100000";
    db.all(sql, args![]).await
}

/// Approvals for the environments of some names.
pub(crate) async fn approvals_in(db: &impl Query, names: &[String]) -> Result<Vec<Approved>> {
    let scopes: Vec<String> = names.iter().map(|name| format!("environment:{name}")).collect();
    approvals_of(db, &scopes).await
}

/// Approvals of some scopes, such as `channel:stable`.
pub(crate) async fn approvals_of(db: &impl Query, scopes: &[String]) -> Result<Vec<Approved>> {
    let mut values = args![];
    let places = bind_all(&mut values, scopes);
    let sql = format!(
        "SELECT project_id, version, scope, team FROM delivery_approval WHERE scope IN ({places})
         ORDER BY at DESC LIMIT 100000"
    );
    db.all(&sql, values).await
}

/// Notes an approval; `false` where it was given before.
pub(crate) async fn approve(tx: &Tx, given: &Approved, actor: &str, at: Timestamp) -> Result<bool> {
    let sql = "INSERT INTO delivery_approval (project_id, version, scope, team, actor, at)
               VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING";
    let values = args![
        given.project_id,
        given.version,
        given.scope,
        given.team,
        actor,
        at
    ];
    Ok(tx.run(sql, values).await? == 1)
}

row! {
    /// A release that serves in an environment, healthy since then and its agent there to say so.
    #[derive(Clone, Debug)]
    pub(crate) struct Served {
        pub release_id: ReleaseId,
        pub environment: String,
        pub since: Timestamp,
    }
}

/// Which of some environments serve which releases with all their instances healthy: since they took over, or since
/// they last were not.
pub(crate) async fn served(db: &impl Query, environments: &[&str]) -> Result<Vec<Served>> {
    if environments.is_empty() {
        return Ok(Vec::new());
    }
    let mut values = args![];
    let places = bind_all(&mut values, environments);
    db.all(&serving(&format!("AND e.name IN ({places})")), values)
        .await
}

/// The same, of some releases.
pub(crate) async fn served_of(
    db: &impl Query,
    releases: &[ReleaseId],
    environments: &[&str],
) -> Result<Vec<Served>> {
    if environments.is_empty() {
        return Ok(Vec::new());
    }
    let mut values = args![];
    let releases = bind_all(&mut values, releases);
    let places = bind_all(&mut values, environments);
    let which = format!("AND d.release_id IN ({releases}) AND e.name IN ({places})");
    db.all(&serving(&which), values).await
}

fn serving(which: &str) -> String {
    format!(
        "SELECT d.release_id, e.name AS environment,
                MAX(CASE WHEN i.state_at > d.finished_at THEN i.state_at ELSE d.finished_at END) AS since
         FROM environment e JOIN deployment d ON d.id = e.serving_id
              JOIN instance i ON i.deployment_id = d.id AND i.desired = 'run' AND i.retired_at IS NULL
                   AND i.baseline = FALSE
              JOIN agent a ON a.id = e.agent_id
         WHERE d.finished_at IS NOT NULL AND a.online = TRUE {which}
         GROUP BY d.release_id, e.name HAVING SUM(CASE WHEN i.state = 'healthy' THEN 0 ELSE 1 END) = 0 LIMIT {MOST}"
    )
}

row! {
    /// When a release entered a channel.
    #[derive(Clone, Debug)]
    pub(crate) struct Entered {
        pub release_id: ReleaseId,
        pub channel: String,
        pub at: Timestamp,
    }
}

/// Releases that entered a channel since.
pub(crate) async fn entered(db: &impl Query, since: Timestamp) -> Result<Vec<Entered>> {
    let sql = format!(
        "SELECT release_id, channel, at FROM catalogue_channel WHERE at >= $1 ORDER BY at LIMIT {MOST}"
    );
    db.all(&sql, args![since]).await
}

/// One release.
pub(crate) async fn get(db: &impl Query, release: ReleaseId) -> Result<Option<Listed>> {
    let sql = format!("SELECT {COLUMNS} FROM catalogue_release WHERE release_id = $1");
    db.one(&sql, args![release]).await
}

/// In how many environments a release was rolled back.
pub(crate) async fn rolled_back_in(db: &impl Query, release: ReleaseId) -> Result<i64> {
    let sql = "SELECT COUNT(*) AS n FROM (SELECT DISTINCT environment_id FROM deployment
               WHERE release_id = $1 AND status = 'rolled_back') places";
    db.count(sql, args![release]).await
}

row! {
    /// A release that may be chosen.
    #[derive(Clone, Debug)]
    pub(crate) struct Candidate {
        pub project_id: ProjectId,
        pub version: String,
        pub stable: bool,
    }
}

/// The releases of some projects that were not recalled, and whether each is in a channel.
pub(crate) async fn fit_to_lock(
    db: &impl Query,
    projects: &[ProjectId],
    channel: &str,
) -> Result<Vec<Candidate>> {
    if projects.is_empty() {
        return Ok(Vec::new());
    }
    let mut values = args![channel];
    let places = bind_all(&mut values, projects);
    let sql = format!(
        "SELECT r.project_id, r.version,
                CASE WHEN EXISTS (SELECT 1 FROM catalogue_channel c WHERE c.release_id = r.release_id
                                  AND c.channel = $1) THEN TRUE ELSE FALSE END AS stable
         FROM catalogue_release r WHERE r.recall_reason IS NULL AND r.project_id IN ({places}) LIMIT {MOST}"
    );
    db.all(&sql, values).await
}

row! {
    /// A finding in a release, as far as it bears on where the release may run.
    #[derive(Clone, Debug)]
    pub(crate) struct Found {
        pub release_id: ReleaseId,
        pub finding_key: String,
        pub purl: String,
        pub project_id: ProjectId,
        pub version: String,
        pub advisory: String,
        pub severity: i64,
        pub package: String,
        pub component_version: String,
        pub fixed: String,
        pub development: bool,
        pub set_aside: bool,
    }
}

const FOUND: &str = "release_id, finding_key, purl, project_id, version, advisory, severity, package, component_version, \
    fixed, development, set_aside";

pub(crate) async fn put_finding(tx: &Tx, found: &Found) -> Result<()> {
    let sql = format!(
        "INSERT INTO catalogue_finding ({FOUND}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
         ON CONFLICT (release_id, purl, finding_key) DO UPDATE SET advisory = $6, severity = $7, fixed = $10,
         development = $11, set_aside = $12"
    );
    let values = args![
        found.release_id,
        found.finding_key,
        found.purl,
        found.project_id,
        found.version,
        found.advisory,
        found.severity,
        found.package,
        found.component_version,
        found.fixed,
        found.development,
        found.set_aside
    ];
    tx.run(&sql, values).await.map(drop)
}

pub(crate) async fn drop_finding(tx: &Tx, release: ReleaseId, purl: &str, key: &str) -> Result<()> {
    let sql = "DELETE FROM catalogue_finding WHERE release_id = $1 AND purl = $2 AND finding_key = $3";
    tx.run(sql, args![release, purl, key]).await.map(drop)
}

row! { struct OfRelease { release_id: ReleaseId } }

/// Sets a finding aside in all releases of its project, or lets it count again; the releases.
pub(crate) async fn set_aside(
    tx: &Tx,
    project: ProjectId,
    key: &str,
    set_aside: bool,
) -> Result<Vec<ReleaseId>> {
    let sql = "UPDATE catalogue_finding SET set_aside = $3 WHERE project_id = $1 AND finding_key = $2";
    tx.run(sql, args![project, key, set_aside]).await?;
    let sql = format!(
        "SELECT DISTINCT release_id FROM catalogue_finding WHERE project_id = $1 AND finding_key = $2 LIMIT {MOST}"
    );
    let rows: Vec<OfRelease> = tx.all(&sql, args![project, key]).await?;
    Ok(rows.into_iter().map(|row| row.release_id).collect())
}

/// A release's findings, the worst first, and of those the ones that can be mended.
pub(crate) async fn findings_of(db: &impl Query, release: ReleaseId) -> Result<Vec<Found>> {
    let sql = format!(
        "SELECT {FOUND} FROM catalogue_finding WHERE release_id = $1
         ORDER BY severity DESC, CASE WHEN fixed = '' THEN 1 ELSE 0 END, advisory, purl LIMIT 10000"
    );
    db.all(&sql, args![release]).await
}

/// Findings that count, at or above a severity.
pub(crate) async fn counting(db: &impl Query, least: i64) -> Result<Vec<Found>> {
    let sql = format!(
        "SELECT {FOUND} FROM catalogue_finding WHERE severity >= $1 AND set_aside = FALSE AND development = FALSE
         ORDER BY severity DESC, advisory LIMIT {MOST}"
    );
    db.all(&sql, args![least]).await
}

/// Calls a release back for its findings.
pub(crate) async fn recall_for_finding(tx: &Tx, release: ReleaseId, reason: &str) -> Result<()> {
    let sql = "UPDATE catalogue_release SET recall_reason = $2, recall_floor = '', recall_cause = 'finding'
               WHERE release_id = $1 AND recall_reason IS NULL";
    tx.run(sql, args![release, reason]).await.map(drop)
}

/// Says anew for which findings it was recalled; what was recalled for something else is left.
pub(crate) async fn say_finding(tx: &Tx, release: ReleaseId, reason: &str) -> Result<()> {
    let sql =
        "UPDATE catalogue_release SET recall_reason = $2 WHERE release_id = $1 AND recall_cause = 'finding'";
    tx.run(sql, args![release, reason]).await.map(drop)
}

/// Lifts a recall, for whatever it was; `false` where there is none.
pub(crate) async fn lift_recall(tx: &Tx, release: ReleaseId) -> Result<bool> {
    let sql =
        "UPDATE catalogue_release SET recall_reason = NULL, recall_floor = NULL, recall_cause = 'lifted'
               WHERE release_id = $1 AND recall_reason IS NOT NULL";
    Ok(tx.run(sql, args![release]).await? == 1)
}

/// Lifts a recall that was for findings; `false` where there is none.
pub(crate) async fn lift_finding_recall(tx: &Tx, release: ReleaseId) -> Result<bool> {
    let sql = "UPDATE catalogue_release SET recall_reason = NULL, recall_floor = NULL, recall_cause = ''
               WHERE release_id = $1 AND recall_reason IS NOT NULL AND recall_cause = 'finding'";
    Ok(tx.run(sql, args![release]).await? == 1)
}
