//! Tables and queries of what pipelines found out.

use super::read::junit::{Case, Tests};
use crate::{
    config::{AllowFailure, Inputs, JobSpec, Need, When},
    job::Job,
    status::{JobStatus, PipelineStatus},
};
use bascule_core::{JobId, PipelineId, ProjectId, Timestamp};
use bascule_store::{Json, Migration, Query, Result, Tx, args, bind_all, row};
use bascule_wire::runner::Variable;
use std::collections::HashMap;

/// What pipelines found out.
pub(crate) const RESULTS: Migration = Migration {
    id: "ci-2611-results",
    sql: "
        CREATE TABLE ci_report (
            job_id BIGINT NOT NULL,
            kind TEXT NOT NULL,
            project_id TEXT NOT NULL,
            pipeline_id BIGINT NOT NULL,
            found BIGINT NOT NULL,
            fault TEXT,
            PRIMARY KEY (job_id, kind)
        );
        CREATE INDEX ci_report_pipeline ON ci_report (pipeline_id);
        CREATE TABLE ci_test_run (
            job_id BIGINT PRIMARY KEY,
            project_id TEXT NOT NULL,
            pipeline_id BIGINT NOT NULL,
            job_name TEXT NOT NULL,
            sha TEXT NOT NULL,
            total BIGINT NOT NULL,
            failed BIGINT NOT NULL,
            errors BIGINT NOT NULL,
            skipped BIGINT NOT NULL,
            took BIGINT NOT NULL
        );
        CREATE INDEX ci_test_run_pipeline ON ci_test_run (pipeline_id);
        CREATE INDEX ci_test_run_commit ON ci_test_run (project_id, sha);
        CREATE INDEX ci_test_run_project ON ci_test_run (project_id, pipeline_id);
        CREATE TABLE ci_test_failure (
            job_id BIGINT NOT NULL,
            position BIGINT NOT NULL,
            test_key TEXT NOT NULL,
            suite TEXT NOT NULL,
            class TEXT NOT NULL,
            name TEXT NOT NULL,
            file TEXT,
            status TEXT NOT NULL,
            took BIGINT NOT NULL,
            message TEXT NOT NULL,
            output TEXT NOT NULL,
            PRIMARY KEY (job_id, position)
        );
        CREATE TABLE ci_flaky (
            project_id TEXT NOT NULL,
            test_key TEXT NOT NULL,
            sha TEXT NOT NULL,
            job_id BIGINT NOT NULL,
            job_name TEXT NOT NULL,
            suite TEXT NOT NULL,
            class TEXT NOT NULL,
            name TEXT NOT NULL,
            seen_at BIGINT NOT NULL,
            PRIMARY KEY (project_id, test_key, sha)
        );
        CREATE INDEX ci_flaky_seen ON ci_flaky (project_id, seen_at);
        CREATE TABLE ci_coverage (
            job_id BIGINT NOT NULL,
            source TEXT NOT NULL,
            project_id TEXT NOT NULL,
            pipeline_id BIGINT NOT NULL,
            share BIGINT NOT NULL,
            covered BIGINT,
            lines BIGINT,
            missed TEXT,
            PRIMARY KEY (job_id, source)
        );
        CREATE INDEX ci_coverage_pipeline ON ci_coverage (pipeline_id);
        CREATE INDEX ci_coverage_project ON ci_coverage (project_id, pipeline_id);
        CREATE TABLE ci_dotenv (
            job_id BIGINT NOT NULL,
            position BIGINT NOT NULL,
            name TEXT NOT NULL,
            value TEXT NOT NULL,
            PRIMARY KEY (job_id, position)
        );
        CREATE TABLE ci_setting (
            project_id TEXT PRIMARY KEY,
            coverage_floor BIGINT NOT NULL,
            coverage_gate TEXT NOT NULL
        );
    ",
};

