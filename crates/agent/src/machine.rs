//! What all instances on this machine share.

use crate::{artifacts::Artifacts, board::Board};
use bascule_core::{Clock, InstanceId};
use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, SocketAddr, TcpListener},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

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
    /// Pause after a first crash.
    pub(crate) crash_pause: Duration,
}

impl Machine {
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

    /// The instance is gone.
    pub(crate) fn give_back(&self, port: u16) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&port);
    }
}
