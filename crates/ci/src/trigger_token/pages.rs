//! The project's trigger tokens on its settings pages.

use crate::{Ci, pipeline::api::Numbered};
use askama::Template;
use axum::{
    extract::State,
    response::{IntoResponse as _, Redirect},
};
use bascule_web::{Answer, Crumb, FormBody, InProject, Markup, PathOf, Tab, Ui, Who, when};
use serde::Deserialize;

struct Line {
    id: i64,
    description: String,
    hint: String,
    owner: String,
    created: Markup,
    used: Option<Markup>,
}

#[derive(Template)]
#[template(path = "trigger_token/list.html")]
struct Page {
    base: String,
    prefix: &'static str,
    address: String,
    lines: Vec<Line>,
    /// Shown once.
    token: Option<String>,
    told: String,
}

async fn render(ci: &Ci, ui: &Ui, project: &InProject, token: Option<String>, told: String) -> Answer {
    let path = project.path();
    let lines = ci
        .triggers(project.id)
        .await?
        .into_iter()
        .map(|trigger| Line {
            id: trigger.id,
            description: trigger.description,
            hint: trigger.hint,
            owner: trigger.owner_name,
            created: when(trigger.created_at),
            used: trigger.last_used.map(when),
        })
        .collect();
    let page = Page {
        base: format!("/{path}/-/settings/triggers"),
        prefix: crate::token::TRIGGER,
        address: format!(
            "{}/api/v4/projects/{}/trigger/pipeline",
            ci.options.base_url,
            path.replace('/', "%2F")
        ),
        lines,
        token,
        told,
    };
    let crumbs = [
        Crumb::to(&path, format!("/{path}")),
        Crumb::to("Settings", format!("/{path}/-/settings")),
        Crumb::to("CI variables", format!("/{path}/-/settings/ci")),
        Crumb::here("Pipeline triggers"),
    ];
    ui.project_page(Tab::Settings, "Pipeline triggers", &crumbs, &page)
}

pub(super) async fn list(State(ci): State<Ci>, project: InProject, ui: Ui) -> Answer {
    render(&ci, &ui, &project, None, String::new()).await
}

#[derive(Debug, Deserialize)]
pub(super) struct New {
    #[serde(default)]
    description: String,
}

pub(super) async fn create(
    State(ci): State<Ci>,
    project: InProject,
    ui: Ui,
    who: Who,
    FormBody(new): FormBody<New>,
) -> Answer {
    match ci.create_trigger(&who, project.id, &new.description).await {
        Ok((_, token)) => render(&ci, &ui, &project, Some(token), String::new()).await,
        Err(problem) if problem.status < 500 => {
            let told = format!("{} {}", problem.what, problem.next);
            render(&ci, &ui, &project, None, told).await
        }
        Err(problem) => Err(problem.into()),
    }
}

pub(super) async fn remove(
    State(ci): State<Ci>,
    project: InProject,
    who: Who,
    PathOf(Numbered { id }): PathOf<Numbered>,
) -> Answer {
    ci.delete_trigger(project.id, id, &who.actor).await?;
    Ok(Redirect::to(&format!("/{}/-/settings/triggers", project.path())).into_response())
}
