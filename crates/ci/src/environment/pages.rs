//! The environments of a project's jobs: what runs where, and the buttons that take it down.

use super::{Environment, state};
use crate::{
    Ci, job,
    pipeline::{self, api::Numbered, status_badge},
};
use askama::Template;
use axum::{
    extract::State,
    response::{IntoResponse as _, Redirect},
};
use bascule_core::{JobId, Permission, PipelineId, limits};
use bascule_web::{Answer, Crumb, InProject, Markup, Params, PathOf, Tab, Ui, Who, again, url_encode, when};
use serde::Deserialize;
use std::collections::HashSet;

#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    after: String,
    /// Whether those are wanted that were taken down.
    #[serde(default)]
    stopped: Option<String>,
}

/// A job, its state and where it is.
struct JobLink {
    name: String,
    href: String,
    badge: Markup,
}

struct Line {
    environment: Environment,
    /// Where its forms go.
    href: String,
    available: bool,
    stopping: bool,
    deployed: Option<JobLink>,
    stop_job: Option<JobLink>,
    /// Why the caller may not stop it.
    closed: Option<Markup>,
    commit: String,
    commit_href: String,
    at: Markup,
    ends: Option<Markup>,
    changed: Markup,
}

#[derive(Template)]
#[template(path = "environment/list.html")]
struct Page {
    base: String,
    deliveries: String,
    icons: [Markup; 2],
    lines: Vec<Line>,
    stopped: bool,
    counts: (i64, i64),
    may_run: bool,
    live: bool,
    next: Option<String>,
    told: Markup,
}

async fn render(ci: &Ci, ui: &Ui, project: &InProject, asked: &Asked, told: Markup) -> Answer {
    let path = project.path();
    let base = format!("/{path}/-/ci/environments");
    let stopped = asked.stopped.is_some();
    let states: &[&str] = if stopped {
        &[state::STOPPED]
    } else {
        &[state::AVAILABLE, state::STOPPING]
    };
    let limit = limits::PAGE_ENTRIES;
    let mut found = ci
        .ci_environments(project.id, states, &asked.after, limit + 1)
        .await?;
    let more = i64::try_from(found.len()).unwrap_or(i64::MAX) > limit;
    found.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    let next = found.last().filter(|_| more).map(|last| {
        let which = if stopped { "&stopped=1" } else { "" };
        format!("{base}?after={}{which}", url_encode(&last.name))
    });
    let ids: Vec<JobId> = found.iter().map(|one| one.job_id).collect();
    let deployed = job::store::outlines(&ci.db, &ids).await?;
    let wanted: Vec<(PipelineId, &str)> = found
        .iter()
        .filter_map(|one| Some((one.pipeline_id, one.on_stop.as_deref()?)))
        .collect();
    let stop_jobs = job::store::named(&ci.db, &wanted).await?;
    // Who may not run what protected branches hold may not take down what it deployed either.
    let may_run = project.holds(Permission::PipelineRun);
    let closed = match may_run
        && !ci
            .runs_protected(project.id, project.holds(Permission::ProtectedPush))
            .await?
    {
        true => {
            let pipelines: Vec<PipelineId> = found.iter().map(|one| one.pipeline_id).collect();
            pipeline::store::protected(&ci.db, &pipelines).await?
        }
        false => HashSet::new(),
    };
    let link = |job: &job::store::Outline| JobLink {
        name: job.name.clone(),
        href: format!("/{path}/-/jobs/{}", job.id),
        badge: status_badge(job.status.as_str()),
    };
    let lines: Vec<Line> = found
        .into_iter()
        .map(|environment| Line {
            href: format!("{base}/{}", environment.id),
            available: environment.state == state::AVAILABLE,
            stopping: environment.state == state::STOPPING,
            deployed: deployed.get(&environment.job_id).map(link),
            stop_job: environment
                .on_stop
                .as_ref()
                .and_then(|name| stop_jobs.get(&(environment.pipeline_id, name.clone())))
                .map(link),
            closed: closed.contains(&environment.pipeline_id).then(|| {
                Markup::prose(&format!(
                    "`{}` is protected: only maintainers stop it.",
                    environment.reference
                ))
            }),
            commit: environment.sha.get(..8).unwrap_or(&environment.sha).to_owned(),
            commit_href: format!("/{path}/-/commit/{}", url_encode(&environment.sha)),
            at: when(environment.deployed_at),
            ends: environment.auto_stop_at.map(when),
            changed: when(environment.changed_at),
            environment,
        })
        .collect();
    let page = Page {
        deliveries: format!("/{path}/-/environments"),
        icons: [bascule_web::icon("server"), bascule_web::icon("external-link")],
        live: lines.iter().any(|line| line.stopping),
        lines,
        stopped,
        counts: super::store::counts(&ci.db, project.id).await?,
        may_run,
        next,
        told,
        base,
    };
    let crumbs = [
        Crumb::to(&path, format!("/{path}")),
        Crumb::to("Pipelines", format!("/{path}/-/pipelines")),
        Crumb::here("Environments of jobs"),
    ];
    ui.project_page(Tab::Environments, "Environments of jobs", &crumbs, &page)
}

pub(super) async fn list(
    State(ci): State<Ci>,
    project: InProject,
    ui: Ui,
    Params(asked): Params<Asked>,
) -> Answer {
    render(&ci, &ui, &project, &asked, Markup::default()).await
}

/// Goes back to the list. Where somebody else, or its time, was first, the page shows how it stands now.
async fn back<T>(ci: &Ci, ui: &Ui, project: &InProject, done: bascule_core::Result<T>) -> Answer {
    match done {
        Ok(_) => Ok(Redirect::to(&format!("/{}/-/ci/environments", project.path())).into_response()),
        Err(problem) => {
            let asked = Asked::default();
            again(problem, |told| render(ci, ui, project, &asked, told)).await
        }
    }
}

pub(super) async fn stop(
    State(ci): State<Ci>,
    project: InProject,
    ui: Ui,
    who: Who,
    PathOf(at): PathOf<Numbered>,
) -> Answer {
    let done = ci.stop_environment(&project, at.id, &who.actor).await;
    back(&ci, &ui, &project, done).await
}

pub(super) async fn keep(
    State(ci): State<Ci>,
    project: InProject,
    ui: Ui,
    who: Who,
    PathOf(at): PathOf<Numbered>,
) -> Answer {
    let done = ci.keep_environment(project.id, at.id, &who.actor).await;
    back(&ci, &ui, &project, done).await
}

pub(super) async fn remove(
    State(ci): State<Ci>,
    project: InProject,
    ui: Ui,
    who: Who,
    PathOf(at): PathOf<Numbered>,
) -> Answer {
    match ci.delete_environment(&project, at.id, &who.actor).await {
        Ok(()) => {
            let back = format!("/{}/-/ci/environments?stopped=1", project.path());
            Ok(Redirect::to(&back).into_response())
        }
        Err(problem) => back::<()>(&ci, &ui, &project, Err(problem)).await,
    }
}
