//! The tables of this room, each of its parts a migration.

use super::{approval, findings, thread};
use bascule_core::ProjectId;
use bascule_store::{Migration, Result, Tx};

/// Tables of discussions.
pub(crate) const THREADS: Migration = Migration {
    id: "forge-2611-review-thread",
    sql: thread::store::TABLES,
};
/// Tables of approvals.
pub(crate) const APPROVALS: Migration = Migration {
    id: "forge-2611-review-approval",
    sql: approval::store::TABLES,
};
/// What approvals stand on.
pub(crate) const APPROVAL_BASE: Migration = Migration {
    id: "forge-2711-approval-base",
    sql: approval::store::BASE,
};
/// Tables of findings.
pub(crate) const FINDINGS: Migration = Migration {
    id: "forge-2611-review-finding",
    sql: findings::store::TABLES,
};

/// Everything of a project that goes; before its requests do.
pub(crate) async fn delete_project(tx: &Tx, project: ProjectId) -> Result<()> {
    thread::store::delete_project(tx, project).await?;
    approval::store::delete_project(tx, project).await?;
    findings::store::delete_project(tx, project).await
}
