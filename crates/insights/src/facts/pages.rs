//! The ledger's pages: all facts, one fact, a project's activity.

use super::{Line, Question, api::SeqPath, lines, link};
use crate::{Insights, measure::store};
use askama::Template;
use axum::{extract::State, response::Response, routing::get};
use bascule_core::{Caller, Permission, ProjectId, Result, limits};
use bascule_web::{
    Access, Answer, Crumb, InProject, Markup, Params, PathOf, Routes, Section, Tab, Ui, Who, commas, icon,
    when,
};

pub(crate) fn routes() -> Routes<Insights> {
    const READ: Access = Access::Project(Permission::LedgerRead);
    Routes::new()
        .page("GET", "/ledger", Access::Insider, get(all))
        .page("GET", "/ledger/newer", Access::Insider, get(newer))
        .page("GET", "/ledger/{seq}", Access::Insider, get(one))
        .page("GET", "/{group}/{project}/-/activity", READ, get(activity))
        .page(
            "GET",
            "/{group}/{project}/-/activity/newer",
            READ,
            get(activity_newer),
        )
}

/// Kinds that people look for most, offered while they type.
const KINDS: &[&str] = &[
    "branch.*",
    "tag.*",
    "pipeline.*",
    "job.*",
    "release.*",
    "deployment.*",
    "rollout.*",
    "instance.*",
    "alert.*",
    "incident.*",
    "traffic.summarised",
    "postmortem.committed",
    "project.*",
    "environment.*",
    "user.*",
    "session.*",
    "token.*",
    "member.*",
];

#[derive(Template)]
#[template(path = "facts/ledger.html")]
struct Page {
    title: &'static str,
    action: String,
    asked: Question,
    with_project: bool,
    kinds: &'static [&'static str],
    newest: Newer,
    older: Option<String>,
    first: Option<String>,
    verify: bool,
    empty: Markup,
}

/// Facts with, above them, the question for newer ones.
#[derive(Template)]
#[template(path = "facts/newer.html")]
struct Newer {
    poll: Option<String>,
    lines: Vec<Line>,
}

#[derive(Template)]
#[template(path = "facts/fact.html")]
struct One {
    seq: String,
    at: Markup,
    id: String,
    kind: String,
    actor: String,
    actor_kind: &'static str,
    summary: String,
    subject: String,
    subject_query: String,
    project: Option<String>,
    body: String,
    hash: String,
    previous_hash: String,
    older: Option<i64>,
    newer: Option<i64>,
    link: String,
}

/// How one looks at the ledger: all of it, or one project.
struct View<'a> {
    action: String,
    within: Option<ProjectId>,
    caller: &'a Caller,
}

async fn page(insights: &Insights, view: View<'_>, asked: Question, title: &'static str) -> Result<Page> {
    // Asked first, so that no fact falls between what is shown and what is asked for next.
    let head = insights.ledger.head().await?;
    insights.catch_up().await?;
    let filter = insights.filter(view.caller, &asked, view.within).await?;
    let asked = Question { after: None, ..asked };
    let (entries, more) = insights.ask(&filter, &asked, limits::PAGE_ENTRIES).await?;
    let query = asked.query();
    let older = entries
        .last()
        .filter(|_| more)
        .map(|last| format!("{}?{query}before={}", view.action, last.seq));
    let newest = entries.first().map_or(head, |entry| entry.seq.max(head));
    let poll = asked
        .before
        .is_none()
        .then(|| format!("{}/newer?{query}after={newest}", view.action));
    Ok(Page {
        title,
        with_project: view.within.is_none(),
        kinds: KINDS,
        newest: Newer {
            poll,
            lines: lines(insights, entries).await?,
        },
        older,
        first: asked.before.map(|_| format!("{}?{query}", view.action)),
        verify: view.within.is_none() && view.caller.holds(Permission::InstanceRead),
        empty: icon("list-check"),
        action: view.action,
        asked,
    })
}

