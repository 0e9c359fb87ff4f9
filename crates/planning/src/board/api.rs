//! JSON handlers.

use crate::Planning;
use axum::{Json, extract::State};
use bascule_core::Permission;
use bascule_web::{Access, Answer, Body, InGroup, InProject, PathOf, Routes, Who, routes};
use bascule_wire::planning::{Availability, Board, BoardSettings};
use serde::Deserialize;

pub(crate) fn routes() -> Routes<Planning> {
    Routes::new()
        .api(Access::Project(Permission::IssueRead), routes!(show))
        .api(Access::Project(Permission::ProjectManage), routes!(set))
        .api(Access::Project(Permission::IssueCreate), routes!(availability))
        .api(Access::Group(Permission::GroupView), routes!(show_group))
}

/// A project's board.
#[utoipa::path(get, path = "/api/v1/projects/{group}/{project}/board", tag = "planning",
    params(("group" = String, Path), ("project" = String, Path)), responses((status = 200, body = Board)))]
async fn show(State(planning): State<Planning>, who: Who, project: InProject) -> Answer<Json<Board>> {
    Ok(Json(planning.board(&who, &project).await?.board))
}

/// Sets what the board does beyond its limit of work in progress.
#[utoipa::path(put, path = "/api/v1/projects/{group}/{project}/board", tag = "planning",
    params(("group" = String, Path), ("project" = String, Path)), request_body = BoardSettings,
    responses((status = 200, body = Board)))]
async fn set(
    State(planning): State<Planning>,
    who: Who,
    project: InProject,
    Body(settings): Body<BoardSettings>,
) -> Answer<Json<Board>> {
    planning.set_wip(&who, &project, settings.wip).await?;
    Ok(Json(planning.board(&who, &project).await?.board))
}

#[derive(Debug, Deserialize)]
struct MemberPath {
    username: String,
}

/// Says whether a member is there.
#[utoipa::path(put, path = "/api/v1/projects/{group}/{project}/board/members/{username}", tag = "planning",
    params(("group" = String, Path), ("project" = String, Path), ("username" = String, Path)),
    request_body = Availability, responses((status = 200, body = Board)))]
async fn availability(
    State(planning): State<Planning>,
    who: Who,
    project: InProject,
    PathOf(path): PathOf<MemberPath>,
    Body(availability): Body<Availability>,
) -> Answer<Json<Board>> {
    planning
        .set_availability(&who, &project, &path.username, &availability)
        .await?;
    Ok(Json(planning.board(&who, &project).await?.board))
}

/// The board over a group's projects.
#[utoipa::path(get, path = "/api/v1/groups/{group}/board", tag = "planning", params(("group" = String, Path)),
    responses((status = 200, body = Board)))]
async fn show_group(State(planning): State<Planning>, who: Who, group: InGroup) -> Answer<Json<Board>> {
    Ok(Json(planning.group_board(&who, &group).await?.board))
}
