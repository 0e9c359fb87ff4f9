//! JSON about access tokens.

use crate::Identity;
use axum::{Json, extract::State};
use bascule_core::{Permission, Problem, TokenId};
use bascule_web::{Access, Answer, Body, InProject, PathOf, Routes, Who, routes};
use bascule_wire::identity::{CreatedToken, NewProjectToken, NewToken, Token, TokenList};
use http::StatusCode;
use serde::Deserialize;

pub(crate) fn routes() -> Routes<Identity> {
    let manage = Access::Project(Permission::MemberManage);
    Routes::new()
        .api(Access::SignedIn, routes!(list, create))
        .api(Access::SignedIn, routes!(revoke))
        .api(manage, routes!(list_of_project, create_in_project))
        .api(manage, routes!(revoke_in_project))
}

#[derive(Deserialize)]
struct TokenPath {
    token: TokenId,
}

/// Lists the caller's access tokens, newest first.
#[utoipa::path(get, path = "/api/v1/user/tokens", tag = "tokens", responses((status = 200, body = TokenList)))]
async fn list(State(identity): State<Identity>, who: Who) -> Answer<Json<TokenList>> {
    Ok(Json(TokenList {
        items: identity
            .tokens(&who)
            .await?
            .into_iter()
            .map(Token::from)
            .collect(),
    }))
}

/// Creates a personal access token. The answer is the only place where its secret is told.
#[utoipa::path(
    post, path = "/api/v1/user/tokens", tag = "tokens", request_body = NewToken,
    responses((status = 201, body = CreatedToken), (status = 422, body = Problem))
)]
async fn create(
    State(identity): State<Identity>,
    who: Who,
    Body(new): Body<NewToken>,
) -> Answer<(StatusCode, Json<CreatedToken>)> {
    Ok((
        StatusCode::CREATED,
        Json(identity.create_token(&who, &new).await?),
    ))
}

/// Revokes one of the caller's access tokens, at once.
#[utoipa::path(
    delete, path = "/api/v1/user/tokens/{token}", tag = "tokens", params(("token" = String, Path, description = "Token id")),
    responses((status = 204), (status = 404, body = Problem))
)]
async fn revoke(
    State(identity): State<Identity>,
    who: Who,
    PathOf(path): PathOf<TokenPath>,
) -> Answer<StatusCode> {
    identity.revoke_token(&who, path.token).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lists a project's access tokens, newest first.
#[utoipa::path(
    get, path = "/api/v1/projects/{group}/{project}/tokens", tag = "tokens",
    params(("group" = String, Path, description = "Group"), ("project" = String, Path, description = "Project")),
    responses((status = 200, body = TokenList), (status = 403, body = Problem))
)]
async fn list_of_project(State(identity): State<Identity>, project: InProject) -> Answer<Json<TokenList>> {
    let items = identity
        .project_tokens(project.id)
        .await?
        .into_iter()
        .map(Token::from)
        .collect();
    Ok(Json(TokenList { items }))
}

/// Creates an access token limited to a project. The answer is the only place where its secret is told.
#[utoipa::path(
    post, path = "/api/v1/projects/{group}/{project}/tokens", tag = "tokens",
    params(("group" = String, Path, description = "Group"), ("project" = String, Path, description = "Project")),
    request_body = NewProjectToken,
    responses((status = 201, body = CreatedToken), (status = 403, body = Problem), (status = 422, body = Problem))
)]
async fn create_in_project(
    State(identity): State<Identity>,
    who: Who,
    project: InProject,
    Body(new): Body<NewProjectToken>,
) -> Answer<(StatusCode, Json<CreatedToken>)> {
    Ok((
        StatusCode::CREATED,
        Json(identity.create_project_token(&who, &project, &new).await?),
    ))
}

/// Revokes one of a project's access tokens, at once.
#[utoipa::path(
    delete, path = "/api/v1/projects/{group}/{project}/tokens/{token}", tag = "tokens",
    params(
        ("group" = String, Path, description = "Group"), ("project" = String, Path, description = "Project"),
        ("token" = String, Path, description = "Token id")
    ),
    responses((status = 204), (status = 404, body = Problem))
)]
async fn revoke_in_project(
    State(identity): State<Identity>,
    who: Who,
    project: InProject,
    PathOf(path): PathOf<TokenPath>,
) -> Answer<StatusCode> {
    identity.revoke_project_token(&who, &project, path.token).await?;
    Ok(StatusCode::NO_CONTENT)
}
