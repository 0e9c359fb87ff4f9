//! Queries about the queue. Each reads the partial indexes `job_waiting`, `job_waiting_since` and `job_held`; the words
//! of their conditions are those of the indexes, so that both engines use them.

use crate::status::JobStatus;
use bascule_core::{JobId, PipelineId, ProjectId, RunnerId, Timestamp};
use bascule_store::{Query, Result, Tx, Value, args, bind, bind_all, row};

/// Kinds of waiting jobs looked at in one go.
pub const KINDS: usize = 500;
/// Most jobs of runners looked at.
const HELD: i64 = 20_000;

row! {
    /// The first waiting job of a kind.
    pub struct First {
        pub id: JobId,
        pub queue_key: String,
        pub queued_at: Timestamp,
    }
}

row! {
    /// Jobs that a runner has of a project.
    pub struct HeldRow {
        pub project_id: ProjectId,
        pub resource_group: Option<String>,
        pub runner_id: RunnerId,
        pub n: i64,
        pub job: JobId,
        pub heard_at: Option<Timestamp>,
    }
}

row! { struct Limit { group_name: String, running: i64 } }
row! { struct ProjectRow { project_id: ProjectId } }

row! {
    /// A job that a runner has.
    pub struct HeldJobRow {
        pub id: JobId,
        pub project_id: ProjectId,
        pub runner_id: RunnerId,
        pub name: String,
        pub status: JobStatus,
        pub started_at: Option<Timestamp>,
    }
}

row! {
    /// A waiting job with its place.
    pub struct PlacedRow {
        pub id: JobId,
        pub pipeline_id: PipelineId,
        pub project_id: ProjectId,
        pub name: String,
        pub stage: String,
        pub reference: String,
        pub queue_key: Option<String>,
        pub queued_at: Option<Timestamp>,
        pub place: i64,
    }
}

/// The first waiting job of each kind, from a key on. Leaps from kind to kind through the index, so that its cost goes
/// with the kinds and not with the jobs.
pub async fn firsts(on: &impl Query, from: &str) -> Result<Vec<First>> {
    let sql = format!(
        "WITH RECURSIVE kind(queue_key) AS (
            SELECT (SELECT queue_key FROM job WHERE status = 'pending' AND runner_id IS NULL AND queue_key >= $1
                    ORDER BY queue_key LIMIT 1)
            UNION ALL
            SELECT (SELECT j.queue_key FROM job j WHERE j.status = 'pending' AND j.runner_id IS NULL
                    AND j.queue_key > kind.queue_key ORDER BY j.queue_key LIMIT 1)
            FROM kind WHERE kind.queue_key IS NOT NULL
        )
        SELECT k.queue_key,
            (SELECT w.id FROM job w WHERE w.status = 'pending' AND w.runner_id IS NULL
             AND w.queue_key = k.queue_key ORDER BY w.queued_at, w.id LIMIT 1) AS id,
            (SELECT w.queued_at FROM job w WHERE w.status = 'pending' AND w.runner_id IS NULL
             AND w.queue_key = k.queue_key ORDER BY w.queued_at, w.id LIMIT 1) AS queued_at
        FROM (SELECT queue_key FROM kind WHERE queue_key IS NOT NULL LIMIT {KINDS}) AS k"
    );
    on.all(&sql, args![from]).await
}

/// Those that wait longest, whatever they ask for.
pub async fn longest(on: &impl Query, limit: i64) -> Result<Vec<First>> {
    on.all(
        "SELECT id, queue_key, queued_at FROM job WHERE status = 'pending' AND runner_id IS NULL
         AND queued_at IS NOT NULL AND queue_key IS NOT NULL ORDER BY queued_at, id LIMIT $1",
        args![limit],
    )
    .await
}

/// What runners have, also what they were only offered.
pub async fn held(on: &impl Query) -> Result<Vec<HeldRow>> {
    let sql = format!(
        "SELECT project_id, resource_group, runner_id, COUNT(*) AS n, MIN(id) AS job, MAX(heard_at) AS heard_at FROM job
         WHERE runner_id IS NOT NULL AND finished_at IS NULL GROUP BY project_id, resource_group, runner_id LIMIT {HELD}"
    );
    on.all(&sql, args![]).await
}

/// The same job by job, for pages.
pub async fn held_jobs(on: &impl Query) -> Result<Vec<HeldJobRow>> {
    let mut rows: Vec<HeldJobRow> = on
        .all(
            "SELECT id, project_id, runner_id, name, status, started_at FROM job
             WHERE runner_id IS NOT NULL AND finished_at IS NULL LIMIT 1000",
            args![],
        )
        .await?;
    rows.sort_by_key(|row| row.id);
    Ok(rows)
}

/// Changes whenever another replica made something happen that may concern a waiting runner.
pub async fn pulse(on: &impl Query) -> Result<(i64, i64)> {
    row! { struct Pulse { newest: Option<i64>, held: i64 } }
    let found: Option<Pulse> = on
        .one(
            "SELECT (SELECT queued_at FROM job WHERE status = 'pending' AND runner_id IS NULL AND queued_at IS NOT NULL
                     ORDER BY queued_at DESC, id DESC LIMIT 1) AS newest,
                    (SELECT COUNT(*) FROM job WHERE runner_id IS NOT NULL AND finished_at IS NULL) AS held",
            args![],
        )
        .await?;
    Ok(found.map_or((0, 0), |p| (p.newest.unwrap_or_default(), p.held)))
}

