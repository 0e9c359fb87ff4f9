//! Jobs in containers of the images they name, with their services beside them.
//!
//! Podman keeps containers when the runner that made them is killed. So all that is made carries the runner's mark
//! and the job's name: what a job made goes with it, and what a killed runner left goes at the next start.

pub(crate) mod image;
pub(crate) mod names;
mod network;
pub(crate) mod service;
mod step;
mod volume;

use super::{Executor, Process};
use crate::{
    Config,
    job::{Failure, Ground, Reach},
    script,
    way_out::Allowed,
    workspace,
};
use async_trait::async_trait;
use bascule_core::{Digest, Result};
use bascule_sandbox::podman::{Failed, Podman, write_settings};
use image::Image;
use network::Network;
use rustix::process::{Resource, getrlimit};
use service::Service;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::sync::OnceCell;

pub use image::PullPolicy;
pub use volume::check_volume;

/// Which runner made it.
const RUNNER: &str = "bascule.runner";
/// Which job it was made for.
const JOB: &str = "bascule.job";
/// Time for podman to do anything but pull.
const SOON: Duration = Duration::from_secs(60);
/// Where rendered scripts lie in a container.
const SCRIPTS: &str = "/run/bascule";
/// What a container runs: the script of the moment, by the better shell that the image has.
const COMMAND: &str = "if command -v bash >/dev/null 2>&1; then exec bash /run/bascule/step.bash; else exec sh \
                       /run/bascule/step.sh; fi";
/// Processes by resource limit, which counts by user over the whole machine; what counts for the job is `--pids-limit`.
const PROCESSES: u64 = 32_768;
/// Time beyond the job's own after which podman itself ends a container, should the runner be gone.
const BEYOND: Duration = Duration::from_secs(600);

/// Podman as all jobs of a runner use it.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    podman: Podman,
    mark: Arc<str>,
    /// Whether what a runner before this one left is gone.
    swept: Arc<OnceCell<()>>,
}

impl Host {
    /// Podman on this machine, if it is there.
    pub(crate) fn find(config: &Config) -> Result<Option<Self>> {
        if !bascule_sandbox::podman::is_installed() {
            return Ok(None);
        }
        let dir = &config.builds_dir;
        let unwritable = |e: std::io::Error| workspace::unwritable(dir, &e);
        let settings = match &config.podman.settings {
            Some(settings) => Some(settings.clone()),
            None => write_settings(dir).map_err(unwritable)?,
        };
        let registries = image::write_registries(config).map_err(unwritable)?;
        let podman = Podman {
            settings,
            registries,
            folder: None,
        };
        let path = dir.canonicalize().map_err(unwritable)?;
        let mark: String = Digest::of(path.to_string_lossy().as_bytes())
            .hex()
            .chars()
            .take(16)
            .collect();
        Ok(Some(Self {
            podman,
            mark: mark.into(),
            swept: Arc::default(),
        }))
    }

    /// Removes what a runner that was killed left; once, and before anything is made.
    pub(crate) async fn sweep(&self) {
        let label = format!("{RUNNER}={}", self.mark);
        self.swept.get_or_init(|| self.remove(&label)).await;
    }

    /// Removes all containers and networks with a label.
    async fn remove(&self, label: &str) {
        let filter = format!("label={label}");
        match self
            .podman
            .run(
                &["ps", "--all", "--quiet", "--no-trunc", "--filter", &filter],
                SOON,
            )
            .await
        {
            Ok(ids) => self.remove_containers(&lines(&ids)).await,
            Err(failed) => tracing::warn!(%failed, "containers of jobs cannot be listed"),
        }
        match self
            .podman
            .run(&["network", "ls", "--quiet", "--filter", &filter], SOON)
            .await
        {
            Ok(names) => {
                for name in lines(&names) {
                    self.remove_network(&name).await;
                }
            }
            Err(failed) => tracing::warn!(%failed, "networks of jobs cannot be listed"),
        }
    }

    async fn remove_containers(&self, ids: &[String]) {
        if ids.is_empty() {
            return;
        }
        let mut arguments = vec!["rm", "--force", "--volumes", "--ignore", "--time", "0"];
        arguments.extend(ids.iter().map(String::as_str));
        if let Err(failed) = self.podman.run(&arguments, SOON).await {
            tracing::warn!(%failed, "a job's containers cannot be removed; the next start tries again");
        }
    }

    async fn remove_network(&self, name: &str) {
        if let Err(failed) = self.podman.run(&["network", "rm", "--force", name], SOON).await {
            tracing::warn!(%failed, "a job's network cannot be removed; the next start tries again");
        }
    }
}

fn lines(text: &str) -> Vec<String> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The containers of one job.
pub(super) struct Containers {
    host: Host,
    /// The job's name in labels.
    key: String,
    image: Option<Image>,
    network: Option<Network>,
    services: Vec<Service>,
    /// The container in which scripts run; made before the first.
    build: Option<String>,
    folders: Vec<PathBuf>,
    /// Whether something may be there that is not noted here.
    unsure: bool,
}

