//! The JSON API of plans: what is planned, why not, and what people do about it.

use crate::Delivery;
use axum::{Json, extract::State};
use bascule_core::{Permission, Problem, limits};
use bascule_web::{Access, Answer, Body, InProject, Params, PathOf, Routes, Who, routes};
use bascule_wire::delivery::{
    NewApproval, NewPublishCheck, NewRecall, NewSuppression, PlanEntry, PublishCheck, RecallLift, Recalled,
    WhyNot,
};
use http::StatusCode;
use serde::Deserialize;
use std::time::Duration;
use utoipa::IntoParams;

pub(crate) fn routes() -> Routes<Delivery> {
    let manage = Access::Instance(Permission::InstanceManage);
    Routes::new()
        .api(Access::Insider, routes!(plans))
        .api(Access::Insider, routes!(why))
        .api(Access::Insider, routes!(log))
        .api(manage, routes!(suppress))
        .api(manage, routes!(unsuppress))
        .api(Access::Project(Permission::DeployProduction), routes!(recall))
        .api(
            Access::Project(Permission::DeployProduction),
            routes!(lift_recall),
        )
        .api(Access::Project(Permission::EnvironmentRead), routes!(approve))
        // As who may read the code may, so that a job can ask about its own project.
        .api(Access::Project(Permission::CodeRead), routes!(check))
}

/// Of which environment.
#[derive(Debug, Deserialize, IntoParams)]
struct PlanQuery {
    /// The environment's name; all where it is left out.
    environment: Option<String>,
    /// The last entry of the page before, as `environment/group/project`.
    #[serde(default)]
    after: String,
}

/// What is planned for every product in every environment that the caller may read, at most 200 at once.
#[utoipa::path(
    get, path = "/api/v1/plans", tag = "delivery", params(PlanQuery),
    responses((status = 200, body = Vec<PlanEntry>), (status = 422, body = Problem))
)]
async fn plans(
    State(delivery): State<Delivery>,
    who: Who,
    Params(query): Params<PlanQuery>,
) -> Answer<Json<Vec<PlanEntry>>> {
    let site = query.environment.as_deref();
    Ok(Json(
        delivery
            .plans_after(&who, site, &query.after, limits::API_PAGE_ENTRIES)
            .await?,
    ))
}

/// Which product and version.
#[derive(Debug, Deserialize, IntoParams)]
struct WhyQuery {
    /// `group/project`, or its last part.
    product: String,
    /// The version.
    version: String,
}

/// Why a version does not run in an environment, and what would have to happen.
#[utoipa::path(
    get, path = "/api/v1/plans/{environment}/why", tag = "delivery",
    params(("environment" = String, Path), WhyQuery),
    responses((status = 200, body = WhyNot), (status = 404, body = Problem), (status = 422, body = Problem))
)]
async fn why(
    State(delivery): State<Delivery>,
    who: Who,
    PathOf(environment): PathOf<String>,
    Params(query): Params<WhyQuery>,
) -> Answer<Json<WhyNot>> {
    let why = delivery
        .why_not(&who, &environment, &query.product, &query.version)
        .await?;
    Ok(Json(why))
}

/// What was planned for an environment before, newest first.
#[utoipa::path(
    get, path = "/api/v1/plans/{environment}/log", tag = "delivery", params(("environment" = String, Path)),
    responses((status = 200, body = Vec<PlanEntry>))
)]
async fn log(
    State(delivery): State<Delivery>,
    who: Who,
    PathOf(environment): PathOf<String>,
) -> Answer<Json<Vec<PlanEntry>>> {
    let entries = delivery
        .plan_log(&who, &environment, limits::API_PAGE_ENTRIES)
        .await?;
    Ok(Json(entries))
}

/// Hold all changes in an environment; `*` for all of them.
#[utoipa::path(
    put, path = "/api/v1/plans/{environment}/suppression", tag = "delivery", params(("environment" = String, Path)),
    request_body = NewSuppression,
    responses((status = 204), (status = 404, body = Problem), (status = 422, body = Problem))
)]
async fn suppress(
    State(delivery): State<Delivery>,
    who: Who,
    PathOf(environment): PathOf<String>,
    Body(new): Body<NewSuppression>,
) -> Answer<StatusCode> {
    let until = new
        .minutes
        .map(|minutes| delivery.now().plus(Duration::from_secs(u64::from(minutes) * 60)));
    delivery.suppress(&who, &environment, &new.reason, until).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Let changes in an environment go on.
#[utoipa::path(
    delete, path = "/api/v1/plans/{environment}/suppression", tag = "delivery",
    params(("environment" = String, Path)), responses((status = 204), (status = 409, body = Problem))
)]
async fn unsuppress(
    State(delivery): State<Delivery>,
    who: Who,
    PathOf(environment): PathOf<String>,
) -> Answer<StatusCode> {
    delivery.unsuppress(&who, &environment).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Recall releases: no environment takes them any more, and those that run one leave it.
#[utoipa::path(
    post, path = "/api/v1/projects/{group}/{project}/recalls", tag = "delivery",
    params(("group" = String, Path), ("project" = String, Path)), request_body = NewRecall,
    responses((status = 200, body = Recalled), (status = 422, body = Problem))
)]
async fn recall(
    State(delivery): State<Delivery>,
    who: Who,
    project: InProject,
    Body(new): Body<NewRecall>,
) -> Answer<Json<Recalled>> {
    let versions = delivery
        .recall(&who, project.id, &new.versions, &new.reason, &new.floor)
        .await?;
    Ok(Json(Recalled { versions }))
}

/// Lift a recall: environments take the releases again.
#[utoipa::path(
    post, path = "/api/v1/projects/{group}/{project}/recalls/lift", tag = "delivery",
    params(("group" = String, Path), ("project" = String, Path)), request_body = RecallLift,
    responses((status = 200, body = Recalled), (status = 409, body = Problem), (status = 422, body = Problem))
)]
async fn lift_recall(
    State(delivery): State<Delivery>,
    who: Who,
    project: InProject,
    Body(lift): Body<RecallLift>,
) -> Answer<Json<Recalled>> {
    let versions = delivery
        .lift_recall(&who, project.id, &lift.versions, &lift.reason)
        .await?;
    Ok(Json(Recalled { versions }))
}

/// Approve a version in a team's name. Who belongs to the team may do so.
#[utoipa::path(
    post, path = "/api/v1/projects/{group}/{project}/approvals", tag = "delivery",
    params(("group" = String, Path), ("project" = String, Path)), request_body = NewApproval,
    responses((status = 204), (status = 403, body = Problem), (status = 422, body = Problem))
)]
async fn approve(
    State(delivery): State<Delivery>,
    who: Who,
    project: InProject,
    Body(new): Body<NewApproval>,
) -> Answer<StatusCode> {
    delivery
        .approve(&who, project.id, &new.version, &new.scope, &new.team)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Say before a release is published which environments it would strand.
#[utoipa::path(
    post, path = "/api/v1/projects/{group}/{project}/publish-check", tag = "delivery",
    params(("group" = String, Path), ("project" = String, Path)), request_body = NewPublishCheck,
    responses((status = 200, body = PublishCheck), (status = 422, body = Problem))
)]
async fn check(
    State(delivery): State<Delivery>,
    who: Who,
    project: InProject,
    Body(new): Body<NewPublishCheck>,
) -> Answer<Json<PublishCheck>> {
    Ok(Json(
        delivery
            .publish_check(&who, project.id, &project.path(), &new)
            .await?,
    ))
}
