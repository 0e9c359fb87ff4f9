//! Merge requests as JSON.

use super::{MergeRequest, State as Life, Version, read, settings::Settings, store};
use crate::{Forge, ProjectInfo, code::shown};
use axum::{extract::State, response::IntoResponse as _};
use bascule_core::{Permission, Problem, ProjectId, ProjectScope, Result, limits};
use bascule_web::{Access, Answer, Body, InProject, Params, PathOf, Routes, Who, routes};
use bascule_wire::{
    forge::{Commit, CommitList},
    merge_request as wire,
};
use http::StatusCode;
use serde::Deserialize;
use std::collections::HashMap;
use utoipa::IntoParams;

pub(crate) fn routes() -> Routes<Forge> {
    let see = Access::Project(Permission::CodeRead);
    let write = Access::Project(Permission::MergeRequestWrite);
    Routes::new()
        .api(see, routes!(list))
        .api(write, routes!(open))
        .api(see, routes!(show))
        .api(write, routes!(change))
        .api(write, routes!(close))
        .api(write, routes!(reopen))
        .api(see, routes!(versions))
        .api(see, routes!(commits))
        .api(see, routes!(changes))
        .api(see, routes!(settings))
        .api(Access::Project(Permission::ProjectManage), routes!(set_settings))
}

/// The path of one request.
pub(crate) type Place = PathOf<(String, String, i64)>;

/// Which requests.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Listing {
    /// `open`, `merged` or `closed`; all if left out.
    #[serde(default)]
    state: Option<String>,
    /// Looked for in title and source branch.
    #[serde(default)]
    search: String,
    /// Those with a number below this.
    #[serde(default)]
    before: Option<i64>,
    /// How many, at most 200.
    #[serde(default)]
    per_page: Option<i64>,
}

/// Which files of a change, and between which versions.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Files {
    /// From this file on, counted from 0.
    #[serde(default)]
    from: Option<usize>,
    /// As of this version; the present one if left out.
    #[serde(default)]
    version: Option<i64>,
}

/// Which page of commits.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Paging {
    /// Page number, from 1.
    #[serde(default)]
    page: Option<i64>,
}

impl Forge {
    /// Where the forks among some requests are; a fork that is gone is left out.
    async fn fork_paths(&self, requests: &[MergeRequest]) -> Result<HashMap<ProjectId, String>> {
        let forks = requests.iter().filter(|request| request.is_fork());
        let forks: Vec<ProjectId> = forks.map(|request| request.source_project_id).collect();
        Ok(crate::project::store::paths(self.db(), &forks).await?)
    }

    /// A request as the API tells it, with [`Forge::fork_paths`].
    fn request_to_wire(
        &self,
        project: &ProjectInfo,
        request: &MergeRequest,
        forks: &HashMap<ProjectId, String>,
    ) -> wire::MergeRequest {
        let source = if request.is_fork() {
            forks.get(&request.source_project_id).cloned()
        } else {
            Some(project.path())
        };
        wire::MergeRequest {
            id: request.id,
            iid: request.iid,
            project: project.path(),
            title: request.title.clone(),
            description: request.description.clone(),
            state: request.state.as_str().to_owned(),
            draft: request.draft,
            source_project: source.unwrap_or_default(),
            source_branch: request.source_branch.clone(),
            target_branch: request.target_branch.clone(),
            author: request.author_name.clone(),
            head: request.head.clone(),
            base: request.base.clone(),
            version: request.version,
            delete_source_branch: request.delete_source,
            auto_merge_by: request.auto_name.clone(),
            merge_sha: request.merge_sha.clone(),
            merged_by: request.ended_by.clone().filter(|_| request.state == Life::Merged),
            created_at: request.created_at,
            updated_at: request.updated_at,
            ended_at: request.ended_at,
            web_url: format!(
                "{}/{}/-/merge-requests/{}",
                self.config().public_url.trim_end_matches('/'),
                project.path(),
                request.iid
            ),
        }
    }

    /// The same with every condition of merging.
    pub(crate) async fn request_detail(
        &self,
        project: &ProjectInfo,
        request: &MergeRequest,
    ) -> Result<wire::MergeRequestDetail> {
        let checks = self.merge_checks(project, request).await?;
        let forks = self.fork_paths(std::slice::from_ref(request)).await?;
        Ok(wire::MergeRequestDetail {
            request: self.request_to_wire(project, request, &forks),
            mergeable: request.state == Life::Open && !checks.iter().any(|check| check.state.holds()),
            queue: self.place_in_queue(request).await?,
            auto_merge_dropped: self.wish_dropped(request).await?.map(|(told, _)| told),
            checks: checks.into_iter().map(Into::into).collect(),
        })
    }
}

impl From<Version> for wire::MergeRequestVersion {
    fn from(version: Version) -> Self {
        Self {
            number: version.number,
            head: version.head,
            base: version.base,
            forced: version.forced,
            commits: version.commit_count,
            by: version.by_name,
            at: version.at,
        }
    }
}

