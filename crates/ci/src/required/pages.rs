//! What a group requires, on a page of the group.

use crate::Ci;
use askama::Template;
use axum::{
    extract::State,
    response::{IntoResponse as _, Redirect},
};
use bascule_core::{GroupScope, Permission};
use bascule_web::{Answer, Crumb, FormBody, InGroup, Markup, Section, Ui, Who, icon, when};
use bascule_wire::pipelines::{
    RequiredDryRun, RequiredDryRunRequest, RequiredPipelines, SetRequiredPipelines,
};
use serde::Deserialize;

#[derive(Template)]
#[template(path = "required/show.html")]
struct Page {
    group: String,
    base: String,
    icon: Markup,
    held: RequiredPipelines,
    since: Option<Markup>,
    policy_link: Option<String>,
    may_manage: bool,
    policy: String,
    reference: String,
    dry: Option<RequiredDryRun>,
    told: String,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Form {
    #[serde(default)]
    policy: String,
    #[serde(default, rename = "ref")]
    reference: String,
}

async fn render(
    ci: &Ci,
    ui: &Ui,
    group: &GroupScope,
    form: Form,
    dry: Option<RequiredDryRun>,
    told: String,
) -> Answer {
    let held = ci.required_pipelines(group).await?;
    let policy = if form.policy.is_empty() {
        held.policy.clone().unwrap_or_default()
    } else {
        form.policy
    };
    let page = Page {
        base: format!("/{}/-/required-pipelines", group.name),
        icon: icon("shield"),
        since: held.changed_at.map(when),
        policy_link: held
            .policy
            .as_ref()
            .filter(|path| path.contains('/'))
            .map(|path| format!("/{path}")),
        held,
        may_manage: group.role.holds(Permission::GroupManage),
        policy,
        reference: form.reference,
        dry,
        told,
        group: group.name.clone(),
    };
    let crumbs = [
        Crumb::to(&group.name, format!("/{}", group.name)),
        Crumb::here("Required pipelines"),
    ];
    let title = format!("Required pipelines · {}", group.name);
    ui.page(Section::Projects, &title, &crumbs, &page)
}

pub(super) async fn show(State(ci): State<Ci>, InGroup(group): InGroup, ui: Ui) -> Answer {
    render(&ci, &ui, &group, Form::default(), None, String::new()).await
}

pub(super) async fn set(
    State(ci): State<Ci>,
    Who(caller): Who,
    InGroup(group): InGroup,
    ui: Ui,
    FormBody(form): FormBody<Form>,
) -> Answer {
    let request = SetRequiredPipelines {
        policy: Some(form.policy.clone()),
    };
    match ci.set_required_pipelines(&caller, &group, &request).await {
        Ok(_) => Ok(Redirect::to(&format!("/{}/-/required-pipelines", group.name)).into_response()),
        Err(problem) if problem.is_server_fault() => Err(problem.into()),
        Err(problem) => render(&ci, &ui, &group, form, None, problem.to_string()).await,
    }
}

pub(super) async fn dry_run(
    State(ci): State<Ci>,
    Who(caller): Who,
    InGroup(group): InGroup,
    ui: Ui,
    FormBody(form): FormBody<Form>,
) -> Answer {
    let request = RequiredDryRunRequest {
        policy: Some(form.policy.clone()),
        reference: Some(form.reference.clone()),
    };
    match ci.dry_run_required(&caller, &group, &request).await {
        Ok(dry) => render(&ci, &ui, &group, form, Some(dry), String::new()).await,
        Err(problem) if problem.is_server_fault() => Err(problem.into()),
        Err(problem) => render(&ci, &ui, &group, form, None, problem.to_string()).await,
    }
}
