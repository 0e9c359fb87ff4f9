//! Pages: lists, one incident, and the form that declares one.

use super::{Incident, api::NumberPath};
use crate::{Incidents, timeline};
use askama::Template;
use axum::{
    extract::State,
    response::{IntoResponse as _, Redirect, Response},
    routing::{get, post},
};
use bascule_core::{Permission, Problem, ProjectScope, Timestamp, limits};
use bascule_web::{
    Access, Answer, Crumb, FormBody, InProject, Markup, Params, PathOf, Routes, Section, Tab, Ui, Who,
    duration, icon, markdown, url_encode, url_path, when,
};
use bascule_wire::incidents::{IncidentPage, IncidentSummary, NewIncident, Severity, TimelineEntry};
use serde::Deserialize;

pub(crate) fn routes() -> Routes<Incidents> {
    let read = Access::Project(Permission::IncidentRead);
    let write = Access::Project(Permission::IncidentWrite);
    let one = "/{group}/{project}/-/incidents/{number}";
    Routes::new()
        .page("GET", "/incidents", Access::Insider, get(all))
        .page("GET", "/{group}/{project}/-/incidents", read, get(of_project))
        .page("POST", "/{group}/{project}/-/incidents", write, post(declare))
        .page("GET", "/{group}/{project}/-/incidents/new", write, get(form))
        .page("GET", one, read, get(incident))
        .page("GET", &format!("{one}/timeline"), read, get(lines))
        .page("POST", &format!("{one}/acknowledge"), write, post(acknowledge))
        .page("POST", &format!("{one}/identify"), write, post(identify))
        .page("POST", &format!("{one}/comments"), write, post(comment))
        .page("POST", &format!("{one}/severity"), write, post(severity))
        .page("POST", &format!("{one}/resolve"), write, post(resolve))
        .page("POST", &format!("{one}/postmortem"), write, post(postmortem))
}

#[derive(Deserialize)]
struct Paging {
    before: Option<i64>,
}

struct Item {
    href: String,
    number: i64,
    title: String,
    project: String,
    severity: &'static str,
    colour: &'static str,
    status: String,
    open: bool,
    environment: String,
    detected: Markup,
    lasted: String,
    drill: bool,
}

#[derive(Template)]
#[template(path = "incident/list.html")]
struct List {
    items: Vec<Item>,
    next: Option<String>,
    new_href: Option<String>,
    with_project: bool,
    empty: Markup,
    plus: Markup,
}

struct Line {
    at: Markup,
    actor: String,
    icon: Markup,
    text: String,
    markdown: Option<Markup>,
    href: Option<String>,
}

#[derive(Template)]
#[template(path = "incident/timeline.html")]
struct Lines {
    lines: Vec<Line>,
    poll: Option<String>,
}

struct Figure {
    label: &'static str,
    value: String,
}

#[derive(Template)]
#[template(path = "incident/incident.html")]
struct One {
    item: Item,
    base: String,
    began: Markup,
    figures: Vec<Figure>,
    acknowledged_by: Option<String>,
    resolved_by: Option<String>,
    can_write: bool,
    root_cause: String,
    root_cause_html: Option<Markup>,
    version: String,
    postmortem: Option<(String, String)>,
    postmortem_error: Option<String>,
    severities: Vec<(&'static str, bool)>,
    timeline: String,
    known_restored: Option<Markup>,
    hand: Markup,
    check: Markup,
}

#[derive(Template)]
#[template(path = "incident/new.html")]
struct Form {
    action: String,
    environments: Vec<String>,
}

fn severity_colour(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "red",
        Severity::Major => "orange",
        Severity::Minor => "azure",
    }
}

fn item(summary: IncidentSummary, now: Timestamp) -> Item {
    let open = summary.resolved_at.is_none();
    let end = summary.restored_at.or(summary.resolved_at).unwrap_or(now);
    Item {
        href: format!("/{}/-/incidents/{}", summary.project, summary.number),
        number: summary.number,
        title: summary.title,
        project: summary.project,
        severity: summary.severity.as_str(),
        colour: severity_colour(summary.severity),
        status: summary.status,
        open,
        environment: summary.environment.unwrap_or_default(),
        detected: when(summary.detected_at),
        lasted: duration(end.since(summary.began_at)),
        drill: summary.drill,
    }
}

fn list(
    page: IncidentPage,
    now: Timestamp,
    here: &str,
    new_href: Option<String>,
    with_project: bool,
) -> List {
    List {
        next: page.next.map(|before| format!("{here}?before={before}")),
        items: page.items.into_iter().map(|summary| item(summary, now)).collect(),
        new_href,
        with_project,
        empty: icon("shield-check"),
        plus: icon("plus"),
    }
}

async fn all(State(incidents): State<Incidents>, ui: Ui, who: Who, Params(paging): Params<Paging>) -> Answer {
    let page = incidents
        .list_all(&who, paging.before, limits::PAGE_ENTRIES)
        .await?;
    let list = list(page, incidents.clock.now(), "/incidents", None, true);
    ui.page(Section::Incidents, "Incidents", &[], &list)
}

