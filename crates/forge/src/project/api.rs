//! Projects as JSON.

use super::{ProjectInfo, Visible, store};
use crate::Forge;
use axum::{extract::State, response::IntoResponse as _};
use bascule_core::{Permission, Problem, limits};
use bascule_web::{Access, Answer, Body, InGroup, InProject, Params, PathOf, Routes, Who, routes};
use bascule_wire::forge::{
    NewProject, Project, ProjectChange, ProjectList, ProtectedBranch, ProtectedBranches,
};
use http::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;

pub(crate) fn routes() -> Routes<Forge> {
    Routes::new()
        .api(Access::SignedIn, routes!(list))
        .api(Access::Group(Permission::ProjectCreate), routes!(create))
        .api(Access::Group(Permission::GroupView), routes!(list_of_group))
        .api(Access::Project(Permission::ProjectView), routes!(read))
        .api(Access::Project(Permission::ProjectManage), routes!(change))
        .api(Access::Project(Permission::ProjectDelete), routes!(delete))
        .api(Access::Project(Permission::CodeRead), routes!(protected))
        .api(Access::Project(Permission::ProjectManage), routes!(protect))
        .api(Access::Project(Permission::ProjectManage), routes!(unprotect))
}

/// Which page of projects.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Listing {
    /// Looked for in path and description.
    #[serde(default)]
    search: String,
    /// Page number, from 1.
    #[serde(default)]
    page: Option<i64>,
    /// Projects on a page, at most 200.
    #[serde(default)]
    per_page: Option<i64>,
}

impl Forge {
    pub(crate) fn to_wire(&self, project: &ProjectInfo) -> Project {
        Project {
            id: project.id,
            group_id: project.group_id,
            group: project.group.clone(),
            name: project.name.clone(),
            path: project.path(),
            description: project.description.clone(),
            visibility: project.visibility,
            default_branch: project.default_branch.clone(),
            created_at: project.created_at,
            pushed_at: project.pushed_at,
            clone_url: self.clone_url(project),
            ssh_url: self.ssh_url(project),
        }
    }

    async fn page(
        &self,
        visible: &Visible,
        group: Option<bascule_core::GroupId>,
        listing: &Listing,
    ) -> Result<ProjectList, Problem> {
        let per_page = listing
            .per_page
            .unwrap_or(limits::PAGE_ENTRIES)
            .clamp(1, limits::API_PAGE_ENTRIES);
        let page = listing.page.unwrap_or(1).clamp(1, 1_000_000);
        let offset = (page - 1) * per_page;
        let mut found = store::list(self.db(), visible, group, &listing.search, offset, per_page + 1).await?;
        let more = found.len() as i64 > per_page;
        found.truncate(usize::try_from(per_page).unwrap_or(usize::MAX));
        let projects = found.iter().map(|project| self.to_wire(project)).collect();
        Ok(ProjectList {
            projects,
            next_page: more.then_some(page + 1),
        })
    }
}

/// Lists the projects you may see.
#[utoipa::path(get, path = "/api/v1/projects", tag = "projects", params(Listing), responses((status = 200, body = ProjectList)))]
async fn list(State(forge): State<Forge>, Who(caller): Who, Params(listing): Params<Listing>) -> Answer {
    let visible = forge.sight().visible(&caller).await?;
    Ok(axum::Json(forge.page(&visible, None, &listing).await?).into_response())
}

/// Lists the projects of a group that you may see.
#[utoipa::path(get, path = "/api/v1/groups/{group}/projects", tag = "projects",
    params(("group" = String, Path, description = "The group's name"), Listing),
    responses((status = 200, body = ProjectList)))]
async fn list_of_group(
    State(forge): State<Forge>,
    Who(caller): Who,
    InGroup(group): InGroup,
    Params(listing): Params<Listing>,
) -> Answer {
    let visible = forge.sight().visible(&caller).await?;
    Ok(axum::Json(forge.page(&visible, Some(group.id), &listing).await?).into_response())
}

