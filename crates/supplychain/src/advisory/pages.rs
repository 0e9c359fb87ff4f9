//! The pages of findings: of the instance, of a project, of a release, and one with what people decide on it.

use super::{
    Advisories,
    api::{IdPath, KeyPath, ListParams, TagPath, release_of},
};
use askama::Template;
use axum::{
    extract::State,
    response::{IntoResponse as _, Redirect},
};
use bascule_core::{Permission, ProjectScope, limits};
use bascule_web::{
    Answer, Crumb, FormBody, InProject, Markup, Params, PathOf, Section, Tab, Ui, Who, icon, url_encode, when,
};
use bascule_wire::advisory::{
    AdvisoryDetails, Finding, FindingDetails, FindingPage, JUSTIFICATIONS, NewTriage, Severity,
};
use serde::Deserialize;

/// References that an advisory's page shows.
const REFERENCES: usize = 30;

struct Item {
    href: String,
    advisory: String,
    advisory_href: String,
    aliases: String,
    summary: String,
    severity: &'static str,
    colour: &'static str,
    package: String,
    fixed: String,
    state: String,
    until: Option<Markup>,
    development: bool,
    project: String,
    project_href: String,
    versions: String,
    environments: Vec<String>,
    opened: Markup,
}

struct Count {
    label: &'static str,
    colour: &'static str,
    count: i64,
    href: String,
    current: bool,
}

#[derive(Template)]
#[template(path = "advisory/list.html")]
struct List {
    heading: String,
    here: String,
    items: Vec<Item>,
    counts: Vec<Count>,
    states: Vec<(&'static str, &'static str, bool)>,
    severity: String,
    search: String,
    next: Option<String>,
    with_project: bool,
    narrowed: bool,
    empty: Markup,
    picture: Markup,
}

struct Affected {
    version: String,
    href: String,
    purl: String,
    opened: Markup,
    closed: Option<Markup>,
    closed_reason: String,
    environments: Vec<String>,
}

#[derive(Template)]
#[template(path = "advisory/finding.html")]
struct One {
    item: Item,
    affected: Vec<Affected>,
    triage: Option<Decided>,
    can_decide: bool,
    action: String,
    justifications: Vec<(&'static str, String)>,
}

struct Decided {
    verdict: String,
    justification: String,
    reason: String,
    actor: String,
    at: Markup,
    until: Option<Markup>,
}

#[derive(Template)]
#[template(path = "advisory/advisory.html")]
struct AdvisoryShown {
    id: String,
    aliases: String,
    summary: String,
    details: Markup,
    severity: &'static str,
    colour: &'static str,
    score: String,
    modified: Markup,
    withdrawn: Option<Markup>,
    unmatched: String,
    releases: i64,
    references: Vec<String>,
    search: String,
}

fn colour(severity: Severity) -> &'static str {
    match severity {
        Severity::Critical => "red",
        Severity::High => "orange",
        Severity::Medium => "yellow",
        Severity::Low => "azure",
        Severity::Unknown => "secondary",
    }
}

fn item(finding: Finding) -> Item {
    let more = usize::try_from(finding.releases)
        .unwrap_or(0)
        .saturating_sub(finding.versions.len());
    let mut versions = finding
        .versions
        .iter()
        .take(5)
        .cloned()
        .collect::<Vec<_>>()
        .join(", ");
    let more = more + finding.versions.len().saturating_sub(5);
    if more > 0 {
        versions.push_str(&format!(" and {more} more"));
    }
    Item {
        href: format!("/{}/-/findings/{}", finding.project, finding.key),
        advisory_href: format!("/advisories/{}", url_encode(&finding.advisory)),
        advisory: finding.advisory,
        aliases: finding.aliases.join(", "),
        summary: finding.summary,
        severity: finding.severity.as_str(),
        colour: colour(finding.severity),
        package: finding.package,
        fixed: finding.fixed.join(" or "),
        state: finding.state.replace('_', " "),
        until: finding.triage.and_then(|triage| triage.until).map(when),
        development: finding.development,
        project_href: format!("/{}/-/findings", finding.project),
        project: finding.project,
        versions,
        environments: finding.environments,
        opened: when(finding.opened_at),
    }
}

