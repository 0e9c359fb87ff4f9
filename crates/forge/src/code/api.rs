//! Code as JSON.

use super::{
    FileToCommit, Signature, history,
    pages::raw,
    read::{self, CommitInfo},
};
use crate::{Forge, project::covers};
use axum::{extract::State, response::IntoResponse as _};
use bascule_core::{Permission, Problem, limits};
use bascule_web::{Access, Answer, Body, InProject, Params, PathOf, Routes, Who, routes};
use bascule_wire::forge::{Branch, BranchList, Commit, CommitList, Committed, NewCommit, Tag, TagList};
use gix::ObjectId;
use http::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;

pub(crate) fn routes() -> Routes<Forge> {
    let read = Access::Project(Permission::CodeRead);
    Routes::new()
        .api(read, routes!(branches))
        .api(read, routes!(tags))
        .api(read, routes!(commits))
        .api(Access::Project(Permission::CodePush), routes!(commit_files))
        .api(read, routes!(commit))
        .api(read, routes!(file))
}

/// Which page of a list.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Listing {
    /// Page number, from 1.
    #[serde(default)]
    page: Option<i64>,
    /// Entries on a page, at most 200.
    #[serde(default)]
    per_page: Option<i64>,
}

/// Which commits.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct CommitListing {
    /// Branch, tag or commit to start from; the default branch if left out.
    #[serde(default, rename = "ref")]
    reference: Option<String>,
    /// Page number, from 1.
    #[serde(default)]
    page: Option<i64>,
    /// Entries on a page, at most 200.
    #[serde(default)]
    per_page: Option<i64>,
}

/// Which version of a file.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct FileAt {
    /// Branch, tag or commit; the default branch if left out.
    #[serde(default, rename = "ref")]
    reference: Option<String>,
}

/// Page number, entries before it, entries on it.
fn page_of(page: Option<i64>, per_page: Option<i64>) -> (i64, usize, usize) {
    let per_page = per_page
        .unwrap_or(limits::PAGE_ENTRIES)
        .clamp(1, limits::API_PAGE_ENTRIES);
    let page = page.unwrap_or(1).clamp(1, 1_000_000);
    let size = usize::try_from(per_page).unwrap_or(1);
    (
        page,
        usize::try_from(page - 1).unwrap_or(0).saturating_mul(size),
        size,
    )
}

impl From<CommitInfo> for Commit {
    fn from(commit: CommitInfo) -> Self {
        let message = if commit.body.is_empty() {
            commit.title.clone()
        } else {
            format!("{}\n\n{}", commit.title, commit.body)
        };
        Self {
            sha: commit.id.to_string(),
            title: commit.title,
            message,
            author_name: commit.author_name,
            author_email: commit.author_email,
            authored_at: commit.authored_at,
            committed_at: commit.committed_at,
            parents: commit.parents.iter().map(ToString::to_string).collect(),
        }
    }
}

/// The commit of a reference, or of the default branch.
pub(super) async fn start(
    forge: &Forge,
    project: bascule_core::ProjectId,
    name: Option<String>,
) -> Result<ObjectId, Problem> {
    let name = match name.filter(|name| !name.is_empty()) {
        Some(name) => name,
        None => {
            forge
                .project_by_id(project)
                .await?
                .ok_or_else(|| Problem::not_found("project"))?
                .default_branch
        }
    };
    let found = forge
        .repositories()
        .read(project, move |repo| read::resolve(repo, &name))
        .await?;
    found
        .map(|found| found.id)
        .ok_or_else(|| Problem::not_found("branch, tag or commit"))
}

/// Lists branches.
#[utoipa::path(get, path = "/api/v1/projects/{group}/{project}/branches", tag = "code",
    params(("group" = String, Path), ("project" = String, Path), Listing),
    responses((status = 200, body = BranchList)))]
async fn branches(
    State(forge): State<Forge>,
    InProject(scope): InProject,
    Params(listing): Params<Listing>,
) -> Answer {
    let (page, skip, take) = page_of(listing.page, listing.per_page);
    let project = forge
        .project_by_id(scope.id)
        .await?
        .ok_or_else(|| Problem::not_found("project"))?;
    let protected = forge.protected_branches(scope.id).await?;
    let (found, more) = forge
        .repositories()
        .read(scope.id, move |repo| {
            let names = history::heads(repo)?;
            let some: Vec<String> = names.iter().skip(skip).take(take).cloned().collect();
            Ok((
                read::named(repo, "refs/heads/", &some)?,
                names.len() > skip.saturating_add(take),
            ))
        })
        .await?;
    let branches = found
        .into_iter()
        .map(|branch| Branch {
            protected: protected.iter().any(|pattern| covers(pattern, &branch.name)),
            default: branch.name == project.default_branch,
            sha: branch.commit.id.to_string(),
            title: branch.commit.title,
            committed_at: branch.commit.committed_at,
            name: branch.name,
        })
        .collect();
    Ok(axum::Json(BranchList {
        branches,
        next_page: more.then_some(page + 1),
    })
    .into_response())
}

/// Lists tags.
#[utoipa::path(get, path = "/api/v1/projects/{group}/{project}/tags", tag = "code",
    params(("group" = String, Path), ("project" = String, Path), Listing),
    responses((status = 200, body = TagList)))]
