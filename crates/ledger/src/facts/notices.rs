//! Facts about what tells others of facts: webhooks. An address may hold a secret, so only its host is told. What waits
//! for whom, and which mails were sent, is each person's own matter and no fact.

use super::fact;
use bascule_core::{GroupId, ProjectId, WebhookId};
use serde::{Deserialize, Serialize};

/// A webhook was made, changed, turned off or removed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WebhookChanged {
    /// The project, for a project's own.
    pub project: Option<ProjectId>,
    /// The group, for a group's.
    pub group: Option<GroupId>,
    /// The webhook.
    pub webhook: WebhookId,
    /// The host that it calls.
    pub host: String,
    /// `created`, `changed`, `removed`, `turned_on`, or `turned_off` after it failed for long.
    pub what: String,
}
fact!(
    WebhookChanged,
    "webhook.changed",
    |f| f.project,
    |f| format!("webhook:{}", f.webhook),
    |f| match f.what.as_str() {
        "turned_off" => format!("turned the webhook to {} off, as it failed for long", f.host),
        "turned_on" => format!("turned the webhook to {} on again", f.host),
        what => format!("{what} the webhook to {}", f.host),
    }
);
