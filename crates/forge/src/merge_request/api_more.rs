//! Comparing versions, and taking a merged change off or elsewhere, as JSON.

use super::{
    api::{Place, detail, made},
    replay::Way,
};
use crate::Forge;
use axum::{extract::State, response::IntoResponse as _};
use bascule_core::{Caller, Permission, ProjectScope};
use bascule_web::{Access, Answer, Body, InProject, Params, PathOf, Routes, Who, routes};
use bascule_wire::merge_request as wire;
use http::header;
use serde::Deserialize;
use utoipa::IntoParams;

pub(crate) fn routes() -> Routes<Forge> {
    Routes::new()
        .api(Access::Project(Permission::CodeRead), routes!(range_diff))
        .api(Access::Project(Permission::CodeRead), routes!(raw_diff))
        .api(Access::Project(Permission::CodePush), routes!(restore))
        .api(Access::Project(Permission::CodePush), routes!(revert))
        .api(Access::Project(Permission::CodePush), routes!(cherry_pick))
}

/// Which versions.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Between {
    /// The earlier version.
    from: i64,
    /// The later one; the present one if left out.
    #[serde(default)]
    to: Option<i64>,
}

/// Compares two versions of a merge request, commit by commit.
#[utoipa::path(get, path = "/api/v1/projects/{group}/{project}/merge-requests/{iid}/range-diff", tag = "merge requests",
    params(("group" = String, Path), ("project" = String, Path), ("iid" = i64, Path), Between),
    responses((status = 200, body = wire::RangeDiff)))]
async fn range_diff(
    State(forge): State<Forge>,
    InProject(scope): InProject,
    place: Place,
    Params(between): Params<Between>,
) -> Answer {
    let PathOf((_, _, iid)) = place;
    let request = forge.merge_request(scope.id, iid).await?;
    let to = between.to.unwrap_or(request.version);
    let text = forge.range_diff(&request, between.from, to).await?;
    Ok(axum::Json(wire::RangeDiff {
        from: between.from,
        to,
        text,
    })
    .into_response())
}

/// Which version.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct AsOf {
    /// As of this version; the present one if left out.
    #[serde(default)]
    version: Option<i64>,
}

/// Reads what a merge request changes as a patch, which `git apply` takes. An answer that breaks off is not whole.
#[utoipa::path(get, path = "/api/v1/projects/{group}/{project}/merge-requests/{iid}/raw.diff", tag = "merge requests",
    params(("group" = String, Path), ("project" = String, Path), ("iid" = i64, Path), AsOf),
    responses((status = 200, body = String, content_type = "text/plain")))]
async fn raw_diff(
    State(forge): State<Forge>,
    InProject(scope): InProject,
    place: Place,
    Params(as_of): Params<AsOf>,
) -> Answer {
    let PathOf((_, _, iid)) = place;
    let request = forge.merge_request(scope.id, iid).await?;
    let (base, head) = match as_of.version {
        None => (request.base, request.head),
        Some(number) => {
            let version = forge.version(&request, number).await?;
            (version.base, version.head)
        }
    };
    let mut command = forge.git().within(&forge.repositories().path(scope.id));
    // Whoever reads it applies it: nothing of this machine's settings may change how it looks.
    command.args([
        "diff",
        "--no-color",
        "--no-ext-diff",
        "--no-textconv",
        "--binary",
        "--full-index",
    ]);
    command.args([
        "--find-renames",
        "--src-prefix=a/",
        "--dst-prefix=b/",
        &base,
        &head,
        "--",
    ]);
    let body = forge.stream(command).await?;
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox"),
    ];
    Ok((headers, body).into_response())
}

async fn replay(
    forge: &Forge,
    caller: &Caller,
    scope: &ProjectScope,
    iid: i64,
    way: Way,
    order: &wire::Replay,
) -> Answer {
    let request = forge
        .replay(caller, scope, iid, way, order.target_branch.as_deref())
        .await?;
    made(forge, scope, &request).await
}

/// Opens a merge request that takes a merged one back.
#[utoipa::path(post, path = "/api/v1/projects/{group}/{project}/merge-requests/{iid}/revert", tag = "merge requests",
    params(("group" = String, Path), ("project" = String, Path), ("iid" = i64, Path)),
    request_body = wire::Replay,
    responses((status = 201, body = wire::MergeRequestDetail)))]
async fn revert(
    State(forge): State<Forge>,
    Who(caller): Who,
    InProject(scope): InProject,
    place: Place,
    Body(order): Body<wire::Replay>,
) -> Answer {
    let PathOf((_, _, iid)) = place;
    replay(&forge, &caller, &scope, iid, Way::Revert, &order).await
}

/// Opens a merge request that brings a merged one to another branch.
#[utoipa::path(post, path = "/api/v1/projects/{group}/{project}/merge-requests/{iid}/cherry-pick", tag = "merge requests",
    params(("group" = String, Path), ("project" = String, Path), ("iid" = i64, Path)),
    request_body = wire::Replay,
    responses((status = 201, body = wire::MergeRequestDetail)))]
async fn cherry_pick(
    State(forge): State<Forge>,
    Who(caller): Who,
    InProject(scope): InProject,
    place: Place,
    Body(order): Body<wire::Replay>,
) -> Answer {
    let PathOf((_, _, iid)) = place;
    replay(&forge, &caller, &scope, iid, Way::CherryPick, &order).await
}

/// Makes the deleted source branch of an open merge request again, where it stood.
#[utoipa::path(post, path = "/api/v1/projects/{group}/{project}/merge-requests/{iid}/restore-branch", tag = "merge requests",
    params(("group" = String, Path), ("project" = String, Path), ("iid" = i64, Path)),
    responses((status = 200, body = wire::MergeRequestDetail)))]
async fn restore(
    State(forge): State<Forge>,
    Who(caller): Who,
    InProject(scope): InProject,
    place: Place,
) -> Answer {
    let PathOf((_, _, iid)) = place;
    let request = forge.restore_source(&caller, &scope, iid).await?;
    detail(&forge, &scope, &request).await
}