/// Creates a project with an empty repository.
#[utoipa::path(post, path = "/api/v1/groups/{group}/projects", tag = "projects",
    params(("group" = String, Path, description = "The group's name")),
    request_body = NewProject,
    responses((status = 201, body = Project), (status = 409, description = "The name is taken", body = Problem)))]
async fn create(
    State(forge): State<Forge>,
    Who(caller): Who,
    InGroup(group): InGroup,
    Body(new): Body<NewProject>,
) -> Answer {
    let project = forge.create(&caller.actor, &group, &new).await?;
    Ok((StatusCode::CREATED, axum::Json(forge.to_wire(&project))).into_response())
}

/// Reads a project.
#[utoipa::path(get, path = "/api/v1/projects/{group}/{project}", tag = "projects",
    params(("group" = String, Path), ("project" = String, Path)),
    responses((status = 200, body = Project)))]
async fn read(State(forge): State<Forge>, InProject(scope): InProject) -> Answer {
    let project = forge
        .project_by_id(scope.id)
        .await?
        .ok_or_else(|| Problem::not_found("project"))?;
    Ok(axum::Json(forge.to_wire(&project)).into_response())
}

/// Changes a project's settings.
#[utoipa::path(patch, path = "/api/v1/projects/{group}/{project}", tag = "projects",
    params(("group" = String, Path), ("project" = String, Path)),
    request_body = ProjectChange,
    responses((status = 200, body = Project)))]
async fn change(
    State(forge): State<Forge>,
    Who(caller): Who,
    InProject(scope): InProject,
    Body(change): Body<ProjectChange>,
) -> Answer {
    let project = forge.change(&caller, scope.id, &change).await?;
    Ok(axum::Json(forge.to_wire(&project)).into_response())
}

/// Deletes a project with its repository.
#[utoipa::path(delete, path = "/api/v1/projects/{group}/{project}", tag = "projects",
    params(("group" = String, Path), ("project" = String, Path)),
    responses((status = 204)))]
async fn delete(State(forge): State<Forge>, Who(caller): Who, InProject(scope): InProject) -> Answer {
    forge.delete(&caller.actor, scope.id).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Lists protected branches.
#[utoipa::path(get, path = "/api/v1/projects/{group}/{project}/protected-branches", tag = "projects",
    params(("group" = String, Path), ("project" = String, Path)),
    responses((status = 200, body = ProtectedBranches)))]
async fn protected(State(forge): State<Forge>, InProject(scope): InProject) -> Answer {
    let patterns = forge.protected_branches(scope.id).await?;
    let branches = patterns
        .into_iter()
        .map(|pattern| ProtectedBranch { pattern })
        .collect();
    Ok(axum::Json(ProtectedBranches { branches }).into_response())
}

/// Protects a branch, or a pattern of branches with `*`.
#[utoipa::path(post, path = "/api/v1/projects/{group}/{project}/protected-branches", tag = "projects",
    params(("group" = String, Path), ("project" = String, Path)),
    request_body = ProtectedBranch,
    responses((status = 204)))]
async fn protect(
    State(forge): State<Forge>,
    Who(caller): Who,
    InProject(scope): InProject,
    Body(branch): Body<ProtectedBranch>,
) -> Answer {
    forge.protect(&caller, scope.id, &branch.pattern).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Takes protection off a branch or pattern.
#[utoipa::path(delete, path = "/api/v1/projects/{group}/{project}/protected-branches/{pattern}", tag = "projects",
    params(("group" = String, Path), ("project" = String, Path), ("pattern" = String, Path)),
    responses((status = 204)))]
async fn unprotect(
    State(forge): State<Forge>,
    Who(caller): Who,
    InProject(scope): InProject,
    place: PathOf<(String, String, String)>,
) -> Answer {
    let PathOf((_, _, pattern)) = place;
    forge.unprotect(&caller, scope.id, &pattern).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
