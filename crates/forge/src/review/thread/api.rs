//! Threads, reviews and suggestions as JSON.

use super::{Comment, Talk, store};
use crate::{
    Forge, ProjectInfo,
    merge_request::MergeRequest,
    review::{position::Side, suggestion},
};
use axum::{extract::State, response::IntoResponse as _};
use bascule_core::{CommentId, Permission, Problem, ProjectScope, Result, ThreadId, limits};
use bascule_web::{Access, Answer, Body, InProject, Params, PathOf, Routes, Who, routes};
use bascule_wire::review as wire;
use http::StatusCode;
use serde::Deserialize;
use std::sync::Arc;
use utoipa::IntoParams;

pub(crate) fn routes() -> Routes<Forge> {
    let see = Access::Project(Permission::CodeRead);
    let write = Access::Project(Permission::MergeRequestWrite);
    Routes::new()
        .api(see, routes!(list))
        .api(write, routes!(begin))
        .api(write, routes!(settle))
        .api(write, routes!(reply))
        .api(write, routes!(edit))
        .api(write, routes!(delete))
        .api(write, routes!(review))
        .api(write, routes!(apply))
}

/// Which page of threads.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Listing {
    /// Those after this one.
    #[serde(default)]
    #[param(value_type = Option<String>)]
    after: Option<ThreadId>,
    /// How many, at most 200.
    #[serde(default)]
    per_page: Option<i64>,
}

impl Forge {
    /// The project and the request that a path names.
    pub(crate) async fn reviewed(
        &self,
        scope: &ProjectScope,
        iid: i64,
    ) -> Result<(Arc<ProjectInfo>, MergeRequest)> {
        let project = self
            .project_by_id(scope.id)
            .await?
            .ok_or_else(|| Problem::not_found("project"))?;
        Ok((Arc::new(project), self.merge_request(scope.id, iid).await?))
    }
}

/// A thread as the API tells it.
pub(crate) fn thread_to_wire(talk: &Talk, applied: &[store::Applied]) -> wire::Thread {
    let position = talk.place.as_ref().map(|place| wire::Position {
        path: place.path.clone(),
        side: place.side.as_str().to_owned(),
        start: place.lines.start,
        end: place.lines.end,
        outdated: place.outdated,
        head: talk.thread.head.clone(),
    });
    wire::Thread {
        id: talk.thread.id,
        position,
        resolved_by: talk.thread.resolved_by.clone(),
        resolved_at: talk.thread.resolved_at,
        comments: talk
            .comments
            .iter()
            .map(|comment| comment_to_wire(comment, talk, applied))
            .collect(),
    }
}

fn comment_to_wire(comment: &Comment, talk: &Talk, applied: &[store::Applied]) -> wire::Comment {
    wire::Comment {
        id: comment.id,
        author: comment.author_name.clone(),
        bot: !comment.person,
        body: comment.body.clone(),
        draft: comment.draft,
        deleted: comment.deleted,
        suggestions: suggestions(comment, talk, applied),
        created_at: comment.created_at,
        edited_at: comment.edited_at,
    }
}

/// A comment's suggestions; only one on lines of the new text is any.
pub(crate) fn suggestions(
    comment: &Comment,
    talk: &Talk,
    applied: &[store::Applied],
) -> Vec<wire::Suggestion> {
    let Some(place) = talk.place.as_ref().filter(|place| place.side == Side::New) else {
        return Vec::new();
    };
    let blocks = suggestion::find(&comment.body);
    (0..)
        .zip(blocks)
        .map(|(number, block)| {
            let done = applied
                .iter()
                .find(|done| done.comment_id == comment.id && done.number == i64::from(number));
            let lines = block
                .lines(place.lines)
                .filter(|_| !place.outdated && done.is_none() && !comment.draft);
            wire::Suggestion {
                number,
                text: block.text,
                start: lines.map(|lines| lines.start),
                end: lines.map(|lines| lines.end),
                applied: done.map(|done| done.commit_sha.clone()),
            }
        })
        .collect()
}

