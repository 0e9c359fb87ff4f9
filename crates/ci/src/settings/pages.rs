//! CI variables on pages: the list and the form that all three places share, and the pages of a group and of the
//! instance.

use crate::{
    Ci,
    runner::queue,
    variable::{
        EVERYWHERE, Place,
        api::{Named, Which},
    },
};
use askama::Template;
use axum::{
    extract::State,
    response::{IntoResponse as _, Redirect},
};
use bascule_core::{GroupScope, Permission, Result};
use bascule_web::{
    Answer, Crumb, FormBody, InGroup, Markup, Params, PathOf, Section, Ui, Who, again, url_encode, when,
};
use bascule_wire::ci::{CiVariable, SetCiVariable};
use serde::Deserialize;

pub(super) struct Line {
    pub(super) variable: CiVariable,
    pub(super) updated: Markup,
    pub(super) delete: String,
}

/// The variables of a place, and the form that sets one.
pub(super) struct Variables {
    /// Where the form goes.
    pub(super) href: String,
    pub(super) lead: &'static str,
    pub(super) lines: Vec<Line>,
    pub(super) form: Form,
    pub(super) told: Markup,
}

impl Variables {
    pub(super) async fn of(ci: &Ci, place: &Place, href: String, form: Form, told: Markup) -> Result<Self> {
        let lines = ci
            .variables_of(place)
            .await?
            .into_iter()
            .map(|variable| Line {
                updated: when(variable.updated_at),
                delete: format!(
                    "{href}/{}/delete?environment={}",
                    url_encode(&variable.name),
                    url_encode(&variable.environment)
                ),
                variable,
            })
            .collect();
        Ok(Self {
            href,
            lead: match place {
                Place::Instance => {
                    "Given to every job of every project. Those of groups and projects count over them."
                }
                Place::Group(_) => {
                    "Given to the jobs of all projects of this group. They count over those of the instance, and those \
                     of a project count over them."
                }
                Place::Project(_) => {
                    "Given to this project's jobs. They count over those of the CI file, and over those that the group \
                     and the instance set."
                }
            },
            lines,
            form,
            told,
        })
    }
}

/// What the form sends.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Form {
    pub(super) name: String,
    #[serde(default)]
    pub(super) value: String,
    #[serde(default)]
    pub(super) masked: Option<String>,
    #[serde(default)]
    pub(super) protected: Option<String>,
    #[serde(default)]
    pub(super) file: Option<String>,
    #[serde(default)]
    pub(super) expand: Option<String>,
    #[serde(default)]
    pub(super) secret: Option<String>,
    #[serde(default)]
    pub(super) environment: String,
}

impl Default for Form {
    fn default() -> Self {
        Self {
            name: String::new(),
            value: String::new(),
            masked: None,
            protected: None,
            file: None,
            expand: Some("1".to_owned()),
            secret: None,
            environment: String::new(),
        }
    }
}

impl Form {
    pub(super) async fn set(&self, ci: &Ci, place: &Place, who: &Who) -> Result<()> {
        let set = SetCiVariable {
            value: self.value.replace("\r\n", "\n"),
            masked: self.masked.is_some(),
            protected: self.protected.is_some(),
            file: self.file.is_some(),
            expand: self.expand.is_some(),
            secret: self.secret.is_some(),
            environment: match self.environment.trim() {
                "" => EVERYWHERE.to_owned(),
                named => named.to_owned(),
            },
        };
        ci.set_variable(place, self.name.trim(), &set, &who.actor).await
    }
}

