//! Pages to create a group and to manage members.

use super::{Member, Place, ROLES};
use crate::{Identity, notice::Done, paging, partner};
use askama::Template;
use axum::{
    extract::State,
    response::Redirect,
    routing::{get, post},
};
use bascule_core::{GroupScope, Name, Permission, ProjectScope, Role, Visibility};
use bascule_web::{
    Access, Answer, Crumb, FormBody, InGroup, InProject, Params, PathOf, Routes, Section, Tab, Ui, Who,
};
use bascule_wire::identity::NewGroup;
use serde::Deserialize;

pub(crate) fn routes() -> Routes<Identity> {
    let create = Access::Instance(Permission::GroupCreate);
    let (see_group, manage_group) = (
        Access::Group(Permission::GroupView),
        Access::Group(Permission::GroupManage),
    );
    let (see, manage) = (
        Access::Project(Permission::ProjectView),
        Access::Project(Permission::MemberManage),
    );
    Routes::new()
        .page(
            "GET,POST",
            "/groups/new",
            create,
            get(new_group).post(create_group),
        )
        .page("GET", "/{group}/-/members", see_group, get(group_members))
        .page("POST", "/{group}/-/members", manage_group, post(set_in_group))
        .page(
            "POST",
            "/{group}/-/members/{username}/remove",
            manage_group,
            post(remove_from_group),
        )
        .page("GET", "/{group}/{project}/-/members", see, get(project_members))
        .page(
            "POST",
            "/{group}/{project}/-/members",
            manage,
            post(set_in_project),
        )
        .page(
            "POST",
            "/{group}/{project}/-/members/{username}/remove",
            manage,
            post(remove_from_project),
        )
}

#[derive(Template)]
#[template(path = "group/new.html")]
struct NewGroupPage;

async fn new_group(ui: Ui) -> Answer {
    ui.page(
        Section::Projects,
        "New group",
        &[Crumb::to("Projects", "/explore"), Crumb::here("New group")],
        &NewGroupPage,
    )
}

#[derive(Deserialize)]
struct GroupForm {
    name: String,
    #[serde(default)]
    description: String,
    visibility: Visibility,
}

async fn create_group(
    State(identity): State<Identity>,
    who: Who,
    FormBody(form): FormBody<GroupForm>,
) -> Answer<Redirect> {
    let name = Name::new(form.name.trim()).map_err(bascule_core::Problem::from)?;
    let new = NewGroup {
        name,
        description: form.description,
        visibility: form.visibility,
    };
    let group = identity.create_group(&who, &new).await?;
    Ok(Redirect::to(&format!("/{}", group.name)))
}

#[derive(Template)]
#[template(path = "group/members.html")]
struct MembersPage {
    place: String,
    action: String,
    notice: &'static str,
    manage: bool,
    own: Role,
    roles: Vec<Role>,
    members: Vec<Member>,
    /// Where a project's outside partners are looked after.
    partners: Option<String>,
    after: String,
    next: Option<String>,
}

#[derive(Deserialize)]
struct MemberForm {
    username: String,
    role: Role,
    #[serde(default)]
    ends_on: String,
}

#[derive(Deserialize)]
struct MemberPath {
    username: String,
}

/// What the two pages differ in.
struct Shown {
    place: Place,
    path: String,
    own: Role,
    manage: bool,
}

async fn members(
    identity: &Identity,
    shown: Shown,
    page: &paging::Wanted,
    done: &Done,
) -> Answer<MembersPage> {
    let found = identity
        .members(shown.place, page.after(), page.limit() + 1)
        .await?;
    let (members, next) = paging::cut(found, page.limit(), |member| member.username.clone());
    Ok(MembersPage {
        partners: (shown.manage && matches!(shown.place, Place::Project(..)))
            .then(|| format!("/{}/-/partners", shown.path)),
        action: format!("/{}/-/members", shown.path),
        place: shown.path,
        notice: done.text(),
        manage: shown.manage,
        own: shown.own,
        roles: ROLES.into_iter().filter(|role| *role <= shown.own).collect(),
        members,
        after: page.after().to_owned(),
        next,
    })
}

async fn group_members(
    State(identity): State<Identity>,
    who: Who,
    group: InGroup,
    ui: Ui,
    Params(page): Params<paging::Wanted>,
    Params(done): Params<Done>,
) -> Answer {
    let permission = Permission::GroupManage;
    let shown = Shown {
        place: Place::from(&*group),
        path: group.name.clone(),
        own: group.role,
        manage: group.role.holds(permission) && who.scope_allows(permission),
    };
    let page = members(&identity, shown, &page, &done).await?;
    let crumbs = [
        Crumb::to(group.name.clone(), format!("/{}", group.name)),
        Crumb::here("Members"),
    ];
    ui.page(Section::Projects, "Members", &crumbs, &page)
}

async fn project_members(
    State(identity): State<Identity>,
    project: InProject,
    ui: Ui,
    Params(page): Params<paging::Wanted>,
    Params(done): Params<Done>,
) -> Answer {
    let shown = Shown {
        place: Place::from(&*project),
        path: project.path(),
        own: project.role,
        manage: project.holds(Permission::MemberManage),
    };
    let page = members(&identity, shown, &page, &done).await?;
    let crumbs = [
        Crumb::to(project.group.clone(), format!("/{}", project.group)),
        Crumb::to(project.name.clone(), format!("/{}", project.path())),
        Crumb::here("Members"),
    ];
    ui.project_page(Tab::Settings, "Members", &crumbs, &page)
}

async fn set_in_group(
    State(identity): State<Identity>,
    who: Who,
    group: InGroup,
    FormBody(form): FormBody<MemberForm>,
) -> Answer<Redirect> {
    identity
        .set_member(
            &who,
            group.role,
            Place::from(&*group),
            form.username.trim(),
            form.role,
        )
        .await?;
    Ok(back_to_group(&group, "member-set"))
}

async fn remove_from_group(
    State(identity): State<Identity>,
    who: Who,
    group: InGroup,
    PathOf(path): PathOf<MemberPath>,
) -> Answer<Redirect> {
    identity
        .remove_member(&who, group.role, Place::from(&*group), &path.username)
        .await?;
    Ok(back_to_group(&group, "member-removed"))
}

async fn set_in_project(
    State(identity): State<Identity>,
    who: Who,
    project: InProject,
    FormBody(form): FormBody<MemberForm>,
) -> Answer<Redirect> {
    identity
        .set_member_until(
            &who,
            project.role,
            Place::from(&*project),
            form.username.trim(),
            form.role,
            partner::end_of_day(&form.ends_on)?,
        )
        .await?;
    Ok(back_to_project(&project, "member-set"))
}

async fn remove_from_project(
    State(identity): State<Identity>,
    who: Who,
    project: InProject,
    PathOf(path): PathOf<MemberPath>,
) -> Answer<Redirect> {
    identity
        .remove_member(&who, project.role, Place::from(&*project), &path.username)
        .await?;
    Ok(back_to_project(&project, "member-removed"))
}

fn back_to_group(group: &GroupScope, done: &str) -> Redirect {
    Redirect::to(&format!("/{}/-/members?done={done}", group.name))
}

fn back_to_project(project: &ProjectScope, done: &str) -> Redirect {
    Redirect::to(&format!("/{}/-/members?done={done}", project.path()))
}
