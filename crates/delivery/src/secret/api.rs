//! The JSON API of secrets. Values go in and never come out.

use crate::Delivery;
use axum::{Json, extract::State};
use bascule_core::{Permission, Problem};
use bascule_web::{Access, Answer, Body, PathOf, Routes, Who, routes};
use bascule_wire::environments::{NewSecret, Secret};
use http::StatusCode;

pub(crate) fn routes() -> Routes<Delivery> {
    let manage = Access::Instance(Permission::InstanceManage);
    Routes::new()
        .api(manage, routes!(list))
        .api(manage, routes!(set))
        .api(manage, routes!(remove))
}

/// The names of an environment's secrets; `*` for those of all environments. Values are never shown.
#[utoipa::path(
    get, path = "/api/v1/sites/{environment}/secrets", tag = "delivery", params(("environment" = String, Path)),
    responses((status = 200, body = Vec<Secret>))
)]
async fn list(
    State(delivery): State<Delivery>,
    PathOf(environment): PathOf<String>,
) -> Answer<Json<Vec<Secret>>> {
    Ok(Json(delivery.secrets(&environment).await?))
}

/// Keep a secret, to which files refer as `secret:NAME`.
#[utoipa::path(
    put, path = "/api/v1/sites/{environment}/secrets/{name}", tag = "delivery",
    params(("environment" = String, Path), ("name" = String, Path)), request_body = NewSecret,
    responses((status = 204), (status = 422, body = Problem))
)]
async fn set(
    State(delivery): State<Delivery>,
    who: Who,
    PathOf((environment, name)): PathOf<(String, String)>,
    Body(new): Body<NewSecret>,
) -> Answer<StatusCode> {
    delivery.set_secret(&who, &environment, &name, &new.value).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Forget a secret.
#[utoipa::path(
    delete, path = "/api/v1/sites/{environment}/secrets/{name}", tag = "delivery",
    params(("environment" = String, Path), ("name" = String, Path)),
    responses((status = 204), (status = 404, body = Problem))
)]
async fn remove(
    State(delivery): State<Delivery>,
    who: Who,
    PathOf((environment, name)): PathOf<(String, String)>,
) -> Answer<StatusCode> {
    delivery.remove_secret(&who, &environment, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}
