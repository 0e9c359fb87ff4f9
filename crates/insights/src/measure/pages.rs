//! Pages of measures, and of the facts behind each number.

use super::{
    Period, charts,
    store::{self, Measure},
};
use crate::{
    Insights, Scope,
    facts::{Line, lines},
};
use askama::Template;
use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
    routing::get,
};
use bascule_core::{Permission, Problem, ProjectScope, limits};
use bascule_web::{
    Access, Answer, Crumb, InProject, Params, PathOf, Routes, Section, Tab, Ui, Who, commas, duration,
    percent, url_encode,
};
use bascule_wire::insights::{FactsBehind, Insights as Dto, MttxMonth, Rci, Spread};
use serde::Deserialize;
use std::time::Duration;

pub(crate) fn routes() -> Routes<Insights> {
    const READ: Access = Access::Project(Permission::InsightsRead);
    Routes::new()
        .page("GET", "/insights", Access::Insider, get(of_instance))
        .page(
            "GET",
            "/insights/charts/{chart}",
            Access::Insider,
            get(instance_chart),
        )
        .page("GET", "/insights/facts", Access::Insider, get(instance_facts))
        .page("GET", "/{group}/{project}/-/insights", READ, get(of_project))
        .page(
            "GET",
            "/{group}/{project}/-/insights/charts/{chart}",
            READ,
            get(project_chart),
        )
        .page(
            "GET",
            "/{group}/{project}/-/insights/facts",
            READ,
            get(project_facts),
        )
}

#[derive(Debug, Default, Deserialize)]
struct Query {
    #[serde(default)]
    from: String,
    #[serde(default)]
    to: String,
    #[serde(default)]
    measure: String,
    before: Option<i64>,
}

#[derive(Deserialize)]
struct ChartPath {
    chart: String,
}

/// A number with its facts.
pub(crate) struct Number {
    pub(crate) label: &'static str,
    pub(crate) value: String,
    pub(crate) class: String,
    pub(crate) class_colour: &'static str,
    pub(crate) note: String,
    pub(crate) facts: String,
    pub(crate) href: String,
}

struct Chart {
    title: &'static str,
    src: String,
}

struct MonthRow {
    month: String,
    cells: Vec<String>,
    facts: String,
    href: String,
}

struct RciRow {
    quarter: String,
    days: String,
    contributors: String,
    deployments: String,
    availability: String,
    value: String,
    trend: String,
    facts: String,
    href: String,
}

#[derive(Template)]
#[template(path = "measure/insights.html")]
struct Page {
    action: String,
    from: String,
    to: String,
    quick: Vec<(String, String)>,
    headlines: Vec<Number>,
    numbers: Vec<Number>,
    edition: String,
    months: Vec<MonthRow>,
    quarters: Vec<RciRow>,
    charts: Vec<Chart>,
    activity: Option<String>,
}

#[derive(Template)]
#[template(path = "measure/facts.html")]
struct FactsPage {
    label: &'static str,
    from: String,
    to: String,
    count: String,
    lines: Vec<Line>,
    next: Option<String>,
    back: String,
}

async fn of_instance(
    State(insights): State<Insights>,
    ui: Ui,
    who: Who,
    Params(query): Params<Query>,
) -> Answer {
    let period = Period::choose(&query.from, &query.to, insights.clock.now())?;
    let scope = insights.scope(&who).await?;
    let all = insights.measures(scope, period, None).await?;
    let page = page(&insights, &all, period, "/insights", None);
    ui.page(Section::Insights, "Insights", &[], &page)
}

async fn of_project(
    State(insights): State<Insights>,
    ui: Ui,
    project: InProject,
    Params(query): Params<Query>,
) -> Answer {
    let period = Period::choose(&query.from, &query.to, insights.clock.now())?;
    let all = insights.of_project(&project, period).await?;
    let activity = project
        .holds(Permission::LedgerRead)
        .then(|| format!("/{}/-/activity", project.path()));
    let page = page(&insights, &all, period, &base(&project), activity);
    ui.project_page(
        Tab::Insights,
        &format!("Insights · {}", project.path()),
        &crumbs(&project, None),
        &page,
    )
}

fn base(project: &ProjectScope) -> String {
    format!("/{}/-/insights", project.path())
}

fn crumbs(project: &ProjectScope, here: Option<&str>) -> Vec<Crumb> {
    let mut crumbs = vec![Crumb::to(project.path(), format!("/{}", project.path()))];
    match here {
        None => crumbs.push(Crumb::here("Insights")),
        Some(here) => crumbs.extend([Crumb::to("Insights", base(project)), Crumb::here(here)]),
    }
    crumbs
}

async fn instance_chart(
    State(insights): State<Insights>,
    who: Who,
    PathOf(path): PathOf<ChartPath>,
    Params(query): Params<Query>,
) -> Answer<Response> {
    let scope = insights.scope(&who).await?;
    chart(&insights, &path.chart, scope, &query, None).await
}