fn query(params: &ListParams, severity: &str, after: &str) -> String {
    let pairs = [
        ("severity", severity),
        ("state", &params.state),
        ("search", &params.search),
        ("after", after),
    ];
    let given = pairs.into_iter().filter(|(_, value)| !value.is_empty());
    let text: Vec<String> = given
        .map(|(name, value)| format!("{name}={}", url_encode(value)))
        .collect();
    if text.is_empty() {
        String::new()
    } else {
        format!("?{}", text.join("&"))
    }
}

fn list(page: FindingPage, params: &ListParams, heading: String, here: &str, with_project: bool) -> List {
    let counts = Severity::ALL.into_iter().map(|severity| Count {
        label: severity.as_str(),
        colour: colour(severity),
        count: page.counts.of(severity),
        href: format!("{here}{}", query(params, severity.as_str(), "")),
        current: params.severity == severity.as_str(),
    });
    let states = [
        ("open", "Open"),
        ("set_aside", "Set aside"),
        ("standing", "Open and set aside"),
        ("closed", "Closed"),
        ("all", "All"),
    ];
    List {
        heading,
        here: here.to_owned(),
        counts: counts.collect(),
        states: states
            .into_iter()
            .map(|(value, label)| (value, label, params.state == value))
            .collect(),
        severity: params.severity.clone(),
        search: params.search.clone(),
        next: page
            .next
            .map(|next| format!("{here}{}", query(params, &params.severity, &next))),
        narrowed: !(params.severity.is_empty() && params.state.is_empty() && params.search.is_empty()),
        items: page.items.into_iter().map(item).collect(),
        with_project,
        empty: icon("shield-check"),
        picture: icon("search"),
    }
}

pub(super) async fn all(
    State(advisories): State<Advisories>,
    ui: Ui,
    who: Who,
    Params(params): Params<ListParams>,
) -> Answer {
    let page = advisories
        .findings(&who, &params.asked(), limits::PAGE_ENTRIES)
        .await?;
    let list = list(page, &params, "Findings".to_owned(), "/findings", true);
    ui.page(Section::Findings, "Findings", &[], &list)
}

fn base(project: &ProjectScope) -> String {
    format!("/{}/{}", url_encode(&project.group), url_encode(&project.name))
}

fn crumbs(project: &ProjectScope, here: Option<&str>) -> Vec<Crumb> {
    let base = base(project);
    let mut crumbs = vec![Crumb::to(project.path(), base.clone())];
    match here {
        None => crumbs.push(Crumb::here("Findings")),
        Some(here) => {
            crumbs.push(Crumb::to("Findings", format!("{base}/-/findings")));
            crumbs.push(Crumb::here(here));
        }
    }
    crumbs
}

pub(super) async fn of_project(
    State(advisories): State<Advisories>,
    ui: Ui,
    project: InProject,
    Params(params): Params<ListParams>,
) -> Answer {
    let page = advisories
        .findings_of(project.id, None, &params.asked(), limits::PAGE_ENTRIES)
        .await?;
    let here = format!("{}/-/findings", base(&project));
    let list = list(page, &params, "Findings".to_owned(), &here, false);
    let title = format!("Findings · {}", project.path());
    ui.project_page(Tab::Releases, &title, &crumbs(&project, None), &list)
}

pub(super) async fn of_release(
    State(advisories): State<Advisories>,
    ui: Ui,
    project: InProject,
    PathOf(path): PathOf<TagPath>,
    Params(params): Params<ListParams>,
) -> Answer {
    let release = release_of(&advisories, project.id, &path.tag).await?;
    let page = advisories
        .findings_of(project.id, Some(release), &params.asked(), limits::PAGE_ENTRIES)
        .await?;
    let here = format!("{}/-/releases/{}/findings", base(&project), url_encode(&path.tag));
    let list = list(page, &params, format!("Findings in {}", path.tag), &here, false);
    let title = format!("Findings in {} · {}", path.tag, project.path());
    ui.project_page(Tab::Releases, &title, &crumbs(&project, Some(&path.tag)), &list)
}