impl Containers {
    pub(super) fn new(host: Host, key: &str) -> Self {
        Self {
            host,
            key: key.to_owned(),
            image: None,
            network: None,
            services: Vec::new(),
            build: None,
            folders: Vec::new(),
            unsure: false,
        }
    }

    /// What every container of the job is started with.
    fn common(&self, on: &Ground<'_>) -> Vec<String> {
        let limits = &on.shared.config.limits;
        let memory = limits.memory_bytes.to_string();
        let mut words: Vec<String> = [
            "--pull",
            "never",
            "--http-proxy=false",
            "--no-healthcheck",
            "--restart",
            "no",
            "--memory",
            &memory,
            "--memory-swap",
            &memory,
            "--pids-limit",
            &limits.pids.to_string(),
            "--ulimit",
            "core=0:0",
            "--ulimit",
            &ulimit("nofile", Resource::Nofile, limits.open_files),
            "--ulimit",
            &ulimit("nproc", Resource::Nproc, PROCESSES),
            "--ulimit",
            &ulimit("fsize", Resource::Fsize, limits.file_bytes),
            "--label",
            &format!("{RUNNER}={}", self.host.mark),
            "--label",
            &format!("{JOB}={}", self.key),
        ]
        .map(str::to_owned)
        .to_vec();
        if let Some(cpus) = limits.cpus {
            words.extend(["--cpus".to_owned(), format!("{cpus:.3}")]);
        }
        words.extend(volume::options(on));
        let longest = on.shared.config.limits.timeout + BEYOND;
        words.extend(["--timeout".to_owned(), longest.as_secs().to_string()]);
        words
    }

    /// How a container joins the job's network as its `number`th.
    fn joins(&self, number: usize) -> Vec<String> {
        let Some(network) = &self.network else {
            return vec!["--network".to_owned(), "none".to_owned()];
        };
        let mut words = network.joins(number);
        for (number, service) in self.services.iter().enumerate() {
            for name in &service.names {
                words.push("--add-host".to_owned());
                words.push(format!("{name}:{}", network.address(number)));
            }
        }
        words
    }

    /// Makes the container for scripts.
    async fn create(&mut self, on: &Ground<'_>) -> Result<String, Failure> {
        let image = self.image.as_ref().ok_or_else(bascule_core::Problem::internal)?;
        let config = &on.shared.config;
        let variables = on.space.meta().join("variables");
        write_variables(&variables, &on.vars.environment())
            .map_err(|e| workspace::unwritable(&variables, &e))?;
        // Podman does not tell the number of a container whose output it passes through.
        let id = format!("bascule-{}-{}", self.host.mark, self.key);
        let mut words = ["create", "--name", &id, "--log-driver", "passthrough"]
            .map(str::to_owned)
            .to_vec();
        words.extend(self.common(on));
        words.extend(self.joins(self.services.len()));
        // A user who is not root has to own what is to be written.
        let own = if image.other_user() { ",U" } else { "" };
        for (from, to) in [
            (on.space.build(), on.project_dir.clone()),
            (on.space.files(), format!("{}.tmp", on.project_dir)),
        ] {
            words.extend(["--volume".to_owned(), format!("{}:{to}:rw{own}", from.display())]);
        }
        words.extend([
            "--volume".to_owned(),
            format!("{}:{SCRIPTS}:ro", on.space.scripts().display()),
        ]);
        for bind in &config.binds {
            let mode = if bind.writable { "rw" } else { "ro" };
            words.extend([
                "--volume".to_owned(),
                format!("{}:{}:{mode}", bind.from.display(), bind.to),
            ]);
        }
        words.extend(["--env-file".to_owned(), variables.display().to_string()]);
        words.extend(["--workdir".to_owned(), on.project_dir.clone()]);
        words.extend(["--hostname".to_owned(), "runner".to_owned()]);
        if !image.user.is_empty() {
            words.extend(["--user".to_owned(), image.user.clone()]);
        }
        if let Some(entrypoint) = &image.entrypoint {
            words.extend(["--entrypoint".to_owned(), entrypoint.clone()]);
        }
        words.push(image.id.clone());
        words.extend(["sh", "-c", COMMAND].map(str::to_owned));
        self.call(&words).await.map_err(|failed| {
            Failure::System(failed.problem(&format!("A container of {} cannot be made.", image.name)))
        })?;
        if let Some(folder) = step::layer(&self.host.podman, &id).await {
            self.folders.push(folder);
        }
        Ok(id)
    }

    async fn call(&self, words: &[String]) -> Result<String, Failed> {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.host.podman.run(&words, SOON).await
    }
}

