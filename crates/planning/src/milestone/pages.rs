//! Pages of milestones, of a project or a group.

use super::{api::NumberPath, chart, service::Place};
use crate::{
    Planning,
    issue::pages::{base, crumbs, group_crumbs, shown},
};
use askama::Template;
use axum::{
    extract::State,
    response::{IntoResponse as _, Redirect},
    routing::get,
};
use bascule_core::{Caller, Permission, Result};
use bascule_web::{
    Access, Answer, FormBody, InGroup, InProject, Markup, PathOf, Routes, Section, Tab, Ui, Who, icon,
    markdown,
};
use bascule_wire::planning::{BurnUpDay, IssueSummary, Milestone, MilestoneChange, NewMilestone};
use serde::Deserialize;

pub(crate) fn routes() -> Routes<Planning> {
    let read = Access::Project(Permission::IssueRead);
    let manage = Access::Project(Permission::IssueManage);
    let view = Access::Group(Permission::GroupView);
    let group = Access::Group(Permission::IssueManage);
    let (project_one, group_one) = (
        "/{group}/{project}/-/milestones/{number}",
        "/{group}/-/milestones/{number}",
    );
    Routes::new()
        .page("GET", "/{group}/{project}/-/milestones", read, get(list))
        .page(
            "POST",
            "/{group}/{project}/-/milestones",
            manage,
            axum::routing::post(create),
        )
        .page("GET", project_one, read, get(one))
        .page("POST", project_one, manage, axum::routing::post(change))
        .page("GET", "/{group}/-/milestones", view, get(list_group))
        .page(
            "POST",
            "/{group}/-/milestones",
            group,
            axum::routing::post(create_group),
        )
        .page("GET", group_one, view, get(one_group))
        .page("POST", group_one, group, axum::routing::post(change_group))
}

struct Row {
    milestone: Milestone,
    href: String,
    late: bool,
}

#[derive(Template)]
#[template(path = "milestone/list.html")]
struct List {
    base: String,
    rows: Vec<Row>,
    manages: bool,
    flag: Markup,
    plus: Markup,
}

async fn listed(
    planning: &Planning,
    caller: &Caller,
    place: Place<'_>,
    base: String,
    group: &str,
) -> Result<List> {
    let today = planning.today();
    let rows = planning
        .milestones(caller, place)
        .await?
        .into_iter()
        .map(|milestone| Row {
            href: if milestone.group {
                format!("/{group}/-/milestones/{}", milestone.number)
            } else {
                format!("{base}/milestones/{}", milestone.number)
            },
            late: milestone.state == "open"
                && milestone
                    .due_on
                    .as_deref()
                    .is_some_and(|due| due < today.as_str()),
            milestone,
        })
        .collect();
    Ok(List {
        rows,
        manages: planning.may_own(caller, place).await?,
        base,
        flag: icon("flag"),
        plus: icon("plus"),
    })
}

async fn list(State(planning): State<Planning>, who: Who, project: InProject, ui: Ui) -> Answer {
    let page = listed(
        &planning,
        &who,
        Place::Project(&project),
        base(&project),
        &project.group,
    )
    .await?;
    let title = format!("Milestones · {}", project.path());
    ui.project_page(
        Tab::Issues,
        &title,
        &crumbs(&project, Some("Milestones".to_owned())),
        &page,
    )
}

async fn list_group(State(planning): State<Planning>, who: Who, group: InGroup, ui: Ui) -> Answer {
    let page = listed(
        &planning,
        &who,
        Place::Group(&group),
        format!("/{}/-", group.name),
        &group.name,
    )
    .await?;
    let title = format!("Milestones · {}", group.name);
    ui.page(
        Section::Projects,
        &title,
        &group_crumbs(&group, "Milestones"),
        &page,
    )
}

#[derive(Template)]
#[template(path = "milestone/milestone.html")]
struct One {
    here: String,
    milestone: Milestone,
    late: bool,
    description: Option<Markup>,
    chart: Markup,
    days: Vec<BurnUpDay>,
    issues: Vec<(String, IssueSummary)>,
    manages: bool,
}

