//! The tables of merge requests. The only file with their queries.

use super::{MergeRequest, Settings, State, Version};
use bascule_core::{Actor, MergeRequestId, ProjectId, Timestamp};
use bascule_store::{Migration, Query, Result, Tx, args, bind_all, row};

/// Tables of merge requests.
pub(crate) const MIGRATION: Migration = Migration {
    id: "forge-2611-merge-request",
    sql: "
        CREATE TABLE merge_request (
            id TEXT PRIMARY KEY,
            project_id TEXT NOT NULL,
            iid BIGINT NOT NULL,
            title TEXT NOT NULL,
            description TEXT NOT NULL,
            source_project_id TEXT NOT NULL,
            source_branch TEXT NOT NULL,
            target_branch TEXT NOT NULL,
            author_id TEXT,
            author_name TEXT NOT NULL,
            state TEXT NOT NULL,
            draft BOOLEAN NOT NULL,
            head TEXT NOT NULL,
            base TEXT NOT NULL,
            version BIGINT NOT NULL,
            heard BIGINT NOT NULL,
            source_gone BOOLEAN NOT NULL,
            delete_source BOOLEAN NOT NULL,
            auto_id TEXT,
            auto_kind TEXT,
            auto_name TEXT,
            auto_strategy TEXT,
            merge_sha TEXT,
            ended_by TEXT,
            created_at BIGINT NOT NULL,
            updated_at BIGINT NOT NULL,
            ended_at BIGINT,
            UNIQUE (project_id, iid)
        );
        CREATE INDEX merge_request_state ON merge_request (project_id, state, iid);
        CREATE INDEX merge_request_source ON merge_request (source_project_id, source_branch, state);
        CREATE INDEX merge_request_target ON merge_request (project_id, target_branch, state);
        CREATE TABLE merge_request_version (
            merge_request_id TEXT NOT NULL,
            number BIGINT NOT NULL,
            head TEXT NOT NULL,
            base TEXT NOT NULL,
            forced BOOLEAN NOT NULL,
            commit_count BIGINT NOT NULL,
            by_id TEXT NOT NULL,
            by_name TEXT NOT NULL,
            at BIGINT NOT NULL,
            PRIMARY KEY (merge_request_id, number)
        );
        CREATE TABLE project_fork (
            project_id TEXT PRIMARY KEY,
            parent_id TEXT NOT NULL
        );
        CREATE TABLE merge_setting (
            project_id TEXT PRIMARY KEY,
            strategy TEXT NOT NULL,
            require_request BOOLEAN NOT NULL,
            require_pipeline BOOLEAN NOT NULL,
            developers_merge BOOLEAN NOT NULL,
            delete_source BOOLEAN NOT NULL,
            queue BOOLEAN NOT NULL,
            queue_parallel BIGINT NOT NULL,
            merge_message TEXT NOT NULL,
            squash_message TEXT NOT NULL
        );
    ",
};

const COLUMNS: &str = "id, project_id, iid, title, description, source_project_id, source_branch, target_branch, \
     author_id, author_name, state, draft, head, base, version, heard, source_gone, delete_source, auto_id, auto_kind, \
     auto_name, auto_strategy, merge_sha, ended_by, created_at, updated_at, ended_at, merge_before";

/// The next number within a project.
pub(crate) async fn next_iid(tx: &Tx, project: ProjectId) -> Result<i64> {
    tx.next_number(&format!("merge_request:{project}")).await
}

pub(crate) async fn insert(tx: &Tx, request: &MergeRequest) -> Result<()> {
    let sql = format!(
        "INSERT INTO merge_request ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, \
         $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28)"
    );
    tx.run(
        &sql,
        args![
            request.id,
            request.project_id,
            request.iid,
            request.title,
            request.description,
            request.source_project_id,
            request.source_branch,
            request.target_branch,
            request.author_id,
            request.author_name,
            request.state,
            request.draft,
            request.head,
            request.base,
            request.version,
            request.heard,
            request.source_gone,
            request.delete_source,
            request.auto_id,
            request.auto_kind,
            request.auto_name,
            request.auto_strategy,
            request.merge_sha,
            request.ended_by,
            request.created_at,
            request.updated_at,
            request.ended_at,
            request.merge_before
        ],
    )
    .await?;
    Ok(())
}

