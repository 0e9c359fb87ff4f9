//! Takes jobs from any server of the GitLab runner protocol and runs them under bubblewrap or podman.
//!
//! Under bubblewrap a job sees its sources, a home and a temporary directory of its own, the machine's programs read-only, and
//! no network unless it may and asks. Its log is masked, bounded and sent while it grows. When the server is
//! away, jobs go on and report afterwards; when the runner was killed, the next start tells the server.

mod api;
mod archive;
mod cache;
mod context;
mod executor;
mod files;
mod git;
mod glob;
mod ground;
mod job;
#[cfg(feature = "kubernetes")]
mod kubernetes;
mod kubernetes_config;
mod last_words;
mod mask;
mod open_way;
mod quota;
mod ready;
mod remote;
mod report;
mod script;
mod stop;
mod trace;
mod vars;
mod way_out;
mod workspace;

pub use executor::{
    ExecutorKind,
    podman::{PullPolicy, check_volume},
};
#[cfg(feature = "kubernetes")]
pub use kubernetes::run_in_pod;
pub use kubernetes_config::KubernetesConfig;
pub use remote::S3;

use api::{Api, JobRef};
use bascule_client::{Client, Retry};
use bascule_core::{Clock, Problem, Result, SystemClock, limits};
use bascule_sandbox::Sandbox;
use bascule_wire::runner::FailureReason;
use serde::{Deserialize, Serialize};
use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{sync::Semaphore, task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

/// Time for jobs to report once they were told to end.
const LAST_WORDS: Duration = Duration::from_secs(20);
/// A request that hung this long was held open by the server, so the next may follow at once.
const LONG_POLLED: Duration = Duration::from_secs(1);

/// Whether jobs get a network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetworkPolicy {
    /// None does.
    Never,
    /// All, but to the server and to mirrors alone, through a proxy.
    Mirrors,
    /// Those whose variable `BASCULE_NETWORK` is `on`; where it is `mirrors`, as [`NetworkPolicy::Mirrors`].
    #[default]
    OnRequest,
    /// All do.
    Always,
}

/// A file or directory of the machine shown to every job, such as a toolchain.
#[derive(Clone, Debug)]
pub struct Bind {
    /// On the machine.
    pub from: PathBuf,
    /// Inside the sandbox.
    pub to: String,
    /// Whether jobs may write it. Then they share it.
    pub writable: bool,
}

/// What one job may use.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Limits {
    /// Memory, in bytes.
    pub memory_bytes: u64,
    /// Processors, in parts of one; all of the machine's if unset.
    pub cpus: Option<f64>,
    /// Processes and threads.
    pub pids: u64,
    /// Space on disk for all that a job writes, its sources included, in bytes.
    pub disk_bytes: u64,
    /// Files, folders and links that a job has, its sources included.
    pub disk_entries: u64,
    /// Open files of each process.
    pub open_files: u64,
    /// Size of each file, in bytes.
    pub file_bytes: u64,
    /// Longest time, whatever the job asks for.
    pub timeout: Duration,
    /// Longest log kept, in bytes.
    pub log_bytes: usize,
    /// What one archive may unpack to, in bytes.
    pub unpacked_bytes: u64,
    /// Entries that one archive may hold.
    pub unpacked_entries: usize,
    /// All caches together, in bytes.
    pub cache_bytes: u64,
    /// All object caches together, in bytes; looked at when the runner starts.
    pub git_cache_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: 4 << 30,
            cpus: None,
            pids: 1024,
            disk_bytes: 20 << 30,
            disk_entries: 1_000_000,
            open_files: 8192,
            file_bytes: 8 << 30,
            timeout: Duration::from_secs(6 * 3600),
            // The server's own limit, less some room for its words.
            log_bytes: usize::try_from(limits::JOB_LOG_BYTES).unwrap_or(usize::MAX) - (128 << 10),
            unpacked_bytes: 4 << 30,
            unpacked_entries: 200_000,
            cache_bytes: 10 << 30,
            git_cache_bytes: 20 << 30,
        }
    }
}

