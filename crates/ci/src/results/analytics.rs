//! How a project's pipelines do over time: how many pass, how long they take, which jobs take the time, which tests
//! are not to be trusted.

use super::{service::ago, store};
use crate::{
    Ci,
    pipeline::milliseconds,
    status::{JobStatus, PipelineStatus},
};
use askama::Template;
use axum::{Json, extract::State};
use bascule_core::{Permission, PipelineId, Problem, ProjectId, Result};
use bascule_web::{
    Access, Answer, Crumb, InProject, Params, PathOf, Routes, Tab, Ui, duration, routes, when,
};
use bascule_wire::ci_results::{CiAnalytics, JobSummary, PipelineDay};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

/// Pipelines and jobs looked at, newest first.
const PIPELINES: i64 = 5_000;
const JOBS: i64 = 20_000;
/// Names of jobs told.
const NAMES: usize = 50;
const DAYS: i64 = 30;
const DAY: Duration = Duration::from_secs(24 * 3600);

pub(crate) fn routes() -> Routes<Ci> {
    let read = Access::Project(Permission::PipelineRead);
    Routes::new()
        .api(read, routes!(analytics))
        .page(
            "GET",
            "/{group}/{project}/-/pipelines/charts",
            read,
            axum::routing::get(page),
        )
        .page(
            "GET",
            "/{group}/{project}/-/pipelines/charts/{chart}",
            read,
            axum::routing::get(chart),
        )
}

/// The value that so many percent do not exceed; `None` of nothing.
fn percentile(values: &mut [i64], percent: usize) -> Option<i64> {
    values.sort_unstable();
    let at = (values.len() * percent).div_ceil(100).saturating_sub(1);
    values.get(at).copied()
}

impl Ci {
    /// How a project's pipelines did within so many days.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub async fn analytics(&self, project: ProjectId, days: i64) -> Result<CiAnalytics> {
        let days = days.clamp(1, 365);
        let span = DAY * u32::try_from(days).unwrap_or(30);
        let since = ago(self.clock.now(), span);
        let ended = store::ended(&self.db, project, since, PIPELINES).await?;
        let trunk = self.code.project(project).await?.map(|info| info.default_branch);
        let on_trunk: Vec<PipelineId> = ended
            .iter()
            .filter(|one| Some(&one.reference) == trunk.as_ref())
            .map(|one| one.id)
            .collect();
        let shares = self.coverage_of(&on_trunk).await?;
        let took = |one: &store::Ended| milliseconds(one.finished_at.since(one.created_at));
        let counts = |status: PipelineStatus| match status {
            PipelineStatus::Success | PipelineStatus::Warning => Some(true),
            PipelineStatus::Failed => Some(false),
            _ => None,
        };
        let mut by_day: BTreeMap<String, Vec<&store::Ended>> = BTreeMap::new();
        for one in &ended {
            let day = one.finished_at.to_jiff().strftime("%Y-%m-%d").to_string();
            by_day.entry(day).or_default().push(one);
        }
        let by_day = by_day
            .into_iter()
            .map(|(day, list)| {
                let mut times: Vec<i64> = list
                    .iter()
                    .filter(|one| counts(one.status).is_some())
                    .map(|one| took(one))
                    .collect();
                let of = |wanted: Option<bool>| {
                    i64::try_from(list.iter().filter(|one| counts(one.status) == wanted).count())
                        .unwrap_or(i64::MAX)
                };
                PipelineDay {
                    day,
                    passed: of(Some(true)),
                    failed: of(Some(false)),
                    other: of(None),
                    median_ms: percentile(&mut times, 50),
                    p95_ms: percentile(&mut times, 95),
                    coverage: list
                        .iter()
                        .filter_map(|one| Some((one.id, shares.get(&one.id)?)))
                        .max_by_key(|(id, _)| *id)
                        .map(|(_, share)| share.to_string()),
                }
            })
            .collect();
        let passed = ended
            .iter()
            .filter(|one| counts(one.status) == Some(true))
            .count();
        let counted = ended.iter().filter(|one| counts(one.status).is_some()).count();
        let mut times: Vec<i64> = ended
            .iter()
            .filter(|one| counts(one.status).is_some())
            .map(took)
            .collect();
        Ok(CiAnalytics {
            days,
            pipelines: i64::try_from(ended.len()).unwrap_or(i64::MAX),
            passed_percent: (counted > 0).then(|| format!("{:.1}", 100.0 * ratio(passed, counted))),
            median_ms: percentile(&mut times, 50),
            by_day,
            jobs: self.jobs_since(project, since).await?,
            flaky: self.flaky_tests(project, 50).await?,
        })
    }

    async fn jobs_since(
        &self,
        project: ProjectId,
        since: bascule_core::Timestamp,
    ) -> Result<Vec<JobSummary>> {
        #[derive(Default)]
        struct Of {
            times: Vec<i64>,
            failed: i64,
            by_pipeline: HashMap<PipelineId, (bool, bool)>,
        }
        let mut by_name: BTreeMap<String, Of> = BTreeMap::new();
        for job in store::ran(&self.db, project, since, JOBS).await? {
            let of = by_name.entry(job.name).or_default();
            of.times.push(milliseconds(job.finished_at.since(job.started_at)));
            let ends = of.by_pipeline.entry(job.pipeline_id).or_default();
            if job.status == JobStatus::Failed {
                of.failed += 1;
                ends.0 = true;
            } else {
                ends.1 = true;
            }
        }
        let mut summaries: Vec<(i64, JobSummary)> = by_name
            .into_iter()
            .map(|(name, mut of)| {
                let all = of.times.iter().fold(0_i64, |sum, ms| sum.saturating_add(*ms));
                // It failed, was tried again in the same pipeline, and passed.
                let flaky = of
                    .by_pipeline
                    .values()
                    .filter(|(bad, good)| *bad && *good)
                    .count();
                let summary = JobSummary {
                    name,
                    runs: i64::try_from(of.times.len()).unwrap_or(i64::MAX),
                    failed: of.failed,
                    flaky: i64::try_from(flaky).unwrap_or(i64::MAX),
                    median_ms: percentile(&mut of.times, 50).unwrap_or_default(),
                    p95_ms: percentile(&mut of.times, 95).unwrap_or_default(),
                };
                (all, summary)
            })
            .collect();
        summaries.sort_by(|(a, one), (b, other)| b.cmp(a).then_with(|| one.name.cmp(&other.name)));
        Ok(summaries
            .into_iter()
            .take(NAMES)
            .map(|(_, summary)| summary)
            .collect())
    }
}