async fn tags(
    State(forge): State<Forge>,
    InProject(scope): InProject,
    Params(listing): Params<Listing>,
) -> Answer {
    let (page, skip, take) = page_of(listing.page, listing.per_page);
    let (found, more) = forge
        .repositories()
        .read(scope.id, move |repo| {
            let mut names = read::names(repo, "refs/tags/")?;
            super::pages::newest_first(&mut names);
            let some: Vec<String> = names.iter().skip(skip).take(take).cloned().collect();
            Ok((
                read::named(repo, "refs/tags/", &some)?,
                names.len() > skip.saturating_add(take),
            ))
        })
        .await?;
    let tags = found
        .into_iter()
        .map(|tag| Tag {
            name: tag.name,
            sha: tag.commit.id.to_string(),
            title: tag.commit.title,
            committed_at: tag.commit.committed_at,
        })
        .collect();
    Ok(axum::Json(TagList {
        tags,
        next_page: more.then_some(page + 1),
    })
    .into_response())
}

/// Lists commits, newest first.
#[utoipa::path(get, path = "/api/v1/projects/{group}/{project}/commits", tag = "code",
    params(("group" = String, Path), ("project" = String, Path), CommitListing),
    responses((status = 200, body = CommitList)))]
async fn commits(
    State(forge): State<Forge>,
    InProject(scope): InProject,
    Params(listing): Params<CommitListing>,
) -> Answer {
    let (page, skip, take) = page_of(listing.page, listing.per_page);
    let tip = start(&forge, scope.id, listing.reference).await?;
    let (found, more) = forge
        .repositories()
        .read(scope.id, move |repo| history::page(repo, tip, skip, take))
        .await?;
    let commits = found.into_iter().map(Into::into).collect();
    Ok(axum::Json(CommitList {
        commits,
        next_page: more.then_some(page + 1),
    })
    .into_response())
}

/// Reads a commit.
#[utoipa::path(get, path = "/api/v1/projects/{group}/{project}/commits/{sha}", tag = "code",
    params(("group" = String, Path), ("project" = String, Path), ("sha" = String, Path)),
    responses((status = 200, body = Commit)))]
async fn commit(
    State(forge): State<Forge>,
    InProject(scope): InProject,
    place: PathOf<(String, String, String)>,
) -> Answer {
    let PathOf((_, _, sha)) = place;
    let id = start(&forge, scope.id, Some(sha)).await?;
    let commit = forge
        .repositories()
        .read(scope.id, move |repo| read::commit(repo, id))
        .await?;
    Ok(axum::Json(Commit::from(commit)).into_response())
}

/// Commits whole files to a branch.
#[utoipa::path(post, path = "/api/v1/projects/{group}/{project}/commits", tag = "code",
    params(("group" = String, Path), ("project" = String, Path)),
    request_body = NewCommit,
    responses((status = 201, body = Committed), (status = 403, description = "The branch is protected", body = Problem)))]
async fn commit_files(
    State(forge): State<Forge>,
    Who(caller): Who,
    InProject(scope): InProject,
    Body(new): Body<NewCommit>,
) -> Answer {
    if forge.is_protected(scope.id, &new.branch, false).await? && !scope.holds(Permission::ProtectedPush) {
        return Err(Problem::forbidden(Permission::ProtectedPush).into());
    }
    if forge.merge_settings(scope.id).await?.require_request
        && forge.is_protected_branch(scope.id, &new.branch).await?
        && forge.resolve_branch(scope.id, &new.branch).await?.is_some()
    {
        return Err(crate::push::request_required(&new.branch).into());
    }
    if new.message.trim().is_empty() {
        return Err(Problem::invalid("no_message", "A commit needs a message.")
            .why("Whoever reads the history must learn what the change is for.")
            .next("Say in one line what changes and why.")
            .into());
    }
    let name = &caller.actor.name;
    let author = Signature {
        name: name.clone(),
        email: format!("{name}@users.noreply.invalid"),
    };
    let files = new.files.into_iter().map(|file| FileToCommit {
        path: file.path,
        bytes: file.content.into_bytes(),
    });
    let sha = forge
        .commit_files(
            scope.id,
            &new.branch,
            files.collect(),
            &new.message,
            &author,
            &caller.actor,
        )
        .await?;
    Ok((StatusCode::CREATED, axum::Json(Committed { sha })).into_response())
}

/// Reads a file's bytes.
#[utoipa::path(get, path = "/api/v1/projects/{group}/{project}/files/{path}", tag = "code",
    params(("group" = String, Path), ("project" = String, Path), ("path" = String, Path, description = "Path from the top; slashes as %2F"), FileAt),
    responses((status = 200, description = "The bytes", content_type = "application/octet-stream")))]
async fn file(
    State(forge): State<Forge>,
    InProject(scope): InProject,
    place: PathOf<(String, String, String)>,
    Params(at): Params<FileAt>,
) -> Answer {
    let PathOf((_, _, path)) = place;
    let tip = start(&forge, scope.id, at.reference).await?;
    raw::respond(&forge, scope.id, tip, path.into_bytes()).await
}
