//! A Kubernetes API server as far as the agent needs one, with a controller and a kubelet behind it: objects with
//! server-side apply and its conflicts, lists, watches that can be compacted, connections that can be cut. What
//! runs in its pods is a small real service on a loopback address of its own.

use super::{api, apply, kubelet};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{net::TcpListener, sync::watch, task::JoinSet};
use tokio_rustls::TlsAcceptor;

pub const NAMESPACE: &str = "bascule-staging";
pub const TOKEN: &str = "kube-token";

/// Kind, namespace and name.
pub type Key = (String, String, String);

#[derive(Default)]
pub struct Inner {
    pub version: u64,
    /// Older versions are not remembered by watches.
    pub oldest: u64,
    pub objects: BTreeMap<Key, Value>,
    pub owners: BTreeMap<Key, apply::Owners>,
    pub log: VecDeque<(u64, &'static str, Value)>,
    /// What pods begin as: the status of their one container's pod.
    pub begins: Option<Value>,
    pub logs: HashMap<String, String>,
    /// A right that the agent lacks.
    pub forbidden: Option<&'static str>,
    pub services: HashMap<String, tokio::task::AbortHandle>,
    /// Every request, as `PATCH deployments`.
    pub asked: Vec<String>,
}

pub struct State {
    pub inner: Mutex<Inner>,
    pub changed: watch::Sender<u64>,
    /// Watches end when it changes.
    pub epoch: watch::Sender<u64>,
    pub busy: AtomicUsize,
    pub slow_ms: AtomicU64,
}

/// The cluster.
pub struct Cluster {
    state: Arc<State>,
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
    serving: Mutex<Option<tokio::task::JoinHandle<()>>>,
    folder: tempfile::TempDir,
}

impl Cluster {
    pub async fn start() -> Self {
        Self::with(false).await
    }

    /// One that speaks TLS, with an authority of its own.
    pub async fn start_with_tls() -> Self {
        Self::with(true).await
    }

    async fn with(tls: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let tls = tls.then(|| api::acceptor(folder.path()));
        let state = Arc::new(State {
            inner: Mutex::new(Inner {
                version: 100,
                oldest: 1,
                ..Inner::default()
            }),
            changed: watch::Sender::new(0),
            epoch: watch::Sender::new(0),
            busy: AtomicUsize::new(0),
            slow_ms: AtomicU64::new(0),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let cluster = Self {
            address: listener.local_addr().unwrap(),
            state: Arc::clone(&state),
            tls,
            serving: Mutex::default(),
            folder,
        };
        cluster.serve(listener);
        tokio::spawn(kubelet::controllers(state));
        cluster
    }

    fn serve(&self, listener: TcpListener) {
        let (state, tls) = (Arc::clone(&self.state), self.tls.clone());
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(api::connection(stream, tls.clone(), Arc::clone(&state)));
            }
        });
        *self.serving.lock().unwrap() = Some(task);
    }

    /// Cuts every connection and takes no other.
    pub async fn cut(&self) {
        let task = self.serving.lock().unwrap().take().unwrap();
        task.abort();
        drop(task.await);
    }

