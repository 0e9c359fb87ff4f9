//! Jobs in the JSON API, and the pages' routes.

use super::{Given, artifact, pages};
use crate::{Ci, pipeline::api::Numbered};
use axum::{
    Json,
    extract::State,
    routing::{get, post},
};
use bascule_core::{JobId, Permission, Problem, ProjectId, Result};
use bascule_web::{Access, Answer, InProject, Params, PathOf, Routes, Who, routes};
use bascule_wire::{
    ci::Job,
    ci_results::{LogHits, PlayJob, RetryJob},
    runner::ARTIFACT_ARCHIVE,
};
use serde::Deserialize;

pub(crate) fn routes() -> Routes<Ci> {
    let read = Access::Project(Permission::PipelineRead);
    let run = Access::Project(Permission::PipelineRun);
    Routes::new()
        .api(read, routes!(detail))
        .api(read, routes!(log))
        .api(read, routes!(search))
        .api(read, routes!(artifacts))
        .api(run, routes!(cancel))
        .api(run, routes!(retry))
        .api(run, routes!(play))
        .api(run, routes!(unschedule))
        .page("GET", "/{group}/{project}/-/jobs/{id}", read, get(pages::show))
        .page("GET", "/{group}/{project}/-/jobs/{id}/raw", read, get(pages::raw))
        .page(
            "GET",
            "/{group}/{project}/-/jobs/{id}/log/events",
            read,
            get(pages::events),
        )
        .page(
            "GET",
            "/{group}/{project}/-/jobs/{id}/artifacts/download",
            read,
            get(pages::download),
        )
        .page(
            "GET",
            "/{group}/{project}/-/jobs/{id}/artifacts/{kind}",
            read,
            get(pages::download_kind),
        )
        .page(
            "POST",
            "/{group}/{project}/-/jobs/{id}/cancel",
            run,
            post(pages::cancel),
        )
        .page(
            "POST",
            "/{group}/{project}/-/jobs/{id}/retry",
            run,
            post(pages::retry),
        )
        .page(
            "POST",
            "/{group}/{project}/-/jobs/{id}/play",
            run,
            post(pages::play),
        )
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct LogQuery {
    /// First byte wanted.
    #[serde(default)]
    offset: u64,
    /// Whether to go on until the job ends.
    #[serde(default)]
    follow: bool,
}

impl Ci {
    /// A job as the API tells it.
    ///
    /// # Errors
    /// There is none by that number in that project.
    pub async fn job_detail(&self, project: ProjectId, id: JobId) -> Result<Job> {
        let job = self.job(project, id).await?;
        Ok(job.to_wire(&artifact::of_job(&self.db, id).await?))
    }
}

/// A job.
#[utoipa::path(get, path = "/api/v1/projects/{group}/{project}/jobs/{id}", tag = "ci",
    params(("group" = String, Path), ("project" = String, Path), ("id" = i64, Path)),
    responses((status = 200, body = Job)))]
async fn detail(State(ci): State<Ci>, project: InProject, PathOf(at): PathOf<Numbered>) -> Answer<Json<Job>> {
    Ok(Json(ci.job_detail(project.id, JobId(at.id)).await?))
}

/// A job's log as it was written; `offset` is the first byte wanted, and with `follow=true` the answer goes on
/// until the job ends.
#[utoipa::path(get, path = "/api/v1/projects/{group}/{project}/jobs/{id}/log", tag = "ci",
    params(("group" = String, Path), ("project" = String, Path), ("id" = i64, Path),
        ("offset" = Option<u64>, Query), ("follow" = Option<bool>, Query)),
    responses((status = 200, body = String, content_type = "text/plain")))]
async fn log(
    State(ci): State<Ci>,
    project: InProject,
    PathOf(at): PathOf<Numbered>,
    Params(query): Params<LogQuery>,
) -> Answer {
    let job = ci.job(project.id, JobId(at.id)).await?;
    ci.serve_log(&job, query.offset, query.follow).await
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct SearchQuery {
    /// What lines must hold, small and capital letters alike.
    #[serde(default)]
    q: String,
    /// Where an earlier answer left off.
    from: Option<String>,
}

/// Lines of a job's log that hold a text.
#[utoipa::path(get, path = "/api/v1/projects/{group}/{project}/jobs/{id}/log/search", tag = "ci",
    params(("group" = String, Path), ("project" = String, Path), ("id" = i64, Path),
        ("q" = String, Query), ("from" = Option<String>, Query)),
    responses((status = 200, body = LogHits)))]
