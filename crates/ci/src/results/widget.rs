//! What a merge request shows of its commit's pipeline.

use super::store;
use crate::{
    Ci,
    pipeline::{self, show::status_icon, status_badge},
    status::JobStatus,
};
use askama::Template;
use bascule_core::{PipelineId, ProjectId, Result, limits};
use bascule_web::{Markup, icon};
use bascule_wire::ci_results::{Coverage, PipelineResults, TestCounts, TestFailure};

/// A merge request, as far as its pipeline is told of.
#[derive(Clone, Debug)]
pub struct Asked<'a> {
    /// Where its commits are.
    pub source: ProjectId,
    /// `group/name` of that.
    pub source_path: &'a str,
    /// The branch that they are on.
    pub branch: &'a str,
    /// Its newest commit.
    pub sha: &'a str,
    /// Where it is to be merged.
    pub target: ProjectId,
    /// The branch that it is to be merged into.
    pub target_branch: &'a str,
    /// Where its findings are shown.
    pub findings_href: String,
}

/// What coverage says against a merge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Concern {
    /// Whether it holds the merge; otherwise it warns.
    pub holds: bool,
    /// One sentence.
    pub what: String,
    /// What to do.
    pub next: String,
}

/// Failed tests that are named, new ones first.
const TESTS: usize = 5;

/// A failed test.
struct Test {
    name: String,
    of: String,
    href: String,
    new: bool,
    flaky: bool,
}

/// The mark of a failed test on the page of a pipeline's tests.
pub(super) fn anchor(failure: &TestFailure) -> String {
    format!("test-{}-{}", failure.job, failure.key)
}

/// A stage, as one coloured icon.
struct StageDot {
    name: String,
    href: String,
    icon: Markup,
}

struct Exposed {
    name: String,
    href: String,
}

#[derive(Template)]
#[template(path = "results/widget.html")]
struct Widget {
    pipeline: PipelineId,
    href: String,
    badge: Markup,
    stages: Vec<StageDot>,
    failed: Vec<(String, String)>,
    tests: Option<TestCounts>,
    /// Some of those that failed, and how many more there are.
    failed_tests: Vec<Test>,
    more_tests: usize,
    new: Option<i64>,
    coverage: Option<Coverage>,
    findings: i64,
    findings_href: String,
    exposed: Vec<Exposed>,
    faults: usize,
    live: bool,
    icons: [Markup; 4],
}

/// The failed tests to be named.
fn named(mut failures: Vec<TestFailure>, pipeline: &str) -> Vec<Test> {
    failures.sort_by_key(|failure| failure.new != Some(true));
    failures
        .into_iter()
        .take(TESTS)
        .map(|failure| Test {
            href: format!("{pipeline}/tests#{}", anchor(&failure)),
            new: failure.new == Some(true),
            flaky: failure.flaky,
            of: if failure.class.is_empty() {
                failure.suite
            } else {
                failure.class
            },
            name: failure.name,
        })
        .collect()
}

impl Ci {
    /// What a merge request shows of the newest pipeline of its commit; `None` where there is none.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub async fn request_widget(&self, asked: &Asked<'_>) -> Result<Option<Markup>> {
        let Some(pipeline) =
            pipeline::store::of_branch(&self.db, asked.source, asked.branch, asked.sha).await?
        else {
            return Ok(None);
        };
        let (target, branch) = (asked.target, asked.target_branch);
        let report = self.test_report(pipeline.id, target, branch).await?;
        let results: PipelineResults = self.results_against(&pipeline, target, branch, &report).await?;
        let cells = store::cells(&self.db, pipeline.id).await?;
        let base = format!("/{}/-", asked.source_path);
        let href = format!("{base}/pipelines/{}", pipeline.id);
        let current = || cells.iter().filter(|cell| !cell.retried);
        let mut stages: Vec<StageDot> = Vec::new();
        for stage in &pipeline.stages.0 {
            let statuses: Vec<&str> = current()
                .filter(|cell| &cell.stage == stage)
                .map(store::Cell::shown)
                .collect();
            if !statuses.is_empty() {
                stages.push(StageDot {
                    name: stage.clone(),
                    href: href.clone(),
                    icon: status_icon(pipeline::graph::together(statuses.into_iter())),
                });
            }
        }
        let failed = current()
            .filter(|cell| cell.status == JobStatus::Failed && !cell.failure_allowed())
            .take(5)
            .map(|cell| (cell.name.clone(), format!("{base}/jobs/{}", cell.id)))
            .collect();
        let findings = results
            .reports
            .iter()
            .filter(|report| matches!(report.kind.as_str(), "codequality" | "sarif"))
            .map(|report| report.count)
            .sum();
        let widget = Widget {
            pipeline: pipeline.id,
            badge: status_badge(pipeline.status.as_str()),
            stages,
            failed,
            tests: results.tests,
            more_tests: report.failures.len().saturating_sub(TESTS),
            failed_tests: named(report.failures, &href),
            new: results.new_failures,
            coverage: results.coverage,
            findings,
            findings_href: asked.findings_href.clone(),
            exposed: self
                .exposed(pipeline.id)
                .await?
                .into_iter()
                .map(|(job, name)| Exposed {
                    href: format!("{base}/jobs/{job}/artifacts/browse"),
                    name,
                })
                .collect(),
            faults: results
                .reports
                .iter()
                .filter(|report| report.fault.is_some())
                .count(),
            live: !pipeline.status.is_final(),
            icons: ["rocket", "list-check", "shield", "archive"].map(icon),
            href,
        };
        let html = widget.render().map_err(|_| bascule_core::Problem::internal())?;
        Ok(Some(Markup::trusted(html)))
    }

    /// What the coverage of a merge request's newest pipeline says against its merge, by the target project's
    /// settings; `None` where nothing is to be said or nothing is known yet.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub async fn coverage_concern(&self, asked: &Asked<'_>) -> Result<Option<Concern>> {
        let Some(pipeline) =
            pipeline::store::of_branch(&self.db, asked.source, asked.branch, asked.sha).await?
        else {
            return Ok(None);
        };
        let weighed = self
            .weigh_coverage(pipeline.id, asked.target, asked.target_branch)
            .await?;
        let Some(weighed) =
            weighed.filter(|weighed| weighed.gate != super::Gate::Off && weighed.share < weighed.floor)
        else {
            return Ok(None);
        };
        let change = weighed
            .trunk
            .map(|(_, share)| {
                format!(
                    " ({} against {})",
                    weighed.share.change_from(share),
                    asked.target_branch
                )
            })
            .unwrap_or_default();
        Ok(Some(Concern {
            holds: weighed.gate == super::Gate::Fail,
            what: format!(
                "The tests of pipeline #{} reach {} % of the code{change}; the project asks for {} %.",
                pipeline.id, weighed.share, weighed.floor
            ),
            next: "Test what you changed. Lines that no test reached are marked in the request's changes."
                .to_owned(),
        }))
    }

    /// Archives that jobs of a pipeline want to be shown with the merge request: the job, and what it calls them.
    async fn exposed(&self, pipeline: PipelineId) -> Result<Vec<(bascule_core::JobId, String)>> {
        let members = self.reporting_for(pipeline).await?;
        let found = store::exposed(&self.db, &members, self.clock.now(), limits::PAGE_ENTRIES).await?;
        Ok(found
            .into_iter()
            .filter_map(|row| Some((row.id, row.spec.0.artifacts_expose_as?)))
            .collect())
    }
}
