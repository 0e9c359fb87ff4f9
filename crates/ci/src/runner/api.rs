//! Runners in the JSON API: the instance's, a group's, a project's.

use super::{NewRunner, Reach, pages, store};
use crate::Ci;
use axum::{
    Json,
    extract::State,
    routing::{get, post},
};
use bascule_core::{Actor, Permission, Problem, ProjectId, Result, RunnerId};
use bascule_web::{Access, Answer, Body, InGroup, InProject, PathOf, Routes, Who, routes};
use bascule_wire::ci::{ChangeRunner, CreateRunner, CreatedRunner, RegistrationToken, Runner};
use http::StatusCode;
use serde::Deserialize;

pub(crate) fn routes() -> Routes<Ci> {
    let manage = Access::Instance(Permission::InstanceManage);
    let read = Access::Instance(Permission::InstanceRead);
    let of_group = Access::Group(Permission::GroupManage);
    let of_project = Access::Project(Permission::ProjectManage);
    let see_project = Access::Project(Permission::PipelineRead);
    Routes::new()
        .api(read, routes!(list))
        .api(manage, routes!(create))
        .api(manage, routes!(change, remove))
        .api(manage, routes!(registration_token))
        .api(of_group, routes!(list_of_group))
        .api(of_group, routes!(create_for_group))
        .api(of_group, routes!(change_of_group, remove_of_group))
        .api(of_group, routes!(registration_token_of_group))
        .api(see_project, routes!(list_of_project))
        .api(of_project, routes!(create_for_project))
        .api(of_project, routes!(change_of_project, remove_of_project))
        .api(of_project, routes!(registration_token_of_project))
        .api(of_project, routes!(enable_for_project))
        .page("GET", "/admin/runners", read, get(pages::list))
        .page("POST", "/admin/runners/new", manage, post(pages::create))
        .page(
            "POST",
            "/admin/runners/registration-token",
            manage,
            post(pages::registration_token),
        )
        .page("POST", "/admin/runners/{id}/pause", manage, post(pages::pause))
        .page("POST", "/admin/runners/{id}/delete", manage, post(pages::delete))
        .page(
            "GET",
            "/{group}/-/settings/runners",
            of_group,
            get(pages::list_of_group),
        )
        .page(
            "POST",
            "/{group}/-/settings/runners/new",
            of_group,
            post(pages::create_for_group),
        )
        .page(
            "POST",
            "/{group}/-/settings/runners/registration-token",
            of_group,
            post(pages::registration_token_of_group),
        )
        .page(
            "POST",
            "/{group}/-/settings/runners/{id}/pause",
            of_group,
            post(pages::pause_of_group),
        )
        .page(
            "POST",
            "/{group}/-/settings/runners/{id}/delete",
            of_group,
            post(pages::delete_of_group),
        )
        .page(
            "POST",
            "/{group}/{project}/-/settings/runners/registration-token",
            of_project,
            post(pages::registration_token_of_project),
        )
        .page(
            "GET",
            "/{group}/{project}/-/settings/runners",
            see_project,
            get(pages::list_of_project),
        )
        .page(
            "POST",
            "/{group}/{project}/-/settings/runners/new",
            of_project,
            post(pages::create_for_project),
        )
        .page(
            "POST",
            "/{group}/{project}/-/settings/runners/{id}/pause",
            of_project,
            post(pages::pause_of_project),
        )
        .page(
            "POST",
            "/{group}/{project}/-/settings/runners/{id}/delete",
            of_project,
            post(pages::delete_of_project),
        )
}

pub(crate) fn id_of(text: &str) -> Result<RunnerId> {
    text.parse().map_err(|_| Problem::not_found("runner"))
}

#[derive(Debug, Deserialize)]
pub(crate) struct Named {
    pub(crate) id: String,
}

impl From<CreateRunner> for NewRunner {
    fn from(request: CreateRunner) -> Self {
        Self {
            description: request.description,
            tags: request.tags,
            run_untagged: request.run_untagged,
            protected: request.protected,
            locked: request.locked,
            paused: request.paused,
            maximum_timeout: request.maximum_timeout,
            ..Self::default()
        }
    }
}

impl Ci {
    async fn made(&self, request: CreateRunner, reach: Reach, actor: &Actor) -> Answer<Made> {
        let (runner, token) = self.make_runner(request.into(), &reach, actor).await?;
        let runner = runner.to_wire(self.clock.now());
        Ok((StatusCode::CREATED, Json(CreatedRunner { runner, token })))
    }

    async fn changed(
        &self,
        id: &str,
        within: Reach,
        change: &ChangeRunner,
        actor: &Actor,
    ) -> Answer<Json<Runner>> {
        let runner = self.runner_within(id_of(id)?, &within).await?;
        let runner = self.change_runner(runner.id, change, actor).await?;
        Ok(Json(runner.to_wire(self.clock.now())))
    }
}

