//! The page of one's to-dos.

use super::{Action, Filter};
use crate::Notices;
use askama::Template;
use axum::{
    extract::State,
    response::Redirect,
    routing::{get, post},
};
use bascule_core::TodoId;
use bascule_web::{
    Access, Answer, FormBody, Markup, Params, PathOf, Routes, Ui, Who, icon, url_encode, when,
};
use bascule_wire::notices::Todo;

pub(crate) fn routes() -> Routes<Notices> {
    let own = Access::SignedIn;
    Routes::new()
        .page("GET", "/-/todos", own, get(list))
        .page("POST", "/-/todos/done", own, post(finish_all))
        .page("POST", "/-/todos/{id}/done", own, post(finish))
}

struct Row {
    todo: Todo,
    icon: Markup,
    at: Markup,
    done_at: Option<Markup>,
    sign: char,
}

#[derive(Template)]
#[template(path = "todo/list.html")]
struct Page {
    rows: Vec<Row>,
    waiting: i64,
    filter: Filter,
    done: bool,
    narrowed: bool,
    actions: Vec<(&'static str, &'static str, bool)>,
    next: Option<String>,
    check: Markup,
}

fn picture(action: &str) -> Markup {
    icon(match Action::parse(action) {
        Some(Action::Assigned) => "user",
        Some(Action::ReviewRequested | Action::ReviewSubmitted) => "eye",
        Some(Action::ApprovalRequired) => "shield-check",
        Some(Action::Unmergeable | Action::MergeTrainRemoved | Action::AutoMergeDropped) => "git-merge",
        Some(Action::BuildFailed) => "circle-x",
        _ => "message",
    })
}

/// The filter as it stands in an address, without the page.
fn query(filter: &Filter) -> String {
    let mut parts = Vec::new();
    for (name, value) in [
        ("state", &filter.state),
        ("action", &filter.action),
        ("type", &filter.target),
        ("project", &filter.project),
    ] {
        if !value.is_empty() {
            parts.push(format!("{name}={}", url_encode(value)));
        }
    }
    parts.join("&")
}

async fn list(State(notices): State<Notices>, who: Who, ui: Ui, Params(filter): Params<Filter>) -> Answer {
    let found = notices.todos(&who, &filter).await?;
    let query = query(&filter);
    let page = Page {
        rows: found
            .items
            .into_iter()
            .map(|todo| Row {
                icon: picture(&todo.action),
                at: when(todo.at),
                done_at: todo.done_at.map(when),
                sign: if todo.target_type == "issue" { '#' } else { '!' },
                todo,
            })
            .collect(),
        waiting: found.waiting,
        done: filter.state == "done",
        narrowed: !(filter.action.is_empty() && filter.target.is_empty() && filter.project.is_empty()),
        actions: Action::ALL
            .into_iter()
            .map(|action| (action.as_str(), action.title(), action.as_str() == filter.action))
            .collect(),
        next: found.next.map(|id| {
            let and = if query.is_empty() { "" } else { "&" };
            format!("/-/todos?{query}{and}before={id}")
        }),
        filter,
        check: icon("check"),
    };
    ui.plain("To-dos", &page)
}

fn back(filter: &Filter) -> Redirect {
    Redirect::to(&format!("/-/todos?{}", query(filter)))
}

async fn finish(
    State(notices): State<Notices>,
    who: Who,
    PathOf(id): PathOf<TodoId>,
    FormBody(filter): FormBody<Filter>,
) -> Answer<Redirect> {
    notices.finish_todo(&who, id).await?;
    Ok(back(&filter))
}

async fn finish_all(
    State(notices): State<Notices>,
    who: Who,
    FormBody(filter): FormBody<Filter>,
) -> Answer<Redirect> {
    notices.finish_todos(&who, &filter).await?;
    Ok(back(&filter))
}
