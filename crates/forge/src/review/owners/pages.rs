//! The page that tells who owns a path.

use super::api::Asked;
use crate::Forge;
use askama::Template;
use axum::{extract::State, routing::get};
use bascule_core::{Permission, Problem};
use bascule_web::{Access, Answer, Crumb, InProject, Markup, Params, Routes, Tab, Ui, icon, url_path};
use bascule_wire::review::PathOwners;

pub(crate) fn routes() -> Routes<Forge> {
    Routes::new().page(
        "GET",
        "/{group}/{project}/-/owners",
        Access::Project(Permission::CodeRead),
        get(page),
    )
}

#[derive(Template)]
#[template(path = "review/owners/owners.html")]
struct Owners {
    base: String,
    reference: String,
    file_href: String,
    found: PathOwners,
    icons: [Markup; 2],
}

async fn page(
    State(forge): State<Forge>,
    InProject(scope): InProject,
    Params(asked): Params<Asked>,
    ui: Ui,
) -> Answer {
    let project = forge
        .project_by_id(scope.id)
        .await?
        .ok_or_else(|| Problem::not_found("project"))?;
    let base = format!("/{}", scope.path());
    let reference = asked
        .reference
        .clone()
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| project.default_branch.clone());
    let found = if forge.is_empty(scope.id).await? {
        PathOwners::default()
    } else {
        forge.path_owners(&project, Some(&reference), &asked.path).await?
    };
    let page = Owners {
        file_href: format!("{base}/-/blob/{}/{}", url_path(&reference), found.file),
        base: base.clone(),
        reference,
        found,
        icons: [icon("users"), icon("search")],
    };
    let crumbs = [
        Crumb::to(&scope.group, format!("/{}", scope.group)),
        Crumb::to(&scope.name, base),
        Crumb::here("Owners"),
    ];
    ui.project_page(Tab::Code, &format!("Owners · {}", scope.path()), &crumbs, &page)
}