async fn project_chart(
    State(insights): State<Insights>,
    project: InProject,
    PathOf(path): PathOf<ChartPath>,
    Params(query): Params<Query>,
) -> Answer<Response> {
    chart(
        &insights,
        &path.chart,
        Scope::Projects(vec![project.id]),
        &query,
        Some(project.path()),
    )
    .await
}

async fn chart(
    insights: &Insights,
    name: &str,
    scope: Scope,
    query: &Query,
    project: Option<String>,
) -> Answer<Response> {
    let period = Period::choose(&query.from, &query.to, insights.clock.now())?;
    let all = insights.measures(scope.clone(), period, project).await?;
    match charts::chart(insights, name, &scope, period, &all).await? {
        Some(option) => Ok(Json(option).into_response()),
        None => Err(Problem::not_found("chart").into()),
    }
}

async fn instance_facts(
    State(insights): State<Insights>,
    ui: Ui,
    who: Who,
    Params(query): Params<Query>,
) -> Answer {
    let scope = insights.scope(&who).await?;
    let page = facts_page(&insights, scope, &query, "/insights").await?;
    let crumbs = [Crumb::to("Insights", "/insights"), Crumb::here("Facts")];
    ui.page(Section::Insights, "Facts behind a number", &crumbs, &page)
}

async fn project_facts(
    State(insights): State<Insights>,
    ui: Ui,
    project: InProject,
    Params(query): Params<Query>,
) -> Answer {
    let page = facts_page(
        &insights,
        Scope::Projects(vec![project.id]),
        &query,
        &base(&project),
    )
    .await?;
    ui.project_page(
        Tab::Insights,
        "Facts behind a number",
        &crumbs(&project, Some("Facts")),
        &page,
    )
}

async fn facts_page(insights: &Insights, scope: Scope, query: &Query, base: &str) -> Answer<FactsPage> {
    let measure = Measure::ALL
        .into_iter()
        .find(|measure| measure.name() == query.measure)
        .ok_or_else(|| {
            let names: Vec<&str> = Measure::ALL.iter().map(|measure| measure.name()).collect();
            Problem::bad_request("bad_measure", "There is no such measure.")
                .next(format!("Use one of: {}.", names.join(", ")))
        })?;
    let period = Period::choose(&query.from, &query.to, insights.clock.now())?;
    insights.catch_up().await?;
    let count = store::facts_count(&insights.db, measure, &scope, period).await?;
    let seqs = store::facts(
        &insights.db,
        measure,
        &scope,
        period,
        query.before,
        limits::PAGE_ENTRIES,
    )
    .await?;
    let full = i64::try_from(seqs.len()).unwrap_or(0) == limits::PAGE_ENTRIES;
    let span = format!(
        "from={}&to={}",
        url_encode(&period.from.to_string()),
        url_encode(&period.to.to_string())
    );
    let next = seqs
        .last()
        .filter(|_| full)
        .map(|last| format!("{base}/facts?measure={}&{span}&before={last}", measure.name()));
    Ok(FactsPage {
        label: measure.label(),
        from: date(period.from),
        to: date(period.to),
        count: commas(count),
        lines: lines(insights, insights.entries(&seqs).await?).await?,
        next,
        back: format!("{base}?{span}"),
    })
}

fn date(at: bascule_core::Timestamp) -> String {
    at.to_jiff().strftime("%Y-%m-%d %H:%M UTC").to_string()
}

fn day(at: bascule_core::Timestamp) -> String {
    at.to_jiff().strftime("%Y-%m-%d").to_string()
}

fn page(insights: &Insights, all: &Dto, period: Period, base: &str, activity: Option<String>) -> Page {
    let now = insights.clock.now();
    let span = format!(
        "from={}&to={}",
        url_encode(&period.from.to_string()),
        url_encode(&period.to.to_string())
    );
    let quick = [(7, "7 days"), (30, "30 days"), (90, "90 days"), (365, "1 year")]
        .into_iter()
        .map(|(days, label)| {
            let from = now.minus(Duration::from_secs((days - 1) * 86_400));
            (
                format!("{base}?from={}&to={}", day(from), day(now)),
                label.to_owned(),
            )
        })
        .collect();
    let chart = |(name, title): (&str, &'static str)| Chart {
        title,
        src: format!("{base}/charts/{name}?{span}"),
    };
    Page {
        action: base.to_owned(),
        from: day(period.from),
        to: day(bascule_core::Timestamp::from_micros(period.to.micros() - 1)),
        quick,
        headlines: headlines(all),
        numbers: numbers(all),
        edition: all.dora.edition.clone(),
        months: all.mttx.iter().map(month).collect(),
        quarters: all.rci.iter().map(quarter).collect(),
        charts: charts::NAMES.into_iter().map(chart).collect(),
        activity,
    }
}