/// Facts newer than the ones shown, and the question for those after them.
async fn newer_lines(insights: &Insights, view: View<'_>, asked: Question) -> Result<Newer> {
    insights.catch_up().await?;
    let filter = insights.filter(view.caller, &asked, view.within).await?;
    let asked = Question {
        after: Some(asked.after.unwrap_or(i64::MAX)),
        ..asked
    };
    let (mut entries, _) = insights.ask(&filter, &asked, limits::PAGE_ENTRIES).await?;
    let newest = entries.last().map(|entry| entry.seq).or(asked.after).unwrap_or(0);
    entries.reverse();
    let poll = Some(format!("{}/newer?{}after={newest}", view.action, asked.query()));
    Ok(Newer {
        poll,
        lines: lines(insights, entries).await?,
    })
}

async fn all(State(insights): State<Insights>, ui: Ui, who: Who, Params(asked): Params<Question>) -> Answer {
    let view = View {
        action: "/ledger".to_owned(),
        within: None,
        caller: &who,
    };
    let page = page(&insights, view, asked, "Ledger").await?;
    ui.page(Section::Ledger, "Ledger", &[], &page)
}

async fn newer(
    State(insights): State<Insights>,
    ui: Ui,
    who: Who,
    Params(asked): Params<Question>,
) -> Answer<Response> {
    let view = View {
        action: "/ledger".to_owned(),
        within: None,
        caller: &who,
    };
    ui.fragment(&newer_lines(&insights, view, asked).await?)
}

async fn activity(
    State(insights): State<Insights>,
    ui: Ui,
    who: Who,
    project: InProject,
    Params(asked): Params<Question>,
) -> Answer {
    let action = format!("/{}/-/activity", project.path());
    let view = View {
        action,
        within: Some(project.id),
        caller: &who,
    };
    let page = page(&insights, view, asked, "Activity").await?;
    let crumbs = [
        Crumb::to(project.path(), format!("/{}", project.path())),
        Crumb::here("Activity"),
    ];
    ui.project_page(
        Tab::Insights,
        &format!("Activity · {}", project.path()),
        &crumbs,
        &page,
    )
}

async fn activity_newer(
    State(insights): State<Insights>,
    ui: Ui,
    who: Who,
    project: InProject,
    Params(asked): Params<Question>,
) -> Answer<Response> {
    let action = format!("/{}/-/activity", project.path());
    let view = View {
        action,
        within: Some(project.id),
        caller: &who,
    };
    ui.fragment(&newer_lines(&insights, view, asked).await?)
}

async fn one(State(insights): State<Insights>, ui: Ui, who: Who, PathOf(path): PathOf<SeqPath>) -> Answer {
    let entry = insights.fact(&who, path.seq()?).await?;
    insights.catch_up().await?;
    let head = insights.ledger.head().await?;
    // The hash of a neighbour tells nothing of what it says.
    let previous = insights.ledger.entry(entry.seq - 1).await?;
    let project = match entry.project {
        Some(id) => store::paths(&insights.db, &[id])
            .await?
            .pop()
            .map(|(_, path)| path),
        None => None,
    };
    let body: serde_json::Value = serde_json::from_str(&entry.body).unwrap_or_default();
    let page = One {
        seq: commas(entry.seq),
        at: when(entry.at),
        id: entry.id.to_string(),
        link: link(&entry, project.as_deref()),
        subject_query: Question {
            subject: entry.subject.clone(),
            ..Question::default()
        }
        .query(),
        older: (entry.seq > 1).then(|| entry.seq - 1),
        newer: (entry.seq < head).then(|| entry.seq + 1),
        kind: entry.kind,
        actor: entry.actor.name,
        actor_kind: entry.actor.kind.as_str(),
        summary: entry.summary,
        subject: entry.subject,
        project,
        body: serde_json::to_string_pretty(&body).unwrap_or(entry.body),
        hash: entry.hash,
        previous_hash: previous.map(|entry| entry.hash).unwrap_or_default(),
    };
    let crumbs = [
        Crumb::to("Ledger", "/ledger"),
        Crumb::here(format!("Fact {}", entry.seq)),
    ];
    ui.page(Section::Ledger, &format!("Fact {}", entry.seq), &crumbs, &page)
}
