//! The queries about buckets.

use super::{Counts, Key};
use bascule_core::{DeploymentId, EnvironmentId, InstanceId, ProjectId, Timestamp};
use bascule_store::{Json, Query, Result, Tx, Value, args, row};
use bascule_wire::edge::Slice;
use std::collections::HashSet;

row! {
    struct BucketRow {
        at: Timestamp,
        deployment_id: DeploymentId,
        project_id: ProjectId,
        version: String,
        requests: i64,
        errors: i64,
        slow: i64,
        in_flight: i64,
        latency: Json<Vec<u64>>,
    }
}
row! { struct Claimed { instance_id: InstanceId, at: Timestamp } }

/// One row of a series.
#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    pub(crate) at: Timestamp,
    pub(crate) deployment: DeploymentId,
    pub(crate) counts: Counts,
}

const COLUMNS: &str = "at, deployment_id, project_id, version, requests, errors, slow, in_flight, latency";
/// Rows of one statement; four values each stay below every engine's limit.
const ROWS: usize = 300;

fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn natural(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

impl From<BucketRow> for Bucket {
    fn from(row: BucketRow) -> Self {
        Self {
            at: row.at,
            deployment: row.deployment_id,
            counts: Counts {
                project: row.project_id,
                version: row.version,
                requests: natural(row.requests),
                errors: natural(row.errors),
                slow: natural(row.slow),
                in_flight: natural(row.in_flight),
                latency: row.latency.0,
            },
        }
    }
}

/// Makes writers wait for each other: histograms are read, added to and written back.
pub(crate) async fn lock(tx: &Tx) -> Result<()> {
    tx.run(
        "UPDATE telemetry_state SET value = value + 1 WHERE name = 'record'",
        args![],
    )
    .await
    .map(drop)
}

/// Marks seconds as counted, and returns those that were not before.
pub(crate) async fn claim(
    tx: &Tx,
    source: &str,
    slices: &[&Slice],
) -> Result<HashSet<(InstanceId, Timestamp)>> {
    let mut fresh = HashSet::new();
    for chunk in slices.chunks(ROWS) {
        let mut values: Vec<Value> = args![source];
        let mut rows = Vec::new();
        for slice in chunk {
            values.extend(args![slice.instance, slice.at]);
            rows.push(format!("(${}, ${}, $1)", values.len() - 1, values.len()));
        }
        let sql = format!(
            "INSERT INTO telemetry_seen (instance_id, at, source) VALUES {} ON CONFLICT DO NOTHING
             RETURNING instance_id, at",
            rows.join(", ")
        );
        let claimed: Vec<Claimed> = tx.all(&sql, values).await?;
        fresh.extend(claimed.into_iter().map(|row| (row.instance_id, row.at)));
    }
    Ok(fresh)
}

/// Adds to a bucket.
pub(crate) async fn add(tx: &Tx, key: &Key, counts: &Counts) -> Result<()> {
    let sql = format!(
        "SELECT {COLUMNS} FROM telemetry_bucket
         WHERE environment_id = $1 AND step = $2 AND at = $3 AND deployment_id = $4"
    );
    let known: Option<BucketRow> = tx
        .one(&sql, args![key.environment, key.step, key.at, key.deployment])
        .await?;
    let mut sum = counts.clone();
    if let Some(row) = known {
        sum.add(&Bucket::from(row).counts);
    }
    tx.run(
        "INSERT INTO telemetry_bucket (environment_id, step, at, deployment_id, project_id, version, requests,
             errors, slow, in_flight, latency, told_requests, told_errors)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 0, 0)
         ON CONFLICT (environment_id, step, at, deployment_id)
         DO UPDATE SET requests = $7, errors = $8, slow = $9, in_flight = $10, latency = $11",
        args![
            key.environment,
            key.step,
            key.at,
            key.deployment,
            sum.project,
            sum.version,
            count(sum.requests),
            count(sum.errors),
            count(sum.slow),
            count(sum.in_flight),
            Json(sum.latency)
        ],
    )
    .await
    .map(drop)
}

/// Most rows of one series: a range's points times some versions in it.
const SERIES: i64 = 20_000;

/// An environment's buckets of one length in a span of time, oldest first.
pub(crate) async fn series(
    db: &impl Query,
    environment: EnvironmentId,
    step: i64,
    from: Timestamp,
    to: Timestamp,
) -> Result<Vec<Bucket>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM telemetry_bucket
         WHERE environment_id = $1 AND step = $2 AND at >= $3 AND at < $4 ORDER BY at, deployment_id LIMIT $5"
    );
    let rows: Vec<BucketRow> = db.all(&sql, args![environment, step, from, to, SERIES]).await?;
    Ok(rows.into_iter().map(Bucket::from).collect())
}

/// Removes what is too old; returns how many rows went. In portions, so that no writer waits long.
pub(crate) async fn prune(tx: &Tx, step: i64, before: Timestamp) -> Result<u64> {
    tx.run(
        "DELETE FROM telemetry_bucket WHERE step = $1 AND at < $2 AND at <= (
             SELECT MAX(at) FROM (SELECT at FROM telemetry_bucket WHERE step = $1 AND at < $2 ORDER BY at LIMIT 2000) AS oldest)
         AND (step <> 10 OR told_requests >= requests)",
        args![step, before],
    )
    .await
}

/// Forgets seconds so old that they are no longer accepted.
pub(crate) async fn forget(tx: &Tx, before: Timestamp) -> Result<u64> {
    tx.run("DELETE FROM telemetry_seen WHERE at < $1", args![before])
        .await
}
