//! The tables of projects. The only file with their queries.

use super::{ProjectInfo, Visible};
use bascule_core::{GroupId, ProjectId, Timestamp, Visibility};
use bascule_store::{Migration, Query, Result, Tx, Value, args, bind, bind_all, row};
use std::collections::HashMap;

/// Tables of this crate.
pub const MIGRATIONS: &[Migration] = &[
    FIRST,
    crate::code::store::DELETED_BRANCHES,
    crate::merge_request::store::MIGRATION,
    crate::merge_request::merge::store::MIGRATION,
    crate::queue::store::MIGRATION,
    PUSH_OPTIONS,
    FORMER_PATH,
    crate::storage::store::MIGRATION,
    crate::upkeep::store::MIGRATION,
    crate::review::store::THREADS,
    crate::review::store::APPROVALS,
    crate::review::store::FINDINGS,
    crate::workflow::store::MIGRATION,
    CI_OPTIONS,
    crate::review::store::APPROVAL_BASE,
    VOUCHED,
    crate::merge_request::merge::store::DROPPED,
    crate::review::findings::store::LABEL,
];

const FIRST: Migration = Migration {
    id: "forge-0001",
    sql: "
        CREATE TABLE project (
            id TEXT PRIMARY KEY,
            group_id TEXT NOT NULL,
            group_name TEXT NOT NULL,
            name TEXT NOT NULL,
            description TEXT NOT NULL,
            visibility TEXT NOT NULL,
            default_branch TEXT NOT NULL,
            created_at BIGINT NOT NULL,
            created_by TEXT NOT NULL,
            pushed_at BIGINT,
            UNIQUE (group_name, name)
        );
        CREATE INDEX project_group ON project (group_id);
        CREATE TABLE protected_branch (
            project_id TEXT NOT NULL,
            pattern TEXT NOT NULL,
            PRIMARY KEY (project_id, pattern)
        );
        CREATE TABLE push_intent (
            push TEXT NOT NULL,
            project_id TEXT NOT NULL,
            reference TEXT NOT NULL,
            old_sha TEXT,
            new_sha TEXT,
            actor_kind TEXT NOT NULL,
            actor_id TEXT NOT NULL,
            actor_name TEXT NOT NULL,
            may_protect BOOLEAN NOT NULL,
            at BIGINT NOT NULL,
            PRIMARY KEY (push, reference)
        );
        CREATE INDEX push_intent_project ON push_intent (project_id);
    ",
};

const PUSH_OPTIONS: Migration = Migration {
    id: "forge-2611-push-options",
    sql: "ALTER TABLE push_intent ADD COLUMN ci_skip BOOLEAN NOT NULL DEFAULT FALSE",
};

const CI_OPTIONS: Migration = Migration {
    id: "forge-2711-ci-options",
    sql: "
        ALTER TABLE push_intent ADD COLUMN ci_options BOOLEAN NOT NULL DEFAULT FALSE;
        CREATE TABLE push_option (
            push TEXT PRIMARY KEY,
            project_id TEXT NOT NULL,
            options TEXT NOT NULL,
            at BIGINT NOT NULL
        );
        CREATE INDEX push_option_at ON push_option (at);
    ",
};

const VOUCHED: Migration = Migration {
    id: "forge-2711-vouched",
    sql: "
        CREATE TABLE vouched_commit (
            project_id TEXT NOT NULL,
            sha TEXT NOT NULL,
            PRIMARY KEY (project_id, sha)
        );
    ",
};

const FORMER_PATH: Migration = Migration {
    id: "forge-2611-former-path",
    sql: "
        CREATE TABLE former_path (
            group_name TEXT NOT NULL,
            name TEXT NOT NULL,
            project_id TEXT NOT NULL,
            PRIMARY KEY (group_name, name)
        );
        CREATE INDEX former_path_project ON former_path (project_id);
    ",
};

row! {
    struct ProjectRow {
        id: ProjectId,
        group_id: GroupId,
        group_name: String,
        name: String,
        description: String,
        visibility: String,
        default_branch: String,
        created_at: Timestamp,
        created_by: String,
        pushed_at: Option<Timestamp>,
    }
}

const COLUMNS: &str = "id, group_id, group_name, name, description, visibility, default_branch, created_at, created_by, pushed_at";

impl From<ProjectRow> for ProjectInfo {
    fn from(row: ProjectRow) -> Self {
        Self {
            id: row.id,
            group_id: row.group_id,
            group: row.group_name,
            name: row.name,
            description: row.description,
            visibility: Visibility::parse(&row.visibility),
            default_branch: row.default_branch,
            created_at: row.created_at,
            created_by: row.created_by,
            pushed_at: row.pushed_at,
        }
    }
}

pub(crate) async fn find(on: &impl Query, group: &str, name: &str) -> Result<Option<ProjectInfo>> {
    let sql = format!("SELECT {COLUMNS} FROM project WHERE group_name = $1 AND name = $2");
    Ok(on
        .one::<ProjectRow>(&sql, args![group, name])
        .await?
        .map(Into::into))
}