/// Lists the threads of a merge request.
#[utoipa::path(get, path = "/api/v1/projects/{group}/{project}/merge-requests/{iid}/threads", tag = "reviews",
    params(("group" = String, Path), ("project" = String, Path), ("iid" = i64, Path), Listing),
    responses((status = 200, body = wire::ThreadList)))]
async fn list(
    State(forge): State<Forge>,
    Who(caller): Who,
    InProject(scope): InProject,
    place: PathOf<(String, String, i64)>,
    Params(listing): Params<Listing>,
) -> Answer {
    let PathOf((_, _, iid)) = place;
    let (_, request) = forge.reviewed(&scope, iid).await?;
    let limit = listing
        .per_page
        .unwrap_or(limits::PAGE_ENTRIES)
        .clamp(1, limits::API_PAGE_ENTRIES);
    let mut talks = forge.talks(&caller, &request, listing.after, limit + 1).await?;
    let size = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = talks.len() > size;
    talks.truncate(size);
    let applied = store::applied(forge.db(), request.id).await?;
    Ok(axum::Json(wire::ThreadList {
        next_after: talks.last().map(|talk| talk.thread.id).filter(|_| more),
        threads: talks.iter().map(|talk| thread_to_wire(talk, &applied)).collect(),
        unresolved: store::unresolved(forge.db(), request.id).await?,
    })
    .into_response())
}

async fn one(
    forge: &Forge,
    caller: &bascule_core::Caller,
    request: &MergeRequest,
    id: ThreadId,
) -> Result<wire::Thread> {
    let thread = forge.thread(caller, request.id, id).await?;
    let me = super::me(caller);
    let comments = store::comments(forge.db(), request.id, &me, id, id, 1_000).await?;
    let places = forge.place_all(request, vec![thread.anchor()]).await?;
    let talk = Talk {
        thread,
        comments,
        place: places.into_iter().next().flatten(),
    };
    let applied = store::applied(forge.db(), request.id).await?;
    Ok(thread_to_wire(&talk, &applied))
}

/// Begins a thread, on lines or about the request as a whole.
#[utoipa::path(post, path = "/api/v1/projects/{group}/{project}/merge-requests/{iid}/threads", tag = "reviews",
    params(("group" = String, Path), ("project" = String, Path), ("iid" = i64, Path)),
    request_body = wire::NewThread,
    responses((status = 201, body = wire::Thread), (status = 409, description = "The request has changed since", body = Problem)))]
async fn begin(
    State(forge): State<Forge>,
    Who(caller): Who,
    InProject(scope): InProject,
    place: PathOf<(String, String, i64)>,
    Body(new): Body<wire::NewThread>,
) -> Answer {
    let PathOf((_, _, iid)) = place;
    let (project, request) = forge.reviewed(&scope, iid).await?;
    let thread = forge.begin_thread(&caller, &project, &request, &new).await?;
    let answer = one(&forge, &caller, &request, thread.id).await?;
    Ok((StatusCode::CREATED, axum::Json(answer)).into_response())
}

/// Settles a thread, or opens it again.
#[utoipa::path(put, path = "/api/v1/projects/{group}/{project}/merge-requests/{iid}/threads/{thread}", tag = "reviews",
    params(("group" = String, Path), ("project" = String, Path), ("iid" = i64, Path), ("thread" = String, Path)),
    request_body = wire::ThreadChange,
    responses((status = 200, body = wire::Thread)))]
async fn settle(
    State(forge): State<Forge>,
    Who(caller): Who,
    InProject(scope): InProject,
    place: PathOf<(String, String, i64, ThreadId)>,
    Body(change): Body<wire::ThreadChange>,
) -> Answer {
    let PathOf((_, _, iid, thread)) = place;
    let (_, request) = forge.reviewed(&scope, iid).await?;
    forge
        .resolve_thread(&caller, &scope, &request, thread, change.resolved)
        .await?;
    Ok(axum::Json(one(&forge, &caller, &request, thread).await?).into_response())
}

/// Answers in a thread.
#[utoipa::path(post, path = "/api/v1/projects/{group}/{project}/merge-requests/{iid}/threads/{thread}/comments", tag = "reviews",
    params(("group" = String, Path), ("project" = String, Path), ("iid" = i64, Path), ("thread" = String, Path)),
    request_body = wire::NewReply,
    responses((status = 201, body = wire::Thread)))]
