//! Identifiers. Entities carry a UUID version 7 (RFC 9562): sortable by creation, never reused, no counter
//! to contend for. Pipelines and jobs carry integers because the runner protocol and people want them short.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};
use uuid::Uuid;

/// What all UUID identifiers can do; lets the store bind and read them without knowing each.
pub trait Id: Copy + fmt::Display + FromStr<Err = uuid::Error> + Send + Sync + 'static {
    /// The word for what is identified, as used in messages ("project").
    const NOUN: &'static str;
}

macro_rules! uuid_ids {
    ($($(#[$doc:meta])* $name:ident = $noun:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
        #[serde(transparent)]
        #[schema(value_type = String)]
        pub struct $name(Uuid);

        impl $name {
            /// A fresh identifier, later in order than all made before it on this machine.
            #[must_use]
            #[allow(clippy::new_without_default, reason = "a default that differs on each call would mislead")]
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }
        }

        impl Id for $name {
            const NOUN: &'static str = $noun;
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::try_parse(text).map(Self)
            }
        }
    )*};
}

uuid_ids! {
    /// A person's account.
    UserId = "user";
    /// A group of projects and members.
    GroupId = "group";
    /// A project: one git repository and all that belongs to it.
    ProjectId = "project";
    /// A signed-in browser.
    SessionId = "session";
    /// A personal or project access token.
    TokenId = "token";
    /// A person's public key.
    KeyId = "key";
    /// A public key that reaches one project.
    DeployKeyId = "deploy key";
    /// A discussion in a merge request.
    ThreadId = "thread";
    /// One comment of a discussion.
    CommentId = "comment";
    /// One entry of the ledger.
    FactId = "fact";
    /// A registered runner.
    RunnerId = "runner";
    /// An enrolled agent.
    AgentId = "agent";
    /// An immutable release.
    ReleaseId = "release";
    /// A product: what a project delivers.
    ProductId = "product";
    /// An environment in which products run.
    EnvironmentId = "environment";
    /// One release put in one environment.
    DeploymentId = "deployment";
    /// The staged exposure of one deployment.
    RolloutId = "rollout";
    /// One running copy of a release in an environment.
    InstanceId = "instance";
    /// A command run once in an environment.
    TaskId = "task";
    /// An incident.
    IncidentId = "incident";
    /// A merge request.
    MergeRequestId = "merge request";
    /// An issue: something to be done in a project.
    IssueId = "issue";
    /// A label of a project or group.
    LabelId = "label";
    /// A milestone of a project or group.
    MilestoneId = "milestone";
    /// Something that waits for one person.
    TodoId = "to-do";
    /// An e-mail that is to be sent.
    MailId = "e-mail";
    /// An address that is told of a project's or group's events.
    WebhookId = "webhook";
    /// One event told to one webhook.
    HookDeliveryId = "delivery";
}

macro_rules! number_ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
        #[serde(transparent)]
        pub struct $name(pub i64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = std::num::ParseIntError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    )*};
}

number_ids! {
    /// A pipeline, counted over the whole instance.
    PipelineId;
    /// A job, counted over the whole instance.
    JobId;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_creation_and_read_back() {
        let (first, second) = (ProjectId::new(), ProjectId::new());
        assert!(first < second);
        assert_eq!(first.to_string().parse::<ProjectId>().ok(), Some(first));
        assert!("../etc".parse::<ProjectId>().is_err());
    }
}
