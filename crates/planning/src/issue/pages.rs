//! Pages: lists of issues, one issue, a new one, editing.

mod forms;

use super::{
    Issue,
    api::NumberPath,
    close::may_close,
    list::{Asked, Sort},
    view::{Tag, tags},
};
use crate::{
    Planning,
    label::{LabelRow, store as labels, store::Owner},
    milestone,
    ports::ClosingRequest,
    text,
};
use askama::Template;
use axum::{
    extract::State,
    response::{IntoResponse as _, Redirect},
    routing::{get, post},
};
use bascule_core::{GroupScope, Permission, ProjectScope, Result};
use bascule_web::{
    Access, Answer, Crumb, FormBody, InGroup, InProject, Markup, Params, PathOf, Routes, Section, Tab, Ui,
    Who, icon, markdown, url_encode, when,
};
use bascule_wire::planning::{Column, HistoryEntry, IssueLink, NewIssue};
use serde::Deserialize;

pub(crate) fn routes() -> Routes<Planning> {
    let read = Access::Project(Permission::IssueRead);
    let speak = Access::Project(Permission::IssueCreate);
    let manage = Access::Project(Permission::IssueManage);
    let one = "/{group}/{project}/-/issues/{number}";
    Routes::new()
        .page("GET", "/{group}/{project}/-/issues", read, get(issues))
        .page("POST", "/{group}/{project}/-/issues", speak, post(open))
        .page("GET", "/{group}/{project}/-/issues/new", speak, get(new))
        .page("GET", one, read, get(issue))
        .page(
            "GET,POST",
            &format!("{one}/edit"),
            speak,
            get(edit).post(forms::save),
        )
        .page("POST", &format!("{one}/plan"), manage, post(forms::plan))
        .page("POST", &format!("{one}/take"), manage, post(forms::take))
        .page("POST", &format!("{one}/close"), speak, post(forms::close))
        .page("POST", &format!("{one}/reopen"), speak, post(forms::reopen))
        .page("POST", &format!("{one}/comments"), speak, post(forms::comment))
        .page("POST", &format!("{one}/links"), manage, post(forms::link))
        .page(
            "GET",
            "/{group}/-/issues",
            Access::Group(Permission::GroupView),
            get(group_issues),
        )
}

/// Where a project's planning pages are.
pub(crate) fn base(project: &ProjectScope) -> String {
    format!("/{}/{}/-", project.group, project.name)
}

pub(crate) fn crumbs(project: &ProjectScope, here: Option<String>) -> Vec<Crumb> {
    let mut crumbs = vec![Crumb::to(project.path(), format!("/{}", project.path()))];
    match here {
        None => crumbs.push(Crumb::here("Issues")),
        Some(here) => {
            crumbs.push(Crumb::to("Issues", format!("{}/issues", base(project))));
            crumbs.push(Crumb::here(here));
        }
    }
    crumbs
}

pub(crate) fn group_crumbs(group: &GroupScope, here: &str) -> Vec<Crumb> {
    vec![
        Crumb::to("Projects", "/explore"),
        Crumb::to(&group.name, format!("/{}", group.name)),
        Crumb::here(here),
    ]
}

/// An issue as a row.
pub(crate) struct Row {
    pub(crate) href: String,
    pub(crate) shown: String,
    pub(crate) title: String,
    pub(crate) closed: bool,
    pub(crate) column: &'static str,
    pub(crate) confidential: bool,
    pub(crate) tags: Vec<Tag>,
    pub(crate) assignees: Vec<String>,
    pub(crate) milestone: Option<String>,
    pub(crate) due: Option<String>,
    pub(crate) late: bool,
    pub(crate) comments: i64,
    pub(crate) author: String,
    pub(crate) updated: Markup,
}

/// Rows of issues; `path` says where each belongs, and whether it is named.
pub(crate) fn rows(issues: &[Issue], today: &str, named: bool, path: impl Fn(&Issue) -> String) -> Vec<Row> {
    let row = |issue: &Issue| {
        let path = path(issue);
        let number = issue.row.number;
        let closed = issue.column() == Column::Done;
        Row {
            href: format!("/{path}/-/issues/{number}"),
            shown: if named {
                format!("{path}#{number}")
            } else {
                format!("#{number}")
            },
            title: issue.row.title.clone(),
            closed,
            column: issue.column().title(),
            confidential: issue.row.confidential,
            tags: tags(&issue.labels),
            assignees: issue
                .assignees
                .iter()
                .map(|someone| someone.username.clone())
                .collect(),
            milestone: issue.row.milestone.clone(),
            late: !closed && issue.row.due_on.as_deref().is_some_and(|due| due < today),
            due: issue.row.due_on.clone(),
            comments: issue.row.comments,
            author: issue.row.author.clone(),
            updated: when(issue.row.updated_at),
        }
    };
    issues.iter().map(row).collect()
}

