//! The agent as a product that it installs itself: the driver `agent`. A new version is fetched, tried, put beside
//! the one that runs, and becomes this very process, so that the products that run go on. It proves itself by a
//! report that the hub takes; otherwise the version before it comes back and the hub hears why.

mod boot;
mod install;
mod state;

pub use boot::{Booted, boot};
pub(crate) use boot::{in_place, stage_of_this};
pub(crate) use install::live;

use crate::{Machine, handover};
use bascule_core::{Digest, InstanceId};
use state::{Installed, State};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::watch;

/// What the agent knows of its own versions.
#[derive(Debug)]
pub(crate) struct Upgrade {
    data: PathBuf,
    running: Option<Installed>,
    /// Whether what runs has proven itself.
    proven: watch::Sender<bool>,
    /// Which version each instance asks for; a machine runs one.
    claims: Mutex<BTreeMap<InstanceId, Digest>>,
}

impl Upgrade {
    pub(crate) fn new(data: &Path, booted: Booted) -> Self {
        Self {
            data: data.to_owned(),
            running: booted.running,
            proven: watch::Sender::new(!booted.trial),
            claims: Mutex::default(),
        }
    }

    fn is_proven(&self) -> bool {
        *self.proven.borrow()
    }

    async fn until_proven(&self) {
        // The sender is ours: it cannot be gone.
        drop(self.proven.subscribe().wait_for(|proven| *proven).await);
    }

    /// Notes that an instance asks for a version; the one that asks for another, if there is one.
    fn claim(&self, instance: InstanceId, artifact: &Digest) -> Option<InstanceId> {
        let mut claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
        let other = claims
            .iter()
            .find(|(id, asked)| **id != instance && *asked != artifact)
            .map(|(id, _)| *id);
        if other.is_none() {
            claims.insert(instance, artifact.clone());
        }
        other
    }

    fn let_go(&self, instance: InstanceId) {
        self.claims
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&instance);
    }

    /// What runs is good from now on.
    fn settle(&self) -> std::io::Result<()> {
        let mut state = State::load(&self.data);
        if let Some(trial) = state.trial.take() {
            state.good = Some(trial.what);
            state.failed = None;
            state.save(&self.data)?;
            let kept = state.good.as_ref().map(|good| good.artifact.hex().to_owned());
            for entry in std::fs::read_dir(self.data.join("versions"))?.flatten() {
                if Some(entry.file_name().to_string_lossy().as_ref()) != kept.as_deref() {
                    drop(std::fs::remove_dir_all(entry.path()));
                }
            }
        }
        Ok(())
    }
}

/// Sees a version on trial to its end. `heard` turns true when the hub has taken a report of this version.
pub(crate) async fn guard(machine: &Machine, mut heard: watch::Receiver<bool>) {
    let Some(upgrade) = machine.upgrade.as_ref().filter(|upgrade| !upgrade.is_proven()) else {
        return std::future::pending().await;
    };
    // No task is begun that a way back would lose.
    let quiet = machine.tasks.write().await;
    let state = State::load(&upgrade.data);
    let within = state.trial.as_ref().map_or(0, |trial| trial.within_ms);
    let within = Duration::from_millis(within);
    let hub_heard = async { heard.wait_for(|heard| *heard).await.is_ok() };
    if matches!(tokio::time::timeout(within, hub_heard).await, Ok(true)) {
        match upgrade.settle() {
            Ok(()) => {
                tracing::info!(version = machine.version, "this version has proven itself");
                upgrade.proven.send_replace(true);
                drop(quiet);
                return std::future::pending().await;
            }
            Err(error) => tracing::error!(%error, "that this version is good cannot be written down"),
        }
    }
    let reason = format!(
        "The hub took no report of it within {} s of its start; the version before it runs again.",
        within.as_secs_f32()
    );
    go_back(machine, upgrade, &reason).await;
    drop(quiet);
    std::future::pending::<()>().await;
}

async fn go_back(machine: &Machine, upgrade: &Upgrade, reason: &str) {
    tracing::error!(reason, "going back to the version before");
    let mut state = State::load(&upgrade.data);
    state.fail(reason);
    if let Err(error) = state.save(&upgrade.data) {
        tracing::error!(%error, "that this version failed cannot be written down");
    }
    let error = handover::become_program(machine, &state.back()).await;
    tracing::error!(%error, "the version before cannot be run; going on with this one");
}

/// The agent is stopped in order: nobody needs to bring another version back.
pub(crate) fn stopped(machine: &Machine) {
    let Some(upgrade) = machine.upgrade.as_ref().filter(|upgrade| !upgrade.is_proven()) else {
        return;
    };
    let mut state = State::load(&upgrade.data);
    state.fail(
        "The agent was stopped before this version had proven itself; the version before it runs again.",
    );
    if let Err(error) = state.save(&upgrade.data) {
        tracing::error!(%error, "the end of a trial cannot be written down");
    }
}
