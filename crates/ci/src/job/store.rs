//! Queries about jobs.

use super::{
    Job,
    access::{ENTRIES, Entry},
};
use crate::{
    config::{AllowFailure, Need, When},
    pipeline::state::{JobState, Standing},
    status::JobStatus,
};
use bascule_core::{JobId, PipelineId, ProjectId, RunnerId, Timestamp};
use bascule_store::{Json, Migration, Query, Result, Tx, Value, args, bind, bind_all, places, row};
use std::collections::{HashMap, HashSet};

const COLUMNS: &str = "id, pipeline_id, project_id, name, stage, stage_index, position, status, run_when, \
    allow_failure, needs, dependencies, variables, spec, tags, resource_group, timeout, runner_id, failure_reason, \
    exit_code, retried, attempt, created_at, queued_at, started_at, finished_at, heard_at, trace_bytes, trace_crc, \
    bridge, downstream_id, required, gate, start_in, run_at";

/// Which jobs make a release: those wait for all that the group requires.
pub const RELEASES_WAIT: Migration = Migration {
    id: "ci-2711-releases-wait",
    sql: "ALTER TABLE job ADD COLUMN releases BOOLEAN NOT NULL DEFAULT FALSE;",
};

/// What a runner hears of a job that ended is for who had its token.
pub const LAST_TOKENS: Migration = Migration {
    id: "ci-2711-last-tokens",
    sql: "ALTER TABLE job ADD COLUMN last_token_hash TEXT;",
};

/// Jobs stored by one statement: what it binds stays below what either engine allows.
const AT_ONCE: usize = 100;

pub async fn insert(tx: &Tx, job: &Job) -> Result<()> {
    insert_all(tx, std::slice::from_ref(job)).await
}

/// Stores new jobs of one pipeline.
pub async fn insert_all(tx: &Tx, jobs: &[Job]) -> Result<()> {
    for some in jobs.chunks(AT_ONCE) {
        let mut values = args![];
        let mut rows = Vec::with_capacity(some.len());
        for job in some {
            rows.push(row_of(&mut values, job)?);
        }
        let sql = format!(
            "INSERT INTO job ({COLUMNS}, queue_key, releases) VALUES {}",
            rows.join(", ")
        );
        tx.run(&sql, values).await?;
    }
    Ok(())
}

/// Binds a job's columns; its places in the statement.
fn row_of(values: &mut Vec<Value>, job: &Job) -> Result<String> {
    let first = values.len();
    let needs = job
        .needs
        .as_ref()
        .and_then(|needs| serde_json::to_string(&needs.0).ok());
    let dependencies = job
        .dependencies
        .as_ref()
        .and_then(|list| serde_json::to_string(&list.0).ok());
    values.extend(args![
        job.id,
        job.pipeline_id,
        job.project_id,
        job.name,
        job.stage,
        job.stage_index,
        job.position,
        job.status,
        job.run_when,
        job.allow_failure,
        needs,
        dependencies,
        job.variables,
        job.spec,
        job.tags,
        job.resource_group,
        job.timeout,
        job.runner_id,
        job.failure_reason,
        job.exit_code,
        job.retried,
        job.attempt,
        job.created_at,
        job.queued_at,
        job.started_at,
        job.finished_at,
        job.heard_at,
        job.trace_bytes,
        job.trace_crc,
        job.bridge,
        job.downstream_id,
        job.required,
        job.gate,
        job.start_in,
        job.run_at,
    ]);
    let columns = places(first + 1, values.len() - first);
    // What it asks of a runner, for the queue: see `runner::fair::Demand`.
    let tags = serde_json::to_string(&job.tags.0)?;
    let before = bind(values, &format!("{}\t", job.project_id));
    let pipeline = bind(values, &job.pipeline_id);
    let group = job.resource_group.as_deref().unwrap_or_default();
    let required = if job.required.is_some() { "!" } else { "" };
    let behind = bind(values, &format!("{required}\t{tags}\t{group}"));
    let releases = bind(values, &job.spec.0.release.is_some());
    Ok(format!(
        "({columns}, {before} || COALESCE((SELECT CASE WHEN p.protected THEN 'p' ELSE '-' END FROM pipeline p
          WHERE p.id = {pipeline}), '-') || {behind}, {releases})"
    ))
}