/// Variables with which people started jobs.
pub(crate) const PLAYED: Migration = Migration {
    id: "ci-2611-played",
    sql: "
        CREATE TABLE ci_played (
            pipeline_id BIGINT NOT NULL,
            job_name TEXT NOT NULL,
            project_id TEXT NOT NULL,
            variables TEXT NOT NULL,
            PRIMARY KEY (pipeline_id, job_name)
        );
        CREATE INDEX ci_played_project ON ci_played (project_id);
    ",
};

/// Values of inputs with which people started jobs or tried them again.
pub(crate) const PLAYED_INPUTS: Migration = Migration {
    id: "ci-2711-job-inputs",
    sql: "ALTER TABLE ci_played ADD COLUMN inputs TEXT NOT NULL DEFAULT '{}';",
};

/// Most failures of one job that are kept with their output.
const FAILURES: usize = 1_000;

row! {
    /// A job, as far as a graph and a table of times show it.
    #[derive(Clone, Debug)]
    pub(crate) struct Cell {
        pub id: JobId,
        pub name: String,
        pub stage: String,
        pub stage_index: i64,
        pub status: JobStatus,
        pub run_when: Json<When>,
        pub allow_failure: Json<AllowFailure>,
        pub needs: Option<Json<Vec<Need>>>,
        pub exit_code: Option<i64>,
        pub retried: bool,
        pub attempt: i64,
        pub queued_at: Option<Timestamp>,
        pub started_at: Option<Timestamp>,
        pub finished_at: Option<Timestamp>,
        pub run_at: Option<Timestamp>,
        pub required: Option<String>,
    }
}

impl Cell {
    /// Whether its failure, as it stands, leaves the pipeline alone.
    pub(crate) fn failure_allowed(&self) -> bool {
        self.allow_failure.0.stands(self.status, self.exit_code)
    }

    /// How it is shown: a failure that is allowed is a warning.
    pub(crate) fn shown(&self) -> &'static str {
        match self.status {
            JobStatus::Failed if self.failure_allowed() => "warning",
            status => status.as_str(),
        }
    }

    /// Names of the jobs that it waits for.
    pub(crate) fn need_names(&self) -> Option<Vec<String>> {
        let needs = self.needs.as_ref()?;
        Some(needs.0.iter().map(|need| need.job.clone()).collect())
    }
}

/// The jobs of a pipeline without their scripts and variables, also those tried again.
pub(crate) async fn cells(on: &impl Query, pipeline: PipelineId) -> Result<Vec<Cell>> {
    let sql = "SELECT id, name, stage, stage_index, status, run_when, allow_failure, needs, exit_code, retried, attempt,
               queued_at, started_at, finished_at, run_at, required FROM job WHERE pipeline_id = $1 ORDER BY position, id";
    on.all(sql, args![pipeline]).await
}

row! { struct Asked { id: JobId, spec: Json<JobSpec> } }

/// What is asked before jobs of a pipeline are started by hand, of those that ask.
pub(crate) async fn questions(on: &impl Query, pipeline: PipelineId) -> Result<HashMap<JobId, String>> {
    let rows: Vec<Asked> = on
        .all(
            "SELECT id, spec FROM job WHERE pipeline_id = $1 AND status IN ('manual', 'scheduled')
             AND spec LIKE '%\"manual_confirmation\":\"%' LIMIT 2000",
            args![pipeline],
        )
        .await?;
    Ok(rows
        .into_iter()
        .filter_map(|row| Some((row.id, row.spec.0.manual_confirmation?)))
        .collect())
}

row! {
    /// A report that was looked at.
    #[derive(Clone, Debug)]
    pub(crate) struct Report {
        pub job_id: JobId,
        pub job_name: String,
        pub kind: String,
        pub found: i64,
        pub fault: Option<String>,
    }
}

pub(crate) async fn put_report(
    tx: &Tx,
    job: &Job,
    kind: &str,
    found: i64,
    fault: Option<&str>,
) -> Result<()> {
    tx.run(
        "INSERT INTO ci_report (job_id, kind, project_id, pipeline_id, found, fault) VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (job_id, kind) DO UPDATE SET found = $5, fault = $6",
        args![job.id, kind, job.project_id, job.pipeline_id, found, fault],
    )
    .await?;
    Ok(())
}

