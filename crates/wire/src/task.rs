//! One-off tasks: a command that is run once in an environment, in the release and with the variables that serve
//! there. People ask for one, the environment's agent runs it, its output comes back in pieces.
//!
//! `POST /api/v1/agent/tasks/{id}/output?offset=N` with the agent's token adds bytes that begin at `N`; the answer
//! says how many the server has, from which the agent goes on.

use crate::agent::{ArtifactSource, Driver, Limits};
use bascule_core::{EnvironmentId, TaskId, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Output kept of a task, in bytes; what it writes beyond is not.
pub const OUTPUT_BYTES: u64 = 4 * 1024 * 1024;
/// Largest piece of output in one call, in bytes.
pub const PIECE_BYTES: usize = 64 * 1024;

/// Asks for a task.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct NewTask {
    /// The environment's name.
    pub environment: String,
    /// The program and its arguments. They are recorded: secrets belong in variables.
    pub command: Vec<String>,
    /// Why; recorded.
    #[serde(default)]
    pub reason: String,
    /// Time that it may take, in seconds; 10 minutes where it is left out.
    #[serde(default)]
    pub timeout_seconds: Option<u32>,
}

/// A team's word on a task.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TaskApproval {
    /// The team: a group.
    pub team: String,
    /// Who gave it; empty where it is not given yet.
    #[serde(default)]
    pub actor: String,
}

/// A task.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Task {
    /// The task.
    pub id: TaskId,
    /// The environment.
    pub environment: EnvironmentId,
    /// The environment's name.
    pub environment_name: String,
    /// The release in which it runs.
    pub version: String,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Why it was asked for.
    pub reason: String,
    /// Who asked for it.
    pub actor: String,
    /// `waiting` for approvals, `queued`, `running`, `succeeded`, `failed`, `lost`, `cancelled`.
    pub status: String,
    /// Whether it is to be ended.
    pub cancelled: bool,
    /// The approvals that the environment asks for.
    pub approvals: Vec<TaskApproval>,
    /// Its exit code, once it ended by itself.
    pub exit_code: Option<i32>,
    /// Why it stands so, where there is more to say.
    pub message: String,
    /// Bytes of output that there are.
    pub output_bytes: u64,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it was begun.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

/// How much of a task's output the server has.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
pub struct OutputAt {
    /// Bytes; the next piece begins here.
    pub offset: u64,
    /// Whether it takes more.
    pub open: bool,
}

/// A task that an agent should run, once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DesiredTask {
    /// The task.
    pub task: TaskId,
    /// `group/project`, for logs.
    pub project: String,
    /// The environment's name.
    pub environment_name: String,
    /// The release's version.
    pub version: String,
    /// How it is run.
    pub driver: Driver,
    /// What it is run in.
    pub artifact: ArtifactSource,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Environment variables.
    pub variables: BTreeMap<String, String>,
    /// What it may use.
    pub limits: Limits,
    /// Time that it may take.
    pub timeout_ms: u64,
    /// Whether it may be begun: not where it was reported as begun, and not long after it was asked for.
    pub may_start: bool,
    /// Whether it was reported as begun.
    pub begun: bool,
    /// Whether it is to be ended, or not begun.
    pub cancelled: bool,
}

/// Where a task stands with its agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// It was begun.
    Running,
    /// It ended, and all of its output is sent.
    Ended,
    /// It was begun, and it is not known how it ended.
    Lost,
    /// It was not begun and will not be.
    Refused,
}

/// A task as its agent sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TaskReport {
    /// The task.
    pub task: TaskId,
    /// Where it stands.
    pub state: TaskState,
    /// Its exit code, where it ended by itself.
    pub exit_code: Option<i32>,
    /// Why it stands so, where there is more to say.
    pub message: String,
}
