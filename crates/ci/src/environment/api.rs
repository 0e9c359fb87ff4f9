//! Environments that jobs name, in the JSON API.

use super::{pages, state};
use crate::{Ci, pipeline::api::Numbered};
use axum::{
    Json,
    extract::State,
    routing::{get, post},
};
use bascule_core::{Permission, Problem, limits};
use bascule_web::{Access, Answer, InProject, Params, PathOf, Routes, Who, routes};
use bascule_wire::ci::CiEnvironment;
use http::StatusCode;
use serde::Deserialize;

pub(crate) fn routes() -> Routes<Ci> {
    let read = Access::Project(Permission::PipelineRead);
    let run = Access::Project(Permission::PipelineRun);
    Routes::new()
        .api(read, routes!(list))
        .api(run, routes!(stop))
        .api(run, routes!(keep))
        .api(run, routes!(remove))
        .page(
            "GET",
            "/{group}/{project}/-/ci/environments",
            read,
            get(pages::list),
        )
        .page(
            "POST",
            "/{group}/{project}/-/ci/environments/{id}/stop",
            run,
            post(pages::stop),
        )
        .page(
            "POST",
            "/{group}/{project}/-/ci/environments/{id}/keep",
            run,
            post(pages::keep),
        )
        .page(
            "POST",
            "/{group}/{project}/-/ci/environments/{id}/delete",
            run,
            post(pages::remove),
        )
}

#[derive(Debug, Default, Deserialize)]
struct Asked {
    #[serde(default)]
    after: String,
    #[serde(default)]
    state: String,
}

/// The environments that jobs deployed to, by name, each with what was deployed last; `after` is the last name of the
/// page before, and `state` one of `available`, `stopping`, `stopped`.
#[utoipa::path(get, path = "/api/v1/projects/{group}/{project}/ci/environments", tag = "ci",
    params(("group" = String, Path), ("project" = String, Path), ("after" = Option<String>, Query),
        ("state" = Option<String>, Query)),
    responses((status = 200, body = Vec<CiEnvironment>)))]
async fn list(
    State(ci): State<Ci>,
    project: InProject,
    Params(query): Params<Asked>,
) -> Answer<Json<Vec<CiEnvironment>>> {
    let states = match query.state.as_str() {
        "" => Vec::new(),
        known @ (state::AVAILABLE | state::STOPPING | state::STOPPED) => vec![known],
        _ => {
            return Err(
                Problem::bad_request("bad_state", "There is no such state of an environment.")
                    .next("Ask for `available`, `stopping` or `stopped`.")
                    .into(),
            );
        }
    };
    let all = ci
        .ci_environments(project.id, &states, &query.after, limits::API_PAGE_ENTRIES)
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
    let stopped = ci.stop_environment(&project, at.id, &who.actor).await?;
    Ok(Json(stopped.to_wire()))
}

/// Takes back that an environment is taken down by itself (`auto_stop_in`).
#[utoipa::path(post, path = "/api/v1/projects/{group}/{project}/ci/environments/{id}/keep", tag = "ci",
    params(("group" = String, Path), ("project" = String, Path), ("id" = i64, Path)),
    responses((status = 200, body = CiEnvironment)))]
async fn keep(
    State(ci): State<Ci>,
    project: InProject,
    who: Who,
    PathOf(at): PathOf<Numbered>,
) -> Answer<Json<CiEnvironment>> {
    let kept = ci.keep_environment(project.id, at.id, &who.actor).await?;
    Ok(Json(kept.to_wire()))
}

/// Forgets an environment that was taken down.
#[utoipa::path(delete, path = "/api/v1/projects/{group}/{project}/ci/environments/{id}", tag = "ci",
    params(("group" = String, Path), ("project" = String, Path), ("id" = i64, Path)),
    responses((status = 204), (status = 409, description = "It was not taken down", body = Problem)))]
async fn remove(
    State(ci): State<Ci>,
    project: InProject,
    who: Who,
    PathOf(at): PathOf<Numbered>,
) -> Answer<StatusCode> {
    ci.delete_environment(&project, at.id, &who.actor).await?;
    Ok(StatusCode::NO_CONTENT)
}
