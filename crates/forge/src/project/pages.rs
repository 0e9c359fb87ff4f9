//! Pages of projects: all that one may see, those of a group, a new one, settings.

use super::{ProjectInfo, store};
use crate::Forge;
use askama::Template;
use axum::{
    extract::State,
    response::{IntoResponse as _, Redirect, Response},
    routing::{get, post},
};
use bascule_core::{GroupId, GroupScope, Permission, Problem, ProjectScope, Result, Visibility, limits};
use bascule_web::{
    Access, Answer, Crumb, FormBody, InGroup, InProject, Markup, Params, Routes, Section, Tab, Ui, Who, icon,
    url_encode, when,
};
use bascule_wire::forge::{NewProject, ProjectChange};
use serde::Deserialize;

pub(crate) fn routes() -> Routes<Forge> {
    let manage = Access::Project(Permission::ProjectManage);
    Routes::new()
        .page("GET", "/explore", Access::SignedIn, get(explore))
        .page(
            "GET",
            "/{group}",
            Access::Group(Permission::GroupView),
            get(group),
        )
        .page(
            "GET",
            "/{group}/-/projects/new",
            Access::Group(Permission::ProjectCreate),
            get(new),
        )
        .page(
            "POST",
            "/{group}/-/projects",
            Access::Group(Permission::ProjectCreate),
            post(create),
        )
        .page(
            "GET,POST",
            "/{group}/{project}/-/settings",
            manage,
            get(settings).post(save),
        )
        .page(
            "POST",
            "/{group}/{project}/-/settings/protect",
            manage,
            post(protect),
        )
        .page(
            "POST",
            "/{group}/{project}/-/settings/unprotect",
            manage,
            post(unprotect),
        )
        .page(
            "POST",
            "/{group}/{project}/-/settings/delete",
            Access::Project(Permission::ProjectDelete),
            post(delete),
        )
}

#[derive(Deserialize)]
struct Asked {
    page: Option<i64>,
    #[serde(default)]
    search: String,
}

struct Row {
    path: String,
    href: String,
    description: String,
    internal: bool,
    pushed: Option<Markup>,
}

#[derive(Template)]
#[template(path = "project/list.html")]
struct List {
    heading: String,
    hint: &'static str,
    new: Option<String>,
    members: Option<String>,
    board: Option<String>,
    workflow: Option<String>,
    /// The page of another capability: what the group requires of its projects' pipelines.
    required: Option<String>,
    /// The page of another capability: variables and runners of the group.
    ci: Option<String>,
    webhooks: Option<String>,
    search: String,
    rows: Vec<Row>,
    newer: Option<String>,
    older: Option<String>,
    icons: [Markup; 4],
}

async fn list(
    forge: &Forge,
    ui: &Ui,
    group: Option<&GroupScope>,
    asked: &Asked,
    address: &str,
) -> Result<List> {
    let visible = forge.sight().visible(ui.caller()).await?;
    let page = asked.page.unwrap_or(1).clamp(1, 1_000_000);
    let size = limits::PAGE_ENTRIES;
    let only: Option<GroupId> = group.map(|group| group.id);
    let mut found = store::list(
        forge.db(),
        &visible,
        only,
        &asked.search,
        (page - 1) * size,
        size + 1,
    )
    .await?;
    let more = found.len() as i64 > size;
    found.truncate(usize::try_from(size).unwrap_or(usize::MAX));
    let to = |page: i64| format!("{address}?page={page}&search={}", url_encode(&asked.search));
    let may_create = |group: &&GroupScope| {
        group.role.holds(Permission::ProjectCreate) && ui.caller().scope_allows(Permission::ProjectCreate)
    };
    Ok(List {
        heading: group.map_or_else(|| "Projects".to_owned(), |group| group.name.clone()),
        hint: if group.is_some() {
            "No project here yet."
        } else {
            "You see no project yet. Projects live in groups: open one, or create one, to begin."
        },
        new: group
            .filter(may_create)
            .map(|group| format!("/{}/-/projects/new", group.name)),
        members: group.map(|group| format!("/{}/-/members", group.name)),
        board: group.map(|group| format!("/{}/-/board", group.name)),
        workflow: group
            .filter(|group| {
                group.role.holds(Permission::GroupManage) && ui.caller().scope_allows(Permission::GroupManage)
            })
            .map(|group| format!("/{}/-/workflow", group.name)),
        required: group.map(|group| format!("/{}/-/required-pipelines", group.name)),
        ci: group
            .filter(|group| group.role.holds(Permission::GroupManage))
            .map(|group| format!("/{}/-/settings/ci", group.name)),
        webhooks: group
            .filter(|group| group.role.holds(Permission::GroupManage))
            .map(|group| format!("/{}/-/webhooks", group.name)),
        search: asked.search.clone(),
        rows: found.iter().map(row).collect(),
        newer: (page > 1).then(|| to(page - 1)),
        older: more.then(|| to(page + 1)),
        icons: [icon("search"), icon("plus"), icon("folder"), icon("users")],
    })
}

fn row(project: &ProjectInfo) -> Row {
    Row {
        path: project.path(),
        href: format!("/{}", project.path()),
        description: project.description.clone(),
        internal: project.visibility == Visibility::Internal,
        pushed: project.pushed_at.map(when),
    }
}

async fn explore(State(forge): State<Forge>, Params(asked): Params<Asked>, ui: Ui) -> Answer {
    let content = list(&forge, &ui, None, &asked, "/explore").await?;
    ui.page(Section::Projects, "Projects", &[], &content)
}

