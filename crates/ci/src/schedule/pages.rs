//! The project's schedules.

use super::{
    form::{Form, shown},
    store::Schedule,
};
use crate::{
    Ci,
    config::{Inputs, JobInput, asked},
    fault::CI_FILE,
    job::InputField,
    pipeline::{self, Created, api::Numbered},
};
use askama::Template;
use axum::{
    extract::State,
    response::{IntoResponse as _, Redirect},
};
use bascule_core::{Permission, PipelineId, Problem, ProjectId, Result};
use bascule_web::{Answer, Crumb, FormBody, InProject, Markup, Params, PathOf, Tab, Ui, Who, icon, when};
use serde::Deserialize;

struct Line {
    id: i64,
    schedule: Schedule,
    next: Option<Markup>,
    last: Option<Markup>,
    last_href: Option<String>,
    last_badge: Option<Markup>,
    own: bool,
}

#[derive(Template)]
#[template(path = "schedule/list.html")]
struct ListPage {
    base: String,
    icon: Markup,
    lines: Vec<Line>,
    may_run: bool,
    may_manage: bool,
    form: Form,
    inputs: Vec<InputField>,
    branches: Vec<String>,
    /// Where the form is shown again with the inputs of another branch.
    again: String,
    told: String,
}

#[derive(Template)]
#[template(path = "schedule/edit.html")]
struct EditPage {
    base: String,
    id: i64,
    form: Form,
    inputs: Vec<InputField>,
    branches: Vec<String>,
    again: String,
    told: String,
    /// Why its last pipeline was refused.
    note: Option<String>,
    stopped: Option<String>,
}

impl Ci {
    /// The inputs that the file at a branch or tag declares; of the default branch where none is named.
    async fn declared_at(&self, project: ProjectId, reference: &str) -> Result<Vec<JobInput>> {
        let reference = self.named_or_default(project, reference.trim()).await?;
        let Some(commit) = self.code.resolve(project, &reference).await? else {
            return Ok(Vec::new());
        };
        let found = self.code.read_file(project, &commit.sha, CI_FILE).await?;
        Ok(found
            .map(|bytes| asked(&String::from_utf8_lossy(&bytes)))
            .unwrap_or_default())
    }
}

async fn render(
    ci: &Ci,
    ui: &Ui,
    project: &InProject,
    who: &Who,
    form: Option<Form>,
    told: String,
) -> Answer {
    let path = project.path();
    let schedules = ci.schedules(project.id).await?;
    let ids: Vec<PipelineId> = schedules.iter().filter_map(|one| one.last_pipeline).collect();
    let statuses = pipeline::store::statuses(&ci.db, &ids).await?;
    let lines = schedules
        .into_iter()
        .map(|schedule| Line {
            id: schedule.id,
            next: schedule.next_run_at.map(when),
            last: schedule.last_run_at.map(when),
            last_href: schedule
                .last_pipeline
                .map(|id| format!("/{path}/-/pipelines/{id}")),
            last_badge: schedule
                .last_pipeline
                .and_then(|id| statuses.get(&id))
                .map(|status| pipeline::status_badge(status.as_str())),
            own: schedule.is_of(who),
            schedule,
        })
        .collect();
    let form = form.unwrap_or_else(|| Form {
        timezone: "UTC".to_owned(),
        active: true,
        ..Form::default()
    });
    let may_run = project.holds(Permission::PipelineRun);
    let (mut inputs, mut branches) = (Vec::new(), Vec::new());
    if may_run {
        inputs = form.fields(&ci.declared_at(project.id, &form.reference).await?);
        branches = ci.offered(project).await?;
    }
    let base = format!("/{path}/-/schedules");
    let page = ListPage {
        again: format!("{base}#new"),
        base,
        icon: icon("calendar"),
        lines,
        may_run,
        may_manage: project.holds(Permission::ProjectManage),
        form,
        inputs,
        branches,
        told,
    };
    let crumbs = [
        Crumb::to(&path, format!("/{path}")),
        Crumb::to("Pipelines", format!("/{path}/-/pipelines")),
        Crumb::here("Schedules"),
    ];
    ui.project_page(Tab::Pipelines, "Schedules", &crumbs, &page)
}

/// The list; with the form's fields in the address, the form as it was left, for another branch's inputs.
pub(super) async fn list(
    State(ci): State<Ci>,
    project: InProject,
    who: Who,
    ui: Ui,
    Params(fields): Params<Vec<(String, String)>>,
) -> Answer {
    let form = (!fields.is_empty()).then(|| Form::read(&fields));
    render(&ci, &ui, &project, &who, form, String::new()).await
}

pub(super) async fn create(
    State(ci): State<Ci>,
    project: InProject,
    who: Who,
    ui: Ui,
    FormBody(fields): FormBody<Vec<(String, String)>>,
) -> Answer {
    let form = Form::read(&fields);
    let made = match form.new_schedule() {
        Ok(new) => ci.create_schedule(&who, &project, new).await,
        Err(problem) => Err(problem),
    };
    match made {
        Ok(_) => Ok(back(&project)),
        Err(problem) if problem.is_server_fault() => Err(problem.into()),
        Err(problem) => render(&ci, &ui, &project, &who, Some(form), problem.to_string()).await,
    }
}

