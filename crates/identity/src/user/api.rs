//! JSON about accounts.

use super::Account;
use crate::{Identity, paging};
use axum::{Json, extract::State};
use bascule_core::{Permission, Problem};
use bascule_web::{Access, Answer, Body, Params, PathOf, Routes, Who, routes};
use bascule_wire::identity::{CreatedUser, Holder, NewUser, ProjectToken, User, UserChange, UserPage};
use http::StatusCode;

pub(crate) fn routes() -> Routes<Identity> {
    let manage = Access::Instance(Permission::InstanceManage);
    Routes::new()
        .api(Access::Holder, routes!(who_am_i))
        .api(manage, routes!(list, create))
        .api(manage, routes!(show, change))
        .api(manage, routes!(deactivate))
        .api(manage, routes!(activate))
}

/// The account that the token or session belongs to; for a project's own token, what it is.
#[utoipa::path(get, path = "/api/v1/user", tag = "users", responses((status = 200, body = Holder), (status = 401, body = Problem)))]
async fn who_am_i(State(identity): State<Identity>, who: Who) -> Answer<Json<Holder>> {
    Ok(Json(match who.only_project {
        Some((project, role)) => Holder::Project(ProjectToken {
            username: who.actor.name.clone(),
            project,
            role,
            scopes: who.scopes.clone().unwrap_or_default(),
        }),
        None => Holder::Account(identity.holder_account(&who).await?.into()),
    }))
}

/// Lists the accounts, by user name. For administrators.
#[utoipa::path(
    get, path = "/api/v1/users", tag = "users",
    params(
        ("after" = Option<String>, Query, description = "Only names after this one: the `next` of the page before"),
        ("limit" = Option<i64>, Query, description = "How many at most, up to 200; 50 if not given"),
    ),
    responses((status = 200, body = UserPage), (status = 403, body = Problem))
)]
async fn list(
    State(identity): State<Identity>,
    Params(page): Params<paging::Wanted>,
) -> Answer<Json<UserPage>> {
    let found = identity.users(page.after(), page.limit() + 1).await?;
    let (items, next) = paging::cut(found, page.limit(), |account: &Account| account.username.clone());
    Ok(Json(UserPage {
        items: items.into_iter().map(User::from).collect(),
        next,
    }))
}

/// Creates an account. For administrators.
#[utoipa::path(
    post, path = "/api/v1/users", tag = "users", request_body = NewUser,
    responses((status = 201, body = CreatedUser), (status = 409, body = Problem), (status = 422, body = Problem))
)]
async fn create(
    State(identity): State<Identity>,
    who: Who,
    Body(new): Body<NewUser>,
) -> Answer<(StatusCode, Json<CreatedUser>)> {
    Ok((StatusCode::CREATED, Json(identity.create_user(&who, &new).await?)))
}

/// One account. For administrators.
#[utoipa::path(
    get, path = "/api/v1/users/{username}", tag = "users", params(("username" = String, Path, description = "User name")),
    responses((status = 200, body = User), (status = 404, body = Problem))
)]
async fn show(State(identity): State<Identity>, PathOf(username): PathOf<String>) -> Answer<Json<User>> {
    Ok(Json(identity.user(&username).await?.into()))
}

/// Changes an account's standing on the instance. For administrators.
#[utoipa::path(
    patch, path = "/api/v1/users/{username}", tag = "users", params(("username" = String, Path, description = "User name")),
    request_body = UserChange,
    responses((status = 200, body = User), (status = 404, body = Problem), (status = 409, body = Problem))
)]
async fn change(
    State(identity): State<Identity>,
    who: Who,
    PathOf(username): PathOf<String>,
    Body(change): Body<UserChange>,
) -> Answer<Json<User>> {
    Ok(Json(
        identity
            .set_instance_role(&who, &username, change.role)
            .await?
            .into(),
    ))
}

/// Closes an account: its sessions, tokens and keys end at once. For administrators.
#[utoipa::path(
    post, path = "/api/v1/users/{username}/deactivate", tag = "users",
    params(("username" = String, Path, description = "User name")),
    responses((status = 204), (status = 404, body = Problem), (status = 409, body = Problem))
)]
async fn deactivate(
    State(identity): State<Identity>,
    who: Who,
    PathOf(username): PathOf<String>,
) -> Answer<StatusCode> {
    identity.deactivate_user(&who, &username).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Opens a closed account again; its sessions, tokens and keys stay ended. For administrators.
#[utoipa::path(
    post, path = "/api/v1/users/{username}/activate", tag = "users",
    params(("username" = String, Path, description = "User name")),
    responses((status = 204), (status = 404, body = Problem))
)]
async fn activate(
    State(identity): State<Identity>,
    who: Who,
    PathOf(username): PathOf<String>,
) -> Answer<StatusCode> {
    identity.activate_user(&who, &username).await?;
    Ok(StatusCode::NO_CONTENT)
}