pub async fn find(on: &impl Query, id: JobId) -> Result<Option<Job>> {
    on.one(&format!("SELECT {COLUMNS} FROM job WHERE id = $1"), args![id])
        .await
}

/// All jobs of a pipeline, also those tried again, by place and try.
pub async fn of_pipeline(on: &impl Query, pipeline: PipelineId) -> Result<Vec<Job>> {
    on.all(
        &format!("SELECT {COLUMNS} FROM job WHERE pipeline_id = $1 ORDER BY position, id"),
        args![pipeline],
    )
    .await
}

row! {
    struct StateRow {
        id: JobId,
        name: String,
        stage_index: i64,
        status: JobStatus,
        run_when: Json<When>,
        allow_failure: Json<AllowFailure>,
        needs: Option<Json<Vec<Need>>>,
        exit_code: Option<i64>,
        resource_group: Option<String>,
        bridge: bool,
        required: Option<String>,
        gate: bool,
        releases: bool,
    }
}

/// The jobs of a pipeline as far as their order needs them, without those tried again: scripts and
/// variables of hundreds of jobs need not be read each time one of them ends.
pub async fn states(on: &impl Query, pipeline: PipelineId) -> Result<Vec<JobState>> {
    let sql = "SELECT id, name, stage_index, status, run_when, allow_failure, needs, exit_code,
               resource_group, bridge, required, gate, releases FROM job WHERE pipeline_id = $1 AND retried = FALSE ORDER BY position, id";
    let rows: Vec<StateRow> = on.all(sql, args![pipeline]).await?;
    Ok(rows
        .into_iter()
        .map(|row| JobState {
            id: row.id,
            name: row.name,
            stage: row.stage_index,
            status: row.status,
            when: row.run_when.0,
            allow_failure: row.allow_failure.0.stands(row.status, row.exit_code),
            needs: row
                .needs
                .map(|needs| needs.0.into_iter().map(|need| need.job).collect()),
            track: super::track(row.required.is_some(), row.gate),
            required: row.required,
            bridge: row.bridge,
            resource: row.resource_group.is_some(),
            releases: row.releases,
        })
        .collect())
}

row! {
    /// A job that the group requires, as it ran for a commit.
    pub struct RequiredJob {
        pub name: String,
        pub status: JobStatus,
        pub allow_failure: Json<AllowFailure>,
        pub exit_code: Option<i64>,
        pub pipeline_id: PipelineId,
    }
}

impl RequiredJob {
    pub fn standing(&self) -> Standing {
        Standing {
            status: self.status,
            allow_failure: self.allow_failure.0.stands(self.status, self.exit_code),
        }
    }
}

/// The required jobs of a commit's pipelines, or of what merging it would make, those of the newest pipeline first. Of a
/// branch's pipelines, or of any branch's.
pub async fn required_of_commit(
    on: &impl Query,
    project: ProjectId,
    branch: Option<&str>,
    sha: &str,
) -> Result<Vec<RequiredJob>> {
    let sql = |reference: &str| {
        format!(
            "SELECT name, status, allow_failure, exit_code, pipeline_id FROM job
             WHERE required IS NOT NULL AND retried = FALSE AND pipeline_id IN (
                 SELECT id FROM pipeline WHERE project_id = $1 AND (sha = $2 OR head_sha = $2) AND tag = FALSE
                 AND source <> 'parent_pipeline' {reference} ORDER BY id DESC LIMIT 50)
             ORDER BY pipeline_id DESC, id DESC"
        )
    };
    match branch {
        Some(branch) => {
            on.all(&sql("AND reference = $3"), args![project, sha, branch])
                .await
        }
        None => on.all(&sql(""), args![project, sha]).await,
    }
}

row! {
    struct StandingRow {
        status: JobStatus,
        allow_failure: Json<AllowFailure>,
        exit_code: Option<i64>,
        bridges: i64,
        resources: i64,
    }
}

