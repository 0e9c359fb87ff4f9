//! Runners on pages: the instance's, and those that a project may use.

use super::{NewRunner, Reach, Runner, api::id_of, api::only};
use crate::{Ci, job, pipeline::status_badge};
use askama::Template;
use axum::{
    extract::State,
    response::{IntoResponse, Redirect},
};
use bascule_core::{Permission, Problem};
use bascule_web::{Answer, Crumb, FormBody, InProject, Markup, PathOf, Section, Tab, Ui, Who, when};
use bascule_wire::ci as wire;
use serde::Deserialize;

struct Line {
    href: String,
    number: i64,
    description: String,
    takes: String,
    /// `paused`, `online`, `offline`.
    state: &'static str,
    /// For whom it is, where that is not everyone.
    of: String,
    protected: bool,
    locked: bool,
    /// Whether who looks may change it.
    mine: bool,
    program: String,
    contacted: Option<Markup>,
    held: i64,
    jobs: Vec<JobLine>,
    /// Jobs of projects that who looks does not see.
    others: i64,
}

struct JobLine {
    href: String,
    title: String,
    badge: Markup,
    since: Option<Markup>,
}

fn takes(runner: &wire::Runner) -> String {
    let untagged = "jobs without tags";
    match (runner.tags.is_empty(), runner.run_untagged) {
        (true, true) => untagged.to_owned(),
        (true, false) => "nothing".to_owned(),
        (false, true) => format!("{}, and {untagged}", runner.tags.join(", ")),
        (false, false) => runner.tags.join(", "),
    }
}

impl Line {
    fn new(runner: wire::Runner, base: &str, mine: bool) -> Self {
        let jobs: Vec<JobLine> = runner
            .jobs
            .iter()
            .map(|job| JobLine {
                href: format!("/{}/-/jobs/{}", job.project, job.id),
                title: format!("{} #{} {}", job.project, job.id, job.name),
                badge: status_badge(&job.status),
                since: job.started_at.map(when),
            })
            .collect();
        Self {
            href: format!("{base}/{}", runner.id),
            number: runner.number,
            takes: takes(&runner),
            state: match (runner.paused, runner.online) {
                (true, _) => "paused",
                (false, true) => "online",
                (false, false) => "offline",
            },
            of: match (runner.scope.as_str(), &runner.group) {
                ("group", Some(group)) => format!("group {group}"),
                ("project", _) => "projects".to_owned(),
                _ => String::new(),
            },
            protected: runner.protected,
            locked: runner.locked,
            mine,
            contacted: runner.contacted_at.map(when),
            program: format!("{} {} {}", runner.executor, runner.version, runner.platform)
                .trim()
                .to_owned(),
            others: runner.held - i64::try_from(jobs.len()).unwrap_or_default(),
            held: runner.held,
            jobs,
            description: runner.description,
        }
    }
}

#[derive(Template)]
#[template(path = "runner/list.html")]
struct ListPage {
    /// Where the forms of this page go.
    base: String,
    title: &'static str,
    queue: String,
    lines: Vec<Line>,
    waiting: i64,
    may_manage: bool,
    /// Whether runners can be made that stay with one project.
    of_project: bool,
    base_url: String,
    /// A token that was just made.
    token: String,
    /// What it is for.
    token_for: String,
}

