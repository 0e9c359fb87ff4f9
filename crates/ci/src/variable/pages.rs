//! The project's CI variables on its settings pages.

use super::{
    Place,
    api::{Named, Which},
};
use crate::Ci;
use askama::Template;
use axum::{
    extract::State,
    response::{IntoResponse, Redirect},
};
use bascule_web::{
    Answer, Crumb, FormBody, InProject, Markup, Params, PathOf, Tab, Ui, Who, url_encode, when,
};
use bascule_wire::{
    ci::{CiVariable, SetCiVariable},
    ci_results::CiSettings,
};
use serde::Deserialize;

struct Line {
    variable: CiVariable,
    updated: Markup,
    delete: String,
}

#[derive(Template)]
#[template(path = "variable/list.html")]
struct Page {
    href: String,
    triggers: String,
    lines: Vec<Line>,
    results: CiSettings,
}

pub(super) async fn list(State(ci): State<Ci>, project: InProject, ui: Ui) -> Answer {
    let path = project.path();
    let href = format!("/{path}/-/settings/ci");
    let lines = ci
        .variables(project.id)
        .await?
        .into_iter()
        .map(|variable| Line {
            updated: when(variable.updated_at),
            delete: format!(
                "{href}/{}/delete?environment={}",
                url_encode(&variable.name),
                url_encode(&variable.environment)
            ),
            variable,
        })
        .collect();
    let crumbs = [
        Crumb::to(&path, format!("/{path}")),
        Crumb::to("Settings", format!("/{path}/-/settings")),
        Crumb::here("CI variables"),
    ];
    let results = ci.ci_settings(project.id).await?;
    let page = Page {
        triggers: format!("/{path}/-/settings/triggers"),
        href,
        lines,
        results,
    };
    ui.project_page(Tab::Settings, "CI variables", &crumbs, &page)
}

#[derive(Debug, Deserialize)]
pub(super) struct Form {
    name: String,
    #[serde(default)]
    value: String,
    #[serde(default)]
    masked: Option<String>,
    #[serde(default)]
    protected: Option<String>,
    #[serde(default)]
    file: Option<String>,
    #[serde(default)]
    expand: Option<String>,
    #[serde(default)]
    secret: Option<String>,
    #[serde(default)]
    environment: String,
}

pub(super) async fn set(
    State(ci): State<Ci>,
    project: InProject,
    who: Who,
    FormBody(form): FormBody<Form>,
) -> Answer {
    let set = SetCiVariable {
        value: form.value.replace("\r\n", "\n"),
        masked: form.masked.is_some(),
        protected: form.protected.is_some(),
        file: form.file.is_some(),
        expand: form.expand.is_some(),
        secret: form.secret.is_some(),
        environment: match form.environment.trim() {
            "" => super::EVERYWHERE.to_owned(),
            named => named.to_owned(),
        },
    };
    ci.set_variable(&Place::Project(project.id), form.name.trim(), &set, &who.actor)
        .await?;
    Ok(Redirect::to(&format!("/{}/-/settings/ci", project.path())).into_response())
}

pub(super) async fn remove(
    State(ci): State<Ci>,
    project: InProject,
    who: Who,
    PathOf(Named { name }): PathOf<Named>,
    Params(which): Params<Which>,
) -> Answer {
    let place = Place::Project(project.id);
    ci.delete_variable(&place, &name, &which.environment, &who.actor)
        .await?;
    Ok(Redirect::to(&format!("/{}/-/settings/ci", project.path())).into_response())
}
