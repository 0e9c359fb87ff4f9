//! Pages about outside partners: all about whom one has a say, and those of a project.

use super::{DAY, end_of_day, is_soon, service::Seen};
use crate::{Identity, notice::Done, paging};
use askama::Template;
use axum::{
    extract::State,
    response::Redirect,
    routing::{get, post},
};
use bascule_core::{Name, Permission, Problem, ProjectId, ProjectScope, Result, Role, Timestamp};
use bascule_web::{
    Access, Answer, Crumb, FormBody, InProject, Params, PathOf, Routes, Section, Tab, Ui, Who,
};
use bascule_wire::identity::NewPartner;
use serde::Deserialize;

/// How many days a partner is offered at first.
const OFFERED: u32 = 90;

pub(crate) fn routes() -> Routes<Identity> {
    let manage = Access::Project(Permission::MemberManage);
    Routes::new()
        .page("GET", "/partners", Access::Insider, get(all))
        .page(
            "POST",
            "/partners/{username}/cut-off",
            Access::Insider,
            post(cut_off),
        )
        .page("POST", "/partners/{username}/end", Access::Insider, post(set_end))
        .page(
            "GET,POST",
            "/{group}/{project}/-/partners",
            manage,
            get(of_project).post(invite),
        )
}

struct Told {
    username: String,
    password: String,
}

/// One line of the table.
struct Row {
    seen: Seen,
    soon: bool,
    /// The end as a date field holds it.
    day: String,
}

#[derive(Template)]
#[template(path = "partner/partners.html")]
struct PartnersPage {
    heading: String,
    notice: &'static str,
    told: Option<Told>,
    rows: Vec<Row>,
    /// User names of those whose end is near.
    soon: Vec<String>,
    first: String,
    last: String,
    /// Where a partner can be invited: a project's own page.
    invite: Option<Invite>,
    address: String,
    next: Option<String>,
}

struct Invite {
    action: String,
    roles: Vec<Role>,
    day: String,
}

fn day_of(at: Timestamp) -> String {
    at.to_string().chars().take(10).collect()
}

/// A day, whose end is meant.
fn day(text: &str) -> Result<Timestamp> {
    end_of_day(text)?.ok_or_else(|| Problem::invalid("missing", "The end is empty.").next("Choose a day."))
}

async fn page_of(
    identity: &Identity,
    who: &Who,
    project: Option<&ProjectScope>,
    page: &paging::Wanted,
    notice: &'static str,
    told: Option<Told>,
) -> Result<PartnersPage> {
    let within: Option<ProjectId> = project.map(|project| project.id);
    let found = identity
        .partners(who, within, page.after(), page.limit() + 1)
        .await?;
    let (found, next) = paging::cut(found, page.limit(), |seen| seen.account.username.clone());
    let now = identity.now();
    let rows: Vec<Row> = found
        .into_iter()
        .map(|seen| Row {
            soon: seen.account.active && is_soon(seen.account.ends_at, now),
            day: seen.account.ends_at.map(day_of).unwrap_or_default(),
            seen,
        })
        .collect();
    let address = project.map_or_else(
        || "/partners".to_owned(),
        |project| format!("/{}/-/partners", project.path()),
    );
    Ok(PartnersPage {
        heading: project.map_or_else(
            || "Outside partners".to_owned(),
            |project| format!("Outside partners of {}", project.path()),
        ),
        notice,
        told,
        soon: rows
            .iter()
            .filter(|row| row.soon)
            .map(|row| row.seen.account.username.clone())
            .collect(),
        rows,
        first: day_of(now),
        last: day_of(now.plus(super::LONGEST)),
        invite: project.map(|project| Invite {
            action: address.clone(),
            roles: crate::group::ROLES
                .into_iter()
                .filter(|role| *role <= Role::MOST_OF_PARTNERS && *role <= project.role)
                .collect(),
            day: day_of(now.plus(DAY * OFFERED)),
        }),
        address,
        next,
    })
}

async fn all(
    State(identity): State<Identity>,
    who: Who,
    ui: Ui,
    Params(page): Params<paging::Wanted>,
    Params(done): Params<Done>,
) -> Answer {
    let content = page_of(&identity, &who, None, &page, done.text(), None).await?;
    let crumbs = [Crumb::to("Projects", "/explore"), Crumb::here("Outside partners")];
    ui.page(Section::Projects, "Outside partners", &crumbs, &content)
}

fn project_page(ui: &Ui, project: &ProjectScope, content: &PartnersPage) -> Answer {
    let crumbs = [
        Crumb::to(project.group.clone(), format!("/{}", project.group)),
        Crumb::to(project.name.clone(), format!("/{}", project.path())),
        Crumb::to("Members", format!("/{}/-/members", project.path())),
        Crumb::here("Outside partners"),
    ];
    ui.project_page(Tab::Settings, "Outside partners", &crumbs, content)
}

async fn of_project(
    State(identity): State<Identity>,
    who: Who,
    project: InProject,
    ui: Ui,
    Params(page): Params<paging::Wanted>,
    Params(done): Params<Done>,
) -> Answer {
    let content = page_of(&identity, &who, Some(&project), &page, done.text(), None).await?;
    project_page(&ui, &project, &content)
}

#[derive(Deserialize)]
struct InviteForm {
    username: String,
    #[serde(default)]
    display_name: String,
    #[serde(default)]
    email: String,
    role: Role,
    ends_on: String,
}

async fn invite(
    State(identity): State<Identity>,
    who: Who,
    project: InProject,
    ui: Ui,
    FormBody(form): FormBody<InviteForm>,
) -> Answer {
    let new = NewPartner {
        username: Name::new(form.username.trim()).map_err(Problem::from)?,
        display_name: form.display_name,
        email: form.email,
        password: None,
        role: form.role,
        ends_at: day(&form.ends_on)?,
    };
    let created = identity.invite_partner(&who, &project, &new).await?;
    let told = created.initial_password.map(|password| Told {
        username: created.user.username,
        password,
    });
    let page = paging::Wanted::default();
    let content = page_of(&identity, &who, Some(&project), &page, "", told).await?;
    project_page(&ui, &project, &content)
}

#[derive(Deserialize)]
struct CutOffForm {
    reason: String,
}

async fn cut_off(
    State(identity): State<Identity>,
    who: Who,
    PathOf(username): PathOf<String>,
    FormBody(form): FormBody<CutOffForm>,
) -> Answer<Redirect> {
    identity.cut_off(&who, &username, &form.reason).await?;
    Ok(Redirect::to("/partners?done=cut-off"))
}

#[derive(Deserialize)]
struct EndForm {
    ends_on: String,
}

async fn set_end(
    State(identity): State<Identity>,
    who: Who,
    PathOf(username): PathOf<String>,
    FormBody(form): FormBody<EndForm>,
) -> Answer<Redirect> {
    identity
        .set_partner_end(&who, &username, day(&form.ends_on)?)
        .await?;
    Ok(Redirect::to("/partners?done=end-set"))
}
