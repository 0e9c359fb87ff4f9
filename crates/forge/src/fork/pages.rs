//! The form that makes a fork.

use crate::Forge;
use askama::Template;
use axum::{
    extract::State,
    response::{IntoResponse as _, Redirect},
    routing::get,
};
use bascule_core::{Permission, Problem};
use bascule_web::{Access, Answer, Crumb, FormBody, InProject, Markup, Routes, Tab, Ui, Who, icon};
use bascule_wire::merge_request::NewFork;
use serde::Deserialize;

pub(super) fn routes() -> Routes<Forge> {
    Routes::new().page(
        "GET,POST",
        "/{group}/{project}/-/fork",
        Access::Project(Permission::CodeRead),
        get(form).post(fork),
    )
}

#[derive(Template)]
#[template(path = "fork/fork.html")]
struct Form {
    base: String,
    path: String,
    group: String,
    name: String,
    icon: Markup,
}

async fn form(Who(caller): Who, InProject(scope): InProject, ui: Ui) -> Answer {
    let page = Form {
        base: format!("/{}/-/fork", scope.path()),
        path: scope.path(),
        group: caller.actor.name.clone(),
        name: scope.name.clone(),
        icon: icon("git-fork"),
    };
    let crumbs = [
        Crumb::to(&scope.group, format!("/{}", scope.group)),
        Crumb::to(&scope.name, format!("/{}", scope.path())),
        Crumb::here("Fork"),
    ];
    ui.project_page(Tab::Code, &format!("Fork {}", scope.path()), &crumbs, &page)
}

#[derive(Deserialize)]
struct ForkForm {
    group: String,
    name: String,
}

async fn fork(
    State(forge): State<Forge>,
    Who(caller): Who,
    InProject(scope): InProject,
    FormBody(form): FormBody<ForkForm>,
) -> Answer {
    if !caller.scope_allows(Permission::ProjectCreate) {
        return Err(Problem::forbidden(Permission::ProjectCreate).into());
    }
    let new = NewFork {
        group: Some(form.group),
        name: Some(form.name),
    };
    let project = forge.fork(&caller, &scope, &new).await?;
    Ok(Redirect::to(&format!("/{}", project.path())).into_response())
}
