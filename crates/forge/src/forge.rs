//! The forge itself: what its parts share.

use crate::{
    Config, OpenError, ProjectInfo,
    code::{Repositories, cache::Cache},
    git::Git,
    ports::{Issues, Keeper, Panels, People, Pipelines, Sight, Signers},
    push::{Pushes, hook::Listener},
    ssh::{HostKey, Live},
};
use bascule_core::{ProjectId, Timestamp};
use bascule_ledger::{Ledger, Subscriber};
use bascule_store::Db;
use bascule_web::Routes;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, OnceLock, PoisonError, RwLock},
    time::Duration,
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Git hosting, cheap to clone.
#[derive(Clone)]
pub struct Forge(Arc<Inner>);

struct Inner {
    db: Db,
    ledger: Ledger,
    config: Config,
    sight: Arc<dyn Sight>,
    git: Git,
    repositories: Repositories,
    pushes: Pushes,
    cache: Cache,
    known: RwLock<Known>,
    listener: Mutex<Option<Listener>>,
    pipelines: OnceLock<Arc<dyn Pipelines>>,
    people: OnceLock<Arc<dyn People>>,
    panels: OnceLock<Arc<dyn Panels>>,
    issues: OnceLock<Arc<dyn Issues>>,
    signers: OnceLock<Arc<dyn Signers>>,
    keeper: OnceLock<Arc<dyn Keeper>>,
    review_memory: crate::review::Memory,
    /// Something happened that may let a merge go on.
    merges: Notify,
    host_key: Option<HostKey>,
    live: Arc<Live>,
    /// Names this process in notes of what it is about to do.
    holder: String,
}

/// Projects by path, as every request asks for them.
#[derive(Default)]
struct Known {
    by_path: HashMap<(String, String), Arc<ProjectInfo>>,
    /// Grows with each change, so that a row read before a change is not remembered after it.
    version: u64,
}

/// Most projects remembered.
const KNOWN: usize = 20_000;
/// How often leftovers of pushes are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(15);

impl Forge {
    /// Opens the forge: makes its directories and hooks, checks git, and finishes what a crash left behind.
    ///
    /// # Errors
    /// git is missing or too old, a directory cannot be made, or the database refused.
    pub async fn open(
        db: Db,
        ledger: Ledger,
        config: Config,
        sight: Arc<dyn Sight>,
    ) -> Result<Self, OpenError> {
        let git = Git::prepare(&config).await?;
        let repositories = Repositories::open(&config.data, git.clone())?;
        let listener = Listener::bind(&config.data)?;
        let host_key = match &config.ssh {
            Some(_) => Some(HostKey::load_or_create(&config.data)?),
            None => None,
        };
        let pushes = Pushes::new(listener.path().to_owned(), config.processes);
        let forge = Self(Arc::new(Inner {
            db,
            ledger,
            config,
            sight,
            git,
            repositories,
            pushes,
            cache: Cache::default(),
            known: RwLock::default(),
            listener: Mutex::new(Some(listener)),
            pipelines: OnceLock::new(),
            people: OnceLock::new(),
            panels: OnceLock::new(),
            issues: OnceLock::new(),
            signers: OnceLock::new(),
            keeper: OnceLock::new(),
            review_memory: crate::review::Memory::default(),
            merges: Notify::new(),
            host_key,
            live: Arc::default(),
            holder: uuid::Uuid::now_v7().simple().to_string(),
        }));
        if let Err(problem) = forge.recover().await {
            tracing::error!(%problem, "pushes that a crash cut off could not be finished; will be tried again");
        }
        Ok(forge)
    }

    /// Everything this crate serves.
    #[must_use]
    pub fn routes(&self) -> Routes {
        crate::api::routes().with_state(self.clone())
    }

    /// Wires CI, which is built after the forge. Later calls change nothing.
    pub fn set_pipelines(&self, pipelines: Arc<dyn Pipelines>) {
        drop(self.0.pipelines.set(pipelines));
    }

    /// Wires the port through which reviews ask about people. Later calls change nothing.
    pub fn set_people(&self, people: Arc<dyn People>) {
        drop(self.0.people.set(people));
    }

    /// Wires what others show on a request's page. Later calls change nothing.
    pub fn set_panels(&self, panels: Arc<dyn Panels>) {
        drop(self.0.panels.set(panels));
    }

    pub(crate) fn panels(&self) -> Option<&Arc<dyn Panels>> {
        self.0.panels.get()
    }

    /// Wires the port through which the workflow policy asks about issues. Later calls change nothing.
    pub fn set_issues(&self, issues: Arc<dyn Issues>) {
        drop(self.0.issues.set(issues));
    }

    /// Wires the port through which it is asked whose keys sign commits. Later calls change nothing.
    pub fn set_signers(&self, signers: Arc<dyn Signers>) {
        drop(self.0.signers.set(signers));
    }

    /// Wires who reads files of projects and acts on them. Later calls change nothing.
    pub fn set_keeper(&self, keeper: Arc<dyn Keeper>) {
        drop(self.0.keeper.set(keeper));
    }

