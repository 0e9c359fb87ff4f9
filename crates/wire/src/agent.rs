//! Between the server and an environment's agent. The agent calls; the server never does, so an agent
//! works from behind any firewall. One call does both ways: a report up, the desired state down.
//!
//! `POST /api/v1/agent/sync?revision=R&wait=S` with the agent's token as bearer. When `R` is the present
//! revision the answer hangs until something changes, up to `S` seconds, or less where the server says so: ten
//! seconds while something is under way for the agent, about four minutes at rest. With `brief=true` an answer that would
//! bring nothing new is an empty 204.

use crate::task::{DesiredTask, TaskReport};
use bascule_core::{DeploymentId, Digest, EnvironmentId, InstanceId, ReleaseId, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// What an agent says of its environment.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct AgentReport {
    /// The agent's version.
    pub version: String,
    /// The agent's clock, so that the server can see skew. Two requests may be under way at once: a report
    /// older than the last one taken is out of date and says nothing.
    pub at: Timestamp,
    /// Free space where artifacts are unpacked, in bytes.
    pub disk_free_bytes: u64,
    /// What else the machine has left.
    #[serde(default)]
    pub resources: Resources,
    /// What the machine is.
    #[serde(default)]
    pub machine: MachineFacts,
    /// Drivers that work on the machine; empty from agents that do not tell, which know [`Driver::Process`].
    #[serde(default)]
    pub drivers: Vec<Driver>,
    /// Everything that runs, or that ran and failed, and is still desired or not yet gone.
    pub instances: Vec<InstanceReport>,
    /// The tasks that run, or ran and are asked for still.
    #[serde(default)]
    pub tasks: Vec<TaskReport>,
}

/// What a machine has left. Zero stands for what is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Resources {
    /// All space where artifacts are unpacked, in bytes.
    #[serde(default)]
    pub disk_total_bytes: u64,
    /// All memory, in bytes.
    #[serde(default)]
    pub memory_total_bytes: u64,
    /// Memory that products could still get, in bytes.
    #[serde(default)]
    pub memory_free_bytes: u64,
    /// Load average over one minute, times 1000.
    #[serde(default)]
    pub load_milli: u64,
}

/// What a machine is. Empty stands for what is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MachineFacts {
    /// Its host name.
    #[serde(default)]
    pub host_name: String,
    /// Its operating system.
    #[serde(default)]
    pub os: String,
    /// Its processor's kind.
    #[serde(default)]
    pub architecture: String,
    /// Its processors.
    #[serde(default)]
    pub cpus: u32,
}

/// How an instance is run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Driver {
    /// A process under bubblewrap, from an archive of files.
    #[default]
    Process,
    /// A container under podman, from an archive that holds an image.
    Podman,
    /// Pods of a Kubernetes cluster.
    Kubernetes,
}

impl Driver {
    /// As stored and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Podman => "podman",
            Self::Kubernetes => "kubernetes",
        }
    }
}

/// Where one instance stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum InstanceState {
    /// The artifact is being fetched and verified.
    Fetching,
    /// The process was started and is not healthy yet.
    Starting,
    /// The health check passes.
    Healthy,
    /// The process runs but its health check fails.
    Unhealthy,
    /// The process ended by itself and waits to be started again.
    Crashed,
    /// It cannot run: a wrong digest, a missing file, a bad command. Not tried again.
    Failed,
    /// It drains: no new traffic, requests in flight end.
    Draining,
    /// It is gone.
    Stopped,
}

/// One instance as the agent sees it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct InstanceReport {
    /// The instance.
    pub instance: InstanceId,
    /// The deployment it belongs to.
    pub deployment: DeploymentId,
    /// Its state.
    pub state: InstanceState,
    /// `host:port` where it answers, once it listens.
    pub address: Option<String>,
    /// Process id on the agent's machine.
    pub pid: Option<u32>,
    /// Times it was started again after a crash.
    pub restarts: u32,
    /// Why it is in this state, in plain words, with the last lines of its output where it failed.
    pub message: String,
    /// When the present process was started.
    pub started_at: Option<Timestamp>,
    /// The smoke test's result, once it ran.
    pub smoke: Option<SmokeResult>,
}

/// What a smoke test found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SmokeResult {
    /// Whether every check passed.
    pub passed: bool,
    /// One line a check.
    pub details: Vec<String>,
}

/// All that should run in the agent's environment. What is not listed should not run.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct DesiredState {
    /// Changes whenever anything below changes.
    pub revision: i64,
    /// The instances that should exist.
    pub instances: Vec<DesiredInstance>,
    /// The tasks that have not ended.
    #[serde(default)]
    pub tasks: Vec<DesiredTask>,
}

/// One instance that should exist.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DesiredInstance {
    /// The instance.
    pub instance: InstanceId,
    /// The deployment it belongs to.
    pub deployment: DeploymentId,
    /// The environment.
    pub environment: EnvironmentId,
    /// `group/project`, for logs.
    pub project: String,
    /// The environment's name.
    pub environment_name: String,
    /// The release.
    pub release: ReleaseId,
    /// The release's version.
    pub version: String,
    /// How it is run.
    #[serde(default)]
    pub driver: Driver,
    /// What to fetch and unpack; for [`Driver::Podman`] an OCI or docker archive that holds an image.
    pub artifact: ArtifactSource,
    /// What to run by `/bin/sh -c`, in the unpacked artifact's root. For [`Driver::Podman`] in the container;
    /// empty there for what the image itself names.
    pub command: String,
    /// Environment variables; `PORT` is added by the agent.
    pub variables: BTreeMap<String, String>,
    /// How to tell that it serves.
    pub health: HealthCheck,
    /// Paths that the smoke test fetches once the instance is healthy.
    pub smoke: Vec<SmokeCheck>,
    /// What it may use.
    pub limits: Limits,
    /// Set: stop sending it traffic and end it once requests in flight are done, after this many
    /// milliseconds at most.
    pub drain_ms: Option<u64>,
}

/// Where an artifact comes from and what it must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ArtifactSource {
    /// Path on the server, fetched with the agent's token.
    pub path: String,
    /// What the bytes must hash to; otherwise nothing is started.
    pub digest: Digest,
    /// Size in bytes.
    pub size: u64,
    /// File name, whose ending tells how to unpack: `.tar.gz`, `.tgz`, `.tar`, `.zip`; any other is placed
    /// as it is.
    pub file_name: String,
}

/// How an agent tells that an instance serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HealthCheck {
    /// HTTP path that answers 200 to 399.
    pub path: String,
    /// Time between checks, in milliseconds.
    pub interval_ms: u64,
    /// Time allowed for one check, in milliseconds.
    pub timeout_ms: u64,
    /// Time allowed from start to the first healthy answer, in milliseconds.
    pub start_ms: u64,
}

/// One request of a smoke test.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SmokeCheck {
    /// HTTP path.
    pub path: String,
    /// Expected status.
    pub status: u16,
    /// Text that the body must contain; empty for any.
    #[serde(default)]
    pub contains: String,
}

/// What an instance may use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Limits {
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Processes and threads.
    pub pids: u64,
}

/// Whether an environment is below production or is production.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// Releases arrive by themselves.
    Staging,
    /// Releases arrive by promotion and rollout.
    Production,
}
