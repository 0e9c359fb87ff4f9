//! A script that runs in the job's container. The container is the same for each script of a job, so that what one
//! installs the next finds.

use super::SOON;
use crate::{
    executor::Process,
    job::Failure,
    way_out::{Allowed, WayOut},
};
use async_trait::async_trait;
use bascule_core::{Problem, Result};
use bascule_sandbox::{
    Exit,
    podman::{Failed, OOM, Podman},
};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::Deserialize;
use std::{
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, Interest, unix::AsyncFd},
    net::unix::pipe,
    time::sleep,
};

/// Time to read what podman said before it ended.
const WORDS: Duration = Duration::from_millis(200);
/// Time for podman to clean up after a container.
const CLEAN_UP: Duration = Duration::from_secs(15);
/// Looks at a container whose process ended until podman has taken that in.
const LOOKS: u32 = 300;
/// Pause between them.
const LOOK: Duration = Duration::from_millis(20);

#[derive(Debug, Deserialize)]
struct Inspected {
    #[serde(rename = "State")]
    state: State,
    #[serde(rename = "GraphDriver", default)]
    graph: Option<Graph>,
}

#[derive(Debug, Deserialize)]
struct Graph {
    #[serde(rename = "Data", default)]
    data: Option<std::collections::BTreeMap<String, serde_json::Value>>,
}

/// How a container stands.
#[derive(Debug, Deserialize)]
pub(super) struct State {
    #[serde(rename = "Running", default)]
    pub(super) running: bool,
    #[serde(rename = "Status", default)]
    status: String,
    #[serde(rename = "Pid", default)]
    pub(super) pid: i32,
    /// Of the process that looks after it.
    #[serde(rename = "ConmonPid", default)]
    conmon: i32,
    #[serde(rename = "ExitCode", default)]
    pub(super) exit_code: i32,
    #[serde(rename = "OOMKilled", default)]
    oom_killed: bool,
}

async fn inspect(podman: &Podman, id: &str) -> Result<Inspected, Failed> {
    let text = podman.run(&["container", "inspect", id], SOON).await?;
    let all: Vec<Inspected> = serde_json::from_str(&text)
        .map_err(|error| Failed::other(format!("podman's answer cannot be read: {error}")))?;
    let one = all.into_iter().next();
    one.ok_or_else(|| Failed::other("podman told of no container".to_owned()))
}

/// How a container stands.
pub(super) async fn state(podman: &Podman, id: &str) -> Result<State, Failed> {
    Ok(inspect(podman, id).await?.state)
}

/// The folder that a container's own files lie in.
pub(super) async fn layer(podman: &Podman, id: &str) -> Option<PathBuf> {
    let data = inspect(podman, id).await.ok()?.graph?.data?;
    Some(PathBuf::from(data.get("UpperDir")?.as_str()?))
}

/// Whether a process is there.
pub(super) fn lives(pid: i32) -> bool {
    pid > 0 && Path::new("/proc").join(pid.to_string()).exists()
}

/// Whether something listens on a TCP port where this process's network is.
pub(super) fn listens(pid: i32, port: u16) -> bool {
    let wanted = format!(":{port:04X}");
    ["tcp", "tcp6"].iter().any(|table| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        text.lines().skip(1).any(|line| {
            let mut fields = line.split_whitespace();
            let local = fields.nth(1).unwrap_or_default();
            // 0A: it listens.
            local.ends_with(&wanted) && fields.nth(1) == Some("0A")
        })
    })
}

/// Hears of a descriptor's becoming readable.
#[allow(
    deprecated,
    reason = "unsound only for values whose descriptor may change or be closed; an owned one stays open until it is dropped"
)]
fn readiness(fd: OwnedFd) -> Option<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(fd, Interest::READABLE).ok()
}

/// A script that runs.
pub(super) struct Step {
    podman: Podman,
    id: String,
    pid: i32,
    /// Becomes readable when its first process ends.
    first: Option<AsyncFd<OwnedFd>>,
    /// Becomes readable when podman has cleaned up after that.
    conmon: Option<AsyncFd<OwnedFd>>,
    output: Option<pipe::Receiver>,
    _way_out: Option<WayOut>,
    ended: Option<Exit>,
}

