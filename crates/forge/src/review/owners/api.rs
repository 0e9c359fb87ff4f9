//! Who owns a path, as JSON.

use crate::Forge;
use axum::{extract::State, response::IntoResponse as _};
use bascule_core::{Permission, Problem};
use bascule_web::{Access, Answer, InProject, Params, Routes, routes};
use bascule_wire::review as wire;
use serde::Deserialize;
use utoipa::IntoParams;

pub(crate) fn routes() -> Routes<Forge> {
    Routes::new().api(Access::Project(Permission::CodeRead), routes!(owners))
}

/// Which path, and where.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Asked {
    /// The path; only the file's faults are told without it.
    #[serde(default)]
    pub(super) path: String,
    /// The branch, tag or commit whose `CODEOWNERS` is read; the default branch if left out.
    #[serde(default, rename = "ref")]
    pub(super) reference: Option<String>,
}

/// Tells who owns a path, and why.
#[utoipa::path(get, path = "/api/v1/projects/{group}/{project}/owners", tag = "reviews",
    params(("group" = String, Path), ("project" = String, Path), Asked),
    responses((status = 200, body = wire::PathOwners)))]
async fn owners(
    State(forge): State<Forge>,
    InProject(scope): InProject,
    Params(asked): Params<Asked>,
) -> Answer {
    let project = forge
        .project_by_id(scope.id)
        .await?
        .ok_or_else(|| Problem::not_found("project"))?;
    let answer = forge
        .path_owners(&project, asked.reference.as_deref(), &asked.path)
        .await?;
    Ok(axum::Json(answer).into_response())
}