#[derive(Template)]
#[template(path = "settings/above.html")]
struct Page {
    title: String,
    links: Vec<(String, &'static str)>,
    v: Variables,
    limit: Option<Limit>,
}

/// How many jobs of a group run at once.
struct Limit {
    running: String,
    /// Whether the caller may set it.
    may: bool,
    told: Markup,
}

/// A group's page; with the limit as it was written and why it was refused, where it was.
async fn group_page(
    ci: &Ci,
    ui: &Ui,
    group: &GroupScope,
    (form, told): (Form, Markup),
    limit: Option<(String, Markup)>,
) -> Answer {
    let (running, told_limit) = match limit {
        Some(limit) => limit,
        None => {
            let running = queue::store::limit(&ci.db, &group.name).await?;
            let shown = running.map(|running| running.to_string());
            (shown.unwrap_or_default(), Markup::default())
        }
    };
    let name = &group.name;
    let base = format!("/{name}/-/settings");
    let place = Place::Group(name.clone());
    let page = Page {
        title: format!("CI/CD of {name}"),
        links: vec![
            (format!("{base}/runners"), "Runners"),
            (format!("/{name}/-/required-pipelines"), "Required pipelines"),
            (format!("/{name}/-/queue"), "Queue"),
        ],
        limit: Some(Limit {
            running,
            may: ui.caller().holds(Permission::InstanceManage),
            told: told_limit,
        }),
        v: Variables::of(ci, &place, format!("{base}/ci"), form, told).await?,
    };
    let crumbs = [Crumb::to(name, format!("/{name}")), Crumb::here("CI/CD")];
    ui.page(Section::Projects, &format!("CI/CD · {name}"), &crumbs, &page)
}

pub(super) async fn of_group(State(ci): State<Ci>, InGroup(group): InGroup, ui: Ui) -> Answer {
    group_page(&ci, &ui, &group, Default::default(), None).await
}

#[derive(Debug, Deserialize)]
pub(super) struct LimitForm {
    #[serde(default)]
    running: String,
}

pub(super) async fn set_limit(
    State(ci): State<Ci>,
    InGroup(group): InGroup,
    ui: Ui,
    who: Who,
    FormBody(form): FormBody<LimitForm>,
) -> Answer {
    queue::api::may_limit(&who)?;
    let done = match form.running.trim() {
        "" => ci.limit_group(&group.name, None, &who.actor).await,
        // What is no number is out of bounds.
        text => {
            let running = text.parse().unwrap_or_default();
            ci.limit_group(&group.name, Some(running), &who.actor).await
        }
    };
    match done {
        Ok(()) => Ok(Redirect::to(&format!("/{}/-/settings/ci#limit", group.name)).into_response()),
        Err(problem) => {
            again(problem, |told| {
                group_page(&ci, &ui, &group, Default::default(), Some((form.running, told)))
            })
            .await
        }
    }
}

pub(super) async fn set_of_group(
    State(ci): State<Ci>,
    InGroup(group): InGroup,
    ui: Ui,
    who: Who,
    FormBody(form): FormBody<Form>,
) -> Answer {
    match form.set(&ci, &Place::Group(group.name.clone()), &who).await {
        Ok(()) => Ok(Redirect::to(&format!("/{}/-/settings/ci", group.name)).into_response()),
        Err(problem) => again(problem, |told| group_page(&ci, &ui, &group, (form, told), None)).await,
    }
}

pub(super) async fn remove_of_group(
    State(ci): State<Ci>,
    InGroup(group): InGroup,
    who: Who,
    PathOf(at): PathOf<Named>,
    Params(which): Params<Which>,
) -> Answer {
    let place = Place::Group(group.name.clone());
    ci.delete_variable(&place, &at.name, &which.environment, &who.actor)
        .await?;
    Ok(Redirect::to(&format!("/{}/-/settings/ci", group.name)).into_response())
}

async fn instance_page(ci: &Ci, ui: &Ui, form: Form, told: Markup) -> Answer {
    let page = Page {
        title: "CI/CD of the instance".to_owned(),
        links: vec![
            ("/admin/runners".to_owned(), "Runners"),
            ("/admin/queue".to_owned(), "Queue"),
        ],
        v: Variables::of(ci, &Place::Instance, "/admin/ci".to_owned(), form, told).await?,
        limit: None,
    };
    let crumbs = [Crumb::to("Admin", "/admin"), Crumb::here("CI/CD")];
    ui.page(Section::Settings, "CI/CD", &crumbs, &page)
}

pub(super) async fn of_all(State(ci): State<Ci>, ui: Ui) -> Answer {
    instance_page(&ci, &ui, Form::default(), Markup::default()).await
}

pub(super) async fn set_of_all(
    State(ci): State<Ci>,
    ui: Ui,
    who: Who,
    FormBody(form): FormBody<Form>,
) -> Answer {
    match form.set(&ci, &Place::Instance, &who).await {
        Ok(()) => Ok(Redirect::to("/admin/ci").into_response()),
        Err(problem) => again(problem, |told| instance_page(&ci, &ui, form, told)).await,
    }
}

pub(super) async fn remove_of_all(
    State(ci): State<Ci>,
    who: Who,
    PathOf(at): PathOf<Named>,
    Params(which): Params<Which>,
) -> Answer {
    ci.delete_variable(&Place::Instance, &at.name, &which.environment, &who.actor)
        .await?;
    Ok(Redirect::to("/admin/ci").into_response())
}
