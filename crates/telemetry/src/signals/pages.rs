//! A project's telemetry page.

use super::{RANGES, Range, charts, range};
use crate::{
    Telemetry,
    ports::Environment,
    slo::{Advice, downtime_allowed, exact},
};
use askama::Template;
use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
    routing::get,
};
use bascule_core::{Permission, Problem, ProjectScope, Timestamp};
use bascule_web::{
    Access, Answer, Crumb, InProject, Markup, Params, PathOf, Routes, Tab, Ui, commas, duration, icon,
    percent, url_encode, when,
};
use bascule_wire::telemetry::{EnvironmentSignals, Signals, SloStatus};
use serde::Deserialize;
use std::{collections::BTreeMap, time::Duration};

pub(crate) fn routes() -> Routes<Telemetry> {
    const READ: Access = Access::Project(Permission::TelemetryRead);
    Routes::new()
        .page("GET", "/{group}/{project}/-/telemetry", READ, get(page))
        .page(
            "GET",
            "/{group}/{project}/-/telemetry/charts/{chart}",
            READ,
            get(chart),
        )
}

#[derive(Debug, Default, Deserialize)]
struct Query {
    #[serde(default)]
    range: String,
    #[serde(default)]
    environment: String,
}

#[derive(Deserialize)]
struct ChartPath {
    chart: String,
}

struct Choice {
    label: String,
    href: String,
    current: bool,
}

struct Chart {
    title: &'static str,
    src: String,
}

struct Cells {
    name: String,
    requests: String,
    rate: String,
    errors: String,
    p50: String,
    p95: String,
    p99: String,
    slow: String,
    in_flight: String,
}

struct Rule {
    threshold: String,
    long: String,
    short: String,
    firing: bool,
}

struct Slo {
    objective: String,
    window: String,
    availability: String,
    left_percent: String,
    bar: u32,
    bar_class: &'static str,
    requests: String,
    minutes: String,
    rules: Vec<Rule>,
    alert: Option<Markup>,
    advice: &'static str,
}

struct AlertRow {
    slo: String,
    rate: String,
    version: String,
    began: Markup,
    opened: Markup,
    closed: Option<Markup>,
}

#[derive(Template)]
#[template(path = "signals/telemetry.html")]
struct Page {
    environments: Vec<Choice>,
    ranges: Vec<Choice>,
    charts: Vec<Chart>,
    slo: Option<Slo>,
    versions: Vec<Cells>,
    steps: Vec<(Markup, Cells)>,
    alerts: Vec<AlertRow>,
    allowed: Vec<[String; 4]>,
    alert_icon: Markup,
    empty_icon: Markup,
}

/// Rows of the table that stands for the charts where no script runs.
const TABLE_ROWS: usize = 120;

async fn environment(
    telemetry: &Telemetry,
    project: &ProjectScope,
    name: &str,
) -> Answer<(Vec<Environment>, Option<Environment>)> {
    let all = telemetry.environments(project.id).await?;
    let chosen = if name.is_empty() {
        all.first().cloned()
    } else {
        all.iter().find(|e| e.name == name).cloned()
    };
    if chosen.is_none() && !name.is_empty() {
        return Err(Problem::not_found("environment").into());
    }
    Ok((all, chosen))
}

async fn chart(
    State(telemetry): State<Telemetry>,
    project: InProject,
    PathOf(path): PathOf<ChartPath>,
    Params(query): Params<Query>,
) -> Answer<Response> {
    let (_, chosen) = environment(&telemetry, &project, &query.environment).await?;
    let chosen = chosen.ok_or_else(|| Problem::not_found("environment"))?;
    let range = range(&query.range);
    let seen = telemetry.environment_signals(&chosen, range).await?;
    match charts::chart(&path.chart, &seen, range, telemetry.span(range)) {
        Some(option) => Ok(Json(option).into_response()),
        None => Err(Problem::not_found("chart").into()),
    }
}

