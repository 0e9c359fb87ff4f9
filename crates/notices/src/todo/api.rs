//! JSON handlers.

use super::Filter;
use crate::Notices;
use axum::{Json, extract::State};
use bascule_core::{Problem, TodoId};
use bascule_web::{Access, Answer, Params, PathOf, Routes, Who, routes};
use bascule_wire::notices::{Todos, TodosDone};
use http::StatusCode;

pub(crate) fn routes() -> Routes<Notices> {
    Routes::new()
        .api(Access::SignedIn, routes!(list))
        .api(Access::SignedIn, routes!(finish_all))
        .api(Access::SignedIn, routes!(finish))
}

/// What waits for you, newest first.
#[utoipa::path(get, path = "/api/v1/todos", tag = "notices",
    params(("state" = Option<String>, Query, description = "`waiting` (default) or `done`"),
        ("action" = Option<String>, Query, description = "One reason, such as `mentioned`"),
        ("type" = Option<String>, Query, description = "`issue` or `merge_request`"),
        ("project" = Option<String>, Query, description = "`group/project`"),
        ("before" = Option<String>, Query, description = "`next` of the page before"),
        ("limit" = Option<i64>, Query, description = "20 if left out, 200 at most")),
    responses((status = 200, body = Todos), (status = 422, body = Problem)))]
async fn list(
    State(notices): State<Notices>,
    who: Who,
    Params(filter): Params<Filter>,
) -> Answer<Json<Todos>> {
    Ok(Json(notices.todos(&who, &filter).await?))
}

/// Marks one done.
#[utoipa::path(post, path = "/api/v1/todos/{id}/done", tag = "notices", params(("id" = String, Path)),
    responses((status = 204), (status = 404, body = Problem)))]
async fn finish(State(notices): State<Notices>, who: Who, PathOf(id): PathOf<TodoId>) -> Answer<StatusCode> {
    notices.finish_todo(&who, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Marks all done that wait; with a filter, those that it leaves.
#[utoipa::path(post, path = "/api/v1/todos/done", tag = "notices",
    params(("action" = Option<String>, Query), ("type" = Option<String>, Query), ("project" = Option<String>, Query)),
    responses((status = 200, body = TodosDone), (status = 422, body = Problem)))]
async fn finish_all(
    State(notices): State<Notices>,
    who: Who,
    Params(filter): Params<Filter>,
) -> Answer<Json<TodosDone>> {
    let done = notices.finish_todos(&who, &filter).await?;
    Ok(Json(TodosDone { done }))
}
