//! The JSON API of the views.

use super::{fleet::FleetQuery, products::ProductQuery};
use crate::Delivery;
use axum::{Json, extract::State};
use bascule_core::{Permission, Problem};
use bascule_web::{Access, Answer, InProject, Params, Routes, Who, routes};
use bascule_wire::views::{FleetPage, ProductPage, ProductView, WhereIs};
use serde::Deserialize;
use utoipa::IntoParams;

pub(super) fn routes() -> Routes<Delivery> {
    let read = Access::Project(Permission::EnvironmentRead);
    Routes::new()
        .api(Access::Insider, routes!(fleet))
        .api(Access::Insider, routes!(products))
        .api(read, routes!(product))
        .api(read, routes!(where_is))
}

/// A page of all installs that the caller may read, with how many stand in each state.
#[utoipa::path(
    get, path = "/api/v1/fleet", tag = "delivery", params(FleetQuery), responses((status = 200, body = FleetPage))
)]
async fn fleet(
    State(delivery): State<Delivery>,
    who: Who,
    Params(query): Params<FleetQuery>,
) -> Answer<Json<FleetPage>> {
    Ok(Json(delivery.fleet(&who, &query).await?))
}

/// A page of the products that the caller may read.
#[utoipa::path(
    get, path = "/api/v1/products", tag = "delivery", params(ProductQuery),
    responses((status = 200, body = ProductPage))
)]
async fn products(
    State(delivery): State<Delivery>,
    who: Who,
    Params(query): Params<ProductQuery>,
) -> Answer<Json<ProductPage>> {
    Ok(Json(delivery.products(&who, &query).await?))
}

/// A product: its releases with their channels and recalls, where each runs, and which approvals are waited for.
#[utoipa::path(
    get, path = "/api/v1/projects/{group}/{project}/product", tag = "delivery",
    params(("group" = String, Path), ("project" = String, Path)), responses((status = 200, body = ProductView))
)]
async fn product(
    State(delivery): State<Delivery>,
    who: Who,
    project: InProject,
) -> Answer<Json<ProductView>> {
    let view = delivery.product_view(&who, project.id, &project.path()).await?;
    Ok(Json(view))
}

/// Which commit.
#[derive(Debug, Deserialize, IntoParams)]
struct WhereQuery {
    /// The beginning of its identifier (four digits at least), a branch, a tag, or a release's version.
    commit: String,
}

/// Which releases contain a commit, and in which environments it runs by now.
#[utoipa::path(
    get, path = "/api/v1/projects/{group}/{project}/where", tag = "delivery",
    params(("group" = String, Path), ("project" = String, Path), WhereQuery),
    responses((status = 200, body = WhereIs), (status = 404, body = Problem), (status = 422, body = Problem))
)]
async fn where_is(
    State(delivery): State<Delivery>,
    who: Who,
    project: InProject,
    Params(query): Params<WhereQuery>,
) -> Answer<Json<WhereIs>> {
    let found = delivery
        .where_is(&who, project.id, &project.path(), &query.commit)
        .await?;
    Ok(Json(found))
}