#[derive(Template)]
#[template(path = "issue/list.html")]
struct List {
    heading: String,
    base: String,
    rows: Vec<Row>,
    asked: Asked,
    filtered: bool,
    states: Vec<(&'static str, &'static str, bool)>,
    sorts: Vec<(&'static str, &'static str, bool)>,
    labels: Vec<String>,
    next: Option<String>,
    new: Option<String>,
    transfers: bool,
    imports: bool,
    icons: [Markup; 6],
}

fn list(
    heading: String,
    base: String,
    rows: Vec<Row>,
    asked: Asked,
    next: Option<String>,
    labels: Vec<String>,
) -> List {
    let state = if asked.state.is_empty() {
        "open"
    } else {
        &asked.state
    };
    let sort = if asked.sort.is_empty() {
        "priority"
    } else {
        &asked.sort
    };
    let query = |after: &str| {
        let pairs = [
            ("state", asked.state.as_str()),
            ("column", &asked.column),
            ("search", &asked.search),
            ("labels", &asked.labels),
            ("assignee", &asked.assignee),
            ("author", &asked.author),
            ("milestone", &asked.milestone),
            ("sort", &asked.sort),
            ("after", after),
        ];
        let parts: Vec<String> = pairs
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(key, value)| format!("{key}={}", url_encode(value)))
            .collect();
        format!("{base}/issues?{}", parts.join("&"))
    };
    let filtered = [
        &asked.search,
        &asked.labels,
        &asked.assignee,
        &asked.author,
        &asked.milestone,
        &asked.column,
    ]
    .into_iter()
    .any(|value| !value.is_empty());
    List {
        heading,
        states: [("open", "Open"), ("closed", "Closed"), ("all", "All")]
            .into_iter()
            .map(|(value, text)| (value, text, value == state))
            .collect(),
        sorts: Sort::ALL
            .into_iter()
            .map(|(_, value, text)| (value, text, value == sort))
            .collect(),
        next: next.map(|mark| query(&mark)),
        filtered,
        base,
        rows,
        labels,
        new: None,
        transfers: false,
        imports: false,
        icons: [
            icon("search"),
            icon("plus"),
            icon("circle-dot"),
            icon("circle-check"),
            icon("lock"),
            icon("message"),
        ],
        asked,
    }
}

async fn issues(
    State(planning): State<Planning>,
    who: Who,
    project: InProject,
    ui: Ui,
    Params(asked): Params<Asked>,
) -> Answer {
    let (found, next) = planning.list(&who, &project, &asked).await?;
    let path = project.path();
    let rows = rows(&found, &planning.today(), false, |_| path.clone());
    let names = planning
        .labels(&who, (&*project).into())
        .await?
        .into_iter()
        .map(|label| label.name)
        .collect();
    let mut page = list("Issues".to_owned(), base(&project), rows, asked, next, names);
    page.new = project
        .holds(Permission::IssueCreate)
        .then(|| format!("{}/issues/new", base(&project)));
    page.transfers = true;
    page.imports = project.holds(Permission::IssueManage);
    ui.project_page(
        Tab::Issues,
        &format!("Issues · {path}"),
        &crumbs(&project, None),
        &page,
    )
}

async fn group_issues(
    State(planning): State<Planning>,
    who: Who,
    group: InGroup,
    ui: Ui,
    Params(asked): Params<Asked>,
) -> Answer {
    let (found, next, scopes) = planning.list_group(&who, &group, &asked).await?;
    let rows = rows(&found, &planning.today(), true, |issue| {
        crate::board::path_of(&scopes, issue)
    });
    let heading = format!("Issues of {}", group.name);
    let names = planning
        .labels(&who, (&*group).into())
        .await?
        .into_iter()
        .map(|label| label.name)
        .collect();
    let page = list(heading, format!("/{}/-", group.name), rows, asked, next, names);
    ui.page(
        Section::Projects,
        &format!("Issues · {}", group.name),
        &group_crumbs(&group, "Issues"),
        &page,
    )
}