fn base(project: &ProjectScope) -> String {
    format!("/{}/{}/-/incidents", project.group, project.name)
}

fn crumbs(project: &ProjectScope, here: Option<String>) -> Vec<Crumb> {
    let mut crumbs = vec![Crumb::to(project.path(), format!("/{}", project.path()))];
    match here {
        None => crumbs.push(Crumb::here("Incidents")),
        Some(here) => {
            crumbs.push(Crumb::to("Incidents", base(project)));
            crumbs.push(Crumb::here(here));
        }
    }
    crumbs
}

async fn of_project(
    State(incidents): State<Incidents>,
    ui: Ui,
    project: InProject,
    Params(paging): Params<Paging>,
) -> Answer {
    let page = incidents
        .list_project(&project, paging.before, limits::PAGE_ENTRIES)
        .await?;
    let here = base(&project);
    let new = project
        .holds(Permission::IncidentWrite)
        .then(|| format!("{here}/new"));
    let list = list(page, incidents.clock.now(), &here, new, false);
    ui.project_page(
        Tab::Incidents,
        &format!("Incidents · {}", project.path()),
        &crumbs(&project, None),
        &list,
    )
}

async fn form(State(incidents): State<Incidents>, ui: Ui, project: InProject) -> Answer {
    let form = Form {
        action: base(&project),
        environments: incidents.environment_names(project.id).await?,
    };
    let crumbs = crumbs(&project, Some("New".to_owned()));
    ui.project_page(Tab::Incidents, "Declare an incident", &crumbs, &form)
}

#[derive(Deserialize)]
struct NewForm {
    title: String,
    severity: String,
    #[serde(default)]
    environment: String,
    #[serde(default)]
    drill: Option<String>,
}

async fn declare(
    State(incidents): State<Incidents>,
    who: Who,
    project: InProject,
    FormBody(form): FormBody<NewForm>,
) -> Answer {
    let new = NewIncident {
        title: form.title,
        severity: Severity::parse(&form.severity),
        environment: Some(form.environment),
        began_at: None,
        drill: form.drill.is_some(),
    };
    let number = incidents.declare(&who, &project, new).await?;
    Ok(Redirect::to(&format!("{}/{number}", base(&project))).into_response())
}

async fn timeline_html(incidents: &Incidents, project: &ProjectScope, found: &Incident) -> Answer<String> {
    let lines = timeline::read(incidents, found, None).await?;
    let base = base(project);
    // A resolved incident's post-mortem comes a moment later, so its page goes on asking until then.
    let settled =
        found.resolved_at.is_some() && (found.postmortem_sha.is_some() || found.postmortem_error.is_some());
    let poll = (!settled).then(|| format!("{base}/{}/timeline", found.number));
    Ok(Lines {
        lines: lines.into_iter().map(line).collect(),
        poll,
    }
    .render()?)
}

fn line(entry: TimelineEntry) -> Line {
    let picture = match entry.kind.split('.').next().unwrap_or_default() {
        "comment" => "message",
        "deployment" => "rocket",
        "rollout" => "route",
        "alert" => "urgent",
        "incident" => "flame",
        "postmortem" => "file-text",
        "instance" => "server",
        "release" | "tag" => "tag",
        "branch" => "git-commit",
        _ => "circle-dot",
    };
    Line {
        at: when(entry.at),
        actor: entry.actor,
        icon: icon(picture),
        markdown: (entry.kind == "comment").then(|| markdown::render(&entry.text, None)),
        text: entry.text,
        href: entry.seq.map(|seq| format!("/ledger/{seq}")),
    }
}

async fn lines(
    State(incidents): State<Incidents>,
    project: InProject,
    PathOf(path): PathOf<NumberPath>,
) -> Answer<Response> {
    let found = incidents.get(&project, path.number()?).await?;
    Ok(axum::response::Html(timeline_html(&incidents, &project, &found).await?).into_response())
}

fn figures(found: &Incident, now: Timestamp) -> Vec<Figure> {
    let mut figures = Vec::new();
    let mut add = |label, from: Option<Timestamp>, to: Option<Timestamp>| {
        if let (Some(from), Some(to)) = (from, to) {
            figures.push(Figure {
                label,
                value: duration(to.since(from)),
            });
        }
    };
    let end = found.restored_at.or(found.resolved_at);
    add(
        "Users affected for",
        Some(found.began_at),
        Some(end.unwrap_or(now)),
    );
    add("Detected after", Some(found.began_at), Some(found.detected_at));
    add(
        "Acknowledged after",
        Some(found.detected_at),
        found.acknowledged_at,
    );
    add("Cause named after", found.acknowledged_at, found.identified_at);
    add("Service back after", Some(found.began_at), found.restored_at);
    figures
}

