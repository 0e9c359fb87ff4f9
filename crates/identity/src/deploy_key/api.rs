//! JSON about deploy keys.

use crate::Identity;
use axum::{Json, extract::State};
use bascule_core::{DeployKeyId, Permission, Problem};
use bascule_web::{Access, Answer, Body, InProject, PathOf, Routes, Who, routes};
use bascule_wire::identity::{DeployKey, DeployKeyList, NewDeployKey};
use http::StatusCode;
use serde::Deserialize;

pub(crate) fn routes() -> Routes<Identity> {
    let manage = Access::Project(Permission::MemberManage);
    Routes::new()
        .api(manage, routes!(list_deploy_keys, add_deploy_key))
        .api(manage, routes!(remove_deploy_key))
}

#[derive(Deserialize)]
struct KeyPath {
    key: DeployKeyId,
}

/// Lists a project's deploy keys, newest first.
#[utoipa::path(
    get, path = "/api/v1/projects/{group}/{project}/deploy-keys", tag = "keys",
    params(("group" = String, Path, description = "Group"), ("project" = String, Path, description = "Project")),
    responses((status = 200, body = DeployKeyList))
)]
async fn list_deploy_keys(
    State(identity): State<Identity>,
    project: InProject,
) -> Answer<Json<DeployKeyList>> {
    let keys = identity.deploy_keys(&project).await?;
    Ok(Json(DeployKeyList {
        items: keys.into_iter().map(DeployKey::from).collect(),
    }))
}

/// Lets a public key into a project, to read or to push.
#[utoipa::path(
    post, path = "/api/v1/projects/{group}/{project}/deploy-keys", tag = "keys", request_body = NewDeployKey,
    params(("group" = String, Path, description = "Group"), ("project" = String, Path, description = "Project")),
    responses((status = 201, body = DeployKey), (status = 409, body = Problem), (status = 422, body = Problem))
)]
async fn add_deploy_key(
    State(identity): State<Identity>,
    who: Who,
    project: InProject,
    Body(new): Body<NewDeployKey>,
) -> Answer<(StatusCode, Json<DeployKey>)> {
    let key = identity.add_deploy_key(&who, &project, &new).await?;
    Ok((StatusCode::CREATED, Json(key)))
}

/// Shuts a deploy key out, at once.
#[utoipa::path(
    delete, path = "/api/v1/projects/{group}/{project}/deploy-keys/{key}", tag = "keys",
    params(
        ("group" = String, Path, description = "Group"), ("project" = String, Path, description = "Project"),
        ("key" = String, Path, description = "Key id")
    ),
    responses((status = 204), (status = 404, body = Problem))
)]
async fn remove_deploy_key(
    State(identity): State<Identity>,
    who: Who,
    project: InProject,
    PathOf(path): PathOf<KeyPath>,
) -> Answer<StatusCode> {
    identity.remove_deploy_key(&who, &project, path.key).await?;
    Ok(StatusCode::NO_CONTENT)
}
