//! JSON handlers.

use super::range;
use crate::Telemetry;
use axum::Json;
use axum::extract::State;
use bascule_core::{Permission, Problem};
use bascule_web::{Access, Answer, InProject, Params, Routes, routes};
use bascule_wire::telemetry::{Alert, Telemetry as Dto};
use serde::Deserialize;

pub(crate) fn routes() -> Routes<Telemetry> {
    Routes::new()
        .api(Access::Project(Permission::TelemetryRead), routes!(telemetry))
        .api(Access::Project(Permission::TelemetryRead), routes!(alerts))
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
struct Query {
    /// How far back: `15m`, `1h`, `6h`, `24h` or `28d`.
    #[serde(default)]
    range: String,
}

/// The golden signals, objectives and budgets of a project's environments.
#[utoipa::path(get, path = "/api/v1/projects/{group}/{project}/telemetry", tag = "telemetry",
    params(("group" = String, Path), ("project" = String, Path), Query), responses((status = 200, body = Dto)))]
async fn telemetry(
    State(telemetry): State<Telemetry>,
    project: InProject,
    Params(query): Params<Query>,
) -> Answer<Json<Dto>> {
    if !query.range.is_empty() && super::RANGES.iter().all(|known| known.name != query.range) {
        return Err(
            Problem::bad_request("bad_range", format!("There is no range `{}`.", query.range))
                .next("Use 15m, 1h, 6h, 24h or 28d.")
                .into(),
        );
    }
    let range = range(&query.range);
    let (from, to) = telemetry.span(range);
    let environments = telemetry.signals(project.id, range).await?;
    Ok(Json(Dto {
        project: project.path(),
        from,
        to,
        step_seconds: range.step,
        environments,
    }))
}

/// A project's newest alerts.
#[utoipa::path(get, path = "/api/v1/projects/{group}/{project}/alerts", tag = "telemetry",
    params(("group" = String, Path), ("project" = String, Path)), responses((status = 200, body = Vec<Alert>)))]
async fn alerts(State(telemetry): State<Telemetry>, project: InProject) -> Answer<Json<Vec<Alert>>> {
    Ok(Json(
        telemetry
            .alerts(project.id, bascule_core::limits::API_PAGE_ENTRIES)
            .await?,
    ))
}