/// How a pipeline's jobs stand, without those tried again.
pub struct Standings {
    /// Each way in which some stand.
    pub ways: Vec<Standing>,
    /// Whether a bridge or a job of a resource group is among them.
    pub engine: bool,
}

/// Counted by the database from an index ([`STANDING`]): thousands of jobs need not be read each time one of them ends.
pub async fn standings(on: &impl Query, pipeline: PipelineId) -> Result<Standings> {
    let sql = "SELECT status, allow_failure, exit_code, SUM(CASE WHEN bridge THEN 1 ELSE 0 END) AS bridges,
               COUNT(resource_group) AS resources FROM job WHERE pipeline_id = $1 AND retried = FALSE
               GROUP BY status, allow_failure, exit_code";
    let rows: Vec<StandingRow> = on.all(sql, args![pipeline]).await?;
    Ok(Standings {
        engine: rows.iter().any(|row| row.bridges + row.resources > 0),
        ways: rows
            .into_iter()
            .map(|row| Standing {
                status: row.status,
                allow_failure: row.allow_failure.0.stands(row.status, row.exit_code),
            })
            .collect(),
    })
}

/// All that [`standings`] asks for, by pipeline.
pub const STANDING: Migration = Migration {
    id: "ci-2711-standing",
    sql: "CREATE INDEX job_standing ON job (pipeline_id, retried, status, allow_failure, exit_code, bridge, resource_group);",
};

/// The job whose present token this is.
pub async fn by_token(on: &impl Query, hash: &str) -> Result<Option<Job>> {
    on.one(
        &format!("SELECT {COLUMNS} FROM job WHERE token_hash = $1"),
        args![hash],
    )
    .await
}

/// How a waiting job is given to a runner.
pub struct Offer {
    pub runner: RunnerId,
    pub token_hash: String,
    pub timeout: i64,
    /// Whether the runner can let `after_script` run when the job is stopped.
    pub graceful: bool,
    /// Whether the job stays pending until the runner says that it runs.
    pub two_phase: bool,
    pub now: Timestamp,
}

/// Gives a waiting job to a runner; `false` if someone else was quicker or its resource group is in use.
pub async fn take(tx: &Tx, job: JobId, offer: &Offer) -> Result<bool> {
    const FREE: &str = "status = 'pending' AND runner_id IS NULL AND (resource_group IS NULL OR NOT EXISTS (
        SELECT 1 FROM job other WHERE other.project_id = job.project_id AND other.runner_id IS NOT NULL
        AND other.finished_at IS NULL AND other.resource_group = job.resource_group))";
    let rows = if offer.two_phase {
        tx.run(
            &format!(
                "UPDATE job SET runner_id = $2, token_hash = $3, heard_at = $4, graceful = $5 WHERE id = $1 AND {FREE}"
            ),
            args![job, offer.runner, offer.token_hash, offer.now, offer.graceful],
        )
        .await?
    } else {
        tx.run(
            &format!(
                "UPDATE job SET status = 'running', runner_id = $2, token_hash = $3, timeout = $6, started_at = $4,
                     heard_at = $4, graceful = $5 WHERE id = $1 AND {FREE}"
            ),
            args![job, offer.runner, offer.token_hash, offer.now, offer.graceful, offer.timeout],
        )
        .await?
    };
    Ok(rows == 1)
}

/// The runner to which a job was offered runs it.
pub async fn accept(tx: &Tx, job: JobId, runner: RunnerId, timeout: i64, now: Timestamp) -> Result<bool> {
    let rows = tx
        .run(
            "UPDATE job SET status = 'running', timeout = $3, started_at = $4, heard_at = $4
             WHERE id = $1 AND status = 'pending' AND runner_id = $2",
            args![job, runner, timeout, now],
        )
        .await?;
    Ok(rows == 1)
}

row! { struct IdRow { id: JobId } }

