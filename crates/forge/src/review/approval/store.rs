//! The tables of approvals. The only file with their queries.

use super::{Given, Involved, Settings, Team};
use bascule_core::{MergeRequestId, ProjectId, Timestamp, UserId};
use bascule_store::{Query, Result, Tx, args, bind_all, row};
use std::collections::HashMap;

/// Tables of approvals.
pub(crate) const TABLES: &str = "
    CREATE TABLE review_setting (
        project_id TEXT PRIMARY KEY,
        approvals BIGINT NOT NULL,
        code_owners BOOLEAN NOT NULL,
        writers_barred BOOLEAN NOT NULL,
        reset_on_change BOOLEAN NOT NULL,
        resolve_threads BOOLEAN NOT NULL
    );
    CREATE TABLE review_team (
        project_id TEXT NOT NULL,
        name TEXT NOT NULL,
        group_id TEXT NOT NULL,
        required BIGINT NOT NULL,
        PRIMARY KEY (project_id, name)
    );
    CREATE TABLE review_approval (
        merge_request_id TEXT NOT NULL,
        user_id TEXT NOT NULL,
        user_name TEXT NOT NULL,
        head TEXT NOT NULL,
        target_branch TEXT NOT NULL,
        told_stale BOOLEAN NOT NULL,
        at BIGINT NOT NULL,
        PRIMARY KEY (merge_request_id, user_id)
    );
    CREATE TABLE review_person (
        merge_request_id TEXT NOT NULL,
        user_id TEXT NOT NULL,
        user_name TEXT NOT NULL,
        reviewer BOOLEAN NOT NULL,
        assignee BOOLEAN NOT NULL,
        verdict TEXT NOT NULL,
        head TEXT NOT NULL,
        at BIGINT NOT NULL,
        PRIMARY KEY (merge_request_id, user_id)
    );
    CREATE INDEX review_person_user ON review_person (user_id, reviewer, verdict);
    CREATE TABLE review_writer (
        merge_request_id TEXT NOT NULL,
        user_id TEXT NOT NULL,
        PRIMARY KEY (merge_request_id, user_id)
    );
    CREATE TABLE review_push (
        project_id TEXT NOT NULL,
        sha TEXT NOT NULL,
        user_id TEXT NOT NULL,
        PRIMARY KEY (project_id, sha, user_id)
    );
";

/// What an approval's change stood on; unknown of older ones, which count for their very commit alone.
pub(crate) const BASE: &str = "ALTER TABLE review_approval ADD COLUMN base TEXT NOT NULL DEFAULT ''";

pub(crate) async fn settings(on: &impl Query, project: ProjectId) -> Result<Option<Settings>> {
    on.one(
        "SELECT approvals, code_owners, writers_barred, reset_on_change, resolve_threads
         FROM review_setting WHERE project_id = $1",
        args![project],
    )
    .await
}

pub(crate) async fn set_settings(tx: &Tx, project: ProjectId, settings: &Settings) -> Result<()> {
    tx.run(
        "INSERT INTO review_setting
             (project_id, approvals, code_owners, writers_barred, reset_on_change, resolve_threads)
         VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (project_id) DO UPDATE SET approvals = $2, code_owners = $3, writers_barred = $4,
             reset_on_change = $5, resolve_threads = $6",
        args![
            project,
            settings.approvals,
            settings.code_owners,
            settings.writers_barred,
            settings.reset_on_change,
            settings.resolve_threads
        ],
    )
    .await
    .map(drop)
}

pub(crate) async fn teams(on: &impl Query, project: ProjectId) -> Result<Vec<Team>> {
    on.all(
        "SELECT name, group_id, required FROM review_team WHERE project_id = $1 ORDER BY name LIMIT 100",
        args![project],
    )
    .await
}

pub(crate) async fn set_teams(tx: &Tx, project: ProjectId, teams: &[Team]) -> Result<()> {
    tx.run("DELETE FROM review_team WHERE project_id = $1", args![project])
        .await?;
    for team in teams {
        tx.run(
            "INSERT INTO review_team (project_id, name, group_id, required) VALUES ($1, $2, $3, $4)",
            args![project, team.name, team.group_id, team.required],
        )
        .await?;
    }
    Ok(())
}

pub(crate) async fn approvals(on: &impl Query, request: MergeRequestId) -> Result<Vec<Given>> {
    on.all(
        "SELECT user_id, user_name, head, base, target_branch, told_stale, at FROM review_approval
         WHERE merge_request_id = $1 ORDER BY at, user_id LIMIT 500",
        args![request],
    )
    .await
}

pub(crate) async fn give(tx: &Tx, request: MergeRequestId, given: &Given) -> Result<()> {
    tx.run(
        "INSERT INTO review_approval (merge_request_id, user_id, user_name, head, base, target_branch, told_stale, at)
         VALUES ($1, $2, $3, $4, $5, $6, FALSE, $7)
         ON CONFLICT (merge_request_id, user_id) DO UPDATE SET user_name = $3, head = $4, base = $5,
             target_branch = $6, told_stale = FALSE, at = $7",
        args![
            request,
            given.user_id,
            given.user_name,
            given.head,
            given.base,
            given.target_branch,
            given.at
        ],
    )
    .await
    .map(drop)
}