async fn page(
    State(telemetry): State<Telemetry>,
    ui: Ui,
    project: InProject,
    Params(query): Params<Query>,
) -> Answer<Response> {
    let range = range(&query.range);
    let base = format!("/{}/{}/-/telemetry", project.group, project.name);
    let (all, chosen) = environment(&telemetry, &project, &query.environment).await?;
    let name = chosen.as_ref().map(|e| e.name.clone()).unwrap_or_default();
    let link = |environment: &str, range: &str| {
        format!(
            "{base}?environment={}&range={}",
            url_encode(environment),
            url_encode(range)
        )
    };
    let mut page = Page {
        environments: all
            .iter()
            .map(|e| Choice {
                label: e.name.clone(),
                href: link(&e.name, range.name),
                current: e.name == name,
            })
            .collect(),
        ranges: RANGES
            .iter()
            .map(|r| Choice {
                label: r.label.to_owned(),
                href: link(&name, r.name),
                current: *r == range,
            })
            .collect(),
        charts: Vec::new(),
        slo: None,
        versions: Vec::new(),
        steps: Vec::new(),
        alerts: alert_rows(&telemetry, &project).await?,
        allowed: allowed_table(),
        alert_icon: icon("alert-triangle"),
        empty_icon: icon("activity"),
    };
    if let Some(environment) = chosen {
        let seen = telemetry.environment_signals(&environment, range).await?;
        let advice = telemetry.advice(&environment).await?;
        page.slo = seen.slo.as_ref().map(|slo| slo_card(slo, advice));
        page.versions = seen
            .versions
            .iter()
            .map(|v| cells(v.version.clone(), &v.signals))
            .collect();
        page.steps = steps(&seen, range);
        if !seen.versions.is_empty() {
            let src = |chart: &str| {
                format!(
                    "{base}/charts/{chart}?environment={}&range={}",
                    url_encode(&name),
                    range.name
                )
            };
            page.charts = charts::NAMES
                .iter()
                .map(|(chart, title)| Chart {
                    title,
                    src: src(chart),
                })
                .collect();
        }
    }
    let crumbs = [
        Crumb::to(project.path(), format!("/{}/{}", project.group, project.name)),
        Crumb::here("Telemetry"),
    ];
    ui.project_page(
        Tab::Telemetry,
        &format!("Telemetry · {}", project.path()),
        &crumbs,
        &page,
    )
}

async fn alert_rows(telemetry: &Telemetry, project: &ProjectScope) -> Answer<Vec<AlertRow>> {
    let alerts = telemetry.alerts(project.id, 10).await?;
    Ok(alerts
        .into_iter()
        .map(|alert| AlertRow {
            slo: alert.slo,
            rate: format!("{:.1}", alert.burn_rate),
            version: alert.version.unwrap_or_default(),
            began: when(alert.began_at),
            opened: when(alert.opened_at),
            closed: alert.closed_at.map(when),
        })
        .collect())
}

/// Newest first: what one looks for after a failure.
fn steps(seen: &EnvironmentSignals, range: Range) -> Vec<(Markup, Cells)> {
    let mut rows: BTreeMap<(Timestamp, usize), (Markup, Cells)> = BTreeMap::new();
    for (index, version) in seen.versions.iter().enumerate() {
        for point in version.points.iter().rev().take(TABLE_ROWS) {
            rows.insert(
                (point.at, index),
                (
                    exact_time(point.at, range),
                    cells(version.version.clone(), &point.signals),
                ),
            );
        }
    }
    rows.into_values().rev().take(TABLE_ROWS).collect()
}

fn exact_time(at: Timestamp, range: Range) -> Markup {
    let format = if range.step < super::HOUR {
        "%m-%d %H:%M:%S"
    } else {
        "%Y-%m-%d %H:00"
    };
    Markup::text(&at.to_jiff().strftime(format).to_string())
}

fn cells(name: String, signals: &Signals) -> Cells {
    let ms = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |v| format!("{v:.1} ms"));
    let whole = |value: u64| commas(i64::try_from(value).unwrap_or(i64::MAX));
    Cells {
        name,
        requests: whole(signals.requests),
        rate: format!("{:.1}/s", signals.per_second),
        errors: format!("{} ({})", whole(signals.errors), percent(signals.error_share)),
        p50: ms(signals.p50_ms),
        p95: ms(signals.p95_ms),
        p99: ms(signals.p99_ms),
        slow: whole(signals.slow),
        in_flight: whole(signals.in_flight),
    }
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to 0…100"
)]
fn slo_card(slo: &SloStatus, advice: Advice) -> Slo {
    let left = slo.budget.left_share;
    let whole = |value: u64| commas(i64::try_from(value).unwrap_or(i64::MAX));
    Slo {
        objective: format!("{} %", slo.objective),
        window: duration(Duration::from_secs(slo.window_seconds)).replace(" 0h", ""),
        availability: slo
            .availability
            .map_or_else(|| "no traffic yet".to_owned(), |a| format!("{a:.3} %")),
        left_percent: format!("{:.1} %", left * 100.0),
        bar: (left * 100.0).clamp(0.0, 100.0) as u32,
        bar_class: if left > 0.5 {
            "bg-success"
        } else if left > 0.0 {
            "bg-warning"
        } else {
            "bg-danger"
        },
        requests: format!(
            "{} of {:.1} requests that may fail, of {} answered",
            whole(slo.budget.used_requests),
            slo.budget.allowed_requests,
            whole(slo.requests)
        ),
        minutes: format!(
            "{:.1} of {:.1} minutes of full outage left",
            slo.budget.left_minutes, slo.budget.allowed_minutes
        ),
        rules: slo
            .burn
            .iter()
            .map(|rule| Rule {
                threshold: format!("{}×", rule.threshold),
                long: format!(
                    "{:.1}× over {}",
                    rule.long_rate,
                    duration(Duration::from_secs(rule.long_seconds))
                ),
                short: format!(
                    "{:.1}× over {}",
                    rule.short_rate,
                    duration(Duration::from_secs(rule.short_seconds))
                ),
                firing: rule.firing,
            })
            .collect(),
        alert: slo.alert.as_ref().map(|alert| when(alert.began_at)),
        advice: match advice {
            Advice::TakeMoreRisk => "Three quiet weeks: there is budget to ship faster and try more.",
            Advice::Keep => "",
            Advice::InvestInResilience => {
                "Three weeks over budget: invest in resilience before the next feature."
            }
        },
    }
}