/// Jobs that were offered and neither taken nor kept alive since.
pub async fn unanswered(on: &impl Query, silent_since: Timestamp) -> Result<Vec<JobId>> {
    let rows: Vec<IdRow> = on
        .all(
            "SELECT id FROM job WHERE runner_id IS NOT NULL AND finished_at IS NULL AND status = 'pending'
             AND heard_at < $1 LIMIT 100",
            args![silent_since],
        )
        .await?;
    Ok(rows.into_iter().map(|row| row.id).collect())
}

/// Ends an offer, so that the job is in the queue again, where it was.
pub async fn take_back(tx: &Tx, job: JobId, silent_since: Timestamp) -> Result<bool> {
    let rows = tx
        .run(
            "UPDATE job SET runner_id = NULL, last_token_hash = token_hash, token_hash = NULL, heard_at = NULL
             WHERE id = $1 AND status = 'pending' AND runner_id IS NOT NULL AND heard_at < $2",
            args![job, silent_since],
        )
        .await?;
    Ok(rows == 1)
}

/// Puts a job of which its runner knows nothing back into the queue, where it was.
pub async fn put_back(tx: &Tx, job: JobId) -> Result<()> {
    tx.run(
        "UPDATE job SET status = 'pending', runner_id = NULL, token_hash = NULL, started_at = NULL, heard_at = NULL
         WHERE id = $1 AND status IN ('pending', 'running') AND runner_id IS NOT NULL",
        args![job],
    )
    .await?;
    Ok(())
}

/// Whether a token was a job's until the job ended or went back to the queue.
pub async fn was_token(on: &impl Query, job: JobId, hash: &str) -> Result<bool> {
    let sql = "SELECT COUNT(*) AS n FROM job WHERE id = $1 AND last_token_hash = $2";
    Ok(on.count(sql, args![job, hash]).await? > 0)
}

/// Lets a job that was stopped run its `after_script`, if its runner can do so.
pub async fn set_canceling(tx: &Tx, id: JobId) -> Result<bool> {
    let rows = tx
        .run(
            "UPDATE job SET status = 'canceling' WHERE id = $1 AND status = 'running' AND graceful = TRUE",
            args![id],
        )
        .await?;
    Ok(rows == 1)
}

/// Moves a job that has not begun to another status. A bridge that begins counts as started; the time of a delayed
/// job is counted from now.
pub async fn set_waiting(tx: &Tx, id: JobId, status: JobStatus, now: Timestamp) -> Result<()> {
    set_all_waiting(tx, &[id], status, now).await
}

/// The same for several.
pub async fn set_all_waiting(tx: &Tx, ids: &[JobId], status: JobStatus, now: Timestamp) -> Result<()> {
    let queued = matches!(status, JobStatus::Pending | JobStatus::WaitingForResource).then_some(now);
    let started = (status == JobStatus::Running).then_some(now);
    let finished = status.is_final().then_some(now);
    for some in ids.chunks(1000) {
        let mut values = args![status, queued, started, finished];
        let places = bind_all(&mut values, some);
        let sql = format!(
            "UPDATE job SET status = $1, queued_at = $2, started_at = $3, finished_at = $4 WHERE id IN ({places})"
        );
        tx.run(&sql, values).await?;
        if status == JobStatus::Scheduled {
            let mut values = args![now];
            let places = bind_all(&mut values, some);
            let sql = format!(
                "UPDATE job SET run_at = $1 + COALESCE(start_in, 0) * 1000000 WHERE id IN ({places})"
            );
            tx.run(&sql, values).await?;
        }
    }
    Ok(())
}

/// How many earlier tries of a job failed for a reason.
pub async fn lost_before(on: &impl Query, job: &Job, reason: &str) -> Result<i64> {
    on.count(
        "SELECT COUNT(*) AS n FROM job WHERE pipeline_id = $1 AND name = $2 AND id < $3 AND failure_reason = $4",
        args![job.pipeline_id, job.name, job.id, reason],
    )
    .await
}

