//! JSON about sizes and limits.

use crate::Forge;
use axum::{Json, extract::State};
use bascule_core::{Permission, Problem};
use bascule_web::{Access, Answer, Body, InGroup, InProject, Routes, Who, routes};
use bascule_wire::forge::{GroupStorage, Storage, StorageLimits};

pub(crate) fn routes() -> Routes<Forge> {
    Routes::new()
        .api(Access::Project(Permission::CodeRead), routes!(project_storage))
        .api(
            Access::Project(Permission::ProjectManage),
            routes!(set_project_limits),
        )
        .api(Access::Group(Permission::GroupView), routes!(group_storage))
        .api(Access::Group(Permission::GroupManage), routes!(set_group_limits))
}

/// What a project takes on disk, and what it may.
#[utoipa::path(get, path = "/api/v1/projects/{group}/{project}/storage", tag = "projects",
    params(("group" = String, Path), ("project" = String, Path)),
    responses((status = 200, body = Storage)))]
async fn project_storage(State(forge): State<Forge>, InProject(scope): InProject) -> Answer<Json<Storage>> {
    let project = forge.project_of(&scope).await?;
    Ok(Json(forge.storage(&project).await?))
}

/// Sets a project's limits, all of them: what is left out holds as it does without.
#[utoipa::path(put, path = "/api/v1/projects/{group}/{project}/storage/limits", tag = "projects",
    params(("group" = String, Path), ("project" = String, Path)), request_body = StorageLimits,
    responses((status = 200, body = Storage), (status = 403, body = Problem), (status = 422, body = Problem)))]
async fn set_project_limits(
    State(forge): State<Forge>,
    Who(caller): Who,
    InProject(scope): InProject,
    Body(wanted): Body<StorageLimits>,
) -> Answer<Json<Storage>> {
    let project = forge.project_of(&scope).await?;
    forge.set_project_limits(&caller, &project, wanted).await?;
    Ok(Json(forge.storage(&project).await?))
}

/// What a group's projects take on disk together, and what they may.
#[utoipa::path(get, path = "/api/v1/groups/{group}/storage", tag = "groups",
    params(("group" = String, Path)),
    responses((status = 200, body = GroupStorage)))]
async fn group_storage(State(forge): State<Forge>, InGroup(group): InGroup) -> Answer<Json<GroupStorage>> {
    Ok(Json(forge.group_storage(group.id).await?))
}

/// Sets a group's limits, all of them: what is left out holds as it does without.
#[utoipa::path(put, path = "/api/v1/groups/{group}/storage/limits", tag = "groups",
    params(("group" = String, Path)), request_body = StorageLimits,
    responses((status = 200, body = GroupStorage), (status = 403, body = Problem), (status = 422, body = Problem)))]
async fn set_group_limits(
    State(forge): State<Forge>,
    Who(caller): Who,
    InGroup(group): InGroup,
    Body(wanted): Body<StorageLimits>,
) -> Answer<Json<GroupStorage>> {
    forge.set_group_limits(&caller, &group, wanted).await?;
    Ok(Json(forge.group_storage(group.id).await?))
}
