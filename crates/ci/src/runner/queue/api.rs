//! The queue in the JSON API, and its pages' routes.

use super::{PAGE, pages, store, store::Only};
use crate::Ci;
use axum::{Json, extract::State, routing::get};
use bascule_core::{Caller, Permission, Problem, Result, limits};
use bascule_web::{Access, Answer, Body, InGroup, InProject, Params, Routes, Who, routes};
use bascule_wire::ci::{CiLimit, Queue};
use serde::Deserialize;

pub(crate) fn routes() -> Routes<Ci> {
    let all = Access::Instance(Permission::InstanceRead);
    let of_group = Access::Group(Permission::GroupManage);
    let of_project = Access::Project(Permission::PipelineRead);
    Routes::new()
        .api(all, routes!(queue))
        .api(of_group, routes!(queue_of_group))
        .api(of_group, routes!(limit, set_limit))
        .api(of_project, routes!(queue_of_project))
        .page("GET", "/admin/queue", all, get(pages::all))
        .page("GET", "/{group}/-/queue", of_group, get(pages::of_group))
        .page(
            "GET",
            "/{group}/{project}/-/queue",
            of_project,
            get(pages::of_project),
        )
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Page {
    #[serde(default)]
    pub offset: i64,
    #[serde(default)]
    pub limit: Option<i64>,
}

impl Page {
    fn limit(&self) -> i64 {
        self.limit.unwrap_or(PAGE).clamp(1, limits::API_PAGE_ENTRIES)
    }

    pub(super) fn offset(&self) -> i64 {
        self.offset.max(0)
    }
}

/// Jobs that wait for a runner, in the order in which they are to start, each with the reason why it waits.
#[utoipa::path(get, path = "/api/v1/queue", tag = "ci",
    params(("offset" = Option<i64>, Query), ("limit" = Option<i64>, Query)),
    responses((status = 200, body = Queue)))]
async fn queue(State(ci): State<Ci>, Params(page): Params<Page>) -> Answer<Json<Queue>> {
    Ok(Json(ci.queue(&Only::All, page.offset(), page.limit()).await?))
}

/// The same of a group's projects.
#[utoipa::path(get, path = "/api/v1/groups/{group}/queue", tag = "ci",
    params(("group" = String, Path), ("offset" = Option<i64>, Query), ("limit" = Option<i64>, Query)),
    responses((status = 200, body = Queue)))]
async fn queue_of_group(
    State(ci): State<Ci>,
    group: InGroup,
    Params(page): Params<Page>,
) -> Answer<Json<Queue>> {
    let only = ci.of_group(&group.name).await?;
    Ok(Json(ci.queue(&only, page.offset(), page.limit()).await?))
}

/// The same of a project.
#[utoipa::path(get, path = "/api/v1/projects/{group}/{project}/queue", tag = "ci",
    params(("group" = String, Path), ("project" = String, Path),
        ("offset" = Option<i64>, Query), ("limit" = Option<i64>, Query)),
    responses((status = 200, body = Queue)))]
async fn queue_of_project(
    State(ci): State<Ci>,
    project: InProject,
    Params(page): Params<Page>,
) -> Answer<Json<Queue>> {
    let only = Only::Projects(vec![project.id]);
    Ok(Json(ci.queue(&only, page.offset(), page.limit()).await?))
}

/// Refuses who may not set a group's limit: it is there so that one group leaves runners to the others.
pub(crate) fn may_limit(who: &Caller) -> Result<()> {
    if who.holds(Permission::InstanceManage) {
        return Ok(());
    }
    Err(Problem::forbidden(Permission::InstanceManage)
        .why("The limit is there so that one group leaves runners to the others.")
        .next("Ask an administrator."))
}

/// How many jobs of a group's projects may run at once.
#[utoipa::path(get, path = "/api/v1/groups/{group}/ci/limit", tag = "ci", params(("group" = String, Path)),
    responses((status = 200, body = CiLimit)))]
async fn limit(State(ci): State<Ci>, group: InGroup) -> Answer<Json<CiLimit>> {
    let running = store::limit(&ci.db, &group.name).await?;
    Ok(Json(CiLimit { running }))
}

/// Sets how many jobs of a group's projects may run at once; `null` lifts the limit. Administrators only: it is there
/// so that one group leaves runners to the others.
#[utoipa::path(put, path = "/api/v1/groups/{group}/ci/limit", tag = "ci", params(("group" = String, Path)),
    request_body = CiLimit, responses((status = 200, body = CiLimit)))]
async fn set_limit(
    State(ci): State<Ci>,
    group: InGroup,
    who: Who,
    Body(limit): Body<CiLimit>,
) -> Answer<Json<CiLimit>> {
    may_limit(&who)?;
    ci.limit_group(&group.name, limit.running, &who.actor).await?;
    Ok(Json(limit))
}
