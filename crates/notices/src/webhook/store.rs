//! The tables of webhooks. The only file with their queries.

use super::{Delivery, Event, Hook, Owner};
use bascule_core::{GroupId, HookDeliveryId, ProjectId, Timestamp, WebhookId};
use bascule_store::{Query, Result, Tx, args, bind, row};

const HOOK: &str =
    "id, project_id, group_id, url, sealed, events, enabled, failing_since, told, created_by, created_at";
const HEAD: &str = "id, webhook_id, event, state, tries, due_at, created_at, tried_at, code, duration_ms, answer, error, \
     replay_of";

fn of(owner: Owner) -> (&'static str, String) {
    match owner {
        Owner::Project(id) => ("project_id", id.to_string()),
        Owner::Group(id) => ("group_id", id.to_string()),
    }
}

pub(crate) async fn list(on: &impl Query, owner: Owner) -> Result<Vec<Hook>> {
    let (column, id) = of(owner);
    let sql = format!("SELECT {HOOK} FROM webhook WHERE {column} = $1 ORDER BY id LIMIT 100");
    on.all(&sql, args![id]).await
}

pub(crate) async fn count(on: &impl Query, owner: Owner) -> Result<i64> {
    let (column, id) = of(owner);
    let sql = format!("SELECT COUNT(*) AS n FROM webhook WHERE {column} = $1");
    on.count(&sql, args![id]).await
}

pub(crate) async fn one(on: &impl Query, owner: Owner, hook: WebhookId) -> Result<Option<Hook>> {
    let (column, id) = of(owner);
    let sql = format!("SELECT {HOOK} FROM webhook WHERE {column} = $1 AND id = $2");
    on.one(&sql, args![id, hook]).await
}

pub(crate) async fn by_id(on: &impl Query, hook: WebhookId) -> Result<Option<Hook>> {
    let sql = format!("SELECT {HOOK} FROM webhook WHERE id = $1");
    on.one(&sql, args![hook]).await
}

/// Webhooks that are on, of a project and its group.
pub(crate) async fn listening(on: &impl Query, project: ProjectId, group: GroupId) -> Result<Vec<Hook>> {
    let sql = format!(
        "SELECT {HOOK} FROM webhook WHERE enabled = TRUE AND (project_id = $1 OR group_id = $2) ORDER BY id"
    );
    on.all(&sql, args![project, group]).await
}

/// Whether any webhook is on.
pub(crate) async fn any(on: &impl Query) -> Result<bool> {
    let sql = "SELECT COUNT(*) AS n FROM (SELECT id FROM webhook WHERE enabled = TRUE LIMIT 1) AS found";
    Ok(on.count(sql, args![]).await? > 0)
}

pub(crate) async fn insert(tx: &Tx, hook: &Hook) -> Result<()> {
    tx.run(
        "INSERT INTO webhook (id, project_id, group_id, url, sealed, events, enabled, failing_since, told, created_by,
             created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, NULL, '', $8, $9)",
        args![
            hook.id,
            hook.project_id,
            hook.group_id,
            hook.url,
            hook.sealed,
            hook.events,
            hook.enabled,
            hook.created_by,
            hook.created_at
        ],
    )
    .await
    .map(drop)
}

pub(crate) async fn update(tx: &Tx, hook: &Hook) -> Result<()> {
    tx.run(
        "UPDATE webhook SET url = $2, sealed = $3, events = $4, enabled = $5, failing_since = $6, told = $7 WHERE id = $1",
        args![
            hook.id,
            hook.url,
            hook.sealed,
            hook.events,
            hook.enabled,
            hook.failing_since,
            hook.told
        ],
    )
    .await
    .map(drop)
}

/// Notes since when a webhook fails; `None` once it works.
pub(crate) async fn set_failing(tx: &Tx, hook: WebhookId, since: Option<Timestamp>) -> Result<()> {
    tx.run(
        "UPDATE webhook SET failing_since = $2 WHERE id = $1",
        args![hook, since],
    )
    .await
    .map(drop)
}

/// Turns a webhook off; `false` where it was off already.
pub(crate) async fn turn_off(tx: &Tx, hook: WebhookId, told: &str) -> Result<bool> {
    let sql = "UPDATE webhook SET enabled = FALSE, told = $2 WHERE id = $1 AND enabled = TRUE";
    Ok(tx.run(sql, args![hook, told]).await? > 0)
}

pub(crate) async fn remove(tx: &Tx, hook: WebhookId) -> Result<()> {
    tx.run("DELETE FROM webhook_delivery WHERE webhook_id = $1", args![hook])
        .await?;
    tx.run("DELETE FROM webhook WHERE id = $1", args![hook])
        .await
        .map(drop)
}

pub(crate) async fn forget_project(tx: &Tx, project: ProjectId) -> Result<()> {
    tx.run(
        "DELETE FROM webhook_delivery WHERE webhook_id IN (SELECT id FROM webhook WHERE project_id = $1)",
        args![project],
    )
    .await?;
    tx.run("DELETE FROM webhook WHERE project_id = $1", args![project])
        .await
        .map(drop)
}

