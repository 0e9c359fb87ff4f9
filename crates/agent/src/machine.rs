//! What all instances on this machine share.

use crate::{
    artifacts::Artifacts,
    board::Board,
    driver::{Driver, Unknown, podman::Containers, process::Sandboxed},
    handover::{self, Live, Taken},
    upgrade::Upgrade,
};
use bascule_core::{Clock, InstanceId};
use bascule_sandbox::Running;
use bascule_wire::agent::{Driver as DriverKind, MachineFacts, Resources};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{IpAddr, SocketAddr, TcpListener},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::{RwLock, mpsc, watch};

/// The machine as the agent uses it.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) data_dir: PathBuf,
    /// Where products listen.
    pub(crate) host: IpAddr,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) version: String,
    pub(crate) board: Board,
    pub(crate) artifacts: Artifacts,
    pub(crate) ports: Ports,
    pub(crate) sandboxed: Arc<Sandboxed>,
    pub(crate) containers: Arc<Containers>,
    /// The cluster that instances run in, where there is one.
    #[cfg(feature = "kubernetes")]
    pub(crate) cluster: Option<Arc<crate::driver::kubernetes::Cluster>>,
    /// Drivers that work here.
    pub(crate) drivers: Vec<DriverKind>,
    /// Pause after a first crash.
    pub(crate) crash_pause: Duration,
    /// Instances that could be handed over to another version of the agent just now.
    pub(crate) live: Mutex<BTreeMap<InstanceId, Live>>,
    /// Instances that the version before handed over and that are still to be gone on with.
    pub(crate) taken: Mutex<Taken>,
    /// Read while an instance is being started, written for the step to another version.
    pub(crate) starts: RwLock<()>,
    /// Read while a task runs, written for the step to another version.
    pub(crate) tasks: RwLock<()>,
    /// Turns true when the hub has taken a report.
    pub(crate) heard: watch::Sender<bool>,
    /// The agent's own versions, where it can change them.
    pub(crate) upgrade: Option<Upgrade>,
    /// While the agent starts: held by each instance of which it is not known yet how it is.
    pub(crate) settling: Mutex<Option<mpsc::Sender<()>>>,
}

impl Machine {
    /// What runs instances of a kind.
    pub(crate) fn driver(&self, kind: DriverKind) -> Arc<dyn Driver> {
        match kind {
            DriverKind::Process => Arc::clone(&self.sandboxed) as Arc<dyn Driver>,
            DriverKind::Podman if self.drivers.contains(&kind) => {
                Arc::clone(&self.containers) as Arc<dyn Driver>
            }
            #[cfg(feature = "kubernetes")]
            DriverKind::Kubernetes => match &self.cluster {
                Some(cluster) => Arc::new(crate::driver::kubernetes::Jobs(Arc::clone(cluster))),
                None => Arc::new(Unknown(kind)),
            },
            kind => Arc::new(Unknown(kind)),
        }
    }

    /// Whether an instance runs in a cluster that this agent looks after.
    pub(crate) fn clustered(&self, spec: &bascule_wire::agent::DesiredInstance) -> bool {
        spec.driver == DriverKind::Kubernetes && self.drivers.contains(&DriverKind::Kubernetes)
    }

    /// What an instance holds until it is known how it is; `None` once the agent has started.
    pub(crate) fn settling(&self) -> Option<mpsc::Sender<()>> {
        self.settling
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// What the version before handed over of an instance, once.
    pub(crate) fn take_over(&self, instance: InstanceId) -> Option<(handover::Instance, Running)> {
        self.taken
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&instance)
    }

    /// A folder for each task.
    pub(crate) fn tasks_folder(&self) -> PathBuf {
        self.data_dir.join("tasks")
    }

    /// All instances' folders.
    pub(crate) fn instances_folder(&self) -> PathBuf {
        self.data_dir.join("instances")
    }

    /// One instance's folder.
    pub(crate) fn instance_folder(&self, instance: InstanceId) -> PathBuf {
        self.instances_folder().join(instance.to_string())
    }

    /// Free space for artifacts, in bytes; 0 where the system does not tell.
    pub(crate) fn disk_free(&self) -> u64 {
        rustix::fs::statvfs(&self.data_dir).map_or(0, |found| found.f_bavail.saturating_mul(found.f_frsize))
    }

    /// What the machine has left; 0 for what the system does not tell.
    pub(crate) fn resources(&self) -> Resources {
        let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        Resources {
            disk_total_bytes: rustix::fs::statvfs(&self.data_dir)
                .map_or(0, |found| found.f_blocks.saturating_mul(found.f_frsize)),
            memory_total_bytes: memory_line(&memory, "MemTotal:"),
            memory_free_bytes: memory_line(&memory, "MemAvailable:"),
            load_milli: load_milli(&load),
        }
    }
}

/// A line of the kernel's memory report, in bytes.
fn memory_line(report: &str, name: &str) -> u64 {
    report
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|kibibytes| kibibytes.parse::<u64>().ok())
        .map_or(0, |kibibytes| kibibytes.saturating_mul(1024))
}

/// The load over one minute, times 1000.
fn load_milli(report: &str) -> u64 {
    let first = report.split_whitespace().next().unwrap_or_default();
    let (whole, part) = first.split_once('.').unwrap_or((first, ""));
    let part: String = part.chars().chain("000".chars()).take(3).collect();
    match (whole.parse::<u64>(), part.parse::<u64>()) {
        (Ok(whole), Ok(part)) => whole.saturating_mul(1000).saturating_add(part),
        _ => 0,
    }
}

/// What this machine is.
#[must_use]
pub fn facts() -> MachineFacts {
    let system = rustix::system::uname();
    MachineFacts {
        host_name: system.nodename().to_string_lossy().into_owned(),
        os: format!(
            "{} {}",
            system.sysname().to_string_lossy(),
            system.release().to_string_lossy()
        ),
        architecture: system.machine().to_string_lossy().into_owned(),
        cpus: std::thread::available_parallelism()
            .ok()
            .and_then(|count| u32::try_from(count.get()).ok())
            .unwrap_or(0),
    }
}

/// Ports that were given to instances, so that no two get the same before the first listens.
#[derive(Debug, Default)]
pub(crate) struct Ports(Mutex<BTreeSet<u16>>);

impl Ports {
    /// A free port.
    pub(crate) fn take(&self, host: IpAddr) -> io::Result<u16> {
        let mut given = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Held until one is found, so that the system does not offer the same again.
        let mut held = Vec::new();
        for _ in 0..100 {
            let listener = TcpListener::bind(SocketAddr::new(host, 0))?;
            let port = listener.local_addr()?.port();
            if given.insert(port) {
                return Ok(port);
            }
            held.push(listener);
        }
        Err(io::Error::from(io::ErrorKind::AddrInUse))
    }

    /// What was found running has this port.
    pub(crate) fn claim(&self, port: u16) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(port);
    }

    /// The instance is gone.
    pub(crate) fn give_back(&self, port: u16) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&port);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_reports_are_read_and_nonsense_is_zero() {
        let memory = "MemTotal:       24684092 kB\nMemFree: 1 kB\nMemAvailable:   20395142 kB\n";
        assert_eq!(memory_line(memory, "MemTotal:"), 24_684_092 * 1024);
        assert_eq!(memory_line(memory, "MemAvailable:"), 20_395_142 * 1024);
        assert_eq!(memory_line("MemTotal: much", "MemTotal:"), 0);
        assert_eq!(load_milli("0.07 1.20 3.00 2/345 6789"), 70);
        assert_eq!(load_milli("12.5"), 12_500);
        assert_eq!(load_milli(""), 0);
    }
}
