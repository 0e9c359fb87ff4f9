//! Pages of pipelines.

use super::{
    Pipeline,
    api::{ListQuery, Numbered},
    store,
};
use crate::Ci;
use askama::Template;
use axum::{
    extract::State,
    response::{IntoResponse, Redirect, Response},
};
use bascule_core::{Permission, PipelineId, limits};
use bascule_web::{
    Answer, Crumb, InProject, Markup, Params, PathOf, Tab, Ui, Who, duration, icon, url_encode, when,
};

/// A status as a coloured word with an icon, so that colour alone tells nothing.
pub(crate) fn status_badge(status: &str) -> Markup {
    let (color, picture) = look(status);
    Markup::trusted(format!(
        "<span class=\"badge bg-{color}-lt nowrap\">{} {}</span>",
        icon(picture),
        Markup::text(status)
    ))
}

/// Colour and icon of a status.
pub(crate) fn look(status: &str) -> (&'static str, &'static str) {
    match status {
        "success" => ("green", "circle-check"),
        "failed" => ("red", "circle-x"),
        "warning" => ("yellow", "alert-triangle"),
        "running" => ("blue", "loader"),
        "pending" => ("secondary", "clock"),
        "canceled" | "canceling" => ("secondary", "ban"),
        "skipped" => ("secondary", "player-skip-forward"),
        "manual" => ("secondary", "player-play"),
        "scheduled" | "waiting_for_resource" => ("secondary", "hourglass"),
        _ => ("secondary", "circle-dashed"),
    }
}

/// One pipeline in a list.
pub(crate) struct PipelineLine {
    pub id: PipelineId,
    pub href: String,
    pub title: String,
    pub reference: String,
    pub reference_icon: Markup,
    pub commit: String,
    pub commit_href: String,
    pub actor: String,
    pub source: String,
    pub badge: Markup,
    pub created: Markup,
    pub took: String,
    pub fault: String,
}

pub(crate) fn line(pipeline: &Pipeline, project: &str) -> PipelineLine {
    let took = match (pipeline.started_at, pipeline.finished_at) {
        (Some(start), Some(end)) => duration(end.since(start)),
        _ => String::new(),
    };
    PipelineLine {
        id: pipeline.id,
        href: format!("/{project}/-/pipelines/{}", pipeline.id),
        title: pipeline
            .name
            .clone()
            .unwrap_or_else(|| pipeline.title().to_owned()),
        reference: pipeline.reference.clone(),
        reference_icon: icon(if pipeline.tag { "tag" } else { "git-branch" }),
        commit: pipeline.sha.get(..8).unwrap_or(&pipeline.sha).to_owned(),
        commit_href: format!("/{project}/-/commit/{}", url_encode(&pipeline.sha)),
        actor: pipeline.actor_name.clone(),
        source: pipeline.source.clone(),
        badge: status_badge(pipeline.status.as_str()),
        created: when(pipeline.created_at),
        took,
        fault: pipeline
            .faults
            .0
            .first()
            .map(ToString::to_string)
            .unwrap_or_default(),
    }
}

#[derive(Template)]
#[template(path = "pipeline/list.html")]
struct ListPage {
    base: String,
    lint: String,
    schedules: String,
    environments: String,
    lines: Vec<PipelineLine>,
    reference: String,
    reference_encoded: String,
    older: Option<String>,
    may_run: bool,
    empty: Markup,
    live: bool,
}

pub(super) async fn list(
    State(ci): State<Ci>,
    project: InProject,
    ui: Ui,
    Params(query): Params<ListQuery>,
) -> Answer {
    let path = project.path();
    let reference = query.reference.filter(|text| !text.is_empty());
    let before = query.before.map(PipelineId);
    let limit = limits::PAGE_ENTRIES;
    let found = store::list(&ci.db, project.id, reference.as_deref(), before, limit).await?;
    let base = format!("/{path}/-/pipelines");
    let older = match found.last() {
        Some(last) if found.len() as i64 == limit => {
            let filter = reference
                .as_ref()
                .map(|r| format!("&ref={}", url_encode(r)))
                .unwrap_or_default();
            Some(format!("{base}?before={}{filter}", last.id))
        }
        _ => None,
    };
    let page = ListPage {
        lines: found.iter().map(|pipeline| line(pipeline, &path)).collect(),
        lint: format!("/{path}/-/ci/lint"),
        schedules: format!("/{path}/-/schedules"),
        environments: format!("/{path}/-/ci/environments"),
        reference_encoded: reference.as_deref().map(url_encode).unwrap_or_default(),
        reference: reference.unwrap_or_default(),
        may_run: project.holds(Permission::PipelineRun),
        live: before.is_none(),
        older,
        base,
        empty: icon("rocket"),
    };
    ui.project_page(
        Tab::Pipelines,
        "Pipelines",
        &[Crumb::to(&path, format!("/{path}")), Crumb::here("Pipelines")],
        &page,
    )
}

fn to_pipeline(project: &str, id: PipelineId) -> Response {
    Redirect::to(&format!("/{project}/-/pipelines/{id}")).into_response()
}

pub(super) async fn cancel(
    State(ci): State<Ci>,
    project: InProject,
    who: Who,
    PathOf(Numbered { id }): PathOf<Numbered>,
) -> Answer {
    ci.guard_pipeline(&project, PipelineId(id)).await?;
    let pipeline = ci.cancel_pipeline(project.id, PipelineId(id), &who.actor).await?;
    Ok(to_pipeline(&project.path(), pipeline.id))
}

pub(super) async fn retry(
    State(ci): State<Ci>,
    project: InProject,
    who: Who,
    PathOf(Numbered { id }): PathOf<Numbered>,
) -> Answer {
    ci.guard_pipeline(&project, PipelineId(id)).await?;
    let pipeline = ci.retry_pipeline(project.id, PipelineId(id), &who.actor).await?;
    Ok(to_pipeline(&project.path(), pipeline.id))
}
