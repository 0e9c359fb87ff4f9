//! The project's schedules.

use super::{
    form::{Form, shown},
    store::Schedule,
};
use crate::{
    Ci,
    pipeline::{self, Created, api::Numbered},
};
use askama::Template;
use axum::{
    extract::State,
    response::{IntoResponse as _, Redirect},
};
use bascule_core::{Permission, PipelineId, Problem};
use bascule_web::{Answer, Crumb, FormBody, InProject, Markup, PathOf, Tab, Ui, Who, icon, when};
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
    told: String,
}

#[derive(Template)]
#[template(path = "schedule/edit.html")]
struct EditPage {
    base: String,
    id: i64,
    form: Form,
    told: String,
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
    let page = ListPage {
        base: format!("/{path}/-/schedules"),
        icon: icon("calendar"),
        lines,
        may_run: project.holds(Permission::PipelineRun),
        may_manage: project.holds(Permission::ProjectManage),
        form: form.unwrap_or_else(|| Form {
            timezone: "UTC".to_owned(),
            active: Some("1".to_owned()),
            ..Form::default()
        }),
        told,
    };
    let crumbs = [
        Crumb::to(&path, format!("/{path}")),
        Crumb::to("Pipelines", format!("/{path}/-/pipelines")),
        Crumb::here("Schedules"),
    ];
    ui.project_page(Tab::Pipelines, "Schedules", &crumbs, &page)
}

pub(super) async fn list(State(ci): State<Ci>, project: InProject, who: Who, ui: Ui) -> Answer {
    render(&ci, &ui, &project, &who, None, String::new()).await
}

pub(super) async fn create(
    State(ci): State<Ci>,
    project: InProject,
    who: Who,
    ui: Ui,
    FormBody(form): FormBody<Form>,
) -> Answer {
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

fn edit_page(ui: &Ui, project: &InProject, id: i64, form: Form, told: String) -> Answer {
    let path = project.path();
    let base = format!("/{path}/-/schedules");
    let crumbs = [
        Crumb::to(&path, format!("/{path}")),
        Crumb::to("Schedules", base.clone()),
        Crumb::here(format!("Schedule {id}")),
    ];
    let page = EditPage { base, id, form, told };
    ui.project_page(Tab::Pipelines, "Schedule", &crumbs, &page)
}

pub(super) async fn edit(
    State(ci): State<Ci>,
    project: InProject,
    who: Who,
    ui: Ui,
    PathOf(at): PathOf<Numbered>,
) -> Answer {
    let schedule = ci.schedule(project.id, at.id).await?;
    let form = Form {
        description: schedule.description.clone(),
        reference: schedule.reference.clone(),
        cron: schedule.cron.clone(),
        timezone: schedule.timezone.clone(),
        variables: if schedule.is_of(&who) {
            shown(&schedule.variables.0)
        } else {
            String::new()
        },
        active: schedule.active.then(|| "1".to_owned()),
    };
    let told = if schedule.is_of(&who) {
        String::new()
    } else {
        format!(
            "This schedule is {}'s, who alone changes it.",
            schedule.owner_name
        )
    };
    edit_page(&ui, &project, at.id, form, told)
}

pub(super) async fn change(
    State(ci): State<Ci>,
    project: InProject,
    who: Who,
    ui: Ui,
    PathOf(at): PathOf<Numbered>,
    FormBody(form): FormBody<Form>,
) -> Answer {
    let changed = match form.change() {
        Ok(change) => ci.change_schedule(&who, &project, at.id, change).await,
        Err(problem) => Err(problem),
    };
    match changed {
        Ok(_) => Ok(back(&project)),
        Err(problem) if problem.is_server_fault() => Err(problem.into()),
        Err(problem) => edit_page(&ui, &project, at.id, form, problem.to_string()),
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
