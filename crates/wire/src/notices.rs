//! To-dos, webhooks and mail as the JSON API and the command line carry them.

use bascule_core::{HookDeliveryId, Timestamp, TodoId, WebhookId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Something that waits for one person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Todo {
    /// Its identifier.
    pub id: TodoId,
    /// Why it waits: `assigned`, `review_requested`, `approval_required`, `mentioned`, `commented`, `replied`,
    /// `review_submitted`, `unmergeable`, `merge_train_removed`, `auto_merge_dropped`, `build_failed`.
    pub action: String,
    /// The same in words, to be read after the actor's name.
    pub told: String,
    /// `issue` or `merge_request`.
    pub target_type: String,
    /// Its number within the project.
    pub number: i64,
    /// Its title, as it is now.
    pub title: String,
    /// How it stands now: `open`, `closed`, `merged`.
    pub target_state: String,
    /// `group/project`.
    pub project: String,
    /// Where it is, as a path of this instance.
    pub href: String,
    /// Who did it.
    pub actor: String,
    /// When.
    pub at: Timestamp,
    /// When it was done; none while it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done_at: Option<Timestamp>,
    /// How it was done: `by_hand`, or the kind of the fact that made it so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done_how: Option<String>,
}

/// A page of to-dos, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Todos {
    /// The to-dos.
    pub items: Vec<Todo>,
    /// How many wait in all, whatever the filter.
    pub waiting: i64,
    /// Give this as `before` for the next page; none on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<TodoId>,
}

/// How many to-dos were marked done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TodosDone {
    /// How many.
    pub done: i64,
}

/// What someone hears of by mail. Each is `all`, `todos` or `none`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MailChoice {
    /// Of issues.
    pub issues: String,
    /// Of merge requests.
    pub merge_requests: String,
    /// Of pipelines.
    pub pipelines: String,
}

/// How sending mail goes. Neither addresses nor texts are told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MailStatus {
    /// The mail server, `host:port`; empty where none is set up.
    pub server: String,
    /// The sender.
    pub from: String,
    /// How many mails are in each state: `waiting`, `sent`, `failed`, `dropped`.
    pub counts: BTreeMap<String, i64>,
    /// The newest that were given up or failed at least once.
    pub troubled: Vec<MailTrouble>,
}

/// A mail that was given up, or that is tried again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MailTrouble {
    /// The kind of the fact that it tells of.
    pub kind: String,
    /// `waiting` or `failed`.
    pub state: String,
    /// How often it was tried.
    pub tries: i64,
    /// When it was tried last.
    pub tried_at: Timestamp,
    /// When it is tried again; none once it is given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_try_at: Option<Timestamp>,
    /// Why it failed.
    pub error: String,
}

/// How many mails are tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MailRetried {
    /// How many.
    pub retried: i64,
}

/// An address that is told of events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Webhook {
    /// Its identifier.
    pub id: WebhookId,
    /// Where events are sent.
    pub url: String,
    /// Of what it is told: `push`, `tag_push`, `issue`, `confidential_issue`, `note`, `merge_request`, `pipeline`,
    /// `job`, `release`, `deployment`.
    pub events: Vec<String>,
    /// Whether it is on.
    pub enabled: bool,
    /// Since when every try fails; none while it works.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing_since: Option<Timestamp>,
    /// Why it was turned off, if it was not by hand.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub told: String,
    /// Who made it.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
    /// What deliveries are signed with; told once, when it is made or changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

/// Webhooks of a project or group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Webhooks {
    /// The webhooks.
    pub items: Vec<Webhook>,
}

/// A webhook that is to be made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NewWebhook {
    /// Where events are to be sent: `https://…` or `http://…`.
    pub url: String,
    /// Of what it is told.
    pub events: Vec<String>,
    /// What deliveries are signed with; one is made if it is left out.
    #[serde(default)]
    pub secret: Option<String>,
}

/// What is to be changed of a webhook; what is left out stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WebhookChange {
    /// Another address.
    #[serde(default)]
    pub url: Option<String>,
    /// Of what it is told.
    #[serde(default)]
    pub events: Option<Vec<String>>,
    /// Another secret; an empty one has one made.
    #[serde(default)]
    pub secret: Option<String>,
    /// On or off.
    #[serde(default)]
    pub enabled: Option<bool>,
}

/// One event told to one webhook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HookDelivery {
    /// Its identifier, the header `webhook-id`.
    pub id: HookDeliveryId,
    /// What it tells of.
    pub event: String,
    /// `waiting`, `delivered`, or `failed` once it is tried no more.
    pub state: String,
    /// How often it was tried.
    pub tries: i64,
    /// The HTTP status of the last answer; none where there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<i64>,
    /// How long the last try took, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<i64>,
    /// Why the last try failed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error: String,
    /// The beginning of the last answer.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub answer: String,
    /// What is sent, JSON; left out in lists.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub body: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was tried last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tried_at: Option<Timestamp>,
    /// When it is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_try_at: Option<Timestamp>,
    /// Which delivery it repeats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay_of: Option<HookDeliveryId>,
}

/// The newest deliveries of a webhook.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HookDeliveries {
    /// Newest first.
    pub items: Vec<HookDelivery>,
    /// Give this as `before` for the next page; none on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<HookDeliveryId>,
}
