//! What a namespace holds of this agent's, kept up to date by watches. One set of watches for each namespace,
//! however many instances there are.

use super::{CALL, faults, objects::SERVER};
use crate::backoff::Backoff;
use futures::StreamExt as _;
use k8s_openapi::api::{
    apps::v1::Deployment,
    batch::v1::Job,
    core::v1::{Pod, Service},
};
use kube::{
    Api, Client, Resource, ResourceExt as _,
    api::{ListParams, WatchEvent, WatchParams},
};
use serde::de::DeserializeOwned;
use std::{
    collections::BTreeMap,
    fmt::Debug,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

/// How long one watch lasts before it is begun anew, in seconds: a connection that was cut without a word is
/// noticed then.
const WATCH_SECONDS: u32 = 60;
/// Shortest time between two watches.
const BREATH: Duration = Duration::from_millis(50);
/// Objects in one answer to a list.
const PAGE: u32 = 500;
/// Trouble is told once it lasts this long.
const PATIENCE: Duration = Duration::from_secs(5);

/// Objects of one kind.
#[derive(Debug)]
pub(super) struct Kind<K> {
    /// By name.
    pub(super) all: BTreeMap<String, K>,
    /// Whether all that there is was listed.
    pub(super) known: bool,
    trouble: Option<(Instant, String)>,
}

impl<K> Default for Kind<K> {
    fn default() -> Self {
        Self {
            all: BTreeMap::new(),
            known: false,
            trouble: None,
        }
    }
}

/// All that is known.
#[derive(Debug, Default)]
pub(super) struct Held {
    pub(super) deployments: Kind<Deployment>,
    pub(super) services: Kind<Service>,
    pub(super) pods: Kind<Pod>,
    pub(super) jobs: Kind<Job>,
}

impl Held {
    /// Whether everything was listed once.
    pub(super) fn known(&self) -> bool {
        self.deployments.known && self.services.known && self.pods.known
    }

    /// Pods of an instance or a task.
    pub(super) fn pods_of(&self, id: &str) -> Vec<&Pod> {
        let of = |pod: &&Pod| {
            pod.labels()
                .get(super::objects::INSTANCE)
                .is_some_and(|found| found == id)
        };
        self.pods.all.values().filter(of).collect()
    }

    /// What keeps this from being up to date, if it lasts.
    pub(super) fn trouble(&self) -> Option<String> {
        let all = [
            &self.deployments.trouble,
            &self.services.trouble,
            &self.pods.trouble,
            &self.jobs.trouble,
        ];
        all.into_iter()
            .flatten()
            .find(|(since, _)| since.elapsed() >= PATIENCE)
            .map(|(_, why)| why.clone())
    }
}

/// One namespace. Its watches end with it.
#[derive(Debug)]
pub(super) struct Mirror {
    held: Mutex<Held>,
    changes: watch::Sender<u64>,
}

impl Mirror {
    pub(super) fn new() -> Self {
        Self {
            held: Mutex::default(),
            changes: watch::Sender::new(0),
        }
    }

    /// What is known now.
    pub(super) fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether everything was listed once.
    pub(super) fn known(&self) -> bool {
        self.held().known()
    }

    /// Whether there are pods of an instance or a task.
    pub(super) fn has_pods(&self, id: &str) -> bool {
        !self.held().pods_of(id).is_empty()
    }

    /// Rises with each change.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Keeps it up to date until dropped.
    pub(super) async fn follow(&self, client: &Client, namespace: &str, server: &str) {
        let labels = format!("{SERVER}={server}");
        tokio::join!(
            self.one(client, namespace, &labels, |held: &mut Held| &mut held
                .deployments),
            self.one(client, namespace, &labels, |held: &mut Held| &mut held.services),
            self.one(client, namespace, &labels, |held: &mut Held| &mut held.pods),
            self.one(client, namespace, &labels, |held: &mut Held| &mut held.jobs),
        );
    }

    async fn one<K>(
        &self,
        client: &Client,
        namespace: &str,
        labels: &str,
        kind: impl Fn(&mut Held) -> &mut Kind<K>,
    ) where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + DeserializeOwned
            + Debug
            + Send
            + 'static,
    {
        let api: Api<K> = Api::namespaced(client.clone(), namespace);
        let mut away = Backoff::new(Duration::from_millis(200), Duration::from_secs(20));
        // What a watch is to go on from; empty for all anew.
        let mut version = String::new();
        loop {
            let outcome = self.stretch(&api, labels, &kind, &mut version, &mut away).await;
            let Err(why) = outcome else {
                sleep(BREATH).await;
                continue;
            };
            tracing::debug!(namespace, why, "a watch broke off");
            {
                let mut held = self.held();
                let kind = kind(&mut held);
                let since = kind
                    .trouble
                    .as_ref()
                    .map_or_else(Instant::now, |(since, _)| *since);
                kind.trouble = Some((since, why));
            }
            self.changed();
            sleep(away.pause()).await;
        }
    }

    /// Lists, where that is needed, and follows one watch to its end.
    async fn stretch<K>(
        &self,
        api: &Api<K>,
        labels: &str,
        kind: &impl Fn(&mut Held) -> &mut Kind<K>,
        version: &mut String,
        away: &mut Backoff,
    ) -> Result<(), String>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
    {
        if version.is_empty() {
            let listed = list(api, labels).await?;
            *version = listed.1;
            self.note(kind, |kind| {
                kind.all = listed.0;
                kind.known = true;
            });
        }
        let params = WatchParams::default().labels(labels).timeout(WATCH_SECONDS);
        let events = timeout(CALL, api.watch(&params, version)).await;
        let events = match events {
            Ok(Ok(events)) => events,
            Ok(Err(error)) => {
                if faults::code(&error) == Some(410) {
                    version.clear();
                }
                return Err(faults::reason(&error));
            }
            Err(_) => return Err("the cluster does not answer".to_owned()),
        };
        away.reset();
        self.note(kind, |_| {});
        let mut events = std::pin::pin!(events);
        while let Some(event) = events.next().await {
            match event {
                Ok(WatchEvent::Added(one) | WatchEvent::Modified(one)) => {
                    *version = one.resource_version().unwrap_or_default();
                    self.note(kind, |kind| drop(kind.all.insert(one.name_any(), one)));
                }
                Ok(WatchEvent::Deleted(one)) => {
                    *version = one.resource_version().unwrap_or_default();
                    self.note(kind, |kind| drop(kind.all.remove(&one.name_any())));
                }
                Ok(WatchEvent::Bookmark(mark)) => version.clone_from(&mark.metadata.resource_version),
                Ok(WatchEvent::Error(status)) => {
                    // What it was to go on from is forgotten: 410 Gone. Whatever else it is, all anew is right.
                    version.clear();
                    if status.code == 410 {
                        return Ok(());
                    }
                    return Err(format!(
                        "the cluster answered {}: {}",
                        status.code, status.message
                    ));
                }
                Err(error) => return Err(faults::reason(&error)),
            }
        }
        Ok(())
    }

    /// Takes in news, which shows that the cluster is there.
    fn note<K>(&self, kind: &impl Fn(&mut Held) -> &mut Kind<K>, news: impl FnOnce(&mut Kind<K>)) {
        {
            let mut held = self.held();
            let kind = kind(&mut held);
            kind.trouble = None;
            news(kind);
        }
        self.changed();
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }
}

/// All objects by name, and the version of that list.
async fn list<K>(api: &Api<K>, labels: &str) -> Result<(BTreeMap<String, K>, String), String>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let (mut all, mut params) = (BTreeMap::new(), ListParams::default().labels(labels).limit(PAGE));
    loop {
        let page = match timeout(CALL, api.list(&params)).await {
            Ok(page) => page.map_err(|error| faults::reason(&error))?,
            Err(_) => return Err("the cluster does not answer".to_owned()),
        };
        all.extend(page.items.into_iter().map(|one| (one.name_any(), one)));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok((all, page.metadata.resource_version.unwrap_or_default())),
        }
    }
}

/// All namespaces that are looked at.
#[derive(Debug, Default)]
pub(super) struct Mirrors {
    all: Mutex<BTreeMap<String, std::sync::Arc<Mirror>>>,
    following: Mutex<JoinSet<()>>,
}

impl Mirrors {
    /// The mirror of a namespace, begun if it is not looked at yet.
    pub(super) fn of(&self, client: &Client, namespace: &str, server: &str) -> std::sync::Arc<Mirror> {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mirror) = all.get(namespace) {
            return mirror.clone();
        }
        let mirror = std::sync::Arc::new(Mirror::new());
        all.insert(namespace.to_owned(), mirror.clone());
        let (client, namespace, server, followed) = (
            client.clone(),
            namespace.to_owned(),
            server.to_owned(),
            mirror.clone(),
        );
        let mut following = self.following.lock().unwrap_or_else(PoisonError::into_inner);
        following.spawn(async move { followed.follow(&client, &namespace, &server).await });
        mirror
    }

    /// All that are looked at.
    pub(super) fn all(&self) -> Vec<(String, std::sync::Arc<Mirror>)> {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter()
            .map(|(name, mirror)| (name.clone(), mirror.clone()))
            .collect()
    }
}