/// Lists merge requests, newest first.
#[utoipa::path(get, path = "/api/v1/projects/{group}/{project}/merge-requests", tag = "merge requests",
    params(("group" = String, Path), ("project" = String, Path), Listing),
    responses((status = 200, body = wire::MergeRequestList)))]
async fn list(
    State(forge): State<Forge>,
    InProject(scope): InProject,
    Params(listing): Params<Listing>,
) -> Answer {
    let project = forge.project_of(&scope).await?;
    let state = match listing.state.as_deref() {
        None | Some("" | "all") => None,
        Some(text) => Some(Life::parse(text).ok_or_else(|| {
            Problem::bad_request("bad_state", "There is no such state.")
                .next("Use open, merged, closed or all.")
        })?),
    };
    let limit = listing
        .per_page
        .unwrap_or(limits::PAGE_ENTRIES)
        .clamp(1, limits::API_PAGE_ENTRIES);
    let mut found = store::list(
        forge.db(),
        scope.id,
        state,
        &listing.search,
        listing.before,
        limit + 1,
    )
    .await?;
    let more = found.len() as i64 > limit;
    found.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    let next_before = found.last().map(|last| last.iid).filter(|_| more);
    let forks = forge.fork_paths(&found).await?;
    let merge_requests = found
        .iter()
        .map(|request| forge.request_to_wire(&project, request, &forks))
        .collect();
    Ok(axum::Json(wire::MergeRequestList {
        merge_requests,
        next_before,
    })
    .into_response())
}

/// Opens a merge request.
#[utoipa::path(post, path = "/api/v1/projects/{group}/{project}/merge-requests", tag = "merge requests",
    params(("group" = String, Path), ("project" = String, Path)),
    request_body = wire::NewMergeRequest,
    responses((status = 201, body = wire::MergeRequestDetail), (status = 409, description = "One is open for this branch", body = Problem)))]
async fn open(
    State(forge): State<Forge>,
    Who(caller): Who,
    InProject(scope): InProject,
    Body(new): Body<wire::NewMergeRequest>,
) -> Answer {
    let request = forge.open_request(&caller, &scope, &new).await?;
    made(&forge, &scope, &request).await
}

/// Reads a merge request and what holds it.
#[utoipa::path(get, path = "/api/v1/projects/{group}/{project}/merge-requests/{iid}", tag = "merge requests",
    params(("group" = String, Path), ("project" = String, Path), ("iid" = i64, Path, description = "Its number within the project")),
    responses((status = 200, body = wire::MergeRequestDetail)))]
async fn show(State(forge): State<Forge>, InProject(scope): InProject, place: Place) -> Answer {
    let PathOf((_, _, iid)) = place;
    let request = forge.merge_request(scope.id, iid).await?;
    detail(&forge, &scope, &request).await
}

/// A request with its conditions, as answers give it.
pub(crate) async fn detail(forge: &Forge, scope: &ProjectScope, request: &MergeRequest) -> Answer {
    let project = forge.project_of(scope).await?;
    Ok(axum::Json(forge.request_detail(&project, request).await?).into_response())
}

/// The same, of one that was made.
pub(super) async fn made(forge: &Forge, scope: &ProjectScope, request: &MergeRequest) -> Answer {
    Ok((StatusCode::CREATED, detail(forge, scope, request).await?).into_response())
}

/// Changes a merge request's title, description, target, draft mark.
#[utoipa::path(patch, path = "/api/v1/projects/{group}/{project}/merge-requests/{iid}", tag = "merge requests",
    params(("group" = String, Path), ("project" = String, Path), ("iid" = i64, Path)),
    request_body = wire::MergeRequestChange,
    responses((status = 200, body = wire::MergeRequestDetail)))]
async fn change(
    State(forge): State<Forge>,
    Who(caller): Who,
    InProject(scope): InProject,
    place: Place,
    Body(change): Body<wire::MergeRequestChange>,
) -> Answer {
    let PathOf((_, _, iid)) = place;
    let request = forge.edit_request(&caller, &scope, iid, &change).await?;
    detail(&forge, &scope, &request).await
}

/// Closes a merge request without a merge.
#[utoipa::path(post, path = "/api/v1/projects/{group}/{project}/merge-requests/{iid}/close", tag = "merge requests",
    params(("group" = String, Path), ("project" = String, Path), ("iid" = i64, Path)),
    responses((status = 200, body = wire::MergeRequestDetail)))]
async fn close(
    State(forge): State<Forge>,
    Who(caller): Who,
    InProject(scope): InProject,
    place: Place,
) -> Answer {
    let PathOf((_, _, iid)) = place;
    let request = forge.close_request(&caller, &scope, iid).await?;
    detail(&forge, &scope, &request).await
}

/// Opens a closed merge request again.
#[utoipa::path(post, path = "/api/v1/projects/{group}/{project}/merge-requests/{iid}/reopen", tag = "merge requests",
    params(("group" = String, Path), ("project" = String, Path), ("iid" = i64, Path)),
    responses((status = 200, body = wire::MergeRequestDetail)))]
async fn reopen(
    State(forge): State<Forge>,
    Who(caller): Who,
    InProject(scope): InProject,
    place: Place,
) -> Answer {
    let PathOf((_, _, iid)) = place;
    let request = forge.reopen_request(&caller, &scope, iid).await?;
    detail(&forge, &scope, &request).await
}

