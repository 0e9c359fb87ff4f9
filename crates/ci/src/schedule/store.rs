//! The table of schedules. The only file with these queries.

use crate::config::Inputs;
use bascule_core::{PipelineId, ProjectId, Timestamp};
use bascule_store::{Json, Migration, Query, Result, Tx, args, row};
use std::collections::BTreeMap;

/// Tables of this room.
pub const MIGRATION: Migration = Migration {
    id: "ci-2611-schedule",
    sql: "
        CREATE TABLE ci_schedule (
            id BIGINT PRIMARY KEY,
            project_id TEXT NOT NULL,
            description TEXT NOT NULL,
            reference TEXT NOT NULL,
            cron TEXT NOT NULL,
            timezone TEXT NOT NULL,
            variables TEXT NOT NULL,
            active BOOLEAN NOT NULL,
            owner_id TEXT NOT NULL,
            owner_name TEXT NOT NULL,
            next_run_at BIGINT,
            last_run_at BIGINT,
            last_pipeline BIGINT,
            last_note TEXT,
            stopped TEXT,
            created_at BIGINT NOT NULL
        );
        CREATE INDEX ci_schedule_project ON ci_schedule (project_id, id);
        CREATE INDEX ci_schedule_due ON ci_schedule (active, next_run_at);
        CREATE INDEX ci_schedule_owner ON ci_schedule (owner_id);
    ",
};

/// Values for the file's inputs.
pub const INPUTS: Migration = Migration {
    id: "ci-2711b-schedule-inputs",
    sql: "ALTER TABLE ci_schedule ADD COLUMN inputs TEXT NOT NULL DEFAULT '{}';",
};

row! {
    /// A schedule as stored.
    #[derive(Clone, Debug)]
    pub struct Schedule {
        /// Its number.
        pub id: i64,
        /// The project.
        pub project_id: ProjectId,
        /// What it is for.
        pub description: String,
        /// Branch or tag.
        pub reference: String,
        /// When it runs.
        pub cron: String,
        /// In which time zone.
        pub timezone: String,
        /// Variables by name.
        pub variables: Json<BTreeMap<String, String>>,
        /// Values for the file's inputs.
        pub inputs: Json<Inputs>,
        /// Whether it runs.
        pub active: bool,
        /// The account in whose name it runs.
        pub owner_id: String,
        /// Its user name.
        pub owner_name: String,
        /// When it runs next.
        pub next_run_at: Option<Timestamp>,
        /// When it last ran.
        pub last_run_at: Option<Timestamp>,
        /// What came of it.
        pub last_pipeline: Option<PipelineId>,
        /// What came of it, where it was no pipeline.
        pub last_note: Option<String>,
        /// Why the platform stopped it.
        pub stopped: Option<String>,
        /// When it was made.
        pub created_at: Timestamp,
    }
}

const COLUMNS: &str = "id, project_id, description, reference, cron, timezone, variables, inputs, active, owner_id, \
    owner_name, next_run_at, last_run_at, last_pipeline, last_note, stopped, created_at";

pub async fn insert(tx: &Tx, s: &Schedule) -> Result<()> {
    let sql = format!(
        "INSERT INTO ci_schedule ({COLUMNS})
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)"
    );
    tx.run(
        &sql,
        args![
            s.id,
            s.project_id,
            s.description,
            s.reference,
            s.cron,
            s.timezone,
            s.variables,
            s.inputs,
            s.active,
            s.owner_id,
            s.owner_name,
            s.next_run_at,
            s.last_run_at,
            s.last_pipeline,
            s.last_note,
            s.stopped,
            s.created_at
        ],
    )
    .await
    .map(drop)
}

/// Writes what people change; not what its runs write.
pub async fn update(tx: &Tx, s: &Schedule) -> Result<()> {
    tx.run(
        "UPDATE ci_schedule SET description = $2, reference = $3, cron = $4, timezone = $5, variables = $6,
             active = $7, owner_id = $8, owner_name = $9, next_run_at = $10, stopped = $11, inputs = $12 WHERE id = $1",
        args![
            s.id,
            s.description,
            s.reference,
            s.cron,
            s.timezone,
            s.variables,
            s.active,
            s.owner_id,
            s.owner_name,
            s.next_run_at,
            s.stopped,
            s.inputs
        ],
    )
    .await
    .map(drop)
}

pub async fn find(on: &impl Query, project: ProjectId, id: i64) -> Result<Option<Schedule>> {
    let sql = format!("SELECT {COLUMNS} FROM ci_schedule WHERE id = $1 AND project_id = $2");
    on.one(&sql, args![id, project]).await
}

pub async fn list(on: &impl Query, project: ProjectId) -> Result<Vec<Schedule>> {
    let sql = format!("SELECT {COLUMNS} FROM ci_schedule WHERE project_id = $1 ORDER BY id LIMIT 1000");
    on.all(&sql, args![project]).await
}

pub async fn count(on: &impl Query, project: ProjectId) -> Result<i64> {
    on.count(
        "SELECT COUNT(*) AS n FROM ci_schedule WHERE project_id = $1",
        args![project],
    )
    .await
}

/// Those whose time has come, the longest overdue first.
pub async fn due(on: &impl Query, now: Timestamp) -> Result<Vec<Schedule>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM ci_schedule WHERE active AND next_run_at <= $1 ORDER BY next_run_at, id LIMIT 50"
    );
    on.all(&sql, args![now]).await
}

/// Those that run in an account's name.
pub async fn active_of(on: &impl Query, owner: &str) -> Result<Vec<Schedule>> {
    let sql =
        format!("SELECT {COLUMNS} FROM ci_schedule WHERE owner_id = $1 AND active ORDER BY id LIMIT 1000");
    on.all(&sql, args![owner]).await
}

/// What came of a run.
pub struct Ran<'a> {
    /// The time that had come.
    pub due: Timestamp,
    /// When it did.
    pub now: Timestamp,
    /// When it comes again.
    pub next: Option<Timestamp>,
    /// The pipeline.
    pub pipeline: Option<PipelineId>,
    /// What else to tell.
    pub note: Option<&'a str>,
}

/// Notes a run; `false` if another replica did already, or somebody changed the schedule meanwhile.
pub async fn ran(tx: &Tx, id: i64, ran: &Ran<'_>) -> Result<bool> {
    Ok(tx
        .run(
            "UPDATE ci_schedule SET next_run_at = $3, last_run_at = $4, last_pipeline = $5, last_note = $6
             WHERE id = $1 AND next_run_at = $2",
            args![id, ran.due, ran.next, ran.now, ran.pipeline, ran.note],
        )
        .await?
        == 1)
}

/// Notes that a person ran one; its time comes as before.
pub async fn played(
    tx: &Tx,
    id: i64,
    now: Timestamp,
    pipeline: Option<PipelineId>,
    note: Option<&str>,
) -> Result<()> {
    tx.run(
        "UPDATE ci_schedule SET last_run_at = $2, last_pipeline = $3, last_note = $4 WHERE id = $1",
        args![id, now, pipeline, note],
    )
    .await?;
    Ok(())
}

/// Stops one and says why; `false` if it had stopped already.
pub async fn stop(tx: &Tx, id: i64, why: &str) -> Result<bool> {
    Ok(tx
        .run(
            "UPDATE ci_schedule SET active = FALSE, next_run_at = NULL, stopped = $2 WHERE id = $1 AND active",
            args![id, why],
        )
        .await?
        == 1)
}

pub async fn delete(tx: &Tx, id: i64) -> Result<()> {
    tx.run("DELETE FROM ci_schedule WHERE id = $1", args![id])
        .await
        .map(drop)
}
