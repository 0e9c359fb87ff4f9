//! The workflow policy as JSON.

use crate::Forge;
use axum::{Json, extract::State};
use bascule_core::{Permission, Problem};
use bascule_web::{Access, Answer, Body, InGroup, InProject, Routes, Who, routes};
use bascule_wire::workflow::{Workflow, WorkflowChange};

pub(crate) fn routes() -> Routes<Forge> {
    Routes::new()
        .api(Access::Project(Permission::CodeRead), routes!(project))
        .api(Access::Project(Permission::ProjectManage), routes!(set_project))
        .api(Access::Group(Permission::GroupView), routes!(group))
        .api(Access::Group(Permission::GroupManage), routes!(set_group))
}

/// The workflow policy that holds for a project: its flow, every rule with what it does, and what is set here.
#[utoipa::path(get, path = "/api/v1/projects/{group}/{project}/workflow", tag = "workflow",
    params(("group" = String, Path), ("project" = String, Path)),
    responses((status = 200, body = Workflow)))]
async fn project(State(forge): State<Forge>, InProject(scope): InProject) -> Answer<Json<Workflow>> {
    let project = forge.project_of(&scope).await?;
    Ok(Json(forge.project_workflow(&project).await?))
}

/// Changes a project's workflow policy; what is left out stays.
#[utoipa::path(patch, path = "/api/v1/projects/{group}/{project}/workflow", tag = "workflow",
    params(("group" = String, Path), ("project" = String, Path)), request_body = WorkflowChange,
    responses((status = 200, body = Workflow), (status = 403, description = "The group has locked it", body = Problem),
        (status = 422, body = Problem)))]
async fn set_project(
    State(forge): State<Forge>,
    Who(caller): Who,
    InProject(scope): InProject,
    Body(change): Body<WorkflowChange>,
) -> Answer<Json<Workflow>> {
    let project = forge.project_of(&scope).await?;
    forge.change_project_workflow(&caller, &project, &change).await?;
    Ok(Json(forge.project_workflow(&project).await?))
}

/// The workflow policy that a group gives to its projects.
#[utoipa::path(get, path = "/api/v1/groups/{group}/workflow", tag = "workflow",
    params(("group" = String, Path)), responses((status = 200, body = Workflow)))]
async fn group(State(forge): State<Forge>, InGroup(group): InGroup) -> Answer<Json<Workflow>> {
    Ok(Json(forge.group_workflow(group.id).await?))
}

/// Changes a group's workflow policy; what is left out stays.
#[utoipa::path(patch, path = "/api/v1/groups/{group}/workflow", tag = "workflow",
    params(("group" = String, Path)), request_body = WorkflowChange,
    responses((status = 200, body = Workflow), (status = 422, body = Problem)))]
async fn set_group(
    State(forge): State<Forge>,
    Who(caller): Who,
    InGroup(group): InGroup,
    Body(change): Body<WorkflowChange>,
) -> Answer<Json<Workflow>> {
    forge.change_group_workflow(&caller, group.id, &change).await?;
    Ok(Json(forge.group_workflow(group.id).await?))
}
