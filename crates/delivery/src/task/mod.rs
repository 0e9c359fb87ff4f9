//! One-off tasks: a command that is run once where a product runs, in the release and with the variables that serve
//! there. Asked for by a person who may deploy to production, approved where the environment's declaration asks for
//! approvals, run by the environment's agent, recorded from beginning to end.
//!
//! A task is run at most once. The agent writes down that it begins one before it does; what was begun and whose end
//! nobody knows is told as lost, never begun anew.

pub(crate) mod api;
pub(crate) mod pages;
pub(crate) mod schema;
pub(crate) mod service;
pub(crate) mod store;

use bascule_core::{DeploymentId, EnvironmentId, ProjectId, TaskId, Timestamp};
use bascule_store::{Json, row};
use std::time::Duration;

/// Time after its last approval within which a task is begun: a command is meant for now.
pub(crate) const BEGIN_WITHIN: Duration = Duration::from_secs(15 * 60);
/// Time that a task may take unless it says otherwise.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(10 * 60);
/// Longest time that a task may ask for.
pub(crate) const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// Words of a command, and all their bytes, at most.
pub(crate) const WORDS: usize = 256;
pub(crate) const COMMAND_BYTES: usize = 16 * 1024;
/// Tasks that have not ended in one environment, at most.
pub(crate) const OPEN: i64 = 20;
/// Newest tasks of a project whose output is kept.
pub(crate) const OUTPUTS: i64 = 200;

/// Where a task stands.
pub(crate) mod status {
    pub const WAITING: &str = "waiting";
    pub const QUEUED: &str = "queued";
    pub const RUNNING: &str = "running";
    pub const SUCCEEDED: &str = "succeeded";
    pub const FAILED: &str = "failed";
    pub const LOST: &str = "lost";
    pub const CANCELLED: &str = "cancelled";
}

row! {
    /// A task.
    #[derive(Clone, Debug)]
    pub(crate) struct Task {
        pub id: TaskId,
        pub project_id: ProjectId,
        pub environment_id: EnvironmentId,
        pub environment: String,
        pub deployment_id: DeploymentId,
        pub version: String,
        pub command: Json<Vec<String>>,
        pub reason: String,
        pub actor: String,
        pub actor_id: String,
        pub teams: Json<Vec<String>>,
        pub status: String,
        pub cancelled: bool,
        pub timeout_ms: i64,
        pub output_bytes: i64,
        pub exit_code: Option<i64>,
        pub message: String,
        pub created_at: Timestamp,
        pub queued_at: Option<Timestamp>,
        pub started_at: Option<Timestamp>,
        pub finished_at: Option<Timestamp>,
    }
}

/// A command as a shell would read it.
pub(crate) fn quoted(command: &[String]) -> String {
    let plain = |word: &str| {
        !word.is_empty()
            && word
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_./=:,@%+".contains(c))
    };
    let words = command.iter().map(|word| {
        if plain(word) {
            word.clone()
        } else {
            format!("'{}'", word.replace('\'', "'\\''"))
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_reads_as_it_was_meant() {
        let words = ["./manage", "set", "a b", "it's", ""].map(str::to_owned);
        assert_eq!(quoted(&words), r"./manage set 'a b' 'it'\''s' ''");
    }
}
