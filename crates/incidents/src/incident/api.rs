//! JSON handlers.

use crate::Incidents;
use axum::{Json, extract::State};
use bascule_core::{Permission, Problem, limits};
use bascule_web::{Access, Answer, Body, InProject, Params, PathOf, Routes, Who, routes};
use bascule_wire::incidents::{
    IdentifyIncident, IncidentDetails, IncidentPage, NewComment, NewIncident, ResolveIncident, SetSeverity,
};
use http::StatusCode;
use serde::Deserialize;

pub(crate) fn routes() -> Routes<Incidents> {
    let read = Access::Project(Permission::IncidentRead);
    let write = Access::Project(Permission::IncidentWrite);
    Routes::new()
        .api(Access::Insider, routes!(list_all))
        .api(read, routes!(list))
        .api(write, routes!(declare))
        .api(read, routes!(one))
        .api(write, routes!(acknowledge))
        .api(write, routes!(identify))
        .api(write, routes!(comment))
        .api(write, routes!(resolve))
        .api(write, routes!(severity))
        .api(write, routes!(postmortem))
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
struct Paging {
    /// Only resolved incidents with a smaller number; open ones come on the first page.
    before: Option<i64>,
    /// How many resolved ones at most.
    limit: Option<i64>,
}

impl Paging {
    fn limit(&self) -> i64 {
        self.limit
            .unwrap_or(limits::PAGE_ENTRIES)
            .clamp(1, limits::API_PAGE_ENTRIES)
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct NumberPath {
    pub(super) number: String,
}

impl NumberPath {
    pub(super) fn number(&self) -> Result<i64, Problem> {
        self.number.parse().map_err(|_| Problem::not_found("incident"))
    }
}

/// Incidents of all projects that the caller may see, open ones first.
#[utoipa::path(get, path = "/api/v1/incidents", tag = "incidents", params(Paging),
    responses((status = 200, body = IncidentPage)))]
async fn list_all(
    State(incidents): State<Incidents>,
    who: Who,
    Params(paging): Params<Paging>,
) -> Answer<Json<IncidentPage>> {
    Ok(Json(
        incidents.list_all(&who, paging.before, paging.limit()).await?,
    ))
}

/// A project's incidents, open ones first.
#[utoipa::path(get, path = "/api/v1/projects/{group}/{project}/incidents", tag = "incidents",
    params(("group" = String, Path), ("project" = String, Path), Paging), responses((status = 200, body = IncidentPage)))]
async fn list(
    State(incidents): State<Incidents>,
    project: InProject,
    Params(paging): Params<Paging>,
) -> Answer<Json<IncidentPage>> {
    Ok(Json(
        incidents
            .list_project(&project, paging.before, paging.limit())
            .await?,
    ))
}

/// Declares an incident.
#[utoipa::path(post, path = "/api/v1/projects/{group}/{project}/incidents", tag = "incidents",
    params(("group" = String, Path), ("project" = String, Path)), request_body = NewIncident,
    responses((status = 201, body = IncidentDetails)))]
async fn declare(
    State(incidents): State<Incidents>,
    who: Who,
    project: InProject,
    Body(new): Body<NewIncident>,
) -> Answer<(StatusCode, Json<IncidentDetails>)> {
    let number = incidents.declare(&who, &project, new).await?;
    Ok((
        StatusCode::CREATED,
        Json(incidents.details(&project, number).await?),
    ))
}

/// One incident with its timeline.
#[utoipa::path(get, path = "/api/v1/projects/{group}/{project}/incidents/{number}", tag = "incidents",
    params(("group" = String, Path), ("project" = String, Path), ("number" = i64, Path)),
    responses((status = 200, body = IncidentDetails)))]
async fn one(
    State(incidents): State<Incidents>,
    project: InProject,
    PathOf(path): PathOf<NumberPath>,
) -> Answer<Json<IncidentDetails>> {
    Ok(Json(incidents.details(&project, path.number()?).await?))
}

/// Takes an incident.
#[utoipa::path(post, path = "/api/v1/projects/{group}/{project}/incidents/{number}/acknowledge", tag = "incidents",
    params(("group" = String, Path), ("project" = String, Path), ("number" = i64, Path)),
    responses((status = 200, body = IncidentDetails)))]
