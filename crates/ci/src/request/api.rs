//! How pipelines of merge requests are made, in the JSON API.

use crate::Ci;
use axum::{Json, extract::State};
use bascule_core::Permission;
use bascule_web::{Access, Answer, Body, InProject, Routes, Who, routes};
use bascule_wire::ci::MergePipelines;

pub(crate) fn routes() -> Routes<Ci> {
    Routes::new()
        .api(Access::Project(Permission::PipelineRead), routes!(show))
        .api(Access::Project(Permission::ProjectManage), routes!(set))
}

/// How pipelines of merge requests are made.
#[utoipa::path(get, path = "/api/v1/projects/{group}/{project}/ci/merge-pipelines", tag = "ci",
    params(("group" = String, Path), ("project" = String, Path)),
    responses((status = 200, body = MergePipelines)))]
async fn show(State(ci): State<Ci>, project: InProject) -> Answer<Json<MergePipelines>> {
    Ok(Json(ci.merge_pipelines(project.id).await?))
}

/// Sets whether pipelines of merge requests try what merging would make.
#[utoipa::path(put, path = "/api/v1/projects/{group}/{project}/ci/merge-pipelines", tag = "ci",
    params(("group" = String, Path), ("project" = String, Path)), request_body = MergePipelines,
    responses((status = 200, body = MergePipelines)))]
async fn set(
    State(ci): State<Ci>,
    project: InProject,
    who: Who,
    Body(set): Body<MergePipelines>,
) -> Answer<Json<MergePipelines>> {
    ci.set_merge_pipelines(project.id, &set, &who.actor).await?;
    Ok(Json(ci.merge_pipelines(project.id).await?))
}
