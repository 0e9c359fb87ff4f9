//! One request: what it is for, what holds it, its commits; and the forms that change it.

use super::{Condition, Head, base, crumbs};
use crate::{
    Forge,
    code::pages::{Line, line},
    merge_request::{State as Life, Strategy, api::Place, read, store},
    ports::Shown,
    told::told,
};
use askama::Template;
use axum::{
    extract::State,
    response::{IntoResponse as _, Redirect},
};
use bascule_core::{Permission, limits};
use bascule_web::{Answer, FormBody, InProject, Markup, Params, PathOf, Tab, Ui, Who, icon, markdown, when};
use bascule_wire::merge_request::MergeRequestChange;
use serde::Deserialize;

struct VersionRow {
    number: i64,
    head: String,
    short: String,
    commits: i64,
    forced: bool,
    by: String,
    when: Markup,
}

/// Who merged or closed it.
struct Ended {
    by: String,
    at: Markup,
    /// The merge's commit: where it is shown, and its beginning.
    commit: Option<(String, String)>,
}

#[derive(Template)]
#[template(path = "merge_request/pages/overview.html")]
struct Overview {
    head: Head,
    description: Option<Markup>,
    open: bool,
    closed: bool,
    ended: Option<Ended>,
    conditions: Vec<Condition>,
    free: bool,
    may_merge: bool,
    may_bypass: bool,
    merged: bool,
    may_push: bool,
    sha: String,
    delete: bool,
    strategies: Vec<(&'static str, &'static str, bool)>,
    queue: bool,
    auto: Option<String>,
    queued: Option<(i64, String)>,
    left: Option<(Markup, Markup)>,
    /// Why it is not merged by itself any more, and since when.
    dropped: Option<(String, Markup)>,
    /// Whether the queue found it to break the branch, as it is now.
    thrown_out: bool,
    may_edit: bool,
    draft: bool,
    versions: Vec<VersionRow>,
    /// What other rooms put below, such as the discussion.
    parts: Vec<Markup>,
    /// What they put beside, such as approvals.
    beside: Vec<Markup>,
    icons: [Markup; 3],
}

pub(super) async fn overview(
    State(forge): State<Forge>,
    Who(caller): Who,
    InProject(scope): InProject,
    place: Place,
    Params(paging): Params<crate::review::pages::overview::Paging>,
    ui: Ui,
) -> Answer {
    let PathOf((_, _, iid)) = place;
    let (info, request) = forge.reviewed(&scope, iid).await?;
    let weighed = forge.weigh_approvals(&info, &request).await?;
    let (discussion, approvals) = forge
        .review_parts(&caller, &scope, &request, &weighed, paging.after)
        .await?;
    let (conditions, free) = forge.conditions(&info, &request, &weighed).await?;
    let shown = match forge.panels() {
        Some(panels) => panels
            .panels(&caller, &scope, &request)
            .await
            .unwrap_or_else(|problem| {
                // The request is read all the same.
                tracing::warn!(%problem, "what others show on a request's page is left out");
                Shown::default()
            }),
        None => Shown::default(),
    };
    let project = super::project_base(&scope);
    let settings = forge.merge_settings(scope.id).await?;
    let entry = crate::queue::store::find(forge.db(), request.id).await?;
    let thrown_out = conditions
        .iter()
        .any(|condition| condition.name == crate::queue::CONDITION);
    let own = caller.user.is_some() && caller.user == request.author_id;
    let versions = store::versions(forge.db(), request.id, limits::PAGE_ENTRIES).await?;
    let page = Overview {
        head: forge.head(&scope, &request, 0).await?,
        description: (!request.description.trim().is_empty())
            .then(|| markdown::of_project(&request.description, &scope.path(), &request.head)),
        open: request.state == Life::Open,
        closed: request.state == Life::Closed,
        ended: request.ended_at.map(|at| Ended {
            by: request.ended_by.clone().unwrap_or_default(),
            at: when(at),
            commit: request
                .merge_sha
                .as_ref()
                .map(|sha| (format!("{project}/-/commit/{sha}"), short(sha))),
        }),
        may_bypass: scope.holds(Permission::ProtectedPush)
            && conditions.iter().any(|condition| condition.by_policy),
        conditions,
        free,
        may_merge: request.state == Life::Open && forge.may_merge(&scope, &request, &settings).await.is_ok(),
        merged: request.merge_before.is_some(),
        may_push: scope.holds(Permission::CodePush),
        sha: request.head.clone(),
        delete: request.delete_source,
        strategies: choices(settings.strategy),
        queue: settings.queue,
        auto: request.auto_name.clone(),
        queued: match &entry {
            Some(entry) => Some((
                crate::queue::store::before(forge.db(), entry).await? + 1,
                format!("{project}/-/merge-queue"),
            )),
            None => None,
        },
        left: crate::queue::store::left(forge.db(), request.id)
            .await?
            // Where a condition says it, it is not said twice.
            .filter(|_| request.state == Life::Open && entry.is_none() && !thrown_out)
            .map(|left| (told(&left.detail, &project), when(left.at))),
        dropped: forge
            .wish_dropped(&request)
            .await?
            .filter(|_| entry.is_none())
            .map(|(told, at)| (told, when(at))),
        thrown_out,
        may_edit: own || scope.holds(Permission::CodePush),
        draft: request.draft,
        versions: versions
            .into_iter()
            .map(|version| VersionRow {
                number: version.number,
                short: short(&version.head),
                head: version.head,
                commits: version.commit_count,
                forced: version.forced,
                by: version.by_name,
                when: when(version.at),
            })
            .collect(),
        parts: shown.below.into_iter().chain([discussion]).collect(),
        beside: std::iter::once(approvals).chain(shown.beside).collect(),
        icons: [icon("edit"), icon("git-merge"), icon("history")],
    };
    let title = format!("{} (!{iid}) · {}", page.head.title, scope.path());
    ui.project_page(Tab::MergeRequests, &title, &crumbs(&scope, iid), &page)
}

