//! What facts do here: each becomes a delivery for every webhook that wants it.

use super::{Event, payload, store};
use crate::{Notices, store as heard};
use async_trait::async_trait;
use bascule_ledger::{BoxError, Entry, Fact as _, Subscriber, decode, facts::forge::ProjectDeleted};

/// Tells webhooks.
pub struct Events(pub Notices);

#[async_trait]
impl Subscriber for Events {
    fn name(&self) -> &'static str {
        "notices.webhooks"
    }

    fn kinds(&self) -> Vec<&'static str> {
        [payload::KINDS, &[ProjectDeleted::KIND]].concat()
    }

    async fn handle(&self, entry: &Entry) -> Result<(), BoxError> {
        let notices = &self.0;
        if entry.kind == ProjectDeleted::KIND {
            let fact: ProjectDeleted = decode(entry)?;
            let tx = notices.db().begin().await?;
            store::forget_project(&tx, fact.project).await?;
            return Ok(tx.commit().await?);
        }
        let Some(project) = entry.project else {
            return Ok(());
        };
        if !store::any(notices.db()).await? || heard::heard(notices.db(), "webhooks").await? >= entry.seq {
            return Ok(());
        }
        let Some(project) = notices.projects().project(project).await? else {
            // Deleted since.
            return Ok(());
        };
        let may_be = payload::may_be(&entry.kind);
        let mut hooks = store::listening(notices.db(), project.id, project.group).await?;
        hooks.retain(|hook| hook.events().iter().any(|event| may_be.contains(event)));
        if hooks.is_empty() {
            return Ok(());
        }
        let Some((event, body)) = notices.payload(entry, &project).await? else {
            return Ok(());
        };
        hooks.retain(|hook| hook.events().contains(&event));
        if hooks.is_empty() {
            return Ok(());
        }
        let ids: Vec<_> = hooks.iter().map(|hook| hook.id).collect();
        notices.put_event(entry.seq, event, &body.to_string(), &ids).await
    }
}

impl Notices {
    /// Writes deliveries with the note that the fact was heard: all of it or nothing.
    async fn put_event(
        &self,
        seq: i64,
        event: Event,
        body: &str,
        hooks: &[bascule_core::WebhookId],
    ) -> Result<(), BoxError> {
        let now = self.now();
        let tx = self.db().begin().await?;
        if !heard::hear(&tx, "webhooks", seq).await? {
            return Ok(());
        }
        for hook in hooks {
            let new = store::New {
                hook: *hook,
                seq,
                event,
                body,
                replay_of: None,
                at: now,
            };
            store::put(&tx, &new).await?;
        }
        let wake = self.clone();
        tx.after_commit(move || wake.0.deliveries.notify_one());
        Ok(tx.commit().await?)
    }
}
