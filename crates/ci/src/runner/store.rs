//! Queries about runners.

use super::Runner;
use bascule_core::{RunnerId, Timestamp};
use bascule_store::{Query, Result, Tx, args};

const COLUMNS: &str = "id, number, description, tags, run_untagged, paused, maximum_timeout, version, platform, \
    created_at, contacted_at";

pub async fn insert(tx: &Tx, runner: &Runner, token_hash: &str) -> Result<()> {
    let sql = format!(
        "INSERT INTO runner ({COLUMNS}, token_hash) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)"
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
        &format!("SELECT {COLUMNS} FROM runner WHERE description = $1"),
        args![description],
    )
    .await
}

pub async fn all(on: &impl Query) -> Result<Vec<Runner>> {
    on.all(
        &format!("SELECT {COLUMNS} FROM runner ORDER BY number LIMIT 1000"),
        args![],
    )
    .await
}

pub async fn set_token(tx: &Tx, id: RunnerId, hash: &str) -> Result<()> {
    tx.run("UPDATE runner SET token_hash = $2 WHERE id = $1", args![id, hash])
        .await?;
    Ok(())
}

pub async fn set_paused(tx: &Tx, id: RunnerId, paused: bool) -> Result<bool> {
    Ok(tx
        .run("UPDATE runner SET paused = $2 WHERE id = $1", args![id, paused])
        .await?
        == 1)
}

pub async fn contacted(tx: &Tx, id: RunnerId, version: &str, platform: &str, now: Timestamp) -> Result<()> {
    tx.run(
        "UPDATE runner SET contacted_at = $2, version = $3, platform = $4 WHERE id = $1",
        args![id, now, version, platform],
    )
    .await?;
    Ok(())
}

pub async fn delete(tx: &Tx, id: RunnerId) -> Result<bool> {
    Ok(tx.run("DELETE FROM runner WHERE id = $1", args![id]).await? == 1)
}

pub async fn set_registration(tx: &Tx, hash: &str, now: Timestamp) -> Result<()> {
    tx.run("DELETE FROM runner_registration", args![]).await?;
    tx.run(
        "INSERT INTO runner_registration (token_hash, created_at) VALUES ($1, $2)",
        args![hash, now],
    )
    .await?;
    Ok(())
}

pub async fn may_register(on: &impl Query, hash: &str) -> Result<bool> {
    Ok(on
        .count(
            "SELECT COUNT(*) AS n FROM runner_registration WHERE token_hash = $1",
            args![hash],
        )
        .await?
        == 1)
}