/// The names of some jobs.
pub async fn names(on: &impl Query, ids: &[JobId]) -> Result<HashMap<JobId, String>> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    row! { struct Row { id: JobId, name: String } }
    let mut values = args![];
    let places = bind_all(&mut values, ids);
    let sql = format!("SELECT id, name FROM job WHERE id IN ({places})");
    let rows: Vec<Row> = on.all(&sql, values).await?;
    Ok(rows.into_iter().map(|row| (row.id, row.name)).collect())
}

row! { pub(crate) struct Outline { pub id: JobId, pub name: String, pub status: JobStatus } }

/// Names and states of some jobs.
pub(crate) async fn outlines(on: &impl Query, ids: &[JobId]) -> Result<HashMap<JobId, Outline>> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let mut values = args![];
    let places = bind_all(&mut values, ids);
    let sql = format!("SELECT id, name, status FROM job WHERE id IN ({places})");
    let rows: Vec<Outline> = on.all(&sql, values).await?;
    Ok(rows.into_iter().map(|row| (row.id, row)).collect())
}

row! { struct StopJob { pipeline_id: PipelineId, id: JobId, name: String, status: JobStatus } }

/// Jobs by their pipelines and names, of those that are not replaced by a later try.
pub(crate) async fn named(
    on: &impl Query,
    wanted: &[(PipelineId, &str)],
) -> Result<HashMap<(PipelineId, String), Outline>> {
    if wanted.is_empty() {
        return Ok(HashMap::new());
    }
    let mut values = args![];
    let pipelines: Vec<PipelineId> = wanted.iter().map(|(pipeline, _)| *pipeline).collect();
    let names: Vec<&str> = wanted.iter().map(|(_, name)| *name).collect();
    let places = bind_all(&mut values, &pipelines);
    let called = bind_all(&mut values, &names);
    let sql = format!(
        "SELECT pipeline_id, id, name, status FROM job WHERE pipeline_id IN ({places}) AND name IN ({called})
         AND retried = FALSE"
    );
    let rows: Vec<StopJob> = on.all(&sql, values).await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let outline = Outline {
                id: row.id,
                name: row.name.clone(),
                status: row.status,
            };
            ((row.pipeline_id, row.name), outline)
        })
        .collect())
}

/// Delayed jobs whose time has come, the longest overdue first.
pub async fn due(on: &impl Query, now: Timestamp) -> Result<Vec<Job>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM job WHERE status = 'scheduled' AND run_at <= $1 ORDER BY run_at, id LIMIT 100"
    );
    on.all(&sql, args![now]).await
}

/// Bridges that have begun and have not made their pipeline yet, by number, a page of those behind one.
pub async fn bridges_to_cross(on: &impl Query, after: JobId) -> Result<Vec<Job>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM job WHERE status = 'running' AND bridge AND downstream_id IS NULL AND id > $1
         ORDER BY id LIMIT 100"
    );
    on.all(&sql, args![after]).await
}

/// Bridges that run as a pipeline does, by number, a page of those behind one.
pub async fn bridges_to(on: &impl Query, pipeline: PipelineId, after: JobId) -> Result<Vec<Job>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM job WHERE downstream_id = $1 AND status = 'running' AND bridge AND id > $2
         ORDER BY id LIMIT 100"
    );
    on.all(&sql, args![pipeline, after]).await
}

/// Bridges of other projects that wait for pipelines of a project, by number, a page of those behind one.
pub async fn bridges_into(on: &impl Query, project: ProjectId, after: JobId) -> Result<Vec<Job>> {
    let columns = COLUMNS.replace(", ", ", j.");
    let sql = format!(
        "SELECT j.{columns} FROM pipeline p JOIN job j ON j.downstream_id = p.id
         WHERE p.project_id = $1 AND j.project_id <> $1 AND j.status = 'running' AND j.bridge AND j.id > $2
         ORDER BY j.id LIMIT 100"
    );
    on.all(&sql, args![project, after]).await
}

/// Notes the pipeline that a bridge makes; `false` if the bridge does not run any more, and then must not make it.
pub async fn set_downstream(tx: &Tx, id: JobId, pipeline: PipelineId) -> Result<bool> {
    let sql = "UPDATE job SET downstream_id = $2 WHERE id = $1 AND status = 'running'";
    Ok(tx.run(sql, args![id, pipeline]).await? == 1)
}

