//! Runners on pages: the instance's, a group's own, and those that a project may use.

use super::{
    NewRunner, Reach, Runner,
    api::{Named, id_of, only},
    queue, store,
};
use crate::{Ci, job, pipeline::status_badge};
use askama::Template;
use axum::{
    extract::State,
    response::{IntoResponse, Redirect},
};
use bascule_core::{GroupScope, Permission, Problem};
use bascule_web::{
    Answer, Crumb, FormBody, InGroup, InProject, Markup, PathOf, Section, Tab, Ui, Who, again, when,
};
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

/// Whose runners a page is about.
enum At<'a> {
    Instance,
    Group(&'a GroupScope),
    Project(&'a InProject),
}

impl At<'_> {
    /// Where the forms of the page go.
    fn base(&self) -> String {
        match self {
            Self::Instance => "/admin/runners".to_owned(),
            Self::Group(group) => format!("/{}/-/settings/runners", group.name),
            Self::Project(project) => format!("/{}/-/settings/runners", project.path()),
        }
    }

    fn reach(&self) -> Reach {
        match self {
            Self::Instance => Reach::Instance,
            Self::Group(group) => Reach::Group(group.name.clone()),
            Self::Project(project) => only(project.id),
        }
    }

    fn back(&self) -> Answer {
        Ok(Redirect::to(&self.base()).into_response())
    }

    fn may_manage(&self, ui: &Ui) -> bool {
        match self {
            Self::Instance => ui.caller().holds(Permission::InstanceManage),
            // The page is theirs alone.
            Self::Group(_) => true,
            Self::Project(project) => project.holds(Permission::ProjectManage),
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
    /// What is told where there is no runner.
    none: Markup,
    base_url: String,
    shown: Shown,
}

/// What a page shows beside the list: a token that was just made, or a form that was refused.
#[derive(Default)]
struct Shown {
    token: String,
    /// What the token is for.
    token_for: String,
    told: Markup,
    form: CreateForm,
}

impl Shown {
    fn token(token: String, token_for: impl Into<String>) -> Self {
        Self {
            token,
            token_for: token_for.into(),
            ..Self::default()
        }
    }
}

async fn render(ci: &Ci, ui: &Ui, at: &At<'_>, shown: Shown) -> Answer {
    let base = at.base();
    let may_manage = at.may_manage(ui);
    let list: Vec<Runner> = match at {
        At::Instance => ci.runners().await?,
        At::Group(group) => store::of_group(&ci.db, &group.name).await?,
        At::Project(project) => ci.runners_of_project(project.id, &project.group).await?,
    };
    let own = match at {
        At::Project(project) => Some(project.id),
        _ => None,
    };
    let lines = ci
        .runners_told(list, |other| own.is_none_or(|own| own == other))
        .await?
        .into_iter()
        .map(|runner| {
            let mine = may_manage && (own.is_none() || runner.scope == "project");
            Line::new(runner, &base, mine)
        })
        .collect();
    let (title, waiting, queue, none) = match at {
        At::Instance => (
            "Runners",
            job::store::queue_length(&ci.db).await?,
            "/admin/queue".to_owned(),
            "Jobs wait until there is one. <code>bascule up</code> brings its own.",
        ),
        At::Group(group) => (
            "Runners of this group",
            queue::store::waiting(&ci.db, &ci.of_group(&group.name).await?).await?,
            format!("/{}/-/queue", group.name),
            "The group has none of its own. Its projects use those of the instance.",
        ),
        At::Project(project) => (
            "Runners for this project",
            queue::store::waiting(&ci.db, &queue::store::Only::Projects(vec![project.id])).await?,
            format!("/{}/-/queue", project.path()),
            "Jobs wait until there is one. <code>bascule up</code> brings its own.",
        ),
    };
    let page = ListPage {
        title,
        queue,
        lines,
        waiting,
        may_manage,
        none: Markup::trusted(none),
        of_project: own.is_some(),
        base_url: ci.options.base_url.clone(),
        shown,
        base,
    };
    match at {
        At::Instance => ui.page(
            Section::Settings,
            title,
            &[Crumb::to("Admin", "/admin"), Crumb::here("Runners")],
            &page,
        ),
        At::Group(group) => ui.page(
            Section::Projects,
            &format!("Runners · {}", group.name),
            &[
                Crumb::to(&group.name, format!("/{}", group.name)),
                Crumb::to("CI/CD", format!("/{}/-/settings/ci", group.name)),
                Crumb::here("Runners"),
            ],
            &page,
        ),
        At::Project(project) => {
            let path = project.path();
            let crumbs = [
                Crumb::to(&path, format!("/{path}")),
                Crumb::to("Pipelines", format!("/{path}/-/pipelines")),
                Crumb::here("Runners"),
            ];
            ui.project_page(Tab::Settings, "Runners", &crumbs, &page)
        }
    }
}

pub(super) async fn list(State(ci): State<Ci>, ui: Ui) -> Answer {
    render(&ci, &ui, &At::Instance, Shown::default()).await
}

pub(super) async fn list_of_group(State(ci): State<Ci>, InGroup(group): InGroup, ui: Ui) -> Answer {
    render(&ci, &ui, &At::Group(&group), Shown::default()).await
}

pub(super) async fn list_of_project(State(ci): State<Ci>, project: InProject, ui: Ui) -> Answer {
    render(&ci, &ui, &At::Project(&project), Shown::default()).await
}

#[derive(Clone, Debug, Deserialize)]
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

impl Default for CreateForm {
    fn default() -> Self {
        Self {
            description: String::new(),
            tags: String::new(),
            run_untagged: Some("1".to_owned()),
            protected: None,
            locked: None,
            maximum_timeout: String::new(),
        }
    }
}

impl CreateForm {
    fn read(&self) -> Result<NewRunner, Problem> {
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
            description: self.description.clone(),
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

async fn make(ci: &Ci, ui: &Ui, at: &At<'_>, who: &Who, form: CreateForm) -> Answer {
    let made = match form.read() {
        Ok(new) => ci.make_runner(new, &at.reach(), &who.actor).await,
        Err(problem) => Err(problem),
    };
    match made {
        Ok((runner, token)) => {
            let shown = Shown::token(token, format!("runner {}", runner.description));
            render(ci, ui, at, shown).await
        }
        Err(problem) => {
            again(problem, |told| {
                let shown = Shown {
                    told,
                    form,
                    ..Shown::default()
                };
                render(ci, ui, at, shown)
            })
            .await
        }
    }
}

pub(super) async fn create(
    State(ci): State<Ci>,
    ui: Ui,
    who: Who,
    FormBody(form): FormBody<CreateForm>,
) -> Answer {
    make(&ci, &ui, &At::Instance, &who, form).await
}

pub(super) async fn create_for_group(
    State(ci): State<Ci>,
    InGroup(group): InGroup,
    ui: Ui,
    who: Who,
    FormBody(form): FormBody<CreateForm>,
) -> Answer {
    make(&ci, &ui, &At::Group(&group), &who, form).await
}

pub(super) async fn create_for_project(
    State(ci): State<Ci>,
    project: InProject,
    ui: Ui,
    who: Who,
    FormBody(form): FormBody<CreateForm>,
) -> Answer {
    make(&ci, &ui, &At::Project(&project), &who, form).await
}

async fn new_token(ci: &Ci, ui: &Ui, at: &At<'_>) -> Answer {
    let token = ci.registration_token_for(&at.reach()).await?;
    render(ci, ui, at, Shown::token(token, "registering runners")).await
}

pub(super) async fn registration_token(State(ci): State<Ci>, ui: Ui) -> Answer {
    new_token(&ci, &ui, &At::Instance).await
}

pub(super) async fn registration_token_of_group(
    State(ci): State<Ci>,
    InGroup(group): InGroup,
    ui: Ui,
) -> Answer {
    new_token(&ci, &ui, &At::Group(&group)).await
}

pub(super) async fn registration_token_of_project(
    State(ci): State<Ci>,
    project: InProject,
    ui: Ui,
) -> Answer {
    new_token(&ci, &ui, &At::Project(&project)).await
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct PauseForm {
    #[serde(default)]
    paused: Option<String>,
}

async fn paused(ci: &Ci, at: &At<'_>, id: &str, form: &PauseForm, who: &Who) -> Answer {
    let runner = ci.runner_within(id_of(id)?, &at.reach()).await?;
    ci.pause_runner(runner.id, form.paused.is_some(), &who.actor)
        .await?;
    at.back()
}

pub(super) async fn pause(
    State(ci): State<Ci>,
    who: Who,
    PathOf(at): PathOf<Named>,
    FormBody(form): FormBody<PauseForm>,
) -> Answer {
    paused(&ci, &At::Instance, &at.id, &form, &who).await
}

pub(super) async fn pause_of_group(
    State(ci): State<Ci>,
    InGroup(group): InGroup,
    who: Who,
    PathOf(at): PathOf<Named>,
    FormBody(form): FormBody<PauseForm>,
) -> Answer {
    paused(&ci, &At::Group(&group), &at.id, &form, &who).await
}

pub(super) async fn pause_of_project(
    State(ci): State<Ci>,
    project: InProject,
    who: Who,
    PathOf(at): PathOf<Named>,
    FormBody(form): FormBody<PauseForm>,
) -> Answer {
    paused(&ci, &At::Project(&project), &at.id, &form, &who).await
}

pub(super) async fn delete(State(ci): State<Ci>, who: Who, PathOf(at): PathOf<Named>) -> Answer {
    ci.delete_runner(id_of(&at.id)?, &who.actor).await?;
    At::Instance.back()
}

pub(super) async fn delete_of_group(
    State(ci): State<Ci>,
    InGroup(group): InGroup,
    who: Who,
    PathOf(at): PathOf<Named>,
) -> Answer {
    let here = At::Group(&group);
    let runner = ci.runner_within(id_of(&at.id)?, &here.reach()).await?;
    ci.delete_runner(runner.id, &who.actor).await?;
    here.back()
}

pub(super) async fn delete_of_project(
    State(ci): State<Ci>,
    project: InProject,
    who: Who,
    PathOf(at): PathOf<Named>,
) -> Answer {
    ci.remove_from_project(id_of(&at.id)?, project.id, &who.actor)
        .await?;
    At::Project(&project).back()
}
