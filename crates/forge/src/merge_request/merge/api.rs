//! Merging as JSON.

use crate::{
    Forge,
    merge_request::api::{Place, detail},
};
use axum::extract::State;
use bascule_core::{Permission, Problem, ProjectScope};
use bascule_web::{Access, Answer, Body, InProject, PathOf, Routes, Who, routes};
use bascule_wire::merge_request as wire;

pub(crate) fn routes() -> Routes<Forge> {
    let merge = Access::Project(Permission::MergeRequestMerge);
    Routes::new()
        .api(merge, routes!(merge_it))
        .api(Access::Project(Permission::MergeRequestWrite), routes!(cancel))
}

async fn answer(forge: &Forge, scope: &ProjectScope, iid: i64) -> Answer {
    let request = forge.merge_request(scope.id, iid).await?;
    detail(forge, scope, &request).await
}

/// Merges a merge request, puts it into the queue where the project has one, or notes that it is to be merged once
/// all checks pass.
#[utoipa::path(post, path = "/api/v1/projects/{group}/{project}/merge-requests/{iid}/merge", tag = "merge requests",
    params(("group" = String, Path), ("project" = String, Path), ("iid" = i64, Path)),
    request_body = wire::MergeOrder,
    responses((status = 200, body = wire::MergeRequestDetail), (status = 409, description = "A check holds it, or the branch moved", body = Problem)))]
async fn merge_it(
    State(forge): State<Forge>,
    Who(caller): Who,
    InProject(scope): InProject,
    place: Place,
    Body(order): Body<wire::MergeOrder>,
) -> Answer {
    let PathOf((_, _, iid)) = place;
    Box::pin(forge.merge(&caller, &scope, iid, &order)).await?;
    answer(&forge, &scope, iid).await
}

/// Takes back the wish to have a merge request merged once all checks pass.
#[utoipa::path(delete, path = "/api/v1/projects/{group}/{project}/merge-requests/{iid}/merge", tag = "merge requests",
    params(("group" = String, Path), ("project" = String, Path), ("iid" = i64, Path)),
    responses((status = 200, body = wire::MergeRequestDetail)))]
async fn cancel(
    State(forge): State<Forge>,
    Who(caller): Who,
    InProject(scope): InProject,
    place: Place,
) -> Answer {
    let PathOf((_, _, iid)) = place;
    forge.cancel_auto_merge(&caller, &scope, iid).await?;
    answer(&forge, &scope, iid).await
}