/// Puts a bridge that ended back to running, because what it made runs again.
pub async fn reopen(tx: &Tx, id: JobId) -> Result<bool> {
    let sql = "UPDATE job SET status = 'running', finished_at = NULL, failure_reason = NULL, exit_code = NULL
               WHERE id = $1 AND bridge AND retried = FALSE AND status IN ('success', 'failed', 'canceled')";
    Ok(tx.run(sql, args![id]).await? == 1)
}

/// How jobs stand that have not ended.
pub const OPEN: &[JobStatus] = &JobStatus::OPEN;

/// Ends a job if it stands as expected; its token ends with it.
pub async fn finish(
    tx: &Tx,
    id: JobId,
    expected: &[JobStatus],
    status: JobStatus,
    reason: Option<&str>,
    exit_code: Option<i64>,
    now: Timestamp,
) -> Result<bool> {
    let states: Vec<String> = expected.iter().map(|s| format!("'{s}'")).collect();
    let sql = format!(
        "UPDATE job SET status = $2, failure_reason = $3, exit_code = $4, finished_at = $5,
         last_token_hash = COALESCE(token_hash, last_token_hash), token_hash = NULL
         WHERE id = $1 AND status IN ({})",
        states.join(", ")
    );
    Ok(tx.run(&sql, args![id, status, reason, exit_code, now]).await? == 1)
}

pub async fn mark_retried(tx: &Tx, id: JobId) -> Result<bool> {
    Ok(tx
        .run(
            "UPDATE job SET retried = TRUE WHERE id = $1 AND retried = FALSE",
            args![id],
        )
        .await?
        == 1)
}

pub async fn heard(tx: &Tx, id: JobId, now: Timestamp) -> Result<()> {
    tx.run(
        "UPDATE job SET heard_at = $2 WHERE id = $1 AND runner_id IS NOT NULL AND finished_at IS NULL",
        args![id, now],
    )
    .await?;
    Ok(())
}

/// Jobs that run or are being stopped whose runner was not heard of since, or which took longer than allowed.
pub async fn overdue(on: &impl Query, silent_since: Timestamp, now: Timestamp) -> Result<Vec<Job>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM job WHERE runner_id IS NOT NULL AND finished_at IS NULL
         AND status IN ('running', 'canceling') AND (heard_at < $1 OR started_at + (timeout + 60) * 1000000 < $2) LIMIT 100"
    );
    on.all(&sql, args![silent_since, now]).await
}

/// Jobs that wait for a runner since before a time, the longest waiting first.
pub async fn pending_since(on: &impl Query, since: Timestamp) -> Result<Vec<Job>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM job WHERE status = 'pending' AND runner_id IS NULL AND queued_at IS NOT NULL AND queued_at < $1
         ORDER BY queued_at, id LIMIT 100"
    );
    on.all(&sql, args![since]).await
}

pub async fn running_on(on: &impl Query, runner: RunnerId) -> Result<Vec<Job>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM job WHERE runner_id = $1 AND runner_id IS NOT NULL AND finished_at IS NULL LIMIT 1000"
    );
    on.all(&sql, args![runner]).await
}

/// How many jobs wait for a runner.
pub async fn queue_length(on: &impl Query) -> Result<i64> {
    on.count(
        "SELECT COUNT(*) AS n FROM job WHERE status = 'pending' AND runner_id IS NULL",
        args![],
    )
    .await
}

/// A job of a project, if it is that project's.
pub async fn in_project(on: &impl Query, project: ProjectId, id: JobId) -> Result<Option<Job>> {
    Ok(find(on, id).await?.filter(|job| job.project_id == project))
}

/// The newest job of a name that ended well on a branch, or a tag, of a project. A tag may be called like a branch.
pub async fn newest_success(
    on: &impl Query,
    project: ProjectId,
    name: &str,
    (reference, tag): (&str, bool),
) -> Result<Option<Job>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM job WHERE project_id = $1 AND name = $2 AND status = 'success' AND retried = FALSE
         AND EXISTS (SELECT 1 FROM pipeline p WHERE p.id = job.pipeline_id AND p.reference = $3 AND p.tag = $4)
         ORDER BY id DESC LIMIT 1"
    );
    on.one(&sql, args![project, name, reference, tag]).await
}