/// A family of labels as a choice of one.
struct Choice {
    family: String,
    field: String,
    options: Vec<(String, String, bool)>,
}

/// Most members that are shown with a check box each.
const CHECKED_MEMBERS: usize = 12;

/// A check box.
struct Check {
    name: String,
    on: bool,
}

/// What is planned with an issue, as fields of a form.
struct Fields {
    choices: Vec<Choice>,
    others: Vec<Check>,
    /// Members with a check box each: all where there are few, else those who have it.
    members: Vec<Check>,
    /// The others, to be named in a field, where there are many.
    names: Vec<String>,
    milestones: Vec<(String, bool)>,
    due: String,
    confidential: bool,
}

async fn fields(planning: &Planning, project: &ProjectScope, issue: Option<&Issue>) -> Result<Fields> {
    let owner = Owner::Project(project.id, project.group_id);
    planning.ready(project.id, project.group_id).await?;
    let known = labels::list(&planning.db, owner).await?;
    let has = |label: &LabelRow| issue.is_some_and(|issue| issue.labels.iter().any(|own| own.id == label.id));
    let mut choices: Vec<Choice> = Vec::new();
    let mut others = Vec::new();
    for label in &known {
        if label.family.is_empty() {
            others.push(Check {
                name: label.name.clone(),
                on: has(label),
            });
            continue;
        }
        let option = (
            label.name.clone(),
            label
                .name
                .strip_prefix(&format!("{}::", label.family))
                .unwrap_or(&label.name)
                .to_owned(),
            has(label),
        );
        match choices.iter_mut().find(|choice| choice.family == label.family) {
            Some(choice) => choice.options.push(option),
            None => choices.push(Choice {
                family: label.family.clone(),
                field: format!("family-{}", choices.len()),
                options: vec![option],
            }),
        }
    }
    let assigned = |name: &str| {
        issue.is_some_and(|issue| issue.assignees.iter().any(|someone| someone.username == name))
    };
    let mut members: Vec<Check> = planning
        .people
        .members(project.id, project.group_id)
        .await?
        .into_iter()
        .filter(|member| member.active)
        .map(|member| Check {
            on: assigned(&member.username),
            name: member.username,
        })
        .collect();
    // Someone who has it and has left is shown as well, so that saving the form does not take it away unseen.
    for someone in issue.map(|issue| issue.assignees.as_slice()).unwrap_or_default() {
        if !members.iter().any(|member| member.name == someone.username) {
            members.push(Check {
                name: someone.username.clone(),
                on: true,
            });
        }
    }
    let mut names = Vec::new();
    if members.len() > CHECKED_MEMBERS {
        let (have, rest): (Vec<Check>, Vec<Check>) = members.into_iter().partition(|member| member.on);
        members = have;
        names = rest.into_iter().map(|member| member.name).collect();
    }
    let chosen = issue.and_then(|issue| issue.row.milestone.clone());
    let milestones = milestone::store::list(&planning.db, owner)
        .await?
        .into_iter()
        .filter(|row| row.state == "open" || Some(&row.title) == chosen.as_ref())
        .map(|row| {
            let on = Some(&row.title) == chosen.as_ref();
            (row.title, on)
        })
        .collect();
    Ok(Fields {
        choices,
        others,
        members,
        names,
        milestones,
        due: issue
            .and_then(|issue| issue.row.due_on.clone())
            .unwrap_or_default(),
        confidential: issue.is_some_and(|issue| issue.row.confidential),
    })
}

#[derive(Template)]
#[template(path = "issue/new.html")]
struct New {
    base: String,
    templates: Vec<(String, bool)>,
    title: String,
    description: String,
    fields: Option<Fields>,
}

#[derive(Deserialize)]
struct Prefill {
    template: Option<String>,
    #[serde(default)]
    title: String,
    #[serde(default)]
    description: String,
}