/// Reports of some pipelines' jobs, without those tried again.
pub(crate) async fn reports(on: &impl Query, pipelines: &[PipelineId]) -> Result<Vec<Report>> {
    let mut values = Vec::new();
    let wanted = bind_all(&mut values, pipelines);
    let sql = format!(
        "SELECT r.job_id, j.name AS job_name, r.kind, r.found, r.fault FROM ci_report r JOIN job j ON j.id = r.job_id
         WHERE r.pipeline_id IN ({wanted}) AND j.retried = FALSE ORDER BY r.job_id, r.kind LIMIT 5000"
    );
    on.all(&sql, values).await
}

row! {
    /// The tests of a job.
    #[derive(Clone, Debug)]
    pub(crate) struct Run {
        pub job_id: JobId,
        pub job_name: String,
        pub total: i64,
        pub failed: i64,
        pub errors: i64,
        pub skipped: i64,
        pub took: i64,
    }
}

const RUN: &str = "t.job_id, t.job_name, t.total, t.failed, t.errors, t.skipped, t.took";

/// Stores the tests of a job; told again, the same.
pub(crate) async fn put_tests(tx: &Tx, job: &Job, sha: &str, tests: &Tests) -> Result<()> {
    let count = |wanted: &str| {
        let found = tests
            .cases
            .iter()
            .filter(|case| case.status.as_str() == wanted)
            .count();
        i64::try_from(found).unwrap_or(i64::MAX)
    };
    let total = i64::try_from(tests.cases.len() + tests.more).unwrap_or(i64::MAX);
    let took = tests
        .cases
        .iter()
        .fold(0_u64, |sum, case| sum.saturating_add(case.took));
    for table in ["ci_test_run", "ci_test_failure"] {
        tx.run(&format!("DELETE FROM {table} WHERE job_id = $1"), args![job.id])
            .await?;
    }
    tx.run(
        "INSERT INTO ci_test_run (job_id, project_id, pipeline_id, job_name, sha, total, failed, errors, skipped, took)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        args![
            job.id,
            job.project_id,
            job.pipeline_id,
            job.name,
            sha,
            total,
            count("failed"),
            count("error"),
            count("skipped"),
            i64::try_from(took).unwrap_or(i64::MAX)
        ],
    )
    .await?;
    let failures = tests.cases.iter().filter(|case| case.status.is_failure());
    for (position, case) in failures.take(FAILURES).enumerate() {
        tx.run(
            "INSERT INTO ci_test_failure (job_id, position, test_key, suite, class, name, file, status, took, message, output)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
            args![
                job.id,
                i64::try_from(position).unwrap_or(i64::MAX),
                case.key(),
                case.suite,
                case.class,
                case.name,
                case.file,
                case.status.as_str(),
                i64::try_from(case.took).unwrap_or(i64::MAX),
                case.message,
                case.output
            ],
        )
        .await?;
    }
    Ok(())
}

/// The tests of some pipelines by job, without jobs tried again.
pub(crate) async fn runs(on: &impl Query, pipelines: &[PipelineId]) -> Result<Vec<Run>> {
    let mut values = Vec::new();
    let wanted = bind_all(&mut values, pipelines);
    let sql = format!(
        "SELECT {RUN} FROM ci_test_run t JOIN job j ON j.id = t.job_id
         WHERE t.pipeline_id IN ({wanted}) AND j.retried = FALSE ORDER BY t.job_id LIMIT 1000"
    );
    on.all(&sql, values).await
}

/// Other runs of the same job on the same commit, newest first.
pub(crate) async fn runs_of_commit(on: &impl Query, job: &Job, sha: &str) -> Result<Vec<Run>> {
    let sql = format!(
        "SELECT {RUN} FROM ci_test_run t WHERE t.project_id = $1 AND t.sha = $2 AND t.job_name = $3 AND t.job_id <> $4
         ORDER BY t.job_id DESC LIMIT 10"
    );
    on.all(&sql, args![job.project_id, sha, job.name, job.id]).await
}

