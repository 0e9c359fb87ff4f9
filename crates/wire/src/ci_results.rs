//! What pipelines found out: tests, coverage, timing, artifacts, in the JSON API.

use bascule_core::{JobId, PipelineId, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What the tests of a pipeline came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TestCounts {
    /// All.
    pub total: i64,
    /// Those that did not hold.
    pub failed: i64,
    /// Those that could not be run to their end.
    pub errors: i64,
    /// Those left out.
    pub skipped: i64,
    /// Time of all, in milliseconds.
    pub duration_ms: i64,
}

/// The tests of one job.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TestRun {
    /// The job.
    pub job: JobId,
    /// Its name.
    pub name: String,
    /// What they came to.
    #[serde(flatten)]
    pub counts: TestCounts,
    /// Why its report could not be read.
    pub fault: Option<String>,
}

/// A test that failed.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TestFailure {
    /// The job.
    pub job: JobId,
    /// What makes it the same test in another run.
    pub key: String,
    /// Its suite.
    pub suite: String,
    /// Its class.
    pub class: String,
    /// Its name.
    pub name: String,
    /// Its file, as the report says.
    pub file: Option<String>,
    /// `failed` or `error`.
    pub status: String,
    /// In milliseconds.
    pub duration_ms: i64,
    /// Why, in a line.
    pub message: String,
    /// What it wrote.
    pub output: String,
    /// It does not fail on the default branch. `null` where there is nothing to compare with.
    pub new: Option<bool>,
    /// It has both failed and passed on one commit lately.
    pub flaky: bool,
}

/// The tests of a pipeline.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TestReport {
    /// The pipeline.
    pub pipeline: PipelineId,
    /// What they came to.
    #[serde(flatten)]
    pub counts: TestCounts,
    /// How many failures are new; `null` where there is nothing to compare with.
    pub new_failures: Option<i64>,
    /// The pipeline of the default branch that it is compared with.
    pub compared_with: Option<PipelineId>,
    /// By job.
    pub runs: Vec<TestRun>,
    /// Those that failed, new ones first; at most 1,000 of each job.
    pub failures: Vec<TestFailure>,
}

/// How much of the code the tests reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Coverage {
    /// In percent, with two digits.
    pub percent: String,
    /// The difference to the default branch, in points with a sign; `null` where there is nothing to compare with.
    pub change: Option<String>,
    /// The pipeline of the default branch that it is compared with.
    pub compared_with: Option<PipelineId>,
    /// What the project asks for, in percent.
    pub floor: String,
    /// What being below it does: `off`, `warn`, `fail`.
    pub gate: String,
    /// Whether it is below.
    pub below: bool,
}

/// A report of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobReport {
    /// The job.
    pub job: JobId,
    /// Its name.
    pub name: String,
    /// `junit`, `coverage_report`, `codequality`, `sarif`, `cyclonedx`, …
    pub kind: String,
    /// How much it holds: tests, lines, findings.
    pub count: i64,
    /// Why it could not be read.
    pub fault: Option<String>,
}

/// What a pipeline found out, in short.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct PipelineResults {
    /// The pipeline.
    pub pipeline: PipelineId,
    /// How it stands.
    pub status: String,
    /// Its tests, if any job reported some.
    pub tests: Option<TestCounts>,
    /// How many failures are new.
    pub new_failures: Option<i64>,
    /// Its coverage, if any job reported it.
    pub coverage: Option<Coverage>,
    /// What its jobs reported.
    pub reports: Vec<JobReport>,
}

/// A job and its time.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TimedJob {
    /// The job.
    pub job: JobId,
    /// Its name.
    pub name: String,
    /// Its stage.
    pub stage: String,
    /// How long it waited for a runner, in milliseconds.
    pub waited_ms: i64,
    /// From what it waited for until it could run, in milliseconds: for a person, its time or a resource group.
    #[serde(default)]
    pub held_ms: i64,
    /// From start to end, in milliseconds.
    pub ran_ms: i64,
}

/// Where a pipeline's time went.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct PipelineTiming {
    /// The pipeline.
    pub pipeline: PipelineId,
    /// The chain of jobs that its end waited for, in order.
    pub critical_path: Vec<TimedJob>,
    /// All jobs that ran, the slowest first; at most 50.
    pub slowest: Vec<TimedJob>,
}

