//! The tables of discussions. The only file with their queries.

use super::{Comment, Thread};
use bascule_core::{CommentId, MergeRequestId, ProjectId, ThreadId, Timestamp, UserId};
use bascule_store::{Query, Result, Tx, args, row};

/// Tables of discussions.
pub(crate) const TABLES: &str = "
    CREATE TABLE review_thread (
        id TEXT PRIMARY KEY,
        merge_request_id TEXT NOT NULL,
        project_id TEXT NOT NULL,
        opened_by TEXT NOT NULL,
        draft BOOLEAN NOT NULL,
        path TEXT,
        side TEXT,
        start_line BIGINT,
        end_line BIGINT,
        base TEXT NOT NULL,
        head TEXT NOT NULL,
        resolved_by TEXT,
        resolved_at BIGINT,
        created_at BIGINT NOT NULL
    );
    CREATE INDEX review_thread_request ON review_thread (merge_request_id, id);
    CREATE INDEX review_thread_project ON review_thread (project_id);
    CREATE TABLE review_comment (
        id TEXT PRIMARY KEY,
        thread_id TEXT NOT NULL,
        merge_request_id TEXT NOT NULL,
        author_id TEXT NOT NULL,
        author_name TEXT NOT NULL,
        person BOOLEAN NOT NULL,
        body TEXT NOT NULL,
        draft BOOLEAN NOT NULL,
        deleted BOOLEAN NOT NULL,
        created_at BIGINT NOT NULL,
        edited_at BIGINT
    );
    CREATE INDEX review_comment_thread ON review_comment (merge_request_id, thread_id, id);
    CREATE TABLE review_applied (
        comment_id TEXT NOT NULL,
        number BIGINT NOT NULL,
        commit_sha TEXT NOT NULL,
        by_name TEXT NOT NULL,
        at BIGINT NOT NULL,
        PRIMARY KEY (comment_id, number)
    );
";

const THREAD: &str = "id, merge_request_id, project_id, opened_by, draft, path, side, start_line, end_line, base, head, \
     resolved_by, resolved_at, created_at";
const COMMENT: &str = "id, thread_id, merge_request_id, author_id, author_name, person, body, draft, deleted, created_at, \
     edited_at";

pub(crate) async fn insert_thread(tx: &Tx, thread: &Thread) -> Result<()> {
    let sql = format!(
        "INSERT INTO review_thread ({THREAD}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)"
    );
    tx.run(
        &sql,
        args![
            thread.id,
            thread.merge_request_id,
            thread.project_id,
            thread.opened_by,
            thread.draft,
            thread.path,
            thread.side,
            thread.start_line,
            thread.end_line,
            thread.base,
            thread.head,
            thread.resolved_by,
            thread.resolved_at,
            thread.created_at
        ],
    )
    .await
    .map(drop)
}

pub(crate) async fn insert_comment(tx: &Tx, comment: &Comment) -> Result<()> {
    let sql = format!(
        "INSERT INTO review_comment ({COMMENT}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"
    );
    tx.run(
        &sql,
        args![
            comment.id,
            comment.thread_id,
            comment.merge_request_id,
            comment.author_id,
            comment.author_name,
            comment.person,
            comment.body,
            comment.draft,
            comment.deleted,
            comment.created_at,
            comment.edited_at
        ],
    )
    .await
    .map(drop)
}

/// Threads that someone may see, oldest first.
pub(crate) async fn threads(
    on: &impl Query,
    request: MergeRequestId,
    me: &str,
    after: Option<ThreadId>,
    limit: i64,
) -> Result<Vec<Thread>> {
    let after = after.map(|id| id.to_string()).unwrap_or_default();
    let sql = format!(
        "SELECT {THREAD} FROM review_thread WHERE merge_request_id = $1 AND id > $3
         AND (draft = FALSE OR opened_by = $2) ORDER BY id LIMIT $4"
    );
    on.all(&sql, args![request, me, after, limit]).await
}

pub(crate) async fn thread(on: &impl Query, request: MergeRequestId, id: ThreadId) -> Result<Option<Thread>> {
    let sql = format!("SELECT {THREAD} FROM review_thread WHERE id = $1 AND merge_request_id = $2");
    on.one(&sql, args![id, request]).await
}

/// Comments that someone may see, of all threads from `first` to `last`.
pub(crate) async fn comments(
    on: &impl Query,
    request: MergeRequestId,
    me: &str,
    first: ThreadId,
    last: ThreadId,
    limit: i64,
) -> Result<Vec<Comment>> {
    let sql = format!(
        "SELECT {COMMENT} FROM review_comment WHERE merge_request_id = $1 AND thread_id >= $3 AND thread_id <= $4
         AND (draft = FALSE OR author_id = $2) ORDER BY thread_id, id LIMIT $5"
    );
    on.all(&sql, args![request, me, first, last, limit]).await
}

pub(crate) async fn comment(
    on: &impl Query,
    request: MergeRequestId,
    id: CommentId,
) -> Result<Option<Comment>> {
    let sql = format!("SELECT {COMMENT} FROM review_comment WHERE id = $1 AND merge_request_id = $2");
    on.one(&sql, args![id, request]).await
}

pub(crate) async fn edit(tx: &Tx, id: CommentId, body: &str, at: Timestamp) -> Result<u64> {
    tx.run(
        "UPDATE review_comment SET body = $2, edited_at = $3 WHERE id = $1 AND deleted = FALSE",
        args![id, body, at],
    )
    .await
}

/// Takes a comment back: what was written goes, that something stood there stays.
pub(crate) async fn blank(tx: &Tx, id: CommentId, at: Timestamp) -> Result<u64> {
    tx.run(
        "UPDATE review_comment SET body = '', deleted = TRUE, edited_at = $2 WHERE id = $1 AND deleted = FALSE",
        args![id, at],
    )
    .await
}

