//! Conflicts as JSON.

use super::{Piece, Solution, Take};
use crate::{Forge, code::shown, merge_request::api::Place};
use axum::{extract::State, response::IntoResponse as _};
use bascule_core::{Permission, Problem};
use bascule_web::{Access, Answer, Body, InProject, PathOf, Routes, Who, routes};
use bascule_wire::merge_request as wire;
use std::collections::HashMap;

pub(crate) fn routes() -> Routes<Forge> {
    Routes::new()
        .api(Access::Project(Permission::CodeRead), routes!(list))
        .api(Access::Project(Permission::CodePush), routes!(solve))
}

/// Reads what is in conflict, hunk by hunk.
#[utoipa::path(get, path = "/api/v1/projects/{group}/{project}/merge-requests/{iid}/conflicts", tag = "merge requests",
    params(("group" = String, Path), ("project" = String, Path), ("iid" = i64, Path)),
    responses((status = 200, body = wire::MergeConflicts)))]
async fn list(State(forge): State<Forge>, InProject(scope): InProject, place: Place) -> Answer {
    let PathOf((_, _, iid)) = place;
    let request = forge.merge_request(scope.id, iid).await?;
    let found = forge.unsolved(&request).await?;
    let files = found.files.into_iter().map(|file| wire::MergeConflict {
        path: shown(&file.path),
        kind: file.kind,
        hunks: file
            .pieces
            .into_iter()
            .flatten()
            .filter_map(|piece| match piece {
                Piece::Same(_) => None,
                Piece::Differs { ours, theirs } => Some(wire::ConflictHunk { ours, theirs }),
            })
            .collect(),
    });
    Ok(axum::Json(wire::MergeConflicts {
        files: files.collect(),
        target: found.ours,
        source: found.theirs,
    })
    .into_response())
}

/// Commits how conflicts are solved to the source branch.
#[utoipa::path(post, path = "/api/v1/projects/{group}/{project}/merge-requests/{iid}/conflicts", tag = "merge requests",
    params(("group" = String, Path), ("project" = String, Path), ("iid" = i64, Path)),
    request_body = wire::ConflictSolutions,
    responses((status = 200, body = wire::MergeRequestDetail), (status = 409, description = "A branch moved", body = Problem)))]
async fn solve(
    State(forge): State<Forge>,
    Who(caller): Who,
    InProject(scope): InProject,
    place: Place,
    Body(body): Body<wire::ConflictSolutions>,
) -> Answer {
    let PathOf((_, _, iid)) = place;
    let unknown = || {
        Problem::invalid("bad_choice", "A choice is none that is known.").next("Use ours, theirs or both.")
    };
    let mut solutions = HashMap::new();
    for (at, file) in body.files.into_iter().enumerate() {
        let solution = match (file.content, file.side) {
            (Some(text), _) => Solution::Text(text),
            (None, Some(side)) => Solution::Side(Take::parse(&side).ok_or_else(unknown)?),
            (None, None) => {
                let takes: Option<Vec<Take>> = file.hunks.iter().map(|take| Take::parse(take)).collect();
                Solution::Hunks(takes.ok_or_else(unknown)?)
            }
        };
        solutions.insert(at, solution);
    }
    forge
        .solve(&caller, &scope, iid, (&body.target, &body.source), solutions)
        .await?;
    let project = forge.project_of(&scope).await?;
    let request = forge.merge_request(scope.id, iid).await?;
    Ok(axum::Json(forge.request_detail(&project, &request).await?).into_response())
}
