//! CI variables in the JSON API: the instance's, a group's, a project's.

use super::{EVERYWHERE, Place};
use crate::Ci;
use axum::{Json, extract::State};
use bascule_core::Permission;
use bascule_web::{Access, Answer, Body, InGroup, InProject, Params, PathOf, Routes, Who, routes};
use bascule_wire::ci::{CiVariable, SetCiVariable};
use http::StatusCode;
use serde::Deserialize;

#[derive(Debug, Deserialize)]
pub(crate) struct Named {
    pub name: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Which {
    /// Those environments that it is for.
    #[serde(default = "everywhere")]
    pub environment: String,
}

fn everywhere() -> String {
    EVERYWHERE.to_owned()
}

pub(crate) fn routes() -> Routes<Ci> {
    let access = Access::Project(Permission::ProjectManage);
    let of_group = Access::Group(Permission::GroupManage);
    let of_all = Access::Instance(Permission::InstanceManage);
    Routes::new()
        .api(access, routes!(list))
        .api(access, routes!(set, remove))
        .api(of_group, routes!(list_of_group))
        .api(of_group, routes!(set_of_group, remove_of_group))
        .api(of_all, routes!(list_of_all))
        .api(of_all, routes!(set_of_all, remove_of_all))
}

/// Lists the project's CI variables.
#[utoipa::path(get, path = "/api/v1/projects/{group}/{project}/ci/variables", tag = "ci",
    params(("group" = String, Path), ("project" = String, Path)),
    responses((status = 200, body = Vec<CiVariable>)))]
async fn list(State(ci): State<Ci>, project: InProject) -> Answer<Json<Vec<CiVariable>>> {
    Ok(Json(ci.variables(project.id).await?))
}

/// Sets a CI variable.
#[utoipa::path(put, path = "/api/v1/projects/{group}/{project}/ci/variables/{name}", tag = "ci",
    params(("group" = String, Path), ("project" = String, Path), ("name" = String, Path)),
    request_body = SetCiVariable, responses((status = 204)))]
async fn set(
    State(ci): State<Ci>,
    project: InProject,
    who: Who,
    PathOf(at): PathOf<Named>,
    Body(set): Body<SetCiVariable>,
) -> Answer<StatusCode> {
    ci.set_variable(&Place::Project(project.id), &at.name, &set, &who.actor)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Removes a CI variable.
#[utoipa::path(delete, path = "/api/v1/projects/{group}/{project}/ci/variables/{name}", tag = "ci",
    params(("group" = String, Path), ("project" = String, Path), ("name" = String, Path),
        ("environment" = Option<String>, Query)),
    responses((status = 204)))]
async fn remove(
    State(ci): State<Ci>,
    project: InProject,
    who: Who,
    PathOf(at): PathOf<Named>,
    Params(which): Params<Which>,
) -> Answer<StatusCode> {
    let place = Place::Project(project.id);
    ci.delete_variable(&place, &at.name, &which.environment, &who.actor)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lists a group's CI variables, which all its projects' jobs get.
#[utoipa::path(get, path = "/api/v1/groups/{group}/ci/variables", tag = "ci", params(("group" = String, Path)),
    responses((status = 200, body = Vec<CiVariable>)))]
async fn list_of_group(State(ci): State<Ci>, group: InGroup) -> Answer<Json<Vec<CiVariable>>> {
    Ok(Json(ci.variables_of(&Place::Group(group.name.clone())).await?))
}

/// Sets a CI variable of a group.
#[utoipa::path(put, path = "/api/v1/groups/{group}/ci/variables/{name}", tag = "ci",
    params(("group" = String, Path), ("name" = String, Path)),
    request_body = SetCiVariable, responses((status = 204)))]
async fn set_of_group(
    State(ci): State<Ci>,
    group: InGroup,
    who: Who,
    PathOf(at): PathOf<Named>,
    Body(set): Body<SetCiVariable>,
) -> Answer<StatusCode> {
    ci.set_variable(&Place::Group(group.name.clone()), &at.name, &set, &who.actor)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Removes a CI variable of a group.
#[utoipa::path(delete, path = "/api/v1/groups/{group}/ci/variables/{name}", tag = "ci",
    params(("group" = String, Path), ("name" = String, Path), ("environment" = Option<String>, Query)),
    responses((status = 204)))]
async fn remove_of_group(
    State(ci): State<Ci>,
    group: InGroup,
    who: Who,
    PathOf(at): PathOf<Named>,
    Params(which): Params<Which>,
) -> Answer<StatusCode> {
    let place = Place::Group(group.name.clone());
    ci.delete_variable(&place, &at.name, &which.environment, &who.actor)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lists the instance's CI variables, which all jobs get.
#[utoipa::path(get, path = "/api/v1/ci/variables", tag = "ci", responses((status = 200, body = Vec<CiVariable>)))]
async fn list_of_all(State(ci): State<Ci>) -> Answer<Json<Vec<CiVariable>>> {
    Ok(Json(ci.variables_of(&Place::Instance).await?))
}

/// Sets a CI variable of the instance.
#[utoipa::path(put, path = "/api/v1/ci/variables/{name}", tag = "ci", params(("name" = String, Path)),
    request_body = SetCiVariable, responses((status = 204)))]
async fn set_of_all(
    State(ci): State<Ci>,
    who: Who,
    PathOf(at): PathOf<Named>,
    Body(set): Body<SetCiVariable>,
) -> Answer<StatusCode> {
    ci.set_variable(&Place::Instance, &at.name, &set, &who.actor)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Removes a CI variable of the instance.
#[utoipa::path(delete, path = "/api/v1/ci/variables/{name}", tag = "ci",
    params(("name" = String, Path), ("environment" = Option<String>, Query)), responses((status = 204)))]
async fn remove_of_all(
    State(ci): State<Ci>,
    who: Who,
    PathOf(at): PathOf<Named>,
    Params(which): Params<Which>,
) -> Answer<StatusCode> {
    ci.delete_variable(&Place::Instance, &at.name, &which.environment, &who.actor)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