impl Step {
    /// Starts what the container runs; with a way to `mirrors` where it has one. Its output comes straight from the container: no process copies it.
    pub(super) async fn start(
        podman: Podman,
        id: String,
        image: &str,
        mirrors: Option<Allowed>,
    ) -> Result<Self, Failure> {
        let broken = |error: std::io::Error| {
            Failure::System(
                Problem::new(503, "no_pipe", "A container's output cannot be read.").why(error.to_string()),
            )
        };
        let (reader, writer) = std::io::pipe().map_err(broken)?;
        let mut command = podman.command(&["init", &id]);
        command
            .stdout(Stdio::from(writer.try_clone().map_err(broken)?))
            .stderr(Stdio::from(writer));
        let status = tokio::time::timeout(SOON, command.status()).await;
        // It holds the writing end too.
        drop(command);
        let mut output = pipe::Receiver::from_owned_fd(OwnedFd::from(reader)).map_err(broken)?;
        // Podman's own words; the container is silent until it is started.
        let mut said = vec![0; 8 * 1024];
        let read = tokio::time::timeout(WORDS, output.read(&mut said)).await;
        said.truncate(read.map_or(0, |read| read.unwrap_or(0)));
        let said = String::from_utf8_lossy(&said);
        if !matches!(status, Ok(Ok(status)) if status.success()) {
            return Err(cannot_start(image, &said));
        }
        let state = state(&podman, &id)
            .await
            .map_err(|failed| cannot_start(image, failed.said()))?;
        let watch = |pid| {
            let pid = Pid::from_raw(pid)?;
            readiness(pidfd_open(pid, PidfdFlags::NONBLOCK).ok()?)
        };
        let (first, conmon) = (watch(state.pid), watch(state.conmon));
        let mut way_out = None;
        if let Some(allowed) = mirrors {
            way_out = Some(WayOut::open(allowed, state.pid).await?);
        }
        let step = Self {
            podman,
            id,
            pid: state.pid,
            first,
            conmon,
            output: Some(output),
            _way_out: way_out,
            ended: None,
        };
        match step.podman.run(&["start", &step.id], SOON).await {
            Ok(_) => Ok(step),
            Err(failed) => Err(cannot_start(image, failed.said())),
        }
    }
}

impl Step {
    fn ran_out_of_memory(&self) -> bool {
        self.podman
            .folder
            .as_ref()
            .is_some_and(|folder| folder.join(OOM).exists())
    }
}

fn cannot_start(image: &str, said: &str) -> Failure {
    if said.contains("executable file")
        || said.contains("exec: ")
        || said.contains("no such file or directory")
    {
        return super::image::refused(&format!(
            "the image {image} cannot run a script: {}. It needs a shell (`sh`); where its entry point is something else, \
             set `image: {{name: …, entrypoint: [\"\"]}}`",
            said.trim()
        ));
    }
    Failure::System(
        Problem::new(503, "podman", "The job's container cannot be started.")
            .why(said.trim().to_owned())
            .next("See podman's message, and `podman info` on the runner's machine."),
    )
}

#[async_trait]
impl Process for Step {
    fn output(&mut self) -> Option<Box<dyn AsyncRead + Send + Unpin>> {
        let output = self.output.take()?;
        Some(Box::new(output))
    }

    async fn wait(&mut self) -> Result<Exit> {
        if let Some(exit) = self.ended {
            return Ok(exit);
        }
        if let Some(first) = &self.first {
            let _ = first.readable().await;
        }
        // The next script must not start while podman still cleans up after this one.
        if let Some(conmon) = &self.conmon {
            let _ = tokio::time::timeout(CLEAN_UP, conmon.readable()).await;
        }
        let lost = |failed: &Failed| failed.problem("It is not known how the job's container ended.");
        for _ in 0..LOOKS {
            let found = state(&self.podman, &self.id)
                .await
                .map_err(|failed| lost(&failed))?;
            if matches!(found.status.as_str(), "exited" | "stopped") {
                let exit = Exit {
                    code: found.exit_code,
                    timed_out: false,
                    // Not every version notes what the kernel did.
                    oom_killed: found.oom_killed || self.ran_out_of_memory(),
                    started: true,
                };
                self.ended = Some(exit);
                return Ok(exit);
            }
            sleep(LOOK).await;
        }
        Err(lost(&Failed::other(
            "podman holds it for running, and its process is gone".to_owned(),
        )))
    }

    async fn terminate(&mut self, grace: Duration) -> Result<Exit> {
        if !grace.is_zero() {
            bascule_sandbox::ask_to_end(self.pid);
            if let Ok(exit) = tokio::time::timeout(grace, self.wait()).await {
                return exit;
            }
        }
        let killed = self
            .podman
            .run(&["kill", "--signal", "KILL", &self.id], SOON)
            .await;
        if let Err(failed) = killed {
            tracing::debug!(%failed, "a job's container ended before it was killed");
        }
        self.wait().await
    }
}