    /// Is there again.
    pub async fn back(&self) {
        let listener = loop {
            match TcpListener::bind(self.address).await {
                Ok(listener) => break listener,
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        };
        self.serve(listener);
    }

    /// A kubeconfig for it.
    pub fn kubeconfig(&self) -> PathBuf {
        let mut cluster = json!({ "server": format!("http://{}", self.address) });
        if self.tls.is_some() {
            cluster = json!({
                "server": format!("https://{}", self.address),
                "certificate-authority": self.folder.path().join("cert.pem"),
            });
        }
        let text = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{ "name": "test", "cluster": cluster }],
            "users": [{ "name": "test", "user": { "token": TOKEN } }],
            "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test" } }],
        });
        let path = self.folder.path().join("kubeconfig");
        std::fs::write(&path, text.to_string()).unwrap();
        path
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.state.inner.lock().unwrap()
    }

    /// What pods that are made from now on begin as; `None` for well.
    pub fn begins(&self, status: Option<Value>) {
        self.inner().begins = status;
    }

    /// The next requests are told that there is too much to do.
    pub fn busy(&self, requests: usize) {
        self.state.busy.store(requests, Ordering::Relaxed);
    }

    pub fn slow(&self, ms: u64) {
        self.state.slow_ms.store(ms, Ordering::Relaxed);
    }

    pub fn forbid(&self, kind: Option<&'static str>) {
        self.inner().forbidden = kind;
    }

    /// Forgets old versions, and ends all watches, which then ask for what is forgotten.
    pub fn compact(&self) {
        let mut inner = self.inner();
        inner.version += 1;
        inner.oldest = inner.version + 1;
        inner.log.clear();
        drop(inner);
        self.state.epoch.send_modify(|epoch| *epoch += 1);
    }

    /// Requests so far.
    pub fn asked(&self) -> Vec<String> {
        self.inner().asked.clone()
    }

    /// What a pod has written.
    pub fn wrote(&self, text: &str) {
        let pods: Vec<String> = self.all("pods").iter().map(name).collect();
        let mut inner = self.inner();
        for pod in pods {
            inner.logs.insert(pod, text.to_owned());
        }
    }

    pub fn all(&self, kind: &str) -> Vec<Value> {
        let inner = self.inner();
        let of = |(key, _): &(&Key, &Value)| key.0 == kind;
        inner
            .objects
            .iter()
            .filter(of)
            .map(|(_, object)| object.clone())
            .collect()
    }

    /// The only object of a kind.
    pub fn only(&self, kind: &str) -> Value {
        let all = self.all(kind);
        assert_eq!(all.len(), 1, "{all:#?}");
        all[0].clone()
    }

    /// Changes an object by hand, as someone with kubectl.
    pub fn edit(&self, kind: &str, change: impl FnOnce(&mut Value)) {
        let object = self.only(kind);
        let key = key_of(kind, &object);
        let mut changed = object.clone();
        change(&mut changed);
        let mut inner = self.inner();
        apply::take_over(
            inner.owners.entry(key.clone()).or_default(),
            &object,
            &changed,
            "kubectl-edit",
        );
        inner.put(&key, changed);
        drop(inner);
        self.state.tell();
    }

    /// Deletes the only object of a kind by hand.
    pub fn delete(&self, kind: &str) {
        let key = key_of(kind, &self.only(kind));
        self.inner().remove(&key);
        self.state.tell();
    }

    /// Sets the status of all pods.
    pub fn set_pods(&self, status: &Value) {
        for pod in self.all("pods") {
            self.set_pod(&pod, status);
        }
    }

    /// Sets the status of one pod.
    pub fn set_pod(&self, pod: &Value, status: &Value) {
        let mut pod = pod.clone();
        pod["status"] = status.clone();
        self.inner().put(&key_of("pods", &pod), pod);
        self.state.tell();
    }

    /// Waits for something to be so.
    pub async fn until(&self, what: &str, so: impl Fn(&Self) -> bool) {
        let is_so = async {
            while !so(self) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(40), is_so).await;
        assert!(waited.is_ok(), "{what} did not come; asked: {:?}", self.asked());
    }
}

/// The status of a pod with one container.
pub fn pod_status(phase: &str, state: Value, last: Value, ready: bool, restarts: u32) -> Value {
    json!({ "phase": phase, "containerStatuses": [{
        "name": "product", "image": "i", "imageID": "", "ready": ready, "started": ready,
        "restartCount": restarts, "state": state, "lastState": last,
    }]})
}

pub fn running() -> Value {
    json!({ "running": { "startedAt": "2026-01-01T00:00:05Z" } })
}

pub fn ended(code: i32, reason: &str) -> Value {
    json!({ "terminated": { "exitCode": code, "reason": reason,
        "startedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-01T00:00:02Z" } })
}

pub fn waiting(reason: &str, message: &str) -> Value {
    json!({ "waiting": { "reason": reason, "message": message } })
}

fn name(object: &Value) -> String {
    object["metadata"]["name"].as_str().unwrap().to_owned()
}

pub fn key_of(kind: &str, object: &Value) -> Key {
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or(NAMESPACE);
    (kind.to_owned(), namespace.to_owned(), name(object))
}

impl State {
    pub fn tell(&self) {
        self.changed.send_modify(|count| *count += 1);
    }
}

impl Inner {
    pub fn put(&mut self, key: &Key, mut object: Value) -> Value {
        let before = self.objects.get(key).cloned();
        if let Some(before) = &before {
            object["metadata"]["generation"] = before["metadata"]["generation"].clone();
            if before["spec"] != object["spec"] {
                let next = before["metadata"]["generation"].as_u64().unwrap() + 1;
                object["metadata"]["generation"] = json!(next);
            }
        } else {
            object["metadata"]["generation"] = json!(1);
            object["metadata"]["uid"] = json!(bascule_core::InstanceId::new().to_string());
            object["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
            object["metadata"]["namespace"] = json!(key.1);
        }
        if let Some(owners) = self.owners.get(key) {
            object["metadata"]["managedFields"] = apply::managed_fields(owners);
        }
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let kind = if before.is_some() { "MODIFIED" } else { "ADDED" };
        self.log
            .push_back((self.version, kind, with_kind(&key.0, object.clone())));
        self.objects.insert(key.clone(), object.clone());
        object
    }

    pub fn remove(&mut self, key: &Key) -> bool {
        let Some(mut object) = self.objects.remove(key) else {
            return false;
        };
        self.owners.remove(key);
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.log
            .push_back((self.version, "DELETED", with_kind(&key.0, object)));
        true
    }
}

pub fn with_kind(kind: &str, mut object: Value) -> Value {
    let (version, name) = match kind {
        "deployments" => ("apps/v1", "Deployment"),
        "jobs" => ("batch/v1", "Job"),
        "services" => ("v1", "Service"),
        "secrets" => ("v1", "Secret"),
        "networkpolicies" => ("networking.k8s.io/v1", "NetworkPolicy"),
        _ => ("v1", "Pod"),
    };
    object["apiVersion"] = json!(version);
    object["kind"] = json!(name);
    object
}