async fn new(
    State(planning): State<Planning>,
    who: Who,
    project: InProject,
    ui: Ui,
    Params(prefill): Params<Prefill>,
) -> Answer {
    let sight = planning.sight(&who, &project).await?;
    sight.must_speak()?;
    let templates = planning.templates(project.id).await?;
    // As GitLab has it: one by the name of Default is taken by itself.
    let wanted = prefill.template.clone().unwrap_or_else(|| "default".to_owned());
    let chosen = templates.iter().find(|template| {
        template.name == wanted || (prefill.template.is_none() && template.name.to_lowercase() == wanted)
    });
    let page = New {
        base: base(&project),
        title: text::cut(&prefill.title, text::TITLE_CHARS),
        description: if prefill.description.is_empty() {
            chosen.map(|template| template.text.clone()).unwrap_or_default()
        } else {
            prefill.description
        },
        templates: templates
            .iter()
            .map(|template| {
                (
                    template.name.clone(),
                    chosen.is_some_and(|chosen| chosen.name == template.name),
                )
            })
            .collect(),
        fields: if sight.manages {
            Some(fields(&planning, &project, None).await?)
        } else {
            None
        },
    };
    let crumbs = crumbs(&project, Some("New".to_owned()));
    ui.project_page(Tab::Issues, "New issue", &crumbs, &page)
}

/// A form with fields that come more than once.
type Pairs = Vec<(String, String)>;

fn one(pairs: &[(String, String)], name: &str) -> String {
    pairs
        .iter()
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.clone())
        .unwrap_or_default()
}

fn all(pairs: &[(String, String)], keep: impl Fn(&str) -> bool) -> Vec<String> {
    pairs
        .iter()
        .filter(|(key, value)| keep(key) && !value.is_empty())
        .map(|(_, value)| value.clone())
        .collect()
}

