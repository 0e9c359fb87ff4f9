//! JSON about SSH keys.

use crate::Identity;
use axum::{Json, extract::State};
use bascule_core::{KeyId, Problem};
use bascule_web::{Access, Answer, Body, PathOf, Routes, Who, routes};
use bascule_wire::identity::{Key, KeyList, NewKey};
use http::StatusCode;

pub(crate) fn routes() -> Routes<Identity> {
    Routes::new()
        .api(Access::SignedIn, routes!(list, add))
        .api(Access::SignedIn, routes!(remove))
}

/// Lists the caller's SSH keys, newest first.
#[utoipa::path(get, path = "/api/v1/user/keys", tag = "keys", responses((status = 200, body = KeyList)))]
async fn list(State(identity): State<Identity>, who: Who) -> Answer<Json<KeyList>> {
    Ok(Json(KeyList {
        items: identity.keys(&who).await?.into_iter().map(Key::from).collect(),
    }))
}

/// Adds an SSH key to the caller's account.
#[utoipa::path(
    post, path = "/api/v1/user/keys", tag = "keys", request_body = NewKey,
    responses((status = 201, body = Key), (status = 409, body = Problem), (status = 422, body = Problem))
)]
async fn add(
    State(identity): State<Identity>,
    who: Who,
    Body(new): Body<NewKey>,
) -> Answer<(StatusCode, Json<Key>)> {
    Ok((StatusCode::CREATED, Json(identity.add_key(&who, &new).await?)))
}

/// Removes one of the caller's SSH keys.
#[utoipa::path(
    delete, path = "/api/v1/user/keys/{key}", tag = "keys", params(("key" = String, Path, description = "Key id")),
    responses((status = 204), (status = 404, body = Problem))
)]
async fn remove(
    State(identity): State<Identity>,
    who: Who,
    PathOf(key): PathOf<KeyId>,
) -> Answer<StatusCode> {
    identity.remove_key(&who, key).await?;
    Ok(StatusCode::NO_CONTENT)
}