async fn reply(
    State(forge): State<Forge>,
    Who(caller): Who,
    InProject(scope): InProject,
    place: PathOf<(String, String, i64, ThreadId)>,
    Body(new): Body<wire::NewReply>,
) -> Answer {
    let PathOf((_, _, iid, thread)) = place;
    let (project, request) = forge.reviewed(&scope, iid).await?;
    forge.reply(&caller, &project, &request, thread, &new).await?;
    let answer = one(&forge, &caller, &request, thread).await?;
    Ok((StatusCode::CREATED, axum::Json(answer)).into_response())
}

/// Changes one's own comment.
#[utoipa::path(patch, path = "/api/v1/projects/{group}/{project}/merge-requests/{iid}/comments/{comment}", tag = "reviews",
    params(("group" = String, Path), ("project" = String, Path), ("iid" = i64, Path), ("comment" = String, Path)),
    request_body = wire::CommentChange,
    responses((status = 204)))]
async fn edit(
    State(forge): State<Forge>,
    Who(caller): Who,
    InProject(scope): InProject,
    place: PathOf<(String, String, i64, CommentId)>,
    Body(change): Body<wire::CommentChange>,
) -> Answer {
    let PathOf((_, _, iid, comment)) = place;
    let (project, request) = forge.reviewed(&scope, iid).await?;
    forge
        .edit_comment(&caller, &project, &request, comment, &change.body)
        .await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Takes one's own comment back.
#[utoipa::path(delete, path = "/api/v1/projects/{group}/{project}/merge-requests/{iid}/comments/{comment}", tag = "reviews",
    params(("group" = String, Path), ("project" = String, Path), ("iid" = i64, Path), ("comment" = String, Path)),
    responses((status = 204)))]
async fn delete(
    State(forge): State<Forge>,
    Who(caller): Who,
    InProject(scope): InProject,
    place: PathOf<(String, String, i64, CommentId)>,
) -> Answer {
    let PathOf((_, _, iid, comment)) = place;
    let (_, request) = forge.reviewed(&scope, iid).await?;
    forge.delete_comment(&caller, &request, comment).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Sends a review: a verdict, with all comments kept back for it.
#[utoipa::path(post, path = "/api/v1/projects/{group}/{project}/merge-requests/{iid}/reviews", tag = "reviews",
    params(("group" = String, Path), ("project" = String, Path), ("iid" = i64, Path)),
    request_body = wire::NewReview,
    responses((status = 200, body = wire::Approvals), (status = 403, description = "You may not approve it", body = Problem)))]
async fn review(
    State(forge): State<Forge>,
    Who(caller): Who,
    InProject(scope): InProject,
    place: PathOf<(String, String, i64)>,
    Body(new): Body<wire::NewReview>,
) -> Answer {
    let PathOf((_, _, iid)) = place;
    let (project, request) = forge.reviewed(&scope, iid).await?;
    forge
        .submit_review(&caller, &scope, &project, &request, &new)
        .await?;
    let answer = forge.approvals_wire(&caller, &scope, &project, &request).await?;
    Ok(axum::Json(answer).into_response())
}

/// Makes suggestions a commit on the source branch.
#[utoipa::path(post, path = "/api/v1/projects/{group}/{project}/merge-requests/{iid}/suggestions", tag = "reviews",
    params(("group" = String, Path), ("project" = String, Path), ("iid" = i64, Path)),
    request_body = wire::ApplySuggestions,
    responses((status = 200, body = wire::AppliedSuggestions), (status = 409, description = "The lines have changed since", body = Problem)))]
async fn apply(
    State(forge): State<Forge>,
    Who(caller): Who,
    InProject(scope): InProject,
    place: PathOf<(String, String, i64)>,
    Body(order): Body<wire::ApplySuggestions>,
) -> Answer {
    let PathOf((_, _, iid)) = place;
    let (_, request) = forge.reviewed(&scope, iid).await?;
    let commit = forge.apply_suggestions(&caller, &request, &order).await?;
    Ok(axum::Json(wire::AppliedSuggestions { commit }).into_response())
}
