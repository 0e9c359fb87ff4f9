//! The pages of access tokens: one's own, and a project's.

use super::store::Token;
use crate::{Identity, group::ROLES, notice::Done};
use askama::Template;
use axum::{
    extract::State,
    response::Redirect,
    routing::{get, post},
};
use bascule_core::{Permission, ProjectScope, Role, Scope, Timestamp, TokenId};
use bascule_web::{
    Access, Answer, Crumb, FormBody, InProject, Params, PathOf, Routes, Section, Tab, Ui, Who,
};
use bascule_wire::identity::{CreatedToken, NewProjectToken, NewToken};
use serde::Deserialize;
use std::time::Duration;

pub(crate) fn routes() -> Routes<Identity> {
    let manage = Access::Project(Permission::MemberManage);
    Routes::new()
        .page(
            "GET,POST",
            "/settings/tokens",
            Access::SignedIn,
            get(own).post(create_own),
        )
        .page(
            "POST",
            "/settings/tokens/{token}/revoke",
            Access::SignedIn,
            post(revoke_own),
        )
        .page(
            "GET,POST",
            "/{group}/{project}/-/settings/tokens",
            manage,
            get(of_project).post(create_in_project),
        )
        .page(
            "POST",
            "/{group}/{project}/-/settings/tokens/{token}/revoke",
            manage,
            post(revoke_in_project),
        )
}

#[derive(Template)]
#[template(path = "token/tokens.html")]
struct TokensPage {
    /// Empty on a project's page.
    nav: &'static str,
    notice: &'static str,
    action: String,
    created: Option<CreatedToken>,
    tokens: Vec<Token>,
    roles: Vec<Role>,
    now: Timestamp,
}

/// Checkboxes that are off are not sent.
#[derive(Deserialize)]
struct TokenForm {
    name: String,
    role: Option<Role>,
    api: Option<String>,
    read_api: Option<String>,
    read_repository: Option<String>,
    write_repository: Option<String>,
    read_registry: Option<String>,
    #[serde(default)]
    days: u16,
}

impl TokenForm {
    fn scopes(&self) -> Vec<Scope> {
        let boxes = [
            (&self.api, Scope::Api),
            (&self.read_api, Scope::ReadApi),
            (&self.read_repository, Scope::ReadRepository),
            (&self.write_repository, Scope::WriteRepository),
            (&self.read_registry, Scope::ReadRegistry),
        ];
        boxes
            .into_iter()
            .filter(|(ticked, _)| ticked.is_some())
            .map(|(_, scope)| scope)
            .collect()
    }

    fn end(&self, now: Timestamp) -> Option<Timestamp> {
        Some(now.plus(Duration::from_secs(u64::from(self.days) * 24 * 3600)))
    }
}

#[derive(Deserialize)]
struct TokenPath {
    token: TokenId,
}

async fn show_own(
    identity: &Identity,
    who: &Who,
    ui: &Ui,
    notice: &'static str,
    created: Option<CreatedToken>,
) -> Answer {
    let page = TokensPage {
        nav: "tokens",
        notice,
        action: "/settings/tokens".to_owned(),
        created,
        tokens: identity.tokens(who).await?,
        roles: Vec::new(),
        now: identity.now(),
    };
    let crumbs = [Crumb::to("Settings", "/settings"), Crumb::here("Access tokens")];
    ui.page(Section::Settings, "Access tokens", &crumbs, &page)
}

async fn own(State(identity): State<Identity>, who: Who, ui: Ui, Params(done): Params<Done>) -> Answer {
    show_own(&identity, &who, &ui, done.text(), None).await
}

async fn create_own(
    State(identity): State<Identity>,
    who: Who,
    ui: Ui,
    FormBody(form): FormBody<TokenForm>,
) -> Answer {
    let (scopes, expires_at) = (form.scopes(), form.end(identity.now()));
    let created = identity
        .create_token(
            &who,
            &NewToken {
                name: form.name,
                scopes,
                expires_at,
            },
        )
        .await?;
    show_own(&identity, &who, &ui, "", Some(created)).await
}

async fn revoke_own(
    State(identity): State<Identity>,
    who: Who,
    PathOf(path): PathOf<TokenPath>,
) -> Answer<Redirect> {
    identity.revoke_token(&who, path.token).await?;
    Ok(Redirect::to("/settings/tokens?done=revoked"))
}

fn address(project: &ProjectScope) -> String {
    format!("/{}/-/settings/tokens", project.path())
}

async fn show_project(
    identity: &Identity,
    project: &InProject,
    ui: &Ui,
    notice: &'static str,
    created: Option<CreatedToken>,
) -> Answer {
    let page = TokensPage {
        nav: "",
        notice,
        action: address(project),
        created,
        tokens: identity.project_tokens(project.id).await?,
        roles: ROLES.into_iter().filter(|role| *role <= project.role).collect(),
        now: identity.now(),
    };
    let base = format!("/{}", project.path());
    let crumbs = [
        Crumb::to(project.group.clone(), format!("/{}", project.group)),
        Crumb::to(project.name.clone(), base.clone()),
        Crumb::to("Settings", format!("{base}/-/settings")),
        Crumb::here("Access tokens"),
    ];
    ui.project_page(Tab::Settings, "Access tokens", &crumbs, &page)
}

async fn of_project(
    State(identity): State<Identity>,
    project: InProject,
    ui: Ui,
    Params(done): Params<Done>,
) -> Answer {
    show_project(&identity, &project, &ui, done.text(), None).await
}

async fn create_in_project(
    State(identity): State<Identity>,
    who: Who,
    project: InProject,
    ui: Ui,
    FormBody(form): FormBody<TokenForm>,
) -> Answer {
    let (scopes, expires_at) = (form.scopes(), form.end(identity.now()));
    let role = form.role.unwrap_or(Role::Guest);
    let new = NewProjectToken {
        name: form.name,
        scopes,
        role,
        expires_at,
    };
    let created = identity.create_project_token(&who, &project, &new).await?;
    show_project(&identity, &project, &ui, "", Some(created)).await
}

async fn revoke_in_project(
    State(identity): State<Identity>,
    who: Who,
    project: InProject,
    PathOf(path): PathOf<TokenPath>,
) -> Answer<Redirect> {
    identity.revoke_project_token(&who, &project, path.token).await?;
    Ok(Redirect::to(&format!("{}?done=revoked", address(&project))))
}
