//! Limits and sizes. The only file with their queries.

use super::Set;
use bascule_core::{GroupId, ProjectId, Timestamp};
use bascule_store::{Migration, Query, Result, Tx, args, row};
use bascule_wire::forge::StorageLimits;

/// Tables of this room.
pub(crate) const MIGRATION: Migration = Migration {
    id: "forge-2611-storage",
    sql: "
        CREATE TABLE storage_limit (
            scope TEXT PRIMARY KEY,
            file_bytes BIGINT,
            push_bytes BIGINT,
            quota_bytes BIGINT,
            by_admin BOOLEAN NOT NULL
        );
        CREATE TABLE project_size (
            project_id TEXT PRIMARY KEY,
            bytes BIGINT NOT NULL,
            measured_at BIGINT NOT NULL,
            pushes BIGINT NOT NULL
        );
    ",
};

/// What a limit is set for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    Group(GroupId),
    Project(ProjectId),
}

impl Scope {
    /// Its name in tables.
    pub(crate) fn key(self) -> String {
        match self {
            Self::Group(id) => format!("group:{id}"),
            Self::Project(id) => format!("project:{id}"),
        }
    }
}

row! {
    struct SetRow {
        file_bytes: Option<i64>,
        push_bytes: Option<i64>,
        quota_bytes: Option<i64>,
        by_admin: bool,
    }
}

pub(crate) async fn set_of(on: &impl Query, scope: Scope) -> Result<Set> {
    let found: Option<SetRow> = on
        .one(
            "SELECT file_bytes, push_bytes, quota_bytes, by_admin FROM storage_limit WHERE scope = $1",
            args![scope.key()],
        )
        .await?;
    Ok(found.map_or_else(Set::default, |row| Set {
        limits: StorageLimits {
            file_bytes: row.file_bytes,
            push_bytes: row.push_bytes,
            quota_bytes: row.quota_bytes,
        },
        by_admin: row.by_admin,
    }))
}

pub(crate) async fn set(tx: &Tx, scope: Scope, set: &Set) -> Result<()> {
    tx.run(
        "INSERT INTO storage_limit (scope, file_bytes, push_bytes, quota_bytes, by_admin) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (scope) DO UPDATE SET file_bytes = excluded.file_bytes, push_bytes = excluded.push_bytes,
             quota_bytes = excluded.quota_bytes, by_admin = excluded.by_admin",
        args![
            scope.key(),
            set.limits.file_bytes,
            set.limits.push_bytes,
            set.limits.quota_bytes,
            set.by_admin
        ],
    )
    .await
    .map(drop)
}

row! {
    /// What a project takes on disk.
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct Size {
        pub(crate) bytes: i64,
        pub(crate) measured_at: Timestamp,
        /// Pushes since it was measured; their sizes are added, so it is near enough until then.
        pub(crate) pushes: i64,
    }
}

pub(crate) async fn size(on: &impl Query, project: ProjectId) -> Result<Option<Size>> {
    let sql = "SELECT bytes, measured_at, pushes FROM project_size WHERE project_id = $1";
    on.one(sql, args![project]).await
}

pub(crate) async fn measured(tx: &Tx, project: ProjectId, bytes: i64, at: Timestamp) -> Result<()> {
    tx.run(
        "INSERT INTO project_size (project_id, bytes, measured_at, pushes) VALUES ($1, $2, $3, 0)
         ON CONFLICT (project_id) DO UPDATE SET bytes = excluded.bytes, measured_at = excluded.measured_at, pushes = 0",
        args![project, bytes, at],
    )
    .await
    .map(drop)
}

pub(crate) async fn grown(tx: &Tx, project: ProjectId, bytes: i64) -> Result<()> {
    let sql = "UPDATE project_size SET bytes = bytes + $2, pushes = pushes + 1 WHERE project_id = $1";
    tx.run(sql, args![project, bytes]).await.map(drop)
}

/// What all projects of a group take together.
pub(crate) async fn size_of_group(on: &impl Query, group: GroupId) -> Result<i64> {
    on.count(
        "SELECT CAST(COALESCE(SUM(s.bytes), 0) AS BIGINT) AS n FROM project_size s
         JOIN project p ON p.id = s.project_id WHERE p.group_id = $1",
        args![group],
    )
    .await
}

row! { struct OnlyId { id: ProjectId } }

/// Projects of a group that were never measured: those that are older than measuring.
pub(crate) async fn unmeasured(on: &impl Query, group: GroupId) -> Result<Vec<ProjectId>> {
    let rows: Vec<OnlyId> = on
        .all(
            "SELECT id FROM project WHERE group_id = $1
             AND NOT EXISTS (SELECT 1 FROM project_size s WHERE s.project_id = project.id) ORDER BY id LIMIT 1000",
            args![group],
        )
        .await?;
    Ok(rows.into_iter().map(|row| row.id).collect())
}

pub(crate) async fn forget(tx: &Tx, project: ProjectId) -> Result<()> {
    tx.run("DELETE FROM project_size WHERE project_id = $1", args![project])
        .await?;
    tx.run(
        "DELETE FROM storage_limit WHERE scope = $1",
        args![Scope::Project(project).key()],
    )
    .await
    .map(drop)
}