pub(super) async fn one(
    State(advisories): State<Advisories>,
    ui: Ui,
    project: InProject,
    PathOf(path): PathOf<KeyPath>,
) -> Answer {
    let FindingDetails { finding, affected } = advisories.finding(project.id, &path.key).await?;
    let triage = finding.triage.clone().map(|triage| Decided {
        verdict: triage.verdict.replace('_', " "),
        justification: triage.justification.replace('_', " "),
        reason: triage.reason,
        actor: triage.actor,
        at: when(triage.at),
        until: triage.until.map(when),
    });
    let affected = affected.into_iter().map(|release| Affected {
        href: format!("{}/-/releases/{}", base(&project), url_encode(&release.tag)),
        version: release.version,
        purl: release.purl,
        opened: when(release.opened_at),
        closed: release.closed_at.map(when),
        closed_reason: release.closed_reason,
        environments: release.environments,
    });
    let title = format!("{} in {} · {}", finding.advisory, finding.package, project.path());
    let name = finding.advisory.clone();
    let page = One {
        affected: affected.collect(),
        triage,
        can_decide: project.holds(Permission::FindingTriage) && finding.state != "closed",
        action: format!("{}/-/findings/{}", base(&project), url_encode(&path.key)),
        justifications: JUSTIFICATIONS
            .into_iter()
            .map(|value| (value, value.replace('_', " ")))
            .collect(),
        item: item(finding),
    };
    ui.project_page(Tab::Releases, &title, &crumbs(&project, Some(&name)), &page)
}

#[derive(Deserialize)]
pub(super) struct TriageForm {
    verdict: String,
    #[serde(default)]
    justification: String,
    reason: String,
    #[serde(default)]
    days: String,
}

pub(super) async fn decide(
    State(advisories): State<Advisories>,
    who: Who,
    project: InProject,
    PathOf(path): PathOf<KeyPath>,
    FormBody(form): FormBody<TriageForm>,
) -> Answer {
    let days = form.days.trim();
    let new = NewTriage {
        verdict: form.verdict,
        justification: form.justification,
        reason: form.reason,
        days: match days {
            "" => None,
            // What is no number is refused as one that is out of bounds.
            text => Some(text.parse().unwrap_or(0)),
        },
    };
    advisories.decide(&who.actor, project.id, &path.key, &new).await?;
    Ok(back(&project, &path.key))
}

pub(super) async fn reopen(
    State(advisories): State<Advisories>,
    who: Who,
    project: InProject,
    PathOf(path): PathOf<KeyPath>,
) -> Answer {
    advisories.reopen(&who.actor, project.id, &path.key).await?;
    Ok(back(&project, &path.key))
}

fn back(project: &ProjectScope, key: &str) -> axum::response::Response {
    Redirect::to(&format!("{}/-/findings/{}", base(project), url_encode(key))).into_response()
}

pub(super) async fn advisory(
    State(advisories): State<Advisories>,
    ui: Ui,
    PathOf(path): PathOf<IdPath>,
) -> Answer {
    let AdvisoryDetails { summary, record, .. } = advisories.advisory(&path.id).await?;
    let references = record["references"].as_array().into_iter().flatten();
    let references = references
        .filter_map(|reference| reference["url"].as_str())
        .filter(|url| url.starts_with("https://") || url.starts_with("http://"))
        .take(REFERENCES)
        .map(str::to_owned);
    let page = AdvisoryShown {
        aliases: summary.aliases.join(", "),
        details: bascule_web::markdown::render(record["details"].as_str().unwrap_or_default(), None),
        severity: summary.severity.as_str(),
        colour: colour(summary.severity),
        score: summary
            .score
            .map(|score| format!("{score:.1}"))
            .unwrap_or_default(),
        modified: when(summary.modified),
        withdrawn: summary.withdrawn.map(when),
        unmatched: summary.unmatched.join(", "),
        releases: summary.releases,
        references: references.collect(),
        search: url_encode(&summary.id),
        summary: summary.summary,
        id: summary.id,
    };
    let crumbs = [Crumb::to("Findings", "/findings"), Crumb::here(&page.id)];
    ui.page(Section::Findings, &page.id, &crumbs, &page)
}