/// Throws a draft away, and its thread with it if nothing else is in it.
pub(crate) async fn discard(tx: &Tx, comment: &Comment) -> Result<u64> {
    let gone = tx
        .run(
            "DELETE FROM review_comment WHERE id = $1 AND draft = TRUE",
            args![comment.id],
        )
        .await?;
    tx.run(
        "DELETE FROM review_thread WHERE id = $1 AND draft = TRUE
         AND NOT EXISTS (SELECT 1 FROM review_comment WHERE thread_id = $1)",
        args![comment.thread_id],
    )
    .await?;
    Ok(gone)
}

pub(crate) async fn resolve(tx: &Tx, id: ThreadId, by: Option<&str>, at: Option<Timestamp>) -> Result<u64> {
    let open = if at.is_some() {
        "resolved_at IS NULL"
    } else {
        "resolved_at IS NOT NULL"
    };
    let sql = format!("UPDATE review_thread SET resolved_by = $2, resolved_at = $3 WHERE id = $1 AND {open}");
    tx.run(&sql, args![id, by, at]).await
}

/// Threads that wait to be settled.
pub(crate) async fn unresolved(on: &impl Query, request: MergeRequestId) -> Result<i64> {
    on.count(
        "SELECT COUNT(*) AS n FROM review_thread t WHERE t.merge_request_id = $1 AND t.draft = FALSE
         AND t.resolved_at IS NULL AND EXISTS (SELECT 1 FROM review_comment c
             WHERE c.thread_id = t.id AND c.deleted = FALSE AND c.draft = FALSE)",
        args![request],
    )
    .await
}

/// Threads of a request, drafts included.
pub(crate) async fn count_threads(on: &impl Query, request: MergeRequestId) -> Result<i64> {
    on.count(
        "SELECT COUNT(*) AS n FROM review_thread WHERE merge_request_id = $1",
        args![request],
    )
    .await
}

/// Comments of a thread, drafts included.
pub(crate) async fn count_comments(on: &impl Query, thread: ThreadId) -> Result<i64> {
    on.count(
        "SELECT COUNT(*) AS n FROM review_comment WHERE thread_id = $1",
        args![thread],
    )
    .await
}

/// Someone's comments that wait for their review, oldest first.
pub(crate) async fn drafts(on: &impl Query, request: MergeRequestId, me: &str) -> Result<Vec<Comment>> {
    let sql = format!(
        "SELECT {COMMENT} FROM review_comment WHERE merge_request_id = $1 AND author_id = $2 AND draft = TRUE
         ORDER BY id LIMIT 1000"
    );
    on.all(&sql, args![request, me]).await
}

/// Makes all of someone's drafts seen.
pub(crate) async fn publish(tx: &Tx, request: MergeRequestId, me: &str, at: Timestamp) -> Result<u64> {
    tx.run(
        "UPDATE review_thread SET draft = FALSE WHERE merge_request_id = $1 AND opened_by = $2 AND draft = TRUE",
        args![request, me],
    )
    .await?;
    tx.run(
        "UPDATE review_comment SET draft = FALSE, created_at = $3
         WHERE merge_request_id = $1 AND author_id = $2 AND draft = TRUE",
        args![request, me, at],
    )
    .await
}

row! { struct Spoke { author_id: UserId } }

/// Who spoke in a thread.
pub(crate) async fn participants(on: &impl Query, thread: ThreadId) -> Result<Vec<UserId>> {
    let rows: Vec<Spoke> = on
        .all(
            "SELECT DISTINCT author_id FROM review_comment
             WHERE thread_id = $1 AND person = TRUE AND draft = FALSE ORDER BY author_id LIMIT 200",
            args![thread],
        )
        .await?;
    Ok(rows.into_iter().map(|row| row.author_id).collect())
}

row! {
    /// A suggestion that became a commit.
    pub(crate) struct Applied {
        pub(crate) comment_id: CommentId,
        pub(crate) number: i64,
        pub(crate) commit_sha: String,
    }
}

pub(crate) async fn applied(on: &impl Query, request: MergeRequestId) -> Result<Vec<Applied>> {
    on.all(
        "SELECT a.comment_id AS comment_id, a.number AS number, a.commit_sha AS commit_sha FROM review_applied a
         JOIN review_comment c ON c.id = a.comment_id WHERE c.merge_request_id = $1 LIMIT 5000",
        args![request],
    )
    .await
}

pub(crate) async fn apply(
    tx: &Tx,
    comment: CommentId,
    number: u32,
    commit: &str,
    by: &str,
    at: Timestamp,
) -> Result<()> {
    tx.run(
        "INSERT INTO review_applied (comment_id, number, commit_sha, by_name, at) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (comment_id, number) DO UPDATE SET commit_sha = $3, by_name = $4, at = $5",
        args![comment, i64::from(number), commit, by, at],
    )
    .await
    .map(drop)
}

/// Everything of a project that goes.
pub(crate) async fn delete_project(tx: &Tx, project: ProjectId) -> Result<()> {
    for sql in [
        "DELETE FROM review_applied WHERE comment_id IN (SELECT c.id FROM review_comment c
             JOIN review_thread t ON t.id = c.thread_id WHERE t.project_id = $1)",
        "DELETE FROM review_comment WHERE thread_id IN (SELECT id FROM review_thread WHERE project_id = $1)",
        "DELETE FROM review_thread WHERE project_id = $1",
    ] {
        tx.run(sql, args![project]).await?;
    }
    Ok(())
}