async fn shown_one(
    planning: &Planning,
    caller: &Caller,
    place: Place<'_>,
    number: i64,
    here: String,
) -> Result<One> {
    let details = planning.milestone(caller, place, number).await?;
    let milestone = details.milestone;
    let today = planning.today();
    Ok(One {
        here,
        late: milestone.state == "open" && milestone.due_on.as_deref().is_some_and(|due| *due < *today),
        description: (!milestone.description.is_empty()).then(|| match place {
            Place::Project(scope) => shown(&milestone.description, &scope.path()),
            Place::Group(_) => markdown::render(&milestone.description, None),
        }),
        chart: chart::burn_up(&details.burn_up, milestone.due_on.as_deref()),
        // The table beside the chart keeps to the last days.
        days: details.burn_up.into_iter().rev().take(14).collect(),
        issues: details
            .issues
            .into_iter()
            .map(|issue| (format!("/{}/-/issues/{}", issue.project, issue.number), issue))
            .collect(),
        manages: planning.may_own(caller, place).await?,
        milestone,
    })
}

async fn one(
    State(planning): State<Planning>,
    who: Who,
    project: InProject,
    PathOf(path): PathOf<NumberPath>,
    ui: Ui,
) -> Answer {
    let number = path.number()?;
    let here = format!("{}/milestones/{number}", base(&project));
    let page = shown_one(&planning, &who, Place::Project(&project), number, here).await?;
    let title = format!("{} · {}", page.milestone.title, project.path());
    ui.project_page(
        Tab::Issues,
        &title,
        &crumbs(&project, Some("Milestone".to_owned())),
        &page,
    )
}

async fn one_group(
    State(planning): State<Planning>,
    who: Who,
    group: InGroup,
    PathOf(path): PathOf<NumberPath>,
    ui: Ui,
) -> Answer {
    let number = path.number()?;
    let here = format!("/{}/-/milestones/{number}", group.name);
    let page = shown_one(&planning, &who, Place::Group(&group), number, here).await?;
    let title = format!("{} · {}", page.milestone.title, group.name);
    ui.page(
        Section::Projects,
        &title,
        &group_crumbs(&group, "Milestone"),
        &page,
    )
}

#[derive(Deserialize)]
struct Form {
    #[serde(default)]
    title: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    starts_on: String,
    #[serde(default)]
    due_on: String,
    /// Set by the buttons that close it or open it again; the rest of the form is left aside then.
    #[serde(default)]
    state: Option<String>,
}

impl From<Form> for NewMilestone {
    fn from(form: Form) -> Self {
        Self {
            title: form.title,
            description: form.description,
            starts_on: Some(form.starts_on),
            due_on: Some(form.due_on),
        }
    }
}

impl From<Form> for MilestoneChange {
    fn from(form: Form) -> Self {
        match form.state {
            Some(state) => Self {
                state: Some(state),
                ..Self::default()
            },
            None => Self {
                title: Some(form.title),
                description: Some(form.description),
                starts_on: Some(form.starts_on),
                due_on: Some(form.due_on),
                state: None,
            },
        }
    }
}

async fn create(
    State(planning): State<Planning>,
    who: Who,
    project: InProject,
    FormBody(form): FormBody<Form>,
) -> Answer {
    let number = planning
        .create_milestone(&who, Place::Project(&project), &form.into())
        .await?;
    Ok(Redirect::to(&format!("{}/milestones/{number}", base(&project))).into_response())
}

async fn create_group(
    State(planning): State<Planning>,
    who: Who,
    group: InGroup,
    FormBody(form): FormBody<Form>,
) -> Answer {
    let number = planning
        .create_milestone(&who, Place::Group(&group), &form.into())
        .await?;
    Ok(Redirect::to(&format!("/{}/-/milestones/{number}", group.name)).into_response())
}

async fn change(
    State(planning): State<Planning>,
    who: Who,
    project: InProject,
    PathOf(path): PathOf<NumberPath>,
    FormBody(form): FormBody<Form>,
) -> Answer {
    let number = path.number()?;
    planning
        .change_milestone(&who, Place::Project(&project), number, &form.into())
        .await?;
    Ok(Redirect::to(&format!("{}/milestones/{number}", base(&project))).into_response())
}

async fn change_group(
    State(planning): State<Planning>,
    who: Who,
    group: InGroup,
    PathOf(path): PathOf<NumberPath>,
    FormBody(form): FormBody<Form>,
) -> Answer {
    let number = path.number()?;
    planning
        .change_milestone(&who, Place::Group(&group), number, &form.into())
        .await?;
    Ok(Redirect::to(&format!("/{}/-/milestones/{number}", group.name)).into_response())
}
