//! Runners in the JSON API, and the page's routes.

use super::pages;
use crate::Ci;
use axum::{
    Json,
    extract::State,
    routing::{get, post},
};
use bascule_core::{Permission, Problem, RunnerId};
use bascule_web::{Access, Answer, Body, PathOf, Routes, routes};
use bascule_wire::ci::{ChangeRunner, CreateRunner, CreatedRunner, RegistrationToken, Runner};
use http::StatusCode;

pub(crate) fn routes() -> Routes<Ci> {
    let manage = Access::Instance(Permission::InstanceManage);
    let read = Access::Instance(Permission::InstanceRead);
    Routes::new()
        .api(read, routes!(list))
        .api(manage, routes!(create))
        .api(manage, routes!(change, remove))
        .api(manage, routes!(registration_token))
        .page("GET", "/admin/runners", read, get(pages::list))
        .page("POST", "/admin/runners/new", manage, post(pages::create))
        .page(
            "POST",
            "/admin/runners/registration-token",
            manage,
            post(pages::registration_token),
        )
        .page("POST", "/admin/runners/{id}/pause", manage, post(pages::pause))
        .page("POST", "/admin/runners/{id}/delete", manage, post(pages::delete))
}

pub(crate) fn id_of(text: &str) -> Result<RunnerId, Problem> {
    text.parse().map_err(|_| Problem::not_found("runner"))
}

/// Lists the instance's runners.
#[utoipa::path(get, path = "/api/v1/runners", tag = "ci", responses((status = 200, body = Vec<Runner>)))]
async fn list(State(ci): State<Ci>) -> Answer<Json<Vec<Runner>>> {
    let now = ci.clock.now();
    Ok(Json(
        ci.runners()
            .await?
            .iter()
            .map(|runner| runner.to_wire(now))
            .collect(),
    ))
}

/// Makes a runner; its token is shown this once.
#[utoipa::path(post, path = "/api/v1/runner", tag = "ci", request_body = CreateRunner,
    responses((status = 201, body = CreatedRunner)))]
async fn create(
    State(ci): State<Ci>,
    Body(request): Body<CreateRunner>,
) -> Answer<(StatusCode, Json<CreatedRunner>)> {
    let (runner, token) = ci
        .create_runner(&request.description, request.tags, request.run_untagged)
        .await?;
    let runner = runner.to_wire(ci.clock.now());
    Ok((StatusCode::CREATED, Json(CreatedRunner { runner, token })))
}

/// Pauses a runner, or lets it go on.
#[utoipa::path(patch, path = "/api/v1/runners/{id}", tag = "ci", params(("id" = String, Path)),
    request_body = ChangeRunner, responses((status = 200, body = Runner)))]
async fn change(
    State(ci): State<Ci>,
    PathOf(id): PathOf<String>,
    Body(change): Body<ChangeRunner>,
) -> Answer<Json<Runner>> {
    let id = id_of(&id)?;
    let runner = ci.pause_runner(id, change.paused.unwrap_or_default()).await?;
    Ok(Json(runner.to_wire(ci.clock.now())))
}

/// Removes a runner.
#[utoipa::path(delete, path = "/api/v1/runners/{id}", tag = "ci", params(("id" = String, Path)),
    responses((status = 204)))]
async fn remove(State(ci): State<Ci>, PathOf(id): PathOf<String>) -> Answer<StatusCode> {
    ci.delete_runner(id_of(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Makes a new registration token; the one before it ends.
#[utoipa::path(post, path = "/api/v1/runners/registration-token", tag = "ci",
    responses((status = 201, body = RegistrationToken)))]
async fn registration_token(State(ci): State<Ci>) -> Answer<(StatusCode, Json<RegistrationToken>)> {
    let token = ci.new_registration_token().await?;
    Ok((StatusCode::CREATED, Json(RegistrationToken { token })))
}
