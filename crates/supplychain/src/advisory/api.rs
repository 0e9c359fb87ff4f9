//! The JSON API of advisories and findings, and the list of their routes.

use super::{Advisories, list::Asked, pages};
use crate::release::store::id_of_tag;
use axum::{
    Json,
    extract::{Request, State},
    routing::{get, post},
};
use bascule_core::{Permission, Problem, ProjectId, ReleaseId, limits};
use bascule_web::{Access, Answer, Body, InProject, Params, PathOf, Routes, Who};
use bascule_wire::advisory::{
    AdvisoryDetails, AdvisoryImport, AdvisoryPage, FindingDetails, FindingPage, NewTriage,
};
use futures::TryStreamExt as _;
use serde::Deserialize;
use std::io;
use utoipa::IntoParams;

/// All routes of advisories and findings.
#[must_use]
pub fn routes(advisories: Advisories) -> Routes {
    let read = Access::Project(Permission::ReleaseRead);
    let decide = Access::Project(Permission::FindingTriage);
    let one = "/{group}/{project}/-/findings/{key}";
    Routes::new()
        .api(
            Access::Instance(Permission::InstanceManage),
            bascule_web::routes!(import),
        )
        .api(Access::Insider, bascule_web::routes!(list_advisories))
        .api(Access::Insider, bascule_web::routes!(show_advisory))
        .api(Access::Insider, bascule_web::routes!(list_all))
        .api(read, bascule_web::routes!(list))
        .api(read, bascule_web::routes!(show))
        .api(read, bascule_web::routes!(of_release))
        .api(decide, bascule_web::routes!(triage))
        .api(decide, bascule_web::routes!(reopen))
        .page("GET", "/findings", Access::Insider, get(pages::all))
        .page("GET", "/advisories/{id}", Access::Insider, get(pages::advisory))
        .page(
            "GET",
            "/{group}/{project}/-/findings",
            read,
            get(pages::of_project),
        )
        .page("GET", one, read, get(pages::one))
        .page("POST", &format!("{one}/triage"), decide, post(pages::decide))
        .page("POST", &format!("{one}/reopen"), decide, post(pages::reopen))
        .page(
            "GET",
            "/{group}/{project}/-/releases/{tag}/findings",
            read,
            get(pages::of_release),
        )
        .with_state(advisories)
}

/// Which findings.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
pub(super) struct ListParams {
    /// This severity and worse: `low`, `medium`, `high`, `critical`.
    #[serde(default)]
    pub(super) severity: String,
    /// `open` (usual), `set_aside`, `standing` (both), `closed` or `all`.
    #[serde(default)]
    pub(super) state: String,
    /// Only those whose package, advisory or summary holds this.
    #[serde(default)]
    pub(super) search: String,
    /// The `next` of the page before.
    #[serde(default)]
    pub(super) after: String,
    /// How many at most, up to 200; 50 if not given.
    pub(super) limit: Option<i64>,
}

impl ListParams {
    pub(super) fn asked(&self) -> Asked {
        Asked {
            severity: self.severity.clone(),
            state: self.state.clone(),
            search: self.search.clone(),
            after: self.after.clone(),
        }
    }

    fn limit(&self) -> i64 {
        limit(self.limit)
    }
}

fn limit(asked: Option<i64>) -> i64 {
    asked
        .unwrap_or(limits::PAGE_ENTRIES)
        .clamp(1, limits::API_PAGE_ENTRIES)
}

#[derive(Deserialize)]
pub(super) struct KeyPath {
    pub(super) key: String,
}

#[derive(Deserialize)]
pub(super) struct TagPath {
    pub(super) tag: String,
}

#[derive(Deserialize)]
pub(super) struct IdPath {
    pub(super) id: String,
}

#[derive(Deserialize, IntoParams)]
struct AdvisoryParams {
    /// Only those whose name, alias or summary holds this.
    #[serde(default)]
    search: String,
    /// The `next` of the page before.
    #[serde(default)]
    after: String,
    /// How many at most, up to 200; 50 if not given.
    limit: Option<i64>,
}

/// Import advisories: the body is records of the OSV schema, one after the other, in lines or in an array. The newest
/// state of each counts; records that cannot be read are named and stand in no other's way. Releases are matched
/// before this answers.
#[utoipa::path(
    post, path = "/api/v1/advisories", tag = "findings",
    request_body(content = String, content_type = "application/json", description = "OSV records"),
    responses(
        (status = 200, body = AdvisoryImport), (status = 400, body = Problem), (status = 413, body = Problem),
        (status = 422, body = Problem)
    )
)]
async fn import(
    State(advisories): State<Advisories>,
    who: Who,
    request: Request,
) -> Answer<Json<AdvisoryImport>> {
    let bytes = request.into_body().into_data_stream().map_err(io::Error::other);
    Ok(Json(advisories.import(&who.actor, bytes).await?))
}

