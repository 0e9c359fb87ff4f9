//! The vocabulary every other crate shares: identifiers, actors, roles and permissions, time, limits, signed
//! envelopes, and [`Problem`], the one shape of every refusal. No I/O happens here.

mod actor;
mod clock;
mod digest;
pub mod dsse;
mod id;
pub mod limits;
mod name;
mod path;
mod permission;
mod problem;
pub mod reference;
mod wildcard;

pub use actor::{Actor, ActorKind, Caller, GroupScope, ProjectScope, Scope, Visibility};
pub use clock::{Clock, FakeClock, SystemClock, Timestamp};
pub use digest::Digest;
pub use id::{
    AgentId, DeployKeyId, DeploymentId, EnvironmentId, FactId, GroupId, Id, IncidentId, InstanceId, IssueId,
    JobId, KeyId, LabelId, MergeRequestId, MilestoneId, PipelineId, ProductId, ProjectId, ReleaseId,
    RolloutId, RunnerId, SessionId, TaskId, TokenId, UserId,
};
pub use id::{CommentId, HookDeliveryId, MailId, ThreadId, TodoId, WebhookId};
pub use name::{Name, NameError};
pub use path::is_safe_path;
pub use permission::{InstanceRole, Permission, Role};
pub use problem::{Problem, Result};
pub use wildcard::{any_covers, covers};
