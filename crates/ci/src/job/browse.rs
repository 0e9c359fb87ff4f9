//! Pages and addresses of what jobs left: folders, files, keeping, erasing, the newest of a branch.

use super::{Job, artifact};
use crate::{Ci, config::ArtifactAccess, pipeline::api::Numbered};
use askama::Template;
use axum::{
    Json,
    body::Body,
    extract::State,
    response::{IntoResponse as _, Redirect},
    routing::{get, post},
};
use bascule_core::{JobId, Permission, Problem, ProjectScope, Result, limits};
use bascule_web::{
    Access, Answer, Crumb, InProject, Markup, Params, PathOf, Routes, Tab, Ui, Who, bytes, icon,
    raw::{picture, untrusted},
    routes, url_path, when,
};
use bascule_wire::{ci::Job as WireJob, ci_results::ArtifactFolder, runner::ARTIFACT_ARCHIVE};
use futures::StreamExt as _;
use serde::Deserialize;
use tokio_stream::wrappers::ReceiverStream;

pub(crate) fn routes() -> Routes<Ci> {
    let read = Access::Project(Permission::PipelineRead);
    let run = Access::Project(Permission::PipelineRun);
    let under = |rest: &str| format!("/{{group}}/{{project}}/-/jobs/{rest}");
    Routes::new()
        .api(read, routes!(files))
        .api(read, routes!(file))
        .api(run, routes!(keep))
        .api(run, routes!(erase))
        .page("GET", &under("{id}/artifacts/browse"), read, get(top))
        .page("GET", &under("{id}/artifacts/browse/{*place}"), read, get(folder))
        .page("GET", &under("{id}/artifacts/file/{*place}"), read, get(shown))
        .page("GET", &under("{id}/artifacts/raw/{*place}"), read, get(raw))
        .page("POST", &under("{id}/artifacts/keep"), run, post(keep_page))
        .page("POST", &under("{id}/erase"), run, post(erase_page))
        .page("GET", &under("artifacts/{*place}"), read, get(newest))
}

impl Ci {
    /// Whether someone who may see the pipeline may also have what the job left, as its file says.
    pub(crate) fn may_take(scope: &ProjectScope, job: &Job) -> Result<()> {
        match needed(job) {
            Some(permission) if scope.holds(permission) => Ok(()),
            Some(permission) => Err(Problem::forbidden(permission)
                .why("The job's `artifacts:access` keeps what it left from others.")
                .next("Ask a maintainer.")),
            None => Err(Problem::new(
                403,
                "artifacts_closed",
                "Nobody may have what this job left but the jobs behind it.",
            )
            .why("The job says `artifacts:access: none`.")
            .next("Change that in the CI file, and run the job again.")),
        }
    }

    /// A job whose artifacts the caller may have.
    async fn job_to_take(&self, scope: &ProjectScope, id: i64) -> Result<Job> {
        let job = self.job(scope.id, JobId(id)).await?;
        Self::may_take(scope, &job)?;
        Ok(job)
    }

    /// A file of a job's archive, as it is: pictures are shown, all else is saved, and nothing is run.
    async fn serve_file(&self, job: JobId, path: &str) -> Answer {
        let given = self.artifact_file(job, path).await?;
        let kind = picture(&given.first);
        let name = path.rsplit('/').next().unwrap_or_default();
        let first = futures::stream::once(futures::future::ready(Ok(given.first)));
        let body = Body::from_stream(first.chain(ReceiverStream::new(given.rest)));
        Ok(untrusted(body, name, kind))
    }
}

/// What one must be allowed to do in a project to have what its job left; `None` is nothing that anyone may.
pub(super) fn needed(job: &Job) -> Option<Permission> {
    match job.spec.0.artifacts_access {
        ArtifactAccess::All => Some(Permission::PipelineRead),
        ArtifactAccess::Developer => Some(Permission::PipelineRun),
        ArtifactAccess::Maintainer => Some(Permission::ProjectManage),
        ArtifactAccess::None => None,
    }
}

#[derive(Debug, Default, Deserialize)]
struct PathQuery {
    /// Within the archive; empty is its top.
    #[serde(default)]
    path: String,
}

/// A folder of the archive that a job left.
#[utoipa::path(get, path = "/api/v1/projects/{group}/{project}/jobs/{id}/artifacts/files", tag = "ci",
    params(("group" = String, Path), ("project" = String, Path), ("id" = i64, Path), ("path" = Option<String>, Query)),
    responses((status = 200, body = ArtifactFolder)))]
async fn files(
    State(ci): State<Ci>,
    project: InProject,
    PathOf(at): PathOf<Numbered>,
    Params(query): Params<PathQuery>,
) -> Answer<Json<ArtifactFolder>> {
    let job = ci.job_to_take(&project, at.id).await?;
    Ok(Json(ci.artifact_folder(job.id, &query.path).await?))
}