/// A test that both failed and passed on one commit.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct FlakyTest {
    /// What makes it the same test in another run.
    pub key: String,
    /// Its suite.
    pub suite: String,
    /// Its class.
    pub class: String,
    /// Its name.
    pub name: String,
    /// The job that runs it.
    pub job_name: String,
    /// On how many commits, within the days looked at.
    pub commits: i64,
    /// The newest job that showed it.
    pub last_job: JobId,
    /// When.
    pub last_at: Timestamp,
}

/// A job's name over many pipelines.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct JobSummary {
    /// The job's name.
    pub name: String,
    /// How often it ran.
    pub runs: i64,
    /// How often it failed.
    pub failed: i64,
    /// How often it failed and then passed on the same commit.
    pub flaky: i64,
    /// Half of its runs took no longer, in milliseconds.
    pub median_ms: i64,
    /// Nineteen of twenty took no longer.
    pub p95_ms: i64,
}

/// A day of pipelines.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct PipelineDay {
    /// `2026-05-30`.
    pub day: String,
    /// Pipelines that passed, also with warnings.
    pub passed: i64,
    /// Pipelines that failed.
    pub failed: i64,
    /// Those cancelled or skipped.
    pub other: i64,
    /// Half of those that passed or failed took no longer, in milliseconds.
    pub median_ms: Option<i64>,
    /// Nineteen of twenty took no longer.
    pub p95_ms: Option<i64>,
    /// Coverage of the day's last pipeline of the default branch, in percent.
    pub coverage: Option<String>,
}

/// How a project's pipelines do.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct CiAnalytics {
    /// Days looked at, up to now.
    pub days: i64,
    /// Pipelines that ended within them; at most the newest 5,000 are looked at.
    pub pipelines: i64,
    /// Share that passed, in percent of those that passed or failed.
    pub passed_percent: Option<String>,
    /// Half took no longer, in milliseconds.
    pub median_ms: Option<i64>,
    /// By day.
    pub by_day: Vec<PipelineDay>,
    /// By job's name, the one that took most time first; at most 50.
    pub jobs: Vec<JobSummary>,
    /// Tests that both failed and passed on one commit.
    pub flaky: Vec<FlakyTest>,
}

/// What a project asks of its pipelines' results.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CiSettings {
    /// Least coverage, in percent: `80`, `82.5`.
    pub coverage_floor: String,
    /// What a merge request below it meets: `off`, `warn`, `fail`.
    pub coverage_gate: String,
}

/// A file in a job's archive.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ArtifactFile {
    /// Its path within the archive.
    pub path: String,
    /// Its size, as the archive says; `null` for a folder.
    pub size: Option<u64>,
}

/// A folder of a job's archive.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ArtifactFolder {
    /// The job.
    pub job: JobId,
    /// The folder; empty is the top.
    pub path: String,
    /// Folders, then files, by name; at most 1,000.
    pub files: Vec<ArtifactFile>,
    /// How many more there are.
    pub left_out: usize,
}

/// A line of a log that holds what was looked for.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct LogHit {
    /// Its number, from one.
    pub line: u64,
    /// The line as plain text, cut around the place.
    pub text: String,
}

/// What was found in a log.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct LogHits {
    /// Lines, in order; at most 200.
    pub hits: Vec<LogHit>,
    /// Ask with `from` this for more; `null` when the whole log was looked through.
    pub next: Option<String>,
}

/// Starts a job that waits for a person.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PlayJob {
    /// Variables for this job; they count over those of the file.
    #[serde(default)]
    pub variables: std::collections::BTreeMap<String, String>,
    /// Values of the job's `inputs`.
    #[serde(default)]
    pub inputs: std::collections::BTreeMap<String, serde_json::Value>,
}

/// Tries an ended job again.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RetryJob {
    /// Values of the job's `inputs`; those that are not named stay as they were.
    #[serde(default)]
    pub inputs: std::collections::BTreeMap<String, serde_json::Value>,
}

/// Lines of a file that no test reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UncoveredFile {
    /// The file, from the project's root.
    pub file: String,
    /// Spans of the first and the last line.
    pub lines: Vec<(u32, u32)>,
}
