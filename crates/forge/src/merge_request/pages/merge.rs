//! The forms that merge a request, and the settings of how a project merges.

use super::base;
use crate::{
    Forge,
    merge_request::{Settings, Strategy, api::Place},
};
use askama::Template;
use axum::{
    extract::State,
    response::{IntoResponse as _, Redirect},
};
use bascule_web::{Answer, Crumb, FormBody, InProject, PathOf, Tab, Ui, Who};
use bascule_wire::merge_request::{MergeOrder, MergeSettingsChange};
use serde::Deserialize;

#[derive(Deserialize)]
pub(super) struct MergeForm {
    sha: String,
    #[serde(default)]
    strategy: String,
    #[serde(default)]
    when: String,
    #[serde(default)]
    delete_source_branch: Option<String>,
    #[serde(default)]
    bypass: String,
}

pub(super) async fn merge(
    State(forge): State<Forge>,
    Who(caller): Who,
    InProject(scope): InProject,
    place: Place,
    FormBody(form): FormBody<MergeForm>,
) -> Answer {
    let PathOf((_, _, iid)) = place;
    let order = MergeOrder {
        sha: Some(form.sha),
        strategy: (!form.strategy.is_empty()).then_some(form.strategy),
        when_checks_pass: form.when == "checks",
        delete_source_branch: Some(form.delete_source_branch.is_some()),
        bypass: (!form.bypass.trim().is_empty()).then_some(form.bypass),
    };
    Box::pin(forge.merge(&caller, &scope, iid, &order)).await?;
    Ok(Redirect::to(&base(&scope, iid)).into_response())
}

pub(super) async fn cancel(
    State(forge): State<Forge>,
    Who(caller): Who,
    InProject(scope): InProject,
    place: Place,
) -> Answer {
    let PathOf((_, _, iid)) = place;
    forge.cancel_auto_merge(&caller, &scope, iid).await?;
    Ok(Redirect::to(&base(&scope, iid)).into_response())
}

pub(super) async fn leave(
    State(forge): State<Forge>,
    Who(caller): Who,
    InProject(scope): InProject,
    place: Place,
) -> Answer {
    let PathOf((_, _, iid)) = place;
    forge.leave_queue(&caller, &scope, iid).await?;
    Ok(Redirect::to(&base(&scope, iid)).into_response())
}

#[derive(Template)]
#[template(path = "merge_request/pages/settings.html")]
struct SettingsPage {
    base: String,
    settings: Settings,
    strategies: [Strategy; 4],
}

pub(super) async fn settings(State(forge): State<Forge>, InProject(scope): InProject, ui: Ui) -> Answer {
    let project = super::project_base(&scope);
    let page = SettingsPage {
        base: format!("{project}/-/settings/merging"),
        settings: forge.merge_settings(scope.id).await?,
        strategies: Strategy::ALL,
    };
    let crumbs = [
        Crumb::to(&scope.group, format!("/{}", scope.group)),
        Crumb::to(&scope.name, project.clone()),
        Crumb::to("Settings", format!("{project}/-/settings")),
        Crumb::here("Merging"),
    ];
    ui.project_page(
        Tab::Settings,
        &format!("Merging · {}", scope.path()),
        &crumbs,
        &page,
    )
}

#[derive(Deserialize)]
pub(super) struct SettingsForm {
    strategy: String,
    #[serde(default)]
    require_request: Option<String>,
    #[serde(default)]
    require_pipeline: Option<String>,
    #[serde(default)]
    developers_merge: Option<String>,
    #[serde(default)]
    delete_source_branch: Option<String>,
    #[serde(default)]
    queue: Option<String>,
    queue_parallel: i64,
    #[serde(default)]
    merge_message: String,
    #[serde(default)]
    squash_message: String,
}

pub(super) async fn save_settings(
    State(forge): State<Forge>,
    Who(caller): Who,
    InProject(scope): InProject,
    FormBody(form): FormBody<SettingsForm>,
) -> Answer {
    let change = MergeSettingsChange {
        strategy: Some(form.strategy),
        require_request: Some(form.require_request.is_some()),
        require_pipeline: Some(form.require_pipeline.is_some()),
        developers_merge: Some(form.developers_merge.is_some()),
        delete_source_branch: Some(form.delete_source_branch.is_some()),
        queue: Some(form.queue.is_some()),
        queue_parallel: Some(form.queue_parallel),
        merge_message: Some(form.merge_message),
        squash_message: Some(form.squash_message),
    };
    forge.change_merge_settings(&caller, scope.id, &change).await?;
    let to = format!("{}/-/settings/merging", super::project_base(&scope));
    Ok(Redirect::to(&to).into_response())
}
