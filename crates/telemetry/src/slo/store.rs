//! The queries about objectives and alerts.

use super::Window;
use crate::signals::{FINE, HOUR};
use bascule_core::{EnvironmentId, ProjectId, Timestamp};
use bascule_store::{Query, Result, Tx, args, row};

row! {
    /// An alert as stored.
    #[derive(Clone, Debug)]
    pub(crate) struct AlertRow {
        pub(crate) key: String,
        pub(crate) environment_id: EnvironmentId,
        pub(crate) project_id: ProjectId,
        pub(crate) slo: String,
        pub(crate) burn_rate: f64,
        pub(crate) version: Option<String>,
        pub(crate) began_at: Timestamp,
        pub(crate) opened_at: Timestamp,
        pub(crate) fired_at: Timestamp,
        pub(crate) closed_at: Option<Timestamp>,
    }
}
row! { struct Sum { at: Timestamp, requests: i64, errors: i64 } }
row! { struct Total { requests: Option<i64>, errors: Option<i64> } }
row! { struct Worst { version: String } }
row! { struct Touched { environment_id: EnvironmentId } }

const ALERT: &str =
    "key, environment_id, project_id, slo, burn_rate, version, began_at, opened_at, fired_at, closed_at";
const ENVIRONMENTS: i64 = 10_000;

fn window(requests: i64, errors: i64) -> Window {
    Window {
        requests: u64::try_from(requests).unwrap_or(0),
        errors: u64::try_from(errors).unwrap_or(0),
    }
}

/// Environments that answered requests since an instant, or have an open alert.
pub(crate) async fn touched(db: &impl Query, since: Timestamp) -> Result<Vec<EnvironmentId>> {
    let sql = "SELECT environment_id FROM telemetry_bucket WHERE step = $1 AND at >= $2
               UNION SELECT environment_id FROM telemetry_alert WHERE closed_at IS NULL LIMIT $3";
    let rows: Vec<Touched> = db.all(sql, args![FINE, since, ENVIRONMENTS]).await?;
    Ok(rows.into_iter().map(|row| row.environment_id).collect())
}

/// Counts of all versions in the finest buckets since an instant, oldest first.
pub(crate) async fn fine(
    db: &impl Query,
    environment: EnvironmentId,
    since: Timestamp,
) -> Result<Vec<(Timestamp, Window)>> {
    let sql = "SELECT at, CAST(SUM(requests) AS BIGINT) AS requests, CAST(SUM(errors) AS BIGINT) AS errors
               FROM telemetry_bucket WHERE environment_id = $1 AND step = $2 AND at >= $3 GROUP BY at ORDER BY at
               LIMIT 20000";
    let rows: Vec<Sum> = db.all(sql, args![environment, FINE, since]).await?;
    Ok(rows
        .into_iter()
        .map(|row| (row.at, window(row.requests, row.errors)))
        .collect())
}

/// Counts of all versions in a span of whole hours.
pub(crate) async fn hours(
    db: &impl Query,
    environment: EnvironmentId,
    from: Timestamp,
    to: Timestamp,
) -> Result<Window> {
    let sql = "SELECT CAST(SUM(requests) AS BIGINT) AS requests, CAST(SUM(errors) AS BIGINT) AS errors
               FROM telemetry_bucket WHERE environment_id = $1 AND step = $2 AND at >= $3 AND at < $4";
    let row: Option<Total> = db.one(sql, args![environment, HOUR, from, to]).await?;
    Ok(row
        .map(|row| window(row.requests.unwrap_or(0), row.errors.unwrap_or(0)))
        .unwrap_or_default())
}

/// The version with most errors since an instant.
pub(crate) async fn worst(
    db: &impl Query,
    environment: EnvironmentId,
    since: Timestamp,
) -> Result<Option<String>> {
    let sql = "SELECT version FROM telemetry_bucket WHERE environment_id = $1 AND step = $2 AND at >= $3
               GROUP BY version HAVING SUM(errors) > 0 ORDER BY SUM(errors) DESC LIMIT 1";
    Ok(db
        .one::<Worst>(sql, args![environment, FINE, since])
        .await?
        .map(|row| row.version))
}

/// The open alert of an objective.
pub(crate) async fn open(db: &impl Query, environment: EnvironmentId, slo: &str) -> Result<Option<AlertRow>> {
    let sql = format!(
        "SELECT {ALERT} FROM telemetry_alert WHERE environment_id = $1 AND slo = $2 AND closed_at IS NULL"
    );
    db.one(&sql, args![environment, slo]).await
}

/// A project's newest alerts.
pub(crate) async fn newest(db: &impl Query, project: ProjectId, limit: i64) -> Result<Vec<AlertRow>> {
    let sql =
        format!("SELECT {ALERT} FROM telemetry_alert WHERE project_id = $1 ORDER BY opened_at DESC LIMIT $2");
    db.all(&sql, args![project, limit]).await
}

/// Opens an alert; `false` where one is open already.
pub(crate) async fn insert(tx: &Tx, alert: &AlertRow) -> Result<bool> {
    let changed = tx
        .run(
            "INSERT INTO telemetry_alert (key, environment_id, project_id, slo, burn_rate, version, began_at, opened_at,
                 fired_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING",
            args![
                alert.key,
                alert.environment_id,
                alert.project_id,
                alert.slo,
                alert.burn_rate,
                alert.version,
                alert.began_at,
                alert.opened_at,
                alert.fired_at
            ],
        )
        .await?;
    Ok(changed == 1)
}

pub(crate) async fn fired(tx: &Tx, key: &str, at: Timestamp) -> Result<()> {
    tx.run(
        "UPDATE telemetry_alert SET fired_at = $2 WHERE key = $1",
        args![key, at],
    )
    .await
    .map(drop)
}

/// Closes an alert; `false` where it was closed before.
pub(crate) async fn close(tx: &Tx, key: &str, at: Timestamp) -> Result<bool> {
    let sql = "UPDATE telemetry_alert SET closed_at = $2 WHERE key = $1 AND closed_at IS NULL";
    Ok(tx.run(sql, args![key, at]).await? == 1)
}