/// Jobs of a pipeline, as they were last tried, that left an archive which is no longer kept.
pub async fn archives_gone(on: &impl Query, pipeline: PipelineId, now: Timestamp) -> Result<HashSet<JobId>> {
    let sql = "SELECT id FROM job WHERE pipeline_id = $1 AND retried = FALSE AND (archive_gone OR EXISTS (
        SELECT 1 FROM job_artifact a WHERE a.job_id = job.id AND a.kind = 'archive' AND a.expires_at <= $2))";
    let rows: Vec<IdRow> = on.all(sql, args![pipeline, now]).await?;
    Ok(rows.into_iter().map(|row| row.id).collect())
}

/// Whether a job left an archive that is no longer kept.
pub async fn archive_is_gone(on: &impl Query, job: JobId, now: Timestamp) -> Result<bool> {
    let sql = "SELECT COUNT(*) AS n FROM job WHERE id = $1 AND (archive_gone OR EXISTS (
        SELECT 1 FROM job_artifact a WHERE a.job_id = job.id AND a.kind = 'archive' AND a.expires_at <= $2))";
    Ok(on.count(sql, args![job, now]).await? > 0)
}

/// The job of a name of a pipeline, as it was last tried.
pub async fn of_pipeline_named(on: &impl Query, pipeline: PipelineId, name: &str) -> Result<Option<Job>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM job WHERE pipeline_id = $1 AND name = $2 AND retried = FALSE ORDER BY id DESC LIMIT 1"
    );
    on.one(&sql, args![pipeline, name]).await
}

/// Whose job tokens a project lets in.
pub async fn entries(on: &impl Query, project: ProjectId) -> Result<Vec<Entry>> {
    let sql = format!(
        "SELECT path, added_at FROM ci_job_token_access WHERE project_id = $1 ORDER BY path LIMIT {ENTRIES}"
    );
    on.all(&sql, args![project]).await
}

/// Whether it lets one of these in.
pub async fn lets_in(on: &impl Query, project: ProjectId, paths: &[&str]) -> Result<bool> {
    let mut values = args![project];
    let places = bind_all(&mut values, paths);
    let sql =
        format!("SELECT COUNT(*) AS n FROM ci_job_token_access WHERE project_id = $1 AND path IN ({places})");
    Ok(on.count(&sql, values).await? > 0)
}

pub async fn add_entry(tx: &Tx, project: ProjectId, path: &str, now: Timestamp) -> Result<()> {
    tx.run(
        "INSERT INTO ci_job_token_access (project_id, path, added_at) VALUES ($1, $2, $3)
         ON CONFLICT (project_id, path) DO NOTHING",
        args![project, path, now],
    )
    .await?;
    Ok(())
}

pub async fn remove_entry(tx: &Tx, project: ProjectId, path: &str) -> Result<bool> {
    let gone = tx
        .run(
            "DELETE FROM ci_job_token_access WHERE project_id = $1 AND path = $2",
            args![project, path],
        )
        .await?;
    Ok(gone == 1)
}

row! { struct Sealed { sealed: String } }

/// The key that signs jobs' identity tokens, sealed.
pub async fn id_key(on: &impl Query) -> Result<Option<String>> {
    let found: Option<Sealed> = on
        .one("SELECT sealed FROM ci_id_key WHERE one = 1", args![])
        .await?;
    Ok(found.map(|row| row.sealed))
}

/// Keeps it, unless another replica was quicker.
pub async fn keep_id_key(tx: &Tx, sealed: &str, now: Timestamp) -> Result<()> {
    tx.run(
        "INSERT INTO ci_id_key (one, sealed, made_at) VALUES (1, $1, $2) ON CONFLICT (one) DO NOTHING",
        args![sealed, now],
    )
    .await?;
    Ok(())
}