/// The advisories that are here, by name.
#[utoipa::path(
    get, path = "/api/v1/advisories", tag = "findings", params(AdvisoryParams),
    responses((status = 200, body = AdvisoryPage))
)]
async fn list_advisories(
    State(advisories): State<Advisories>,
    Params(params): Params<AdvisoryParams>,
) -> Answer<Json<AdvisoryPage>> {
    let page = advisories.advisories(&params.search, &params.after, limit(params.limit));
    Ok(Json(page.await?))
}

/// One advisory, with its record.
#[utoipa::path(
    get, path = "/api/v1/advisories/{id}", tag = "findings", params(("id" = String, Path)),
    responses((status = 200, body = AdvisoryDetails), (status = 404, body = Problem))
)]
async fn show_advisory(
    State(advisories): State<Advisories>,
    PathOf(path): PathOf<IdPath>,
) -> Answer<Json<AdvisoryDetails>> {
    Ok(Json(advisories.advisory(&path.id).await?))
}

/// Findings of all projects whose releases the caller may read, worst first.
#[utoipa::path(
    get, path = "/api/v1/findings", tag = "findings", params(ListParams),
    responses((status = 200, body = FindingPage))
)]
async fn list_all(
    State(advisories): State<Advisories>,
    who: Who,
    Params(params): Params<ListParams>,
) -> Answer<Json<FindingPage>> {
    Ok(Json(
        advisories.findings(&who, &params.asked(), params.limit()).await?,
    ))
}

/// A project's findings, worst first.
#[utoipa::path(
    get, path = "/api/v1/projects/{group}/{project}/findings", tag = "findings",
    params(("group" = String, Path), ("project" = String, Path), ListParams),
    responses((status = 200, body = FindingPage))
)]
async fn list(
    State(advisories): State<Advisories>,
    project: InProject,
    Params(params): Params<ListParams>,
) -> Answer<Json<FindingPage>> {
    let asked = params.asked();
    let page = advisories.findings_of(project.id, None, &asked, params.limit());
    Ok(Json(page.await?))
}

/// One finding with the releases that have it and where they run.
#[utoipa::path(
    get, path = "/api/v1/projects/{group}/{project}/findings/{key}", tag = "findings",
    params(("group" = String, Path), ("project" = String, Path), ("key" = String, Path)),
    responses((status = 200, body = FindingDetails), (status = 404, body = Problem))
)]
async fn show(
    State(advisories): State<Advisories>,
    project: InProject,
    PathOf(path): PathOf<KeyPath>,
) -> Answer<Json<FindingDetails>> {
    Ok(Json(advisories.finding(project.id, &path.key).await?))
}

/// A release's findings, worst first.
#[utoipa::path(
    get, path = "/api/v1/projects/{group}/{project}/releases/{tag}/findings", tag = "findings",
    params(
        ("group" = String, Path), ("project" = String, Path),
        ("tag" = String, Path, description = "Tag or version"), ListParams
    ),
    responses((status = 200, body = FindingPage), (status = 404, body = Problem))
)]
async fn of_release(
    State(advisories): State<Advisories>,
    project: InProject,
    PathOf(path): PathOf<TagPath>,
    Params(params): Params<ListParams>,
) -> Answer<Json<FindingPage>> {
    let release = release_of(&advisories, project.id, &path.tag).await?;
    let asked = params.asked();
    let page = advisories.findings_of(project.id, Some(release), &asked, params.limit());
    Ok(Json(page.await?))
}

pub(super) async fn release_of(
    advisories: &Advisories,
    project: ProjectId,
    tag: &str,
) -> Result<ReleaseId, Problem> {
    id_of_tag(&advisories.db, project, tag)
        .await?
        .ok_or_else(|| Problem::not_found("release"))
}

/// Set a finding aside, for all releases of the project: to live with it for a time, or because the product is not
/// exposed to it.
#[utoipa::path(
    put, path = "/api/v1/projects/{group}/{project}/findings/{key}/triage", tag = "findings",
    params(("group" = String, Path), ("project" = String, Path), ("key" = String, Path)), request_body = NewTriage,
    responses((status = 200, body = FindingDetails), (status = 404, body = Problem), (status = 422, body = Problem))
)]
async fn triage(
    State(advisories): State<Advisories>,
    who: Who,
    project: InProject,
    PathOf(path): PathOf<KeyPath>,
    Body(new): Body<NewTriage>,
) -> Answer<Json<FindingDetails>> {
    advisories.decide(&who.actor, project.id, &path.key, &new).await?;
    Ok(Json(advisories.finding(project.id, &path.key).await?))
}

/// Let a finding count again.
#[utoipa::path(
    delete, path = "/api/v1/projects/{group}/{project}/findings/{key}/triage", tag = "findings",
    params(("group" = String, Path), ("project" = String, Path), ("key" = String, Path)),
    responses((status = 200, body = FindingDetails), (status = 404, body = Problem), (status = 409, body = Problem))
)]
async fn reopen(
    State(advisories): State<Advisories>,
    who: Who,
    project: InProject,
    PathOf(path): PathOf<KeyPath>,
) -> Answer<Json<FindingDetails>> {
    advisories.reopen(&who.actor, project.id, &path.key).await?;
    Ok(Json(advisories.finding(project.id, &path.key).await?))
}
