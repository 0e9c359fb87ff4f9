//! Which projects try merged results. The only file with these queries.

use bascule_core::ProjectId;
use bascule_store::{Migration, Query, Result, Tx, args};

/// Tables of this room.
pub const MIGRATION: Migration = Migration {
    id: "ci-2611-request",
    sql: "CREATE TABLE ci_merged_results (project_id TEXT PRIMARY KEY);",
};

pub async fn merged_results(on: &impl Query, project: ProjectId) -> Result<bool> {
    Ok(on
        .count(
            "SELECT COUNT(*) AS n FROM ci_merged_results WHERE project_id = $1",
            args![project],
        )
        .await?
        == 1)
}

pub async fn set_merged_results(tx: &Tx, project: ProjectId, on: bool) -> Result<()> {
    let sql = if on {
        "INSERT INTO ci_merged_results (project_id) VALUES ($1) ON CONFLICT (project_id) DO NOTHING"
    } else {
        "DELETE FROM ci_merged_results WHERE project_id = $1"
    };
    tx.run(sql, args![project]).await.map(drop)
}
