//! Trigger tokens in the JSON API, the pages' routes, and the address by which pipelines are triggered.

use super::{call, pages};
use crate::{Ci, pipeline::api::Numbered};
use axum::{
    Json,
    extract::{DefaultBodyLimit, State},
    routing::{get, post},
};
use bascule_core::Permission;
use bascule_web::{Access, Answer, Body, InProject, MachineKind, PathOf, Routes, Who, routes};
use bascule_wire::pipelines::{NewTrigger, Trigger};
use http::StatusCode;

pub(crate) fn routes() -> Routes<Ci> {
    let manage = Access::Project(Permission::ProjectManage);
    // The token is the proof, and the handler checks it.
    let bearer = Access::Machine(MachineKind::Runner);
    let limit = || DefaultBodyLimit::max(call::BYTES);
    Routes::new()
        .api(manage, routes!(list, create))
        .api(manage, routes!(remove))
        .page(
            "POST",
            "/api/v4/projects/{id}/trigger/pipeline",
            bearer,
            post(call::pipeline).layer(limit()),
        )
        .page(
            "POST",
            "/api/v4/projects/{id}/ref/{ref}/trigger/pipeline",
            bearer,
            post(call::of_ref).layer(limit()),
        )
        .page(
            "GET,POST",
            "/{group}/{project}/-/settings/triggers",
            manage,
            get(pages::list).post(pages::create),
        )
        .page(
            "POST",
            "/{group}/{project}/-/settings/triggers/{id}/delete",
            manage,
            post(pages::remove),
        )
}

/// Lists the project's trigger tokens, without the tokens themselves.
#[utoipa::path(get, path = "/api/v1/projects/{group}/{project}/ci/triggers", tag = "ci",
    params(("group" = String, Path), ("project" = String, Path)),
    responses((status = 200, body = Vec<Trigger>)))]
async fn list(State(ci): State<Ci>, project: InProject) -> Answer<Json<Vec<Trigger>>> {
    Ok(Json(ci.triggers_shown(&project).await?))
}

/// Makes a trigger token that runs with the caller's rights. The token is in this answer alone.
#[utoipa::path(post, path = "/api/v1/projects/{group}/{project}/ci/triggers", tag = "ci",
    params(("group" = String, Path), ("project" = String, Path)), request_body = NewTrigger,
    responses((status = 201, body = Trigger)))]
async fn create(
    State(ci): State<Ci>,
    project: InProject,
    who: Who,
    Body(new): Body<NewTrigger>,
) -> Answer<(StatusCode, Json<Trigger>)> {
    let (trigger, token) = ci.create_trigger(&who, project.id, &new.description).await?;
    Ok((StatusCode::CREATED, Json(trigger.to_wire(Some(token)))))
}

/// Takes a trigger token back, at once.
#[utoipa::path(delete, path = "/api/v1/projects/{group}/{project}/ci/triggers/{id}", tag = "ci",
    params(("group" = String, Path), ("project" = String, Path), ("id" = i64, Path)),
    responses((status = 204)))]
async fn remove(
    State(ci): State<Ci>,
    project: InProject,
    who: Who,
    PathOf(at): PathOf<Numbered>,
) -> Answer<StatusCode> {
    ci.delete_trigger(project.id, at.id, &who.actor).await?;
    Ok(StatusCode::NO_CONTENT)
}