pub(crate) async fn withdraw(tx: &Tx, request: MergeRequestId, user: UserId) -> Result<u64> {
    tx.run(
        "DELETE FROM review_approval WHERE merge_request_id = $1 AND user_id = $2",
        args![request, user],
    )
    .await
}

/// Notes that the ledger was told that an approval no longer counts; 0 if it was told before.
pub(crate) async fn tell_stale(tx: &Tx, request: MergeRequestId, given: &Given) -> Result<u64> {
    tx.run(
        "UPDATE review_approval SET told_stale = TRUE
         WHERE merge_request_id = $1 AND user_id = $2 AND head = $3 AND told_stale = FALSE",
        args![request, given.user_id, given.head],
    )
    .await
}

pub(crate) async fn involved(on: &impl Query, request: MergeRequestId) -> Result<Vec<Involved>> {
    on.all(
        "SELECT user_id, user_name, reviewer, assignee, verdict, head FROM review_person
         WHERE merge_request_id = $1 ORDER BY user_name LIMIT 500",
        args![request],
    )
    .await
}

/// Notes what someone is to a request; a line for somebody who is nothing any more goes.
pub(crate) async fn involve(
    tx: &Tx,
    request: MergeRequestId,
    person: &Involved,
    at: Timestamp,
) -> Result<()> {
    if !person.reviewer && !person.assignee && person.verdict.is_empty() {
        return tx
            .run(
                "DELETE FROM review_person WHERE merge_request_id = $1 AND user_id = $2",
                args![request, person.user_id],
            )
            .await
            .map(drop);
    }
    tx.run(
        "INSERT INTO review_person
             (merge_request_id, user_id, user_name, reviewer, assignee, verdict, head, at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (merge_request_id, user_id) DO UPDATE SET user_name = $3, reviewer = $4, assignee = $5,
             verdict = $6, head = $7, at = $8",
        args![
            request,
            person.user_id,
            person.user_name,
            person.reviewer,
            person.assignee,
            person.verdict,
            person.head,
            at
        ],
    )
    .await
    .map(drop)
}

row! { struct Count { user_id: UserId, n: i64 } }

/// How many open requests wait for each of these people's review.
pub(crate) async fn waiting(on: &impl Query, people: &[UserId]) -> Result<HashMap<UserId, i64>> {
    if people.is_empty() {
        return Ok(HashMap::new());
    }
    let mut values = args![];
    let places = bind_all(&mut values, people);
    let sql = format!(
        "SELECT p.user_id AS user_id, COUNT(*) AS n FROM review_person p
         JOIN merge_request m ON m.id = p.merge_request_id
         WHERE m.state = 'open' AND p.reviewer = TRUE AND p.verdict = '' AND p.user_id IN ({places})
         GROUP BY p.user_id"
    );
    let rows: Vec<Count> = on.all(&sql, values).await?;
    Ok(rows.into_iter().map(|row| (row.user_id, row.n)).collect())
}

row! { struct Writer { user_id: UserId } }

pub(crate) async fn writers(on: &impl Query, request: MergeRequestId) -> Result<Vec<UserId>> {
    let rows: Vec<Writer> = on
        .all(
            "SELECT user_id FROM review_writer WHERE merge_request_id = $1 LIMIT 2000",
            args![request],
        )
        .await?;
    Ok(rows.into_iter().map(|row| row.user_id).collect())
}

pub(crate) async fn add_writer(tx: &Tx, request: MergeRequestId, user: UserId) -> Result<()> {
    tx.run(
        "INSERT INTO review_writer (merge_request_id, user_id) VALUES ($1, $2)
         ON CONFLICT (merge_request_id, user_id) DO NOTHING",
        args![request, user],
    )
    .await
    .map(drop)
}

/// Notes who pushed a branch to a commit.
pub(crate) async fn add_push(tx: &Tx, project: ProjectId, sha: &str, user: UserId) -> Result<()> {
    tx.run(
        "INSERT INTO review_push (project_id, sha, user_id) VALUES ($1, $2, $3)
         ON CONFLICT (project_id, sha, user_id) DO NOTHING",
        args![project, sha, user],
    )
    .await
    .map(drop)
}

/// Who pushed some branch to one of these commits.
pub(crate) async fn pushers(on: &impl Query, project: ProjectId, shas: &[String]) -> Result<Vec<UserId>> {
    if shas.is_empty() {
        return Ok(Vec::new());
    }
    let mut values = args![project];
    let places = bind_all(&mut values, shas);
    let sql = format!("SELECT DISTINCT user_id FROM review_push WHERE project_id = $1 AND sha IN ({places})");
    let rows: Vec<Writer> = on.all(&sql, values).await?;
    Ok(rows.into_iter().map(|row| row.user_id).collect())
}

/// Everything of a project that goes; while its requests are still there.
pub(crate) async fn delete_project(tx: &Tx, project: ProjectId) -> Result<()> {
    for table in ["review_approval", "review_person", "review_writer"] {
        let sql = format!(
            "DELETE FROM {table} WHERE merge_request_id IN (SELECT id FROM merge_request WHERE project_id = $1)"
        );
        tx.run(&sql, args![project]).await?;
    }
    for table in ["review_setting", "review_team", "review_push"] {
        tx.run(
            &format!("DELETE FROM {table} WHERE project_id = $1"),
            args![project],
        )
        .await?;
    }
    Ok(())
}