/// The ways to merge that are offered: the project's own first.
fn choices(usual: Strategy) -> Vec<(&'static str, &'static str, bool)> {
    Strategy::ALL
        .into_iter()
        .filter(|strategy| {
            usual != Strategy::FastForward || matches!(strategy, Strategy::FastForward | Strategy::Rebase)
        })
        .map(|strategy| (strategy.as_str(), strategy.label(), strategy == usual))
        .collect()
}

pub(super) fn short(sha: &str) -> String {
    sha.chars().take(8).collect()
}

#[derive(Deserialize)]
pub(super) struct Paging {
    page: Option<usize>,
}

#[derive(Template)]
#[template(path = "merge_request/pages/commits.html")]
struct Commits {
    head: Head,
    lines: Vec<Line>,
    newer: Option<String>,
    older: Option<String>,
}

pub(super) async fn commits(
    State(forge): State<Forge>,
    InProject(scope): InProject,
    place: Place,
    Params(paging): Params<Paging>,
    ui: Ui,
) -> Answer {
    let PathOf((_, _, iid)) = place;
    let request = forge.merge_request(scope.id, iid).await?;
    let size = usize::try_from(limits::PAGE_ENTRIES).unwrap_or(50);
    let page = paging.page.unwrap_or(1).clamp(1, 1_000_000);
    let (old, new) = (request.base.clone(), request.head.clone());
    let (found, more) = forge
        .repositories()
        .read(scope.id, move |repo| {
            let (base, head) = (read::id(repo, &old)?, read::id(repo, &new)?);
            read::commits(repo, base, head, (page - 1) * size, size)
        })
        .await?;
    let to = |page: usize| format!("{}/commits?page={page}", base(&scope, iid));
    let content = Commits {
        head: forge.head(&scope, &request, 1).await?,
        lines: found.iter().map(|commit| line(&scope, commit)).collect(),
        newer: (page > 1).then(|| to(page - 1)),
        older: more.then(|| to(page + 1)),
    };
    let title = format!("Commits of !{iid} · {}", scope.path());
    ui.project_page(Tab::MergeRequests, &title, &crumbs(&scope, iid), &content)
}

#[derive(Template)]
#[template(path = "merge_request/pages/edit.html")]
struct Edit {
    base: String,
    iid: i64,
    title: String,
    description: String,
    target: String,
    targets: Vec<String>,
    draft: bool,
    delete: bool,
}

pub(super) async fn edit(
    State(forge): State<Forge>,
    InProject(scope): InProject,
    place: Place,
    ui: Ui,
) -> Answer {
    let PathOf((_, _, iid)) = place;
    let request = forge.merge_request(scope.id, iid).await?;
    let mut targets = forge.repositories().read(scope.id, crate::code::heads).await?;
    targets.truncate(1_000);
    if !targets.contains(&request.target_branch) {
        targets.insert(0, request.target_branch.clone());
    }
    let page = Edit {
        base: base(&scope, iid),
        iid,
        title: request.title,
        description: request.description,
        target: request.target_branch,
        targets,
        draft: request.draft,
        delete: request.delete_source,
    };
    let title = format!("Edit !{iid} · {}", scope.path());
    ui.project_page(Tab::MergeRequests, &title, &crumbs(&scope, iid), &page)
}

#[derive(Deserialize)]
pub(super) struct EditForm {
    title: String,
    #[serde(default)]
    description: String,
    target_branch: String,
    #[serde(default)]
    draft: Option<String>,
    #[serde(default)]
    delete_source_branch: Option<String>,
}

pub(super) async fn save(
    State(forge): State<Forge>,
    Who(caller): Who,
    InProject(scope): InProject,
    place: Place,
    FormBody(form): FormBody<EditForm>,
) -> Answer {
    let PathOf((_, _, iid)) = place;
    let change = MergeRequestChange {
        title: Some(form.title),
        description: Some(form.description),
        target_branch: Some(form.target_branch),
        draft: Some(form.draft.is_some()),
        delete_source_branch: Some(form.delete_source_branch.is_some()),
    };
    forge.edit_request(&caller, &scope, iid, &change).await?;
    Ok(Redirect::to(&base(&scope, iid)).into_response())
}

pub(super) async fn close(
    State(forge): State<Forge>,
    Who(caller): Who,
    InProject(scope): InProject,
    place: Place,
) -> Answer {
    let PathOf((_, _, iid)) = place;
    forge.close_request(&caller, &scope, iid).await?;
    Ok(Redirect::to(&base(&scope, iid)).into_response())
}

pub(super) async fn reopen(
    State(forge): State<Forge>,
    Who(caller): Who,
    InProject(scope): InProject,
    place: Place,
) -> Answer {
    let PathOf((_, _, iid)) = place;
    forge.reopen_request(&caller, &scope, iid).await?;
    Ok(Redirect::to(&base(&scope, iid)).into_response())
}

#[derive(Deserialize)]
pub(super) struct ReadyForm {
    draft: bool,
}

pub(super) async fn ready(
    State(forge): State<Forge>,
    Who(caller): Who,
    InProject(scope): InProject,
    place: Place,
    FormBody(form): FormBody<ReadyForm>,
) -> Answer {
    let PathOf((_, _, iid)) = place;
    let change = MergeRequestChange {
        draft: Some(form.draft),
        ..MergeRequestChange::default()
    };
    forge.edit_request(&caller, &scope, iid, &change).await?;
    Ok(Redirect::to(&base(&scope, iid)).into_response())
}
