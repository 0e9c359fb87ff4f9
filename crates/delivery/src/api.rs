//! The JSON API of environments, deployments and rollouts.

use crate::{Delivery, rollout, rollout::service::Act, view};
use axum::{Json, extract::State};
use bascule_core::{DeploymentId, Permission, Problem, RolloutId, limits};
use bascule_web::{Access, Answer, Body, InProject, Params, PathOf, Routes, Who, routes};
use bascule_wire::delivery::{Deployment, Environment, NewDeployment, Rollout, RolloutAct};
use http::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;

pub(crate) fn routes() -> Routes<Delivery> {
    let read = Access::Project(Permission::EnvironmentRead);
    Routes::new()
        .api(read, routes!(environments))
        .api(read, routes!(environment))
        .api(read, routes!(deployments))
        .api(Access::Project(Permission::DeployStaging), routes!(deploy))
        .api(read, routes!(deployment))
        .api(Access::Project(Permission::DeployStaging), routes!(cancel))
        .api(read, routes!(rollouts))
        .api(read, routes!(rollout_of))
        .api(Access::Project(Permission::DeployProduction), routes!(promote))
        .api(Access::Project(Permission::DeployProduction), routes!(pause))
        .api(Access::Project(Permission::DeployProduction), routes!(resume))
        .api(Access::Project(Permission::RolloutAbort), routes!(abort))
}

/// Environments of a project, with what serves there.
#[utoipa::path(
    get, path = "/api/v1/projects/{group}/{project}/environments", tag = "delivery",
    params(("group" = String, Path), ("project" = String, Path)),
    responses((status = 200, body = Vec<Environment>), (status = 404, body = Problem))
)]
async fn environments(
    State(delivery): State<Delivery>,
    project: InProject,
) -> Answer<Json<Vec<Environment>>> {
    let rows = delivery.environments(project.id).await?;
    Ok(Json(delivery.environment_views(&rows).await?))
}

/// One environment, by its name.
#[utoipa::path(
    get, path = "/api/v1/projects/{group}/{project}/environments/{environment}", tag = "delivery",
    params(("group" = String, Path), ("project" = String, Path), ("environment" = String, Path)),
    responses((status = 200, body = Environment), (status = 404, body = Problem))
)]
async fn environment(
    State(delivery): State<Delivery>,
    project: InProject,
    at: PathOf<(String, String, String)>,
) -> Answer<Json<Environment>> {
    let mut rows = delivery.environments(project.id).await?;
    rows.retain(|row| row.name == at.0.2);
    let found = delivery.environment_views(&rows).await?.into_iter().next();
    Ok(Json(found.ok_or_else(|| Problem::not_found("environment"))?))
}

/// Which deployments.
#[derive(Debug, Deserialize, IntoParams)]
struct DeploymentQuery {
    /// Of this environment.
    environment: Option<String>,
    /// Older than this one.
    before: Option<DeploymentId>,
    /// How many at most.
    limit: Option<i64>,
}

pub(crate) fn bounded(limit: Option<i64>) -> i64 {
    limit
        .unwrap_or(limits::PAGE_ENTRIES)
        .clamp(1, limits::API_PAGE_ENTRIES)
}

/// Deployments of a project, newest first.
#[utoipa::path(
    get, path = "/api/v1/projects/{group}/{project}/deployments", tag = "delivery",
    params(("group" = String, Path), ("project" = String, Path), DeploymentQuery),
    responses((status = 200, body = Vec<Deployment>), (status = 404, body = Problem))
)]
async fn deployments(
    State(delivery): State<Delivery>,
    project: InProject,
    Params(query): Params<DeploymentQuery>,
) -> Answer<Json<Vec<Deployment>>> {
    let limit = bounded(query.limit);
    let views = delivery
        .deployment_views(project.id, query.environment.as_deref(), query.before, limit)
        .await?;
    Ok(Json(views))
}

/// Deploy a release.
#[utoipa::path(
    post, path = "/api/v1/projects/{group}/{project}/deployments", tag = "delivery",
    params(("group" = String, Path), ("project" = String, Path)), request_body = NewDeployment,
    responses((status = 201, body = Deployment), (status = 409, body = Problem), (status = 422, body = Problem))
)]
async fn deploy(
    State(delivery): State<Delivery>,
    who: Who,
    project: InProject,
    Body(new): Body<NewDeployment>,
) -> Answer<(StatusCode, Json<Deployment>)> {
    let id = delivery
        .deploy(&who, project.id, |permission| project.holds(permission), &new)
        .await?;
    let (view, _) = delivery.deployment_view(project.id, id).await?;
    Ok((StatusCode::CREATED, Json(view)))
}

/// One deployment.
#[utoipa::path(
    get, path = "/api/v1/projects/{group}/{project}/deployments/{id}", tag = "delivery",
    params(("group" = String, Path), ("project" = String, Path), ("id" = String, Path)),
    responses((status = 200, body = Deployment), (status = 404, body = Problem))
)]
async fn deployment(
    State(delivery): State<Delivery>,
    project: InProject,
    at: PathOf<(String, String, DeploymentId)>,
) -> Answer<Json<Deployment>> {
    Ok(Json(delivery.deployment_view(project.id, at.0.2).await?.0))
}

/// Which rollouts.
#[derive(Debug, Deserialize, IntoParams)]
struct RolloutQuery {
    /// Older than this one.
    before: Option<RolloutId>,
    /// How many at most.
    limit: Option<i64>,
}

