//! The workflow policy as a form, of a project and of a group.

use super::{Flow, Level};
use crate::Forge;
use askama::Template;
use axum::{
    extract::State,
    response::{IntoResponse as _, Redirect},
    routing::get,
};
use bascule_core::{Permission, Problem, Result};
use bascule_web::{
    Access, Answer, Crumb, FormBody, InGroup, InProject, Markup, Routes, Section, Tab, Ui, Who, icon,
};
use bascule_wire::workflow::{Workflow, WorkflowChange};

pub(crate) fn routes() -> Routes<Forge> {
    Routes::new()
        .page(
            "GET,POST",
            "/{group}/{project}/-/settings/workflow",
            Access::Project(Permission::ProjectManage),
            get(project).post(set_project),
        )
        .page(
            "GET,POST",
            "/{group}/-/workflow",
            Access::Group(Permission::GroupManage),
            get(group).post(set_group),
        )
}

struct Row {
    field: String,
    title: String,
    why: String,
    level: String,
    class: &'static str,
    inherited: String,
    own: String,
}

#[derive(Template)]
#[template(path = "workflow/workflow.html")]
struct Page {
    heading: String,
    action: String,
    /// The group's page, where it keeps the project from setting anything.
    locked_by: Option<String>,
    /// A group's: whether its projects may not set it otherwise.
    lock: Option<bool>,
    flows: Vec<(&'static str, &'static str, bool)>,
    inherits_flow: bool,
    flow_title: String,
    levels: Vec<&'static str>,
    rows: Vec<Row>,
    most_lines: String,
    lines_now: u32,
    review_days: String,
    days_now: u32,
    patterns: String,
    icon: Markup,
}

fn page(heading: String, action: String, workflow: Workflow) -> Page {
    let own = workflow.own;
    let number = |value: Option<u32>| value.map(|value| value.to_string()).unwrap_or_default();
    Page {
        heading,
        action,
        locked_by: None,
        lock: None,
        flows: Flow::ALL
            .iter()
            .map(|flow| (flow.key(), flow.title(), own.flow.as_deref() == Some(flow.key())))
            .collect(),
        inherits_flow: own.flow.is_none(),
        flow_title: workflow.flow_title,
        levels: Level::ALL.iter().map(|level| level.key()).collect(),
        rows: workflow
            .rules
            .into_iter()
            .map(|rule| Row {
                own: own.levels.get(&rule.rule).cloned().unwrap_or_default(),
                class: match rule.level.as_str() {
                    "refuse" => "bg-red-lt",
                    "warn" => "bg-yellow-lt",
                    _ => "bg-secondary-lt",
                },
                field: rule.rule,
                title: rule.title,
                why: rule.why,
                level: rule.level,
                inherited: rule.inherited,
            })
            .collect(),
        most_lines: number(own.most_lines),
        lines_now: workflow.most_lines,
        review_days: number(own.review_days),
        days_now: workflow.review_days,
        patterns: own.branch_patterns.join("\n"),
        icon: icon("git-merge"),
    }
}

async fn project(State(forge): State<Forge>, InProject(scope): InProject, ui: Ui) -> Answer {
    let project = forge.project_of(&scope).await?;
    let workflow = forge.project_workflow(&project).await?;
    let path = scope.path();
    let locked = workflow.locked;
    let content = Page {
        locked_by: locked.then(|| format!("/{}/-/workflow", scope.group)),
        ..page(
            format!("Workflow of {path}"),
            format!("/{path}/-/settings/workflow"),
            workflow,
        )
    };
    let crumbs = [
        Crumb::to(&scope.group, format!("/{}", scope.group)),
        Crumb::to(&scope.name, format!("/{path}")),
        Crumb::to("Settings", format!("/{path}/-/settings")),
        Crumb::here("Workflow"),
    ];
    ui.project_page(Tab::Settings, &format!("Workflow · {path}"), &crumbs, &content)
}

async fn group(State(forge): State<Forge>, InGroup(group): InGroup, ui: Ui) -> Answer {
    let workflow = forge.group_workflow(group.id).await?;
    let content = Page {
        lock: Some(workflow.locked),
        ..page(
            format!("Workflow of all projects of {}", group.name),
            format!("/{}/-/workflow", group.name),
            workflow,
        )
    };
    let crumbs = [
        Crumb::to(&group.name, format!("/{}", group.name)),
        Crumb::here("Workflow"),
    ];
    ui.page(
        Section::Projects,
        &format!("Workflow · {}", group.name),
        &crumbs,
        &content,
    )
}

type Fields = Vec<(String, String)>;

/// Reads the form; an empty field is what comes from further up.
fn read(fields: &Fields) -> Result<WorkflowChange> {
    let value = |wanted: &str| {
        let found = fields.iter().find(|(name, _)| name == wanted);
        found.map(|(_, value)| value.trim()).unwrap_or_default()
    };
    let number = |text: &str| match text {
        "" => Ok(0),
        text => text.parse::<u32>().map_err(|_| {
            Problem::invalid("bad_limit", "A limit is a whole number.")
                .next("Leave the field empty for what comes from further up.")
        }),
    };
    let or_inherit = |text: &str| if text.is_empty() { "inherit" } else { text }.to_owned();
    let level = |(name, value): &(String, String)| {
        let rule = name.strip_prefix("rule_")?;
        Some((rule.to_owned(), or_inherit(value.trim())))
    };
    Ok(WorkflowChange {
        flow: Some(or_inherit(value("flow"))),
        levels: fields.iter().filter_map(level).collect(),
        most_lines: Some(number(value("most_lines"))?),
        review_days: Some(number(value("review_days"))?),
        branch_patterns: Some(
            value("branch_patterns")
                .split_whitespace()
                .map(str::to_owned)
                .collect(),
        ),
        locked: None,
    })
}

async fn set_project(
    State(forge): State<Forge>,
    Who(caller): Who,
    InProject(scope): InProject,
    FormBody(fields): FormBody<Fields>,
) -> Answer {
    let project = forge.project_of(&scope).await?;
    forge
        .change_project_workflow(&caller, &project, &read(&fields)?)
        .await?;
    Ok(Redirect::to(&format!("/{}/-/settings/workflow", scope.path())).into_response())
}

async fn set_group(
    State(forge): State<Forge>,
    Who(caller): Who,
    InGroup(group): InGroup,
    FormBody(fields): FormBody<Fields>,
) -> Answer {
    let change = WorkflowChange {
        locked: Some(fields.iter().any(|(name, _)| name == "locked")),
        ..read(&fields)?
    };
    forge.change_group_workflow(&caller, group.id, &change).await?;
    Ok(Redirect::to(&format!("/{}/-/workflow", group.name)).into_response())
}