/// An event that is to be told.
pub(crate) struct New<'a> {
    pub(crate) hook: WebhookId,
    pub(crate) seq: i64,
    pub(crate) event: Event,
    pub(crate) body: &'a str,
    pub(crate) replay_of: Option<HookDeliveryId>,
    pub(crate) at: Timestamp,
}

pub(crate) async fn put(tx: &Tx, new: &New<'_>) -> Result<HookDeliveryId> {
    let id = HookDeliveryId::new();
    tx.run(
        "INSERT INTO webhook_delivery (id, webhook_id, seq, event, body, state, tries, due_at, created_at, answer, error,
             replay_of)
         VALUES ($1, $2, $3, $4, $5, 'waiting', 0, $6, $6, '', '', $7)",
        args![
            id,
            new.hook,
            new.seq,
            new.event.as_str(),
            new.body,
            new.at,
            new.replay_of
        ],
    )
    .await?;
    Ok(id)
}

pub(crate) async fn deliveries(
    on: &impl Query,
    hook: WebhookId,
    state: Option<&str>,
    before: Option<HookDeliveryId>,
    limit: i64,
) -> Result<Vec<Delivery>> {
    let mut values = args![hook];
    let mut which = String::new();
    if let Some(state) = state {
        which += &format!(" AND state = {}", bind(&mut values, state));
    }
    if let Some(before) = before {
        which += &format!(" AND id < {}", bind(&mut values, &before));
    }
    let limit = bind(&mut values, &limit);
    let sql = format!(
        "SELECT {HEAD}, '' AS body FROM webhook_delivery WHERE webhook_id = $1{which} ORDER BY id DESC LIMIT {limit}"
    );
    on.all(&sql, values).await
}

pub(crate) async fn delivery(
    on: &impl Query,
    hook: WebhookId,
    id: HookDeliveryId,
) -> Result<Option<Delivery>> {
    let sql = format!("SELECT {HEAD}, body FROM webhook_delivery WHERE webhook_id = $1 AND id = $2");
    on.one(&sql, args![hook, id]).await
}

/// Webhooks with something that is due, longest due first.
pub(crate) async fn due_hooks(on: &impl Query, now: Timestamp, limit: i64) -> Result<Vec<WebhookId>> {
    let sql = "SELECT d.webhook_id AS c0, MIN(d.due_at) AS c1 FROM webhook_delivery d
               JOIN webhook h ON h.id = d.webhook_id
               WHERE d.state = 'waiting' AND d.due_at <= $1 AND h.enabled = TRUE
               GROUP BY d.webhook_id ORDER BY MIN(d.due_at) LIMIT $2";
    let rows: Vec<(WebhookId, i64)> = on.all(sql, args![now, limit]).await?;
    Ok(rows.into_iter().map(|(id, _)| id).collect())
}

/// When the next is due.
pub(crate) async fn next_due(on: &impl Query) -> Result<Option<Timestamp>> {
    row! { struct Due { at: Option<Timestamp> } }
    let sql = "SELECT MIN(d.due_at) AS at FROM webhook_delivery d JOIN webhook h ON h.id = d.webhook_id
               WHERE d.state = 'waiting' AND h.enabled = TRUE";
    Ok(on.one::<Due>(sql, args![]).await?.and_then(|due| due.at))
}

/// The first that is due of a webhook.
pub(crate) async fn next_of(on: &impl Query, hook: WebhookId, now: Timestamp) -> Result<Option<Delivery>> {
    let sql = format!(
        "SELECT {HEAD}, body FROM webhook_delivery
         WHERE webhook_id = $1 AND state = 'waiting' AND due_at <= $2 ORDER BY id LIMIT 1"
    );
    on.one(&sql, args![hook, now]).await
}

/// Writes what came of a try.
pub(crate) async fn tried(tx: &Tx, delivery: &Delivery) -> Result<()> {
    tx.run(
        "UPDATE webhook_delivery SET state = $2, tries = $3, due_at = $4, tried_at = $5, code = $6, duration_ms = $7,
             answer = $8, error = $9 WHERE id = $1",
        args![
            delivery.id,
            delivery.state,
            delivery.tries,
            delivery.due_at,
            delivery.tried_at,
            delivery.code,
            delivery.duration_ms,
            delivery.answer,
            delivery.error
        ],
    )
    .await
    .map(drop)
}

/// Lets all that waits for a webhook wait at least until then.
pub(crate) async fn hold(tx: &Tx, hook: WebhookId, until: Timestamp) -> Result<()> {
    tx.run(
        "UPDATE webhook_delivery SET due_at = $2 WHERE webhook_id = $1 AND state = 'waiting' AND due_at < $2",
        args![hook, until],
    )
    .await
    .map(drop)
}

/// Lets all that waits for a webhook be tried now.
pub(crate) async fn release(tx: &Tx, hook: WebhookId, now: Timestamp) -> Result<()> {
    tx.run(
        "UPDATE webhook_delivery SET due_at = $2 WHERE webhook_id = $1 AND state = 'waiting' AND due_at > $2",
        args![hook, now],
    )
    .await
    .map(drop)
}

/// Forgets deliveries made before `before`.
pub(crate) async fn forget_old(tx: &Tx, before: Timestamp) -> Result<u64> {
    tx.run(
        "DELETE FROM webhook_delivery WHERE created_at < $1",
        args![before],
    )
    .await
}
