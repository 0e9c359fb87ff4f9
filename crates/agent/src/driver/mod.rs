//! How an instance is run: as a process in a sandbox, or as a container. What all drivers share (health,
//! restarts, draining, messages) is in [`crate::instance`]; a driver makes ready, starts, waits and ends.

#[cfg(feature = "kubernetes")]
pub(crate) mod kubernetes;
pub(crate) mod podman;
pub(crate) mod process;
mod seal;

pub(crate) use seal::Seal;

use crate::artifacts::Missing;
use async_trait::async_trait;
use bascule_core::Problem;
use bascule_wire::agent::{ArtifactSource, Driver as DriverKind, Limits};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::io::AsyncRead;

/// What a task's name begins with.
pub(crate) const TASK: &str = "task-";

/// What a driver runs.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    /// An instance's identifier, or a task's with [`TASK`] before it.
    pub(crate) name: String,
    /// A folder of its own.
    pub(crate) folder: PathBuf,
    /// What it was fetched from.
    pub(crate) artifact: ArtifactSource,
    /// By `/bin/sh -c`; empty for what the artifact itself names, where it can.
    pub(crate) command: String,
    /// A program and its arguments, to be run as they are; wins over the command.
    pub(crate) words: Vec<String>,
    /// Environment variables, without `HOST` and `PORT`.
    pub(crate) variables: Vec<(String, String)>,
    pub(crate) limits: Limits,
}

impl Job {
    /// Whether it is run once and ends by itself, where what else runs is kept running.
    pub(crate) fn is_task(&self) -> bool {
        self.name.starts_with(TASK)
    }
}

/// How a process or container ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended {
    /// Its exit code; 128 and the signal's number where a signal ended it.
    pub(crate) code: i32,
    /// Whether it is known that it was killed for want of memory.
    pub(crate) oom_killed: bool,
}

/// Something that runs.
#[async_trait]
pub(crate) trait Process: Send {
    /// Its number on this machine.
    fn pid(&self) -> u32;

    /// How it can be handed over to another version of the agent; `None` for what outlives an agent anyway.
    fn part(&self) -> Option<bascule_sandbox::handover::Part> {
        None
    }

    /// What it writes; taken once.
    fn outputs(&mut self) -> Vec<Box<dyn AsyncRead + Send + Unpin>>;

    /// Waits for its end. May be given up and called again.
    async fn wait(&mut self) -> Result<Ended, Problem>;

    /// Asks it to end, makes it after the grace.
    async fn end(&mut self, grace: Duration) -> Result<(), Problem>;
}

/// A way to run instances.
#[async_trait]
pub(crate) trait Driver: Send + Sync + std::fmt::Debug {
    /// Whether the artifact is to be fetched to this machine.
    fn fetches(&self) -> bool {
        true
    }

    /// What still runs of this job from before this agent was started, with its port; of a task also what ended
    /// meanwhile.
    async fn adopt(&self, job: &Job) -> Option<(u16, Box<dyn Process>)>;

    /// Makes a verified artifact ready in the job's folder. Called before each start; what is found as it was
    /// made is left alone, what was altered since is made anew.
    async fn prepare(&self, job: &Job, artifact: &Path, seal: &mut Option<Seal>) -> Result<(), Missing>;

    /// Starts what was made ready, to listen on a port; a task listens on none. A problem below 500 will not go
    /// away by trying again.
    async fn start(&self, job: &Job, port: Option<u16>) -> Result<Box<dyn Process>, Problem>;
}

/// Stands for a driver that this agent does not have.
#[derive(Debug)]
pub(crate) struct Unknown(pub(crate) DriverKind);

#[async_trait]
impl Driver for Unknown {
    async fn adopt(&self, _: &Job) -> Option<(u16, Box<dyn Process>)> {
        None
    }

    async fn prepare(&self, _: &Job, _: &Path, _: &mut Option<Seal>) -> Result<(), Missing> {
        Err(Missing::Forever(unknown(self.0)))
    }

    async fn start(&self, _: &Job, _: Option<u16>) -> Result<Box<dyn Process>, Problem> {
        Err(unknown(self.0))
    }
}

fn unknown(kind: DriverKind) -> Problem {
    let kind = kind.as_str();
    Problem::invalid(
        "no_driver",
        format!("The agent's machine has no {kind} that works."),
    )
    .why("It was looked for when the agent was started.")
    .next("Install it and start the agent again, or choose another driver or another agent.")
}

/// An archive that cannot be used, ever.
pub(crate) fn bad_artifact(name: &str, why: &str, next: &str) -> Missing {
    Missing::Forever(
        Problem::invalid(
            "bad_artifact",
            format!("The artifact `{name}` cannot be unpacked."),
        )
        .why(format!("{why}."))
        .next(next),
    )
}

/// A folder that cannot be written now.
pub(crate) fn unwritable(folder: &Path, why: &str) -> Missing {
    Missing::ForNow(
        Problem::new(
            507,
            "unwritable",
            format!("The artifact cannot be unpacked to {}.", folder.display()),
        )
        .why(why),
    )
}

/// The outputs of what has one, as [`Process::outputs`] gives them.
fn only<R: AsyncRead + Send + Unpin + 'static>(output: Option<R>) -> Vec<Box<dyn AsyncRead + Send + Unpin>> {
    output
        .map(|output| Box::new(output) as Box<dyn AsyncRead + Send + Unpin>)
        .into_iter()
        .collect()
}