    /// Who reads files of projects, where anybody does.
    pub(crate) fn keeper(&self) -> Option<&dyn Keeper> {
        self.0.keeper.get().map(AsRef::as_ref)
    }

    /// What reacts to facts here.
    #[must_use]
    pub fn subscribers(&self) -> Vec<Arc<dyn Subscriber>> {
        use crate::merge_request::subscriptions::{Branches, Wakers};
        vec![
            Arc::new(Branches(self.clone())),
            Arc::new(Wakers(self.clone())),
            Arc::new(crate::review::subscriptions::Versions(self.clone())),
        ]
    }

    /// Serves git's hooks, finishes cut-off pushes, sweeps leftovers and packs repositories, until `stop`.
    /// Pushes are refused while this does not run.
    pub async fn run(&self, stop: CancellationToken) {
        let listener = self
            .0
            .listener
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(listener) = listener else {
            tracing::error!("the forge runs already");
            return;
        };
        tokio::join!(
            listener.serve(self.clone(), stop.clone()),
            self.tidy(stop.clone()),
            self.look_after_merges(stop.clone()),
            self.look_after(stop)
        );
    }

    async fn tidy(&self, stop: CancellationToken) {
        self.repositories().sweep(self.db(), self.pushes()).await;
        let mut rounds = 0_u32;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            if let Err(problem) = self.recover().await {
                tracing::error!(%problem, "cut-off pushes could not be finished; will be tried again");
            }
            rounds += 1;
            // Once more soon after the start, for what was too young then, and every day.
            if rounds == 8 || rounds.is_multiple_of(5760) {
                if let Err(problem) = self.forget_deleted_branches().await {
                    tracing::error!(%problem, "deleted branches could not be let go; will be tried again");
                }
                self.repositories().sweep(self.db(), self.pushes()).await;
            }
        }
    }

    pub(crate) fn db(&self) -> &Db {
        &self.0.db
    }

    pub(crate) fn ledger(&self) -> &Ledger {
        &self.0.ledger
    }

    pub(crate) fn config(&self) -> &Config {
        &self.0.config
    }

    pub(crate) fn sight(&self) -> &dyn Sight {
        self.0.sight.as_ref()
    }

    pub(crate) fn pipelines(&self) -> Option<&dyn Pipelines> {
        self.0.pipelines.get().map(AsRef::as_ref)
    }

    pub(crate) fn people(&self) -> bascule_core::Result<&dyn People> {
        let Some(people) = self.0.people.get() else {
            tracing::error!("reviews are not wired to identity");
            return Err(bascule_core::Problem::internal());
        };
        Ok(people.as_ref())
    }

    pub(crate) fn issues(&self) -> Option<&dyn Issues> {
        self.0.issues.get().map(AsRef::as_ref)
    }

    pub(crate) fn signers(&self) -> Option<&dyn Signers> {
        self.0.signers.get().map(AsRef::as_ref)
    }

    pub(crate) fn review_memory(&self) -> &crate::review::Memory {
        &self.0.review_memory
    }

    /// Lets merges that wait look again.
    pub(crate) fn wake_merges(&self) {
        self.0.merges.notify_one();
    }

    pub(crate) async fn merges_woken(&self) {
        self.0.merges.notified().await;
    }

    pub(crate) fn holder(&self) -> &str {
        &self.0.holder
    }

    pub(crate) fn git(&self) -> &Git {
        &self.0.git
    }

    pub(crate) fn repositories(&self) -> &Repositories {
        &self.0.repositories
    }

    pub(crate) fn pushes(&self) -> &Pushes {
        &self.0.pushes
    }

    pub(crate) fn cache(&self) -> &Cache {
        &self.0.cache
    }

    pub(crate) fn host_key(&self) -> Option<&HostKey> {
        self.0.host_key.as_ref()
    }

    pub(crate) fn live_connections(&self) -> &Arc<Live> {
        &self.0.live
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.0.ledger.clock().now()
    }

    pub(crate) fn known(&self, group: &str, name: &str) -> Option<Arc<ProjectInfo>> {
        let known = self.0.known.read().unwrap_or_else(PoisonError::into_inner);
        known.by_path.get(&(group.to_owned(), name.to_owned())).cloned()
    }

    pub(crate) fn cache_version(&self) -> u64 {
        self.0
            .known
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .version
    }

    pub(crate) fn remember(&self, version: u64, project: &Arc<ProjectInfo>) {
        let mut known = self.0.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.version != version {
            return;
        }
        if known.by_path.len() >= KNOWN {
            known.by_path.clear();
        }
        known
            .by_path
            .insert((project.group.clone(), project.name.clone()), project.clone());
    }

    pub(crate) fn forget(&self, id: ProjectId) {
        let mut known = self.0.known.write().unwrap_or_else(PoisonError::into_inner);
        known.version += 1;
        known.by_path.retain(|_, project| project.id != id);
    }
}
