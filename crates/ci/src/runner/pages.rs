//! The instance's runners.

use super::api::id_of;
use crate::{Ci, job};
use askama::Template;
use axum::{
    extract::State,
    response::{IntoResponse, Redirect},
};
use bascule_core::Permission;
use bascule_web::{Answer, Crumb, FormBody, Markup, PathOf, Section, Ui, when};
use serde::Deserialize;

struct Line {
    href: String,
    number: i64,
    description: String,
    tags: String,
    run_untagged: bool,
    paused: bool,
    online: bool,
    version: String,
    platform: String,
    contacted: Option<Markup>,
}

#[derive(Template)]
#[template(path = "runner/list.html")]
struct ListPage {
    lines: Vec<Line>,
    waiting: i64,
    may_manage: bool,
    base_url: String,
    /// A token that was just made.
    token: String,
    /// What it is for.
    token_for: String,
}

async fn render(ci: &Ci, ui: &Ui, token: String, token_for: String) -> Answer {
    let now = ci.clock.now();
    let lines = ci
        .runners()
        .await?
        .into_iter()
        .map(|runner| Line {
            href: format!("/admin/runners/{}", runner.id),
            number: runner.number,
            tags: runner.tags.0.join(", "),
            run_untagged: runner.run_untagged,
            paused: runner.paused,
            online: runner.is_online(now),
            contacted: runner.contacted_at.map(when),
            description: runner.description,
            version: runner.version,
            platform: runner.platform,
        })
        .collect();
    let page = ListPage {
        lines,
        waiting: job::store::queue_length(&ci.db).await?,
        may_manage: ui.caller().holds(Permission::InstanceManage),
        base_url: ci.options.base_url.clone(),
        token,
        token_for,
    };
    ui.page(
        Section::Settings,
        "Runners",
        &[Crumb::to("Admin", "/admin"), Crumb::here("Runners")],
        &page,
    )
}

pub(super) async fn list(State(ci): State<Ci>, ui: Ui) -> Answer {
    render(&ci, &ui, String::new(), String::new()).await
}

#[derive(Debug, Deserialize)]
pub(super) struct CreateForm {
    description: String,
    #[serde(default)]
    tags: String,
    #[serde(default)]
    run_untagged: Option<String>,
}

pub(super) async fn create(State(ci): State<Ci>, ui: Ui, FormBody(form): FormBody<CreateForm>) -> Answer {
    let tags = form
        .tags
        .split(',')
        .map(|tag| tag.trim().to_owned())
        .filter(|tag| !tag.is_empty())
        .collect();
    let (runner, token) = ci
        .create_runner(&form.description, tags, form.run_untagged.is_some())
        .await?;
    render(&ci, &ui, token, format!("runner {}", runner.description)).await
}

pub(super) async fn registration_token(State(ci): State<Ci>, ui: Ui) -> Answer {
    let token = ci.new_registration_token().await?;
    render(&ci, &ui, token, "registering runners".to_owned()).await
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct PauseForm {
    #[serde(default)]
    paused: Option<String>,
}

pub(super) async fn pause(
    State(ci): State<Ci>,
    PathOf(id): PathOf<String>,
    FormBody(form): FormBody<PauseForm>,
) -> Answer {
    ci.pause_runner(id_of(&id)?, form.paused.is_some()).await?;
    Ok(Redirect::to("/admin/runners").into_response())
}

pub(super) async fn delete(State(ci): State<Ci>, PathOf(id): PathOf<String>) -> Answer {
    ci.delete_runner(id_of(&id)?).await?;
    Ok(Redirect::to("/admin/runners").into_response())
}
