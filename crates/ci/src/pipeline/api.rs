//! Pipelines in the JSON API, and the pages' routes.

use super::{pages, run as run_form, show, store};
use crate::{Ci, job};
use axum::{
    Json,
    extract::State,
    routing::{get, post},
};
use bascule_core::{Permission, PipelineId, Result, limits};
use bascule_web::{Access, Answer, Body, InProject, Params, PathOf, Routes, Who, routes};
use bascule_wire::ci::{Pipeline, PipelineDetail, PipelineList, RunPipeline};
use http::StatusCode;
use serde::Deserialize;

pub(crate) fn routes() -> Routes<Ci> {
    let read = Access::Project(Permission::PipelineRead);
    let run = Access::Project(Permission::PipelineRun);
    Routes::new()
        .api(read, routes!(list))
        .api(run, routes!(start))
        .api(read, routes!(detail))
        .api(run, routes!(cancel))
        .api(run, routes!(retry))
        .page("GET", "/{group}/{project}/-/pipelines", read, get(pages::list))
        .page(
            "GET,POST",
            "/{group}/{project}/-/pipelines/new",
            run,
            get(run_form::form).post(run_form::start),
        )
        .page(
            "GET",
            "/{group}/{project}/-/pipelines/{id}",
            read,
            get(show::show),
        )
        .page(
            "POST",
            "/{group}/{project}/-/pipelines/{id}/cancel",
            run,
            post(pages::cancel),
        )
        .page(
            "POST",
            "/{group}/{project}/-/pipelines/{id}/retry",
            run,
            post(pages::retry),
        )
}

/// The number in a path behind group and project.
#[derive(Debug, Deserialize)]
pub(crate) struct Numbered {
    pub id: i64,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct ListQuery {
    #[serde(default, rename = "ref")]
    pub reference: Option<String>,
    #[serde(default)]
    pub before: Option<i64>,
    #[serde(default)]
    pub limit: Option<i64>,
}

/// Lists pipelines, newest first.
#[utoipa::path(get, path = "/api/v1/projects/{group}/{project}/pipelines", tag = "ci",
    params(("group" = String, Path), ("project" = String, Path),
        ("ref" = Option<String>, Query), ("before" = Option<i64>, Query), ("limit" = Option<i64>, Query)),
    responses((status = 200, body = PipelineList)))]
async fn list(
    State(ci): State<Ci>,
    project: InProject,
    Params(query): Params<ListQuery>,
) -> Answer<Json<PipelineList>> {
    let limit = query
        .limit
        .unwrap_or(limits::PAGE_ENTRIES)
        .clamp(1, limits::API_PAGE_ENTRIES);
    let before = query.before.map(PipelineId);
    let found = store::list(&ci.db, project.id, query.reference.as_deref(), before, limit).await?;
    let next = if found.len() as i64 == limit {
        found.last().map(|p| p.id)
    } else {
        None
    };
    Ok(Json(PipelineList {
        pipelines: found.iter().map(super::Pipeline::to_wire).collect(),
        next,
    }))
}

/// Starts a pipeline.
#[utoipa::path(post, path = "/api/v1/projects/{group}/{project}/pipeline", tag = "ci",
    params(("group" = String, Path), ("project" = String, Path)), request_body = RunPipeline,
    responses((status = 201, body = Pipeline)))]
async fn start(
    State(ci): State<Ci>,
    project: InProject,
    who: Who,
    Body(request): Body<RunPipeline>,
) -> Answer<(StatusCode, Json<Pipeline>)> {
    let pipeline = ci.run_pipeline(&project, request, "api", &who.actor).await?;
    Ok((StatusCode::CREATED, Json(pipeline.to_wire())))
}

impl Ci {
    /// A pipeline with its jobs.
    ///
    /// # Errors
    /// There is none by that number in that project.
    pub async fn pipeline_detail(
        &self,
        project: bascule_core::ProjectId,
        id: PipelineId,
    ) -> Result<PipelineDetail> {
        let pipeline = self.pipeline(project, id).await?;
        let jobs = job::store::of_pipeline(&self.db, id).await?;
        let artifacts = job::artifact::of_pipeline(&self.db, id).await?;
        Ok(PipelineDetail {
            pipeline: pipeline.to_wire(),
            stages: pipeline.stages.0.clone(),
            jobs: jobs.iter().map(|job| job.to_wire(&artifacts)).collect(),
            upstream_pipeline: None,
            downstream_pipelines: Vec::new(),
        })
    }
}

/// A pipeline with its jobs.
#[utoipa::path(get, path = "/api/v1/projects/{group}/{project}/pipelines/{id}", tag = "ci",
    params(("group" = String, Path), ("project" = String, Path), ("id" = i64, Path)),
    responses((status = 200, body = PipelineDetail)))]
async fn detail(
    State(ci): State<Ci>,
    project: InProject,
    who: Who,
    PathOf(at): PathOf<Numbered>,
) -> Answer<Json<PipelineDetail>> {
    let mut detail = ci.pipeline_detail(project.id, PipelineId(at.id)).await?;
    let pipeline = ci.pipeline(project.id, PipelineId(at.id)).await?;
    let links = ci.pipeline_links(&pipeline, &who.actor).await?;
    detail.upstream_pipeline = links.upstream;
    detail.downstream_pipelines = links.downstream;
    Ok(Json(detail))
}

/// Cancels all jobs that have not ended.
#[utoipa::path(post, path = "/api/v1/projects/{group}/{project}/pipelines/{id}/cancel", tag = "ci",
    params(("group" = String, Path), ("project" = String, Path), ("id" = i64, Path)),
    responses((status = 200, body = Pipeline)))]
async fn cancel(
    State(ci): State<Ci>,
    project: InProject,
    who: Who,
    PathOf(at): PathOf<Numbered>,
) -> Answer<Json<Pipeline>> {
    ci.guard_pipeline(&project, PipelineId(at.id)).await?;
    Ok(Json(
        ci.cancel_pipeline(project.id, PipelineId(at.id), &who.actor)
            .await?
            .to_wire(),
    ))
}

/// Tries all failed and canceled jobs again.
#[utoipa::path(post, path = "/api/v1/projects/{group}/{project}/pipelines/{id}/retry", tag = "ci",
    params(("group" = String, Path), ("project" = String, Path), ("id" = i64, Path)),
    responses((status = 200, body = Pipeline)))]
async fn retry(
    State(ci): State<Ci>,
    project: InProject,
    who: Who,
    PathOf(at): PathOf<Numbered>,
) -> Answer<Json<Pipeline>> {
    ci.guard_pipeline(&project, PipelineId(at.id)).await?;
    Ok(Json(
        ci.retry_pipeline(project.id, PipelineId(at.id), &who.actor)
            .await?
            .to_wire(),
    ))
}
