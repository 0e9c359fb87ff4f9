//! Making, changing, testing and replaying.

use super::{Delivery, Event, HOOKS, Hook, Owner, guard, seal, sign, store};
use crate::Notices;
use bascule_core::{Caller, HookDeliveryId, Problem, Result, WebhookId, limits};
use bascule_ledger::facts::notices::WebhookChanged;
use bascule_wire::notices as wire;

const URL_BYTES: usize = 2_000;
const PAGE: i64 = 20;

fn no_hook() -> Problem {
    Problem::not_found("webhook")
}

fn read_events(words: &[String]) -> Result<String> {
    let mut events = Vec::new();
    for word in words {
        let event = Event::parse(word.trim()).ok_or_else(|| {
            let all: Vec<&str> = Event::ALL.iter().map(|event| event.as_str()).collect();
            let shown: String = word.chars().take(40).collect();
            Problem::invalid("bad_event", format!("`{shown}` is no event."))
                .next(format!("Choose from {}.", all.join(", ")))
        })?;
        if !events.contains(&event.as_str()) {
            events.push(event.as_str());
        }
    }
    if events.is_empty() {
        return Err(Problem::invalid("no_event", "The webhook is told of nothing.")
            .next("Choose at least one kind of event."));
    }
    Ok(events.join(","))
}

fn read_secret(given: Option<&str>) -> Result<String> {
    match given.map(str::trim).filter(|given| !given.is_empty()) {
        None => Ok(sign::secret()),
        Some(given) if (16..=256).contains(&given.len()) && given.bytes().all(|b| b.is_ascii_graphic()) => {
            Ok(given.to_owned())
        }
        Some(_) => Err(Problem::invalid(
            "bad_secret",
            "A secret has 16 to 256 printable characters without spaces.",
        )
        .why("Whoever guesses it could send events in this instance's name.")
        .next("Leave it empty: one is made.")),
    }
}

fn shown(hook: &Hook) -> wire::Webhook {
    wire::Webhook {
        id: hook.id,
        url: hook.url.clone(),
        events: hook
            .events()
            .iter()
            .map(|event| event.as_str().to_owned())
            .collect(),
        enabled: hook.enabled,
        failing_since: hook.failing_since,
        told: hook.told.clone(),
        created_by: hook.created_by.clone(),
        created_at: hook.created_at,
        secret: None,
    }
}

fn told(delivery: Delivery) -> wire::HookDelivery {
    wire::HookDelivery {
        next_try_at: (delivery.state == "waiting" && delivery.tries > 0).then_some(delivery.due_at),
        id: delivery.id,
        event: delivery.event,
        state: delivery.state,
        tries: delivery.tries,
        code: delivery.code,
        duration_ms: delivery.duration_ms,
        error: delivery.error,
        answer: delivery.answer,
        body: delivery.body,
        created_at: delivery.created_at,
        tried_at: delivery.tried_at,
        replay_of: delivery.replay_of,
    }
}

