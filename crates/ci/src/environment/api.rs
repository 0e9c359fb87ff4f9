//! Environments that jobs name, in the JSON API.

use crate::{Ci, pipeline::api::Numbered};
use axum::{Json, extract::State};
use bascule_core::{Permission, limits};
use bascule_web::{Access, Answer, InProject, Params, PathOf, Routes, Who, routes};
use bascule_wire::ci::CiEnvironment;
use serde::Deserialize;

pub(crate) fn routes() -> Routes<Ci> {
    Routes::new()
        .api(Access::Project(Permission::PipelineRead), routes!(list))
        .api(Access::Project(Permission::PipelineRun), routes!(stop))
}

#[derive(Debug, Default, Deserialize)]
struct After {
    #[serde(default)]
    after: String,
}

/// The environments that jobs deployed to, by name, each with what was deployed last; `after` is the last name of the
/// page before.
#[utoipa::path(get, path = "/api/v1/projects/{group}/{project}/ci/environments", tag = "ci",
    params(("group" = String, Path), ("project" = String, Path), ("after" = Option<String>, Query)),
    responses((status = 200, body = Vec<CiEnvironment>)))]
async fn list(
    State(ci): State<Ci>,
    project: InProject,
    Params(query): Params<After>,
) -> Answer<Json<Vec<CiEnvironment>>> {
    let all = ci
        .ci_environments(project.id, &query.after, limits::API_PAGE_ENTRIES)
        .await?;
    Ok(Json(all.iter().map(super::Environment::to_wire).collect()))
}

/// Takes an environment down: its stop job runs.
#[utoipa::path(post, path = "/api/v1/projects/{group}/{project}/ci/environments/{id}/stop", tag = "ci",
    params(("group" = String, Path), ("project" = String, Path), ("id" = i64, Path)),
    responses((status = 200, body = CiEnvironment)))]
async fn stop(
    State(ci): State<Ci>,
    project: InProject,
    who: Who,
    PathOf(at): PathOf<Numbered>,
) -> Answer<Json<CiEnvironment>> {
    let stopped = ci.stop_environment(project.id, at.id, &who.actor).await?;
    Ok(Json(stopped.to_wire()))
}