/// The project that once had this path.
pub(crate) async fn find_moved(on: &impl Query, group: &str, name: &str) -> Result<Option<ProjectInfo>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM project WHERE id IN
             (SELECT project_id FROM former_path WHERE group_name = $1 AND name = $2)"
    );
    Ok(on
        .one::<ProjectRow>(&sql, args![group, name])
        .await?
        .map(Into::into))
}

/// Keeps a path that a project gives up.
pub(crate) async fn keep_path(tx: &Tx, id: ProjectId, group: &str, name: &str) -> Result<()> {
    tx.run(
        "INSERT INTO former_path (group_name, name, project_id) VALUES ($1, $2, $3)
         ON CONFLICT (group_name, name) DO UPDATE SET project_id = excluded.project_id",
        args![group, name, id],
    )
    .await
    .map(drop)
}

/// A path means a project again, so it no longer leads elsewhere.
pub(crate) async fn take_path(tx: &Tx, group: &str, name: &str) -> Result<()> {
    let sql = "DELETE FROM former_path WHERE group_name = $1 AND name = $2";
    tx.run(sql, args![group, name]).await.map(drop)
}

pub(crate) async fn by_id(on: &impl Query, id: ProjectId) -> Result<Option<ProjectInfo>> {
    let sql = format!("SELECT {COLUMNS} FROM project WHERE id = $1");
    Ok(on.one::<ProjectRow>(&sql, args![id]).await?.map(Into::into))
}

/// Several projects, those that there are.
pub(crate) async fn by_ids(on: &impl Query, ids: &[ProjectId]) -> Result<Vec<ProjectInfo>> {
    let mut values = args![];
    let places = bind_all(&mut values, ids);
    let sql = format!("SELECT {COLUMNS} FROM project WHERE id IN ({places})");
    let rows: Vec<ProjectRow> = on.all(&sql, values).await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// The paths of several projects, those that there are.
pub(crate) async fn paths(on: &impl Query, ids: &[ProjectId]) -> Result<HashMap<ProjectId, String>> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    row! { struct Path { id: ProjectId, path: String } }
    let mut values = args![];
    let places = bind_all(&mut values, ids);
    let sql = format!("SELECT id, group_name || '/' || name AS path FROM project WHERE id IN ({places})");
    let rows: Vec<Path> = on.all(&sql, values).await?;
    Ok(rows.into_iter().map(|row| (row.id, row.path)).collect())
}

pub(crate) async fn ids(on: &impl Query, after: Option<ProjectId>, limit: i64) -> Result<Vec<ProjectId>> {
    let after = after.map(|id| id.to_string()).unwrap_or_default();
    row! { struct OnlyId { id: ProjectId } }
    let rows: Vec<OnlyId> = on
        .all(
            "SELECT id FROM project WHERE id > $1 ORDER BY id LIMIT $2",
            args![after, limit],
        )
        .await?;
    Ok(rows.into_iter().map(|row| row.id).collect())
}

/// The projects of a group by path, those behind a path.
pub(crate) async fn of_group(
    on: &impl Query,
    group: GroupId,
    after: &str,
    limit: i64,
) -> Result<Vec<ProjectInfo>> {
    // All of one group, so the name alone decides.
    let name = after.rsplit('/').next().unwrap_or_default();
    let sql =
        format!("SELECT {COLUMNS} FROM project WHERE group_id = $1 AND name > $2 ORDER BY name LIMIT $3");
    let rows: Vec<ProjectRow> = on.all(&sql, args![group, name, limit]).await?;
    Ok(rows.into_iter().map(Into::into).collect())
}

/// Projects that someone may see, by path; `search` is looked for in path and description.
pub(crate) async fn list(
    on: &impl Query,
    visible: &Visible,
    group: Option<GroupId>,
    search: &str,
    offset: i64,
    limit: i64,
) -> Result<Vec<ProjectInfo>> {
    let mut values: Vec<Value> = Vec::new();
    let mut conditions = Vec::new();
    if let Some(group) = group {
        conditions.push(format!("group_id = {}", bind(&mut values, &group)));
    }
    let search = search.trim().to_lowercase();
    if !search.is_empty() {
        let escaped = search
            .replace('\\', "\\\\")
            .replace('%', "\\%")
            .replace('_', "\\_");
        let like = bind(&mut values, &format!("%{escaped}%"));
        conditions.push(format!(
            "(group_name || '/' || name LIKE {like} ESCAPE '\\' OR LOWER(description) LIKE {like} ESCAPE '\\')"
        ));
    }
    if let Visible::Some {
        groups,
        projects,
        internal,
    } = visible
    {
        let mut any = Vec::new();
        if *internal {
            any.push("visibility = 'internal'".to_owned());
        }
        if !groups.is_empty() {
            any.push(format!("group_id IN ({})", bind_all(&mut values, groups)));
        }
        if !projects.is_empty() {
            any.push(format!("id IN ({})", bind_all(&mut values, projects)));
        }
        if any.is_empty() {
            return Ok(Vec::new());
        }
        conditions.push(format!("({})", any.join(" OR ")));
    }
    let condition = if conditions.is_empty() {
        "1 = 1".to_owned()
    } else {
        conditions.join(" AND ")
    };
    let (limit, offset) = (bind(&mut values, &limit), bind(&mut values, &offset));
    let sql = format!(
        "SELECT {COLUMNS} FROM project WHERE {condition} ORDER BY group_name, name LIMIT {limit} OFFSET {offset}"
    );
    Ok(on
        .all::<ProjectRow>(&sql, values)
        .await?
        .into_iter()
        .map(Into::into)
        .collect())
}

