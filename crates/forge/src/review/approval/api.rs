//! Approvals, reviewers and what a project asks of reviews, as JSON.

use crate::{Forge, ProjectInfo, merge_request::MergeRequest};
use axum::{extract::State, response::IntoResponse as _};
use bascule_core::{Caller, Permission, Problem, ProjectScope, Result};
use bascule_web::{Access, Answer, Body, InProject, PathOf, Routes, Who, routes};
use bascule_wire::review as wire;

pub(crate) fn routes() -> Routes<Forge> {
    let see = Access::Project(Permission::CodeRead);
    let approve = Access::Project(Permission::MergeRequestApprove);
    Routes::new()
        .api(see, routes!(show))
        .api(approve, routes!(give))
        .api(approve, routes!(withdraw))
        .api(Access::Project(Permission::MergeRequestWrite), routes!(people))
        .api(Access::Project(Permission::MergeRequestWrite), routes!(dismiss))
        .api(see, routes!(suggested))
        .api(see, routes!(settings))
        .api(Access::Project(Permission::ProjectManage), routes!(set_settings))
}

impl Forge {
    /// What is approved and what is missing, as the API tells it.
    pub(crate) async fn approvals_wire(
        &self,
        caller: &Caller,
        scope: &ProjectScope,
        project: &ProjectInfo,
        request: &MergeRequest,
    ) -> Result<wire::Approvals> {
        let weighed = self.weigh_approvals(project, request).await?;
        let barred = weighed.may_approve(caller, scope, request, &request.head);
        Ok(wire::Approvals {
            approved: weighed.verdict.met(),
            head: request.head.clone(),
            approvers: weighed.verdict.approvers.clone(),
            rules: weighed
                .verdict
                .outcomes
                .iter()
                .map(|outcome| wire::ApprovalOutcome {
                    name: outcome.name.clone(),
                    why: outcome.why.clone(),
                    optional: outcome.optional,
                    required: outcome.required,
                    given: outcome.given.clone(),
                    missing: outcome.missing,
                    could: outcome.could.clone(),
                })
                .collect(),
            ignored: weighed
                .verdict
                .ignored
                .iter()
                .map(|(name, bar)| wire::IgnoredApproval {
                    name: name.clone(),
                    why: bar.says().to_owned(),
                })
                .collect(),
            reviewers: weighed
                .involved
                .iter()
                .filter(|person| person.reviewer || !person.verdict.is_empty())
                .map(|person| wire::Reviewer {
                    name: person.user_name.clone(),
                    asked: person.reviewer,
                    state: person.state().to_owned(),
                    head: (!person.head.is_empty()).then(|| person.head.clone()),
                })
                .collect(),
            assignees: weighed
                .involved
                .iter()
                .filter(|person| person.assignee)
                .map(|person| person.user_name.clone())
                .collect(),
            you_may_not: barred.err().map(|problem| problem.what),
        })
    }
}

async fn answer(
    forge: &Forge,
    caller: &Caller,
    scope: &ProjectScope,
    project: &ProjectInfo,
    request: &MergeRequest,
) -> Answer {
    let answer = forge.approvals_wire(caller, scope, project, request).await?;
    Ok(axum::Json(answer).into_response())
}

/// Tells what is approved, what is missing, and who can give it.
#[utoipa::path(get, path = "/api/v1/projects/{group}/{project}/merge-requests/{iid}/approvals", tag = "reviews",
    params(("group" = String, Path), ("project" = String, Path), ("iid" = i64, Path)),
    responses((status = 200, body = wire::Approvals)))]
async fn show(
    State(forge): State<Forge>,
    Who(caller): Who,
    InProject(scope): InProject,
    place: PathOf<(String, String, i64)>,
) -> Answer {
    let PathOf((_, _, iid)) = place;
    let (project, request) = forge.reviewed(&scope, iid).await?;
    answer(&forge, &caller, &scope, &project, &request).await
}

/// Approves a merge request at the head that you looked at.
#[utoipa::path(post, path = "/api/v1/projects/{group}/{project}/merge-requests/{iid}/approve", tag = "reviews",
    params(("group" = String, Path), ("project" = String, Path), ("iid" = i64, Path)),
    request_body = wire::ApprovalOrder,
    responses((status = 200, body = wire::Approvals),
        (status = 403, description = "You may not approve it", body = Problem),
        (status = 409, description = "It has changed since", body = Problem)))]
async fn give(
    State(forge): State<Forge>,
    Who(caller): Who,
    InProject(scope): InProject,
    place: PathOf<(String, String, i64)>,
    Body(order): Body<wire::ApprovalOrder>,
) -> Answer {
    let PathOf((_, _, iid)) = place;
    let (project, request) = forge.reviewed(&scope, iid).await?;
    forge.approve(&caller, &scope, &request, &order.sha).await?;
    answer(&forge, &caller, &scope, &project, &request).await
}

