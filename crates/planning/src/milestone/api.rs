//! JSON handlers.

use super::service::Place;
use crate::Planning;
use axum::{Json, extract::State};
use bascule_core::{Permission, Problem};
use bascule_web::{Access, Answer, Body, InGroup, InProject, PathOf, Routes, Who, routes};
use bascule_wire::planning::{MilestoneChange, MilestoneDetails, Milestones, NewMilestone};
use http::StatusCode;
use serde::Deserialize;

pub(crate) fn routes() -> Routes<Planning> {
    let read = Access::Project(Permission::IssueRead);
    let manage = Access::Project(Permission::IssueManage);
    let view = Access::Group(Permission::GroupView);
    let group = Access::Group(Permission::IssueManage);
    Routes::new()
        .api(read, routes!(list))
        .api(manage, routes!(create))
        .api(read, routes!(one))
        .api(manage, routes!(change))
        .api(view, routes!(list_group))
        .api(group, routes!(create_group))
        .api(view, routes!(one_group))
        .api(group, routes!(change_group))
}

#[derive(Debug, Deserialize)]
pub(super) struct NumberPath {
    number: String,
}

impl NumberPath {
    pub(super) fn number(&self) -> Result<i64, Problem> {
        self.number.parse().map_err(|_| Problem::not_found("milestone"))
    }
}

/// Milestones of a project and its group, open ones first.
#[utoipa::path(get, path = "/api/v1/projects/{group}/{project}/milestones", tag = "planning",
    params(("group" = String, Path), ("project" = String, Path)), responses((status = 200, body = Milestones)))]
async fn list(State(planning): State<Planning>, who: Who, project: InProject) -> Answer<Json<Milestones>> {
    let items = planning.milestones(&who, Place::Project(&project)).await?;
    Ok(Json(Milestones { items }))
}

/// Makes a milestone.
#[utoipa::path(post, path = "/api/v1/projects/{group}/{project}/milestones", tag = "planning",
    params(("group" = String, Path), ("project" = String, Path)), request_body = NewMilestone,
    responses((status = 201, body = MilestoneDetails)))]
async fn create(
    State(planning): State<Planning>,
    who: Who,
    project: InProject,
    Body(new): Body<NewMilestone>,
) -> Answer<(StatusCode, Json<MilestoneDetails>)> {
    let place = Place::Project(&project);
    let number = planning.create_milestone(&who, place, &new).await?;
    Ok((
        StatusCode::CREATED,
        Json(planning.milestone(&who, place, number).await?),
    ))
}

/// One milestone of the project, with its days and issues.
#[utoipa::path(get, path = "/api/v1/projects/{group}/{project}/milestones/{number}", tag = "planning",
    params(("group" = String, Path), ("project" = String, Path), ("number" = i64, Path)),
    responses((status = 200, body = MilestoneDetails)))]
async fn one(
    State(planning): State<Planning>,
    who: Who,
    project: InProject,
    PathOf(path): PathOf<NumberPath>,
) -> Answer<Json<MilestoneDetails>> {
    Ok(Json(
        planning
            .milestone(&who, Place::Project(&project), path.number()?)
            .await?,
    ))
}

/// Changes a milestone of the project, closes it, or opens it again.
#[utoipa::path(patch, path = "/api/v1/projects/{group}/{project}/milestones/{number}", tag = "planning",
    params(("group" = String, Path), ("project" = String, Path), ("number" = i64, Path)),
    request_body = MilestoneChange, responses((status = 200, body = MilestoneDetails)))]
async fn change(
    State(planning): State<Planning>,
    who: Who,
    project: InProject,
    PathOf(path): PathOf<NumberPath>,
    Body(change): Body<MilestoneChange>,
) -> Answer<Json<MilestoneDetails>> {
    let (place, number) = (Place::Project(&project), path.number()?);
    planning.change_milestone(&who, place, number, &change).await?;
    Ok(Json(planning.milestone(&who, place, number).await?))
}

/// Milestones of a group, open ones first.
#[utoipa::path(get, path = "/api/v1/groups/{group}/milestones", tag = "planning", params(("group" = String, Path)),
    responses((status = 200, body = Milestones)))]
async fn list_group(State(planning): State<Planning>, who: Who, group: InGroup) -> Answer<Json<Milestones>> {
    let items = planning.milestones(&who, Place::Group(&group)).await?;
    Ok(Json(Milestones { items }))
}

/// Makes a milestone of the group, for all its projects.
#[utoipa::path(post, path = "/api/v1/groups/{group}/milestones", tag = "planning", params(("group" = String, Path)),
    request_body = NewMilestone, responses((status = 201, body = MilestoneDetails)))]
async fn create_group(
    State(planning): State<Planning>,
    who: Who,
    group: InGroup,
    Body(new): Body<NewMilestone>,
) -> Answer<(StatusCode, Json<MilestoneDetails>)> {
    let place = Place::Group(&group);
    let number = planning.create_milestone(&who, place, &new).await?;
    Ok((
        StatusCode::CREATED,
        Json(planning.milestone(&who, place, number).await?),
    ))
}

/// One milestone of the group, with its days and issues.
#[utoipa::path(get, path = "/api/v1/groups/{group}/milestones/{number}", tag = "planning",
    params(("group" = String, Path), ("number" = i64, Path)), responses((status = 200, body = MilestoneDetails)))]
async fn one_group(
    State(planning): State<Planning>,
    who: Who,
    group: InGroup,
    PathOf(path): PathOf<NumberPath>,
) -> Answer<Json<MilestoneDetails>> {
    Ok(Json(
        planning
            .milestone(&who, Place::Group(&group), path.number()?)
            .await?,
    ))
}

/// Changes a milestone of the group, closes it, or opens it again.
#[utoipa::path(patch, path = "/api/v1/groups/{group}/milestones/{number}", tag = "planning",
    params(("group" = String, Path), ("number" = i64, Path)), request_body = MilestoneChange,
    responses((status = 200, body = MilestoneDetails)))]
async fn change_group(
    State(planning): State<Planning>,
    who: Who,
    group: InGroup,
    PathOf(path): PathOf<NumberPath>,
    Body(change): Body<MilestoneChange>,
) -> Answer<Json<MilestoneDetails>> {
    let (place, number) = (Place::Group(&group), path.number()?);
    planning.change_milestone(&who, place, number, &change).await?;
    Ok(Json(planning.milestone(&who, place, number).await?))
}
