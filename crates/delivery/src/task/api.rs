//! The JSON API of tasks, and the address at which agents leave their output.

use crate::{Delivery, api::bounded, fleet::certificates::Call};
use axum::{
    Json,
    body::Bytes,
    extract::State,
    response::{IntoResponse, Response},
};
use bascule_core::{Permission, Problem, TaskId};
use bascule_web::{Access, Answer, Body, InProject, MachineKind, Params, PathOf, Routes, Who, routes};
use bascule_wire::task::{NewTask, OutputAt, Task, TaskApproval};
use http::{StatusCode, header};
use serde::Deserialize;
use utoipa::IntoParams;

pub(crate) fn routes() -> Routes<Delivery> {
    let read = Access::Project(Permission::EnvironmentRead);
    let run = Access::Project(Permission::DeployProduction);
    Routes::new()
        .api(read, routes!(tasks))
        .api(run, routes!(ask))
        .api(read, routes!(task))
        // What a command writes may be anything that the product knows.
        .api(run, routes!(output))
        .api(read, routes!(approve))
        .api(run, routes!(cancel))
        .api(Access::Machine(MachineKind::Agent), routes!(add_output))
}

/// Which tasks.
#[derive(Debug, Deserialize, IntoParams)]
struct TaskQuery {
    /// Older than this one.
    before: Option<TaskId>,
    /// How many at most.
    limit: Option<i64>,
}

/// Tasks of a project, newest first.
#[utoipa::path(
    get, path = "/api/v1/projects/{group}/{project}/tasks", tag = "delivery",
    params(("group" = String, Path), ("project" = String, Path), TaskQuery),
    responses((status = 200, body = Vec<Task>), (status = 404, body = Problem))
)]
async fn tasks(
    State(delivery): State<Delivery>,
    project: InProject,
    Params(query): Params<TaskQuery>,
) -> Answer<Json<Vec<Task>>> {
    let tasks = delivery.tasks(project.id, query.before, bounded(query.limit));
    Ok(Json(tasks.await?))
}

/// Run a command once in an environment.
#[utoipa::path(
    post, path = "/api/v1/projects/{group}/{project}/tasks", tag = "delivery",
    params(("group" = String, Path), ("project" = String, Path)), request_body = NewTask,
    responses((status = 201, body = Task), (status = 409, body = Problem), (status = 422, body = Problem))
)]
async fn ask(
    State(delivery): State<Delivery>,
    who: Who,
    project: InProject,
    Body(new): Body<NewTask>,
) -> Answer<(StatusCode, Json<Task>)> {
    let id = delivery.ask_task(&who, project.id, &new).await?;
    Ok((
        StatusCode::CREATED,
        Json(delivery.task_view(project.id, id).await?),
    ))
}

/// One task.
#[utoipa::path(
    get, path = "/api/v1/projects/{group}/{project}/tasks/{id}", tag = "delivery",
    params(("group" = String, Path), ("project" = String, Path), ("id" = String, Path)),
    responses((status = 200, body = Task), (status = 404, body = Problem))
)]
async fn task(
    State(delivery): State<Delivery>,
    project: InProject,
    at: PathOf<(String, String, TaskId)>,
) -> Answer<Json<Task>> {
    Ok(Json(delivery.task_view(project.id, at.0.2).await?))
}

/// From which byte on.
#[derive(Clone, Copy, Debug, Deserialize, IntoParams)]
struct Offset {
    /// The first byte.
    #[serde(default)]
    offset: u64,
}

/// Some of what a task wrote, from a byte on; nothing where there is no more yet.
#[utoipa::path(
    get, path = "/api/v1/projects/{group}/{project}/tasks/{id}/output", tag = "delivery",
    params(("group" = String, Path), ("project" = String, Path), ("id" = String, Path), Offset),
    responses((status = 200, content_type = "application/octet-stream"), (status = 404, body = Problem))
)]
async fn output(
    State(delivery): State<Delivery>,
    project: InProject,
    at: PathOf<(String, String, TaskId)>,
    Params(from): Params<Offset>,
) -> Answer<Response> {
    let bytes = delivery.task_output(project.id, at.0.2, from.offset).await?;
    let kind = [(header::CONTENT_TYPE, "application/octet-stream")];
    Ok((kind, bytes).into_response())
}

/// Approve a task in a team's name.
#[utoipa::path(
    post, path = "/api/v1/projects/{group}/{project}/tasks/{id}/approve", tag = "delivery",
    params(("group" = String, Path), ("project" = String, Path), ("id" = String, Path)), request_body = TaskApproval,
    responses((status = 200, body = Task), (status = 403, body = Problem), (status = 409, body = Problem))
)]
async fn approve(
    State(delivery): State<Delivery>,
    who: Who,
    project: InProject,
    at: PathOf<(String, String, TaskId)>,
    Body(given): Body<TaskApproval>,
) -> Answer<Json<Task>> {
    delivery
        .approve_task(&who, project.id, at.0.2, &given.team)
        .await?;
    Ok(Json(delivery.task_view(project.id, at.0.2).await?))
}

/// Have a task ended, or not begun.
#[utoipa::path(
    post, path = "/api/v1/projects/{group}/{project}/tasks/{id}/cancel", tag = "delivery",
    params(("group" = String, Path), ("project" = String, Path), ("id" = String, Path)),
    responses((status = 200, body = Task), (status = 409, body = Problem))
)]
async fn cancel(
    State(delivery): State<Delivery>,
    who: Who,
    project: InProject,
    at: PathOf<(String, String, TaskId)>,
) -> Answer<Json<Task>> {
    delivery.cancel_task(&who, project.id, at.0.2).await?;
    Ok(Json(delivery.task_view(project.id, at.0.2).await?))
}

/// Add to a task's output.
#[utoipa::path(
    post, path = "/api/v1/agent/tasks/{id}/output", tag = "agent", params(("id" = String, Path), Offset),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 200, body = OutputAt), (status = 401, body = Problem), (status = 404, body = Problem))
)]
async fn add_output(
    State(delivery): State<Delivery>,
    call: Call,
    PathOf(id): PathOf<String>,
    Params(from): Params<Offset>,
    body: Bytes,
) -> Answer<Json<OutputAt>> {
    let agent = delivery.agent_calling(&call).await?;
    let id: TaskId = id.parse().map_err(|_| Problem::not_found("task"))?;
    Ok(Json(
        delivery.add_task_output(&agent, id, from.offset, &body).await?,
    ))
}