/// How jobs run in containers.
#[derive(Clone, Debug)]
pub struct PodmanConfig {
    /// The image of jobs that name none, where all jobs run in containers.
    pub default_image: Option<String>,
    /// When images are pulled, best first; a job's own word counts over it.
    pub pull_policy: Vec<PullPolicy>,
    /// Registries and what to ask in their place, as in `docker.io` and `http://mirror.example.org:5000`.
    pub mirrors: Vec<(String, String)>,
    /// Patterns of images that jobs may name; all if empty.
    pub allowed_images: Vec<String>,
    /// Patterns of images that services may name; all if empty.
    pub allowed_services: Vec<String>,
    /// Time that services have until they listen.
    pub service_wait: Duration,
    /// Podman's configuration; else the machine's own, or one written where that does not work.
    pub settings: Option<PathBuf>,
    /// What every container of a job has, in GitLab's words: `/host:/path:ro`, `name:/path`, or `/path` alone for a
    /// volume that the project keeps from job to job.
    pub volumes: Vec<String>,
}

impl Default for PodmanConfig {
    fn default() -> Self {
        Self {
            default_image: None,
            pull_policy: vec![PullPolicy::IfNotPresent],
            mirrors: Vec::new(),
            allowed_images: Vec::new(),
            allowed_services: Vec::new(),
            service_wait: Duration::from_secs(30),
            settings: None,
            volumes: Vec::new(),
        }
    }
}

/// How a runner works.
#[derive(Clone, Debug)]
pub struct Config {
    /// The server's address.
    pub url: String,
    /// The runner's token.
    pub token: String,
    /// What people call the runner.
    pub name: String,
    /// Tells several machines with one token apart.
    pub system_id: String,
    /// Jobs at once.
    pub concurrency: usize,
    /// Where jobs' directories are made; for this runner alone.
    pub builds_dir: PathBuf,
    /// Where caches are kept.
    pub cache_dir: PathBuf,
    /// An object store that keeps them in place of the directory, for several runners.
    pub cache_s3: Option<S3>,
    /// Whether the server keeps them where it can, so that all its runners share them; the directory's else.
    pub cache_at_server: bool,
    /// Where jobs run.
    pub executor: ExecutorKind,
    /// How they run in containers.
    pub podman: PodmanConfig,
    /// How they run as pods of a cluster.
    pub kubernetes: KubernetesConfig,
    /// Whether jobs get a network.
    pub network_policy: NetworkPolicy,
    /// Whether jobs under bubblewrap whose network is open have the machine's own, with its loopback and all that listens
    /// there. Else they have one that leads out and not to the machine.
    pub host_network: bool,
    /// Where jobs may go that reach mirrors alone: `mirror.example.org`, `*.example.org:443`, or an address.
    pub network_mirrors: Vec<String>,
    /// Variables for every job, such as package registries' addresses; a job's own count over them.
    pub job_variables: Vec<(String, String)>,
    /// What else of the machine every job sees.
    pub binds: Vec<Bind>,
    /// What one job may use.
    pub limits: Limits,
    /// Pause before asking again a server that answers at once that there is nothing.
    pub poll_interval: Duration,
    /// Time that running jobs have to end by themselves when the runner is stopped.
    pub drain_grace: Duration,
    /// Time during which a job's result is offered to a server that is away.
    pub report_patience: Duration,
    /// Where git objects of projects are kept, so that each is fetched once; each job fetches all if unset.
    pub git_cache: Option<PathBuf>,
    /// Protocols by which git may fetch, colon separated.
    pub git_protocols: String,
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
}

impl Config {
    /// A runner of the server at `url` that keeps its files in `dir`.
    #[must_use]
    pub fn new(url: impl Into<String>, token: impl Into<String>, dir: &Path) -> Self {
        Self {
            url: url.into(),
            token: token.into(),
            name: "bascule-runner".to_owned(),
            system_id: "s_bascule".to_owned(),
            concurrency: 2,
            builds_dir: dir.join("builds"),
            cache_dir: dir.join("cache"),
            cache_s3: None,
            cache_at_server: true,
            executor: ExecutorKind::default(),
            podman: PodmanConfig::default(),
            kubernetes: KubernetesConfig::default(),
            network_policy: NetworkPolicy::OnRequest,
            host_network: false,
            network_mirrors: Vec::new(),
            job_variables: Vec::new(),
            binds: Vec::new(),
            limits: Limits::default(),
            poll_interval: Duration::from_secs(3),
            drain_grace: Duration::from_secs(10),
            report_patience: Duration::from_secs(15 * 60),
            git_cache: Some(dir.join("git")),
            git_protocols: "http:https".to_owned(),
            clock: Arc::new(SystemClock),
        }
    }
}