fn allowed_table() -> Vec<[String; 4]> {
    const DAY: u64 = 86_400;
    [90.0, 95.0, 99.0, 99.5, 99.9, 99.99, 99.999]
        .into_iter()
        .map(|objective| {
            let allowed = |days: u64| exact(downtime_allowed(objective, Duration::from_secs(days * DAY)));
            [format!("{objective} %"), allowed(365), allowed(90), allowed(28)]
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use crate::testing::{TestGate, World};
    use axum::body::Body;
    use http::{Request, StatusCode};
    use http_body_util::BodyExt as _;
    use scraper::{Html, Selector};
    use std::sync::Arc;
    use tower::ServiceExt as _;

    async fn get(world: &World, role: &str, path: &str) -> (StatusCode, String) {
        let (router, _, _) = crate::routes(world.telemetry.clone()).into_parts();
        let app = bascule_web::finish(router, Arc::new(TestGate(world.project)));
        let request = Request::get(path)
            .header("x-role", role)
            .header("accept", "text/html")
            .body(Body::empty());
        let response = app.oneshot(request.unwrap()).await.unwrap();
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn the_page_shows_signals_budget_and_a_table_without_script() {
        let world = World::new().await;
        for _ in 0..20 {
            world.serve(50, 1).await;
        }
        let (status, html) = get(&world, "reporter", "/ward/app/-/telemetry?range=1h").await;
        assert_eq!(status, StatusCode::OK, "{html}");
        let page = Html::parse_document(&html);
        let count = |css: &str| page.select(&Selector::parse(css).unwrap()).count();
        assert_eq!(count("[data-chart]"), 4);
        assert!(count("table.points tbody tr") >= 2);
        assert!(html.contains("99.9 %") && html.contains("40m 19.2s"));
        assert_eq!(
            get(&world, "guest", "/ward/app/-/telemetry").await.0,
            StatusCode::FORBIDDEN
        );
        let (status, json) = get(
            &world,
            "reporter",
            "/ward/app/-/telemetry/charts/errors?range=15m",
        )
        .await;
        assert_eq!(status, StatusCode::OK);
        let option: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(option["series"][0]["name"], "1.0.0");
        assert_eq!(
            get(&world, "reporter", "/ward/app/-/telemetry/charts/nope")
                .await
                .0,
            StatusCode::NOT_FOUND
        );
        let (status, json) = get(&world, "reporter", "/api/v1/projects/ward/app/telemetry?range=1h").await;
        assert_eq!(status, StatusCode::OK);
        let dto: bascule_wire::telemetry::Telemetry = serde_json::from_str(&json).unwrap();
        assert_eq!(dto.environments[0].total.requests, 1000);
        assert_eq!(
            get(&world, "reporter", "/api/v1/projects/ward/app/telemetry?range=9y")
                .await
                .0,
            StatusCode::BAD_REQUEST
        );
    }

    #[tokio::test]
    async fn hostile_names_stay_text_and_an_empty_page_says_so() {
        let world = World::hostile("<script>alert(1)</script>\"'").await;
        let (_, empty) = get(&world, "reporter", "/ward/app/-/telemetry").await;
        assert!(empty.contains("No traffic") && !empty.contains("<script>alert"));
        world.serve(5, 5).await;
        let (_, html) = get(&world, "reporter", "/ward/app/-/telemetry").await;
        assert!(
            html.contains("&#60;script&#62;alert") && !html.contains("<script>alert"),
            "{html}"
        );
    }
}
