//! What groups and projects have set, and what was let through. The only file with their queries.

use super::{Own, bypass::Given};
use crate::storage::store::Scope;
use bascule_core::{MergeRequestId, ProjectId, Timestamp};
use bascule_store::{Json, Migration, Query, Result, Tx, args, bind_all, row};
use std::collections::HashMap;

/// Tables of this room.
pub(crate) const MIGRATION: Migration = Migration {
    id: "forge-2611-workflow",
    sql: "
        CREATE TABLE workflow_setting (
            scope TEXT PRIMARY KEY,
            settings TEXT NOT NULL
        );
        CREATE TABLE workflow_bypass (
            merge_request_id TEXT PRIMARY KEY,
            project_id TEXT NOT NULL,
            head TEXT NOT NULL,
            rules TEXT NOT NULL,
            reason TEXT NOT NULL,
            actor_name TEXT NOT NULL,
            at BIGINT NOT NULL
        );
        CREATE INDEX workflow_bypass_project ON workflow_bypass (project_id);
    ",
};

row! { struct SetRow { scope: String, settings: Json<Own> } }

/// What was set for each of these, in their order.
pub(crate) async fn own(on: &impl Query, scopes: &[Scope]) -> Result<Vec<Own>> {
    let keys: Vec<String> = scopes.iter().map(|scope| scope.key()).collect();
    let mut values = args![];
    let places = bind_all(&mut values, &keys);
    let sql = format!("SELECT scope, settings FROM workflow_setting WHERE scope IN ({places})");
    let rows: Vec<SetRow> = on.all(&sql, values).await?;
    let mut by_scope: HashMap<String, Own> =
        rows.into_iter().map(|row| (row.scope, row.settings.0)).collect();
    Ok(keys
        .iter()
        .map(|key| by_scope.remove(key).unwrap_or_default())
        .collect())
}

pub(crate) async fn set(tx: &Tx, scope: Scope, settings: &Own) -> Result<()> {
    tx.run(
        "INSERT INTO workflow_setting (scope, settings) VALUES ($1, $2)
         ON CONFLICT (scope) DO UPDATE SET settings = excluded.settings",
        args![scope.key(), Json(settings)],
    )
    .await
    .map(drop)
}

pub(crate) async fn given(on: &impl Query, request: MergeRequestId) -> Result<Option<Given>> {
    let sql = "SELECT head, rules, reason, actor_name FROM workflow_bypass WHERE merge_request_id = $1";
    on.one(sql, args![request]).await
}

pub(crate) async fn give(
    tx: &Tx,
    request: MergeRequestId,
    project: ProjectId,
    given: &Given,
    at: Timestamp,
) -> Result<()> {
    tx.run(
        "INSERT INTO workflow_bypass (merge_request_id, project_id, head, rules, reason, actor_name, at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (merge_request_id) DO UPDATE SET head = excluded.head, rules = excluded.rules,
             reason = excluded.reason, actor_name = excluded.actor_name, at = excluded.at",
        args![
            request,
            project,
            given.head,
            given.rules,
            given.reason,
            given.actor_name,
            at
        ],
    )
    .await
    .map(drop)
}

/// Forgets a project that is deleted.
pub(crate) async fn forget(tx: &Tx, project: ProjectId) -> Result<()> {
    tx.run(
        "DELETE FROM workflow_setting WHERE scope = $1",
        args![Scope::Project(project).key()],
    )
    .await?;
    tx.run(
        "DELETE FROM workflow_bypass WHERE project_id = $1",
        args![project],
    )
    .await
    .map(drop)
}