/// The people of a form: check boxes, and a field with names between commas or spaces.
fn assignees(pairs: &[(String, String)]) -> Vec<String> {
    all(pairs, |key| key == "assignee")
        .iter()
        .flat_map(|names| names.split([',', ';', ' ']))
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

fn chosen_labels(pairs: &[(String, String)]) -> Vec<String> {
    all(pairs, |key| key == "label" || key.starts_with("family-"))
}

async fn open(
    State(planning): State<Planning>,
    who: Who,
    project: InProject,
    FormBody(pairs): FormBody<Pairs>,
) -> Answer {
    let new = NewIssue {
        title: one(&pairs, "title"),
        description: one(&pairs, "description"),
        labels: chosen_labels(&pairs),
        assignees: assignees(&pairs),
        milestone: Some(one(&pairs, "milestone")),
        due_on: Some(one(&pairs, "due_on")),
        confidential: !one(&pairs, "confidential").is_empty(),
    };
    let number = planning.open(&who, &project, new).await?;
    Ok(Redirect::to(&format!("{}/issues/{number}", base(&project))).into_response())
}

struct Line {
    id: String,
    at: Markup,
    actor: String,
    icon: Markup,
    text: String,
    markdown: Option<Markup>,
    href: Option<String>,
}

fn line(entry: HistoryEntry, path: &str) -> Line {
    let picture = match entry.kind.as_str() {
        "comment" => "message",
        "issue.assigned" => "user",
        "issue.labeled" => "tag",
        "issue.moved" | "issue.ranked" => "arrow-right",
        "issue.closed" => "circle-check",
        "issue.linked" => "link",
        "issue.edited" => "edit",
        _ => "circle-dot",
    };
    let comment = entry.comment.is_some();
    Line {
        id: entry.comment.map_or_else(
            || format!("fact-{}", entry.seq.unwrap_or_default()),
            |number| format!("comment-{number}"),
        ),
        at: when(entry.at),
        actor: entry.actor,
        icon: icon(picture),
        markdown: comment.then(|| shown(&entry.text, path)),
        text: entry.text,
        href: entry.seq.map(|seq| format!("/ledger/{seq}")),
    }
}

/// Markdown with issues and people linked.
pub(crate) fn shown(source: &str, path: &str) -> Markup {
    markdown::of_project(source, path, "HEAD")
}

#[derive(Template)]
#[template(path = "issue/issue.html")]
struct One {
    here: String,
    number: i64,
    title: String,
    closed: bool,
    column: &'static str,
    confidential: bool,
    author: String,
    opened: Markup,
    closed_told: Option<(Markup, String, String)>,
    description: Option<Markup>,
    tags: Vec<Tag>,
    assignees: Vec<String>,
    milestone: Option<(String, String)>,
    due: Option<String>,
    late: bool,
    links: Vec<(String, String, IssueLink)>,
    /// Merge requests that close it, with where they are.
    requests: Vec<(String, ClosingRequest)>,
    lines: Vec<Line>,
    fields: Option<Fields>,
    columns: Vec<(&'static str, &'static str, bool)>,
    mine: bool,
    speaks: bool,
    edits: bool,
    closes: bool,
    icons: [Markup; 4],
}

async fn issue(
    State(planning): State<Planning>,
    who: Who,
    project: InProject,
    PathOf(path): PathOf<NumberPath>,
    ui: Ui,
) -> Answer {
    let number = path.number()?;
    let sight = planning.sight(&who, &project).await?;
    let found = planning.issue(&project, &sight, number).await?;
    let place = project.path();
    let base = base(&project);
    let links = planning.links(&who, &found).await?;
    let told = |kind: &str| match kind {
        "blocks" => "blocks",
        "blocked_by" => "is blocked by",
        _ => "relates to",
    };
    let page = One {
        here: format!("{base}/issues/{number}"),
        title: found.row.title.clone(),
        closed: found.column() == Column::Done,
        column: found.column().title(),
        confidential: found.row.confidential,
        author: found.row.author.clone(),
        opened: when(found.row.created_at),
        closed_told: found.row.closed_at.map(|at| {
            let how = found
                .row
                .closed_how
                .clone()
                .filter(|how| how != "person")
                .unwrap_or_default();
            (when(at), found.row.closed_by.clone().unwrap_or_default(), how)
        }),
        description: (!found.row.description.is_empty()).then(|| shown(&found.row.description, &place)),
        tags: tags(&found.labels),
        assignees: found
            .assignees
            .iter()
            .map(|someone| someone.username.clone())
            .collect(),
        milestone: found
            .row
            .milestone
            .clone()
            .map(|title| (format!("{base}/issues?milestone={}", url_encode(&title)), title)),
        late: found.column() != Column::Done
            && found
                .row
                .due_on
                .as_deref()
                .is_some_and(|due| *due < *planning.today()),
        due: found.row.due_on.clone(),
        links: links
            .into_iter()
            .map(|link| {
                let href = format!("/{}/-/issues/{}", link.project, link.number);
                (told(&link.kind).to_owned(), href, link)
            })
            .collect(),
        requests: planning
            .closing(&project, number)
            .await?
            .into_iter()
            .map(|request| (format!("{base}/merge-requests/{}", request.number), request))
            .collect(),
        lines: planning
            .history(&found)
            .await?
            .into_iter()
            .map(|entry| line(entry, &place))
            .collect(),
        fields: if sight.manages {
            Some(fields(&planning, &project, Some(&found)).await?)
        } else {
            None
        },
        columns: Column::ALL
            .into_iter()
            .map(|column| (column.as_str(), column.title(), column == found.column()))
            .collect(),
        mine: who.user.is_some_and(|me| found.users().contains(&me)),
        speaks: sight.speaks,
        edits: sight.manages || may_close(&sight, &found),
        closes: may_close(&sight, &found),
        icons: [icon("edit"), icon("check"), icon("refresh"), icon("lock")],
        number,
    };
    let title = format!("#{number} {} · {place}", found.row.title);
    ui.project_page(
        Tab::Issues,
        &title,
        &crumbs(&project, Some(format!("#{number}"))),
        &page,
    )
}

#[derive(Template)]
#[template(path = "issue/edit.html")]
struct Edit {
    here: String,
    number: i64,
    title: String,
    description: String,
}

async fn edit(
    State(planning): State<Planning>,
    who: Who,
    project: InProject,
    PathOf(path): PathOf<NumberPath>,
    ui: Ui,
) -> Answer {
    let number = path.number()?;
    let sight = planning.sight(&who, &project).await?;
    let found = planning.issue(&project, &sight, number).await?;
    if !may_close(&sight, &found) {
        sight.must_manage()?;
    }
    let page = Edit {
        here: format!("{}/issues/{number}", base(&project)),
        number,
        title: found.row.title,
        description: found.row.description,
    };
    ui.project_page(
        Tab::Issues,
        "Edit an issue",
        &crumbs(&project, Some(format!("Edit #{number}"))),
        &page,
    )
}
