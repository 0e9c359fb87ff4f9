//! JSON handlers.

use super::list::Asked;
use crate::{Planning, board::path_of};
use axum::{Json, extract::State};
use bascule_core::{Permission, Problem, ProjectScope};
use bascule_web::{Access, Answer, Body, InGroup, InProject, Params, PathOf, Routes, Who, routes};
use bascule_wire::planning::{
    IssueChange, IssueDetails, IssuePage, IssueTemplates, LinkIssue, MoveIssue, NewIssue, NewIssueComment,
};
use http::StatusCode;
use serde::Deserialize;

pub(crate) fn routes() -> Routes<Planning> {
    let read = Access::Project(Permission::IssueRead);
    let speak = Access::Project(Permission::IssueCreate);
    let manage = Access::Project(Permission::IssueManage);
    Routes::new()
        .api(read, routes!(list))
        .api(speak, routes!(open))
        .api(read, routes!(one))
        .api(speak, routes!(change))
        .api(manage, routes!(move_to))
        .api(speak, routes!(close))
        .api(speak, routes!(reopen))
        .api(speak, routes!(comment))
        .api(manage, routes!(link))
        .api(manage, routes!(part))
        .api(read, routes!(templates))
        .api(Access::Group(Permission::GroupView), routes!(list_group))
}

#[derive(Debug, Deserialize)]
pub(crate) struct NumberPath {
    number: String,
}

impl NumberPath {
    pub(crate) fn number(&self) -> Result<i64, Problem> {
        self.number.parse().map_err(|_| Problem::not_found("issue"))
    }
}

/// Issues of a project that the caller may see.
#[utoipa::path(get, path = "/api/v1/projects/{group}/{project}/issues", tag = "planning",
    params(("group" = String, Path), ("project" = String, Path), Asked), responses((status = 200, body = IssuePage)))]
async fn list(
    State(planning): State<Planning>,
    who: Who,
    project: InProject,
    Params(asked): Params<Asked>,
) -> Answer<Json<IssuePage>> {
    Ok(Json(planning.page(&who, &project, &asked).await?))
}

/// Issues of all projects of a group that the caller may see.
#[utoipa::path(get, path = "/api/v1/groups/{group}/issues", tag = "planning", params(("group" = String, Path), Asked),
    responses((status = 200, body = IssuePage)))]
async fn list_group(
    State(planning): State<Planning>,
    who: Who,
    group: InGroup,
    Params(asked): Params<Asked>,
) -> Answer<Json<IssuePage>> {
    let (issues, next, scopes) = planning.list_group(&who, &group, &asked).await?;
    let items = issues
        .iter()
        .map(|issue| issue.summary(&path_of(&scopes, issue)))
        .collect();
    Ok(Json(IssuePage { items, next }))
}

/// Opens an issue. Labels, assignees, milestone and day need a reporter.
#[utoipa::path(post, path = "/api/v1/projects/{group}/{project}/issues", tag = "planning",
    params(("group" = String, Path), ("project" = String, Path)), request_body = NewIssue,
    responses((status = 201, body = IssueDetails)))]
async fn open(
    State(planning): State<Planning>,
    who: Who,
    project: InProject,
    Body(new): Body<NewIssue>,
) -> Answer<(StatusCode, Json<IssueDetails>)> {
    let number = planning.open(&who, &project, new).await?;
    Ok((
        StatusCode::CREATED,
        Json(planning.details(&who, &project, number).await?),
    ))
}

/// One issue, with links, comments and what happened.
#[utoipa::path(get, path = "/api/v1/projects/{group}/{project}/issues/{number}", tag = "planning",
    params(("group" = String, Path), ("project" = String, Path), ("number" = i64, Path)),
    responses((status = 200, body = IssueDetails)))]
async fn one(
    State(planning): State<Planning>,
    who: Who,
    project: InProject,
    PathOf(path): PathOf<NumberPath>,
) -> Answer<Json<IssueDetails>> {
    answer(&planning, &who, &project, path.number()?, Vec::new()).await
}

async fn answer(
    planning: &Planning,
    who: &Who,
    project: &ProjectScope,
    number: i64,
    warnings: Vec<String>,
) -> Answer<Json<IssueDetails>> {
    let details = planning.details(who, project, number).await?;
    Ok(Json(IssueDetails { warnings, ..details }))
}

/// Changes an issue. Its author may change title and description; the rest needs a reporter.
#[utoipa::path(patch, path = "/api/v1/projects/{group}/{project}/issues/{number}", tag = "planning",
    params(("group" = String, Path), ("project" = String, Path), ("number" = i64, Path)), request_body = IssueChange,
    responses((status = 200, body = IssueDetails)))]
async fn change(
    State(planning): State<Planning>,
    who: Who,
    project: InProject,
    PathOf(path): PathOf<NumberPath>,
    Body(change): Body<IssueChange>,
) -> Answer<Json<IssueDetails>> {
    let number = path.number()?;
    planning.change(&who, &project, number, &change).await?;
    answer(&planning, &who, &project, number, Vec::new()).await
}

