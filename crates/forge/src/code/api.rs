//! Code as JSON.

use super::{
    FileToCommit, Signature, archive as packed, branches as beside, diff, history,
    pages::{raw, references},
    paths::shown,
    read::{self, CommitInfo},
};
use crate::Forge;
use axum::{extract::State, response::IntoResponse as _};
use bascule_core::{Permission, Problem, any_covers, limits};
use bascule_web::{Access, Answer, Body, InProject, Params, PathOf, Routes, Who, routes};
use bascule_wire::forge::{
    Blame, BlameHunk, Branch, BranchList, ChangedFile, Commit, CommitList, Committed, Comparison,
    DeletedBranch, DeletedBranchList, NewCommit, RestoreBranch, Tag, TagList,
};
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
        .api(read, routes!(blame))
        .api(read, routes!(compare))
        .api(read, routes!(archive))
        .api(read, routes!(deleted_branches))
        .api(Access::Project(Permission::CodePush), routes!(restore_branch))
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
    /// Only what changed this file (through its renames) or directory.
    #[serde(default)]
    path: Option<String>,
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
            protected: any_covers(&protected, &branch.name),
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
    let (found, more) = match listing.path.filter(|path| !path.is_empty()) {
        Some(path) => {
            let (steps, more) = forge.follow(scope.id, tip, path.as_bytes(), skip, take).await?;
            (steps.into_iter().map(|step| step.commit).collect(), more)
        }
        None => {
            forge
                .repositories()
                .read(scope.id, move |repo| {
                    history::page(repo, tip, Vec::new(), skip, take)
                })
                .await?
        }
    };
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
    raw::respond(&forge, scope.id, tip, path.into_bytes(), raw::Asked::Else).await
}

/// Which lines.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct BlameAt {
    /// Branch, tag or commit; the default branch if left out.
    #[serde(default, rename = "ref")]
    reference: Option<String>,
    /// The first line, from 1; at most 1,000 lines are told.
    #[serde(default)]
    line: Option<usize>,
}

/// Says who wrote each line of a file.
#[utoipa::path(get, path = "/api/v1/projects/{group}/{project}/blame/{path}", tag = "code",
    params(("group" = String, Path), ("project" = String, Path), ("path" = String, Path, description = "Path from the top; slashes as %2F"), BlameAt),
    responses((status = 200, body = Blame)))]
async fn blame(
    State(forge): State<Forge>,
    InProject(scope): InProject,
    place: PathOf<(String, String, String)>,
    Params(at): Params<BlameAt>,
) -> Answer {
    let PathOf((_, _, path)) = place;
    let tip = start(&forge, scope.id, at.reference).await?;
    let blamed = forge
        .blame(scope.id, tip, path.as_bytes(), at.line.unwrap_or(1))
        .await?;
    let hunks = blamed.hunks.iter().map(|hunk| BlameHunk {
        sha: hunk.author.commit.to_string(),
        author_name: hunk.author.name.clone(),
        authored_at: hunk.author.at,
        title: hunk.author.title.clone(),
        first_line: hunk.first as u64,
        lines: hunk.lines.clone(),
    });
    Ok(axum::Json(Blame {
        hunks: hunks.collect(),
        lines: blamed.total as u64,
        next_line: blamed.next.map(|line| line as u64),
    })
    .into_response())
}

/// What to compare.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Compared {
    /// Branch, tag or commit; the default branch if left out.
    #[serde(default)]
    from: Option<String>,
    /// Branch, tag or commit; the default branch if left out.
    #[serde(default)]
    to: Option<String>,
    /// Page of commits, from 1.
    #[serde(default)]
    page: Option<i64>,
    /// Commits on a page, at most 200.
    #[serde(default)]
    per_page: Option<i64>,
}

/// Files that are named in a comparison.
const FILES: usize = 10_000;

/// Compares two branches, tags or commits.
#[utoipa::path(get, path = "/api/v1/projects/{group}/{project}/compare", tag = "code",
    params(("group" = String, Path), ("project" = String, Path), Compared),
    responses((status = 200, body = Comparison)))]
