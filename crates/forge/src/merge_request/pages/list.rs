//! The list of a project's requests, and the form for a new one.

use super::{badge, base, project_base};
use crate::{
    Forge,
    code::{heads, shown},
    merge_request::{State as Life, store},
};
use askama::Template;
use axum::{
    extract::State,
    response::{IntoResponse as _, Redirect},
};
use bascule_core::{Permission, limits};
use bascule_web::{Answer, Crumb, FormBody, InProject, Markup, Params, Tab, Ui, Who, icon, url_encode, when};
use bascule_wire::merge_request::NewMergeRequest;
use serde::Deserialize;

#[derive(Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    state: String,
    #[serde(default)]
    search: String,
    before: Option<i64>,
}

struct Row {
    href: String,
    iid: i64,
    title: String,
    state: &'static str,
    class: &'static str,
    icon: Markup,
    author: String,
    source: String,
    target: String,
    when: Markup,
}

#[derive(Template)]
#[template(path = "merge_request/pages/list.html")]
struct List {
    base: String,
    filters: Vec<(String, &'static str, bool)>,
    open: i64,
    state: String,
    search: String,
    rows: Vec<Row>,
    older: Option<String>,
    may_open: bool,
    queue: String,
    fork: String,
    icons: [Markup; 5],
}

pub(super) async fn list(
    State(forge): State<Forge>,
    InProject(scope): InProject,
    Params(asked): Params<Asked>,
    ui: Ui,
) -> Answer {
    let here = format!("{}/-/merge-requests", project_base(&scope));
    let state = match asked.state.as_str() {
        "" => Some(Life::Open),
        other => Life::parse(other),
    };
    let size = limits::PAGE_ENTRIES;
    let mut found = store::list(forge.db(), scope.id, state, &asked.search, asked.before, size + 1).await?;
    let more = found.len() as i64 > size;
    found.truncate(usize::try_from(size).unwrap_or(usize::MAX));
    let word = state.map_or("all", Life::as_str);
    let to = |state: &str| format!("{here}?state={state}&search={}", url_encode(&asked.search));
    let page = List {
        filters: [
            ("open", "Open"),
            ("merged", "Merged"),
            ("closed", "Closed"),
            ("all", "All"),
        ]
        .into_iter()
        .map(|(state, label)| (to(state), label, state == word))
        .collect(),
        older: found
            .last()
            .filter(|_| more)
            .map(|last| format!("{}&before={}", to(word), last.iid)),
        rows: found
            .iter()
            .map(|request| {
                let (state, class, picture) = badge(request);
                Row {
                    href: base(&scope, request.iid),
                    iid: request.iid,
                    title: shown(request.title.as_bytes()),
                    state,
                    class,
                    icon: icon(picture),
                    author: request.author_name.clone(),
                    source: request.source_branch.clone(),
                    target: request.target_branch.clone(),
                    when: when(request.updated_at),
                }
            })
            .collect(),
        open: forge.open_count(&scope).await?,
        state: word.to_owned(),
        search: asked.search.clone(),
        may_open: scope.holds(Permission::MergeRequestWrite),
        queue: format!("{}/-/merge-queue", project_base(&scope)),
        fork: format!("{}/-/fork", project_base(&scope)),
        icons: [
            icon("search"),
            icon("plus"),
            icon("git-pull-request"),
            icon("list"),
            icon("git-fork"),
        ],
        base: here,
    };
    ui.project_page(
        Tab::MergeRequests,
        &format!("Merge requests · {}", scope.path()),
        &trail(&scope, "Merge requests"),
        &page,
    )
}

fn trail(scope: &bascule_core::ProjectScope, here: &str) -> [Crumb; 3] {
    [
        Crumb::to(&scope.group, format!("/{}", scope.group)),
        Crumb::to(&scope.name, project_base(scope)),
        Crumb::here(here),
    ]
}

#[derive(Deserialize)]
pub(super) struct Wanted {
    #[serde(default)]
    source: String,
    #[serde(default)]
    target: String,
    #[serde(default)]
    from: String,
}

#[derive(Template)]
#[template(path = "merge_request/pages/new.html")]
struct New {
    base: String,
    from: String,
    source: String,
    target: String,
    branches: Vec<String>,
    targets: Vec<String>,
    /// Whether there are more than are offered: then names are written.
    more: bool,
    delete: bool,
}

/// Branches offered for choice.
const OFFERED: usize = 1_000;

pub(super) async fn new(
    State(forge): State<Forge>,
    Who(caller): Who,
    InProject(scope): InProject,
    Params(wanted): Params<Wanted>,
    ui: Ui,
) -> Answer {
    let project = forge.project_of(&scope).await?;
    let mut targets = forge.repositories().read(scope.id, heads).await?;
    let mut branches = targets.clone();
    if let Some((group, name)) = wanted.from.split_once('/')
        && let Some(fork) = forge.find(group, name).await?
        && forge
            .sight()
            .role(&caller, &fork)
            .await?
            .is_some_and(|role| role.holds(Permission::CodeRead))
    {
        branches = forge.repositories().read(fork.id, heads).await?;
    }
    branches.retain(|branch| !wanted.from.is_empty() || *branch != project.default_branch);
    let more = branches.len().max(targets.len()) > OFFERED;
    branches.truncate(OFFERED);
    targets.truncate(OFFERED);
    let page = New {
        base: format!("{}/-/merge-requests", project_base(&scope)),
        from: wanted.from,
        source: wanted.source,
        target: if wanted.target.is_empty() {
            project.default_branch
        } else {
            wanted.target
        },
        branches,
        targets,
        more,
        delete: forge.merge_settings(scope.id).await?.delete_source,
    };
    ui.project_page(
        Tab::MergeRequests,
        &format!("New merge request · {}", scope.path()),
        &trail(&scope, "New merge request"),
        &page,
    )
}

#[derive(Deserialize)]
pub(super) struct OpenForm {
    #[serde(default)]
    from: String,
    source_branch: String,
    #[serde(default)]
    target_branch: String,
    #[serde(default)]
    title: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    draft: Option<String>,
    #[serde(default)]
    delete_source_branch: Option<String>,
}

pub(super) async fn open(
    State(forge): State<Forge>,
    Who(caller): Who,
    InProject(scope): InProject,
    FormBody(form): FormBody<OpenForm>,
) -> Answer {
    let new = NewMergeRequest {
        source_project: (!form.from.is_empty()).then_some(form.from),
        source_branch: form.source_branch,
        target_branch: Some(form.target_branch),
        title: form.title,
        description: form.description,
        draft: form.draft.is_some(),
        delete_source_branch: Some(form.delete_source_branch.is_some()),
    };
    let request = forge.open_request(&caller, &scope, &new).await?;
    Ok(Redirect::to(&base(&scope, request.iid)).into_response())
}