/// Take a deployment back that serves nobody yet.
#[utoipa::path(
    post, path = "/api/v1/projects/{group}/{project}/deployments/{id}/cancel", tag = "delivery",
    params(("group" = String, Path), ("project" = String, Path), ("id" = String, Path)), request_body = RolloutAct,
    responses((status = 200, body = Deployment), (status = 409, body = Problem))
)]
async fn cancel(
    State(delivery): State<Delivery>,
    who: Who,
    project: InProject,
    at: PathOf<(String, String, DeploymentId)>,
    Body(body): Body<RolloutAct>,
) -> Answer<Json<Deployment>> {
    let id = at.0.2;
    delivery
        .cancel(
            &who,
            project.id,
            |permission| project.holds(permission),
            id,
            &body.reason,
        )
        .await?;
    let (view, _) = delivery.deployment_view(project.id, id).await?;
    Ok(Json(view))
}

/// Rollouts of a project, newest first.
#[utoipa::path(
    get, path = "/api/v1/projects/{group}/{project}/rollouts", tag = "delivery",
    params(("group" = String, Path), ("project" = String, Path), RolloutQuery),
    responses((status = 200, body = Vec<Rollout>), (status = 404, body = Problem))
)]
async fn rollouts(
    State(delivery): State<Delivery>,
    project: InProject,
    Params(query): Params<RolloutQuery>,
) -> Answer<Json<Vec<Rollout>>> {
    let rows = rollout::store::list(&delivery.db, project.id, query.before, bounded(query.limit)).await?;
    let names = view::names(&delivery.environments(project.id).await?);
    let now = delivery.now();
    Ok(Json(
        rows.iter().map(|row| view::rollout(row, &names, now)).collect(),
    ))
}

/// One rollout.
#[utoipa::path(
    get, path = "/api/v1/projects/{group}/{project}/rollouts/{id}", tag = "delivery",
    params(("group" = String, Path), ("project" = String, Path), ("id" = String, Path)),
    responses((status = 200, body = Rollout), (status = 404, body = Problem))
)]
async fn rollout_of(
    State(delivery): State<Delivery>,
    project: InProject,
    at: PathOf<(String, String, RolloutId)>,
) -> Answer<Json<Rollout>> {
    Ok(Json(delivery.rollout_view(project.id, at.0.2).await?))
}

async fn act(
    delivery: &Delivery,
    who: &Who,
    project: &InProject,
    id: RolloutId,
    act: Act,
    body: &RolloutAct,
) -> Answer<Json<Rollout>> {
    delivery
        .act_on_rollout(who, project.id, id, act, &body.reason)
        .await?;
    Ok(Json(delivery.rollout_view(project.id, id).await?))
}

/// Give the new version all traffic now.
#[utoipa::path(
    post, path = "/api/v1/projects/{group}/{project}/rollouts/{id}/promote", tag = "delivery",
    params(("group" = String, Path), ("project" = String, Path), ("id" = String, Path)), request_body = RolloutAct,
    responses((status = 200, body = Rollout), (status = 409, body = Problem))
)]
async fn promote(
    State(delivery): State<Delivery>,
    who: Who,
    project: InProject,
    at: PathOf<(String, String, RolloutId)>,
    Body(body): Body<RolloutAct>,
) -> Answer<Json<Rollout>> {
    act(&delivery, &who, &project, at.0.2, Act::Promote, &body).await
}

/// Stay at the present step.
#[utoipa::path(
    post, path = "/api/v1/projects/{group}/{project}/rollouts/{id}/pause", tag = "delivery",
    params(("group" = String, Path), ("project" = String, Path), ("id" = String, Path)), request_body = RolloutAct,
    responses((status = 200, body = Rollout), (status = 409, body = Problem))
)]
async fn pause(
    State(delivery): State<Delivery>,
    who: Who,
    project: InProject,
    at: PathOf<(String, String, RolloutId)>,
    Body(body): Body<RolloutAct>,
) -> Answer<Json<Rollout>> {
    act(&delivery, &who, &project, at.0.2, Act::Pause, &body).await
}

/// Go on after a pause.
#[utoipa::path(
    post, path = "/api/v1/projects/{group}/{project}/rollouts/{id}/resume", tag = "delivery",
    params(("group" = String, Path), ("project" = String, Path), ("id" = String, Path)), request_body = RolloutAct,
    responses((status = 200, body = Rollout), (status = 409, body = Problem))
)]
async fn resume(
    State(delivery): State<Delivery>,
    who: Who,
    project: InProject,
    at: PathOf<(String, String, RolloutId)>,
    Body(body): Body<RolloutAct>,
) -> Answer<Json<Rollout>> {
    act(&delivery, &who, &project, at.0.2, Act::Resume, &body).await
}

/// Put all traffic back to the old version now.
#[utoipa::path(
    post, path = "/api/v1/projects/{group}/{project}/rollouts/{id}/abort", tag = "delivery",
    params(("group" = String, Path), ("project" = String, Path), ("id" = String, Path)), request_body = RolloutAct,
    responses((status = 200, body = Rollout), (status = 409, body = Problem))
)]
async fn abort(
    State(delivery): State<Delivery>,
    who: Who,
    project: InProject,
    at: PathOf<(String, String, RolloutId)>,
    Body(body): Body<RolloutAct>,
) -> Answer<Json<Rollout>> {
    act(&delivery, &who, &project, at.0.2, Act::Abort, &body).await
}