/// Moves an issue to a column, to a place in the order, or both.
#[utoipa::path(post, path = "/api/v1/projects/{group}/{project}/issues/{number}/move", tag = "planning",
    params(("group" = String, Path), ("project" = String, Path), ("number" = i64, Path)), request_body = MoveIssue,
    responses((status = 200, body = IssueDetails)))]
async fn move_to(
    State(planning): State<Planning>,
    who: Who,
    project: InProject,
    PathOf(path): PathOf<NumberPath>,
    Body(wanted): Body<MoveIssue>,
) -> Answer<Json<IssueDetails>> {
    let number = path.number()?;
    let warnings = planning.move_issue(&who, &project, number, &wanted).await?;
    answer(&planning, &who, &project, number, warnings).await
}

/// Closes an issue: its author may, and reporters.
#[utoipa::path(post, path = "/api/v1/projects/{group}/{project}/issues/{number}/close", tag = "planning",
    params(("group" = String, Path), ("project" = String, Path), ("number" = i64, Path)),
    responses((status = 200, body = IssueDetails)))]
async fn close(
    State(planning): State<Planning>,
    who: Who,
    project: InProject,
    PathOf(path): PathOf<NumberPath>,
) -> Answer<Json<IssueDetails>> {
    let number = path.number()?;
    planning.set_open(&who, &project, number, false).await?;
    answer(&planning, &who, &project, number, Vec::new()).await
}

/// Opens a closed issue again: its author may, and reporters.
#[utoipa::path(post, path = "/api/v1/projects/{group}/{project}/issues/{number}/reopen", tag = "planning",
    params(("group" = String, Path), ("project" = String, Path), ("number" = i64, Path)),
    responses((status = 200, body = IssueDetails)))]
async fn reopen(
    State(planning): State<Planning>,
    who: Who,
    project: InProject,
    PathOf(path): PathOf<NumberPath>,
) -> Answer<Json<IssueDetails>> {
    let number = path.number()?;
    planning.set_open(&who, &project, number, true).await?;
    answer(&planning, &who, &project, number, Vec::new()).await
}

/// Comments, in Markdown.
#[utoipa::path(post, path = "/api/v1/projects/{group}/{project}/issues/{number}/comments", tag = "planning",
    params(("group" = String, Path), ("project" = String, Path), ("number" = i64, Path)),
    request_body = NewIssueComment, responses((status = 201, body = IssueDetails)))]
async fn comment(
    State(planning): State<Planning>,
    who: Who,
    project: InProject,
    PathOf(path): PathOf<NumberPath>,
    Body(new): Body<NewIssueComment>,
) -> Answer<(StatusCode, Json<IssueDetails>)> {
    let number = path.number()?;
    planning.comment(&who, &project, number, &new).await?;
    Ok((
        StatusCode::CREATED,
        answer(&planning, &who, &project, number, Vec::new()).await?,
    ))
}

/// Links an issue to another.
#[utoipa::path(post, path = "/api/v1/projects/{group}/{project}/issues/{number}/links", tag = "planning",
    params(("group" = String, Path), ("project" = String, Path), ("number" = i64, Path)), request_body = LinkIssue,
    responses((status = 200, body = IssueDetails)))]
async fn link(
    State(planning): State<Planning>,
    who: Who,
    project: InProject,
    PathOf(path): PathOf<NumberPath>,
    Body(link): Body<LinkIssue>,
) -> Answer<Json<IssueDetails>> {
    let number = path.number()?;
    planning.link(&who, &project, number, &link, false).await?;
    answer(&planning, &who, &project, number, Vec::new()).await
}

/// Takes a link away.
#[utoipa::path(post, path = "/api/v1/projects/{group}/{project}/issues/{number}/unlink", tag = "planning",
    params(("group" = String, Path), ("project" = String, Path), ("number" = i64, Path)), request_body = LinkIssue,
    responses((status = 200, body = IssueDetails)))]
async fn part(
    State(planning): State<Planning>,
    who: Who,
    project: InProject,
    PathOf(path): PathOf<NumberPath>,
    Body(link): Body<LinkIssue>,
) -> Answer<Json<IssueDetails>> {
    let number = path.number()?;
    planning.link(&who, &project, number, &link, true).await?;
    answer(&planning, &who, &project, number, Vec::new()).await
}

/// Templates for new issues, from `.bascule/issue_templates` and `.gitlab/issue_templates`.
#[utoipa::path(get, path = "/api/v1/projects/{group}/{project}/issue-templates", tag = "planning",
    params(("group" = String, Path), ("project" = String, Path)), responses((status = 200, body = IssueTemplates)))]
async fn templates(State(planning): State<Planning>, project: InProject) -> Answer<Json<IssueTemplates>> {
    let items = planning.templates(project.id).await?;
    Ok(Json(IssueTemplates { items }))
}
