//! The queries.

use crate::{Scope, measure::store::Where};
use bascule_core::Timestamp;
use bascule_store::{Query, Result, ToSql as _, row};
use std::time::Duration;

/// Failed pipelines older than this wait for nobody.
pub(super) const PIPELINES_SINCE: Duration = Duration::from_secs(14 * 86_400);

row! {
    pub(super) struct OpenIncident {
        pub(super) number: i64,
        pub(super) title: String,
        pub(super) severity: String,
        pub(super) acknowledged: bool,
        pub(super) path: String,
        pub(super) at: Timestamp,
    }
}
row! {
    pub(super) struct FailedPipeline {
        pub(super) pipeline_id: i64,
        pub(super) reference: String,
        pub(super) path: String,
        pub(super) at: Timestamp,
    }
}
row! {
    pub(super) struct WaitingRelease {
        pub(super) version: String,
        pub(super) path: String,
        pub(super) at: Timestamp,
    }
}

const PATH: &str =
    "COALESCE((SELECT path FROM insight_project WHERE insight_project.project_id = waits.project_id), '')";
const EACH: i64 = 10;

pub(super) async fn open_incidents(db: &impl Query, scope: &Scope) -> Result<Vec<OpenIncident>> {
    let conditions = Where::new(scope, i64::MAX, EACH);
    let sql = format!(
        "SELECT number, title, severity, acknowledged_at IS NOT NULL AS acknowledged, {PATH} AS path, detected_at AS at
         FROM insight_incident AS waits WHERE resolved_at IS NULL AND number < $1{} ORDER BY number DESC LIMIT $2",
        conditions.scope()
    );
    db.all(&sql, conditions.into_values()).await
}

/// Pipelines that a person started, that failed, and after which none ran for the same branch or tag.
pub(super) async fn failed_pipelines(
    db: &impl Query,
    scope: &Scope,
    user: &str,
    since: Timestamp,
) -> Result<Vec<FailedPipeline>> {
    let conditions = Where::new(scope, since.micros(), EACH);
    let within = conditions.scope();
    let mut values = conditions.into_values();
    values.push(user.to_sql());
    let sql = format!(
        "SELECT pipeline_id, reference, {PATH} AS path, at FROM insight_pipeline AS waits
         WHERE actor_id = ${} AND status = 'failed' AND at >= $1{within} AND NOT EXISTS (
             SELECT 1 FROM insight_pipeline AS newer WHERE newer.project_id = waits.project_id
             AND newer.reference = waits.reference AND newer.pipeline_id > waits.pipeline_id)
         ORDER BY at DESC LIMIT $2",
        values.len()
    );
    db.all(&sql, values).await
}

pub(super) async fn waiting_releases(db: &impl Query, scope: &Scope) -> Result<Vec<WaitingRelease>> {
    let conditions = Where::new(scope, i64::MAX, EACH);
    let sql = format!(
        "SELECT version, {PATH} AS path, at FROM insight_waiting AS waits WHERE seq < $1{} ORDER BY seq DESC LIMIT $2",
        conditions.scope()
    );
    db.all(&sql, conditions.into_values()).await
}
