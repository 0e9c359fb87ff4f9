//! One's own to-dos: listed, done.

use super::{Action, TodoRow, store};
use crate::{
    Notices,
    ports::{Seen, Target},
};
use bascule_core::{Caller, Problem, Result, Timestamp, TodoId, UserId, limits};
use bascule_wire::notices as wire;
use serde::Deserialize;
use std::{collections::HashMap, time::Duration};
use tokio_util::sync::CancellationToken;

/// How long it is kept that something was done.
const KEPT: Duration = Duration::from_secs(90 * 24 * 3600);
/// How often what is old is forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(3600);
/// To-dos on one page.
const PAGE: i64 = 20;

/// What a list is narrowed to, as it stands in an address.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Filter {
    /// `waiting` or `done`.
    #[serde(default)]
    pub state: String,
    /// One reason.
    #[serde(default)]
    pub action: String,
    /// `issue` or `merge_request`.
    #[serde(default, rename = "type")]
    pub target: String,
    /// `group/project`.
    #[serde(default)]
    pub project: String,
    /// The last one of the page before.
    #[serde(default)]
    pub before: String,
    /// How many.
    #[serde(default)]
    pub limit: Option<i64>,
}

fn unknown(what: &str, next: &str) -> Problem {
    Problem::invalid("bad_filter", format!("To-dos have no such {what}.")).next(next)
}

fn holder(caller: &Caller) -> Result<UserId> {
    caller.user.ok_or_else(|| {
        Problem::new(403, "no_person", "To-dos belong to people.")
            .why("The token used is no person's.")
            .next("Sign in, or use a personal token.")
    })
}

impl Notices {
    /// How many to-dos wait for someone.
    ///
    /// # Errors
    /// The database refused.
    pub async fn waiting(&self, user: UserId) -> Result<i64> {
        Ok(store::waiting(self.db(), user).await?)
    }

    async fn narrow(&self, caller: &Caller, filter: &Filter) -> Result<store::Narrow> {
        let project = match filter.project.trim() {
            "" => None,
            path => Some(
                self.projects()
                    .find(caller, path)
                    .await?
                    .ok_or_else(|| Problem::not_found("project"))?,
            ),
        };
        Ok(store::Narrow {
            done: match filter.state.as_str() {
                "" | "waiting" => false,
                "done" => true,
                _ => return Err(unknown("state", "Give waiting or done.")),
            },
            action: match filter.action.as_str() {
                "" => None,
                word => Some(Action::parse(word).ok_or_else(|| {
                    let all: Vec<&str> = Action::ALL.iter().map(|action| action.as_str()).collect();
                    unknown("reason", &format!("Give one of {}.", all.join(", ")))
                })?),
            },
            target: match filter.target.as_str() {
                "" => None,
                "issue" => Some("issue"),
                "merge_request" => Some("merge_request"),
                _ => return Err(unknown("type", "Give issue or merge_request.")),
            },
            project,
        })
    }

    /// One's to-dos. What one may not read any more, or what is gone, is not shown, and waits no longer.
    ///
    /// # Errors
    /// The filter is bad, no person asks, or the database refused.
    pub async fn todos(&self, caller: &Caller, filter: &Filter) -> Result<wire::Todos> {
        let user = holder(caller)?;
        let narrow = self.narrow(caller, filter).await?;
        let mut before = match filter.before.as_str() {
            "" => None,
            text => Some(text.parse().map_err(|_| {
                Problem::bad_request("bad_query", "`before` is no to-do.")
                    .next("Take it from `next` of the page before.")
            })?),
        };
        let limit = filter.limit.unwrap_or(PAGE).clamp(1, limits::API_PAGE_ENTRIES);
        let most = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut items = Vec::new();
        let mut next = None;
        // What is not to be seen leaves room; a few looks fill it.
        for _ in 0..5 {
            let rows = store::list(self.db(), user, &narrow, before, limit + 1).await?;
            let more = rows.len() > most;
            let rows = &rows[..rows.len().min(most)];
            let seen = self.seen(caller, rows).await?;
            let mut gone = Vec::new();
            next = None;
            for row in rows {
                if items.len() == most {
                    break;
                }
                before = Some(row.id);
                match shown(row, &seen) {
                    Some(todo) => items.push(todo),
                    None => gone.push(row.id),
                }
                next = before;
            }
            let all_taken = rows.last().is_none_or(|last| Some(last.id) == before);
            if all_taken && !more {
                next = None;
            }
            if !narrow.done && !gone.is_empty() {
                let tx = self.db().begin().await?;
                store::done(&tx, user, &gone, "no_access", self.now()).await?;
                tx.commit().await?;
            }
            if items.len() == most || next.is_none() {
                break;
            }
        }
        Ok(wire::Todos {
            items,
            waiting: self.waiting(user).await?,
            next,
        })
    }