/// What all jobs of a runner share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) api: Arc<Api>,
    /// Podman, where this runner may use it and it is here.
    pub(crate) containers: Option<executor::podman::Host>,
    /// The object store of caches.
    pub(crate) remote: Option<remote::Remote>,
    /// The cluster, where jobs run as pods of one.
    #[cfg(feature = "kubernetes")]
    pub(crate) cluster: Option<kubernetes::Cluster>,
}

/// A runner. Make it, then [`Runner::run`] it.
#[derive(Debug)]
pub struct Runner {
    shared: Arc<Shared>,
    /// Held as long as the runner lives.
    _lock: File,
}

impl Runner {
    /// Prepares a runner: its directories, and whether the machine can run jobs at all.
    ///
    /// # Errors
    /// If bubblewrap is missing or not allowed, or another runner uses the directories.
    pub async fn new(config: Config) -> Result<Self> {
        if matches!(config.executor, ExecutorKind::Auto | ExecutorKind::Bubblewrap) {
            Sandbox::available().await?;
        }
        let lock = workspace::lock(&config.builds_dir)?;
        std::fs::create_dir_all(&config.cache_dir)
            .map_err(|e| workspace::unwritable(&config.cache_dir, &e))?;
        let containers = match config.executor {
            ExecutorKind::Bubblewrap | ExecutorKind::Kubernetes => None,
            ExecutorKind::Auto | ExecutorKind::Podman => executor::podman::Host::find(&config)?,
        };
        if containers.is_none() && config.executor == ExecutorKind::Podman {
            return Err(
                Problem::new(503, "podman_missing", "Podman is not installed on this machine.")
                    .why("The runner was set up to run all jobs in containers.")
                    .next("Install it: `apt install podman runc netavark`."),
            );
        }
        let api = Arc::new(Api::new(
            Client::new(&config.url, None)?,
            config.token.clone(),
            config.system_id.clone(),
            config.executor.told(containers.is_some()),
        ));
        let remote = config.cache_s3.as_ref().map(remote::Remote::new).transpose()?;
        #[cfg(not(feature = "kubernetes"))]
        if config.executor == ExecutorKind::Kubernetes {
            return Err(
                Problem::new(501, "no_kubernetes", "This program was built without Kubernetes.")
                    .why("The runner was set up with `executor = kubernetes`.")
                    .next("Build it with the feature `kubernetes`, or choose another executor."),
            );
        }
        let shared = Shared {
            remote,
            #[cfg(feature = "kubernetes")]
            cluster: match config.executor {
                ExecutorKind::Kubernetes => Some(kubernetes::Cluster::open(&config).await?),
                _ => None,
            },
            config,
            api,
            containers,
        };
        Ok(Self {
            shared: Arc::new(shared),
            _lock: lock,
        })
    }

    /// Asks the server whether it knows this runner.
    ///
    /// # Errors
    /// If it does not, or is not there.
    pub async fn verify(&self) -> Result<()> {
        self.shared.api.verify().await
    }