pub(crate) async fn find(on: &impl Query, project: ProjectId, iid: i64) -> Result<Option<MergeRequest>> {
    let sql = format!("SELECT {COLUMNS} FROM merge_request WHERE project_id = $1 AND iid = $2");
    on.one(&sql, args![project, iid]).await
}

pub(crate) async fn by_id(on: &impl Query, id: MergeRequestId) -> Result<Option<MergeRequest>> {
    let sql = format!("SELECT {COLUMNS} FROM merge_request WHERE id = $1");
    on.one(&sql, args![id]).await
}

/// Newest first, those with a number below `before`.
pub(crate) async fn list(
    on: &impl Query,
    project: ProjectId,
    state: Option<State>,
    search: &str,
    before: Option<i64>,
    limit: i64,
) -> Result<Vec<MergeRequest>> {
    let before = before.unwrap_or(i64::MAX);
    let escaped = search
        .trim()
        .to_lowercase()
        .replace('\\', "\\\\")
        .replace('%', "\\%")
        .replace('_', "\\_");
    let like = format!("%{escaped}%");
    let of_state = if state.is_some() { "state = $5" } else { "$5 = ''" };
    let sql = format!(
        "SELECT {COLUMNS} FROM merge_request WHERE project_id = $1 AND iid < $2 AND {of_state}
         AND (LOWER(title) LIKE $3 ESCAPE '\\' OR LOWER(source_branch) LIKE $3 ESCAPE '\\')
         ORDER BY iid DESC LIMIT $4"
    );
    let state = state.map_or("", State::as_str);
    on.all(&sql, args![project, before, like, limit, state]).await
}

/// Those whose title or description has an issue's number in it, newest first, at most 200; what follows the number is
/// not looked at.
pub(crate) async fn naming(on: &impl Query, project: ProjectId, issue: i64) -> Result<Vec<MergeRequest>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM merge_request WHERE project_id = $1 AND (title LIKE $2 OR description LIKE $2)
         ORDER BY iid DESC LIMIT 200"
    );
    on.all(&sql, args![project, format!("%#{issue}%")]).await
}

/// How many are open.
pub(crate) async fn count(on: &impl Query, project: ProjectId, state: State) -> Result<i64> {
    let sql = "SELECT COUNT(*) AS n FROM merge_request WHERE project_id = $1 AND state = $2";
    on.count(sql, args![project, state]).await
}

/// Open ones whose commits come from a branch.
pub(crate) async fn open_from(on: &impl Query, source: ProjectId, branch: &str) -> Result<Vec<MergeRequest>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM merge_request WHERE source_project_id = $1 AND source_branch = $2 AND state = 'open'
         ORDER BY id LIMIT 500"
    );
    on.all(&sql, args![source, branch]).await
}

/// Several by identifier.
pub(crate) async fn by_ids(on: &impl Query, ids: &[MergeRequestId]) -> Result<Vec<MergeRequest>> {
    let mut values = args![];
    let places = bind_all(&mut values, ids);
    on.all(
        &format!("SELECT {COLUMNS} FROM merge_request WHERE id IN ({places})"),
        values,
    )
    .await
}

/// Open ones that would merge this commit.
pub(crate) async fn open_at(on: &impl Query, source: ProjectId, sha: &str) -> Result<Vec<MergeRequest>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM merge_request WHERE source_project_id = $1 AND head = $2 AND state = 'open'
         ORDER BY id LIMIT 50"
    );
    on.all(&sql, args![source, sha]).await
}

/// Open ones that are to go to a branch.
pub(crate) async fn open_to(on: &impl Query, project: ProjectId, branch: &str) -> Result<Vec<MergeRequest>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM merge_request WHERE project_id = $1 AND target_branch = $2 AND state = 'open'
         ORDER BY iid LIMIT 5000"
    );
    on.all(&sql, args![project, branch]).await
}

/// Those that are to be merged once all checks pass.
pub(crate) async fn automatic(on: &impl Query) -> Result<Vec<MergeRequest>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM merge_request WHERE state = 'open' AND auto_id IS NOT NULL ORDER BY updated_at LIMIT 1000"
    );
    on.all(&sql, args![]).await
}

