//! Where a job's scripts run: in a sandbox of the machine's own programs, or in containers of the images it names.

mod bubblewrap;
pub(crate) mod podman;

use crate::{
    Config, Shared,
    job::{Failure, Ground},
};
use async_trait::async_trait;
use bascule_core::Result;
use bascule_sandbox::Exit;
use bascule_wire::runner::{FailureReason, Job};
use std::{path::PathBuf, time::Duration};
use tokio::io::AsyncRead;

/// Which executors a runner has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExecutorKind {
    /// Podman for jobs that name an image, where podman is installed; bubblewrap for the others.
    #[default]
    Auto,
    /// Bubblewrap for all; jobs that name an image are refused.
    Bubblewrap,
    /// Podman for all; jobs that name no image run in the default image.
    Podman,
    /// A pod of a Kubernetes cluster for each.
    Kubernetes,
}

impl ExecutorKind {
    /// Its name in settings.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Bubblewrap => "bubblewrap",
            Self::Podman => "podman",
            Self::Kubernetes => "kubernetes",
        }
    }

    /// What a runner that has it, and containers or none, is told as.
    pub(crate) fn told(self, containers: bool) -> &'static str {
        match (self, containers) {
            (Self::Podman, _) => "podman",
            (Self::Kubernetes, _) => "kubernetes",
            (Self::Auto, true) => "bubblewrap, podman",
            (Self::Auto | Self::Bubblewrap, _) => "bubblewrap",
        }
    }

    /// Reads a name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Auto, Self::Bubblewrap, Self::Podman, Self::Kubernetes]
            .into_iter()
            .find(|kind| kind.as_str() == name)
    }
}

/// Runs one job's scripts. Made for the job, and cleaned after it.
#[async_trait]
pub(crate) trait Executor: Send + Sync {
    /// What it is, for the log.
    fn title(&self) -> &'static str;

    /// Gets ready, before the sources come: takes in images, starts services.
    async fn prepare(&mut self, on: &Ground<'_>) -> Result<(), Failure>;

    /// Starts a script, one after the other.
    async fn start(&mut self, on: &Ground<'_>, script: &[String]) -> Result<Box<dyn Process>, Failure>;

    /// Folders beside the workspace that the job fills.
    fn folders(&self) -> Vec<PathBuf> {
        Vec::new()
    }

    /// Ends what runs beside the scripts, before anyone looks at the job's files.
    async fn settle(&mut self) {}

    /// Removes all it made. Also called where getting ready was broken off half way.
    async fn clean(&mut self) {}
}

/// A script that runs. Dropping it ends it.
#[async_trait]
pub(crate) trait Process: Send {
    /// What it writes, standard error included; once.
    fn output(&mut self) -> Option<Box<dyn AsyncRead + Send + Unpin>>;

    /// Waits for its end. May be given up and called again.
    async fn wait(&mut self) -> Result<Exit>;

    /// Asks it to end, and after `grace` ends it with all it started.
    async fn terminate(&mut self, grace: Duration) -> Result<Exit>;
}

fn wants_containers(job: &Job) -> bool {
    let image = job.image.as_ref().filter(|image| !image.name.is_empty());
    image.is_some() || !job.services.is_empty()
}

/// Whether a job runs under bubblewrap.
pub(crate) fn in_sandbox(config: &Config, job: &Job) -> bool {
    match config.executor {
        ExecutorKind::Bubblewrap => true,
        ExecutorKind::Auto => !wants_containers(job),
        ExecutorKind::Podman | ExecutorKind::Kubernetes => false,
    }
}

/// The executor that a job takes.
pub(crate) fn choose(shared: &Shared, job: &Job, key: &str) -> Result<Box<dyn Executor>, Failure> {
    let wants_containers = wants_containers(job);
    let in_containers = match shared.config.executor {
        ExecutorKind::Bubblewrap => false,
        ExecutorKind::Podman => true,
        ExecutorKind::Auto => wants_containers,
        #[cfg(feature = "kubernetes")]
        ExecutorKind::Kubernetes => return Ok(Box::new(crate::kubernetes::Inside::default())),
        #[cfg(not(feature = "kubernetes"))]
        ExecutorKind::Kubernetes => false,
    };
    if !in_containers {
        if wants_containers {
            return Err(no_containers(
                &shared.config,
                "it was set up with `executor = bubblewrap`",
            ));
        }
        return Ok(Box::new(bubblewrap::Bubblewrap::default()));
    }
    let Some(containers) = &shared.containers else {
        return Err(no_containers(
            &shared.config,
            "podman is not installed on its machine",
        ));
    };
    Ok(Box::new(podman::Containers::new(containers.clone(), key)))
}

fn no_containers(config: &Config, why: &str) -> Failure {
    Failure::Refused(
        FailureReason::RunnerUnsupported,
        format!(
            "it names an image or services, and the runner {} runs no containers: {why}. Give the job the tag of a runner \
             with podman, or install podman there (`apt install podman runc netavark`), or take `image` and `services` \
             out of the job",
            config.name
        ),
    )
}