async fn render(ci: &Ci, ui: &Ui, token: String, token_for: String) -> Answer {
    let base = "/admin/runners";
    let may_manage = ui.caller().holds(Permission::InstanceManage);
    let lines = ci
        .runners_told(ci.runners().await?, |_| true)
        .await?
        .into_iter()
        .map(|runner| Line::new(runner, base, may_manage))
        .collect();
    let page = ListPage {
        base: base.to_owned(),
        title: "Runners",
        queue: "/admin/queue".to_owned(),
        lines,
        waiting: job::store::queue_length(&ci.db).await?,
        may_manage,
        of_project: false,
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

async fn render_project(ci: &Ci, ui: &Ui, project: &InProject, token: String, token_for: String) -> Answer {
    let path = project.path();
    let base = format!("/{path}/-/settings/runners");
    let may_manage = project.holds(Permission::ProjectManage);
    let list: Vec<Runner> = ci.runners_of_project(project.id, &project.group).await?;
    let lines = ci
        .runners_told(list, |other| other == project.id)
        .await?
        .into_iter()
        .map(|runner| {
            let mine = may_manage && runner.scope == "project";
            Line::new(runner, &base, mine)
        })
        .collect();
    let mine = super::queue::store::Only::Projects(vec![project.id]);
    let page = ListPage {
        title: "Runners for this project",
        queue: format!("/{path}/-/queue"),
        lines,
        waiting: super::queue::store::waiting(&ci.db, &mine).await?,
        may_manage,
        of_project: true,
        base_url: ci.options.base_url.clone(),
        token,
        token_for,
        base,
    };
    let crumbs = [
        Crumb::to(&path, format!("/{path}")),
        Crumb::to("Pipelines", format!("/{path}/-/pipelines")),
        Crumb::here("Runners"),
    ];
    ui.project_page(Tab::Settings, "Runners", &crumbs, &page)
}

pub(super) async fn list_of_project(State(ci): State<Ci>, project: InProject, ui: Ui) -> Answer {
    render_project(&ci, &ui, &project, String::new(), String::new()).await
}

#[derive(Debug, Deserialize)]
pub(super) struct CreateForm {
    description: String,
    #[serde(default)]
    tags: String,
    #[serde(default)]
    run_untagged: Option<String>,
    #[serde(default)]
    protected: Option<String>,
    #[serde(default)]
    locked: Option<String>,
    #[serde(default)]
    maximum_timeout: String,
}

impl CreateForm {
    fn read(self) -> Result<NewRunner, Problem> {
        let seconds = self.maximum_timeout.trim();
        let maximum_timeout = if seconds.is_empty() {
            None
        } else {
            let read = seconds.parse().map_err(|_| {
                Problem::invalid("bad_timeout", "The longest job is a number of seconds.")
                    .next("Write `3600`, or leave it empty.")
            })?;
            Some(read)
        };
        Ok(NewRunner {
            description: self.description,
            tags: self
                .tags
                .split(',')
                .map(|tag| tag.trim().to_owned())
                .filter(|tag| !tag.is_empty())
                .collect(),
            run_untagged: self.run_untagged.is_some(),
            protected: self.protected.is_some(),
            locked: self.locked.is_some(),
            maximum_timeout,
            ..NewRunner::default()
        })
    }
}

pub(super) async fn create(
    State(ci): State<Ci>,
    ui: Ui,
    who: Who,
    FormBody(form): FormBody<CreateForm>,
) -> Answer {
    let (runner, token) = ci.make_runner(form.read()?, &Reach::Instance, &who.actor).await?;
    render(&ci, &ui, token, format!("runner {}", runner.description)).await
}

pub(super) async fn create_for_project(
    State(ci): State<Ci>,
    project: InProject,
    ui: Ui,
    who: Who,
    FormBody(form): FormBody<CreateForm>,
) -> Answer {
    let (runner, token) = ci
        .make_runner(form.read()?, &only(project.id), &who.actor)
        .await?;
    render_project(
        &ci,
        &ui,
        &project,
        token,
        format!("runner {}", runner.description),
    )
    .await
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
    who: Who,
    PathOf(id): PathOf<String>,
    FormBody(form): FormBody<PauseForm>,
) -> Answer {
    ci.pause_runner(id_of(&id)?, form.paused.is_some(), &who.actor)
        .await?;
    Ok(Redirect::to("/admin/runners").into_response())
}

pub(super) async fn pause_of_project(
    State(ci): State<Ci>,
    project: InProject,
    who: Who,
    PathOf(at): PathOf<super::api::Named>,
    FormBody(form): FormBody<PauseForm>,
) -> Answer {
    let runner = ci.runner_within(id_of(&at.id)?, &only(project.id)).await?;
    ci.pause_runner(runner.id, form.paused.is_some(), &who.actor)
        .await?;
    Ok(Redirect::to(&format!("/{}/-/settings/runners", project.path())).into_response())
}

pub(super) async fn delete(State(ci): State<Ci>, who: Who, PathOf(id): PathOf<String>) -> Answer {
    ci.delete_runner(id_of(&id)?, &who.actor).await?;
    Ok(Redirect::to("/admin/runners").into_response())
}

pub(super) async fn delete_of_project(
    State(ci): State<Ci>,
    project: InProject,
    who: Who,
    PathOf(at): PathOf<super::api::Named>,
) -> Answer {
    ci.remove_from_project(id_of(&at.id)?, project.id, &who.actor)
        .await?;
    Ok(Redirect::to(&format!("/{}/-/settings/runners", project.path())).into_response())
}
