//! The page of a project's deploy keys.

use super::store::DeployKey;
use crate::{Identity, notice::Done};
use askama::Template;
use axum::{
    extract::State,
    response::Redirect,
    routing::{get, post},
};
use bascule_core::{DeployKeyId, Permission, ProjectScope};
use bascule_web::{Access, Answer, Crumb, FormBody, InProject, Params, PathOf, Routes, Tab, Ui, Who};
use bascule_wire::identity::NewDeployKey;
use serde::Deserialize;

pub(crate) fn routes() -> Routes<Identity> {
    let manage = Access::Project(Permission::MemberManage);
    Routes::new()
        .page(
            "GET,POST",
            "/{group}/{project}/-/settings/deploy-keys",
            manage,
            get(list).post(add),
        )
        .page(
            "POST",
            "/{group}/{project}/-/settings/deploy-keys/{key}/remove",
            manage,
            post(remove),
        )
}

#[derive(Template)]
#[template(path = "deploy_key/deploy_keys.html")]
struct DeployKeysPage {
    notice: &'static str,
    action: String,
    keys: Vec<DeployKey>,
}

/// A checkbox that is off is not sent.
#[derive(Deserialize)]
struct KeyForm {
    #[serde(default)]
    title: String,
    key: String,
    writes: Option<String>,
}

#[derive(Deserialize)]
struct KeyPath {
    key: DeployKeyId,
}

fn address(project: &ProjectScope) -> String {
    format!("/{}/-/settings/deploy-keys", project.path())
}

async fn list(
    State(identity): State<Identity>,
    project: InProject,
    ui: Ui,
    Params(done): Params<Done>,
) -> Answer {
    let page = DeployKeysPage {
        notice: done.text(),
        action: address(&project),
        keys: identity.deploy_keys(&project).await?,
    };
    let base = format!("/{}", project.path());
    let crumbs = [
        Crumb::to(project.group.clone(), format!("/{}", project.group)),
        Crumb::to(project.name.clone(), base.clone()),
        Crumb::to("Settings", format!("{base}/-/settings")),
        Crumb::here("Deploy keys"),
    ];
    ui.project_page(Tab::Settings, "Deploy keys", &crumbs, &page)
}

async fn add(
    State(identity): State<Identity>,
    who: Who,
    project: InProject,
    FormBody(form): FormBody<KeyForm>,
) -> Answer<Redirect> {
    let new = NewDeployKey {
        title: form.title,
        key: form.key,
        writes: form.writes.is_some(),
    };
    identity.add_deploy_key(&who, &project, &new).await?;
    Ok(Redirect::to(&format!("{}?done=key-added", address(&project))))
}

async fn remove(
    State(identity): State<Identity>,
    who: Who,
    project: InProject,
    PathOf(path): PathOf<KeyPath>,
) -> Answer<Redirect> {
    identity.remove_deploy_key(&who, &project, path.key).await?;
    Ok(Redirect::to(&format!(
        "{}?done=deploy-key-removed",
        address(&project)
    )))
}
