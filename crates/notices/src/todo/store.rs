//! The tables of to-dos. The only file with their queries.

use super::{Action, Settle, TodoRow};
use crate::ports::Target;
use bascule_core::{ProjectId, Timestamp, TodoId, UserId};
use bascule_store::{Query, Result, Tx, args, bind, bind_all};

const COLUMNS: &str =
    "id, project_id, action, target, target_id, number, anchor, actor, at, done_at, done_how";

/// A to-do that is to be kept.
pub(crate) struct New<'a> {
    pub(crate) user: UserId,
    pub(crate) project: ProjectId,
    pub(crate) action: Action,
    pub(crate) target: Target,
    pub(crate) number: i64,
    pub(crate) anchor: &'a str,
    pub(crate) thread: &'a str,
    pub(crate) actor: &'a str,
    pub(crate) seq: i64,
    pub(crate) at: Timestamp,
}

/// Whether one waits for this person, target and reason already.
pub(crate) async fn waits(on: &impl Query, new: &New<'_>) -> Result<bool> {
    let n = on
        .count(
            "SELECT COUNT(*) AS n FROM todo WHERE user_id = $1 AND target_id = $2 AND action = $3 AND done_at IS NULL",
            args![new.user, new.target.id(), new.action.as_str()],
        )
        .await?;
    Ok(n > 0)
}

/// Whether this person was told so at this place before, done or not.
pub(crate) async fn was_told(on: &impl Query, new: &New<'_>) -> Result<bool> {
    let n = on
        .count(
            "SELECT COUNT(*) AS n FROM todo WHERE user_id = $1 AND target_id = $2 AND action = $3 AND anchor = $4",
            args![new.user, new.target.id(), new.action.as_str(), new.anchor],
        )
        .await?;
    Ok(n > 0)
}

/// Keeps a to-do; one that waits for the same reason is made new.
pub(crate) async fn put(tx: &Tx, new: &New<'_>) -> Result<()> {
    tx.run(
        "INSERT INTO todo (id, user_id, project_id, action, target, target_id, number, anchor, thread, actor, seq, at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
         ON CONFLICT (user_id, target_id, action) WHERE done_at IS NULL
         DO UPDATE SET id = $1, anchor = $8, thread = $9, actor = $10, seq = $11, at = $12",
        args![
            TodoId::new(),
            new.user,
            new.project,
            new.action.as_str(),
            new.target.kind(),
            new.target.id(),
            new.number,
            new.anchor,
            new.thread,
            new.actor,
            new.seq,
            new.at
        ],
    )
    .await
    .map(drop)
}

/// Marks done what a fact settles.
pub(crate) async fn settle(tx: &Tx, target: Target, settle: &Settle, how: &str, at: Timestamp) -> Result<()> {
    let mut values = args![at, how, target.id()];
    let words = |actions: &[Action]| -> Vec<&'static str> { actions.iter().map(|a| a.as_str()).collect() };
    let which = match settle {
        Settle::Ended => format!("action <> {}", bind(&mut values, Action::Mentioned.as_str())),
        Settle::Actions(actions) => format!("action IN ({})", bind_all(&mut values, &words(actions))),
        Settle::Of(people, actions) => {
            let people = bind_all(&mut values, people);
            format!(
                "user_id IN ({people}) AND action IN ({})",
                bind_all(&mut values, &words(actions))
            )
        }
        Settle::Beyond(action, people) => {
            let action = bind(&mut values, action.as_str());
            if people.is_empty() {
                format!("action = {action}")
            } else {
                format!(
                    "action = {action} AND user_id NOT IN ({})",
                    bind_all(&mut values, people)
                )
            }
        }
        Settle::Thread(thread) => format!("thread = {}", bind(&mut values, thread)),
        Settle::Comment(comment) => {
            format!("anchor = {}", bind(&mut values, &format!("comment-{comment}")))
        }
    };
    let sql = format!(
        "UPDATE todo SET done_at = $1, done_how = $2 WHERE target_id = $3 AND done_at IS NULL AND {which}"
    );
    tx.run(&sql, values).await.map(drop)
}

pub(crate) async fn join(tx: &Tx, target: Target, user: UserId) -> Result<()> {
    tx.run(
        "INSERT INTO notice_involved (target_id, user_id) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        args![target.id(), user],
    )
    .await
    .map(drop)
}

