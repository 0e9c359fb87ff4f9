//! Instances as pods of a Kubernetes cluster, from the images of releases.
//!
//! The cluster keeps what it was told to run: it goes on while the agent is away, on another node where one goes.
//! So this agent ends nothing when it stops, and goes on with what it finds when it starts; what it made carries
//! the server's mark, and it touches nothing else. What someone changes or deletes by hand is put right and told.

mod drift;
mod faults;
mod job;
mod life;
mod mirror;
mod objects;
mod pull;
mod view;

pub(crate) use job::Jobs;
pub(crate) use life::Life;

use crate::Kubernetes;
use bascule_client::Client as Hub;
use bascule_core::{Digest, Problem, Result};
use faults::Fault;
use k8s_openapi::api::{apps::v1::Deployment, batch::v1::Job, core::v1::Secret, core::v1::Service};
use kube::{
    Api, Client, Config, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use mirror::{Mirror, Mirrors};
use objects::{INSTANCE, MANAGER};
use pull::Pull;
use serde_json::Value;
use std::{
    collections::BTreeSet,
    fmt::Debug,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// A connection on which nothing came for this long is given up; longer than any watch is silent.
const SILENCE: Duration = Duration::from_secs(90);
/// Time for one call.
const CALL: Duration = Duration::from_secs(15);
/// Time for a namespace to be listed before it is swept.
const LISTED: Duration = Duration::from_secs(30);
/// In a namespace's name, it stands for the environment's.
const ENVIRONMENT: &str = "{environment}";

/// A cluster.
pub(crate) struct Cluster {
    client: Client,
    settings: Kubernetes,
    /// Marks what agents of this server made.
    server: String,
    mirrors: Mirrors,
    pull: Pull,
    /// The instances that are looked after.
    lives: Mutex<BTreeSet<String>>,
}

impl Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster")
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

impl Cluster {
    /// Reads how to reach it. Whether it is there is seen when it is needed.
    pub(crate) async fn open(settings: Kubernetes, hub: Hub) -> Result<Self> {
        let bad = |why: String| {
            Problem::invalid("bad_cluster", "How to reach the cluster cannot be read.")
                .why(why)
                .next("Give a kubeconfig that kubectl works with, or run the agent in a pod with a service account.")
        };
        let mut config = match &settings.kubeconfig {
            Some(file) => {
                let read = Kubeconfig::read_from(file)
                    .map_err(|error| bad(format!("{}: {error}.", file.display())))?;
                Config::from_custom_kubeconfig(read, &KubeConfigOptions::default())
                    .await
                    .map_err(|error| bad(format!("{error}.")))?
            }
            None => Config::incluster().map_err(|error| bad(format!("{error}.")))?,
        };
        config.connect_timeout = Some(CALL);
        config.write_timeout = Some(CALL);
        config.read_timeout = Some(SILENCE);
        let client = Client::try_from(config).map_err(|error| bad(format!("{error}.")))?;
        let server = Digest::of(hub.base().as_str().as_bytes())
            .hex()
            .chars()
            .take(16)
            .collect();
        Ok(Self {
            client,
            pull: Pull::new(hub, settings.registry.clone()),
            settings,
            server,
            mirrors: Mirrors::default(),
            lives: Mutex::default(),
        })
    }

    /// The namespace of an environment.
    fn namespace(&self, environment: &str) -> String {
        self.settings.namespace.replace(ENVIRONMENT, environment)
    }

    fn lives(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.lives.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn mirror(&self, namespace: &str) -> Arc<Mirror> {
        self.mirrors.of(&self.client, namespace, &self.server)
    }

    fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Applies an object as ours. Who else held a field of it is told with it.
    async fn apply<K>(
        &self,
        namespace: &str,
        what: &str,
        object: &Value,
    ) -> std::result::Result<(K, Option<String>), Fault>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + serde::de::DeserializeOwned
            + Debug,
    {
        let api: Api<K> = self.api(namespace);
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let patch = Patch::Apply(object);
        let ours = PatchParams::apply(MANAGER);
        let (mut rival, mut params) = (None, ours.clone());
        loop {
            let error = match tokio::time::timeout(CALL, api.patch(name, &params, &patch)).await {
                Ok(Ok(made)) => return Ok((made, rival)),
                Ok(Err(error)) => error,
                Err(_) => {
                    return Err(Fault {
                        for_now: true,
                        words: format!("{what}: the cluster does not answer within {} s.", CALL.as_secs()),
                    });
                }
            };
            match faults::rival(&error) {
                Some(who) if rival.is_none() => {
                    rival = Some(who);
                    params = ours.clone().force();
                }
                _ => return Err(Fault::of(what, &error)),
            }
        }
    }

    /// Deletes an object; one that is gone is gone.
    async fn delete<K>(&self, namespace: &str, name: &str) -> std::result::Result<(), Fault>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + serde::de::DeserializeOwned
            + Debug,
    {
        let params = DeleteParams::background();
        let api = self.api::<K>(namespace);
        match tokio::time::timeout(CALL, api.delete(name, &params)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) if faults::code(&error) == Some(404) => Ok(()),
            Ok(Err(error)) => Err(Fault::of("It cannot be deleted", &error)),
            Err(_) => Err(Fault {
                for_now: true,
                words: "It cannot be deleted: the cluster does not answer.".to_owned(),
            }),
        }
    }

    /// Deletes all that an instance or a task consists of.
    async fn remove(&self, namespace: &str, id: &str) -> std::result::Result<(), Fault> {
        let name = objects::name_of(id);
        if id.starts_with(super::TASK) {
            self.delete::<Job>(namespace, &name).await?;
        } else {
            self.delete::<Deployment>(namespace, &name).await?;
            self.delete::<Service>(namespace, &name).await?;
        }
        self.delete::<Secret>(namespace, &name).await
    }

    /// Removes instances that nobody looks after: what was taken away from the server while no agent ran.
    pub(crate) async fn sweep(&self) {
        if !self.settings.namespace.contains(ENVIRONMENT) {
            self.mirror(&self.settings.namespace);
        }
        for (namespace, mirror) in self.mirrors.all() {
            let mut changes = mirror.changes();
            let listed = async { while !mirror.known() && changes.changed().await.is_ok() {} };
            if tokio::time::timeout(LISTED, listed).await.is_err() {
                continue;
            }
            let lives = self.lives().clone();
            let left: Vec<String> = mirror
                .held()
                .deployments
                .all
                .values()
                .filter(|one| one.metadata.deletion_timestamp.is_none())
                .filter_map(|one| one.labels().get(INSTANCE).cloned())
                .filter(|id| !lives.contains(id))
                .collect();
            for id in left {
                tracing::info!(namespace, instance = id, "removing what is not wanted any more");
                if let Err(fault) = self.remove(&namespace, &id).await {
                    tracing::warn!(
                        namespace,
                        instance = id,
                        why = fault.words,
                        "it cannot be removed"
                    );
                }
            }
        }
    }
}
