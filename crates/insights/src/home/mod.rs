//! The first page after sign-in: what happened, what waits for me, and two numbers.

mod store;

use crate::{
    Insights, Scope,
    facts::{Line, Question, lines},
    measure::{
        Period,
        pages::{Number, headlines},
    },
};
use askama::Template;
use axum::{extract::State, routing::get};
use bascule_core::{Caller, InstanceRole};
use bascule_ledger::{
    Fact as _,
    facts::ci::{JobFinished, JobStarted},
};
use bascule_web::{Access, Answer, Markup, Routes, Section, Ui, Who, icon, when};

pub(crate) fn routes() -> Routes<Insights> {
    Routes::new().page("GET", "/", Access::SignedIn, get(home))
}

/// Facts shown.
const FACTS: i64 = 20;
/// What a pipeline's own facts sum up: its jobs' would leave room for nothing else.
const PIECES: [&str; 2] = [JobStarted::KIND, JobFinished::KIND];
/// Things shown that others know to wait.
const OTHERS: usize = 20;

struct Waiting {
    icon: Markup,
    text: String,
    href: String,
    project: String,
    at: Markup,
}

#[derive(Template)]
#[template(path = "home/home.html")]
struct Page {
    name: String,
    headlines: Vec<Number>,
    waiting: Vec<Waiting>,
    lines: Vec<Line>,
    calm: Markup,
    new_here: bool,
    /// An outside partner is shown what waits in their projects, no measures and no facts.
    partner: bool,
}

async fn home(State(insights): State<Insights>, ui: Ui, who: Who) -> Answer {
    let scope = insights.scope(&who).await?;
    let partner = who.instance_role == InstanceRole::External;
    let (mut numbers, mut told) = (Vec::new(), Vec::new());
    if !partner {
        let period = Period::choose("", "", insights.clock.now())?;
        let all = insights.measures(scope.clone(), period, None).await?;
        numbers = headlines(&all);
        let question = Question::default();
        let mut filter = insights.filter(&who, &question, None).await?;
        filter.except = PIECES.map(str::to_owned).to_vec();
        let (entries, _) = insights.ask(&filter, &question, FACTS).await?;
        told = lines(&insights, entries).await?;
    }
    let page = Page {
        name: who.actor.name.clone(),
        partner,
        headlines: numbers,
        waiting: waiting(&insights, &scope, &who).await?,
        new_here: told.is_empty(),
        lines: told,
        calm: icon("circle-check"),
    };
    ui.page(Section::Home, "Home", &[], &page)
}

async fn waiting(insights: &Insights, scope: &Scope, caller: &Caller) -> Answer<Vec<Waiting>> {
    let db = &insights.db;
    let mut all = Vec::new();
    for row in store::open_incidents(db, scope).await? {
        all.push(Waiting {
            icon: icon("flame"),
            text: format!(
                "Incident {} ({}{}): {}",
                row.number,
                row.severity,
                if row.acknowledged {
                    ""
                } else {
                    ", nobody has it yet"
                },
                row.title
            ),
            href: format!("/{}/-/incidents/{}", row.path, row.number),
            project: row.path,
            at: when(row.at),
        });
    }
    if let Some(others) = &insights.waits {
        let waits = others.waits(caller).await?.into_iter().take(OTHERS);
        all.extend(waits.map(|wait| Waiting {
            icon: icon(wait.icon),
            text: wait.text,
            href: wait.href,
            project: wait.project,
            at: when(wait.since),
        }));
    }
    if let Some(user) = caller.user.map(|id| id.to_string()) {
        let since = insights.clock.now().minus(store::PIPELINES_SINCE);
        for row in store::failed_pipelines(db, scope, &user, since).await? {
            all.push(Waiting {
                icon: icon("circle-x"),
                text: format!("Your pipeline {} for {} failed", row.pipeline_id, row.reference),
                href: format!("/{}/-/pipelines/{}", row.path, row.pipeline_id),
                project: row.path,
                at: when(row.at),
            });
        }
    }
    for row in store::waiting_releases(db, scope).await? {
        all.push(Waiting {
            icon: icon("rocket"),
            text: format!("{} runs in staging and not yet in production", row.version),
            href: format!("/{}/-/environments", row.path),
            project: row.path,
            at: when(row.at),
        });
    }
    Ok(all)
}