async fn acknowledge(
    State(incidents): State<Incidents>,
    who: Who,
    project: InProject,
    PathOf(path): PathOf<NumberPath>,
) -> Answer<Json<IncidentDetails>> {
    let number = path.number()?;
    incidents.acknowledge(&who, &project, number).await?;
    Ok(Json(incidents.details(&project, number).await?))
}

/// Names the cause.
#[utoipa::path(post, path = "/api/v1/projects/{group}/{project}/incidents/{number}/identify", tag = "incidents",
    params(("group" = String, Path), ("project" = String, Path), ("number" = i64, Path)),
    request_body = IdentifyIncident, responses((status = 200, body = IncidentDetails)))]
async fn identify(
    State(incidents): State<Incidents>,
    who: Who,
    project: InProject,
    PathOf(path): PathOf<NumberPath>,
    Body(body): Body<IdentifyIncident>,
) -> Answer<Json<IncidentDetails>> {
    let number = path.number()?;
    incidents
        .identify(&who, &project, number, &body.root_cause)
        .await?;
    Ok(Json(incidents.details(&project, number).await?))
}

/// Comments, in Markdown.
#[utoipa::path(post, path = "/api/v1/projects/{group}/{project}/incidents/{number}/comments", tag = "incidents",
    params(("group" = String, Path), ("project" = String, Path), ("number" = i64, Path)),
    request_body = NewComment, responses((status = 201, body = IncidentDetails)))]
async fn comment(
    State(incidents): State<Incidents>,
    who: Who,
    project: InProject,
    PathOf(path): PathOf<NumberPath>,
    Body(body): Body<NewComment>,
) -> Answer<(StatusCode, Json<IncidentDetails>)> {
    let number = path.number()?;
    incidents.comment(&who, &project, number, &body.body).await?;
    Ok((
        StatusCode::CREATED,
        Json(incidents.details(&project, number).await?),
    ))
}

/// Resolves an incident; a draft of its post-mortem is committed then.
#[utoipa::path(post, path = "/api/v1/projects/{group}/{project}/incidents/{number}/resolve", tag = "incidents",
    params(("group" = String, Path), ("project" = String, Path), ("number" = i64, Path)),
    request_body = ResolveIncident, responses((status = 200, body = IncidentDetails)))]
async fn resolve(
    State(incidents): State<Incidents>,
    who: Who,
    project: InProject,
    PathOf(path): PathOf<NumberPath>,
    Body(body): Body<ResolveIncident>,
) -> Answer<Json<IncidentDetails>> {
    let number = path.number()?;
    incidents
        .resolve(&who, &project, number, body.restored_at, &body.comment)
        .await?;
    Ok(Json(incidents.details(&project, number).await?))
}

/// Sets the severity.
#[utoipa::path(put, path = "/api/v1/projects/{group}/{project}/incidents/{number}/severity", tag = "incidents",
    params(("group" = String, Path), ("project" = String, Path), ("number" = i64, Path)),
    request_body = SetSeverity, responses((status = 200, body = IncidentDetails)))]
async fn severity(
    State(incidents): State<Incidents>,
    who: Who,
    project: InProject,
    PathOf(path): PathOf<NumberPath>,
    Body(body): Body<SetSeverity>,
) -> Answer<Json<IncidentDetails>> {
    let number = path.number()?;
    incidents
        .reclassify(&who, &project, number, body.severity)
        .await?;
    Ok(Json(incidents.details(&project, number).await?))
}

/// Writes the post-mortem's draft, where that failed before.
#[utoipa::path(post, path = "/api/v1/projects/{group}/{project}/incidents/{number}/postmortem", tag = "incidents",
    params(("group" = String, Path), ("project" = String, Path), ("number" = i64, Path)),
    responses((status = 200, body = IncidentDetails)))]
async fn postmortem(
    State(incidents): State<Incidents>,
    project: InProject,
    PathOf(path): PathOf<NumberPath>,
) -> Answer<Json<IncidentDetails>> {
    let number = path.number()?;
    incidents.retry_postmortem(&project, number).await?;
    Ok(Json(incidents.details(&project, number).await?))
}