#[allow(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
fn ratio(part: usize, whole: usize) -> f64 {
    part as f64 / whole.max(1) as f64
}

#[derive(Debug, Default, Deserialize)]
struct Span {
    #[serde(default)]
    days: Option<i64>,
}

/// How the project's pipelines did: by day, by job, and which tests are flaky.
#[utoipa::path(get, path = "/api/v1/projects/{group}/{project}/ci/analytics", tag = "ci",
    params(("group" = String, Path), ("project" = String, Path), ("days" = Option<i64>, Query)),
    responses((status = 200, body = CiAnalytics)))]
async fn analytics(
    State(ci): State<Ci>,
    project: InProject,
    Params(span): Params<Span>,
) -> Answer<Json<CiAnalytics>> {
    Ok(Json(ci.analytics(project.id, span.days.unwrap_or(DAYS)).await?))
}

const CHARTS: [(&str, &str); 3] = [
    ("pipelines", "Pipelines a day"),
    ("duration", "Time from start to end"),
    ("coverage", "Coverage of the default branch"),
];

fn drawn(name: &str, all: &CiAnalytics) -> Option<Value> {
    let days: Vec<&str> = all.by_day.iter().map(|day| day.day.as_str()).collect();
    let bar = |label: &str, colour: &str, pick: fn(&PipelineDay) -> i64| {
        let data: Vec<i64> = all.by_day.iter().map(pick).collect();
        json!({ "name": label, "type": "bar", "stack": "all", "barMaxWidth": 24, "color": colour, "data": data })
    };
    let line = |label: &str, pick: fn(&PipelineDay) -> Option<f64>| {
        let data: Vec<Option<f64>> = all.by_day.iter().map(pick).collect();
        json!({ "name": label, "type": "line", "connectNulls": true, "data": data })
    };
    let (unit, most, series) = match name {
        "pipelines" => (
            "",
            None,
            json!([
                bar("passed", "#2fb344", |day| day.passed),
                bar("failed", "#d63939", |day| day.failed),
                bar("other", "#8a939c", |day| day.other)
            ]),
        ),
        "duration" => (
            "minutes",
            None,
            json!([
                line("median", |day| day.median_ms.map(in_minutes)),
                line("95 of 100", |day| day.p95_ms.map(in_minutes))
            ]),
        ),
        "coverage" => (
            "%",
            Some(100),
            json!([line("coverage", |day| day
                .coverage
                .as_ref()
                .and_then(|share| share.parse().ok()))]),
        ),
        _ => return None,
    };
    Some(json!({
        "tooltip": { "trigger": "axis" },
        "legend": { "bottom": 0 },
        "grid": { "left": 56, "right": 16, "top": 32, "bottom": 48 },
        "xAxis": { "type": "category", "data": days },
        "yAxis": { "type": "value", "name": unit, "min": 0, "max": most, "minInterval": if unit.is_empty() { 1 } else { 0 } },
        "series": series,
    }))
}