/// The two numbers for someone who reads no more: how fast what people make reaches users, and whether users
/// are served.
pub(crate) fn headlines(all: &Dto) -> Vec<Number> {
    let lead = &all.dora.lead_time;
    let reliability = &all.dora.reliability;
    vec![
        number(
            "From a finished change to its users",
            lead.median_seconds
                .map_or_else(|| "no change yet".to_owned(), time),
            None,
            format!(
                "half of {} changes were faster; {} deployments",
                commas(lead.changes),
                commas(all.dora.deployment_frequency.deployments)
            ),
            &lead.facts,
        ),
        number(
            "Requests answered without error",
            reliability
                .availability
                .map_or_else(|| "no traffic yet".to_owned(), percent),
            None,
            format!("of {} requests in production", commas(reliability.requests)),
            &reliability.facts,
        ),
    ]
}

fn numbers(all: &Dto) -> Vec<Number> {
    let dora = &all.dora;
    let (frequency, lead, failure) = (
        &dora.deployment_frequency,
        &dora.lead_time,
        &dora.change_failure_rate,
    );
    let (restore, reliability) = (&dora.time_to_restore, &dora.reliability);
    vec![
        number(
            "Deployment frequency",
            if frequency.deployments == 0 {
                "none".to_owned()
            } else {
                format!("{:.2} a day", frequency.per_day)
            },
            frequency.class.as_deref(),
            format!(
                "{} deployments to production succeeded",
                commas(frequency.deployments)
            ),
            &frequency.facts,
        ),
        number(
            "Lead time for changes",
            lead.median_seconds.map_or_else(|| "–".to_owned(), time),
            lead.class.as_deref(),
            format!(
                "median of {} commits; 90th percentile {}",
                commas(lead.changes),
                lead.p90_seconds.map_or_else(|| "–".to_owned(), time)
            ),
            &lead.facts,
        ),
        number(
            "Change failure rate",
            failure.share.map_or_else(|| "–".to_owned(), percent),
            failure.class.as_deref(),
            format!(
                "{} of {} deployments that users met",
                commas(failure.failed),
                commas(failure.exposed)
            ),
            &failure.facts,
        ),
        number(
            "Time to restore",
            restore.median_seconds.map_or_else(|| "–".to_owned(), time),
            restore.class.as_deref(),
            format!(
                "median of {} failures that a change caused; mean {}",
                commas(restore.failures),
                restore.mean_seconds.map_or_else(|| "–".to_owned(), time)
            ),
            &restore.facts,
        ),
        number(
            "Reliability",
            reliability.availability.map_or_else(|| "–".to_owned(), percent),
            None,
            match reliability.objective {
                None => "no objective is set".to_owned(),
                Some(objective) if reliability.environments == 1 => format!(
                    "objective {}: {}",
                    percent(objective),
                    if reliability.met == 1 { "met" } else { "missed" }
                ),
                Some(_) => format!(
                    "{} of {} objectives met",
                    reliability.met, reliability.environments
                ),
            },
            &reliability.facts,
        ),
    ]
}

fn number(
    label: &'static str,
    value: String,
    class: Option<&str>,
    note: String,
    facts: &FactsBehind,
) -> Number {
    let class = class.unwrap_or_default();
    Number {
        label,
        value,
        class: class.to_owned(),
        class_colour: match class {
            "high" => "green",
            "between medium and high" => "lime",
            "medium" => "yellow",
            _ => "orange",
        },
        note,
        facts: counted(facts),
        href: facts.href.clone(),
    }
}

fn counted(facts: &FactsBehind) -> String {
    format!(
        "{} {}",
        commas(facts.count),
        if facts.count == 1 { "fact" } else { "facts" }
    )
}

fn time(seconds: f64) -> String {
    duration(Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or_default())
}

fn month(month: &MttxMonth) -> MonthRow {
    let cell = |spread: &Spread| match (spread.mean_seconds, spread.median_seconds, spread.p90_seconds) {
        (Some(mean), Some(median), Some(p90)) => {
            format!(
                "{} (median {}, p90 {}, n = {})",
                time(mean),
                time(median),
                time(p90),
                spread.count
            )
        }
        _ => "–".to_owned(),
    };
    let all = [
        &month.detect,
        &month.acknowledge,
        &month.identify,
        &month.repair,
        &month.between,
    ];
    MonthRow {
        month: month.month.clone(),
        cells: all.into_iter().map(cell).collect(),
        facts: counted(&month.facts),
        href: month.facts.href.clone(),
    }
}

#[allow(clippy::cast_possible_truncation, reason = "shown as a whole number")]
fn quarter(rci: &Rci) -> RciRow {
    RciRow {
        quarter: rci.quarter.clone(),
        days: commas(rci.days),
        contributors: commas(rci.contributors),
        deployments: commas(rci.deployments),
        availability: rci.availability.map_or_else(|| "no traffic".to_owned(), percent),
        value: rci
            .value
            .map_or_else(|| "–".to_owned(), |value| commas(value.round() as i64)),
        trend: rci
            .trend
            .map_or_else(String::new, |trend| format!("{:+.1} %", trend * 100.0)),
        facts: counted(&rci.facts),
        href: rci.facts.href.clone(),
    }
}