row! {
    /// A test that failed.
    #[derive(Clone, Debug)]
    pub(crate) struct Failure {
        pub job_id: JobId,
        pub test_key: String,
        pub suite: String,
        pub class: String,
        pub name: String,
        pub file: Option<String>,
        pub status: String,
        pub took: i64,
        pub message: String,
        pub output: String,
    }
}

/// What failed in some pipelines, without jobs tried again.
pub(crate) async fn failures(on: &impl Query, pipelines: &[PipelineId], limit: i64) -> Result<Vec<Failure>> {
    let mut values = args![limit];
    let wanted = bind_all(&mut values, pipelines);
    let sql = format!(
        "SELECT f.job_id, f.test_key, f.suite, f.class, f.name, f.file, f.status, f.took, f.message, f.output
         FROM ci_test_failure f JOIN job j ON j.id = f.job_id
         WHERE j.pipeline_id IN ({wanted}) AND j.retried = FALSE ORDER BY f.job_id, f.position LIMIT $1"
    );
    on.all(&sql, values).await
}

row! { struct Key { test_key: String } }

/// Which tests failed in these jobs.
pub(crate) async fn failed_keys(on: &impl Query, jobs: &[JobId]) -> Result<Vec<String>> {
    if jobs.is_empty() {
        return Ok(Vec::new());
    }
    let mut values = Vec::new();
    let wanted = bind_all(&mut values, jobs);
    let sql = format!("SELECT DISTINCT test_key FROM ci_test_failure WHERE job_id IN ({wanted})");
    let found: Vec<Key> = on.all(&sql, values).await?;
    Ok(found.into_iter().map(|key| key.test_key).collect())
}

row! {
    /// A pipeline that found something out.
    #[derive(Clone, Debug)]
    pub(crate) struct Finder {
        pub id: PipelineId,
        pub source: String,
    }
}

/// The newest pipelines of a branch that have tests, before another.
pub(crate) async fn newest_with_tests(
    on: &impl Query,
    project: ProjectId,
    branch: &str,
    before: PipelineId,
) -> Result<Vec<Finder>> {
    newest_with(on, "ci_test_run", project, branch, before).await
}

/// The newest pipelines of a branch that have a coverage, before another.
pub(crate) async fn newest_with_coverage(
    on: &impl Query,
    project: ProjectId,
    branch: &str,
    before: PipelineId,
) -> Result<Vec<Finder>> {
    newest_with(on, "ci_coverage", project, branch, before).await
}

async fn newest_with(
    on: &impl Query,
    table: &str,
    project: ProjectId,
    branch: &str,
    before: PipelineId,
) -> Result<Vec<Finder>> {
    let sql = format!(
        "SELECT p.id, p.source FROM pipeline p WHERE p.project_id = $1 AND p.id < $3 AND p.reference = $2
         AND p.tag = FALSE AND EXISTS (SELECT 1 FROM {table} t WHERE t.pipeline_id = p.id)
         ORDER BY p.id DESC LIMIT 20"
    );
    on.all(&sql, args![project, branch, before]).await
}

row! { pub(crate) struct Exposed { pub id: JobId, pub spec: Json<JobSpec> } }

/// Jobs of some pipelines with an archive that they want to be shown with the merge request.
pub(crate) async fn exposed(
    on: &impl Query,
    pipelines: &[PipelineId],
    now: Timestamp,
    limit: i64,
) -> Result<Vec<Exposed>> {
    let mut values = args![now, limit];
    let wanted = bind_all(&mut values, pipelines);
    let sql = format!(
        "SELECT j.id, j.spec FROM job j JOIN job_artifact a ON a.job_id = j.id AND a.kind = 'archive'
         WHERE j.pipeline_id IN ({wanted}) AND j.retried = FALSE AND j.spec LIKE '%\"artifacts_expose_as\":\"%'
         AND (a.expires_at IS NULL OR a.expires_at > $1) ORDER BY j.pipeline_id, j.position LIMIT $2"
    );
    on.all(&sql, values).await
}