type Made = (StatusCode, Json<CreatedRunner>);
type Token = (StatusCode, Json<RegistrationToken>);

/// Lists the instance's runners, with what they run.
#[utoipa::path(get, path = "/api/v1/runners", tag = "ci", responses((status = 200, body = Vec<Runner>)))]
async fn list(State(ci): State<Ci>) -> Answer<Json<Vec<Runner>>> {
    let list = ci.runners().await?;
    Ok(Json(ci.runners_told(list, |_| true).await?))
}

/// Makes a runner; its token is shown this once.
#[utoipa::path(post, path = "/api/v1/runner", tag = "ci", request_body = CreateRunner,
    responses((status = 201, body = CreatedRunner)))]
async fn create(State(ci): State<Ci>, who: Who, Body(request): Body<CreateRunner>) -> Answer<Made> {
    ci.made(request, Reach::Instance, &who.actor).await
}

/// Changes a runner: pauses it, gives it other tags, and so on.
#[utoipa::path(patch, path = "/api/v1/runners/{id}", tag = "ci", params(("id" = String, Path)),
    request_body = ChangeRunner, responses((status = 200, body = Runner)))]
async fn change(
    State(ci): State<Ci>,
    who: Who,
    PathOf(id): PathOf<String>,
    Body(change): Body<ChangeRunner>,
) -> Answer<Json<Runner>> {
    ci.changed(&id, Reach::Instance, &change, &who.actor).await
}

/// Removes a runner.
#[utoipa::path(delete, path = "/api/v1/runners/{id}", tag = "ci", params(("id" = String, Path)),
    responses((status = 204)))]
async fn remove(State(ci): State<Ci>, who: Who, PathOf(id): PathOf<String>) -> Answer<StatusCode> {
    ci.delete_runner(id_of(&id)?, &who.actor).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Makes a new registration token; the one before it ends.
#[utoipa::path(post, path = "/api/v1/runners/registration-token", tag = "ci",
    responses((status = 201, body = RegistrationToken)))]
async fn registration_token(State(ci): State<Ci>) -> Answer<Token> {
    let token = ci.new_registration_token().await?;
    Ok((StatusCode::CREATED, Json(RegistrationToken { token })))
}

/// Lists the runners that are a group's own.
#[utoipa::path(get, path = "/api/v1/groups/{group}/runners", tag = "ci", params(("group" = String, Path)),
    responses((status = 200, body = Vec<Runner>)))]
async fn list_of_group(State(ci): State<Ci>, group: InGroup) -> Answer<Json<Vec<Runner>>> {
    let list = store::of_group(&ci.db, &group.name).await?;
    // They run jobs of this group's projects only, and who manages it sees those.
    Ok(Json(ci.runners_told(list, |_| true).await?))
}

/// Makes a runner for a group's projects; its token is shown this once.
#[utoipa::path(post, path = "/api/v1/groups/{group}/runner", tag = "ci", params(("group" = String, Path)),
    request_body = CreateRunner, responses((status = 201, body = CreatedRunner)))]
async fn create_for_group(
    State(ci): State<Ci>,
    group: InGroup,
    who: Who,
    Body(request): Body<CreateRunner>,
) -> Answer<Made> {
    ci.made(request, Reach::Group(group.name.clone()), &who.actor)
        .await
}

/// Changes a runner of a group.
#[utoipa::path(patch, path = "/api/v1/groups/{group}/runners/{id}", tag = "ci",
    params(("group" = String, Path), ("id" = String, Path)),
    request_body = ChangeRunner, responses((status = 200, body = Runner)))]
async fn change_of_group(
    State(ci): State<Ci>,
    group: InGroup,
    who: Who,
    PathOf(at): PathOf<Named>,
    Body(change): Body<ChangeRunner>,
) -> Answer<Json<Runner>> {
    ci.changed(&at.id, Reach::Group(group.name.clone()), &change, &who.actor)
        .await
}

/// Removes a runner of a group.
#[utoipa::path(delete, path = "/api/v1/groups/{group}/runners/{id}", tag = "ci",
    params(("group" = String, Path), ("id" = String, Path)), responses((status = 204)))]
async fn remove_of_group(
    State(ci): State<Ci>,
    group: InGroup,
    who: Who,
    PathOf(at): PathOf<Named>,
) -> Answer<StatusCode> {
    let within = Reach::Group(group.name.clone());
    let runner = ci.runner_within(id_of(&at.id)?, &within).await?;
    ci.delete_runner(runner.id, &who.actor).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Makes a new registration token for runners of a group; the one before it ends.
#[utoipa::path(post, path = "/api/v1/groups/{group}/runners/registration-token", tag = "ci",
    params(("group" = String, Path)), responses((status = 201, body = RegistrationToken)))]