async fn search(
    State(ci): State<Ci>,
    project: InProject,
    PathOf(at): PathOf<Numbered>,
    Params(query): Params<SearchQuery>,
) -> Answer<Json<LogHits>> {
    let job = ci.job(project.id, JobId(at.id)).await?;
    Ok(Json(
        ci.search_log(job.id, &query.q, query.from.as_deref()).await?,
    ))
}

/// The archive that a job left.
#[utoipa::path(get, path = "/api/v1/projects/{group}/{project}/jobs/{id}/artifacts", tag = "ci",
    params(("group" = String, Path), ("project" = String, Path), ("id" = i64, Path)),
    responses((status = 200, body = Vec<u8>, content_type = "application/zip")))]
async fn artifacts(State(ci): State<Ci>, project: InProject, PathOf(at): PathOf<Numbered>) -> Answer {
    let job = ci.job(project.id, JobId(at.id)).await?;
    Ci::may_take(&project, &job)?;
    ci.serve_artifact(job.id, ARTIFACT_ARCHIVE).await
}

/// Cancels a job that has not ended.
#[utoipa::path(post, path = "/api/v1/projects/{group}/{project}/jobs/{id}/cancel", tag = "ci",
    params(("group" = String, Path), ("project" = String, Path), ("id" = i64, Path)),
    responses((status = 200, body = Job)))]
async fn cancel(
    State(ci): State<Ci>,
    project: InProject,
    who: Who,
    PathOf(at): PathOf<Numbered>,
) -> Answer<Json<Job>> {
    ci.guard_job(&project, JobId(at.id)).await?;
    Ok(Json(
        ci.cancel_job(project.id, JobId(at.id), &who.actor)
            .await?
            .to_wire(&[]),
    ))
}

/// A body that may be left out.
fn maybe<T: Default + serde::de::DeserializeOwned>(body: &[u8]) -> bascule_core::Result<T> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(T::default());
    }
    serde_json::from_slice(body).map_err(|error| {
        Problem::bad_request("bad_json", format!("The body cannot be read: {error}."))
            .next("Send `{\"inputs\": {\"NAME\": \"value\"}}`, or nothing.")
    })
}

/// Tries an ended job again, also with other values of its inputs.
#[utoipa::path(post, path = "/api/v1/projects/{group}/{project}/jobs/{id}/retry", tag = "ci",
    params(("group" = String, Path), ("project" = String, Path), ("id" = i64, Path)), request_body = RetryJob,
    responses((status = 200, body = Job)))]
async fn retry(
    State(ci): State<Ci>,
    project: InProject,
    who: Who,
    PathOf(at): PathOf<Numbered>,
    body: axum::body::Bytes,
) -> Answer<Json<Job>> {
    let retry: RetryJob = maybe(&body)?;
    ci.guard_job(&project, JobId(at.id)).await?;
    Ok(Json(
        ci.retry_job_with(&project, JobId(at.id), &retry.inputs, &who.actor)
            .await?
            .to_wire(&[]),
    ))
}

/// Starts a job that waits for a person, also with variables of the moment.
#[utoipa::path(post, path = "/api/v1/projects/{group}/{project}/jobs/{id}/play", tag = "ci",
    params(("group" = String, Path), ("project" = String, Path), ("id" = i64, Path)), request_body = PlayJob,
    responses((status = 200, body = Job)))]
async fn play(
    State(ci): State<Ci>,
    project: InProject,
    who: Who,
    PathOf(at): PathOf<Numbered>,
    body: axum::body::Bytes,
) -> Answer<Json<Job>> {
    let play: PlayJob = maybe(&body)?;
    let given = Given {
        variables: play.variables,
        inputs: play.inputs,
    };
    let job = ci
        .play_job_with(&project, JobId(at.id), given, &who.actor)
        .await?;
    Ok(Json(job.to_wire(&[])))
}

/// Takes a delayed job off its time; it then waits for a person.
#[utoipa::path(post, path = "/api/v1/projects/{group}/{project}/jobs/{id}/unschedule", tag = "ci",
    params(("group" = String, Path), ("project" = String, Path), ("id" = i64, Path)),
    responses((status = 200, body = Job)))]
async fn unschedule(
    State(ci): State<Ci>,
    project: InProject,
    who: Who,
    PathOf(at): PathOf<Numbered>,
) -> Answer<Json<Job>> {
    ci.guard_job(&project, JobId(at.id)).await?;
    Ok(Json(
        ci.unschedule_job(project.id, JobId(at.id), &who.actor)
            .await?
            .to_wire(&[]),
    ))
}