pub(crate) async fn put_flaky(tx: &Tx, job: &Job, sha: &str, case: &Case, now: Timestamp) -> Result<()> {
    tx.run(
        "INSERT INTO ci_flaky (project_id, test_key, sha, job_id, job_name, suite, class, name, seen_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
         ON CONFLICT (project_id, test_key, sha) DO UPDATE SET job_id = $4, seen_at = $9",
        args![
            job.project_id,
            case.key(),
            sha,
            job.id,
            job.name,
            case.suite,
            case.class,
            case.name,
            now
        ],
    )
    .await?;
    Ok(())
}

row! {
    /// A test that both failed and passed on one commit, or on several.
    #[derive(Clone, Debug)]
    pub(crate) struct Flaky {
        pub test_key: String,
        pub suite: String,
        pub class: String,
        pub name: String,
        pub job_name: String,
        pub commits: i64,
        pub last_job: JobId,
        pub last_at: Timestamp,
    }
}

/// Flaky tests since an instant, the flakiest first.
pub(crate) async fn flaky(
    on: &impl Query,
    project: ProjectId,
    since: Timestamp,
    limit: i64,
) -> Result<Vec<Flaky>> {
    let sql = "SELECT test_key, MAX(suite) AS suite, MAX(class) AS class, MAX(name) AS name, MAX(job_name) AS job_name,
               COUNT(*) AS commits, MAX(job_id) AS last_job, MAX(seen_at) AS last_at
               FROM ci_flaky WHERE project_id = $1 AND seen_at >= $2 GROUP BY test_key
               ORDER BY commits DESC, last_at DESC, test_key LIMIT $3";
    on.all(sql, args![project, since, limit]).await
}

/// How much of the code a job's tests reached.
#[derive(Clone, Debug)]
pub(crate) struct NewCoverage {
    /// `log` or `report`.
    pub source: &'static str,
    pub share: i64,
    pub covered: Option<i64>,
    pub lines: Option<i64>,
    /// By file, spans of lines that were not reached, as JSON.
    pub missed: Option<String>,
}

pub(crate) async fn put_coverage(tx: &Tx, job: &Job, coverage: &NewCoverage) -> Result<()> {
    tx.run(
        "INSERT INTO ci_coverage (job_id, source, project_id, pipeline_id, share, covered, lines, missed)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (job_id, source) DO UPDATE SET share = $5, covered = $6, lines = $7, missed = $8",
        args![
            job.id,
            coverage.source,
            job.project_id,
            job.pipeline_id,
            coverage.share,
            coverage.covered,
            coverage.lines,
            coverage.missed
        ],
    )
    .await?;
    Ok(())
}

row! {
    /// How much of the code a job's tests reached.
    #[derive(Clone, Debug)]
    pub(crate) struct Covered {
        pub pipeline_id: PipelineId,
        pub job_id: JobId,
        pub source: String,
        pub share: i64,
        pub covered: Option<i64>,
        pub lines: Option<i64>,
    }
}

const COVERED: &str = "c.pipeline_id, c.job_id, c.source, c.share, c.covered, c.lines";

/// Coverage of pipelines by job, without jobs tried again.
pub(crate) async fn coverage(on: &impl Query, pipelines: &[PipelineId]) -> Result<Vec<Covered>> {
    if pipelines.is_empty() {
        return Ok(Vec::new());
    }
    let mut values = Vec::new();
    let wanted = bind_all(&mut values, pipelines);
    let sql = format!(
        "SELECT {COVERED} FROM ci_coverage c JOIN job j ON j.id = c.job_id
         WHERE c.pipeline_id IN ({wanted}) AND j.retried = FALSE ORDER BY c.job_id, c.source"
    );
    on.all(&sql, values).await
}

row! { struct Missed { missed: Option<String> } }

