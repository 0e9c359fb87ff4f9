//! Schedules in the JSON API, and the pages' routes.

use super::pages;
use crate::{Ci, pipeline::Created, pipeline::api::Numbered};
use axum::{
    Json,
    extract::State,
    routing::{get, post},
};
use bascule_core::{Permission, Problem, ProjectScope, Result};
use bascule_web::{Access, Answer, Body, InProject, PathOf, Routes, Who, routes};
use bascule_wire::{
    ci::Pipeline,
    pipelines::{ChangeSchedule, NewSchedule, Schedule},
};
use http::StatusCode;

pub(crate) fn routes() -> Routes<Ci> {
    let read = Access::Project(Permission::PipelineRead);
    let run = Access::Project(Permission::PipelineRun);
    let manage = Access::Project(Permission::ProjectManage);
    let at = |rest: &str| format!("/{{group}}/{{project}}/-/schedules{rest}");
    Routes::new()
        .api(read, routes!(list))
        .api(run, routes!(create))
        .api(read, routes!(show))
        .api(run, routes!(change, remove))
        .api(run, routes!(play))
        .api(manage, routes!(take))
        .page("GET", &at(""), read, get(pages::list))
        .page("POST", &at("/new"), run, post(pages::create))
        .page(
            "GET,POST",
            &at("/{id}"),
            run,
            get(pages::edit).post(pages::change),
        )
        .page("POST", &at("/{id}/play"), run, post(pages::play))
        .page("POST", &at("/{id}/active"), run, post(pages::active))
        .page("POST", &at("/{id}/delete"), run, post(pages::remove))
        .page("POST", &at("/{id}/take"), manage, post(pages::take))
}

/// Lists the project's schedules.
#[utoipa::path(get, path = "/api/v1/projects/{group}/{project}/schedules", tag = "ci",
    params(("group" = String, Path), ("project" = String, Path)),
    responses((status = 200, body = Vec<Schedule>)))]
async fn list(State(ci): State<Ci>, project: InProject, who: Who) -> Answer<Json<Vec<Schedule>>> {
    let all = ci.schedules(project.id).await?;
    Ok(Json(all.iter().map(|one| one.to_wire(one.is_of(&who))).collect()))
}

/// Makes a schedule that runs in the caller's name.
#[utoipa::path(post, path = "/api/v1/projects/{group}/{project}/schedule", tag = "ci",
    params(("group" = String, Path), ("project" = String, Path)), request_body = NewSchedule,
    responses((status = 201, body = Schedule), (status = 422, body = Problem)))]
async fn create(
    State(ci): State<Ci>,
    project: InProject,
    who: Who,
    Body(new): Body<NewSchedule>,
) -> Answer<(StatusCode, Json<Schedule>)> {
    let made = ci.create_schedule(&who, &project, new).await?;
    Ok((StatusCode::CREATED, Json(made.to_wire(true))))
}

/// A schedule.
#[utoipa::path(get, path = "/api/v1/projects/{group}/{project}/schedules/{id}", tag = "ci",
    params(("group" = String, Path), ("project" = String, Path), ("id" = i64, Path)),
    responses((status = 200, body = Schedule)))]
async fn show(
    State(ci): State<Ci>,
    project: InProject,
    who: Who,
    PathOf(at): PathOf<Numbered>,
) -> Answer<Json<Schedule>> {
    let found = ci.schedule(project.id, at.id).await?;
    Ok(Json(found.to_wire(found.is_of(&who))))
}

/// Changes a schedule; what is left out stays. Its owner may, and who manages the project may stop it.
#[utoipa::path(patch, path = "/api/v1/projects/{group}/{project}/schedules/{id}", tag = "ci",
    params(("group" = String, Path), ("project" = String, Path), ("id" = i64, Path)),
    request_body = ChangeSchedule,
    responses((status = 200, body = Schedule), (status = 403, description = "It is someone else's", body = Problem)))]
async fn change(
    State(ci): State<Ci>,
    project: InProject,
    who: Who,
    PathOf(at): PathOf<Numbered>,
    Body(change): Body<ChangeSchedule>,
) -> Answer<Json<Schedule>> {
    let changed = ci.change_schedule(&who, &project, at.id, change).await?;
    Ok(Json(changed.to_wire(changed.is_of(&who))))
}

/// Removes a schedule.
#[utoipa::path(delete, path = "/api/v1/projects/{group}/{project}/schedules/{id}", tag = "ci",
    params(("group" = String, Path), ("project" = String, Path), ("id" = i64, Path)),
    responses((status = 204)))]
async fn remove(
    State(ci): State<Ci>,
    project: InProject,
    who: Who,
    PathOf(at): PathOf<Numbered>,
) -> Answer<StatusCode> {
    ci.delete_schedule(&who, &project, at.id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Runs a schedule now.
#[utoipa::path(post, path = "/api/v1/projects/{group}/{project}/schedules/{id}/play", tag = "ci",
    params(("group" = String, Path), ("project" = String, Path), ("id" = i64, Path)),
    responses((status = 201, body = Pipeline)))]
async fn play(
    State(ci): State<Ci>,
    project: InProject,
    who: Who,
    PathOf(at): PathOf<Numbered>,
) -> Answer<(StatusCode, Json<Pipeline>)> {
    let created = ci.play_schedule(&who, &project, at.id).await?;
    let pipeline = ci.started(&project, created).await?;
    Ok((StatusCode::CREATED, Json(pipeline)))
}

/// Makes a schedule the caller's own.
#[utoipa::path(post, path = "/api/v1/projects/{group}/{project}/schedules/{id}/take", tag = "ci",
    params(("group" = String, Path), ("project" = String, Path), ("id" = i64, Path)),
    responses((status = 200, body = Schedule)))]
async fn take(
    State(ci): State<Ci>,
    project: InProject,
    who: Who,
    PathOf(at): PathOf<Numbered>,
) -> Answer<Json<Schedule>> {
    Ok(Json(ci.take_schedule(&who, &project, at.id).await?.to_wire(true)))
}

impl Ci {
    /// The pipeline that was made, or why there is none.
    async fn started(&self, scope: &ProjectScope, created: Created) -> Result<Pipeline> {
        match created {
            Created::Pipeline(id) | Created::Refused(id, _) => {
                Ok(self.pipeline(scope.id, id).await?.to_wire())
            }
            Created::Nothing(why) => {
                Err(Problem::invalid("no_pipeline", "No pipeline was started.")
                    .why(format!("Because {why}.")))
            }
        }
    }
}
