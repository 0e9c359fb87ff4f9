//! The JSON API of drills.

use crate::Incidents;
use axum::{Json, extract::State};
use bascule_core::{Permission, Problem, limits};
use bascule_web::{Access, Answer, Body, Params, PathOf, Routes, Who, routes};
use bascule_wire::drill::{Drill, DrillPage, NewDrill};
use http::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;

pub(crate) fn routes() -> Routes<Incidents> {
    let manage = Access::Instance(Permission::InstanceManage);
    Routes::new()
        .api(Access::Instance(Permission::InstanceRead), routes!(list_drills))
        .api(manage, routes!(start_drill))
        .api(manage, routes!(end_drill))
}

#[derive(Debug, Deserialize, IntoParams)]
struct DrillParams {
    /// Only drills with a smaller number.
    before: Option<i64>,
    /// How many at most, up to 200; 50 if not given.
    limit: Option<i64>,
}

/// Drills, newest first.
#[utoipa::path(get, path = "/api/v1/drills", tag = "incidents", params(DrillParams),
    responses((status = 200, body = DrillPage)))]
async fn list_drills(
    State(incidents): State<Incidents>,
    Params(params): Params<DrillParams>,
) -> Answer<Json<DrillPage>> {
    let limit = params
        .limit
        .unwrap_or(limits::PAGE_ENTRIES)
        .clamp(1, limits::API_PAGE_ENTRIES);
    Ok(Json(incidents.list_drills(params.before, limit).await?))
}

/// Start a drill: nothing else changes in the environment until it ends, at its time or before.
#[utoipa::path(post, path = "/api/v1/drills", tag = "incidents", request_body = NewDrill,
    responses((status = 201, body = Drill), (status = 404, body = Problem), (status = 409, body = Problem),
        (status = 422, body = Problem)))]
async fn start_drill(
    State(incidents): State<Incidents>,
    who: Who,
    Body(new): Body<NewDrill>,
) -> Answer<(StatusCode, Json<Drill>)> {
    Ok((
        StatusCode::CREATED,
        Json(incidents.start_drill(&who, &new).await?),
    ))
}

/// End a drill before its time.
#[utoipa::path(post, path = "/api/v1/drills/{number}/end", tag = "incidents", params(("number" = i64, Path)),
    responses((status = 200, body = Drill), (status = 404, body = Problem), (status = 409, body = Problem)))]
async fn end_drill(
    State(incidents): State<Incidents>,
    who: Who,
    PathOf(number): PathOf<i64>,
) -> Answer<Json<Drill>> {
    Ok(Json(incidents.end_drill(&who, number).await?))
}
