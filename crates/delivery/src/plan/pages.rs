//! Pages of plans: the fleet, and one environment with its plan, windows, log and the answer to "why not?".

use crate::{Delivery, site};
use askama::Template;
use axum::{extract::State, response::Response, routing::get};
use bascule_planner::calendar::Opening;
use bascule_web::{
    Access, Answer, Crumb, Markup, Params, PathOf, Routes, Section, Ui, icon, url_encode, when,
};
use bascule_wire::{
    bundle::ObservedSite,
    delivery::{PlanEntry, WhyNot},
};
use serde::Deserialize;
use std::time::Duration;

pub(crate) fn routes() -> Routes<Delivery> {
    Routes::new()
        .page("GET", "/plans", Access::SignedIn, get(fleet))
        .page("GET", "/plans/{environment}", Access::SignedIn, get(environment))
}

/// Rows on one page of the fleet.
const ROWS: usize = 200;
/// Openings shown ahead.
const OPENINGS: usize = 8;

/// The colour of a plan's state.
fn tone(state: &str) -> &'static str {
    match state {
        "up_to_date" => "bg-green-lt",
        "moving" | "ready" => "bg-blue-lt",
        "held" | "blocked" | "drifted" | "unknown_product" => "bg-yellow-lt",
        "coupled" => "bg-red-lt",
        _ => "bg-secondary-lt",
    }
}

/// Its icon, so that colour alone never tells.
fn sign(state: &str) -> Markup {
    icon(match state {
        "up_to_date" => "circle-check",
        "moving" => "loader",
        "ready" => "player-play",
        "held" => "clock",
        "blocked" => "player-pause",
        _ => "alert-triangle",
    })
}

fn words(state: &str) -> String {
    state.replace('_', " ")
}

fn or_dash(text: &str) -> &str {
    if text.is_empty() { "–" } else { text }
}

#[derive(Deserialize)]
struct FleetQuery {
    #[serde(default)]
    q: String,
    #[serde(default)]
    state: String,
    #[serde(default)]
    after: usize,
}

/// How many installs stand so, for the bar above the table.
struct Share {
    state: &'static str,
    count: usize,
    percent: usize,
}

#[derive(Template)]
#[template(path = "plan/fleet.html")]
struct Fleet {
    q: String,
    state: String,
    states: Vec<&'static str>,
    shares: Vec<Share>,
    lines: Vec<PlanEntry>,
    found: usize,
    all: usize,
    next: Option<usize>,
}

const STATES: [&str; 8] = [
    "up_to_date",
    "moving",
    "ready",
    "held",
    "blocked",
    "coupled",
    "drifted",
    "unknown_product",
];

async fn fleet(State(delivery): State<Delivery>, Params(query): Params<FleetQuery>, ui: Ui) -> Answer {
    let all = delivery.plans(ui.caller(), None).await?;
    let total = all.len();
    let shares = STATES
        .iter()
        .map(|state| {
            let count = all.iter().filter(|line| line.state == *state).count();
            Share {
                state,
                count,
                percent: (count * 100).checked_div(total).unwrap_or(0),
            }
        })
        .filter(|share| share.count > 0)
        .collect();
    let needle = query.q.trim().to_lowercase();
    let found: Vec<PlanEntry> = all
        .into_iter()
        .filter(|line| query.state.is_empty() || line.state == query.state)
        .filter(|line| {
            needle.is_empty()
                || [
                    &line.product,
                    &line.environment,
                    &line.current,
                    &line.target,
                    &line.why,
                ]
                .iter()
                .any(|text| text.to_lowercase().contains(&needle))
        })
        .collect();
    let count = found.len();
    let lines: Vec<PlanEntry> = found.into_iter().skip(query.after).take(ROWS).collect();
    let page = Fleet {
        q: query.q,
        state: query.state,
        states: STATES.to_vec(),
        shares,
        next: (query.after + lines.len() < count).then_some(query.after + ROWS),
        lines,
        found: count,
        all: total,
    };
    if ui.is_fragment() {
        return ui.fragment(&page);
    }
    ui.page(Section::Environments, "Plans", &crumbs(None), &page)
}

fn crumbs(environment: Option<&str>) -> Vec<Crumb> {
    let mut all = vec![Crumb::to("Environments", "/environments")];
    match environment {
        None => all.push(Crumb::here("Plans")),
        Some(name) => {
            all.push(Crumb::to("Plans", "/plans"));
            all.push(Crumb::here(name));
        }
    }
    all
}

#[derive(Deserialize)]
struct WhyQuery {
    #[serde(default)]
    product: String,
    #[serde(default)]
    version: String,
}

#[derive(Template)]
#[template(path = "plan/environment.html")]
struct EnvironmentPage {
    name: String,
    declared: bool,
    /// Whether no network reaches it, and what it told last.
    disconnected: bool,
    observed: Option<ObservedSite>,
    channel: String,
    always: bool,
    open: bool,
    openings: Vec<Opening>,
    lines: Vec<PlanEntry>,
    log: Vec<PlanEntry>,
    product: String,
    version: String,
    why: Option<WhyNot>,
    problem: Option<String>,
}

async fn environment(
    State(delivery): State<Delivery>,
    PathOf(name): PathOf<String>,
    Params(query): Params<WhyQuery>,
    ui: Ui,
) -> Answer<Response> {
    let lines = delivery.plans(ui.caller(), Some(&name)).await?;
    if lines.is_empty() {
        return Err(site::service::unknown_site(&name).into());
    }
    let declared = delivery.site(&name).await?;
    let calendar = declared
        .as_ref()
        .and_then(site::Site::calendar)
        .unwrap_or_default();
    let now = delivery.now();
    let month = now.plus(Duration::from_secs(31 * 86_400));
    let (mut why, mut problem) = (None, None);
    if !query.product.is_empty() && !query.version.is_empty() {
        match delivery
            .why_not(ui.caller(), &name, &query.product, &query.version)
            .await
        {
            Ok(found) => why = Some(found),
            Err(refused) => problem = Some(format!("{} {}", refused.what, refused.next)),
        }
    }
    let page = EnvironmentPage {
        declared: declared.is_some(),
        disconnected: declared.as_ref().is_some_and(|site| site.disconnected),
        observed: delivery.reported_site(&name).await?,
        channel: declared.map(|site| site.channel).unwrap_or_default(),
        always: calendar.is_always(),
        open: calendar.is_open(now),
        openings: calendar.openings_between(now, month, OPENINGS),
        log: delivery.plan_log(ui.caller(), &name, 30).await?,
        lines,
        product: query.product,
        version: query.version,
        why,
        problem,
        name: name.clone(),
    };
    ui.page(
        Section::Environments,
        &format!("Plan of {name}"),
        &crumbs(Some(&name)),
        &page,
    )
}
