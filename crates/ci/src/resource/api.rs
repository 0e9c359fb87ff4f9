//! Resource groups in the JSON API.

use crate::Ci;
use axum::{Json, extract::State};
use bascule_core::Permission;
use bascule_web::{Access, Answer, Body, InProject, PathOf, Routes, Who, routes};
use bascule_wire::ci::{ResourceGroup, SetResourceGroup};
use serde::Deserialize;

pub(crate) fn routes() -> Routes<Ci> {
    Routes::new()
        .api(Access::Project(Permission::PipelineRead), routes!(list))
        .api(Access::Project(Permission::ProjectManage), routes!(set))
}

#[derive(Debug, Deserialize)]
struct Key {
    key: String,
}

/// The project's resource groups: who has them, how many wait, and who comes next.
#[utoipa::path(get, path = "/api/v1/projects/{group}/{project}/resource-groups", tag = "ci",
    params(("group" = String, Path), ("project" = String, Path)),
    responses((status = 200, body = Vec<ResourceGroup>)))]
async fn list(State(ci): State<Ci>, project: InProject) -> Answer<Json<Vec<ResourceGroup>>> {
    Ok(Json(ci.resource_groups(project.id).await?))
}

/// Sets who comes next in a resource group.
#[utoipa::path(put, path = "/api/v1/projects/{group}/{project}/resource-groups/{key}", tag = "ci",
    params(("group" = String, Path), ("project" = String, Path), ("key" = String, Path)),
    request_body = SetResourceGroup, responses((status = 200, body = ResourceGroup)))]
async fn set(
    State(ci): State<Ci>,
    project: InProject,
    who: Who,
    PathOf(at): PathOf<Key>,
    Body(request): Body<SetResourceGroup>,
) -> Answer<Json<ResourceGroup>> {
    let set = ci
        .set_resource_mode(project.id, &at.key, &request.process_mode, &who.actor)
        .await?;
    Ok(Json(set))
}
