//! JSON handlers.

use super::store::Owner;
use crate::Planning;
use axum::{Json, extract::State};
use bascule_core::{GroupScope, Permission, ProjectScope};
use bascule_web::{Access, Answer, Body, InGroup, InProject, PathOf, Routes, Who, routes};
use bascule_wire::planning::{Label, LabelChange, Labels, NewLabel};
use http::StatusCode;
use serde::Deserialize;

pub(crate) fn routes() -> Routes<Planning> {
    let read = Access::Project(Permission::IssueRead);
    let manage = Access::Project(Permission::IssueManage);
    Routes::new()
        .api(read, routes!(list))
        .api(manage, routes!(create))
        .api(manage, routes!(change, delete))
        .api(read, routes!(subscribe, unsubscribe))
        .api(Access::Group(Permission::GroupView), routes!(list_group))
        .api(Access::Group(Permission::IssueManage), routes!(create_group))
        .api(
            Access::Group(Permission::IssueManage),
            routes!(change_group, delete_group),
        )
}

impl From<&ProjectScope> for Owner {
    fn from(scope: &ProjectScope) -> Self {
        Self::Project(scope.id, scope.group_id)
    }
}

impl From<&GroupScope> for Owner {
    fn from(scope: &GroupScope) -> Self {
        Self::Group(scope.id)
    }
}

#[derive(Debug, Deserialize)]
struct LabelPath {
    name: String,
}

/// Labels of a project and its group.
#[utoipa::path(get, path = "/api/v1/projects/{group}/{project}/labels", tag = "planning",
    params(("group" = String, Path), ("project" = String, Path)), responses((status = 200, body = Labels)))]
async fn list(State(planning): State<Planning>, who: Who, project: InProject) -> Answer<Json<Labels>> {
    let items = planning.labels(&who, (&*project).into()).await?;
    Ok(Json(Labels { items }))
}

/// Makes a label.
#[utoipa::path(post, path = "/api/v1/projects/{group}/{project}/labels", tag = "planning",
    params(("group" = String, Path), ("project" = String, Path)), request_body = NewLabel,
    responses((status = 201, body = Label)))]
async fn create(
    State(planning): State<Planning>,
    who: Who,
    project: InProject,
    Body(new): Body<NewLabel>,
) -> Answer<(StatusCode, Json<Label>)> {
    let made = planning
        .create_label(&who, (&*project).into(), Some(&project), &new)
        .await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// Changes a label of the project.
#[utoipa::path(patch, path = "/api/v1/projects/{group}/{project}/labels/{name}", tag = "planning",
    params(("group" = String, Path), ("project" = String, Path), ("name" = String, Path)), request_body = LabelChange,
    responses((status = 200, body = Label)))]
async fn change(
    State(planning): State<Planning>,
    who: Who,
    project: InProject,
    PathOf(path): PathOf<LabelPath>,
    Body(change): Body<LabelChange>,
) -> Answer<Json<Label>> {
    let owner = (&*project).into();
    Ok(Json(
        planning
            .change_label(&who, owner, Some(&project), &path.name, &change)
            .await?,
    ))
}

/// Removes a label of the project, also from its issues.
#[utoipa::path(delete, path = "/api/v1/projects/{group}/{project}/labels/{name}", tag = "planning",
    params(("group" = String, Path), ("project" = String, Path), ("name" = String, Path)), responses((status = 204)))]
async fn delete(
    State(planning): State<Planning>,
    who: Who,
    project: InProject,
    PathOf(path): PathOf<LabelPath>,
) -> Answer<StatusCode> {
    planning
        .delete_label(&who, (&*project).into(), Some(&project), &path.name)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lets the caller hear of issues that get a label.
#[utoipa::path(put, path = "/api/v1/projects/{group}/{project}/labels/{name}/subscription", tag = "planning",
    params(("group" = String, Path), ("project" = String, Path), ("name" = String, Path)), responses((status = 204)))]
async fn subscribe(
    State(planning): State<Planning>,
    who: Who,
    project: InProject,
    PathOf(path): PathOf<LabelPath>,
) -> Answer<StatusCode> {
    planning
        .subscribe_label(&who, (&*project).into(), &path.name, true)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends that.
#[utoipa::path(delete, path = "/api/v1/projects/{group}/{project}/labels/{name}/subscription", tag = "planning",
    params(("group" = String, Path), ("project" = String, Path), ("name" = String, Path)), responses((status = 204)))]
async fn unsubscribe(
    State(planning): State<Planning>,
    who: Who,
    project: InProject,
    PathOf(path): PathOf<LabelPath>,
) -> Answer<StatusCode> {
    planning
        .subscribe_label(&who, (&*project).into(), &path.name, false)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Labels of a group.
#[utoipa::path(get, path = "/api/v1/groups/{group}/labels", tag = "planning", params(("group" = String, Path)),
    responses((status = 200, body = Labels)))]
async fn list_group(State(planning): State<Planning>, who: Who, group: InGroup) -> Answer<Json<Labels>> {
    let items = planning.labels(&who, (&*group).into()).await?;
    Ok(Json(Labels { items }))
}

/// Makes a label of the group, for all its projects.
#[utoipa::path(post, path = "/api/v1/groups/{group}/labels", tag = "planning", params(("group" = String, Path)),
    request_body = NewLabel, responses((status = 201, body = Label)))]
async fn create_group(
    State(planning): State<Planning>,
    who: Who,
    group: InGroup,
    Body(new): Body<NewLabel>,
) -> Answer<(StatusCode, Json<Label>)> {
    let made = planning.create_label(&who, (&*group).into(), None, &new).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// Changes a label of the group.
#[utoipa::path(patch, path = "/api/v1/groups/{group}/labels/{name}", tag = "planning",
    params(("group" = String, Path), ("name" = String, Path)), request_body = LabelChange,
    responses((status = 200, body = Label)))]
async fn change_group(
    State(planning): State<Planning>,
    who: Who,
    group: InGroup,
    PathOf(path): PathOf<LabelPath>,
    Body(change): Body<LabelChange>,
) -> Answer<Json<Label>> {
    Ok(Json(
        planning
            .change_label(&who, (&*group).into(), None, &path.name, &change)
            .await?,
    ))
}

/// Removes a label of the group, also from its projects' issues.
#[utoipa::path(delete, path = "/api/v1/groups/{group}/labels/{name}", tag = "planning",
    params(("group" = String, Path), ("name" = String, Path)), responses((status = 204)))]
async fn delete_group(
    State(planning): State<Planning>,
    who: Who,
    group: InGroup,
    PathOf(path): PathOf<LabelPath>,
) -> Answer<StatusCode> {
    planning
        .delete_label(&who, (&*group).into(), None, &path.name)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
