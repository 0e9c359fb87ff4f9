//! Merge queues as JSON.

use super::store;
use crate::{Forge, merge_request::api::Place};
use axum::{extract::State, response::IntoResponse as _};
use bascule_core::{Permission, limits};
use bascule_web::{Access, Answer, InProject, PathOf, Routes, Who, routes};
use bascule_wire::merge_request as wire;

pub(crate) fn routes() -> Routes<Forge> {
    Routes::new()
        .api(Access::Project(Permission::CodeRead), routes!(list))
        .api(Access::Project(Permission::MergeRequestWrite), routes!(leave))
}

/// Lists the merge queues of a project, in order.
#[utoipa::path(get, path = "/api/v1/projects/{group}/{project}/merge-queue", tag = "merge requests",
    params(("group" = String, Path), ("project" = String, Path)),
    responses((status = 200, body = wire::MergeQueue)))]
async fn list(State(forge): State<Forge>, InProject(scope): InProject) -> Answer {
    let entries = store::of_project(forge.db(), scope.id, limits::API_PAGE_ENTRIES).await?;
    let out = store::all_left(forge.db(), scope.id, limits::PAGE_ENTRIES).await?;
    let settings = forge.merge_settings(scope.id).await?;
    let mut waiting = Vec::new();
    for entry in entries {
        waiting.push(wire::QueueEntry {
            state: forge.stands(&settings, &entry).await?.to_owned(),
            iid: entry.iid,
            target_branch: entry.target_branch,
            head: entry.head,
            by: entry.actor_name,
            trial: entry.sha,
            pipeline: entry.pipeline,
            at: entry.at,
        });
    }
    Ok(axum::Json(wire::MergeQueue {
        entries: waiting,
        taken_out: out
            .into_iter()
            .map(|gone| wire::QueueLeft {
                iid: gone.iid,
                title: gone.title,
                detail: gone.detail,
                pipeline: gone.pipeline,
                at: gone.at,
            })
            .collect(),
    })
    .into_response())
}

/// Takes a merge request out of its queue.
#[utoipa::path(delete, path = "/api/v1/projects/{group}/{project}/merge-requests/{iid}/queue", tag = "merge requests",
    params(("group" = String, Path), ("project" = String, Path), ("iid" = i64, Path)),
    responses((status = 200, body = wire::MergeRequestDetail)))]
async fn leave(
    State(forge): State<Forge>,
    Who(caller): Who,
    InProject(scope): InProject,
    place: Place,
) -> Answer {
    let PathOf((_, _, iid)) = place;
    let request = forge.leave_queue(&caller, &scope, iid).await?;
    let project = forge.project_of(&scope).await?;
    Ok(axum::Json(forge.request_detail(&project, &request).await?).into_response())
}