async fn group(
    State(forge): State<Forge>,
    InGroup(group): InGroup,
    Params(asked): Params<Asked>,
    ui: Ui,
) -> Answer {
    let content = list(&forge, &ui, Some(&group), &asked, &format!("/{}", group.name)).await?;
    ui.page(
        Section::Projects,
        &group.name,
        &[Crumb::to("Projects", "/explore"), Crumb::here(&group.name)],
        &content,
    )
}

#[derive(Template)]
#[template(path = "project/new.html")]
struct New {
    group: String,
}

async fn new(InGroup(group): InGroup, ui: Ui) -> Answer {
    let crumbs = [
        Crumb::to("Projects", "/explore"),
        Crumb::to(&group.name, format!("/{}", group.name)),
        Crumb::here("New project"),
    ];
    ui.page(
        Section::Projects,
        "New project",
        &crumbs,
        &New {
            group: group.name.clone(),
        },
    )
}

#[derive(Deserialize)]
struct NewForm {
    name: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    visibility: String,
}

async fn create(
    State(forge): State<Forge>,
    Who(caller): Who,
    InGroup(group): InGroup,
    FormBody(form): FormBody<NewForm>,
) -> Answer {
    let new = NewProject {
        name: form.name.trim().to_owned(),
        description: form.description,
        visibility: Some(Visibility::parse(&form.visibility)),
        default_branch: None,
    };
    let project = forge.create(&caller.actor, &group, &new).await?;
    Ok(Redirect::to(&format!("/{}", project.path())).into_response())
}

#[derive(Template)]
#[template(path = "project/settings.html")]
struct Settings {
    base: String,
    project: ProjectInfo,
    internal: bool,
    protected: Vec<String>,
    branches: Vec<String>,
    may_delete: bool,
    icons: [Markup; 6],
}

async fn settings(State(forge): State<Forge>, InProject(scope): InProject, ui: Ui) -> Answer {
    let project = forge.project_of(&scope).await?;
    let mut branches = forge.repositories().read(scope.id, crate::code::heads).await?;
    branches.truncate(1_000);
    if !branches.contains(&project.default_branch) {
        branches.insert(0, project.default_branch.clone());
    }
    let crumbs = [
        Crumb::to(&scope.group, format!("/{}", scope.group)),
        Crumb::to(&scope.name, format!("/{}", scope.path())),
        Crumb::here("Settings"),
    ];
    let page = Settings {
        base: format!("/{}/-/settings", scope.path()),
        internal: project.visibility == Visibility::Internal,
        project,
        protected: forge.protected_branches(scope.id).await?,
        branches,
        may_delete: scope.holds(Permission::ProjectDelete),
        icons: [
            icon("settings"),
            icon("lock"),
            icon("trash"),
            icon("users"),
            icon("key"),
            icon("database"),
        ],
    };
    ui.project_page(
        Tab::Settings,
        &format!("Settings · {}", scope.path()),
        &crumbs,
        &page,
    )
}

#[derive(Deserialize)]
struct SettingsForm {
    name: String,
    #[serde(default)]
    description: String,
    visibility: String,
    default_branch: String,
}

async fn save(
    State(forge): State<Forge>,
    Who(caller): Who,
    InProject(scope): InProject,
    FormBody(form): FormBody<SettingsForm>,
) -> Answer {
    let before = forge.project_of(&scope).await?;
    let change = ProjectChange {
        name: Some(form.name.trim().to_owned()),
        description: Some(form.description),
        visibility: Some(Visibility::parse(&form.visibility)),
        // Left alone where it stays: a project that is empty has no such branch yet.
        default_branch: (form.default_branch != before.default_branch).then_some(form.default_branch),
    };
    let project = forge.change(&caller, scope.id, &change).await?;
    Ok(Redirect::to(&format!("/{}/-/settings", project.path())).into_response())
}

#[derive(Deserialize)]
struct PatternForm {
    pattern: String,
}

fn back(scope: &ProjectScope) -> Response {
    Redirect::to(&format!("/{}/-/settings", scope.path())).into_response()
}

async fn protect(
    State(forge): State<Forge>,
    Who(caller): Who,
    InProject(scope): InProject,
    FormBody(form): FormBody<PatternForm>,
) -> Answer {
    forge.protect(&caller, scope.id, &form.pattern).await?;
    Ok(back(&scope))
}

async fn unprotect(
    State(forge): State<Forge>,
    Who(caller): Who,
    InProject(scope): InProject,
    FormBody(form): FormBody<PatternForm>,
) -> Answer {
    forge.unprotect(&caller, scope.id, &form.pattern).await?;
    Ok(back(&scope))
}

#[derive(Deserialize)]
struct DeleteForm {
    path: String,
}

async fn delete(
    State(forge): State<Forge>,
    Who(caller): Who,
    InProject(scope): InProject,
    FormBody(form): FormBody<DeleteForm>,
) -> Answer {
    if form.path.trim() != scope.path() {
        return Err(Problem::invalid(
            "not_confirmed",
            "The project was not deleted: the path does not match.",
        )
        .why("Deleting takes code, pipelines and releases with it, and nothing brings them back.")
        .next(format!("Go back and write `{}` to confirm.", scope.path()))
        .into());
    }
    forge.delete(&caller.actor, scope.id).await?;
    Ok(Redirect::to(&format!("/{}", scope.group)).into_response())
}
