//! Forks as JSON.

use crate::Forge;
use axum::{extract::State, response::IntoResponse as _};
use bascule_core::{Permission, Problem};
use bascule_web::{Access, Answer, Body, InProject, Routes, Who, routes};
use bascule_wire::{forge::Project, merge_request::NewFork};
use http::StatusCode;

pub(super) fn routes() -> Routes<Forge> {
    Routes::new().api(Access::Project(Permission::CodeRead), routes!(fork))
}

/// Makes a fork of a project: a copy to push to, from which merge requests can be opened.
#[utoipa::path(post, path = "/api/v1/projects/{group}/{project}/forks", tag = "merge requests",
    params(("group" = String, Path), ("project" = String, Path)),
    request_body = NewFork,
    responses((status = 201, body = Project), (status = 409, description = "The name is taken", body = Problem)))]
async fn fork(
    State(forge): State<Forge>,
    Who(caller): Who,
    InProject(scope): InProject,
    Body(new): Body<NewFork>,
) -> Answer {
    // A token that only reads makes nothing, whatever its owner may.
    if !caller.scope_allows(Permission::ProjectCreate) {
        return Err(Problem::forbidden(Permission::ProjectCreate).into());
    }
    let project = forge.fork(&caller, &scope, &new).await?;
    Ok((StatusCode::CREATED, axum::Json(forge.to_wire(&project))).into_response())
}
