//! The page of a project's merge queues.

use super::store;
use crate::{Forge, code::shown, merge_request::store as requests, told::told};
use askama::Template;
use axum::{extract::State, routing::get};
use bascule_core::{Permission, limits};
use bascule_web::{Access, Answer, Crumb, InProject, Markup, Routes, Tab, Ui, icon, when};

pub(crate) fn routes() -> Routes<Forge> {
    Routes::new().page(
        "GET",
        "/{group}/{project}/-/merge-queue",
        Access::Project(Permission::CodeRead),
        get(queue),
    )
}

struct Row {
    place: usize,
    href: String,
    iid: i64,
    title: String,
    target: String,
    by: String,
    pipeline: Option<(String, i64)>,
    state: &'static str,
    since: Markup,
}

struct Gone {
    href: String,
    iid: i64,
    title: String,
    detail: Markup,
    at: Markup,
}

#[derive(Template)]
#[template(path = "queue/queue.html")]
struct Queue {
    on: bool,
    parallel: i64,
    rows: Vec<Row>,
    gone: Vec<Gone>,
    icons: [Markup; 2],
}

async fn queue(State(forge): State<Forge>, InProject(scope): InProject, ui: Ui) -> Answer {
    let base = format!("/{}", scope.path());
    let settings = forge.merge_settings(scope.id).await?;
    let entries = store::of_project(forge.db(), scope.id, limits::API_PAGE_ENTRIES).await?;
    let mut rows: Vec<Row> = Vec::new();
    for entry in entries {
        let place = match rows.last() {
            Some(last) if last.target == entry.target_branch => last.place + 1,
            _ => 1,
        };
        let title = requests::by_id(forge.db(), entry.merge_request_id)
            .await?
            .map(|request| shown(request.title.as_bytes()))
            .unwrap_or_default();
        rows.push(Row {
            state: forge.stands(&settings, &entry).await?,
            place,
            href: format!("{base}/-/merge-requests/{}", entry.iid),
            iid: entry.iid,
            title,
            target: entry.target_branch,
            by: entry.actor_name,
            pipeline: entry.pipeline.map(|id| (format!("{base}/-/pipelines/{id}"), id)),
            since: when(entry.at),
        });
    }
    let gone = store::all_left(forge.db(), scope.id, 20).await?;
    let page = Queue {
        on: settings.queue,
        parallel: settings.queue_parallel,
        rows,
        gone: gone
            .into_iter()
            .map(|gone| Gone {
                href: format!("{base}/-/merge-requests/{}", gone.iid),
                iid: gone.iid,
                title: shown(gone.title.as_bytes()),
                detail: told(&gone.detail, &base),
                at: when(gone.at),
            })
            .collect(),
        icons: [icon("git-merge"), icon("circle-x")],
    };
    let crumbs = [
        Crumb::to(&scope.group, format!("/{}", scope.group)),
        Crumb::to(&scope.name, base.clone()),
        Crumb::to("Merge requests", format!("{base}/-/merge-requests")),
        Crumb::here("Merge queue"),
    ];
    ui.project_page(
        Tab::MergeRequests,
        &format!("Merge queue · {}", scope.path()),
        &crumbs,
        &page,
    )
}
