//! Pages of tasks: a project's tasks with a form for a new one, and one task with what it wrote.

use crate::{
    Delivery,
    pages::{base, see},
};
use askama::Template;
use axum::{
    extract::State,
    routing::{get, post},
};
use bascule_core::{Permission, ProjectScope, TaskId, limits};
use bascule_web::{
    Access, Answer, Crumb, FormBody, InProject, Markup, Params, PathOf, Routes, Tab, Ui, Who, icon, when,
};
use bascule_wire::task::{NewTask, OUTPUT_BYTES, Task};
use serde::Deserialize;

/// How much of the end of an output a page shows, in bytes.
const SHOWN: u64 = 64 * 1024;

pub(crate) fn routes() -> Routes<Delivery> {
    let read = Access::Project(Permission::EnvironmentRead);
    let run = Access::Project(Permission::DeployProduction);
    Routes::new()
        .page("GET", "/{group}/{project}/-/tasks", read, get(tasks))
        .page("POST", "/{group}/{project}/-/tasks/new", run, post(ask))
        .page("GET", "/{group}/{project}/-/tasks/{id}", read, get(task))
        .page(
            "POST",
            "/{group}/{project}/-/tasks/{id}/approve",
            read,
            post(approve),
        )
        .page(
            "POST",
            "/{group}/{project}/-/tasks/{id}/cancel",
            run,
            post(cancel),
        )
}

/// The colour of a status.
fn tone(status: &str) -> &'static str {
    match status {
        "succeeded" => "bg-green-lt",
        "failed" | "lost" => "bg-red-lt",
        "running" => "bg-blue-lt",
        "waiting" | "queued" => "bg-yellow-lt",
        _ => "bg-secondary-lt",
    }
}

/// Its icon, so that colour alone never tells.
fn sign(status: &str) -> Markup {
    icon(match status {
        "succeeded" => "circle-check",
        "failed" | "lost" => "circle-x",
        "running" => "loader",
        "waiting" => "player-pause",
        "queued" => "clock",
        _ => "circle-minus",
    })
}

fn command(task: &Task) -> String {
    super::quoted(&task.command)
}

fn crumbs(project: &ProjectScope, above: &str, here: &str) -> [Crumb; 3] {
    let address = format!("{}/{}", base(project), above.to_lowercase());
    [
        Crumb::to(project.path(), format!("/{}", project.path())),
        Crumb::to(above, address),
        Crumb::here(here),
    ]
}

#[derive(Deserialize)]
struct ListQuery {
    before: Option<TaskId>,
}

#[derive(Template)]
#[template(path = "task/tasks.html")]
struct Tasks {
    base: String,
    tasks: Vec<Task>,
    environments: Vec<String>,
    may_run: bool,
    next: Option<TaskId>,
}

async fn tasks(
    State(delivery): State<Delivery>,
    project: InProject,
    Params(query): Params<ListQuery>,
    ui: Ui,
) -> Answer {
    let limit = limits::PAGE_ENTRIES;
    let tasks = delivery.tasks(project.id, query.before, limit).await?;
    let full = i64::try_from(tasks.len()).unwrap_or(0) == limit;
    let environments = delivery.environments(project.id).await?;
    let page = Tasks {
        base: base(&project),
        next: tasks.last().filter(|_| full).map(|task| task.id),
        tasks,
        environments: environments.into_iter().map(|row| row.name).collect(),
        may_run: project.holds(Permission::DeployProduction),
    };
    let title = format!("Tasks of {}", project.path());
    let crumbs = crumbs(&project, "Environments", "Tasks");
    ui.project_page(Tab::Environments, &title, &crumbs, &page)
}

#[derive(Template)]
#[template(path = "task/task.html")]
struct One {
    base: String,
    task: Task,
    may_run: bool,
    /// The end of what it wrote; `None` for those who may not see it.
    output: Option<String>,
    /// Whether there is more before that.
    cut: bool,
}

async fn task(
    State(delivery): State<Delivery>,
    project: InProject,
    PathOf((_, _, id)): PathOf<(String, String, TaskId)>,
    ui: Ui,
) -> Answer {
    let task = delivery.task_view(project.id, id).await?;
    let may_run = project.holds(Permission::DeployProduction);
    let from = task.output_bytes.min(OUTPUT_BYTES).saturating_sub(SHOWN);
    let output = if may_run {
        let bytes = delivery.task_output(project.id, id, from).await?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    } else {
        None
    };
    let page = One {
        base: base(&project),
        may_run,
        output,
        cut: from > 0,
        task,
    };
    if ui.is_fragment() {
        return ui.fragment(&page);
    }
    let title = format!("Task in {}", page.task.environment_name);
    let crumbs = crumbs(&project, "Tasks", "Task");
    ui.project_page(Tab::Environments, &title, &crumbs, &page)
}

#[derive(Deserialize)]
struct AskForm {
    environment: String,
    command: String,
    #[serde(default)]
    reason: String,
}

async fn ask(
    State(delivery): State<Delivery>,
    who: Who,
    project: InProject,
    FormBody(form): FormBody<AskForm>,
) -> Answer {
    let line = form.command.trim();
    let words = if line.is_empty() {
        Vec::new()
    } else {
        ["sh", "-c", line].map(str::to_owned).to_vec()
    };
    let new = NewTask {
        environment: form.environment,
        command: words,
        reason: form.reason,
        timeout_seconds: None,
    };
    let id = delivery.ask_task(&who, project.id, &new).await?;
    Ok(see(&format!("{}/tasks/{id}", base(&project))))
}

#[derive(Deserialize)]
struct ApproveForm {
    team: String,
}

async fn approve(
    State(delivery): State<Delivery>,
    who: Who,
    project: InProject,
    PathOf((_, _, id)): PathOf<(String, String, TaskId)>,
    FormBody(form): FormBody<ApproveForm>,
) -> Answer {
    delivery.approve_task(&who, project.id, id, &form.team).await?;
    Ok(see(&format!("{}/tasks/{id}", base(&project))))
}

async fn cancel(
    State(delivery): State<Delivery>,
    who: Who,
    project: InProject,
    PathOf((_, _, id)): PathOf<(String, String, TaskId)>,
) -> Answer {
    delivery.cancel_task(&who, project.id, id).await?;
    Ok(see(&format!("{}/tasks/{id}", base(&project))))
}