async fn compare(
    State(forge): State<Forge>,
    InProject(scope): InProject,
    Params(asked): Params<Compared>,
) -> Answer {
    let (page, skip, take) = page_of(asked.page, asked.per_page);
    let old = start(&forge, scope.id, asked.from).await?;
    let new = start(&forge, scope.id, asked.to).await?;
    let between = forge
        .repositories()
        .read(scope.id, move |repo| beside::between(repo, old, new, skip, take))
        .await?;
    let file = |change: &diff::Changed| ChangedFile {
        path: shown(&change.path),
        old_path: change.from.as_deref().map(shown),
        change: match (&change.old, &change.new, &change.from) {
            (_, _, Some(_)) => "moved",
            (None, ..) => "added",
            (_, None, _) => "deleted",
            _ => "changed",
        }
        .to_owned(),
    };
    Ok(axum::Json(Comparison {
        merge_base: between.base.map(|id| id.to_string()),
        ahead: between.distance.ahead as u64,
        behind: between.distance.behind as u64,
        next_page: (skip.saturating_add(take) < between.distance.ahead).then_some(page + 1),
        commits: between.commits.into_iter().map(Into::into).collect(),
        files: between.changes.iter().take(FILES).map(file).collect(),
        file_count: between.changes.len() as u64,
        note: between.instead,
    })
    .into_response())
}

/// Which archive.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Packed {
    /// Branch, tag or commit; the default branch if left out.
    #[serde(default, rename = "ref")]
    reference: Option<String>,
    /// `tar.gz` (if left out), `zip` or `tar`.
    #[serde(default)]
    format: Option<String>,
}

/// Hands out all files of a commit in one archive.
#[utoipa::path(get, path = "/api/v1/projects/{group}/{project}/archive", tag = "code",
    params(("group" = String, Path), ("project" = String, Path), Packed),
    responses((status = 200, description = "The archive", content_type = "application/octet-stream")))]
async fn archive(
    State(forge): State<Forge>,
    InProject(scope): InProject,
    Params(asked): Params<Packed>,
) -> Answer {
    let reference = match asked.reference.filter(|name| !name.is_empty()) {
        Some(reference) => reference,
        None => forge.project_of(&scope).await?.default_branch,
    };
    let format = asked.format.unwrap_or_else(|| "tar.gz".to_owned());
    packed::respond(&forge, &scope, &format!("{reference}.{format}")).await
}

/// Lists branches that were deleted in the last 30 days and can be brought back.
#[utoipa::path(get, path = "/api/v1/projects/{group}/{project}/deleted-branches", tag = "code",
    params(("group" = String, Path), ("project" = String, Path)),
    responses((status = 200, body = DeletedBranchList)))]
async fn deleted_branches(State(forge): State<Forge>, InProject(scope): InProject) -> Answer {
    let deleted = forge.deleted_branches(scope.id).await?;
    let branches = deleted.into_iter().map(|one| DeletedBranch {
        name: one.name,
        sha: one.sha,
        deleted_by: one.deleted_by,
        at: one.at,
    });
    Ok(axum::Json(DeletedBranchList {
        branches: branches.collect(),
    })
    .into_response())
}

/// Brings a deleted branch back where it stood.
#[utoipa::path(post, path = "/api/v1/projects/{group}/{project}/deleted-branches", tag = "code",
    params(("group" = String, Path), ("project" = String, Path)),
    request_body = RestoreBranch,
    responses((status = 201, body = Committed), (status = 409, description = "There is one of that name", body = Problem)))]
async fn restore_branch(
    State(forge): State<Forge>,
    Who(caller): Who,
    InProject(scope): InProject,
    Body(wanted): Body<RestoreBranch>,
) -> Answer {
    references::may_restore(&forge, &scope, &wanted.name).await?;
    let sha = forge
        .restore_branch(scope.id, &wanted.name, &caller.actor)
        .await?;
    Ok((StatusCode::CREATED, axum::Json(Committed { sha })).into_response())
}