async fn incident(
    State(incidents): State<Incidents>,
    ui: Ui,
    project: InProject,
    PathOf(path): PathOf<NumberPath>,
) -> Answer {
    let found = incidents.get(&project, path.number()?).await?;
    let now = incidents.clock.now();
    let title = format!("Incident {} · {}", found.number, project.path());
    let severity = Severity::parse(&found.severity);
    let summary = IncidentSummary {
        project: project.path(),
        ..found.summary()
    };
    let page = One {
        base: format!("{}/{}", base(&project), found.number),
        began: when(found.began_at),
        figures: figures(&found, now),
        acknowledged_by: found.acknowledged_by.clone(),
        resolved_by: found.resolved_by.clone(),
        can_write: project.holds(Permission::IncidentWrite),
        root_cause_html: (!found.root_cause.is_empty()).then(|| markdown::render(&found.root_cause, None)),
        root_cause: found.root_cause.clone(),
        version: found.version.clone().unwrap_or_default(),
        postmortem: found.postmortem().map(|stands| {
            let href = format!(
                "/{}/-/blob/{}/{}",
                url_path(&stands.home),
                url_encode(&stands.sha),
                url_path(&stands.path)
            );
            (href, format!("{}: {}", stands.home, stands.path))
        }),
        postmortem_error: found.postmortem_error.clone(),
        severities: Severity::ALL
            .into_iter()
            .map(|s| (s.as_str(), s == severity))
            .collect(),
        timeline: timeline_html(&incidents, &project, &found).await?,
        known_restored: found.restored_at.map(when),
        hand: icon("hand-stop"),
        check: icon("check"),
        item: item(summary, now),
    };
    let crumbs = crumbs(&project, Some(format!("Incident {}", found.number)));
    ui.project_page(Tab::Incidents, &title, &crumbs, &page)
}

fn back(project: &ProjectScope, number: i64) -> Answer {
    Ok(Redirect::to(&format!("{}/{number}", base(project))).into_response())
}

async fn acknowledge(
    State(incidents): State<Incidents>,
    who: Who,
    project: InProject,
    PathOf(path): PathOf<NumberPath>,
) -> Answer {
    incidents.acknowledge(&who, &project, path.number()?).await?;
    back(&project, path.number()?)
}

#[derive(Deserialize)]
struct TextForm {
    #[serde(default)]
    text: String,
}

async fn identify(
    State(incidents): State<Incidents>,
    who: Who,
    project: InProject,
    PathOf(path): PathOf<NumberPath>,
    FormBody(form): FormBody<TextForm>,
) -> Answer {
    incidents
        .identify(&who, &project, path.number()?, &form.text)
        .await?;
    back(&project, path.number()?)
}

async fn comment(
    State(incidents): State<Incidents>,
    who: Who,
    project: InProject,
    PathOf(path): PathOf<NumberPath>,
    FormBody(form): FormBody<TextForm>,
) -> Answer {
    incidents
        .comment(&who, &project, path.number()?, &form.text)
        .await?;
    back(&project, path.number()?)
}

#[derive(Deserialize)]
struct SeverityForm {
    severity: String,
}

async fn severity(
    State(incidents): State<Incidents>,
    who: Who,
    project: InProject,
    PathOf(path): PathOf<NumberPath>,
    FormBody(form): FormBody<SeverityForm>,
) -> Answer {
    incidents
        .reclassify(&who, &project, path.number()?, Severity::parse(&form.severity))
        .await?;
    back(&project, path.number()?)
}

#[derive(Deserialize)]
struct ResolveForm {
    #[serde(default)]
    text: String,
    #[serde(default)]
    restored_at: String,
}

async fn resolve(
    State(incidents): State<Incidents>,
    who: Who,
    project: InProject,
    PathOf(path): PathOf<NumberPath>,
    FormBody(form): FormBody<ResolveForm>,
) -> Answer {
    let given = match form.restored_at.trim() {
        "" => None,
        text => Some(instant(text)?),
    };
    incidents
        .resolve(&who, &project, path.number()?, given, &form.text)
        .await?;
    back(&project, path.number()?)
}

/// A time as a browser's `datetime-local` field gives it, read as UTC, or RFC 3339.
fn instant(text: &str) -> Result<Timestamp, Problem> {
    let padded = match text.len() {
        16 => format!("{text}:00Z"),
        19 => format!("{text}Z"),
        _ => text.to_owned(),
    };
    padded.parse().map_err(|_| {
        Problem::invalid("bad_time", "That is no time.")
            .next("Write it as 2024-07-04T16:45, in UTC, or leave it empty.")
    })
}

async fn postmortem(
    State(incidents): State<Incidents>,
    project: InProject,
    PathOf(path): PathOf<NumberPath>,
) -> Answer {
    incidents.retry_postmortem(&project, path.number()?).await?;
    back(&project, path.number()?)
}

#[cfg(test)]
mod tests {
    use super::instant;

    #[test]
    fn browser_times_are_read_as_utc() {
        assert_eq!(
            instant("2024-07-04T16:45").unwrap().to_string(),
            "2024-07-04T16:45:00Z"
        );
        assert_eq!(
            instant("2024-07-04T16:45:30").unwrap().to_string(),
            "2024-07-04T16:45:30Z"
        );
        assert!(instant("tomorrow").is_err());
    }
}
