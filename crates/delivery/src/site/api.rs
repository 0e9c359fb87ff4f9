//! The JSON API of environments in git: what a commit would change, and what is taken away.

use crate::Delivery;
use axum::{Json, extract::State};
use bascule_core::{Permission, Problem};
use bascule_web::{Access, Answer, Body, InProject, Params, PathOf, Routes, Who, routes};
use bascule_wire::environments::{DryRun, Lock, NewDryRun, NewLock, ParityPage, Prune, RefusedCommit};
use serde::Deserialize;
use utoipa::IntoParams;

pub(crate) fn routes() -> Routes<Delivery> {
    let manage = Access::Instance(Permission::InstanceManage);
    Routes::new()
        .api(Access::Insider, routes!(dry_run))
        .api(Access::Insider, routes!(refused))
        .api(Access::Insider, routes!(prune))
        .api(manage, routes!(confirm_prune))
        .api(Access::Insider, routes!(parity))
        // As who may read the code may, so that a job can ask about its own project.
        .api(Access::Project(Permission::CodeRead), routes!(lock))
}

/// Say what a commit of the environments project, or files, would change. Nothing is changed.
#[utoipa::path(
    post, path = "/api/v1/plans/dry-run", tag = "delivery", request_body = NewDryRun,
    responses((status = 200, body = DryRun), (status = 404, body = Problem), (status = 422, body = Problem))
)]
async fn dry_run(
    State(delivery): State<Delivery>,
    who: Who,
    Body(new): Body<NewDryRun>,
) -> Answer<Json<DryRun>> {
    Ok(Json(delivery.dry_run(&who, &new).await?))
}

/// The commit of the environments project that is not in force because a file in it is wrong; null where there is
/// none, or the caller may not read the project.
#[utoipa::path(
    get, path = "/api/v1/plans/refused", tag = "delivery", responses((status = 200, body = Option<RefusedCommit>))
)]
async fn refused(State(delivery): State<Delivery>, who: Who) -> Answer<Json<Option<RefusedCommit>>> {
    Ok(Json(delivery.refused_commit(&who).await?))
}

/// What an environment's file no longer declares, and what becomes of it.
#[utoipa::path(
    get, path = "/api/v1/plans/{environment}/prune", tag = "delivery", params(("environment" = String, Path)),
    responses((status = 200, body = Prune), (status = 404, body = Problem))
)]
async fn prune(
    State(delivery): State<Delivery>,
    who: Who,
    PathOf(environment): PathOf<String>,
) -> Answer<Json<Prune>> {
    Ok(Json(delivery.prune_view(&who, &environment).await?))
}

/// Let go what is no longer declared, although it is more than may go at once.
#[utoipa::path(
    post, path = "/api/v1/plans/{environment}/prune", tag = "delivery", params(("environment" = String, Path)),
    responses((status = 200, body = Prune), (status = 409, body = Problem))
)]
async fn confirm_prune(
    State(delivery): State<Delivery>,
    who: Who,
    PathOf(environment): PathOf<String>,
) -> Answer<Json<Prune>> {
    delivery.confirm_prune(&who, &environment).await?;
    Ok(Json(delivery.prune_view(&who, &environment).await?))
}

/// Which products.
#[derive(Debug, Deserialize, IntoParams)]
struct ParityQuery {
    /// `group/project`; all where it is left out.
    product: Option<String>,
    /// The mark of the page before.
    #[serde(default)]
    after: String,
}

/// How products differ between their environments, differences first. Values of variables are never told.
#[utoipa::path(
    get, path = "/api/v1/parity", tag = "delivery", params(ParityQuery),
    responses((status = 200, body = ParityPage))
)]
async fn parity(
    State(delivery): State<Delivery>,
    who: Who,
    Params(query): Params<ParityQuery>,
) -> Answer<Json<ParityPage>> {
    let page = delivery
        .parity(&who, query.product.as_deref(), &query.after)
        .await?;
    Ok(Json(page))
}

/// Look up what there is of a product's dependencies, for its `product-dependencies.lock`.
#[utoipa::path(
    post, path = "/api/v1/projects/{group}/{project}/product-lock", tag = "delivery",
    params(("group" = String, Path), ("project" = String, Path)), request_body = NewLock,
    responses((status = 200, body = Lock), (status = 422, body = Problem))
)]
async fn lock(
    State(delivery): State<Delivery>,
    who: Who,
    _: InProject,
    Body(new): Body<NewLock>,
) -> Answer<Json<Lock>> {
    Ok(Json(delivery.product_lock(&who, &new.file).await?))
}