/// Lines not reached in some pipelines, as their jobs' reports tell.
pub(crate) async fn missed(on: &impl Query, pipelines: &[PipelineId]) -> Result<Vec<String>> {
    let mut values = Vec::new();
    let wanted = bind_all(&mut values, pipelines);
    let sql = format!(
        "SELECT c.missed FROM ci_coverage c JOIN job j ON j.id = c.job_id
         WHERE c.pipeline_id IN ({wanted}) AND c.source = 'report' AND j.retried = FALSE ORDER BY c.job_id LIMIT 20"
    );
    let found: Vec<Missed> = on.all(&sql, values).await?;
    Ok(found.into_iter().filter_map(|one| one.missed).collect())
}

row! {
    /// A variable that a job made for those behind it.
    #[derive(Clone, Debug)]
    pub(crate) struct Made {
        pub job_id: JobId,
        pub name: String,
        pub value: String,
    }
}

pub(crate) async fn put_dotenv(tx: &Tx, job: JobId, list: &[(String, String)]) -> Result<()> {
    tx.run("DELETE FROM ci_dotenv WHERE job_id = $1", args![job])
        .await?;
    for (position, (name, value)) in list.iter().enumerate() {
        tx.run(
            "INSERT INTO ci_dotenv (job_id, position, name, value) VALUES ($1, $2, $3, $4)",
            args![job, i64::try_from(position).unwrap_or_default(), name, value],
        )
        .await?;
    }
    Ok(())
}

row! { pub(crate) struct Maker { pub id: JobId, pub name: String, pub stage_index: i64, pub required: Option<String> } }

/// Jobs of a pipeline that made variables, without those tried again.
pub(crate) async fn makers(on: &impl Query, pipeline: PipelineId) -> Result<Vec<Maker>> {
    let sql = "SELECT j.id, j.name, j.stage_index, j.required FROM job j WHERE j.pipeline_id = $1 AND j.retried = FALSE
               AND EXISTS (SELECT 1 FROM ci_dotenv d WHERE d.job_id = j.id) ORDER BY j.stage_index, j.position";
    on.all(sql, args![pipeline]).await
}

pub(crate) async fn dotenv(on: &impl Query, jobs: &[JobId]) -> Result<Vec<Made>> {
    if jobs.is_empty() {
        return Ok(Vec::new());
    }
    let mut values = Vec::new();
    let wanted = bind_all(&mut values, jobs);
    let sql = format!(
        "SELECT job_id, name, value FROM ci_dotenv WHERE job_id IN ({wanted}) ORDER BY job_id, position"
    );
    on.all(&sql, values).await
}

/// Keeps the variables with which someone starts a job; trying it again uses them too.
pub(crate) async fn put_played(tx: &Tx, job: &Job, variables: &[Variable]) -> Result<()> {
    tx.run(
        "INSERT INTO ci_played (pipeline_id, job_name, project_id, variables) VALUES ($1, $2, $3, $4)
         ON CONFLICT (pipeline_id, job_name) DO UPDATE SET variables = $4",
        args![
            job.pipeline_id,
            job.name,
            job.project_id,
            Json(variables.to_vec())
        ],
    )
    .await?;
    Ok(())
}

/// Values of a job's inputs; its later tries have them too.
pub(crate) async fn put_inputs(tx: &Tx, job: &Job, inputs: &Inputs) -> Result<()> {
    tx.run(
        "INSERT INTO ci_played (pipeline_id, job_name, project_id, variables, inputs) VALUES ($1, $2, $3, '[]', $4)
         ON CONFLICT (pipeline_id, job_name) DO UPDATE SET inputs = $4",
        args![job.pipeline_id, job.name, job.project_id, Json(inputs.clone())],
    )
    .await?;
    Ok(())
}

row! { struct PlayedInputs { inputs: Json<Inputs> } }

pub(crate) async fn inputs(on: &impl Query, job: &Job) -> Result<Inputs> {
    let found: Option<PlayedInputs> = on
        .one(
            "SELECT inputs FROM ci_played WHERE pipeline_id = $1 AND job_name = $2",
            args![job.pipeline_id, job.name],
        )
        .await?;
    Ok(found.map(|played| played.inputs.0).unwrap_or_default())
}