/// A file of the archive that a job left.
#[utoipa::path(get, path = "/api/v1/projects/{group}/{project}/jobs/{id}/artifacts/file", tag = "ci",
    params(("group" = String, Path), ("project" = String, Path), ("id" = i64, Path), ("path" = String, Query)),
    responses((status = 200, body = Vec<u8>, content_type = "application/octet-stream")))]
async fn file(
    State(ci): State<Ci>,
    project: InProject,
    PathOf(at): PathOf<Numbered>,
    Params(query): Params<PathQuery>,
) -> Answer {
    let job = ci.job_to_take(&project, at.id).await?;
    ci.serve_file(job.id, &query.path).await
}

/// Keeps what a job left until someone erases it.
#[utoipa::path(post, path = "/api/v1/projects/{group}/{project}/jobs/{id}/artifacts/keep", tag = "ci",
    params(("group" = String, Path), ("project" = String, Path), ("id" = i64, Path)),
    responses((status = 200, body = WireJob)))]
async fn keep(
    State(ci): State<Ci>,
    project: InProject,
    PathOf(at): PathOf<Numbered>,
) -> Answer<Json<WireJob>> {
    ci.keep_artifacts(project.id, JobId(at.id)).await?;
    Ok(Json(ci.job_detail(project.id, JobId(at.id)).await?))
}

/// Erases what a job left, and its log.
#[utoipa::path(post, path = "/api/v1/projects/{group}/{project}/jobs/{id}/erase", tag = "ci",
    params(("group" = String, Path), ("project" = String, Path), ("id" = i64, Path)),
    responses((status = 200, body = WireJob)))]
async fn erase(
    State(ci): State<Ci>,
    project: InProject,
    who: Who,
    PathOf(at): PathOf<Numbered>,
) -> Answer<Json<WireJob>> {
    ci.guard_traces(&project, JobId(at.id), &who.actor).await?;
    ci.erase_job(project.id, JobId(at.id), &who.actor).await?;
    Ok(Json(ci.job_detail(project.id, JobId(at.id)).await?))
}

struct Row {
    name: String,
    href: String,
    icon: Markup,
    size: String,
    raw: Option<String>,
}

#[derive(Template)]
#[template(path = "job/browse.html")]
struct FolderPage {
    job: String,
    base: String,
    /// Address and name of each folder above.
    above: Vec<(String, String)>,
    rows: Vec<Row>,
    left_out: usize,
    kept: Option<Markup>,
    may: bool,
    erases: bool,
}

async fn top(state: State<Ci>, project: InProject, who: Who, ui: Ui, PathOf(at): PathOf<Numbered>) -> Answer {
    browse(&state.0, &project, &who, &ui, (at.id, "")).await
}

async fn folder(
    state: State<Ci>,
    project: InProject,
    who: Who,
    ui: Ui,
    PathOf((_, _, id, place)): PathOf<(String, String, i64, String)>,
) -> Answer {
    browse(&state.0, &project, &who, &ui, (id, &place)).await
}

fn crumbs(path: &str, job: &Job, here: &str) -> [Crumb; 3] {
    [
        Crumb::to(path, format!("/{path}")),
        Crumb::to(
            format!("{} ({})", job.name, job.id),
            format!("/{path}/-/jobs/{}", job.id),
        ),
        Crumb::here(here),
    ]
}

async fn browse(ci: &Ci, project: &ProjectScope, who: &Who, ui: &Ui, (id, place): (i64, &str)) -> Answer {
    let path = project.path();
    let job = ci.job_to_take(project, id).await?;
    let found = ci.artifact_folder(job.id, place).await?;
    let archive = ci.artifact(job.id, ARTIFACT_ARCHIVE).await?;
    let base = format!("/{path}/-/jobs/{id}");
    let under = format!("{base}/artifacts");
    let mut above = vec![(format!("{under}/browse"), "artifacts".to_owned())];
    let mut walked = String::new();
    for part in found.path.split('/').filter(|part| !part.is_empty()) {
        if !walked.is_empty() {
            walked.push('/');
        }
        walked.push_str(part);
        above.push((format!("{under}/browse/{}", url_path(&walked)), part.to_owned()));
    }
    let rows = found
        .files
        .iter()
        .map(|file| {
            let name = file.path.rsplit('/').next().unwrap_or_default().to_owned();
            let at = url_path(&file.path);
            match file.size {
                None => Row {
                    name,
                    href: format!("{under}/browse/{at}"),
                    icon: icon("folder"),
                    size: String::new(),
                    raw: None,
                },
                Some(size) => Row {
                    name,
                    href: format!("{under}/file/{at}"),
                    icon: icon("file"),
                    size: bytes(size),
                    raw: Some(format!("{under}/raw/{at}")),
                },
            }
        })
        .collect();
    let page = FolderPage {
        job: job.name.clone(),
        above,
        rows,
        left_out: found.left_out,
        kept: archive.expires_at.map(when),
        may: project.holds(Permission::PipelineRun),
        erases: ci.guard_traces(project, job.id, &who.actor).await.is_ok(),
        base,
    };
    let title = format!("Artifacts of {}", job.name);
    ui.project_page(Tab::Pipelines, &title, &crumbs(&path, &job, "Artifacts"), &page)
}

