//! Queries about runners.

use super::{Reach, Runner};
use bascule_core::{ProjectId, RunnerId, Timestamp};
use bascule_store::{Query, Result, Tx, args, row};
use std::collections::HashMap;

const COLUMNS: &str = "id, number, description, tags, run_untagged, paused, protected, locked, scope, group_name, \
    executor, maximum_timeout, version, platform, created_at, contacted_at";
/// Most runners shown or weighed at once.
const MOST: i64 = 1000;

row! { struct Served { runner_id: RunnerId, project_id: ProjectId } }

pub async fn insert(tx: &Tx, runner: &Runner, token_hash: &str) -> Result<()> {
    let sql = format!(
        "INSERT INTO runner ({COLUMNS}, token_hash)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)"
    );
    tx.run(
        &sql,
        args![
            runner.id,
            runner.number,
            runner.description,
            runner.tags,
            runner.run_untagged,
            runner.paused,
            runner.protected,
            runner.locked,
            runner.scope,
            runner.group_name,
            runner.executor,
            runner.maximum_timeout,
            runner.version,
            runner.platform,
            runner.created_at,
            runner.contacted_at,
            token_hash
        ],
    )
    .await?;
    Ok(())
}

/// Writes what a person may change.
pub async fn update(tx: &Tx, runner: &Runner) -> Result<()> {
    tx.run(
        "UPDATE runner SET description = $2, tags = $3, run_untagged = $4, paused = $5, protected = $6, locked = $7,
             maximum_timeout = $8 WHERE id = $1",
        args![
            runner.id,
            runner.description,
            runner.tags,
            runner.run_untagged,
            runner.paused,
            runner.protected,
            runner.locked,
            runner.maximum_timeout
        ],
    )
    .await?;
    Ok(())
}

pub async fn find(on: &impl Query, id: RunnerId) -> Result<Option<Runner>> {
    on.one(&format!("SELECT {COLUMNS} FROM runner WHERE id = $1"), args![id])
        .await
}

pub async fn by_token(on: &impl Query, hash: &str) -> Result<Option<Runner>> {
    on.one(
        &format!("SELECT {COLUMNS} FROM runner WHERE token_hash = $1"),
        args![hash],
    )
    .await
}

pub async fn by_description(on: &impl Query, description: &str) -> Result<Option<Runner>> {
    on.one(
        &format!("SELECT {COLUMNS} FROM runner WHERE description = $1 AND scope = 'instance'"),
        args![description],
    )
    .await
}

pub async fn all(on: &impl Query) -> Result<Vec<Runner>> {
    on.all(
        &format!("SELECT {COLUMNS} FROM runner ORDER BY number LIMIT {MOST}"),
        args![],
    )
    .await
}

/// The runners that are a group's own.
pub async fn of_group(on: &impl Query, group: &str) -> Result<Vec<Runner>> {
    on.all(
        &format!("SELECT {COLUMNS} FROM runner WHERE group_name = $1 ORDER BY number LIMIT {MOST}"),
        args![group],
    )
    .await
}

/// The projects of runners that serve some.
pub async fn served(on: &impl Query) -> Result<HashMap<RunnerId, Vec<ProjectId>>> {
    let rows: Vec<Served> = on
        .all(
            "SELECT runner_id, project_id FROM runner_project ORDER BY runner_id LIMIT 10000",
            args![],
        )
        .await?;
    let mut map: HashMap<RunnerId, Vec<ProjectId>> = HashMap::new();
    for row in rows {
        map.entry(row.runner_id).or_default().push(row.project_id);
    }
    Ok(map)
}

/// Whose jobs a runner takes.
pub async fn reach(on: &impl Query, runner: &Runner) -> Result<Reach> {
    Ok(match (runner.scope.as_str(), &runner.group_name) {
        ("project", _) => {
            let rows: Vec<Served> = on
                .all(
                    "SELECT runner_id, project_id FROM runner_project WHERE runner_id = $1 ORDER BY project_id LIMIT 1000",
                    args![runner.id],
                )
                .await?;
            Reach::Projects(rows.into_iter().map(|row| row.project_id).collect())
        }
        ("group", Some(group)) => Reach::Group(group.clone()),
        _ => Reach::Instance,
    })
}

/// Lets a runner serve a project too.
pub async fn serve(tx: &Tx, runner: RunnerId, project: ProjectId) -> Result<()> {
    tx.run(
        "INSERT INTO runner_project (runner_id, project_id) VALUES ($1, $2) ON CONFLICT (runner_id, project_id) DO NOTHING",
        args![runner, project],
    )
    .await?;
    Ok(())
}

/// Ends that; whether it was so.
pub async fn serve_no_more(tx: &Tx, runner: RunnerId, project: ProjectId) -> Result<bool> {
    Ok(tx
        .run(
            "DELETE FROM runner_project WHERE runner_id = $1 AND project_id = $2",
            args![runner, project],
        )
        .await?
        == 1)
}

pub async fn set_token(tx: &Tx, id: RunnerId, hash: &str) -> Result<()> {
    tx.run("UPDATE runner SET token_hash = $2 WHERE id = $1", args![id, hash])
        .await?;
    Ok(())
}

pub async fn contacted(tx: &Tx, runner: &Runner, now: Timestamp) -> Result<()> {
    tx.run(
        "UPDATE runner SET contacted_at = $2, version = $3, platform = $4, executor = $5 WHERE id = $1",
        args![runner.id, now, runner.version, runner.platform, runner.executor],
    )
    .await?;
    Ok(())
}

pub async fn delete(tx: &Tx, id: RunnerId) -> Result<bool> {
    tx.run("DELETE FROM runner_project WHERE runner_id = $1", args![id])
        .await?;
    Ok(tx.run("DELETE FROM runner WHERE id = $1", args![id]).await? == 1)
}

row! {
    /// What a registration token stands for.
    pub struct Registration {
        /// `instance`, `group` or `project`.
        pub scope: String,
        /// The group's name or the project's identifier; empty for the instance.
        pub target: String,
    }
}

/// There is one registration token for each scope and target.
pub async fn set_registration(tx: &Tx, hash: &str, scope: &str, target: &str, now: Timestamp) -> Result<()> {
    tx.run(
        "DELETE FROM runner_registration WHERE scope = $1 AND target = $2",
        args![scope, target],
    )
    .await?;
    tx.run(
        "INSERT INTO runner_registration (token_hash, created_at, scope, target) VALUES ($1, $2, $3, $4)",
        args![hash, now, scope, target],
    )
    .await?;
    Ok(())
}

pub async fn registration(on: &impl Query, hash: &str) -> Result<Option<Registration>> {
    on.one(
        "SELECT scope, target FROM runner_registration WHERE token_hash = $1",
        args![hash],
    )
    .await
}
