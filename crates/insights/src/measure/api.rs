//! JSON handlers.

use super::Period;
use crate::Insights;
use axum::{Json, extract::State};
use bascule_core::Permission;
use bascule_web::{Access, Answer, InProject, Params, Routes, Who, routes};
use bascule_wire::insights::Insights as Dto;
use serde::Deserialize;

pub(crate) fn routes() -> Routes<Insights> {
    Routes::new()
        .api(Access::Insider, routes!(of_instance))
        .api(Access::Project(Permission::InsightsRead), routes!(of_project))
}

#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
struct Query {
    /// The beginning: a date, or an RFC 3339 instant. 90 days before the end, if absent.
    #[serde(default)]
    from: String,
    /// The end: a date that counts in full, or an RFC 3339 instant that is excluded. Today, if absent.
    #[serde(default)]
    to: String,
}

/// The measures over all projects that the caller may see.
#[utoipa::path(get, path = "/api/v1/insights", tag = "insights", params(Query), responses((status = 200, body = Dto)))]
async fn of_instance(
    State(insights): State<Insights>,
    who: Who,
    Params(query): Params<Query>,
) -> Answer<Json<Dto>> {
    let period = Period::choose(&query.from, &query.to, insights.clock.now())?;
    let scope = insights.scope(&who).await?;
    Ok(Json(
        insights.measures(scope, period, None).await?.as_ref().clone(),
    ))
}

/// The measures of one project.
#[utoipa::path(get, path = "/api/v1/projects/{group}/{project}/insights", tag = "insights",
    params(("group" = String, Path), ("project" = String, Path), Query), responses((status = 200, body = Dto)))]
async fn of_project(
    State(insights): State<Insights>,
    project: InProject,
    Params(query): Params<Query>,
) -> Answer<Json<Dto>> {
    let period = Period::choose(&query.from, &query.to, insights.clock.now())?;
    Ok(Json(
        insights.of_project(&project, period).await?.as_ref().clone(),
    ))
}
