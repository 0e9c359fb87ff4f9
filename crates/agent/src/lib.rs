//! The agent of an environment: makes what runs on its machine equal what the server desires, and tells what
//! truly runs. It asks the server and is never called by it. Artifacts are fetched by digest and unpacked
//! with suspicion; products run in a sandbox, are watched, started again and drained. When the server is away
//! the agent goes on with what was desired last, also after a restart of its own.

mod artifacts;
mod backoff;
mod board;
mod driver;
pub mod handover;
mod instance;
mod kept;
mod machine;
mod output;
pub mod plan;
mod probe;
mod sync;
mod task;
mod unpack;
pub mod upgrade;

use artifacts::Artifacts;
use bascule_client::{Client, Identity};
use bascule_core::{Clock, InstanceId, Problem, Result};
use bascule_wire::agent::{DesiredInstance, DesiredState, Driver as DriverKind, InstanceState};
use board::Board;
use driver::{podman::Containers, process::Sandboxed};
use instance::Instance;
use kept::Kept;
pub use machine::facts as machine_facts;
use machine::{Machine, Ports};
use plan::{Action, Observed, Told};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use task::Tasks;
use tokio::{
    sync::{RwLock, mpsc, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use upgrade::{Booted, Upgrade};

/// Longest time that what went on without an agent gets to be seen healthy before anything is reported. Reported
/// before, it would be taken out of traffic for want of news.
const SETTLE: Duration = Duration::from_secs(5);
/// Time that products get beyond their own grace when the agent stops.
const STOP: Duration = Duration::from_secs(5);

/// How an agent is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// The server's address.
    pub server_url: String,
    /// The agent's token.
    pub token: String,
    /// Where artifacts, unpacked products and the last desired state are kept. One agent each.
    pub data_dir: PathBuf,
    /// Dates reports.
    pub clock: Arc<dyn Clock>,
    /// The agent's version, for reports.
    pub version: String,
    /// Address on which products listen.
    pub host: IpAddr,
    /// Podman's configuration (`containers.conf`); `None` for the machine's own, or one that the agent writes
    /// where that does not work.
    pub containers_conf: Option<PathBuf>,
    /// Pause after a product's first crash; doubled with each further one, up to a minute.
    pub crash_pause: Duration,
    /// The certificate to show, and where it is kept, where the server wants one.
    pub identity: Option<(Identity, PathBuf)>,
    /// Which version of the agent runs, where it can become another one.
    pub booted: Option<Booted>,
    /// The cluster that instances of the driver `kubernetes` run in.
    pub kubernetes: Option<Kubernetes>,
}

/// A cluster, and where in it.
#[derive(Clone, Debug)]
pub struct Kubernetes {
    /// How to reach it; `None` in a pod of it, by its service account.
    pub kubeconfig: Option<PathBuf>,
    /// The namespace that instances run in; `{environment}` in it stands for the environment's name.
    pub namespace: String,
    /// `host:port` by which the cluster's nodes reach the server's registry; `None` for the server's own address.
    pub registry: Option<String>,
}

impl Config {
    /// The usual set-up: products on loopback.
    #[must_use]
    pub fn new(server_url: &str, token: &str, data_dir: impl Into<PathBuf>, clock: Arc<dyn Clock>) -> Self {
        Self {
            server_url: server_url.to_owned(),
            token: token.to_owned(),
            data_dir: data_dir.into(),
            clock,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            host: IpAddr::V4(Ipv4Addr::LOCALHOST),
            containers_conf: None,
            crash_pause: Duration::from_millis(500),
            identity: None,
            kubernetes: None,
            booted: None,
        }
    }
}

/// The agent.
#[derive(Clone, Debug)]
pub struct Agent {
    config: Config,
}

impl Agent {
    /// An agent that does not run yet.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self { config }
    }

    /// Runs until `cancel`; then ends all products.
    ///
    /// # Errors
    /// If the server's address is none, or the data directory cannot be used or is used by another agent. A
    /// server that is away is no error.
    pub async fn run(self, cancel: CancellationToken) -> Result<()> {
        let Config {
            server_url,
            token,
            data_dir,
            clock,
            version,
            host,
            containers_conf,
            crash_pause,
            identity,
            kubernetes,
            booted,
        } = self.config;
        let client = match &identity {
            Some((identity, _)) => Client::identified(&server_url, identity)?,
            None => Client::new(&server_url, Some(token))?,
        };
        let unusable = |error: std::io::Error| {
            Problem::new(
                500,
                "data_dir",
                format!("The agent cannot use {}.", data_dir.display()),
            )
            .why(error.to_string())
            .next("Check that it exists, is writable, and that no other agent uses it.")
        };
        let _lock = lock(&data_dir).map_err(unusable)?;
        let artifacts = Artifacts::open(data_dir.join("artifacts"), client.clone()).map_err(unusable)?;
        let (board, ports) = (Board::new(), Ports::default());
        let containers = Containers::new(&data_dir, containers_conf).map_err(unusable)?;
        let mut drivers = vec![DriverKind::Process];
        if containers.works().await {
            drivers.push(DriverKind::Podman);
        }
        let cluster = Box::pin(open_cluster(kubernetes, &client)).await?;
        if cluster.is_some() {
            drivers.push(DriverKind::Kubernetes);
        }
        if booted.is_some() {
            drivers.push(DriverKind::Agent);
        }
        let taken = handover::take(&data_dir);
        let going_on: Vec<DesiredInstance> = taken.values().map(|(told, _)| told.spec.clone()).collect();
        let (heard, hears) = watch::channel(false);
        let data_dir = data_dir.clone();
        let (settling, mut settled) = mpsc::channel(1);
        let machine = Machine {
            host,
            clock,
            version,
            board,
            artifacts,
            ports,
            sandboxed: Arc::new(Sandboxed { host }),
            containers: Arc::new(containers),
            #[cfg(feature = "kubernetes")]
            cluster,
            drivers,
            crash_pause,
            live: Mutex::default(),
            taken: Mutex::new(taken),
            starts: RwLock::default(),
            tasks: RwLock::default(),
            heard,
            upgrade: booted.map(|booted| Upgrade::new(&data_dir, booted)),
            data_dir,
            settling: Mutex::new(Some(settling)),
        };
        let machine = Arc::new(machine);
        let mut tasks = Tasks::open(Arc::clone(&machine), client.clone()).await;
        let kept = Kept::new(&machine.data_dir);
        let known = kept.read();
        // Processes of an agent before this one died with it. Its containers did not: those that are still
        // wanted are gone on with.
        let wanted = known
            .iter()
            .flat_map(|state| &state.instances)
            .map(|instance| instance.instance.to_string());
        machine
            .containers
            .sweep(&wanted.chain(tasks.open_names()).collect())
            .await;
        let kept_folders = going_on.iter().map(|spec| spec.instance.to_string()).collect();
        if let Err(error) = instance::wipe_but(&machine.instances_folder(), &kept_folders) {
            tracing::warn!(%error, "folders of earlier instances cannot be removed");
        }
        let mut agency = Agency::new(Arc::clone(&machine), kept);
        // What becomes of them is planned as of all that runs.
        for spec in going_on {
            agency.start(spec, Told::Run);
        }
        if let Some(state) = &known {
            agency.carry_out(state);
        }
        drop(
            machine
                .settling
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
        tokio::select! {
            () = cancel.cancelled() => {}
            // Nobody sends; the end is heard when the last instance lets go.
            _ = settled.recv() => {}
            () = tokio::time::sleep(SETTLE) => {}
        }
        // Tasks are begun at the server's present word only.
        let desired = watch::Sender::new(known.map(Arc::new));
        tokio::select! {
            () = cancel.cancelled() => {}
            () = Box::pin(agency.reconcile(desired.subscribe())) => {}
            () = Box::pin(tasks.follow(desired.subscribe())) => {}
            () = Box::pin(sync::follow(&client, &machine, &desired)) => {}
            () = Box::pin(sync::report(&client, &machine, desired.subscribe())) => {}
            () = Box::pin(upgrade::guard(&machine, hears)) => {}
            () = Box::pin(fresh(identity, &client, &machine)) => {}
        }
        upgrade::stopped(&machine);
        agency.end().await;
        tasks.end().await;
        machine.containers.sweep(&BTreeSet::new()).await;
        Ok(())
    }
}

/// Keeps the certificate fresh, where there is one.
async fn fresh(identity: Option<(Identity, PathBuf)>, client: &Client, machine: &Machine) {
    match identity {
        Some((identity, file)) => {
            let now = || machine.clock.now();
            identity.keep_fresh(client.clone(), file, now).await;
        }
        None => std::future::pending().await,
    }
}

/// The cluster that instances run in, if there is to be one.
#[cfg(feature = "kubernetes")]
async fn open_cluster(
    settings: Option<Kubernetes>,
    client: &Client,
) -> Result<Option<Arc<driver::kubernetes::Cluster>>> {
    let Some(settings) = settings else { return Ok(None) };
    let cluster = driver::kubernetes::Cluster::open(settings, client.clone()).await?;
    Ok(Some(Arc::new(cluster)))
}

/// This build knows no cluster.
#[cfg(not(feature = "kubernetes"))]
async fn open_cluster(settings: Option<Kubernetes>, _: &Client) -> Result<Option<()>> {
    match settings {
        None => Ok(None),
        Some(_) => Err(
            Problem::invalid("no_driver", "This agent was built without the driver kubernetes.")
                .next("Use a build with it: the feature `kubernetes` is on by default."),
        ),
    }
}

/// Holds a data directory for one agent.
fn lock(data_dir: &std::path::Path) -> std::io::Result<File> {
    std::fs::create_dir_all(data_dir)?;
    let file = File::options()
        .create(true)
        .append(true)
        .open(data_dir.join("agent.lock"))?;
    file.try_lock().map_err(std::io::Error::from)?;
    Ok(file)
}

/// An instance that is looked after.
struct Ward {
    spec: DesiredInstance,
    told: watch::Sender<Told>,
    /// What looks after it, where the instance itself is to outlive the agent.
    outlives: Option<tokio::task::AbortHandle>,
}

/// Looks after all instances.
struct Agency {
    machine: Arc<Machine>,
    kept: Kept,
    wards: BTreeMap<InstanceId, Ward>,
    gone: BTreeSet<InstanceId>,
    tasks: JoinSet<InstanceId>,
}

impl Agency {
    fn new(machine: Arc<Machine>, kept: Kept) -> Self {
        Self {
            machine,
            kept,
            wards: BTreeMap::new(),
            gone: BTreeSet::new(),
            tasks: JoinSet::new(),
        }
    }

    /// Carries out one plan after the other, as what is desired or what runs changes.
    async fn reconcile(&mut self, mut desired: watch::Receiver<Option<Arc<DesiredState>>>) {
        let mut garbage = tokio::time::interval(artifacts::GARBAGE_EVERY);
        let mut revision = desired.borrow().as_ref().map(|state| state.revision);
        let mut sweeps: JoinSet<()> = JoinSet::new();
        #[cfg(feature = "kubernetes")]
        let mut heard = false;
        loop {
            let state = desired.borrow_and_update().clone();
            if let Some(state) = &state {
                if revision != Some(state.revision) {
                    revision = Some(state.revision);
                    self.keep(state).await;
                }
                self.carry_out(state);
                // Only at the server's own word: what was kept may be of yesterday.
                #[cfg(feature = "kubernetes")]
                if std::mem::take(&mut heard)
                    && sweeps.is_empty()
                    && let Some(cluster) = self.machine.cluster.clone()
                {
                    sweeps.spawn(async move { cluster.sweep().await });
                }
            }
            tokio::select! {
                changed = desired.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    #[cfg(feature = "kubernetes")]
                    {
                        heard = true;
                    }
                }
                Some(ended) = self.tasks.join_next() => self.ended(ended),
                Some(_) = sweeps.join_next() => {}
                _ = garbage.tick() => {
                    if let Some(state) = &state {
                        self.collect_garbage(state).await;
                    }
                }
            }
        }
    }

    fn carry_out(&mut self, state: &DesiredState) {
        let wanted: BTreeSet<_> = state.instances.iter().map(|instance| instance.instance).collect();
        self.gone.retain(|instance| wanted.contains(instance));
        let observed = self.wards.iter().map(|(id, ward)| {
            (
                *id,
                Observed {
                    spec: ward.spec.clone(),
                    told: *ward.told.borrow(),
                },
            )
        });
        for action in plan::plan(state, &observed.collect(), &self.gone) {
            match action {
                Action::Start(spec) => self.start(*spec, Told::Run),
                Action::Tell(id, told) => {
                    if let Some(ward) = self.wards.get(&id) {
                        ward.told.send_replace(told);
                    }
                }
                // What runs in a cluster went on while no agent ran, and drains now.
                Action::Gone(spec) if self.machine.clustered(&spec) => {
                    let most = Duration::from_millis(spec.drain_ms.unwrap_or_default());
                    self.start(*spec, Told::Drain(most));
                }
                Action::Gone(spec) => {
                    self.machine.board.put(
                        &spec,
                        InstanceState::Stopped,
                        "It was not running when it was to drain.",
                    );
                    self.gone.insert(spec.instance);
                }
            }
        }
        let shown = self.wards.keys().chain(&self.gone).copied().collect();
        self.machine.board.keep(&shown);
    }

    fn start(&mut self, spec: DesiredInstance, told: Told) {
        let (told, receiver) = watch::channel(told);
        self.gone.remove(&spec.instance);
        #[cfg(feature = "kubernetes")]
        if let Some(cluster) = self
            .machine
            .cluster
            .as_ref()
            .filter(|_| self.machine.clustered(&spec))
        {
            let (machine, cluster) = (Arc::clone(&self.machine), Arc::clone(cluster));
            let life = driver::kubernetes::Life::new(machine, cluster, spec.clone(), receiver);
            let outlives = Some(self.tasks.spawn(life.live()));
            self.wards.insert(spec.instance, Ward { spec, told, outlives });
            return;
        }
        let machine = Arc::clone(&self.machine);
        if spec.driver == DriverKind::Agent {
            self.tasks.spawn(upgrade::live(machine, spec.clone(), receiver));
        } else {
            let instance = Instance::new(machine, spec.clone(), receiver);
            self.tasks.spawn(instance.live());
        }
        let ward = Ward {
            spec,
            told,
            outlives: None,
        };
        self.wards.insert(ward.spec.instance, ward);
    }

    fn ended(&mut self, ended: Result<InstanceId, tokio::task::JoinError>) {
        match ended {
            Ok(instance) => {
                self.wards.remove(&instance);
            }
            Err(error) => {
                tracing::error!(%error, "looking after an instance failed");
                // Which one it was is told by its end of the channel being closed.
                self.wards.retain(|_, ward| !ward.told.is_closed());
            }
        }
    }

    async fn keep(&self, state: &Arc<DesiredState>) {
        let (kept, state) = (self.kept.clone(), Arc::clone(state));
        let written = tokio::task::spawn_blocking(move || kept.write(&state)).await;
        if !matches!(written, Ok(Ok(()))) {
            tracing::error!(?written, "what is desired cannot be kept for a restart");
        }
    }

    async fn collect_garbage(&self, state: &DesiredState) {
        let of_tasks = state.tasks.iter().map(|task| task.artifact.digest.clone());
        let used: BTreeSet<_> = state
            .instances
            .iter()
            .map(|instance| instance.artifact.digest.clone())
            .chain(of_tasks)
            .collect();
        self.machine.containers.collect_garbage(&used).await;
        let machine = Arc::clone(&self.machine);
        let collected = tokio::task::spawn_blocking(move || machine.artifacts.collect_garbage(&used)).await;
        if !matches!(collected, Ok(Ok(()))) {
            tracing::warn!(?collected, "old artifacts cannot be removed");
        }
    }

    /// Ends all instances, side by side.
    async fn end(mut self) {
        for ward in self.wards.values() {
            match &ward.outlives {
                Some(task) => task.abort(),
                None => {
                    ward.told.send_replace(Told::Stop);
                }
            }
        }
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(instance::GRACE + STOP, all).await.is_err() {
            tracing::warn!("some instances are ended the hard way");
        }
        // Dropping what is left kills it.
        self.tasks.shutdown().await;
    }
}

#[cfg(test)]
mod test_support;