/// Most jobs that each group may have at once, where it has a limit.
pub async fn limits(on: &impl Query) -> Result<Vec<(String, i64)>> {
    let rows: Vec<Limit> = on
        .all(
            "SELECT group_name, running FROM ci_group_limit ORDER BY group_name LIMIT 10000",
            args![],
        )
        .await?;
    Ok(rows
        .into_iter()
        .map(|row| (row.group_name, row.running))
        .collect())
}

/// A group's limit.
pub async fn limit(on: &impl Query, group: &str) -> Result<Option<i64>> {
    let found: Option<Limit> = on
        .one(
            "SELECT group_name, running FROM ci_group_limit WHERE group_name = $1",
            args![group],
        )
        .await?;
    Ok(found.map(|row| row.running))
}

pub async fn set_limit(tx: &Tx, group: &str, running: Option<i64>, now: Timestamp) -> Result<()> {
    match running {
        Some(running) => {
            tx.run(
                "INSERT INTO ci_group_limit (group_name, running, set_at) VALUES ($1, $2, $3)
                 ON CONFLICT (group_name) DO UPDATE SET running = $2, set_at = $3",
                args![group, running, now],
            )
            .await?
        }
        None => {
            tx.run("DELETE FROM ci_group_limit WHERE group_name = $1", args![group])
                .await?
        }
    };
    Ok(())
}

/// Makes other replicas wait that weigh the same group's limit, until the end of the transaction.
pub async fn lock_limit(tx: &Tx, group: &str) -> Result<()> {
    tx.run(
        "UPDATE ci_group_limit SET running = running WHERE group_name = $1",
        args![group],
    )
    .await?;
    Ok(())
}

/// Makes other replicas wait that want the same resource group, until the end of the transaction.
pub async fn lock_resource(tx: &Tx, project: ProjectId, name: &str) -> Result<()> {
    tx.run(
        "INSERT INTO ci_resource_lock (project_id, name) VALUES ($1, $2)
         ON CONFLICT (project_id, name) DO UPDATE SET name = $2",
        args![project, name],
    )
    .await?;
    Ok(())
}

row! {
    /// What a waiting job asks for.
    pub struct DemandRow {
        pub id: JobId,
        pub queue_key: String,
    }
}

/// What the waiting jobs of a pipeline ask for.
pub async fn demands(on: &impl Query, pipeline: PipelineId) -> Result<Vec<DemandRow>> {
    on.all(
        "SELECT id, queue_key FROM job WHERE pipeline_id = $1 AND status = 'pending' AND runner_id IS NULL
         AND queue_key IS NOT NULL LIMIT 2000",
        args![pipeline],
    )
    .await
}

/// Projects that have waiting jobs.
pub async fn projects(on: &impl Query) -> Result<Vec<ProjectId>> {
    let rows: Vec<ProjectRow> = on
        .all(
            "SELECT project_id FROM job WHERE status = 'pending' AND runner_id IS NULL
             GROUP BY project_id || '' , project_id LIMIT 10000",
            args![],
        )
        .await?;
    Ok(rows.into_iter().map(|row| row.project_id).collect())
}

/// Whose waiting jobs are wanted.
#[derive(Clone, Debug)]
pub enum Only {
    /// All.
    All,
    /// Those of some projects.
    Projects(Vec<ProjectId>),
    /// One.
    Job(JobId),
}

impl Only {
    // With `|| ''` the engines do not walk all jobs that the project ever had, but those that wait.
    fn condition(&self, values: &mut Vec<Value>) -> String {
        match self {
            Self::All => "TRUE".to_owned(),
            Self::Projects(list) => format!("(j.project_id || '') IN ({})", bind_all(values, list)),
            Self::Job(id) => format!("j.id = {}", bind(values, id)),
        }
    }
}

/// Waiting jobs in the order in which they are to start if no other came: each project's first job, counted behind what
/// it has already, then each project's second, and so on.
pub async fn placed(on: &impl Query, only: &Only, offset: i64, limit: i64) -> Result<Vec<PlacedRow>> {
    let mut values = args![limit, offset];
    let condition = only.condition(&mut values);
    let sql = format!(
        "WITH held AS (
            SELECT project_id, COUNT(*) AS n FROM job WHERE runner_id IS NOT NULL AND finished_at IS NULL
            GROUP BY project_id
        ), ranked AS (
            SELECT w.id, w.queued_at, COALESCE(held.n, 0)
                + ROW_NUMBER() OVER (PARTITION BY w.project_id ORDER BY w.queued_at, w.id) AS turn
            FROM job w LEFT JOIN held ON held.project_id = w.project_id
            WHERE w.status = 'pending' AND w.runner_id IS NULL
        ), placed AS (
            SELECT id, ROW_NUMBER() OVER (ORDER BY turn, queued_at, id) AS place FROM ranked
        )
        SELECT j.id, j.pipeline_id, j.project_id, j.name, j.stage, j.queue_key, j.queued_at, p.reference, placed.place
        FROM placed JOIN job j ON j.id = placed.id JOIN pipeline p ON p.id = j.pipeline_id
        WHERE {condition} ORDER BY placed.place LIMIT $1 OFFSET $2"
    );
    on.all(&sql, values).await
}

/// How many jobs wait.
pub async fn waiting(on: &impl Query, only: &Only) -> Result<i64> {
    let mut values = args![];
    let condition = only.condition(&mut values);
    let sql = format!(
        "SELECT COUNT(*) AS n FROM job j WHERE j.status = 'pending' AND j.runner_id IS NULL AND {condition}"
    );
    on.count(&sql, values).await
}

/// Jobs that started since a moment.
pub async fn started_since(on: &impl Query, since: Timestamp) -> Result<i64> {
    on.count(
        "SELECT COUNT(*) AS n FROM job WHERE started_at > $1",
        args![since],
    )
    .await
}