/// Writes what people change of an open request.
pub(crate) async fn edit(tx: &Tx, request: &MergeRequest) -> Result<u64> {
    tx.run(
        "UPDATE merge_request SET title = $2, description = $3, target_branch = $4, draft = $5, delete_source = $6,
         base = $7, updated_at = $8 WHERE id = $1",
        args![
            request.id,
            request.title,
            request.description,
            request.target_branch,
            request.draft,
            request.delete_source,
            request.base,
            request.updated_at
        ],
    )
    .await
}

/// Ends an open request; how many rows changed, so that it is ended once.
pub(crate) async fn end(
    tx: &Tx,
    id: MergeRequestId,
    state: State,
    merge: Option<(&str, &str)>,
    by: &str,
    at: Timestamp,
) -> Result<u64> {
    tx.run(
        "UPDATE merge_request SET state = $2, merge_sha = $3, ended_by = $4, ended_at = $5, updated_at = $5,
         auto_id = NULL, auto_kind = NULL, auto_name = NULL, auto_strategy = NULL, merge_before = $6 WHERE id = $1
         AND (state = 'open' OR (state = 'closed' AND $2 = 'merged'))",
        args![id, state, merge.map(|(_, after)| after), by, at, merge.map(|(before, _)| before)],
    )
    .await
}

/// Opens a closed request again.
pub(crate) async fn reopen(tx: &Tx, id: MergeRequestId, at: Timestamp) -> Result<u64> {
    tx.run(
        "UPDATE merge_request SET state = 'open', ended_by = NULL, ended_at = NULL, updated_at = $2
         WHERE id = $1 AND state = 'closed'",
        args![id, at],
    )
    .await
}

/// Notes who asked that it be merged once all checks pass; nobody takes the wish back.
pub(crate) async fn set_auto(
    tx: &Tx,
    id: MergeRequestId,
    by: Option<&Actor>,
    strategy: Option<&str>,
    at: Timestamp,
) -> Result<u64> {
    tx.run(
        "UPDATE merge_request SET auto_id = $2, auto_kind = $3, auto_name = $4, auto_strategy = $5, updated_at = $6
         WHERE id = $1 AND state = 'open'",
        args![
            id,
            by.map(|by| by.id.as_str()),
            by.map(|by| by.kind.as_str()),
            by.map(|by| by.name.as_str()),
            strategy,
            at
        ],
    )
    .await
}

/// Writes a new version, if the request is still at the version before. Whoever asked for a merge once all
/// checks pass asked for what they saw.
pub(crate) async fn advance(tx: &Tx, request: &MergeRequest, version: &Version, heard: i64) -> Result<bool> {
    let changed = tx
        .run(
            "UPDATE merge_request SET head = $2, base = $3, version = $4, heard = $5, source_gone = $6, updated_at = $7,
             auto_id = NULL, auto_kind = NULL, auto_name = NULL, auto_strategy = NULL
             WHERE id = $1 AND version = $8 AND state = 'open'",
            args![
                request.id,
                version.head,
                version.base,
                version.number,
                heard.max(request.heard),
                false,
                version.at,
                request.version
            ],
        )
        .await?;
    if changed == 1 {
        add_version(tx, request.id, version).await?;
    }
    Ok(changed == 1)
}

pub(crate) async fn add_version(tx: &Tx, id: MergeRequestId, version: &Version) -> Result<()> {
    tx.run(
        "INSERT INTO merge_request_version (merge_request_id, number, head, base, forced, commit_count, by_id, by_name, at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        args![
            id,
            version.number,
            version.head,
            version.base,
            version.forced,
            version.commit_count,
            version.by_id,
            version.by_name,
            version.at
        ],
    )
    .await?;
    Ok(())
}

/// Notes that facts were heard, and whether the source branch is there.
pub(crate) async fn hear(tx: &Tx, id: MergeRequestId, heard: i64, gone: bool) -> Result<()> {
    tx.run(
        "UPDATE merge_request SET heard = $2, source_gone = $3 WHERE id = $1 AND heard < $2",
        args![id, heard, gone],
    )
    .await?;
    Ok(())
}

row! { struct Numbered { iid: i64 } }

/// The numbers of a project's open requests.
pub(crate) async fn open_numbers(on: &impl Query, project: ProjectId) -> Result<Vec<i64>> {
    let sql =
        "SELECT iid FROM merge_request WHERE project_id = $1 AND state = 'open' ORDER BY iid LIMIT 10000";
    let rows: Vec<Numbered> = on.all(sql, args![project]).await?;
    Ok(rows.into_iter().map(|row| row.iid).collect())
}

