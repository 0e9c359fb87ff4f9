//! The addresses that agents and edges call.

use super::certificates::Call;
use crate::Delivery;
use axum::{
    body::Body as Bytes,
    extract::State,
    response::{IntoResponse, Response},
};
use bascule_core::{Digest, Problem};
use bascule_web::{Access, Answer, Body, Failure, MachineKind, Params, PathOf, Routes, routes};
use bascule_wire::{
    agent::{AgentReport, DesiredState, PullSecret},
    edge::{EdgeConfig, ListenerReport, Slice},
    fleet::{Certified, Myself, Renew},
};
use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use std::time::Duration;
use utoipa::IntoParams;

pub(crate) fn routes() -> Routes<Delivery> {
    let agent = Access::Machine(MachineKind::Agent);
    let edge = Access::Machine(MachineKind::Edge);
    Routes::new()
        .api(agent, routes!(sync))
        .api(agent, routes!(artifact))
        .api(agent, routes!(myself))
        .api(agent, routes!(renew))
        .api(agent, routes!(pull_secret))
        .api(edge, routes!(config))
        .api(edge, routes!(listeners))
        .api(edge, routes!(counts))
}

/// Which revision the caller has, and how long it would wait for another.
#[derive(Clone, Copy, Debug, Deserialize, IntoParams)]
struct Known {
    /// The revision in force at the caller; 0 at its start.
    #[serde(default)]
    revision: i64,
    /// Seconds to wait for another one.
    #[serde(default)]
    wait: u64,
}

/// What an agent asks.
#[derive(Clone, Copy, Debug, Deserialize, IntoParams)]
struct Asked {
    /// The revision in force at the caller; 0 at its start.
    #[serde(default)]
    revision: i64,
    /// Seconds to wait for another one.
    #[serde(default)]
    wait: u64,
    /// Answer 204 where there is nothing of another revision.
    #[serde(default)]
    brief: bool,
}

pub(crate) fn bearer(headers: &HeaderMap) -> Result<&str, Failure> {
    let value = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let token = value
        .split_once(' ')
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    match token {
        Some((_, token)) if !token.trim().is_empty() => Ok(token.trim()),
        _ => Err(Problem::unauthenticated().into()),
    }
}

/// Report what runs; learn what should run.
#[utoipa::path(
    post, path = "/api/v1/agent/sync", tag = "agent", params(Asked), request_body = AgentReport,
    responses((status = 200, body = DesiredState), (status = 204), (status = 401, body = Problem))
)]
async fn sync(
    State(delivery): State<Delivery>,
    call: Call,
    Params(asked): Params<Asked>,
    Body(report): Body<AgentReport>,
) -> Answer<Response> {
    let agent = delivery.agent_calling(&call).await?;
    let wait = Duration::from_secs(asked.wait);
    let revision = delivery.hear_agent(&agent, &report, asked.revision, wait).await?;
    if asked.brief && revision == asked.revision {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    Ok(axum::Json(delivery.desired_of(&agent, revision).await?).into_response())
}

/// Fetch an artifact that this agent runs.
#[utoipa::path(
    get, path = "/api/v1/agent/artifacts/{digest}", tag = "agent", params(("digest" = String, Path)),
    responses((status = 200, content_type = "application/octet-stream"), (status = 404, body = Problem))
)]
async fn artifact(
    State(delivery): State<Delivery>,
    call: Call,
    PathOf(digest): PathOf<String>,
) -> Answer<Response> {
    let agent = delivery.agent_calling(&call).await?;
    let digest: Digest = digest
        .parse()
        .map_err(|why: String| Problem::bad_request("bad_digest", why))?;
    let stream = delivery.artifact_for(&agent, &digest).await?;
    let kind = [(header::CONTENT_TYPE, "application/octet-stream")];
    Ok((kind, Bytes::from_stream(stream)).into_response())
}

/// Get a secret by which a cluster pulls the images that this agent runs, and no others. The one before it ends.
#[utoipa::path(
    post, path = "/api/v1/agent/pull-secret", tag = "agent",
    responses((status = 200, body = PullSecret), (status = 401, body = Problem))
)]
async fn pull_secret(State(delivery): State<Delivery>, call: Call) -> Answer<axum::Json<PullSecret>> {
    let agent = delivery.agent_calling(&call).await?;
    Ok(axum::Json(delivery.new_pull_secret(&agent).await?))
}

/// Learn what to serve. Asking with a revision says that it is in force.
#[utoipa::path(
    get, path = "/api/v1/edge/config", tag = "edge", params(Known),
    responses((status = 200, body = EdgeConfig), (status = 401, body = Problem))
)]
async fn config(
    State(delivery): State<Delivery>,
    call: Call,
    Params(known): Params<Known>,
) -> Answer<axum::Json<EdgeConfig>> {
    let edge = delivery.edge_calling(&call).await?;
    let wait = Duration::from_secs(known.wait);
    Ok(axum::Json(
        delivery.edge_config(&edge, known.revision, wait).await?,
    ))
}

/// Tell where what is served.
#[utoipa::path(
    post, path = "/api/v1/edge/listeners", tag = "edge", request_body = Vec<ListenerReport>,
    responses((status = 204), (status = 401, body = Problem))
)]
async fn listeners(
    State(delivery): State<Delivery>,
    call: Call,
    Body(reports): Body<Vec<ListenerReport>>,
) -> Answer<StatusCode> {
    delivery.edge_calling(&call).await?;
    delivery.take_listeners(&reports).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Tell what was counted, one slice per instance and second. The same slice may be sent twice.
#[utoipa::path(
    post, path = "/api/v1/edge/counts", tag = "edge", request_body = Vec<Slice>,
    responses((status = 204), (status = 401, body = Problem))
)]
async fn counts(
    State(delivery): State<Delivery>,
    call: Call,
    Body(slices): Body<Vec<Slice>>,
) -> Answer<StatusCode> {
    let edge = delivery.edge_calling(&call).await?;
    delivery.take_counts(&edge, &slices).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Who the agent's token and certificate stand for.
#[utoipa::path(
    get, path = "/api/v1/agent/self", tag = "agent",
    responses((status = 200, body = Myself), (status = 401, body = Problem), (status = 403, body = Problem))
)]
async fn myself(State(delivery): State<Delivery>, call: Call) -> Answer<axum::Json<Myself>> {
    Ok(axum::Json(delivery.who_calls(&call).await?))
}

/// Get the certificate that follows the one that the call is made with, for a new key.
#[utoipa::path(
    post, path = "/api/v1/agent/certificate", tag = "agent", request_body = Renew,
    responses((status = 201, body = Certified), (status = 403, body = Problem), (status = 422, body = Problem))
)]
async fn renew(
    State(delivery): State<Delivery>,
    call: Call,
    Body(asked): Body<Renew>,
) -> Answer<(StatusCode, axum::Json<Certified>)> {
    let certified = delivery.renew_certificate(&call, &asked).await?;
    Ok((StatusCode::CREATED, axum::Json(certified)))
}