impl Notices {
    /// An address that may be called, as it is kept. Names are looked up when they are called.
    fn read_url(&self, text: &str) -> Result<String> {
        let bad = |why: &str| {
            Problem::invalid("bad_url", "The webhook's address cannot be used.")
                .why(why.to_owned())
                .next("Write it as in https://example.org/hook.")
        };
        let text = text.trim();
        if text.len() > URL_BYTES {
            return Err(bad("It is longer than 2,000 bytes."));
        }
        let url = url::Url::parse(text).map_err(|error| bad(&format!("{error}.")))?;
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Err(bad("Only http and https addresses with a host can be called."));
        }
        if !self.config().webhooks.allows_literal(&url) {
            return Err(bad(&format!(
                "{}.",
                guard::refusal(url.host_str().unwrap_or_default())
            ))
            .next("Use a public address, or ask an administrator to allow this one."));
        }
        Ok(url.to_string())
    }

    pub(crate) async fn webhooks(&self, owner: Owner) -> Result<Vec<wire::Webhook>> {
        Ok(store::list(self.db(), owner).await?.iter().map(shown).collect())
    }

    async fn hook(&self, owner: Owner, id: WebhookId) -> Result<Hook> {
        store::one(self.db(), owner, id).await?.ok_or_else(no_hook)
    }

    pub(crate) async fn webhook(&self, owner: Owner, id: WebhookId) -> Result<wire::Webhook> {
        Ok(shown(&self.hook(owner, id).await?))
    }

    pub(crate) async fn create_webhook(
        &self,
        caller: &Caller,
        owner: Owner,
        new: &wire::NewWebhook,
    ) -> Result<wire::Webhook> {
        let id = WebhookId::new();
        let secret = read_secret(new.secret.as_deref())?;
        let (project_id, group_id) = match owner {
            Owner::Project(id) => (Some(id), None),
            Owner::Group(id) => (None, Some(id)),
        };
        let hook = Hook {
            id,
            project_id,
            group_id,
            url: self.read_url(&new.url)?,
            sealed: seal::seal(self.ledger().key(), id, &secret)?,
            events: read_events(&new.events)?,
            enabled: true,
            failing_since: None,
            told: String::new(),
            created_by: caller.actor.name.clone(),
            created_at: self.now(),
        };
        if store::count(self.db(), owner).await? >= HOOKS {
            return Err(
                Problem::conflict("too_many", format!("There are {HOOKS} webhooks already."))
                    .why("Each event is sent to each of them.")
                    .next("Remove one that nobody needs."),
            );
        }
        let tx = self.db().begin().await?;
        store::insert(&tx, &hook).await?;
        self.ledger()
            .append(&tx, &caller.actor, &fact(&hook, "created"))
            .await?;
        tx.commit().await?;
        Ok(wire::Webhook {
            secret: Some(secret),
            ..shown(&hook)
        })
    }

    pub(crate) async fn change_webhook(
        &self,
        caller: &Caller,
        owner: Owner,
        id: WebhookId,
        change: &wire::WebhookChange,
    ) -> Result<wire::Webhook> {
        let mut hook = self.hook(owner, id).await?;
        let was_on = hook.enabled;
        if let Some(url) = &change.url {
            hook.url = self.read_url(url)?;
        }
        if let Some(events) = &change.events {
            hook.events = read_events(events)?;
        }
        let mut secret = None;
        if let Some(given) = &change.secret {
            let new = read_secret(Some(given))?;
            hook.sealed = seal::seal(self.ledger().key(), id, &new)?;
            secret = Some(new);
        }
        hook.enabled = change.enabled.unwrap_or(hook.enabled);
        let turned_on = hook.enabled && !was_on;
        if turned_on || change.url.is_some() {
            // It has three days again.
            hook.failing_since = None;
            hook.told.clear();
        }
        let what = match (was_on, hook.enabled) {
            (false, true) => "turned_on",
            _ => "changed",
        };
        let tx = self.db().begin().await?;
        store::update(&tx, &hook).await?;
        if turned_on || change.url.is_some() {
            store::release(&tx, id, self.now()).await?;
        }
        self.ledger()
            .append(&tx, &caller.actor, &fact(&hook, what))
            .await?;
        tx.commit().await?;
        self.0.deliveries.notify_one();
        Ok(wire::Webhook {
            secret,
            ..shown(&hook)
        })
    }

    pub(crate) async fn remove_webhook(&self, caller: &Caller, owner: Owner, id: WebhookId) -> Result<()> {
        let hook = self.hook(owner, id).await?;
        let tx = self.db().begin().await?;
        store::remove(&tx, id).await?;
        self.ledger()
            .append(&tx, &caller.actor, &fact(&hook, "removed"))
            .await?;
        Ok(tx.commit().await?)
    }

    async fn put_one(&self, new: &store::New<'_>) -> Result<wire::HookDelivery> {
        let tx = self.db().begin().await?;
        let id = store::put(&tx, new).await?;
        tx.commit().await?;
        self.0.deliveries.notify_one();
        self.hook_delivery_of(new.hook, id).await
    }

    /// Sends a push of nothing.
    pub(crate) async fn test_webhook(
        &self,
        caller: &Caller,
        owner: Owner,
        id: WebhookId,
    ) -> Result<wire::HookDelivery> {
        let hook = self.hook(owner, id).await?;
        must_be_on(&hook)?;
        let body = self
            .test_payload(hook.project_id, &caller.actor)
            .await?
            .to_string();
        self.put_one(&store::New {
            hook: id,
            seq: 0,
            event: Event::Push,
            body: &body,
            replay_of: None,
            at: self.now(),
        })
        .await
    }

    /// Sends the body of a delivery again, as a delivery of its own.
    pub(crate) async fn replay(
        &self,
        owner: Owner,
        hook: WebhookId,
        id: HookDeliveryId,
    ) -> Result<wire::HookDelivery> {
        must_be_on(&self.hook(owner, hook).await?)?;
        let before = store::delivery(self.db(), hook, id)
            .await?
            .ok_or_else(|| Problem::not_found("delivery"))?;
        self.put_one(&store::New {
            hook,
            seq: 0,
            event: Event::parse(&before.event).ok_or_else(Problem::internal)?,
            body: &before.body,
            replay_of: Some(id),
            at: self.now(),
        })
        .await
    }

    pub(crate) async fn hook_deliveries(
        &self,
        owner: Owner,
        hook: WebhookId,
        state: Option<&str>,
        before: Option<HookDeliveryId>,
        limit: Option<i64>,
    ) -> Result<wire::HookDeliveries> {
        self.hook(owner, hook).await?;
        if state.is_some_and(|state| !matches!(state, "waiting" | "delivered" | "failed")) {
            return Err(Problem::invalid("bad_filter", "Deliveries have no such state.")
                .next("Give waiting, delivered or failed."));
        }
        let limit = limit.unwrap_or(PAGE).clamp(1, limits::API_PAGE_ENTRIES);
        let mut rows = store::deliveries(self.db(), hook, state, before, limit + 1).await?;
        let most = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = rows.len() > most;
        rows.truncate(most);
        let next = rows.last().filter(|_| more).map(|last| last.id);
        Ok(wire::HookDeliveries {
            items: rows.into_iter().map(told).collect(),
            next,
        })
    }

    pub(crate) async fn hook_delivery(
        &self,
        owner: Owner,
        hook: WebhookId,
        id: HookDeliveryId,
    ) -> Result<wire::HookDelivery> {
        self.hook(owner, hook).await?;
        self.hook_delivery_of(hook, id).await
    }

    async fn hook_delivery_of(&self, hook: WebhookId, id: HookDeliveryId) -> Result<wire::HookDelivery> {
        store::delivery(self.db(), hook, id)
            .await?
            .map(told)
            .ok_or_else(|| Problem::not_found("delivery"))
    }
}

fn must_be_on(hook: &Hook) -> Result<()> {
    if hook.enabled {
        return Ok(());
    }
    Err(Problem::conflict("webhook_off", "The webhook is off.")
        .why("Nothing is sent to it until someone turns it on.")
        .next("Turn it on, then try again."))
}

fn fact(hook: &Hook, what: &str) -> WebhookChanged {
    WebhookChanged {
        project: hook.project_id,
        group: hook.group_id,
        webhook: hook.id,
        host: hook.host(),
        what: what.to_owned(),
    }
}
