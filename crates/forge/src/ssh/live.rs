//! Connections that are open, and the end of those whose key or rights are gone.

use super::ASK_AGAIN;
use crate::ports::Keys;
use bascule_core::{Caller, Permission};
use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio_util::sync::CancellationToken;

/// How many rounds between two looks at rights where nothing was appended to the ledger here: another replica
/// may have.
const ROUNDS: u32 = 3;

/// All open connections.
#[derive(Default)]
pub(crate) struct Live {
    next: AtomicU64,
    signed_in: Mutex<HashMap<u64, (String, CancellationToken)>>,
    running: Mutex<HashMap<u64, Running>>,
    by_address: Mutex<HashMap<IpAddr, usize>>,
}

/// A command on its way.
#[derive(Clone)]
struct Running {
    caller: Caller,
    group: String,
    project: String,
    needs: Permission,
    end: CancellationToken,
}

/// Takes an entry out when dropped.
pub(crate) struct Entry {
    live: Arc<Live>,
    kind: Kind,
}

enum Kind {
    SignedIn(u64),
    Running(u64),
    Address(IpAddr),
}

impl Drop for Entry {
    fn drop(&mut self) {
        match self.kind {
            Kind::SignedIn(id) => drop(lock(&self.live.signed_in).remove(&id)),
            Kind::Running(id) => drop(lock(&self.live.running).remove(&id)),
            Kind::Address(address) => {
                let mut all = lock(&self.live.by_address);
                if let Some(count) = all.get_mut(&address) {
                    *count -= 1;
                    if *count == 0 {
                        all.remove(&address);
                    }
                }
            }
        }
    }
}

impl Live {
    /// Counts a connection from an address; nothing where there are too many.
    pub(super) fn from_address(self: &Arc<Self>, address: IpAddr, most: usize) -> Option<Entry> {
        let mut all = lock(&self.by_address);
        let count = all.entry(address).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(self.entry(Kind::Address(address)))
    }

    /// Notes whose connection it is; `end` is cancelled when the key is gone.
    pub(super) fn signed_in(self: &Arc<Self>, fingerprint: String, end: CancellationToken) -> Entry {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        lock(&self.signed_in).insert(id, (fingerprint, end));
        self.entry(Kind::SignedIn(id))
    }

    /// Notes a command; `end` is cancelled when the caller may no longer do it.
    pub(super) fn running(
        self: &Arc<Self>,
        caller: &Caller,
        (group, project): (&str, &str),
        needs: Permission,
        end: CancellationToken,
    ) -> Entry {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let running = Running {
            caller: caller.clone(),
            group: group.to_owned(),
            project: project.to_owned(),
            needs,
            end,
        };
        lock(&self.running).insert(id, running);
        self.entry(Kind::Running(id))
    }

    fn entry(self: &Arc<Self>, kind: Kind) -> Entry {
        Entry {
            live: self.clone(),
            kind,
        }
    }

    /// Asks again and again about all that is open, until `stop`.
    pub(super) async fn watch(
        &self,
        keys: &dyn Keys,
        mut appended: tokio::sync::watch::Receiver<i64>,
        stop: CancellationToken,
    ) {
        let mut round = 0_u32;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(ASK_AGAIN) => {}
            }
            self.ask_keys(keys).await;
            round = round.wrapping_add(1);
            if appended.has_changed().unwrap_or(true) || round.is_multiple_of(ROUNDS) {
                appended.mark_unchanged();
                self.ask_rights(keys).await;
            }
        }
    }

    /// Waits until no command runs.
    pub(super) async fn wait_idle(&self) {
        while !lock(&self.running).is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }

    async fn ask_keys(&self, keys: &dyn Keys) {
        let asked: BTreeSet<String> = lock(&self.signed_in)
            .values()
            .map(|(fingerprint, _)| fingerprint.clone())
            .collect();
        if asked.is_empty() {
            return;
        }
        let asked: Vec<String> = asked.into_iter().collect();
        match keys.alive(&asked).await {
            Ok(alive) => {
                for (fingerprint, end) in lock(&self.signed_in).values() {
                    if asked.contains(fingerprint) && !alive.contains(fingerprint) {
                        end.cancel();
                    }
                }
            }
            Err(problem) => tracing::error!(%problem, "it is unknown whether SSH keys still hold"),
        }
    }

    async fn ask_rights(&self, keys: &dyn Keys) {
        let running: Vec<Running> = lock(&self.running).values().cloned().collect();
        for one in running {
            match keys.project(&one.caller, &one.group, &one.project).await {
                Ok(Some(scope)) if scope.holds(one.needs) => {}
                Ok(_) => one.end.cancel(),
                Err(problem) => tracing::error!(%problem, "it is unknown whether rights still hold"),
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