/// Takes your approval, or your wish for changes, back.
#[utoipa::path(post, path = "/api/v1/projects/{group}/{project}/merge-requests/{iid}/unapprove", tag = "reviews",
    params(("group" = String, Path), ("project" = String, Path), ("iid" = i64, Path)),
    responses((status = 200, body = wire::Approvals)))]
async fn withdraw(
    State(forge): State<Forge>,
    Who(caller): Who,
    InProject(scope): InProject,
    place: PathOf<(String, String, i64)>,
) -> Answer {
    let PathOf((_, _, iid)) = place;
    let (project, request) = forge.reviewed(&scope, iid).await?;
    forge.unapprove(&caller, &scope, &request).await?;
    answer(&forge, &caller, &scope, &project, &request).await
}

/// Sets who is asked to review, and who it is assigned to.
#[utoipa::path(put, path = "/api/v1/projects/{group}/{project}/merge-requests/{iid}/people", tag = "reviews",
    params(("group" = String, Path), ("project" = String, Path), ("iid" = i64, Path)),
    request_body = wire::PeopleChange,
    responses((status = 200, body = wire::Approvals)))]
async fn people(
    State(forge): State<Forge>,
    Who(caller): Who,
    InProject(scope): InProject,
    place: PathOf<(String, String, i64)>,
    Body(change): Body<wire::PeopleChange>,
) -> Answer {
    let PathOf((_, _, iid)) = place;
    let (project, request) = forge.reviewed(&scope, iid).await?;
    forge.change_people(&caller, &scope, &request, &change).await?;
    answer(&forge, &caller, &scope, &project, &request).await
}

/// Sets someone's wish for changes aside; for maintainers.
#[utoipa::path(post, path = "/api/v1/projects/{group}/{project}/merge-requests/{iid}/people/{user}/dismiss", tag = "reviews",
    params(("group" = String, Path), ("project" = String, Path), ("iid" = i64, Path), ("user" = String, Path)),
    responses((status = 200, body = wire::Approvals)))]
async fn dismiss(
    State(forge): State<Forge>,
    Who(caller): Who,
    InProject(scope): InProject,
    place: PathOf<(String, String, i64, String)>,
) -> Answer {
    let PathOf((_, _, iid, user)) = place;
    let (project, request) = forge.reviewed(&scope, iid).await?;
    forge.dismiss(&caller, &scope, &request, &user).await?;
    answer(&forge, &caller, &scope, &project, &request).await
}

/// Suggests who could review: owners of what changes, with the fewest reviews waiting.
#[utoipa::path(get, path = "/api/v1/projects/{group}/{project}/merge-requests/{iid}/suggested-reviewers", tag = "reviews",
    params(("group" = String, Path), ("project" = String, Path), ("iid" = i64, Path)),
    responses((status = 200, body = wire::SuggestedReviewers)))]
async fn suggested(
    State(forge): State<Forge>,
    InProject(scope): InProject,
    place: PathOf<(String, String, i64)>,
) -> Answer {
    let PathOf((_, _, iid)) = place;
    let (project, request) = forge.reviewed(&scope, iid).await?;
    let reviewers = forge.suggest_reviewers(&project, &request).await?;
    Ok(axum::Json(wire::SuggestedReviewers { reviewers }).into_response())
}

/// Reads what a project asks of reviews.
#[utoipa::path(get, path = "/api/v1/projects/{group}/{project}/review-settings", tag = "reviews",
    params(("group" = String, Path), ("project" = String, Path)),
    responses((status = 200, body = wire::ReviewSettings)))]
async fn settings(State(forge): State<Forge>, InProject(scope): InProject) -> Answer {
    Ok(axum::Json(forge.review_settings_wire(scope.id).await?).into_response())
}

/// Changes what a project asks of reviews.
#[utoipa::path(patch, path = "/api/v1/projects/{group}/{project}/review-settings", tag = "reviews",
    params(("group" = String, Path), ("project" = String, Path)),
    request_body = wire::ReviewSettingsChange,
    responses((status = 200, body = wire::ReviewSettings)))]
async fn set_settings(
    State(forge): State<Forge>,
    Who(caller): Who,
    InProject(scope): InProject,
    Body(change): Body<wire::ReviewSettingsChange>,
) -> Answer {
    forge.change_review_settings(&caller, scope.id, &change).await?;
    Ok(axum::Json(forge.review_settings_wire(scope.id).await?).into_response())
}