#[allow(clippy::cast_precision_loss, reason = "milliseconds stay far below 2^52")]
fn in_minutes(ms: i64) -> f64 {
    (ms as f64 / 600.0).round() / 100.0
}

#[derive(Debug, Deserialize)]
struct Named {
    chart: String,
}

async fn chart(
    State(ci): State<Ci>,
    project: InProject,
    PathOf(Named { chart }): PathOf<Named>,
    Params(span): Params<Span>,
) -> Answer<Json<Value>> {
    let all = ci.analytics(project.id, span.days.unwrap_or(DAYS)).await?;
    Ok(Json(
        drawn(&chart, &all).ok_or_else(|| Problem::not_found("chart"))?,
    ))
}

struct Chart {
    title: &'static str,
    src: String,
}

struct DayRow {
    day: PipelineDay,
    median: String,
    p95: String,
}

struct JobRow {
    job: JobSummary,
    median: String,
    p95: String,
}

struct FlakyRow {
    name: String,
    class: String,
    job_name: String,
    href: String,
    commits: i64,
    seen: bascule_web::Markup,
}

#[derive(Template)]
#[template(path = "results/analytics.html")]
struct Page {
    base: String,
    /// Address, days, whether it is lit.
    spans: Vec<(String, i64, bool)>,
    all: CiAnalytics,
    median: String,
    charts: Vec<Chart>,
    days: Vec<DayRow>,
    jobs: Vec<JobRow>,
    flaky: Vec<FlakyRow>,
}

async fn page(State(ci): State<Ci>, project: InProject, ui: Ui, Params(span): Params<Span>) -> Answer {
    let path = project.path();
    let base = format!("/{path}/-/pipelines");
    let all = ci.analytics(project.id, span.days.unwrap_or(DAYS)).await?;
    let words = |ms: i64| duration(Duration::from_millis(u64::try_from(ms).unwrap_or_default()));
    let page = Page {
        spans: [7, 30, 90]
            .into_iter()
            .map(|days| (format!("{base}/charts?days={days}"), days, days == all.days))
            .collect(),
        median: all.median_ms.map(words).unwrap_or_default(),
        charts: CHARTS
            .into_iter()
            .map(|(name, title)| Chart {
                title,
                src: format!("{base}/charts/{name}?days={}", all.days),
            })
            .collect(),
        days: all
            .by_day
            .iter()
            .rev()
            .map(|day| DayRow {
                median: day.median_ms.map(words).unwrap_or_default(),
                p95: day.p95_ms.map(words).unwrap_or_default(),
                day: day.clone(),
            })
            .collect(),
        jobs: all
            .jobs
            .iter()
            .map(|job| JobRow {
                median: words(job.median_ms),
                p95: words(job.p95_ms),
                job: job.clone(),
            })
            .collect(),
        flaky: all
            .flaky
            .iter()
            .map(|one| FlakyRow {
                name: one.name.clone(),
                class: if one.class.is_empty() {
                    one.suite.clone()
                } else {
                    one.class.clone()
                },
                job_name: one.job_name.clone(),
                href: format!("/{path}/-/jobs/{}", one.last_job),
                commits: one.commits,
                seen: when(one.last_at),
            })
            .collect(),
        base: base.clone(),
        all,
    };
    let crumbs = [
        Crumb::to(&path, format!("/{path}")),
        Crumb::to("Pipelines", base),
        Crumb::here("Charts"),
    ];
    ui.project_page(Tab::Pipelines, "CI charts", &crumbs, &page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occurred() {
        assert_eq!(percentile(&mut [], 50), None);
        assert_eq!(percentile(&mut [7], 95), Some(7));
        let mut values: Vec<i64> = (1..=100).rev().collect();
        assert_eq!(percentile(&mut values, 50), Some(50));
        assert_eq!(percentile(&mut values, 95), Some(95));
    }
}