fn back(project: &InProject) -> axum::response::Response {
    Redirect::to(&format!("/{}/-/schedules", project.path())).into_response()
}

async fn edit_page(
    ci: &Ci,
    ui: &Ui,
    project: &InProject,
    schedule: &Schedule,
    form: Form,
    told: String,
) -> Answer {
    let id = schedule.id;
    let path = project.path();
    let base = format!("/{path}/-/schedules");
    let crumbs = [
        Crumb::to(&path, format!("/{path}")),
        Crumb::to("Schedules", base.clone()),
        Crumb::here(format!("Schedule {id}")),
    ];
    let page = EditPage {
        inputs: form.fields(&ci.declared_at(project.id, &form.reference).await?),
        branches: ci.offered(project).await?,
        again: format!("{base}/{id}"),
        note: schedule.last_note.clone(),
        stopped: schedule.stopped.clone(),
        base,
        id,
        form,
        told,
    };
    ui.project_page(Tab::Pipelines, "Schedule", &crumbs, &page)
}

pub(super) async fn edit(
    State(ci): State<Ci>,
    project: InProject,
    who: Who,
    ui: Ui,
    PathOf(at): PathOf<Numbered>,
    Params(fields): Params<Vec<(String, String)>>,
) -> Answer {
    let schedule = ci.schedule(project.id, at.id).await?;
    let own = schedule.is_of(&who);
    let kept = Form {
        description: schedule.description.clone(),
        reference: schedule.reference.clone(),
        cron: schedule.cron.clone(),
        timezone: schedule.timezone.clone(),
        variables: if own {
            shown(&schedule.variables.0)
        } else {
            String::new()
        },
        active: schedule.active,
        inputs: if own {
            schedule.inputs.0.clone()
        } else {
            Inputs::new()
        },
    };
    let form = match fields.is_empty() {
        true => kept,
        false => Form::read(&fields),
    };
    let told = if own {
        String::new()
    } else {
        format!(
            "This schedule is {}'s, who alone changes it.",
            schedule.owner_name
        )
    };
    edit_page(&ci, &ui, &project, &schedule, form, told).await
}

pub(super) async fn change(
    State(ci): State<Ci>,
    project: InProject,
    who: Who,
    ui: Ui,
    PathOf(at): PathOf<Numbered>,
    FormBody(fields): FormBody<Vec<(String, String)>>,
) -> Answer {
    let form = Form::read(&fields);
    let changed = match form.change() {
        Ok(change) => ci.change_schedule(&who, &project, at.id, change).await,
        Err(problem) => Err(problem),
    };
    match changed {
        Ok(_) => Ok(back(&project)),
        Err(problem) if problem.is_server_fault() => Err(problem.into()),
        Err(problem) => {
            let schedule = ci.schedule(project.id, at.id).await?;
            edit_page(&ci, &ui, &project, &schedule, form, problem.to_string()).await
        }
    }
}

pub(super) async fn play(
    State(ci): State<Ci>,
    project: InProject,
    who: Who,
    PathOf(at): PathOf<Numbered>,
) -> Answer {
    let id: PipelineId = match ci.play_schedule(&who, &project, at.id).await? {
        Created::Pipeline(id) | Created::Refused(id, _) => id,
        Created::Nothing(why) => {
            return Err(Problem::invalid("no_pipeline", "No pipeline was started.")
                .why(format!("Because {why}."))
                .into());
        }
    };
    Ok(Redirect::to(&format!("/{}/-/pipelines/{id}", project.path())).into_response())
}

#[derive(Debug, Deserialize)]
pub(super) struct ActiveForm {
    #[serde(default)]
    active: Option<String>,
}

pub(super) async fn active(
    State(ci): State<Ci>,
    project: InProject,
    who: Who,
    PathOf(at): PathOf<Numbered>,
    FormBody(form): FormBody<ActiveForm>,
) -> Answer {
    let change = bascule_wire::pipelines::ChangeSchedule {
        active: Some(form.active.is_some()),
        ..bascule_wire::pipelines::ChangeSchedule::default()
    };
    ci.change_schedule(&who, &project, at.id, change).await?;
    Ok(back(&project))
}

pub(super) async fn remove(
    State(ci): State<Ci>,
    project: InProject,
    who: Who,
    PathOf(at): PathOf<Numbered>,
) -> Answer {
    ci.delete_schedule(&who, &project, at.id).await?;
    Ok(back(&project))
}

pub(super) async fn take(
    State(ci): State<Ci>,
    project: InProject,
    who: Who,
    PathOf(at): PathOf<Numbered>,
) -> Answer {
    ci.take_schedule(&who, &project, at.id).await?;
    Ok(back(&project))
}