/// Who has to do with a target, at most 500.
pub(crate) async fn involved(on: &impl Query, target: Target) -> Result<Vec<UserId>> {
    let sql = "SELECT user_id AS c0 FROM notice_involved WHERE target_id = $1 ORDER BY user_id LIMIT 500";
    let rows: Vec<(UserId,)> = on.all(sql, args![target.id()]).await?;
    Ok(rows.into_iter().map(|(user,)| user).collect())
}

/// What a list is narrowed to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Narrow {
    pub(crate) done: bool,
    pub(crate) action: Option<Action>,
    pub(crate) target: Option<&'static str>,
    pub(crate) project: Option<ProjectId>,
}

fn narrowed(narrow: &Narrow, values: &mut Vec<bascule_store::Value>) -> String {
    let mut sql = format!("done_at IS {}NULL", if narrow.done { "NOT " } else { "" });
    if let Some(action) = narrow.action {
        sql += &format!(" AND action = {}", bind(values, action.as_str()));
    }
    if let Some(target) = narrow.target {
        sql += &format!(" AND target = {}", bind(values, target));
    }
    if let Some(project) = narrow.project {
        sql += &format!(" AND project_id = {}", bind(values, &project));
    }
    sql
}

pub(crate) async fn list(
    on: &impl Query,
    user: UserId,
    narrow: &Narrow,
    before: Option<TodoId>,
    limit: i64,
) -> Result<Vec<TodoRow>> {
    let mut values = args![user];
    let mut which = narrowed(narrow, &mut values);
    if let Some(before) = before {
        which += &format!(" AND id < {}", bind(&mut values, &before));
    }
    let limit = bind(&mut values, &limit);
    let sql =
        format!("SELECT {COLUMNS} FROM todo WHERE user_id = $1 AND {which} ORDER BY id DESC LIMIT {limit}");
    on.all(&sql, values).await
}

pub(crate) async fn one(on: &impl Query, user: UserId, id: TodoId) -> Result<Option<TodoRow>> {
    let sql = format!("SELECT {COLUMNS} FROM todo WHERE id = $1 AND user_id = $2");
    on.one(&sql, args![id, user]).await
}

/// How many wait; by an index alone.
pub(crate) async fn waiting(on: &impl Query, user: UserId) -> Result<i64> {
    on.count(
        "SELECT COUNT(*) AS n FROM todo WHERE user_id = $1 AND done_at IS NULL",
        args![user],
    )
    .await
}

/// Marks some of one's to-dos done.
pub(crate) async fn done(tx: &Tx, user: UserId, ids: &[TodoId], how: &str, at: Timestamp) -> Result<u64> {
    let mut values = args![at, how, user];
    let ids = bind_all(&mut values, ids);
    let sql = format!(
        "UPDATE todo SET done_at = $1, done_how = $2 WHERE user_id = $3 AND id IN ({ids}) AND done_at IS NULL"
    );
    tx.run(&sql, values).await
}

/// Marks all of one's to-dos done that a list shows.
pub(crate) async fn done_all(
    tx: &Tx,
    user: UserId,
    narrow: &Narrow,
    how: &str,
    at: Timestamp,
) -> Result<u64> {
    let mut values = args![at, how, user];
    let which = narrowed(narrow, &mut values);
    let sql = format!("UPDATE todo SET done_at = $1, done_how = $2 WHERE user_id = $3 AND {which}");
    tx.run(&sql, values).await
}

/// Forgets what was done before `before`.
pub(crate) async fn forget_done(tx: &Tx, before: Timestamp) -> Result<u64> {
    tx.run("DELETE FROM todo WHERE done_at < $1", args![before]).await
}

/// Forgets a project's.
pub(crate) async fn forget_project(tx: &Tx, project: ProjectId) -> Result<()> {
    let involved =
        "DELETE FROM notice_involved WHERE target_id IN (SELECT target_id FROM todo WHERE project_id = $1)";
    for sql in [
        involved,
        "DELETE FROM todo WHERE project_id = $1",
        "DELETE FROM mail WHERE project_id = $1 AND state <> 'sent'",
    ] {
        tx.run(sql, args![project]).await?;
    }
    Ok(())
}
