//! The table of environments. The only file with these queries.

use super::{Environment, state};
use bascule_core::{ProjectId, Timestamp};
use bascule_store::{Migration, Query, Result, Tx, args, bind_all, row};

/// Tables of this room.
pub const MIGRATION: Migration = Migration {
    id: "ci-2611-environment",
    sql: "
        CREATE TABLE ci_environment (
            id BIGINT PRIMARY KEY,
            project_id TEXT NOT NULL,
            name TEXT NOT NULL,
            tier TEXT NOT NULL,
            state TEXT NOT NULL,
            url TEXT,
            reference TEXT NOT NULL,
            on_stop TEXT,
            auto_stop_at BIGINT,
            job_id BIGINT NOT NULL,
            pipeline_id BIGINT NOT NULL,
            sha TEXT NOT NULL,
            actor_name TEXT NOT NULL,
            deployed_at BIGINT NOT NULL,
            changed_at BIGINT NOT NULL,
            UNIQUE (project_id, name)
        );
        CREATE INDEX ci_environment_due ON ci_environment (auto_stop_at) WHERE auto_stop_at IS NOT NULL;
    ",
};

const COLUMNS: &str = "id, project_id, name, tier, state, url, reference, on_stop, auto_stop_at, job_id, pipeline_id, \
    sha, actor_name, deployed_at, changed_at";

/// Notes a deployment; an environment that was there keeps its number.
pub async fn deployed(tx: &Tx, e: &Environment) -> Result<()> {
    let sql = format!(
        "INSERT INTO ci_environment ({COLUMNS})
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
         ON CONFLICT (project_id, name) DO UPDATE SET tier = excluded.tier, state = excluded.state,
             url = excluded.url, reference = excluded.reference, on_stop = excluded.on_stop,
             auto_stop_at = excluded.auto_stop_at, job_id = excluded.job_id, pipeline_id = excluded.pipeline_id,
             sha = excluded.sha, actor_name = excluded.actor_name, deployed_at = excluded.deployed_at,
             changed_at = excluded.changed_at"
    );
    tx.run(
        &sql,
        args![
            e.id,
            e.project_id,
            e.name,
            e.tier,
            e.state,
            e.url,
            e.reference,
            e.on_stop,
            e.auto_stop_at,
            e.job_id,
            e.pipeline_id,
            e.sha,
            e.actor_name,
            e.deployed_at,
            e.changed_at
        ],
    )
    .await
    .map(drop)
}

/// Sets how one stands; `false` if there is none of that name or it stands so already.
pub async fn set_state(tx: &Tx, project: ProjectId, name: &str, state: &str, now: Timestamp) -> Result<bool> {
    Ok(tx
        .run(
            "UPDATE ci_environment SET state = $3, changed_at = $4, auto_stop_at = NULL
             WHERE project_id = $1 AND name = $2 AND state <> $3",
            args![project, name, state, now],
        )
        .await?
        == 1)
}

/// Forgets one that was taken down; `false` if it was not.
pub async fn delete(tx: &Tx, project: ProjectId, id: i64) -> Result<bool> {
    Ok(tx
        .run(
            "DELETE FROM ci_environment WHERE project_id = $1 AND id = $2 AND state = $3",
            args![project, id, state::STOPPED],
        )
        .await?
        == 1)
}

/// Moves the time at which one is taken down by itself.
pub async fn set_auto_stop(tx: &Tx, project: ProjectId, name: &str, at: Option<Timestamp>) -> Result<()> {
    tx.run(
        "UPDATE ci_environment SET auto_stop_at = $3 WHERE project_id = $1 AND name = $2 AND state = $4",
        args![project, name, at, state::AVAILABLE],
    )
    .await
    .map(drop)
}

pub async fn find(on: &impl Query, project: ProjectId, id: i64) -> Result<Option<Environment>> {
    let sql = format!("SELECT {COLUMNS} FROM ci_environment WHERE id = $1 AND project_id = $2");
    on.one(&sql, args![id, project]).await
}

/// By name, those behind one, of one state if it is named.
pub async fn list(
    on: &impl Query,
    project: ProjectId,
    states: &[&str],
    after: &str,
    limit: i64,
) -> Result<Vec<Environment>> {
    let mut values = args![project, after, limit];
    let mut only = String::new();
    if !states.is_empty() {
        only = format!("AND state IN ({})", bind_all(&mut values, states));
    }
    let sql = format!(
        "SELECT {COLUMNS} FROM ci_environment WHERE project_id = $1 AND name > $2 {only} ORDER BY name LIMIT $3"
    );
    on.all(&sql, values).await
}

row! { struct Counted { state: String, n: i64 } }

/// How many there are that are not stopped, and how many that are.
pub async fn counts(on: &impl Query, project: ProjectId) -> Result<(i64, i64)> {
    let found: Vec<Counted> = on
        .all(
            "SELECT state, COUNT(*) AS n FROM ci_environment WHERE project_id = $1 GROUP BY state",
            args![project],
        )
        .await?;
    let stopped = |wanted: bool| {
        found
            .iter()
            .filter(|one| (one.state == state::STOPPED) == wanted)
            .map(|one| one.n)
            .sum()
    };
    Ok((stopped(false), stopped(true)))
}

/// Those that are there and that a branch was deployed to last.
pub async fn of_branch(on: &impl Query, project: ProjectId, branch: &str) -> Result<Vec<Environment>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM ci_environment WHERE project_id = $1 AND reference = $2 AND state = $3
         ORDER BY id LIMIT 200"
    );
    on.all(&sql, args![project, branch, state::AVAILABLE]).await
}

/// Those whose time is up.
pub async fn due(on: &impl Query, now: Timestamp) -> Result<Vec<Environment>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM ci_environment WHERE auto_stop_at <= $1 AND state = $2
         ORDER BY auto_stop_at, id LIMIT 50"
    );
    on.all(&sql, args![now, state::AVAILABLE]).await
}
