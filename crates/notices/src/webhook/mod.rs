//! Webhooks: addresses of a project or group that are told of events, as JSON by HTTP POST. Bodies are shaped as
//! GitLab's; identifiers, times and signatures stand in the headers that Standard Webhooks
//! (<https://www.standardwebhooks.com>) describes.
//!
//! An event is written down for each webhook in the transaction in which it is heard, then delivered: for each webhook
//! one after the other, all webhooks beside each other. What fails is tried again with growing pauses. While a receiver
//! does not answer at all, everything for it waits, so that the order stays.

pub(crate) mod api;
mod deliver;
mod guard;
pub(crate) mod pages;
mod payload;
mod seal;
pub(crate) mod service;
mod sign;
pub(crate) mod store;
mod subscriptions;

pub use guard::Allowed;
pub use sign::signature;
pub use subscriptions::Events;

use bascule_core::{GroupId, GroupScope, HookDeliveryId, ProjectId, ProjectScope, Timestamp, WebhookId};
use std::time::Duration;

/// How long deliveries are kept.
pub(crate) const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);
/// The pauses before an event is tried again; after the last it is given up. A little more than two days in all.
pub(crate) const PAUSES: [u64; 10] = [5, 30, 120, 600, 1_800, 3_600, 10_800, 21_600, 43_200, 86_400];
/// How long everything fails before a webhook is turned off.
pub(crate) const OFF_AFTER: Duration = Duration::from_secs(3 * 24 * 3600);
/// Webhooks of one project or group.
pub(crate) const HOOKS: i64 = 50;

/// What a webhook may be told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    /// Commits came to a branch, or a branch came or went.
    Push,
    /// A tag came, moved or went.
    TagPush,
    /// An issue.
    Issue,
    /// A confidential issue, and comments on it.
    ConfidentialIssue,
    /// A comment.
    Note,
    /// A merge request.
    MergeRequest,
    /// A pipeline began or ended.
    Pipeline,
    /// A job began or ended.
    Job,
    /// A release was published.
    Release,
    /// A deployment began or ended.
    Deployment,
}

impl Event {
    /// All.
    pub const ALL: [Self; 10] = [
        Self::Push,
        Self::TagPush,
        Self::MergeRequest,
        Self::Note,
        Self::Issue,
        Self::ConfidentialIssue,
        Self::Pipeline,
        Self::Job,
        Self::Release,
        Self::Deployment,
    ];

    /// As stored, and as told in `X-Bascule-Event`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::TagPush => "tag_push",
            Self::Issue => "issue",
            Self::ConfidentialIssue => "confidential_issue",
            Self::Note => "note",
            Self::MergeRequest => "merge_request",
            Self::Pipeline => "pipeline",
            Self::Job => "job",
            Self::Release => "release",
            Self::Deployment => "deployment",
        }
    }

    /// Reads the stored word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|event| event.as_str() == text)
    }

    /// As GitLab calls it in `X-Gitlab-Event`, so that receivers made for it find what they look for.
    #[must_use]
    pub const fn gitlab(self) -> &'static str {
        match self {
            Self::Push => "Push Hook",
            Self::TagPush => "Tag Push Hook",
            Self::Issue => "Issue Hook",
            Self::ConfidentialIssue => "Confidential Issue Hook",
            Self::Note => "Note Hook",
            Self::MergeRequest => "Merge Request Hook",
            Self::Pipeline => "Pipeline Hook",
            Self::Job => "Job Hook",
            Self::Release => "Release Hook",
            Self::Deployment => "Deployment Hook",
        }
    }

    /// For people.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Push => "Pushes to branches",
            Self::TagPush => "Tags",
            Self::Issue => "Issues",
            Self::ConfidentialIssue => "Confidential issues and comments on them",
            Self::Note => "Comments",
            Self::MergeRequest => "Merge requests",
            Self::Pipeline => "Pipelines",
            Self::Job => "Jobs",
            Self::Release => "Releases",
            Self::Deployment => "Deployments",
        }
    }
}

/// Whose a webhook is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    Project(ProjectId),
    Group(GroupId),
}

impl From<&ProjectScope> for Owner {
    fn from(scope: &ProjectScope) -> Self {
        Self::Project(scope.id)
    }
}

impl From<&GroupScope> for Owner {
    fn from(scope: &GroupScope) -> Self {
        Self::Group(scope.id)
    }
}

bascule_store::row! {
    /// A webhook as kept.
    #[derive(Clone, Debug)]
    pub(crate) struct Hook {
        pub(crate) id: WebhookId,
        pub(crate) project_id: Option<ProjectId>,
        pub(crate) group_id: Option<GroupId>,
        pub(crate) url: String,
        pub(crate) sealed: String,
        pub(crate) events: String,
        pub(crate) enabled: bool,
        pub(crate) failing_since: Option<Timestamp>,
        pub(crate) told: String,
        pub(crate) created_by: String,
        pub(crate) created_at: Timestamp,
    }
}

impl Hook {
    pub(crate) fn events(&self) -> Vec<Event> {
        self.events.split(',').filter_map(Event::parse).collect()
    }

    pub(crate) fn host(&self) -> String {
        let url = url::Url::parse(&self.url).ok();
        url.and_then(|url| url.host_str().map(str::to_owned))
            .unwrap_or_default()
    }
}

bascule_store::row! {
    /// A delivery as kept.
    #[derive(Clone, Debug)]
    pub(crate) struct Delivery {
        pub(crate) id: HookDeliveryId,
        pub(crate) webhook_id: WebhookId,
        pub(crate) event: String,
        pub(crate) body: String,
        pub(crate) state: String,
        pub(crate) tries: i64,
        pub(crate) due_at: Timestamp,
        pub(crate) created_at: Timestamp,
        pub(crate) tried_at: Option<Timestamp>,
        pub(crate) code: Option<i64>,
        pub(crate) duration_ms: Option<i64>,
        pub(crate) answer: String,
        pub(crate) error: String,
        pub(crate) replay_of: Option<HookDeliveryId>,
    }
}