/// Numbers of requests that were merged into a branch since a time, in that order.
pub(crate) async fn merged_since(
    on: &impl Query,
    project: ProjectId,
    target: &str,
    since: Timestamp,
) -> Result<Vec<i64>> {
    let sql = "SELECT iid FROM merge_request WHERE project_id = $1 AND target_branch = $2 AND state = 'merged' \
               AND ended_at >= $3 ORDER BY ended_at, iid LIMIT 1000";
    let rows: Vec<Numbered> = on.all(sql, args![project, target, since]).await?;
    Ok(rows.into_iter().map(|row| row.iid).collect())
}

/// Newest first.
pub(crate) async fn versions(on: &impl Query, id: MergeRequestId, limit: i64) -> Result<Vec<Version>> {
    on.all(
        "SELECT number, head, base, forced, commit_count, by_id, by_name, at FROM merge_request_version
         WHERE merge_request_id = $1 ORDER BY number DESC LIMIT $2",
        args![id, limit],
    )
    .await
}

pub(crate) async fn version(on: &impl Query, id: MergeRequestId, number: i64) -> Result<Option<Version>> {
    on.one(
        "SELECT number, head, base, forced, commit_count, by_id, by_name, at FROM merge_request_version
         WHERE merge_request_id = $1 AND number = $2",
        args![id, number],
    )
    .await
}

pub(crate) async fn settings(on: &impl Query, project: ProjectId) -> Result<Option<Settings>> {
    on.one(
        "SELECT strategy, require_request, require_pipeline, developers_merge, delete_source, queue, queue_parallel,
         merge_message, squash_message FROM merge_setting WHERE project_id = $1",
        args![project],
    )
    .await
}

pub(crate) async fn set_settings(tx: &Tx, project: ProjectId, settings: &Settings) -> Result<()> {
    tx.run(
        "INSERT INTO merge_setting (project_id, strategy, require_request, require_pipeline, developers_merge,
         delete_source, queue, queue_parallel, merge_message, squash_message)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
         ON CONFLICT (project_id) DO UPDATE SET strategy = $2, require_request = $3, require_pipeline = $4,
         developers_merge = $5, delete_source = $6, queue = $7, queue_parallel = $8, merge_message = $9,
         squash_message = $10",
        args![
            project,
            settings.strategy,
            settings.require_request,
            settings.require_pipeline,
            settings.developers_merge,
            settings.delete_source,
            settings.queue,
            settings.queue_parallel,
            settings.merge_message,
            settings.squash_message
        ],
    )
    .await?;
    Ok(())
}

/// The project that another is a fork of.
pub(crate) async fn fork_parent(on: &impl Query, fork: ProjectId) -> Result<Option<ProjectId>> {
    row! { struct Parent { parent_id: ProjectId } }
    let found: Option<Parent> = on
        .one(
            "SELECT parent_id FROM project_fork WHERE project_id = $1",
            args![fork],
        )
        .await?;
    Ok(found.map(|found| found.parent_id))
}

/// Notes that a project is a fork of another.
pub(crate) async fn set_fork_parent(tx: &Tx, fork: ProjectId, parent: ProjectId) -> Result<()> {
    tx.run(
        "INSERT INTO project_fork (project_id, parent_id) VALUES ($1, $2)",
        args![fork, parent],
    )
    .await?;
    Ok(())
}

/// Forgets all of a project that is deleted; requests from it elsewhere stay, with what they kept.
pub(crate) async fn delete_project(tx: &Tx, project: ProjectId) -> Result<()> {
    tx.run(
        "DELETE FROM merge_request_version WHERE merge_request_id IN (SELECT id FROM merge_request WHERE project_id = $1)",
        args![project],
    )
    .await?;
    tx.run("DELETE FROM merge_request WHERE project_id = $1", args![project])
        .await?;
    tx.run("DELETE FROM project_fork WHERE project_id = $1", args![project])
        .await?;
    tx.run("DELETE FROM merge_setting WHERE project_id = $1", args![project])
        .await?;
    tx.run(
        "UPDATE merge_request SET source_gone = $2 WHERE source_project_id = $1",
        args![project, true],
    )
    .await?;
    Ok(())
}
