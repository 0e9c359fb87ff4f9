//! Pages of what pipelines found out.

use super::{
    read::junit::{Case, Status},
    store,
};
use crate::{
    Ci,
    pipeline::{
        api::Numbered,
        show::{Head, Page, crumbs},
    },
};
use askama::Template;
use axum::extract::State;
use bascule_core::{JobId, PipelineId, Problem};
use bascule_web::{Answer, InProject, Params, PathOf, Tab, Ui, duration};
use bascule_wire::ci_results::{TestFailure, TestReport, TimedJob};
use serde::Deserialize;
use std::time::Duration;

/// Tests of a job on one page.
const TESTS: usize = 200;
/// Failures on the page with what they wrote; more are told by name.
const WRITTEN: usize = 100;

fn milliseconds(ms: i64) -> String {
    duration(Duration::from_millis(u64::try_from(ms).unwrap_or_default()))
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct TestsQuery {
    /// All tests of this job.
    job: Option<i64>,
    #[serde(default)]
    page: usize,
    /// Only those whose name holds this.
    #[serde(default)]
    search: String,
}

struct CaseRow {
    status: &'static str,
    colour: &'static str,
    name: String,
    class: String,
    took: String,
    message: String,
}

struct OfJob {
    number: JobId,
    name: String,
    rows: Vec<CaseRow>,
    /// Nothing is left of the report.
    gone: bool,
    shown: String,
    search: String,
    older: Option<String>,
    newer: Option<String>,
}

struct RunRow {
    name: String,
    href: String,
    all: String,
    total: i64,
    failed: i64,
    skipped: i64,
    took: String,
    fault: String,
}

struct FailureRow {
    failure: TestFailure,
    job: String,
    href: String,
    took: String,
    written: bool,
    anchor: String,
}

#[derive(Template)]
#[template(path = "results/tests.html")]
struct TestsPage {
    head: Head,
    report: TestReport,
    passed: i64,
    took: String,
    compared: Option<(String, PipelineId)>,
    runs: Vec<RunRow>,
    failures: Vec<FailureRow>,
    of_job: Option<OfJob>,
}

pub(super) async fn tests(
    State(ci): State<Ci>,
    project: InProject,
    ui: Ui,
    PathOf(Numbered { id }): PathOf<Numbered>,
    Params(query): Params<TestsQuery>,
) -> Answer {
    let path = project.path();
    let pipeline = ci.pipeline(project.id, PipelineId(id)).await?;
    let cells = store::cells(&ci.db, pipeline.id).await?;
    let head = ci.pipeline_head(&project, &pipeline, Page::Tests, &cells).await?;
    let report = ci.own_test_report(&pipeline).await?;
    let here = format!("/{path}/-/pipelines/{id}/tests");
    let name_of = |job: JobId| {
        report
            .runs
            .iter()
            .find(|run| run.job == job)
            .map(|run| run.name.clone())
    };
    let of_job = match query.job.map(JobId) {
        None => None,
        Some(job) => {
            let name = name_of(job).ok_or_else(|| Problem::not_found("test report"))?;
            let tests = ci.read_tests(job).await?;
            Some(of_job(job, name, tests.map(|tests| tests.cases), &query, &here))
        }
    };
    let page = TestsPage {
        compared: report
            .compared_with
            .map(|id| (format!("/{path}/-/pipelines/{id}/tests"), id)),
        passed: report.counts.total - report.counts.failed - report.counts.errors - report.counts.skipped,
        took: milliseconds(report.counts.duration_ms),
        runs: report
            .runs
            .iter()
            .map(|run| RunRow {
                name: run.name.clone(),
                href: format!("/{path}/-/jobs/{}", run.job),
                all: format!("{here}?job={}", run.job),
                total: run.counts.total,
                failed: run.counts.failed + run.counts.errors,
                skipped: run.counts.skipped,
                took: milliseconds(run.counts.duration_ms),
                fault: run.fault.clone().unwrap_or_default(),
            })
            .collect(),
        failures: report
            .failures
            .iter()
            .enumerate()
            .map(|(at, failure)| FailureRow {
                job: name_of(failure.job).unwrap_or_default(),
                href: format!("/{path}/-/jobs/{}", failure.job),
                took: milliseconds(failure.duration_ms),
                written: at < WRITTEN,
                anchor: super::widget::anchor(failure),
                failure: failure.clone(),
            })
            .collect(),
        head,
        of_job,
        report,
    };
    let title = format!("Tests of pipeline {id}");
    ui.project_page(Tab::Pipelines, &title, &crumbs(&path, &pipeline, "Tests"), &page)
}

/// All tests of a job: failed ones first, then the slowest.
fn of_job(job: JobId, name: String, cases: Option<Vec<Case>>, query: &TestsQuery, here: &str) -> OfJob {
    let gone = cases.is_none();
    let wanted = query.search.to_lowercase();
    let mut cases: Vec<Case> = cases
        .unwrap_or_default()
        .into_iter()
        .filter(|case| {
            wanted.is_empty()
                || case.name.to_lowercase().contains(&wanted)
                || case.class.to_lowercase().contains(&wanted)
        })
        .collect();
    cases.sort_by_key(|case| (!case.status.is_failure(), std::cmp::Reverse(case.took)));
    let first = query.page.saturating_mul(TESTS);
    let search = bascule_web::url_encode(&query.search);
    let page = |number: usize| format!("{here}?job={job}&search={search}&page={number}");
    OfJob {
        number: job,
        gone,
        shown: match cases.len() {
            0 => "None".to_owned(),
            all => format!("{} to {} of {all}", first + 1, (first + TESTS).min(all)),
        },
        older: (first.saturating_add(TESTS) < cases.len()).then(|| page(query.page + 1)),
        newer: query.page.checked_sub(1).map(page),
        rows: cases
            .into_iter()
            .skip(first)
            .take(TESTS)
            .map(|case| CaseRow {
                status: case.status.as_str(),
                colour: match case.status {
                    Status::Passed => "green",
                    Status::Skipped => "secondary",
                    Status::Failed | Status::Error => "red",
                },
                took: duration(Duration::from_micros(case.took)),
                name: case.name,
                class: if case.class.is_empty() {
                    case.suite
                } else {
                    case.class
                },
                message: case.message,
            })
            .collect(),
        search: query.search.clone(),
        name,
    }
}

/// Shorter waits than this, in milliseconds, are how long the platform itself takes.
const HELD: i64 = 1_000;

struct TimedRow {
    name: String,
    href: String,
    stage: String,
    waited: String,
    /// How long a person, its time or a resource group let it wait, where that is worth a word.
    held: Option<String>,
    ran: String,
    /// Where its bar begins and how long it is, of a thousand.
    bar: (i64, i64),
    /// How long the bar of its wait is.
    wait: i64,
}

#[derive(Template)]
#[template(path = "results/timing.html")]
struct TimingPage {
    head: Head,
    path: Vec<TimedRow>,
    total: String,
    waited: String,
    held: Option<String>,
    slowest: Vec<TimedRow>,
}

pub(super) async fn timing(
    State(ci): State<Ci>,
    project: InProject,
    ui: Ui,
    PathOf(Numbered { id }): PathOf<Numbered>,
) -> Answer {
    let path = project.path();
    let pipeline = ci.pipeline(project.id, PipelineId(id)).await?;
    let cells = store::cells(&ci.db, pipeline.id).await?;
    let head = ci
        .pipeline_head(&project, &pipeline, Page::Timing, &cells)
        .await?;
    let timing = ci.pipeline_timing(project.id, pipeline.id).await?;
    let total: i64 = timing
        .critical_path
        .iter()
        .map(|job| job.held_ms + job.waited_ms + job.ran_ms)
        .sum();
    let longest = timing.slowest.first().map_or(1, |job| job.ran_ms.max(1));
    let share = |part: i64, whole: i64| part.saturating_mul(1_000) / whole.max(1);
    let row = |job: &TimedJob, bar: (i64, i64), wait: i64| TimedRow {
        name: job.name.clone(),
        href: format!("/{path}/-/jobs/{}", job.job),
        stage: job.stage.clone(),
        waited: milliseconds(job.waited_ms),
        held: (job.held_ms >= HELD).then(|| milliseconds(job.held_ms)),
        ran: milliseconds(job.ran_ms),
        bar,
        wait,
    };
    let mut at = 0;
    let steps = timing
        .critical_path
        .iter()
        .map(|job| {
            let begin = at + job.held_ms + job.waited_ms;
            let wait = share(job.held_ms + job.waited_ms, total);
            at = begin + job.ran_ms;
            row(job, (share(begin, total), share(job.ran_ms, total).max(2)), wait)
        })
        .collect();
    let page = TimingPage {
        path: steps,
        total: milliseconds(total),
        waited: milliseconds(timing.critical_path.iter().map(|job| job.waited_ms).sum()),
        held: Some(timing.critical_path.iter().map(|job| job.held_ms).sum())
            .filter(|held| *held >= HELD)
            .map(milliseconds),
        slowest: timing
            .slowest
            .iter()
            .map(|job| row(job, (0, share(job.ran_ms, longest).max(2)), 0))
            .collect(),
        head,
    };
    let title = format!("Timing of pipeline {id}");
    ui.project_page(Tab::Pipelines, &title, &crumbs(&path, &pipeline, "Timing"), &page)
}
