//! Findings as JSON: reports in, what stands out.

use super::service::Standing;
use crate::{
    Forge,
    merge_request::MergeRequest,
    review::{position::Carrier, thread::place::text_at},
};
use axum::{
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    response::IntoResponse as _,
};
use bascule_core::{Permission, Problem, Result};
use bascule_web::{Access, Answer, InProject, Params, PathOf, Routes, Who, routes};
use bascule_wire::review as wire;
use http::StatusCode;
use serde::Deserialize;
use std::collections::HashMap;
use utoipa::IntoParams;

/// Largest report, in bytes.
const REPORT_BYTES: usize = 8 * 1024 * 1024;

pub(crate) fn routes() -> Routes<Forge> {
    let (schemas, paths, methods) = routes!(post);
    let room = methods.layer(DefaultBodyLimit::max(REPORT_BYTES));
    Routes::new()
        .api(Access::Project(Permission::FindingWrite), (schemas, paths, room))
        .api(Access::Project(Permission::CodeRead), routes!(list))
}

/// Which program it is of.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Told {
    /// The program's name, where the report does not say.
    #[serde(default)]
    tool: Option<String>,
}

/// Takes what a program found about a commit: SARIF 2.1.0, or reviewdog's rdjson or rdjsonl.
///
/// It is shown on its lines in every merge request that has the commit as a version. A later report of the same
/// program settles what it no longer holds.
#[utoipa::path(post, path = "/api/v1/projects/{group}/{project}/commits/{sha}/findings", tag = "reviews",
    params(("group" = String, Path), ("project" = String, Path), ("sha" = String, Path, description = "40 hexadecimal digits"), Told),
    request_body(content = String, description = "The report", content_type = "application/json"),
    responses((status = 201, body = wire::FindingsTaken), (status = 422, description = "It is no such report", body = Problem)))]
async fn post(
    State(forge): State<Forge>,
    Who(caller): Who,
    InProject(scope): InProject,
    place: PathOf<(String, String, String)>,
    Params(told): Params<Told>,
    body: Bytes,
) -> Answer {
    let PathOf((_, _, sha)) = place;
    let taken = forge
        .take_findings(&caller.actor, scope.id, &sha, body.to_vec(), told.tool)
        .await?;
    Ok((StatusCode::CREATED, axum::Json(taken)).into_response())
}

impl Forge {
    /// Findings with whether they are on lines that the request adds or changes.
    pub(crate) async fn findings_marked(&self, request: &MergeRequest) -> Result<Vec<(Standing, bool)>> {
        let all = self.findings_of(request).await?;
        let (base, head) = (request.base.clone(), request.head.clone());
        self.repositories()
            .read(request.project_id, move |repo| {
                let mut files: HashMap<String, Option<Carrier>> = HashMap::new();
                let mut marked = Vec::with_capacity(all.len());
                for one in all {
                    let changed = match &one.place {
                        Some(place) if !place.outdated && !one.resolved => {
                            if !files.contains_key(&place.path) && files.len() < 300 {
                                let new = text_at(repo, &head, &place.path)?;
                                let old = text_at(repo, &base, &place.path)?.unwrap_or_default();
                                let carrier = new.map(|new| Carrier::between(&new, &old));
                                files.insert(place.path.clone(), carrier);
                            }
                            files
                                .get(&place.path)
                                .and_then(Option::as_ref)
                                .is_some_and(|carrier| !carrier.is_unchanged(place.lines))
                        }
                        _ => false,
                    };
                    marked.push((one, changed));
                }
                Ok(marked)
            })
            .await
    }
}

/// Lists what programs found about a merge request: of each its newest report.
#[utoipa::path(get, path = "/api/v1/projects/{group}/{project}/merge-requests/{iid}/findings", tag = "reviews",
    params(("group" = String, Path), ("project" = String, Path), ("iid" = i64, Path)),
    responses((status = 200, body = wire::FindingList)))]
async fn list(
    State(forge): State<Forge>,
    InProject(scope): InProject,
    place: PathOf<(String, String, i64)>,
) -> Answer {
    let PathOf((_, _, iid)) = place;
    let (_, request) = forge.reviewed(&scope, iid).await?;
    let findings = forge
        .findings_marked(&request)
        .await?
        .iter()
        .map(|(one, changed)| one.to_wire(*changed))
        .collect();
    Ok(axum::Json(wire::FindingList { findings }).into_response())
}
