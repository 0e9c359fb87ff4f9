//! JSON about upkeep.

use crate::Forge;
use axum::{Json, extract::State};
use bascule_core::{Permission, Problem};
use bascule_web::{Access, Answer, InProject, Routes, Who, routes};
use bascule_wire::forge::UpkeepRuns;
use http::StatusCode;

pub(crate) fn routes() -> Routes<Forge> {
    let manage = Access::Project(Permission::ProjectManage);
    Routes::new()
        .api(Access::Project(Permission::CodeRead), routes!(upkeep_runs))
        .api(manage, routes!(request_upkeep))
        .api(manage, routes!(request_fsck))
}

/// What was done to a repository last, and what is asked for.
#[utoipa::path(get, path = "/api/v1/projects/{group}/{project}/upkeep", tag = "projects",
    params(("group" = String, Path), ("project" = String, Path)),
    responses((status = 200, body = UpkeepRuns)))]
async fn upkeep_runs(State(forge): State<Forge>, InProject(scope): InProject) -> Answer<Json<UpkeepRuns>> {
    Ok(Json(UpkeepRuns {
        runs: forge.upkeep_of(scope.id).await?,
    }))
}

/// Asks for packing, commit graph and bitmaps; done in the background.
#[utoipa::path(post, path = "/api/v1/projects/{group}/{project}/upkeep/pack", tag = "projects",
    params(("group" = String, Path), ("project" = String, Path)),
    responses((status = 202), (status = 409, body = Problem)))]
async fn request_upkeep(
    State(forge): State<Forge>,
    Who(caller): Who,
    InProject(scope): InProject,
) -> Answer<StatusCode> {
    forge.request_upkeep(&caller.actor, scope.id).await?;
    Ok(StatusCode::ACCEPTED)
}

/// Asks for a check of all objects by `git fsck`; done in the background.
#[utoipa::path(post, path = "/api/v1/projects/{group}/{project}/upkeep/fsck", tag = "projects",
    params(("group" = String, Path), ("project" = String, Path)),
    responses((status = 202), (status = 409, body = Problem)))]
async fn request_fsck(
    State(forge): State<Forge>,
    Who(caller): Who,
    InProject(scope): InProject,
) -> Answer<StatusCode> {
    forge.request_fsck(&caller.actor, scope.id).await?;
    Ok(StatusCode::ACCEPTED)
}
