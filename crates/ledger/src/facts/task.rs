//! Facts about one-off tasks, published by delivery.

use super::fact;
use bascule_core::{Digest, EnvironmentId, ProjectId, TaskId};
use serde::{Deserialize, Serialize};

/// A task was asked for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TaskRequested {
    /// The project.
    pub project: ProjectId,
    /// The task.
    pub task: TaskId,
    /// The environment.
    pub environment: EnvironmentId,
    /// The environment's name.
    pub environment_name: String,
    /// The release in which it runs.
    pub version: String,
    /// The program and its arguments, as a shell would read them.
    pub command: String,
    /// Why.
    pub reason: String,
    /// Teams that have to approve it.
    pub teams: Vec<String>,
}
fact!(
    TaskRequested,
    "task.requested",
    |f| Some(f.project),
    |f| format!("task:{}", f.task),
    |f| format!(
        "asks for `{}` in {} ({}){}{}",
        f.command,
        f.environment_name,
        f.version,
        if f.reason.is_empty() { "" } else { ": " },
        f.reason
    )
);

/// A task was approved in a team's name.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TaskApproved {
    /// The project.
    pub project: ProjectId,
    /// The task.
    pub task: TaskId,
    /// The environment's name.
    pub environment_name: String,
    /// The team.
    pub team: String,
}
fact!(
    TaskApproved,
    "task.approved",
    |f| Some(f.project),
    |f| format!("task:{}", f.task),
    |f| format!("approved a task in {} for {}", f.environment_name, f.team)
);

/// A task's agent began it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TaskStarted {
    /// The project.
    pub project: ProjectId,
    /// The task.
    pub task: TaskId,
    /// The environment's name.
    pub environment_name: String,
}
fact!(
    TaskStarted,
    "task.started",
    |f| Some(f.project),
    |f| format!("task:{}", f.task),
    |f| format!("began a task in {}", f.environment_name)
);

/// Someone wants a task ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TaskCancelled {
    /// The project.
    pub project: ProjectId,
    /// The task.
    pub task: TaskId,
    /// The environment's name.
    pub environment_name: String,
}
fact!(
    TaskCancelled,
    "task.cancelled",
    |f| Some(f.project),
    |f| format!("task:{}", f.task),
    |f| format!("cancels a task in {}", f.environment_name)
);

/// A task ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TaskFinished {
    /// The project.
    pub project: ProjectId,
    /// The task.
    pub task: TaskId,
    /// The environment.
    pub environment: EnvironmentId,
    /// The environment's name.
    pub environment_name: String,
    /// `succeeded`, `failed`, `lost`, `cancelled`.
    pub result: String,
    /// Its exit code, where it ended by itself.
    pub exit_code: Option<i32>,
    /// Why, where there is more to say.
    pub message: String,
    /// Bytes of output that were kept.
    pub output_bytes: u64,
    /// Their digest.
    pub output: Digest,
}
fact!(
    TaskFinished,
    "task.finished",
    |f| Some(f.project),
    |f| format!("task:{}", f.task),
    |f| {
        let code = f.exit_code.map(|code| format!(", exit code {code}"));
        let code = code.unwrap_or_default();
        let more = if f.message.is_empty() {
            String::new()
        } else {
            format!(": {}", f.message)
        };
        format!("task in {} {}{code}{more}", f.environment_name, f.result)
    }
);