row! { struct Played { variables: Json<Vec<Variable>> } }

pub(crate) async fn played(on: &impl Query, job: &Job) -> Result<Vec<Variable>> {
    let found: Option<Played> = on
        .one(
            "SELECT variables FROM ci_played WHERE pipeline_id = $1 AND job_name = $2",
            args![job.pipeline_id, job.name],
        )
        .await?;
    Ok(found.map(|played| played.variables.0).unwrap_or_default())
}

row! { pub(crate) struct Setting { pub coverage_floor: i64, pub coverage_gate: String } }

pub(crate) async fn setting(on: &impl Query, project: ProjectId) -> Result<Option<Setting>> {
    on.one(
        "SELECT coverage_floor, coverage_gate FROM ci_setting WHERE project_id = $1",
        args![project],
    )
    .await
}

pub(crate) async fn put_setting(tx: &Tx, project: ProjectId, floor: i64, gate: &str) -> Result<()> {
    tx.run(
        "INSERT INTO ci_setting (project_id, coverage_floor, coverage_gate) VALUES ($1, $2, $3)
         ON CONFLICT (project_id) DO UPDATE SET coverage_floor = $2, coverage_gate = $3",
        args![project, floor, gate],
    )
    .await?;
    Ok(())
}

row! {
    /// A pipeline that ended.
    #[derive(Clone, Debug)]
    pub(crate) struct Ended {
        pub id: PipelineId,
        pub reference: String,
        pub status: PipelineStatus,
        pub created_at: Timestamp,
        pub finished_at: Timestamp,
    }
}

/// Pipelines of a project that ended since an instant, newest first.
pub(crate) async fn ended(
    on: &impl Query,
    project: ProjectId,
    since: Timestamp,
    limit: i64,
) -> Result<Vec<Ended>> {
    let sql = "SELECT id, reference, status, created_at, finished_at FROM pipeline
               WHERE project_id = $1 AND created_at >= $2 AND finished_at IS NOT NULL ORDER BY id DESC LIMIT $3";
    on.all(sql, args![project, since, limit]).await
}

row! {
    /// A job that ran.
    #[derive(Clone, Debug)]
    pub(crate) struct Ran {
        pub pipeline_id: PipelineId,
        pub name: String,
        pub status: JobStatus,
        pub started_at: Timestamp,
        pub finished_at: Timestamp,
    }
}

/// Jobs of a project that ran since an instant, newest first.
pub(crate) async fn ran(
    on: &impl Query,
    project: ProjectId,
    since: Timestamp,
    limit: i64,
) -> Result<Vec<Ran>> {
    let sql = "SELECT pipeline_id, name, status, started_at, finished_at FROM job
               WHERE project_id = $1 AND created_at >= $2 AND status IN ('success', 'failed')
               AND started_at IS NOT NULL AND finished_at IS NOT NULL ORDER BY id DESC LIMIT $3";
    on.all(sql, args![project, since, limit]).await
}

pub(crate) async fn delete_project(tx: &Tx, project: ProjectId) -> Result<()> {
    for sql in [
        "DELETE FROM ci_test_failure WHERE job_id IN (SELECT job_id FROM ci_test_run WHERE project_id = $1)",
        "DELETE FROM ci_dotenv WHERE job_id IN (SELECT id FROM job WHERE project_id = $1)",
        "DELETE FROM ci_test_run WHERE project_id = $1",
        "DELETE FROM ci_report WHERE project_id = $1",
        "DELETE FROM ci_flaky WHERE project_id = $1",
        "DELETE FROM ci_coverage WHERE project_id = $1",
        "DELETE FROM ci_played WHERE project_id = $1",
        "DELETE FROM ci_setting WHERE project_id = $1",
    ] {
        tx.run(sql, args![project]).await?;
    }
    Ok(())
}