/// A limit in podman's words; none can be above this process's own.
fn ulimit(name: &str, resource: Resource, wanted: u64) -> String {
    let most = getrlimit(resource)
        .maximum
        .map_or(wanted, |most| most.min(wanted));
    format!("{name}={most}:{most}")
}

/// Variables as podman's `--env-file` reads them; those of several lines the script itself sets.
fn write_variables(path: &Path, variables: &[(String, String)]) -> std::io::Result<()> {
    let mut text = String::new();
    for (name, value) in variables {
        if script::is_name(name) && !value.contains(['\n', '\r']) {
            text.push_str(&format!("{name}={value}\n"));
        }
    }
    workspace::write_private(path, text.as_bytes())
}

#[async_trait]
impl Executor for Containers {
    fn title(&self) -> &'static str {
        "podman"
    }

    async fn prepare(&mut self, on: &Ground<'_>) -> Result<(), Failure> {
        self.host.sweep().await;
        self.host.podman.folder = Some(on.space.meta());
        self.unsure = true;
        let config = &on.shared.config;
        let auth = image::write_auth(on).map_err(|e| workspace::unwritable(&on.space.meta(), &e))?;
        let wanted = on.job.image.clone().filter(|image| !image.name.is_empty());
        let wanted = wanted
            .or_else(|| {
                let name = config.podman.default_image.clone()?;
                Some(bascule_wire::runner::Image {
                    name,
                    ..bascule_wire::runner::Image::default()
                })
            })
            .ok_or_else(|| {
                image::refused(
                    "it runs in containers, for its `services` or because the runner runs all jobs so, but names no `image`, \
                     and the runner has no default image. Name one with `image:`, or set the runner's `default_image`",
                )
            })?;
        self.image = Some(
            image::take(
                &self.host.podman,
                on,
                &wanted,
                &auth,
                &config.podman.allowed_images,
            )
            .await?,
        );
        let open = on.reach() == Reach::Open;
        if open || !on.job.services.is_empty() {
            self.network =
                Some(Network::create(&self.host, &self.key, open, image::server_port(config)).await?);
        }
        // Their names first: each service finds the others.
        let mut taken = BTreeMap::new();
        for wanted in &on.job.services {
            let service = service::named(on, wanted, &mut taken);
            self.services.push(service);
        }
        for (number, wanted) in on.job.services.iter().enumerate() {
            let image = image::take(
                &self.host.podman,
                on,
                wanted,
                &auth,
                &config.podman.allowed_services,
            )
            .await?;
            on.trace.line(&format!("Starting service {} …", image.name));
            let id = self.start_service(on, number, wanted, &image).await?;
            if let Some(folder) = step::layer(&self.host.podman, &id).await {
                self.folders.push(folder);
            }
            if let Some(service) = self.services.get_mut(number) {
                service.id = id;
                service.image = Some(image);
            }
        }
        service::wait_for(&self.host.podman, on, &self.services).await;
        self.unsure = false;
        Ok(())
    }

    async fn start(&mut self, on: &Ground<'_>, script: &[String]) -> Result<Box<dyn Process>, Failure> {
        for (bash, name) in [(true, "step.bash"), (false, "step.sh")] {
            let mut text = script::exports(&on.vars.environment());
            text.push_str(&script::render(bash, on.debug(), &on.project_dir, script));
            let path = on.space.scripts().join(name);
            workspace::write_readable(&path, text.as_bytes())
                .map_err(|e| workspace::unwritable(&path, &e))?;
        }
        if self.build.is_none() {
            self.unsure = true;
            self.build = Some(self.create(on).await?);
            self.unsure = false;
        }
        let id = self.build.clone().unwrap_or_default();
        let name = self
            .image
            .as_ref()
            .map(|image| image.name.clone())
            .unwrap_or_default();
        let mirrors = (on.reach() == Reach::Mirrors).then(|| Allowed::new(&on.shared.config));
        let step = step::Step::start(self.host.podman.clone(), id, &name, mirrors).await?;
        Ok(Box::new(step))
    }

    fn folders(&self) -> Vec<PathBuf> {
        self.folders.clone()
    }

    async fn settle(&mut self) {
        // They see the job's files.
        let ids: Vec<String> = self.services.drain(..).map(|service| service.id).collect();
        let ids: Vec<String> = ids.into_iter().filter(|id| !id.is_empty()).collect();
        self.host.remove_containers(&ids).await;
    }

    async fn clean(&mut self) {
        if self.unsure {
            self.host.remove(&format!("{JOB}={}", self.key)).await;
            return;
        }
        let mut ids: Vec<String> = self.build.take().into_iter().collect();
        ids.extend(self.services.drain(..).map(|service| service.id));
        ids.retain(|id| !id.is_empty());
        self.host.remove_containers(&ids).await;
        if let Some(network) = self.network.take() {
            self.host.remove_network(&network.name).await;
        }
    }
}
