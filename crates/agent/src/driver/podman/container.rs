//! One container that runs.

use super::{SOON, log};
use crate::driver::{Ended, Process, only};
use async_trait::async_trait;
use bascule_core::Problem;
use bascule_sandbox::podman::{Failed, Podman};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::Deserialize;
use std::{os::fd::OwnedFd, path::PathBuf, time::Duration};
use tokio::{
    io::{AsyncRead, DuplexStream, Interest, unix::AsyncFd},
    sync::watch,
    time::sleep,
};

/// Looks at a container that ended until podman has taken that in.
const LOOKS: u32 = 100;

#[derive(Debug, Deserialize)]
struct Inspected {
    #[serde(rename = "State")]
    state: State,
    #[serde(rename = "HostConfig")]
    host: Host,
}

#[derive(Debug, Deserialize)]
struct State {
    #[serde(rename = "Running", default)]
    running: bool,
    #[serde(rename = "Pid", default)]
    pid: i32,
    #[serde(rename = "ExitCode", default)]
    exit_code: i32,
    #[serde(rename = "OOMKilled", default)]
    oom_killed: bool,
}

#[derive(Debug, Deserialize)]
struct Host {
    #[serde(rename = "LogConfig")]
    log: LogConfig,
}

#[derive(Debug, Deserialize)]
struct LogConfig {
    #[serde(rename = "Path", default)]
    path: PathBuf,
}

/// A container that runs, or ran a moment ago. It outlives this value: what it is to end by is
/// [`Process::end`], or the next agent.
pub(super) struct Container {
    podman: Podman,
    id: String,
    pid: u32,
    /// Becomes readable when its first process ends.
    first: Option<AsyncFd<OwnedFd>>,
    output: Option<DuplexStream>,
    over: watch::Sender<bool>,
    ended: Option<Ended>,
}

impl Container {
    /// Looks after a container from now on.
    pub(super) async fn attach(podman: Podman, id: String) -> Result<Self, Failed> {
        let found = inspect(&podman, &id).await?;
        let first = Pid::from_raw(found.state.pid)
            .filter(|_| found.state.running)
            // One that is gone already has no process to wait for.
            .and_then(|pid| pidfd_open(pid, PidfdFlags::NONBLOCK).ok())
            .and_then(readiness);
        let (over, receiver) = watch::channel(false);
        Ok(Self {
            podman,
            id,
            pid: u32::try_from(found.state.pid).unwrap_or(0),
            first,
            output: Some(log::follow(found.host.log.path, receiver)),
            over,
            ended: None,
        })
    }
}

/// Hears of a descriptor's becoming readable.
#[allow(
    deprecated,
    reason = "unsound only for values whose descriptor may change or be closed; an owned one stays open until it is dropped"
)]
fn readiness(fd: OwnedFd) -> Option<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(fd, Interest::READABLE).ok()
}

async fn inspect(podman: &Podman, id: &str) -> Result<Inspected, Failed> {
    let text = podman.run(&["container", "inspect", id], SOON).await?;
    let all: Vec<Inspected> = serde_json::from_str(&text)
        .map_err(|error| Failed::other(format!("podman's answer cannot be read: {error}")))?;
    all.into_iter()
        .next()
        .ok_or_else(|| Failed::other("podman told of no container".to_owned()))
}

#[async_trait]
impl Process for Container {
    fn pid(&self) -> u32 {
        self.pid
    }

    fn outputs(&mut self) -> Vec<Box<dyn AsyncRead + Send + Unpin>> {
        only(self.output.take())
    }

    async fn wait(&mut self) -> Result<Ended, Problem> {
        if let Some(ended) = self.ended {
            return Ok(ended);
        }
        if let Some(first) = &self.first {
            let _ = first.readable().await;
        }
        let lost = |failed: &Failed| failed.problem("It is not known how the container ended.");
        for _ in 0..LOOKS {
            let found = inspect(&self.podman, &self.id)
                .await
                .map_err(|failed| lost(&failed))?;
            if !found.state.running {
                let ended = Ended {
                    code: found.state.exit_code,
                    oom_killed: found.state.oom_killed,
                };
                self.ended = Some(ended);
                self.over.send_replace(true);
                return Ok(ended);
            }
            sleep(Duration::from_millis(100)).await;
        }
        Err(lost(&Failed::other(
            "podman holds it for running, and its process is gone".to_owned(),
        )))
    }

    async fn end(&mut self, grace: Duration) -> Result<(), Problem> {
        let seconds = grace.as_secs().to_string();
        let arguments = ["stop", "--ignore", "--time", &seconds, &self.id];
        let stopped = self.podman.run(&arguments, grace + SOON).await;
        self.over.send_replace(true);
        let removed = self
            .podman
            .run(&["rm", "--force", "--ignore", "--time", "0", &self.id], SOON)
            .await;
        stopped
            .and(removed)
            .map(drop)
            .map_err(|failed| failed.problem("The container may still run."))
    }
}