    /// Takes and runs jobs until `cancel`, then lets running ones end within the grace configured.
    ///
    /// # Errors
    /// If the server refuses this runner's token. A server that is away is waited for.
    pub async fn run(self, cancel: CancellationToken) -> Result<()> {
        let config = &self.shared.config;
        let mut jobs = JoinSet::new();
        for (space, job) in workspace::stale(&config.builds_dir) {
            let shared = Arc::clone(&self.shared);
            jobs.spawn(async move { recover(&shared, space, job).await });
        }
        let shared = Arc::clone(&self.shared);
        jobs.spawn(async move {
            let (url, concurrency) = (&shared.config.url, shared.config.concurrency);
            let executor = shared.api.executor();
            match shared.api.verify().await {
                Ok(()) => tracing::info!(%url, executor, concurrency, "connected, waiting for jobs"),
                Err(problem) => tracing::warn!(%url, %problem, "the server does not answer yet"),
            }
        });
        if let Some(containers) = self.shared.containers.clone() {
            jobs.spawn(async move { containers.sweep().await });
        }
        #[cfg(feature = "kubernetes")]
        if let Some(cluster) = &self.shared.cluster {
            // Before the first job: a pod of this life must not be taken for one of the last.
            cluster.sweep().await;
        }
        if let Some(dir) = config.git_cache.clone() {
            let most = config.limits.git_cache_bytes;
            drop(tokio::task::spawn_blocking(move || git::make_room(&dir, most)));
        }
        let slots = Arc::new(Semaphore::new(config.concurrency.max(1)));
        let halt = CancellationToken::new();
        let ended = self.take_jobs(&cancel, &halt, &slots, &mut jobs).await;

        let all_done = async { while jobs.join_next().await.is_some() {} };
        if tokio::time::timeout(config.drain_grace, all_done).await.is_err() {
            tracing::info!(jobs = jobs.len(), "ending jobs that still run");
            halt.cancel();
            let all_done = async { while jobs.join_next().await.is_some() {} };
            if tokio::time::timeout(LAST_WORDS, all_done).await.is_err() {
                tracing::warn!(
                    jobs = jobs.len(),
                    "jobs could not be reported; the next start tells the server"
                );
            }
        }
        ended
    }

    async fn take_jobs(
        &self,
        cancel: &CancellationToken,
        halt: &CancellationToken,
        slots: &Arc<Semaphore>,
        jobs: &mut JoinSet<()>,
    ) -> Result<()> {
        let retry = Retry {
            attempts: u32::MAX,
            first: Duration::from_millis(200),
            most: Duration::from_secs(5),
        };
        let mut failures = 0_u32;
        loop {
            while jobs.try_join_next().is_some() {}
            let slot = tokio::select! {
                biased;
                () = cancel.cancelled() => return Ok(()),
                slot = Arc::clone(slots).acquire_owned() => slot.map_err(|_| Problem::internal())?,
            };
            let asked = Instant::now();
            let answer = tokio::select! {
                biased;
                () = cancel.cancelled() => return Ok(()),
                answer = self.shared.api.request_job() => answer,
            };
            let pause = match answer {
                Ok(Some(job)) => {
                    failures = 0;
                    let (shared, halt) = (Arc::clone(&self.shared), halt.clone());
                    jobs.spawn(async move {
                        run_job(shared, job, halt).await;
                        drop(slot);
                    });
                    continue;
                }
                Ok(None) => {
                    failures = 0;
                    if asked.elapsed() >= LONG_POLLED {
                        Duration::ZERO
                    } else {
                        self.shared.config.poll_interval
                    }
                }
                Err(problem) if matches!(problem.status, 401 | 403) => {
                    return Err(
                        Problem::new(403, "runner_refused", "The server refuses this runner.")
                            .why(format!(
                                "{} The runner's token is wrong or was withdrawn.",
                                problem.what
                            ))
                            .next("Register the runner again and give it the new token."),
                    );
                }
                Err(problem) => {
                    if failures == 0 {
                        tracing::warn!(%problem, "no job can be asked for; trying again");
                    }
                    failures += 1;
                    retry.pause(failures)
                }
            };
            drop(slot);
            tokio::select! {
                () = cancel.cancelled() => return Ok(()),
                () = tokio::time::sleep(pause) => {}
            }
        }
    }
}

async fn run_job(shared: Arc<Shared>, job: bascule_wire::runner::Job, halt: CancellationToken) {
    #[cfg(feature = "kubernetes")]
    if shared.cluster.is_some() {
        return Box::pin(kubernetes::run(&shared, job, halt)).await;
    }
    Box::pin(job::run(shared, job, halt)).await;
}

/// Tells the server of a job that ended with the runner's last life, and removes what it left.
async fn recover(shared: &Shared, space: workspace::Workspace, job: Option<JobRef>) {
    if let Some(job) = &job {
        tracing::info!(job = %job.id, "the runner was killed while this job ran; telling the server");
        let words = " (system failure): the runner was killed while the job ran";
        last_words::say(&shared.api, job, words, FailureReason::RunnerSystemFailure).await;
    }
    space.wipe().await;
}
