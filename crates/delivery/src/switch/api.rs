//! The JSON API of group steps.

use crate::Delivery;
use axum::{Json, extract::State};
use bascule_core::Problem;
use bascule_web::{Access, Answer, Body, PathOf, Routes, Who, routes};
use bascule_wire::delivery::{GroupStep, NewSwitch, Switched};
use http::StatusCode;

pub(crate) fn routes() -> Routes<Delivery> {
    // Who may deploy each of a group's products is asked where the group is known.
    Routes::new()
        .api(Access::Insider, routes!(steps))
        .api(Access::Insider, routes!(switch))
}

/// The groups of products that can only switch together in an environment, and what each would cost.
#[utoipa::path(
    get, path = "/api/v1/plans/{environment}/groups", tag = "delivery", params(("environment" = String, Path)),
    responses((status = 200, body = Vec<GroupStep>))
)]
async fn steps(
    State(delivery): State<Delivery>,
    who: Who,
    PathOf(environment): PathOf<String>,
) -> Answer<Json<Vec<GroupStep>>> {
    Ok(Json(delivery.group_steps(&who, &environment).await?))
}

/// Let a group of products switch together. It needs the permission to deploy each of them there.
#[utoipa::path(
    post, path = "/api/v1/plans/{environment}/switch", tag = "delivery", params(("environment" = String, Path)),
    request_body = NewSwitch,
    responses(
        (status = 201, body = Switched), (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 409, body = Problem), (status = 422, body = Problem)
    )
)]
async fn switch(
    State(delivery): State<Delivery>,
    who: Who,
    PathOf(environment): PathOf<String>,
    Body(new): Body<NewSwitch>,
) -> Answer<(StatusCode, Json<Switched>)> {
    let switched = delivery.take_group_step(&who, &environment, &new).await?;
    Ok((StatusCode::CREATED, Json(switched)))
}
