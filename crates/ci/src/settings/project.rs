//! A project's CI settings: variables, what its merge requests' pipelines try, coverage, and whose job tokens are let
//! in.

use super::pages::{Form, Variables};
use crate::{
    Ci,
    variable::{
        Place,
        api::{Named, Which},
    },
};
use askama::Template;
use axum::{
    extract::State,
    response::{IntoResponse as _, Redirect},
};
use bascule_web::{Answer, Crumb, FormBody, InProject, Markup, Params, PathOf, Tab, Ui, Who, again, when};
use bascule_wire::{
    ci::{MergePipelines, ResourceGroup},
    ci_results::CiSettings,
};
use serde::Deserialize;

struct Entry {
    path: String,
    since: Markup,
}

/// A site that a job made.
struct SiteLine {
    prefix: String,
    href: String,
    job: String,
    deployed: Markup,
    expires: Option<Markup>,
}

#[derive(Template)]
#[template(path = "settings/project.html")]
struct Page {
    base: String,
    links: Vec<(String, &'static str)>,
    v: Variables,
    merged_results: bool,
    results: CiSettings,
    told_coverage: Markup,
    groups: Vec<ResourceGroup>,
    sites: Vec<SiteLine>,
    entries: Vec<Entry>,
    /// What is to be let in, as it was written.
    path: String,
    told_access: Markup,
}

/// Who comes next in a resource group, and in words.
const MODES: [(&str, &str); 4] = [
    ("unordered", "whoever is first ready"),
    ("oldest_first", "the oldest pipeline"),
    ("newest_first", "the newest pipeline"),
    ("newest_ready_first", "the newest that is ready"),
];

#[derive(Debug, Deserialize)]
pub(super) struct ModeForm {
    key: String,
    process_mode: String,
}

pub(super) async fn set_resource_mode(
    State(ci): State<Ci>,
    project: InProject,
    who: Who,
    FormBody(form): FormBody<ModeForm>,
) -> Answer {
    ci.set_resource_mode(project.id, &form.key, &form.process_mode, &who.actor)
        .await?;
    let back = format!("/{}/-/settings/ci#resource-groups", project.path());
    Ok(Redirect::to(&back).into_response())
}

#[derive(Debug, Deserialize)]
pub(super) struct SiteForm {
    #[serde(default)]
    prefix: String,
}

pub(super) async fn remove_site(
    State(ci): State<Ci>,
    project: InProject,
    who: Who,
    FormBody(form): FormBody<SiteForm>,
) -> Answer {
    ci.remove_site(project.id, &form.prefix, &who.actor).await?;
    Ok(Redirect::to(&format!("/{}/-/settings/ci", project.path())).into_response())
}

/// What was written into a form that was refused, and why.
#[derive(Default)]
enum Refused {
    #[default]
    Nothing,
    Variable(Form, Markup),
    Coverage(CiSettings, Markup),
    Access(String, Markup),
}

async fn render(ci: &Ci, ui: &Ui, project: &InProject, refused: Refused) -> Answer {
    let path = project.path();
    let base = format!("/{path}/-/settings/ci");
    let (mut form, mut told) = (Form::default(), Markup::default());
    let (mut results, mut told_coverage) = (ci.ci_settings(project.id).await?, Markup::default());
    let (mut wanted, mut told_access) = (String::new(), Markup::default());
    match refused {
        Refused::Nothing => {}
        Refused::Variable(written, why) => (form, told) = (written, why),
        Refused::Coverage(written, why) => (results, told_coverage) = (written, why),
        Refused::Access(written, why) => (wanted, told_access) = (written, why),
    }
    let place = Place::Project(project.id);
    let page = Page {
        links: vec![
            (format!("/{path}/-/settings/runners"), "Runners"),
            (format!("/{path}/-/schedules"), "Schedules"),
            (format!("/{path}/-/settings/triggers"), "Pipeline triggers"),
        ],
        v: Variables::of(ci, &place, base.clone(), form, told).await?,
        merged_results: ci.merge_pipelines(project.id).await?.merged_results,
        results,
        told_coverage,
        groups: ci.resource_groups(project.id).await?,
        sites: ci
            .sites(project.id)
            .await?
            .into_iter()
            .map(|site| SiteLine {
                href: match site.prefix.as_str() {
                    "" => format!("/{path}/-/pages/"),
                    prefix => format!("/{path}/-/pages/{prefix}/"),
                },
                job: format!("/{path}/-/jobs/{}", site.job_id),
                deployed: when(site.deployed_at),
                expires: site.expires_at.map(when),
                prefix: site.prefix,
            })
            .collect(),
        entries: ci
            .lets_in(project.id)
            .await?
            .into_iter()
            .map(|entry| Entry {
                since: when(entry.added_at),
                path: entry.path,
            })
            .collect(),
        path: wanted,
        told_access,
        base,
    };
    let crumbs = [
        Crumb::to(&path, format!("/{path}")),
        Crumb::to("Settings", format!("/{path}/-/settings")),
        Crumb::here("CI/CD"),
    ];
    ui.project_page(Tab::Settings, &format!("CI/CD · {path}"), &crumbs, &page)
}

fn back(project: &InProject) -> Answer {
    Ok(Redirect::to(&format!("/{}/-/settings/ci", project.path())).into_response())
}

pub(super) async fn show(State(ci): State<Ci>, project: InProject, ui: Ui) -> Answer {
    render(&ci, &ui, &project, Refused::Nothing).await
}

pub(super) async fn set_variable(
    State(ci): State<Ci>,
    project: InProject,
    ui: Ui,
    who: Who,
    FormBody(form): FormBody<Form>,
) -> Answer {
    match form.set(&ci, &Place::Project(project.id), &who).await {
        Ok(()) => back(&project),
        Err(problem) => {
            again(problem, |told| {
                render(&ci, &ui, &project, Refused::Variable(form, told))
            })
            .await
        }
    }
}

pub(super) async fn remove_variable(
    State(ci): State<Ci>,
    project: InProject,
    who: Who,
    PathOf(at): PathOf<Named>,
    Params(which): Params<Which>,
) -> Answer {
    let place = Place::Project(project.id);
    ci.delete_variable(&place, &at.name, &which.environment, &who.actor)
        .await?;
    back(&project)
}

#[derive(Debug, Deserialize)]
pub(super) struct CoverageForm {
    #[serde(default)]
    floor: String,
    #[serde(default)]
    gate: String,
}

pub(super) async fn set_coverage(
    State(ci): State<Ci>,
    project: InProject,
    ui: Ui,
    who: Who,
    FormBody(form): FormBody<CoverageForm>,
) -> Answer {
    let set = CiSettings {
        coverage_floor: form.floor,
        coverage_gate: form.gate,
    };
    match ci.set_ci_settings(project.id, &set, &who).await {
        Ok(_) => back(&project),
        Err(problem) => {
            again(problem, |told| {
                render(&ci, &ui, &project, Refused::Coverage(set, told))
            })
            .await
        }
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct MergeForm {
    #[serde(default)]
    merged_results: Option<String>,
}

pub(super) async fn set_merge_pipelines(
    State(ci): State<Ci>,
    project: InProject,
    who: Who,
    FormBody(form): FormBody<MergeForm>,
) -> Answer {
    let set = MergePipelines {
        merged_results: form.merged_results.is_some(),
    };
    ci.set_merge_pipelines(project.id, &set, &who.actor).await?;
    back(&project)
}

#[derive(Debug, Deserialize)]
pub(super) struct AccessForm {
    path: String,
}

pub(super) async fn let_in(
    State(ci): State<Ci>,
    project: InProject,
    ui: Ui,
    who: Who,
    FormBody(form): FormBody<AccessForm>,
) -> Answer {
    match ci.let_in(project.id, form.path.trim(), &who.actor).await {
        Ok(()) => back(&project),
        Err(problem) => {
            again(problem, |told| {
                render(&ci, &ui, &project, Refused::Access(form.path, told))
            })
            .await
        }
    }
}

pub(super) async fn let_in_no_more(
    State(ci): State<Ci>,
    project: InProject,
    who: Who,
    FormBody(form): FormBody<AccessForm>,
) -> Answer {
    ci.let_in_no_more(project.id, &form.path, &who.actor).await?;
    back(&project)
}
