//! What groups require, in the JSON API, and the page's routes.

use super::pages;
use crate::Ci;
use axum::{
    Json,
    extract::State,
    routing::{get, post},
};
use bascule_core::Permission;
use bascule_web::{Access, Answer, Body, InGroup, Routes, Who, routes};
use bascule_wire::pipelines::{
    RequiredDryRun, RequiredDryRunRequest, RequiredPipelines, SetRequiredPipelines,
};

pub(crate) fn routes() -> Routes<Ci> {
    // Who may see the group may know what is required of its projects.
    let read = Access::Group(Permission::GroupView);
    let manage = Access::Group(Permission::GroupManage);
    Routes::new()
        .api(read, routes!(show))
        .api(manage, routes!(set))
        .api(manage, routes!(dry_run))
        .page("GET", "/{group}/-/required-pipelines", read, get(pages::show))
        .page("POST", "/{group}/-/required-pipelines", manage, post(pages::set))
        .page(
            "POST",
            "/{group}/-/required-pipelines/dry-run",
            manage,
            post(pages::dry_run),
        )
}

/// The pipelines that a group requires of all its projects.
#[utoipa::path(get, path = "/api/v1/groups/{group}/ci/required", tag = "ci",
    params(("group" = String, Path)), responses((status = 200, body = RequiredPipelines)))]
async fn show(State(ci): State<Ci>, InGroup(group): InGroup) -> Answer<Json<RequiredPipelines>> {
    Ok(Json(ci.required_pipelines(&group).await?))
}

/// Names the project whose `required-pipelines.yml` lists what all projects of the group run; `null` takes it back.
#[utoipa::path(put, path = "/api/v1/groups/{group}/ci/required", tag = "ci",
    params(("group" = String, Path)), request_body = SetRequiredPipelines,
    responses((status = 200, body = RequiredPipelines),
        (status = 422, description = "There is no such project, or its policy is faulty",
            body = bascule_core::Problem)))]
async fn set(
    State(ci): State<Ci>,
    Who(caller): Who,
    InGroup(group): InGroup,
    Body(request): Body<SetRequiredPipelines>,
) -> Answer<Json<RequiredPipelines>> {
    Ok(Json(ci.set_required_pipelines(&caller, &group, &request).await?))
}

/// Says what a policy would do to all projects of the group, without enforcing it.
#[utoipa::path(post, path = "/api/v1/groups/{group}/ci/required/dry-run", tag = "ci",
    params(("group" = String, Path)), request_body = RequiredDryRunRequest,
    responses((status = 200, body = RequiredDryRun)))]
async fn dry_run(
    State(ci): State<Ci>,
    Who(caller): Who,
    InGroup(group): InGroup,
    Body(request): Body<RequiredDryRunRequest>,
) -> Answer<Json<RequiredDryRun>> {
    Ok(Json(ci.dry_run_required(&caller, &group, &request).await?))
}
