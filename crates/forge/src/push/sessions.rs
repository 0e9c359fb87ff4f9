//! Pushes that are on their way.

use super::ahead::Ahead;
use crate::ProjectInfo;
use bascule_core::{Actor, Caller, ProjectId, UserId};
use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};
use tokio::sync::{Notify, OwnedMutexGuard, Semaphore};

/// All pushes of this process, and the locks of projects.
pub(crate) struct Pushes {
    socket: PathBuf,
    turns: Arc<Semaphore>,
    running: Mutex<HashMap<String, Arc<Session>>>,
    locks: Mutex<HashMap<ProjectId, Arc<tokio::sync::Mutex<()>>>>,
    /// Projects pushed to since they were last packed.
    soiled: Mutex<HashSet<ProjectId>>,
    changed: Notify,
    /// What is found out of pushes before git asks.
    ahead: Ahead,
}

/// One push.
pub(crate) struct Session {
    id: String,
    secret: String,
    pub(crate) project: Arc<ProjectInfo>,
    pub(crate) actor: Actor,
    /// The account behind it, where there is one.
    pub(crate) user: Option<UserId>,
    pub(crate) may_protected: bool,
    /// What the client said with `-o`.
    options: OnceLock<Vec<String>>,
    /// Branches that it was let through to make or move.
    branches: OnceLock<Vec<String>>,
    /// What it adds on disk, in bytes; known once it was measured in quarantine.
    bytes: AtomicU64,
    accepted: AtomicBool,
    /// Held from the judgement until the facts are durable, so that facts come in the order in which
    /// references moved.
    lock: Mutex<Option<OwnedMutexGuard<()>>>,
}

impl Session {
    /// Names the push's intents.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// What the hook proves itself with.
    pub(crate) fn secret(&self) -> &str {
        &self.secret
    }

    /// What the client said with `git push -o`, in order; known once the hook has asked.
    pub(crate) fn options(&self) -> &[String] {
        self.options.get().map_or(&[], Vec::as_slice)
    }

    pub(super) fn set_options(&self, options: Vec<String>) {
        // The hook asks once.
        drop(self.options.set(options));
    }

    /// Branches that it was let through to make or move; none before its judgement.
    pub(crate) fn branches(&self) -> &[String] {
        self.branches.get().map_or(&[], Vec::as_slice)
    }

    pub(super) fn set_branches(&self, branches: Vec<String>) {
        drop(self.branches.set(branches));
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn set_bytes(&self, bytes: u64) {
        self.bytes.store(bytes, Ordering::Relaxed);
    }

    /// Whether the hook let it through, so that references may move at any moment.
    pub(crate) fn accepted(&self) -> bool {
        self.accepted.load(Ordering::SeqCst)
    }

    pub(super) fn accept(&self, lock: OwnedMutexGuard<()>) {
        *self.lock.lock().unwrap_or_else(PoisonError::into_inner) = Some(lock);
        self.accepted.store(true, Ordering::SeqCst);
    }

    pub(super) fn release(&self) {
        drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

impl Pushes {
    pub(crate) fn new(socket: PathBuf, processes: usize) -> Self {
        Self {
            socket,
            turns: Arc::new(Semaphore::new(processes.max(1))),
            running: Mutex::default(),
            locks: Mutex::default(),
            soiled: Mutex::default(),
            changed: Notify::new(),
            ahead: Ahead::default(),
        }
    }

    /// Notes that a project has new objects.
    pub(crate) fn soil(&self, project: ProjectId) {
        self.soiled
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(project);
        self.changed.notify_one();
    }

    /// Wakes whoever waits for that, for other work.
    pub(crate) fn wake(&self) {
        self.changed.notify_one();
    }

    /// Waits until some project has.
    pub(crate) async fn wait_soiled(&self) {
        self.changed.notified().await;
    }

    /// Takes them all.
    pub(crate) fn take_soiled(&self) -> Vec<ProjectId> {
        self.soiled
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .drain()
            .collect()
    }

    /// What is found out of pushes before git asks.
    pub(crate) fn ahead(&self) -> &Ahead {
        &self.ahead
    }

    /// Where the hook asks.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// One permit per git process that serves a client.
    pub(crate) fn turns(&self) -> Arc<Semaphore> {
        self.turns.clone()
    }

    /// Notes a push that begins.
    pub(crate) fn begin(
        &self,
        project: Arc<ProjectInfo>,
        caller: &Caller,
        may_protected: bool,
    ) -> Arc<Session> {
        let session = Arc::new(Session {
            id: uuid::Uuid::now_v7().simple().to_string(),
            secret: hex::encode(rand::random::<[u8; 32]>()),
            project,
            actor: caller.actor.clone(),
            user: caller.person(),
            may_protected,
            options: OnceLock::new(),
            branches: OnceLock::new(),
            bytes: AtomicU64::new(0),
            accepted: AtomicBool::new(false),
            lock: Mutex::new(None),
        });
        self.running().insert(session.secret.clone(), session.clone());
        session
    }

    /// Forgets a push that has ended.
    pub(crate) fn end(&self, session: &Session) {
        self.running().remove(&session.secret);
        session.release();
    }

    /// The push of this secret.
    pub(super) fn by_secret(&self, secret: &str) -> Option<Arc<Session>> {
        self.running().get(secret).cloned()
    }

    /// Whether a push with this identifier is on its way.
    pub(super) fn is_running(&self, id: &str) -> bool {
        self.running().values().any(|session| session.id == id)
    }

    /// Whether anything is being pushed to this project.
    pub(crate) fn busy(&self, project: ProjectId) -> bool {
        self.running()
            .values()
            .any(|session| session.project.id == project)
    }

    /// The project's lock.
    pub(crate) fn lock(&self, project: ProjectId) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        if locks.len() > 10_000 {
            locks.retain(|_, lock| Arc::strong_count(lock) > 1);
        }
        locks.entry(project).or_default().clone()
    }

    fn running(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Session>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
