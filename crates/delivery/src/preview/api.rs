//! The JSON API of previews, and the forms on a request's page.

use super::merge;
use crate::{Delivery, pages::see};
use axum::{Json, extract::State, routing::post};
use bascule_core::{Permission, Problem};
use bascule_web::{Access, Answer, Body, FormBody, InProject, PathOf, Routes, Who, routes};
use bascule_wire::{
    environments::{DryRun, NewSecret},
    preview::{Preview, PreviewSecret, StartPreview},
};
use http::StatusCode;
use serde::Deserialize;

type At = PathOf<(String, String, i64)>;

pub(crate) fn routes() -> Routes<Delivery> {
    let read = Access::Project(Permission::EnvironmentRead);
    let stage = Access::Project(Permission::DeployStaging);
    let manage = Access::Project(Permission::ProjectManage);
    let one = "/{group}/{project}/-/merge-requests/{iid}/preview";
    Routes::new()
        .api(read, routes!(list))
        .api(read, routes!(show))
        .api(stage, routes!(start))
        .api(stage, routes!(stop))
        .api(manage, routes!(secrets))
        .api(manage, routes!(set_secret))
        .api(manage, routes!(remove_secret))
        .api(Access::Project(Permission::CodeRead), routes!(dry_run))
        .page("POST", &format!("{one}/start"), stage, post(start_form))
        .page("POST", &format!("{one}/stop"), stage, post(stop_form))
        .merge(merge::routes())
}

/// The previews of a project's open merge requests.
#[utoipa::path(
    get, path = "/api/v1/projects/{group}/{project}/previews", tag = "delivery",
    params(("group" = String, Path), ("project" = String, Path)),
    responses((status = 200, body = Vec<Preview>), (status = 404, body = Problem))
)]
async fn list(State(delivery): State<Delivery>, project: InProject) -> Answer<Json<Vec<Preview>>> {
    Ok(Json(delivery.previews(project.id).await?))
}

/// A merge request's preview: where it answers, or why it does not.
#[utoipa::path(
    get, path = "/api/v1/projects/{group}/{project}/merge-requests/{iid}/preview", tag = "delivery",
    params(("group" = String, Path), ("project" = String, Path), ("iid" = i64, Path)),
    responses((status = 200, body = Preview), (status = 404, body = Problem))
)]
async fn show(State(delivery): State<Delivery>, project: InProject, at: At) -> Answer<Json<Preview>> {
    Ok(Json(delivery.preview(project.id, at.0.2).await?))
}

/// Start a preview, or let it live on. A fork's commit needs a maintainer, and the commit that they looked at.
#[utoipa::path(
    post, path = "/api/v1/projects/{group}/{project}/merge-requests/{iid}/preview/start", tag = "delivery",
    params(("group" = String, Path), ("project" = String, Path), ("iid" = i64, Path)), request_body = StartPreview,
    responses((status = 200, body = Preview), (status = 403, body = Problem), (status = 409, body = Problem))
)]
async fn start(
    State(delivery): State<Delivery>,
    who: Who,
    project: InProject,
    at: At,
    Body(new): Body<StartPreview>,
) -> Answer<Json<Preview>> {
    let holds = |permission| project.holds(permission);
    delivery
        .start_preview(&who, project.id, holds, at.0.2, &new)
        .await?;
    Ok(Json(delivery.preview(project.id, at.0.2).await?))
}

/// Stop a preview until its merge request changes, or someone starts it.
#[utoipa::path(
    post, path = "/api/v1/projects/{group}/{project}/merge-requests/{iid}/preview/stop", tag = "delivery",
    params(("group" = String, Path), ("project" = String, Path), ("iid" = i64, Path)),
    responses((status = 200, body = Preview), (status = 409, body = Problem))
)]
async fn stop(
    State(delivery): State<Delivery>,
    who: Who,
    project: InProject,
    at: At,
) -> Answer<Json<Preview>> {
    delivery.stop_preview(&who, project.id, at.0.2).await?;
    Ok(Json(delivery.preview(project.id, at.0.2).await?))
}

/// The names of the secrets that a project's previews get. Values are never shown.
#[utoipa::path(
    get, path = "/api/v1/projects/{group}/{project}/preview-secrets", tag = "delivery",
    params(("group" = String, Path), ("project" = String, Path)),
    responses((status = 200, body = Vec<PreviewSecret>))
)]
async fn secrets(State(delivery): State<Delivery>, project: InProject) -> Answer<Json<Vec<PreviewSecret>>> {
    Ok(Json(delivery.preview_secrets(project.id).await?))
}

/// Keep a secret for a project's previews, which get it as a variable of its name.
#[utoipa::path(
    put, path = "/api/v1/projects/{group}/{project}/preview-secrets/{name}", tag = "delivery",
    params(("group" = String, Path), ("project" = String, Path), ("name" = String, Path)), request_body = NewSecret,
    responses((status = 204), (status = 422, body = Problem))
)]
async fn set_secret(
    State(delivery): State<Delivery>,
    who: Who,
    project: InProject,
    at: PathOf<(String, String, String)>,
    Body(new): Body<NewSecret>,
) -> Answer<StatusCode> {
    delivery
        .set_preview_secret(&who, project.id, &at.0.2, &new.value)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Forget a secret of a project's previews.
#[utoipa::path(
    delete, path = "/api/v1/projects/{group}/{project}/preview-secrets/{name}", tag = "delivery",
    params(("group" = String, Path), ("project" = String, Path), ("name" = String, Path)),
    responses((status = 204), (status = 404, body = Problem))
)]
async fn remove_secret(
    State(delivery): State<Delivery>,
    who: Who,
    project: InProject,
    at: PathOf<(String, String, String)>,
) -> Answer<StatusCode> {
    delivery.remove_preview_secret(&who, project.id, &at.0.2).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What merging a request of the environments project would change. Nothing is changed.
#[utoipa::path(
    get, path = "/api/v1/projects/{group}/{project}/merge-requests/{iid}/dry-run", tag = "delivery",
    params(("group" = String, Path), ("project" = String, Path), ("iid" = i64, Path)),
    responses((status = 200, body = DryRun), (status = 404, body = Problem), (status = 409, body = Problem))
)]
async fn dry_run(
    State(delivery): State<Delivery>,
    who: Who,
    project: InProject,
    at: At,
) -> Answer<Json<DryRun>> {
    Ok(Json(delivery.dry_run_of_request(&who, project.id, at.0.2).await?))
}

#[derive(Deserialize)]
struct StartForm {
    #[serde(default)]
    sha: String,
}

async fn start_form(
    State(delivery): State<Delivery>,
    who: Who,
    project: InProject,
    PathOf((_, _, iid)): At,
    FormBody(form): FormBody<StartForm>,
) -> Answer {
    let new = StartPreview { sha: form.sha };
    let holds = |permission| project.holds(permission);
    delivery.start_preview(&who, project.id, holds, iid, &new).await?;
    Ok(see(&format!("/{}/-/merge-requests/{iid}", project.path())))
}

async fn stop_form(
    State(delivery): State<Delivery>,
    who: Who,
    project: InProject,
    PathOf((_, _, iid)): At,
) -> Answer {
    delivery.stop_preview(&who, project.id, iid).await?;
    Ok(see(&format!("/{}/-/merge-requests/{iid}", project.path())))
}