/// Lists a merge request's versions, newest first.
#[utoipa::path(get, path = "/api/v1/projects/{group}/{project}/merge-requests/{iid}/versions", tag = "merge requests",
    params(("group" = String, Path), ("project" = String, Path), ("iid" = i64, Path)),
    responses((status = 200, body = wire::MergeRequestVersions)))]
async fn versions(State(forge): State<Forge>, InProject(scope): InProject, place: Place) -> Answer {
    let PathOf((_, _, iid)) = place;
    let request = forge.merge_request(scope.id, iid).await?;
    let found = store::versions(forge.db(), request.id, limits::API_PAGE_ENTRIES).await?;
    Ok(axum::Json(wire::MergeRequestVersions {
        versions: found.into_iter().map(Into::into).collect(),
    })
    .into_response())
}

/// Lists the commits that a merge request would bring, newest first.
#[utoipa::path(get, path = "/api/v1/projects/{group}/{project}/merge-requests/{iid}/commits", tag = "merge requests",
    params(("group" = String, Path), ("project" = String, Path), ("iid" = i64, Path), Paging),
    responses((status = 200, body = CommitList)))]
async fn commits(
    State(forge): State<Forge>,
    InProject(scope): InProject,
    place: Place,
    Params(paging): Params<Paging>,
) -> Answer {
    let PathOf((_, _, iid)) = place;
    let request = forge.merge_request(scope.id, iid).await?;
    let page = paging.page.unwrap_or(1).clamp(1, 1_000_000);
    let size = usize::try_from(limits::PAGE_ENTRIES).unwrap_or(50);
    let skip = usize::try_from(page - 1).unwrap_or(0).saturating_mul(size);
    let (found, more) = forge
        .repositories()
        .read(scope.id, move |repo| {
            let (base, head) = (read::id(repo, &request.base)?, read::id(repo, &request.head)?);
            read::commits(repo, base, head, skip, size)
        })
        .await?;
    Ok(axum::Json(CommitList {
        commits: found.into_iter().map(Commit::from).collect(),
        next_page: more.then_some(page + 1),
    })
    .into_response())
}

/// Reads what a merge request changes, file by file.
#[utoipa::path(get, path = "/api/v1/projects/{group}/{project}/merge-requests/{iid}/changes", tag = "merge requests",
    params(("group" = String, Path), ("project" = String, Path), ("iid" = i64, Path), Files),
    responses((status = 200, body = wire::ChangedFiles)))]
async fn changes(
    State(forge): State<Forge>,
    InProject(scope): InProject,
    place: Place,
    Params(files): Params<Files>,
) -> Answer {
    let PathOf((_, _, iid)) = place;
    let request = forge.merge_request(scope.id, iid).await?;
    let (base, head) = match files.version {
        None => (request.base, request.head),
        Some(number) => {
            let version = forge.version(&request, number).await?;
            (version.base, version.head)
        }
    };
    let from = files.from.unwrap_or(0);
    let (old, new) = (base.clone(), head.clone());
    let found = forge
        .repositories()
        .read(scope.id, move |repo| {
            read::changes(repo, &old, &new, from, limits::SHOWN_DIFF_LINES, None)
        })
        .await?;
    let files = found.files.iter().zip(found.changes.iter().skip(from));
    let files = files.map(|(file, change)| wire::ChangedFile {
        path: shown(&file.path),
        old_path: change.from.as_deref().map(shown),
        change: file.what.to_owned(),
        added: file.added,
        removed: file.removed,
        diff: file.unified(),
        note: file.note.clone(),
    });
    Ok(axum::Json(wire::ChangedFiles {
        base,
        head,
        total: found.changes.len(),
        files: files.collect(),
        next_from: found.next,
        note: found.instead,
    })
    .into_response())
}

/// Reads how a project merges.
#[utoipa::path(get, path = "/api/v1/projects/{group}/{project}/merge-settings", tag = "merge requests",
    params(("group" = String, Path), ("project" = String, Path)),
    responses((status = 200, body = wire::MergeSettings)))]
async fn settings(State(forge): State<Forge>, InProject(scope): InProject) -> Answer {
    let settings: Settings = forge.merge_settings(scope.id).await?;
    Ok(axum::Json(wire::MergeSettings::from(settings)).into_response())
}

/// Changes how a project merges.
#[utoipa::path(patch, path = "/api/v1/projects/{group}/{project}/merge-settings", tag = "merge requests",
    params(("group" = String, Path), ("project" = String, Path)),
    request_body = wire::MergeSettingsChange,
    responses((status = 200, body = wire::MergeSettings)))]
async fn set_settings(
    State(forge): State<Forge>,
    Who(caller): Who,
    InProject(scope): InProject,
    Body(change): Body<wire::MergeSettingsChange>,
) -> Answer {
    let settings = forge.change_merge_settings(&caller, scope.id, &change).await?;
    Ok(axum::Json(wire::MergeSettings::from(settings)).into_response())
}
