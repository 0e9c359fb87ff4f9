//! The page of labels, of a project or a group.

use super::{PALETTE, store::Owner};
use crate::{
    Planning,
    issue::pages::{base, crumbs, group_crumbs},
};
use askama::Template;
use axum::{
    extract::State,
    response::{IntoResponse as _, Redirect},
    routing::{get, post},
};
use bascule_core::{Caller, Permission, ProjectScope, Result};
use bascule_web::{
    Access, Answer, FormBody, InGroup, InProject, Markup, Routes, Section, Tab, Ui, Who, icon, url_encode,
};
use bascule_wire::planning::{Label, LabelChange, NewLabel};
use serde::Deserialize;

pub(crate) fn routes() -> Routes<Planning> {
    let read = Access::Project(Permission::IssueRead);
    let manage = Access::Project(Permission::IssueManage);
    let group = Access::Group(Permission::IssueManage);
    Routes::new()
        .page("GET", "/{group}/{project}/-/labels", read, get(labels))
        .page("POST", "/{group}/{project}/-/labels", manage, post(create))
        .page("POST", "/{group}/{project}/-/labels/change", manage, post(change))
        .page(
            "POST",
            "/{group}/{project}/-/labels/subscribe",
            read,
            post(subscribe),
        )
        .page(
            "GET",
            "/{group}/-/labels",
            Access::Group(Permission::GroupView),
            get(group_labels),
        )
        .page("POST", "/{group}/-/labels", group, post(create_group))
        .page("POST", "/{group}/-/labels/change", group, post(change_group))
}

struct Family {
    name: String,
    labels: Vec<Row>,
}

struct Row {
    label: Label,
    href: String,
    own: bool,
}

#[derive(Template)]
#[template(path = "label/labels.html")]
struct Page {
    families: Vec<Family>,
    base: String,
    of_group: bool,
    manages: bool,
    subscribes: bool,
    palette: [&'static str; 12],
    bell: Markup,
    plus: Markup,
}

fn page(labels: Vec<Label>, base: String, of_group: bool, manages: bool, subscribes: bool) -> Page {
    let mut families: Vec<Family> = Vec::new();
    for label in labels {
        let row = Row {
            href: format!("{base}/issues?state=all&labels={}", url_encode(&label.name)),
            own: label.group == of_group,
            label,
        };
        match families
            .last_mut()
            .filter(|family| family.name == row.label.family)
        {
            Some(family) => family.labels.push(row),
            None => families.push(Family {
                name: row.label.family.clone(),
                labels: vec![row],
            }),
        }
    }
    Page {
        families,
        base,
        of_group,
        manages,
        subscribes,
        palette: PALETTE,
        bell: icon("bell"),
        plus: icon("plus"),
    }
}

async fn labels(State(planning): State<Planning>, who: Who, project: InProject, ui: Ui) -> Answer {
    let sight = planning.sight(&who, &project).await?;
    let labels = planning.labels(&who, (&*project).into()).await?;
    let page = page(labels, base(&project), false, sight.manages, who.user.is_some());
    ui.project_page(
        Tab::Issues,
        &format!("Labels · {}", project.path()),
        &crumbs(&project, Some("Labels".to_owned())),
        &page,
    )
}

async fn group_labels(State(planning): State<Planning>, who: Who, group: InGroup, ui: Ui) -> Answer {
    let manages = planning.must_manage_group(&who, group.id).await.is_ok();
    let labels = planning.labels(&who, (&*group).into()).await?;
    let page = page(labels, format!("/{}/-", group.name), true, manages, false);
    ui.page(
        Section::Projects,
        &format!("Labels · {}", group.name),
        &group_crumbs(&group, "Labels"),
        &page,
    )
}

#[derive(Deserialize)]
struct NewForm {
    name: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    colour: String,
}

impl From<NewForm> for NewLabel {
    fn from(form: NewForm) -> Self {
        Self {
            name: form.name,
            description: form.description,
            colour: Some(form.colour),
        }
    }
}

#[derive(Deserialize)]
struct ChangeForm {
    label: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    colour: String,
    #[serde(default)]
    delete: Option<String>,
}

async fn obey(
    planning: &Planning,
    caller: &Caller,
    owner: Owner,
    scope: Option<&ProjectScope>,
    form: ChangeForm,
) -> Result<()> {
    if form.delete.is_some() {
        return planning.delete_label(caller, owner, scope, &form.label).await;
    }
    let change = LabelChange {
        name: Some(form.name),
        description: Some(form.description),
        colour: Some(form.colour),
    };
    planning
        .change_label(caller, owner, scope, &form.label, &change)
        .await
        .map(drop)
}

async fn create(
    State(planning): State<Planning>,
    who: Who,
    project: InProject,
    FormBody(form): FormBody<NewForm>,
) -> Answer {
    planning
        .create_label(&who, (&*project).into(), Some(&project), &form.into())
        .await?;
    Ok(Redirect::to(&format!("{}/labels", base(&project))).into_response())
}

async fn change(
    State(planning): State<Planning>,
    who: Who,
    project: InProject,
    FormBody(form): FormBody<ChangeForm>,
) -> Answer {
    obey(&planning, &who, (&*project).into(), Some(&project), form).await?;
    Ok(Redirect::to(&format!("{}/labels", base(&project))).into_response())
}

#[derive(Deserialize)]
struct SubscribeForm {
    label: String,
    on: String,
}

async fn subscribe(
    State(planning): State<Planning>,
    who: Who,
    project: InProject,
    FormBody(form): FormBody<SubscribeForm>,
) -> Answer {
    planning
        .subscribe_label(&who, (&*project).into(), &form.label, form.on == "yes")
        .await?;
    Ok(Redirect::to(&format!("{}/labels", base(&project))).into_response())
}

async fn create_group(
    State(planning): State<Planning>,
    who: Who,
    group: InGroup,
    FormBody(form): FormBody<NewForm>,
) -> Answer {
    planning
        .create_label(&who, (&*group).into(), None, &form.into())
        .await?;
    Ok(Redirect::to(&format!("/{}/-/labels", group.name)).into_response())
}

async fn change_group(
    State(planning): State<Planning>,
    who: Who,
    group: InGroup,
    FormBody(form): FormBody<ChangeForm>,
) -> Answer {
    obey(&planning, &who, (&*group).into(), None, form).await?;
    Ok(Redirect::to(&format!("/{}/-/labels", group.name)).into_response())
}