#[derive(Template)]
#[template(path = "job/artifact_file.html")]
struct FilePage {
    path: String,
    size: String,
    raw: String,
    back: String,
    text: Option<String>,
    picture: bool,
}

async fn shown(
    State(ci): State<Ci>,
    project: InProject,
    ui: Ui,
    PathOf((_, _, id, place)): PathOf<(String, String, i64, String)>,
) -> Answer {
    let path = project.path();
    let job = ci.job_to_take(&project, id).await?;
    let mut given = ci.artifact_file(job.id, &place).await?;
    let mut content = given.first.to_vec();
    let small = given.size <= limits::SHOWN_FILE_BYTES;
    while small && let Some(piece) = given.rest.recv().await {
        content.extend_from_slice(&piece.map_err(|_| Problem::internal())?);
    }
    let base = format!("/{path}/-/jobs/{id}/artifacts");
    let folder = place.rsplit_once('/').map(|(folder, _)| folder);
    let text = (small && !content.contains(&0))
        .then(|| String::from_utf8(content.clone()).ok())
        .flatten();
    let page = FilePage {
        size: bytes(given.size),
        raw: format!("{base}/raw/{}", url_path(&place)),
        back: match folder {
            Some(folder) => format!("{base}/browse/{}", url_path(folder)),
            None => format!("{base}/browse"),
        },
        picture: picture(&content).is_some(),
        text,
        path: place,
    };
    let title = page.path.clone();
    ui.project_page(Tab::Pipelines, &title, &crumbs(&path, &job, "Artifacts"), &page)
}

async fn raw(
    State(ci): State<Ci>,
    project: InProject,
    PathOf((_, _, id, place)): PathOf<(String, String, i64, String)>,
) -> Answer {
    let job = ci.job_to_take(&project, id).await?;
    ci.serve_file(job.id, &place).await
}

async fn keep_page(State(ci): State<Ci>, project: InProject, PathOf(at): PathOf<Numbered>) -> Answer {
    ci.keep_artifacts(project.id, JobId(at.id)).await?;
    Ok(Redirect::to(&format!("/{}/-/jobs/{}", project.path(), at.id)).into_response())
}

async fn erase_page(
    State(ci): State<Ci>,
    project: InProject,
    who: Who,
    PathOf(at): PathOf<Numbered>,
) -> Answer {
    ci.guard_traces(&project, JobId(at.id), &who.actor).await?;
    ci.erase_job(project.id, JobId(at.id), &who.actor).await?;
    Ok(Redirect::to(&format!("/{}/-/jobs/{}", project.path(), at.id)).into_response())
}

#[derive(Debug, Default, Deserialize)]
struct NewestQuery {
    /// The job's name.
    #[serde(default)]
    job: String,
}

/// `BRANCH/download`, `BRANCH/browse/…`, `BRANCH/file/…` or `BRANCH/raw/…`, of the newest job of a name that
/// succeeded there: an address that stays.
async fn newest(
    State(ci): State<Ci>,
    project: InProject,
    PathOf((_, _, place)): PathOf<(String, String, String)>,
    Params(query): Params<NewestQuery>,
) -> Answer {
    let (reference, rest) = split_place(&place).ok_or_else(|| {
        Problem::not_found("artifact")
            .next("Ask for `BRANCH/download?job=NAME`, or `browse`, `file/…` or `raw/…` in its place.")
    })?;
    let tag = ci.is_tag(project.id, reference).await?;
    let job = artifact::newest(&ci.db, project.id, (reference, tag), &query.job, ci.clock.now())
        .await?
        .ok_or_else(|| {
            Problem::not_found("artifact").why(format!(
                "No job `{}` of `{}` that succeeded has left any that is still kept.",
                crate::fault::shown(&query.job),
                crate::fault::shown(reference)
            ))
        })?;
    let to = format!("/{}/-/jobs/{job}/artifacts/{}", project.path(), url_path(rest));
    Ok(Redirect::temporary(&to).into_response())
}

/// A branch may hold slashes: it ends where the first of the words follows.
fn split_place(place: &str) -> Option<(&str, &str)> {
    let ends = place.match_indices('/').map(|(at, _)| at);
    ends.filter_map(|at| Some((place.get(..at)?, place.get(at + 1..)?)))
        .find(|(branch, rest)| {
            let file = ["raw/", "file/", "browse/"]
                .iter()
                .any(|word| rest.starts_with(word));
            !branch.is_empty() && (file || ["download", "browse"].contains(rest))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branches_with_slashes_are_told_from_what_is_asked_of_them() {
        for (place, expected) in [
            ("main/download", Some(("main", "download"))),
            ("feature/x/browse", Some(("feature/x", "browse"))),
            ("main/raw/a/raw/b", Some(("main", "raw/a/raw/b"))),
            ("release/1/file/out/x.txt", Some(("release/1", "file/out/x.txt"))),
            ("main", None),
            ("main/other", None),
            ("/download", None),
        ] {
            assert_eq!(split_place(place), expected, "{place}");
        }
    }
}
