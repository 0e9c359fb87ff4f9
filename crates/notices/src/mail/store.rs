//! The tables of mail. The only file with their queries.

use super::{Choice, Level, Mail};
use bascule_core::{MailId, Timestamp, UserId};
use bascule_ledger::Entry;
use bascule_store::{Query, Result, Tx, args, bind_all, row};
use std::collections::HashMap;

const COLUMNS: &str = "id, user_id, project_id, action, kind, target, target_id, anchor, actor, summary, at, state, tries, \
     due_at, tried_at, error";

row! {
    struct ChoiceRow {
        user_id: UserId,
        issues: String,
        merge_requests: String,
        pipelines: String,
    }
}

impl From<ChoiceRow> for Choice {
    fn from(row: ChoiceRow) -> Self {
        let level = |word: &str| Level::parse(word).unwrap_or(Level::Todos);
        Self {
            issues: level(&row.issues),
            merge_requests: level(&row.merge_requests),
            pipelines: level(&row.pipelines),
        }
    }
}

/// What some people chose; those who chose nothing are left out.
pub(crate) async fn choices(on: &impl Query, users: &[UserId]) -> Result<HashMap<UserId, Choice>> {
    let mut values = args![];
    let users = bind_all(&mut values, users);
    let sql = format!(
        "SELECT user_id, issues, merge_requests, pipelines FROM mail_choice WHERE user_id IN ({users})"
    );
    let rows: Vec<ChoiceRow> = on.all(&sql, values).await?;
    Ok(rows.into_iter().map(|row| (row.user_id, row.into())).collect())
}

pub(crate) async fn choose(tx: &Tx, user: UserId, choice: Choice) -> Result<()> {
    tx.run(
        "INSERT INTO mail_choice (user_id, issues, merge_requests, pipelines) VALUES ($1, $2, $3, $4)
         ON CONFLICT (user_id) DO UPDATE SET issues = $2, merge_requests = $3, pipelines = $4",
        args![
            user,
            choice.issues.as_str(),
            choice.merge_requests.as_str(),
            choice.pipelines.as_str()
        ],
    )
    .await
    .map(drop)
}

/// Writes down a mail; one of the same fact for the same reason is there already after a crash.
pub(crate) async fn put(tx: &Tx, entry: &Entry, mail: &Mail) -> Result<()> {
    tx.run(
        "INSERT INTO mail (id, user_id, seq, project_id, action, kind, target, target_id, anchor, actor, summary, at, state,
             tries, due_at, error)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 'waiting', 0, $13, '')
         ON CONFLICT DO NOTHING",
        args![
            mail.id,
            mail.user_id,
            entry.seq,
            mail.project_id,
            mail.action,
            mail.kind,
            mail.target,
            mail.target_id,
            mail.anchor,
            mail.actor,
            mail.summary,
            mail.at,
            mail.due_at
        ],
    )
    .await
    .map(drop)
}

pub(crate) async fn due(on: &impl Query, now: Timestamp, limit: i64) -> Result<Vec<Mail>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM mail WHERE state = 'waiting' AND due_at <= $1 ORDER BY due_at, id LIMIT $2"
    );
    on.all(&sql, args![now, limit]).await
}

pub(crate) async fn next_due(on: &impl Query) -> Result<Option<Timestamp>> {
    row! { struct Due { at: Option<Timestamp> } }
    let sql = "SELECT MIN(due_at) AS at FROM mail WHERE state = 'waiting'";
    Ok(on.one::<Due>(sql, args![]).await?.and_then(|due| due.at))
}

/// Writes what came of a try.
pub(crate) async fn tried(tx: &Tx, mail: &Mail) -> Result<()> {
    tx.run(
        "UPDATE mail SET state = $2, tries = $3, due_at = $4, tried_at = $5, error = $6 WHERE id = $1",
        args![
            mail.id,
            mail.state,
            mail.tries,
            mail.due_at,
            mail.tried_at,
            mail.error
        ],
    )
    .await
    .map(drop)
}

/// Lets all that waits wait at least until then.
pub(crate) async fn hold(tx: &Tx, until: Timestamp) -> Result<()> {
    tx.run(
        "UPDATE mail SET due_at = $1 WHERE state = 'waiting' AND due_at < $1",
        args![until],
    )
    .await
    .map(drop)
}

/// Lets what waits, and what was given up, be tried now, for another three days.
pub(crate) async fn again(tx: &Tx, now: Timestamp) -> Result<u64> {
    tx.run(
        "UPDATE mail SET state = 'waiting', due_at = $1, at = $1 WHERE state IN ('waiting', 'failed')",
        args![now],
    )
    .await
}

/// The last mails that were given up or are tried again.
pub(crate) async fn troubled(on: &impl Query, limit: i64) -> Result<Vec<Mail>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM mail WHERE state = 'failed' OR (state = 'waiting' AND tries > 0) ORDER BY id DESC LIMIT $1"
    );
    on.all(&sql, args![limit]).await
}

/// How many mails are in each state.
pub(crate) async fn counts(on: &impl Query) -> Result<HashMap<String, i64>> {
    let sql = "SELECT state AS c0, COUNT(*) AS c1 FROM mail GROUP BY state";
    let rows: Vec<(String, i64)> = on.all(sql, args![]).await?;
    Ok(rows.into_iter().collect())
}

/// Forgets what was settled before `before`.
pub(crate) async fn forget_sent(tx: &Tx, before: Timestamp) -> Result<u64> {
    tx.run(
        "DELETE FROM mail WHERE at < $1 AND state <> 'waiting'",
        args![before],
    )
    .await
}

/// A fresh mail's identifier.
pub(crate) fn id() -> MailId {
    MailId::new()
}