async fn registration_token_of_group(State(ci): State<Ci>, group: InGroup) -> Answer<Token> {
    let token = ci
        .registration_token_for(&Reach::Group(group.name.clone()))
        .await?;
    Ok((StatusCode::CREATED, Json(RegistrationToken { token })))
}

/// Lists the runners that a project may use, with those of its own jobs that they run.
#[utoipa::path(get, path = "/api/v1/projects/{group}/{project}/runners", tag = "ci",
    params(("group" = String, Path), ("project" = String, Path)), responses((status = 200, body = Vec<Runner>)))]
async fn list_of_project(State(ci): State<Ci>, project: InProject) -> Answer<Json<Vec<Runner>>> {
    let list = ci.runners_of_project(project.id, &project.group).await?;
    Ok(Json(ci.runners_told(list, |other| other == project.id).await?))
}

/// Makes a runner for a project; its token is shown this once.
#[utoipa::path(post, path = "/api/v1/projects/{group}/{project}/runner", tag = "ci",
    params(("group" = String, Path), ("project" = String, Path)),
    request_body = CreateRunner, responses((status = 201, body = CreatedRunner)))]
async fn create_for_project(
    State(ci): State<Ci>,
    project: InProject,
    who: Who,
    Body(request): Body<CreateRunner>,
) -> Answer<Made> {
    ci.made(request, only(project.id), &who.actor).await
}

/// Changes a runner of a project.
#[utoipa::path(patch, path = "/api/v1/projects/{group}/{project}/runners/{id}", tag = "ci",
    params(("group" = String, Path), ("project" = String, Path), ("id" = String, Path)),
    request_body = ChangeRunner, responses((status = 200, body = Runner)))]
async fn change_of_project(
    State(ci): State<Ci>,
    project: InProject,
    who: Who,
    PathOf(at): PathOf<Named>,
    Body(change): Body<ChangeRunner>,
) -> Answer<Json<Runner>> {
    ci.changed(&at.id, only(project.id), &change, &who.actor).await
}

/// Removes a project's runner. One that serves other projects too goes on for those.
#[utoipa::path(delete, path = "/api/v1/projects/{group}/{project}/runners/{id}", tag = "ci",
    params(("group" = String, Path), ("project" = String, Path), ("id" = String, Path)),
    responses((status = 204)))]
async fn remove_of_project(
    State(ci): State<Ci>,
    project: InProject,
    who: Who,
    PathOf(at): PathOf<Named>,
) -> Answer<StatusCode> {
    ci.remove_from_project(id_of(&at.id)?, project.id, &who.actor)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Makes a new registration token for runners of a project; the one before it ends.
#[utoipa::path(post, path = "/api/v1/projects/{group}/{project}/runners/registration-token", tag = "ci",
    params(("group" = String, Path), ("project" = String, Path)),
    responses((status = 201, body = RegistrationToken)))]
async fn registration_token_of_project(State(ci): State<Ci>, project: InProject) -> Answer<Token> {
    let token = ci.registration_token_for(&only(project.id)).await?;
    Ok((StatusCode::CREATED, Json(RegistrationToken { token })))
}

/// Lends another project's runner to this one; it must not be locked, and only administrators may.
#[utoipa::path(post, path = "/api/v1/projects/{group}/{project}/runners/{id}/enable", tag = "ci",
    params(("group" = String, Path), ("project" = String, Path), ("id" = String, Path)),
    responses((status = 200, body = Runner)))]
async fn enable_for_project(
    State(ci): State<Ci>,
    project: InProject,
    who: Who,
    PathOf(at): PathOf<Named>,
) -> Answer<Json<Runner>> {
    if !who.holds(Permission::InstanceManage) {
        return Err(Problem::forbidden(Permission::InstanceManage)
            .why("A runner of one project that serves another lets the jobs of both meet on one machine.")
            .next("Ask an administrator, or start a runner for this project.")
            .into());
    }
    let runner = ci.enable_runner(id_of(&at.id)?, project.id, &who.actor).await?;
    Ok(Json(runner.to_wire(ci.clock.now())))
}

pub(crate) fn only(project: ProjectId) -> Reach {
    Reach::Projects(vec![project])
}

impl Ci {
    /// Takes a runner from a project; the last one that it served takes it away altogether.
    pub(crate) async fn remove_from_project(
        &self,
        id: RunnerId,
        project: ProjectId,
        actor: &Actor,
    ) -> Result<()> {
        let runner = self.runner_within(id, &only(project)).await?;
        match store::reach(&self.db, &runner).await? {
            Reach::Projects(list) if list.len() > 1 => self.disable_runner(id, project, actor).await,
            _ => self.delete_runner(id, actor).await,
        }
    }
}