    async fn seen(&self, caller: &Caller, rows: &[TodoRow]) -> Result<HashMap<Target, Seen>> {
        let mut asked: Vec<Target> = Vec::new();
        for row in rows {
            if let Some(target) = Target::parse(&row.target, &row.target_id)
                && !asked.contains(&target)
            {
                asked.push(target);
            }
        }
        if asked.is_empty() {
            return Ok(HashMap::new());
        }
        let seen = self.matters().seen(caller, &asked).await?;
        Ok(seen.into_iter().map(|seen| (seen.target, seen)).collect())
    }

    /// Marks one of one's to-dos done; one that is done already stays so.
    ///
    /// # Errors
    /// There is none, no person asks, or the database refused.
    pub async fn finish_todo(&self, caller: &Caller, id: TodoId) -> Result<()> {
        let user = holder(caller)?;
        if store::one(self.db(), user, id).await?.is_none() {
            return Err(Problem::not_found("to-do"));
        }
        let tx = self.db().begin().await?;
        store::done(&tx, user, &[id], "by_hand", self.now()).await?;
        Ok(tx.commit().await?)
    }

    /// Marks all done that a filter leaves.
    ///
    /// # Errors
    /// The filter is bad, no person asks, or the database refused.
    pub async fn finish_todos(&self, caller: &Caller, filter: &Filter) -> Result<i64> {
        let user = holder(caller)?;
        let mut narrow = self.narrow(caller, filter).await?;
        narrow.done = false;
        let tx = self.db().begin().await?;
        let done = store::done_all(&tx, user, &narrow, "by_hand", self.now()).await?;
        tx.commit().await?;
        Ok(i64::try_from(done).unwrap_or(i64::MAX))
    }

    /// Forgets what is long done, until `stop`.
    pub(crate) async fn run_retention(self, stop: CancellationToken) {
        loop {
            if let Err(problem) = self.forget_old(self.now()).await {
                tracing::warn!(%problem, "old notices could not be forgotten");
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(FORGET_EVERY) => {}
            }
        }
    }

    async fn forget_old(&self, now: Timestamp) -> Result<()> {
        let tx = self.db().begin().await?;
        store::forget_done(&tx, now.minus(KEPT)).await?;
        crate::mail::store::forget_sent(&tx, now.minus(crate::mail::KEPT)).await?;
        crate::webhook::store::forget_old(&tx, now.minus(crate::webhook::KEPT)).await?;
        Ok(tx.commit().await?)
    }
}

fn shown(row: &TodoRow, seen: &HashMap<Target, Seen>) -> Option<wire::Todo> {
    let target = Target::parse(&row.target, &row.target_id)?;
    let action = Action::parse(&row.action)?;
    let seen = seen.get(&target)?;
    Some(wire::Todo {
        id: row.id,
        action: row.action.clone(),
        told: action.told().to_owned(),
        target_type: row.target.clone(),
        number: row.number,
        title: seen.title.clone(),
        target_state: seen.state.clone(),
        project: seen.project.clone(),
        href: target.href(&seen.project, row.number, &row.anchor),
        actor: row.actor.clone(),
        at: row.at,
        done_at: row.done_at,
        done_how: row.done_how.clone(),
    })
}