pub(crate) async fn insert(tx: &Tx, project: &ProjectInfo) -> Result<()> {
    let sql = format!("INSERT INTO project ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)");
    tx.run(
        &sql,
        args![
            project.id,
            project.group_id,
            project.group,
            project.name,
            project.description,
            project.visibility.as_str(),
            project.default_branch,
            project.created_at,
            project.created_by,
            project.pushed_at
        ],
    )
    .await?;
    Ok(())
}

pub(crate) async fn update(tx: &Tx, project: &ProjectInfo) -> Result<()> {
    tx.run(
        "UPDATE project SET name = $2, description = $3, visibility = $4, default_branch = $5 WHERE id = $1",
        args![
            project.id,
            project.name,
            project.description,
            project.visibility.as_str(),
            project.default_branch
        ],
    )
    .await?;
    Ok(())
}

pub(crate) async fn set_default_branch(tx: &Tx, id: ProjectId, branch: &str) -> Result<()> {
    tx.run(
        "UPDATE project SET default_branch = $2 WHERE id = $1",
        args![id, branch],
    )
    .await?;
    Ok(())
}

pub(crate) async fn touch(tx: &Tx, id: ProjectId, at: Timestamp) -> Result<()> {
    tx.run("UPDATE project SET pushed_at = $2 WHERE id = $1", args![id, at])
        .await?;
    Ok(())
}

/// Notes that files were vouched for as a commit has them: a protected branch stood there, or whoever may push to one made
/// a version tag of it. What only lies in such a branch's history may never have been looked at by itself.
pub(crate) async fn vouch(tx: &Tx, id: ProjectId, sha: &str) -> Result<()> {
    tx.run(
        "INSERT INTO vouched_commit (project_id, sha) VALUES ($1, $2) ON CONFLICT (project_id, sha) DO NOTHING",
        args![id, sha],
    )
    .await?;
    Ok(())
}

/// Whether somebody vouched for a commit as it is.
pub(crate) async fn is_vouched(on: &impl Query, id: ProjectId, sha: &str) -> Result<bool> {
    let found = on.count(
        "SELECT COUNT(*) AS n FROM vouched_commit WHERE project_id = $1 AND sha = $2",
        args![id, sha],
    );
    Ok(found.await? > 0)
}

pub(crate) async fn delete(tx: &Tx, id: ProjectId) -> Result<u64> {
    tx.run("DELETE FROM vouched_commit WHERE project_id = $1", args![id])
        .await?;
    tx.run("DELETE FROM push_option WHERE project_id = $1", args![id])
        .await?;
    tx.run("DELETE FROM push_intent WHERE project_id = $1", args![id])
        .await?;
    tx.run("DELETE FROM protected_branch WHERE project_id = $1", args![id])
        .await?;
    crate::code::store::delete_project(tx, id).await?;
    crate::merge_request::merge::store::delete_project(tx, id).await?;
    crate::queue::store::delete_project(tx, id).await?;
    crate::review::store::delete_project(tx, id).await?;
    crate::merge_request::store::delete_project(tx, id).await?;
    tx.run("DELETE FROM former_path WHERE project_id = $1", args![id])
        .await?;
    tx.run("DELETE FROM project WHERE id = $1", args![id]).await
}

row! { struct Pattern { pattern: String } }

pub(crate) async fn protected(on: &impl Query, id: ProjectId) -> Result<Vec<String>> {
    let rows: Vec<Pattern> = on
        .all(
            "SELECT pattern FROM protected_branch WHERE project_id = $1 ORDER BY pattern LIMIT 500",
            args![id],
        )
        .await?;
    Ok(rows.into_iter().map(|row| row.pattern).collect())
}

pub(crate) async fn protect(tx: &Tx, id: ProjectId, pattern: &str) -> Result<u64> {
    tx.run(
        "INSERT INTO protected_branch (project_id, pattern) VALUES ($1, $2) ON CONFLICT (project_id, pattern) DO NOTHING",
        args![id, pattern],
    )
    .await
}

pub(crate) async fn unprotect(tx: &Tx, id: ProjectId, pattern: &str) -> Result<u64> {
    tx.run(
        "DELETE FROM protected_branch WHERE project_id = $1 AND pattern = $2",
        args![id, pattern],
    )
    .await
}
