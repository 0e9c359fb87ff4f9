//! What pipelines found out, in the JSON API, and the pages' routes.

use super::{badge, pages};
use crate::{Ci, pipeline::api::Numbered};
use axum::{Json, extract::State, routing::get};
use bascule_core::{Permission, PipelineId, limits};
use bascule_web::{Access, Answer, Body, InProject, Params, PathOf, Routes, Who, routes};
use bascule_wire::ci_results::{CiSettings, PipelineResults, PipelineTiming, TestReport, UncoveredFile};
use serde::Deserialize;

pub(crate) fn routes() -> Routes<Ci> {
    let read = Access::Project(Permission::PipelineRead);
    let manage = Access::Project(Permission::ProjectManage);
    Routes::new()
        .api(read, routes!(results))
        .api(read, routes!(tests))
        .api(read, routes!(timing))
        .api(read, routes!(uncovered))
        .api(read, routes!(settings))
        .api(manage, routes!(set_settings))
        .page(
            "GET",
            "/{group}/{project}/-/pipelines/{id}/tests",
            read,
            get(pages::tests),
        )
        .page(
            "GET",
            "/{group}/{project}/-/pipelines/{id}/timing",
            read,
            get(pages::timing),
        )
        .page(
            "GET",
            "/{group}/{project}/-/badges/{*place}",
            read,
            get(badge::serve),
        )
        .page(
            "GET",
            "/{group}/{project}/badges/{*place}",
            read,
            get(badge::serve),
        )
}

/// What a pipeline found out, in short: tests, coverage, reports.
#[utoipa::path(get, path = "/api/v1/projects/{group}/{project}/pipelines/{id}/results", tag = "ci",
    params(("group" = String, Path), ("project" = String, Path), ("id" = i64, Path)),
    responses((status = 200, body = PipelineResults)))]
async fn results(
    State(ci): State<Ci>,
    project: InProject,
    PathOf(at): PathOf<Numbered>,
) -> Answer<Json<PipelineResults>> {
    Ok(Json(ci.pipeline_results(project.id, PipelineId(at.id)).await?))
}

/// The tests of a pipeline: what failed, and what of it is new against the default branch.
#[utoipa::path(get, path = "/api/v1/projects/{group}/{project}/pipelines/{id}/tests", tag = "ci",
    params(("group" = String, Path), ("project" = String, Path), ("id" = i64, Path)),
    responses((status = 200, body = TestReport)))]
async fn tests(
    State(ci): State<Ci>,
    project: InProject,
    PathOf(at): PathOf<Numbered>,
) -> Answer<Json<TestReport>> {
    let pipeline = ci.pipeline(project.id, PipelineId(at.id)).await?;
    Ok(Json(ci.own_test_report(&pipeline).await?))
}

#[derive(Debug, Default, Deserialize)]
struct After {
    #[serde(default)]
    after: String,
}

/// Lines that no test of a pipeline reached, by file; `after` is the last file of the page before.
#[utoipa::path(get, path = "/api/v1/projects/{group}/{project}/pipelines/{id}/uncovered", tag = "ci",
    params(("group" = String, Path), ("project" = String, Path), ("id" = i64, Path),
        ("after" = Option<String>, Query)),
    responses((status = 200, body = Vec<UncoveredFile>)))]
async fn uncovered(
    State(ci): State<Ci>,
    project: InProject,
    PathOf(at): PathOf<Numbered>,
    Params(asked): Params<After>,
) -> Answer<Json<Vec<UncoveredFile>>> {
    let pipeline = ci.pipeline(project.id, PipelineId(at.id)).await?;
    let files = ci.lines_missed(pipeline.id).await?;
    let page = usize::try_from(limits::API_PAGE_ENTRIES).unwrap_or(usize::MAX);
    Ok(Json(
        files
            .into_iter()
            .filter(|(file, _)| *file > asked.after)
            .take(page)
            .map(|(file, lines)| UncoveredFile { file, lines })
            .collect(),
    ))
}

/// Where a pipeline's time went: its critical path and its slowest jobs.
#[utoipa::path(get, path = "/api/v1/projects/{group}/{project}/pipelines/{id}/timing", tag = "ci",
    params(("group" = String, Path), ("project" = String, Path), ("id" = i64, Path)),
    responses((status = 200, body = PipelineTiming)))]
async fn timing(
    State(ci): State<Ci>,
    project: InProject,
    PathOf(at): PathOf<Numbered>,
) -> Answer<Json<PipelineTiming>> {
    Ok(Json(ci.pipeline_timing(project.id, PipelineId(at.id)).await?))
}

/// What the project asks of its pipelines' results.
#[utoipa::path(get, path = "/api/v1/projects/{group}/{project}/ci/settings", tag = "ci",
    params(("group" = String, Path), ("project" = String, Path)),
    responses((status = 200, body = CiSettings)))]
async fn settings(State(ci): State<Ci>, project: InProject) -> Answer<Json<CiSettings>> {
    Ok(Json(ci.ci_settings(project.id).await?))
}

/// Sets what the project asks of its pipelines' results.
#[utoipa::path(put, path = "/api/v1/projects/{group}/{project}/ci/settings", tag = "ci",
    params(("group" = String, Path), ("project" = String, Path)), request_body = CiSettings,
    responses((status = 200, body = CiSettings)))]
async fn set_settings(
    State(ci): State<Ci>,
    project: InProject,
    who: Who,
    Body(set): Body<CiSettings>,
) -> Answer<Json<CiSettings>> {
    Ok(Json(ci.set_ci_settings(project.id, &set, &who).await?))
}
