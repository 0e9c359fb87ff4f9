//! A server as agents need it, artifacts with a small real product in them, and an agent to run.

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::StatusCode,
    routing::{get, post},
};
use bascule_agent::{Agent, Config};
use bascule_core::{DeploymentId, Digest, EnvironmentId, InstanceId, ReleaseId, SystemClock, TaskId};
use bascule_wire::{
    agent::{
        AgentReport, ArtifactSource, DesiredInstance, DesiredState, HealthCheck, InstanceReport,
        InstanceState, Limits, PullSecret, SmokeCheck,
    },
    task::{DesiredTask, OutputAt, TaskReport, TaskState},
};
use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    path::Path as FilePath,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::watch,
};
use tokio_util::sync::CancellationToken;

/// The product: says its version and pid, can be made sick, crash, and end slowly.
pub const SERVER: &str = r#"
import http.server, os, signal, sys, threading
sick = False
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        global sick
        status, body = 200, "version " + os.environ.get("VERSION", "?") + " in " + os.environ["BASCULE_ENVIRONMENT"]
        if self.path == "/health": status, body = (500, "sick") if sick else (200, "ok")
        elif self.path == "/sicken": sick = True
        elif self.path == "/crash":
            print("about to crash", flush=True)
            os._exit(3)
        elif self.path == "/missing": status, body = 404, "nothing"
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())
    def log_message(self, *args): pass
def end(*args):
    open("ended-politely", "w").close()
    os._exit(0)
signal.signal(signal.SIGTERM, end)
print("listening", flush=True)
http.server.ThreadingHTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
"#;

/// A gzipped tar of these files.
pub fn archive(files: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(flate2::write::GzEncoder::new(
        Vec::new(),
        flate2::Compression::fast(),
    ));
    for (path, content) in files {
        let mut header = tar::Header::new_ustar();
        header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        header.set_cksum();
        builder.append(&header, content.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap().finish().unwrap()
}

/// A desired instance of an artifact.
pub fn desired(artifact: &[u8]) -> DesiredInstance {
    let digest = Digest::of(artifact);
    DesiredInstance {
        instance: InstanceId::new(),
        deployment: DeploymentId::new(),
        environment: EnvironmentId::new(),
        project: "demo/clinic".to_owned(),
        environment_name: "staging".to_owned(),
        release: ReleaseId::new(),
        version: "1.0.0".to_owned(),
        driver: bascule_wire::agent::Driver::Process,
        artifact: ArtifactSource {
            path: format!("/artifacts/{}", digest.hex()),
            digest,
            size: artifact.len() as u64,
            file_name: "clinic.tar.gz".to_owned(),
        },
        command: "exec python3 server.py".to_owned(),
        variables: BTreeMap::from([("VERSION".to_owned(), "1.0.0".to_owned())]),
        health: HealthCheck {
            path: "/health".to_owned(),
            interval_ms: 50,
            timeout_ms: 1000,
            start_ms: 20_000,
        },
        smoke: vec![
            SmokeCheck {
                path: "/".to_owned(),
                status: 200,
                contains: "version 1.0.0 in staging".to_owned(),
            },
            SmokeCheck {
                path: "/missing".to_owned(),
                status: 404,
                contains: String::new(),
            },
        ],
        limits: Limits {
            memory_bytes: 512 * 1024 * 1024,
            pids: 64,
        },
        drain_ms: None,
    }
}

/// The server.
#[derive(Clone)]
pub struct Server {
    pub address: SocketAddr,
    desired: watch::Sender<DesiredState>,
    reports: watch::Sender<Vec<AgentReport>>,
    artifacts: Arc<Mutex<HashMap<String, Vec<u8>>>>,
    /// What tasks wrote.
    outputs: Arc<Mutex<HashMap<String, Vec<u8>>>>,
    pub fetched: Arc<AtomicUsize>,
    pub away: Arc<AtomicBool>,
}

impl Server {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            desired: watch::Sender::new(DesiredState {
                revision: 1,
                instances: Vec::new(),
                tasks: Vec::new(),
            }),
            reports: watch::Sender::new(Vec::new()),
            artifacts: Arc::default(),
            outputs: Arc::default(),
            fetched: Arc::default(),
            away: Arc::default(),
        };
        let app = Router::new()
            .route("/api/v1/agent/sync", post(sync))
            .route("/artifacts/{digest}", get(artifact))
            .route("/api/v1/agent/tasks/{task}/output", post(output))
            .route("/api/v1/agent/pull-secret", post(pull_secret))
            .route("/v2/{group}/{project}/manifests/{reference}", get(manifest))
            .with_state(server.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        server
    }

    /// Holds an artifact, under the digest of other bytes if so wanted.
    pub fn hold(&self, artifact: &[u8], under: &Digest) {
        self.artifacts
            .lock()
            .unwrap()
            .insert(under.hex().to_owned(), artifact.to_vec());
    }

    pub fn desire(&self, instances: Vec<DesiredInstance>) {
        self.desired.send_modify(|state| {
            state.revision += 1;
            state.instances = instances;
        });
    }

    pub fn desire_tasks(&self, tasks: Vec<DesiredTask>) {
        self.desired.send_modify(|state| {
            state.revision += 1;
            state.tasks = tasks;
        });
    }

    /// Waits until the agent reports a task in a state.
    pub async fn until_task(&self, task: TaskId, state: TaskState) -> TaskReport {
        let is = |one: &&TaskReport| one.task == task && one.state == state;
        let report = self
            .until_report(|report| report.tasks.iter().any(|one| is(&one)))
            .await;
        report.tasks.iter().find(is).unwrap().clone()
    }

    /// What a task wrote until now.
    pub fn wrote(&self, task: TaskId) -> String {
        let outputs = self.outputs.lock().unwrap();
        let bytes = outputs.get(&task.to_string()).cloned().unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits until a task has written something.
    pub async fn until_wrote(&self, task: TaskId, text: &str) {
        let wrote = async {
            while !self.wrote(task).contains(text) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), wrote)
            .await
            .unwrap();
    }

    /// Waits until the agent reports on an instance what is asked for.
    pub async fn until(
        &self,
        instance: InstanceId,
        what: impl Fn(&InstanceReport) -> bool,
    ) -> InstanceReport {
        let mut reports = self.reports.subscribe();
        let found = reports.wait_for(|all| {
            all.last().is_some_and(|last| {
                last.instances
                    .iter()
                    .any(|one| one.instance == instance && what(one))
            })
        });
        match tokio::time::timeout(Duration::from_secs(30), found).await {
            Ok(found) => {
                let found = found.unwrap();
                let last = found.last().unwrap();
                last.instances
                    .iter()
                    .find(|one| one.instance == instance)
                    .unwrap()
                    .clone()
            }
            Err(_) => panic!(
                "not reported within 30 s; last: {:#?}",
                self.reports.borrow().last()
            ),
        }
    }

    pub async fn until_state(&self, instance: InstanceId, state: InstanceState) -> InstanceReport {
        self.until(instance, |report| report.state == state).await
    }

    /// Waits until the agent reports nothing of an instance any more.
    pub async fn until_gone(&self, instance: InstanceId) {
        let mut reports = self.reports.subscribe();
        let gone = reports.wait_for(|all| {
            all.last()
                .is_some_and(|last| last.instances.iter().all(|one| one.instance != instance))
        });
        tokio::time::timeout(Duration::from_secs(30), gone)
            .await
            .unwrap()
            .unwrap();
    }

    /// All states that an instance was ever reported in.
    pub fn history(&self, instance: InstanceId) -> Vec<InstanceState> {
        let reports = self.reports.borrow();
        let mut states: Vec<_> = reports
            .iter()
            .flat_map(|report| &report.instances)
            .filter(|one| one.instance == instance)
            .map(|one| one.state)
            .collect();
        states.dedup();
        states
    }

    /// Waits for a report of a kind.
    pub async fn until_report(&self, what: impl Fn(&AgentReport) -> bool) -> AgentReport {
        let mut reports = self.reports.subscribe();
        let found = reports.wait_for(|all| all.last().is_some_and(&what));
        let found = tokio::time::timeout(Duration::from_secs(30), found)
            .await
            .unwrap();
        found.unwrap().last().unwrap().clone()
    }

    pub fn last(&self) -> AgentReport {
        self.reports.borrow().last().cloned().unwrap()
    }
}

async fn sync(
    State(server): State<Server>,
    Query(query): Query<HashMap<String, String>>,
    Json(report): Json<AgentReport>,
) -> Result<Json<DesiredState>, StatusCode> {
    if server.away.load(Ordering::Relaxed) {
        return Err(StatusCode::BAD_GATEWAY);
    }
    server.reports.send_modify(|all| {
        // As the real one: an older report does not replace a newer.
        if all.last().is_none_or(|last| last.at <= report.at) {
            all.push(report);
        }
    });
    let (known, wait): (i64, u64) = (query["revision"].parse().unwrap(), query["wait"].parse().unwrap());
    let mut desired = server.desired.subscribe();
    let _ = tokio::time::timeout(
        Duration::from_secs(wait),
        desired.wait_for(|state| state.revision != known),
    )
    .await;
    if server.away.load(Ordering::Relaxed) {
        return Err(StatusCode::BAD_GATEWAY);
    }
    Ok(Json(server.desired.borrow().clone()))
}

async fn output(
    State(server): State<Server>,
    Path(task): Path<String>,
    Query(query): Query<HashMap<String, usize>>,
    body: axum::body::Bytes,
) -> Result<Json<OutputAt>, StatusCode> {
    if server.away.load(Ordering::Relaxed) {
        return Err(StatusCode::BAD_GATEWAY);
    }
    let mut outputs = server.outputs.lock().unwrap();
    let held = outputs.entry(task).or_default();
    if query["offset"] == held.len() {
        held.extend_from_slice(&body);
    }
    Ok(Json(OutputAt {
        offset: held.len() as u64,
        open: true,
    }))
}

async fn artifact(State(server): State<Server>, Path(digest): Path<String>) -> Result<Vec<u8>, StatusCode> {
    if server.away.load(Ordering::Relaxed) {
        return Err(StatusCode::BAD_GATEWAY);
    }
    server.fetched.fetch_add(1, Ordering::Relaxed);
    server
        .artifacts
        .lock()
        .unwrap()
        .get(&digest)
        .cloned()
        .ok_or(StatusCode::NOT_FOUND)
}

async fn pull_secret(State(server): State<Server>) -> Result<Json<PullSecret>, StatusCode> {
    if server.away.load(Ordering::Relaxed) {
        return Err(StatusCode::BAD_GATEWAY);
    }
    Ok(Json(PullSecret {
        username: "site-7".to_owned(),
        password: "bpul-1".to_owned(),
    }))
}

/// The manifest of whatever image is asked for.
async fn manifest(
    State(server): State<Server>,
    Path((_, _, reference)): Path<(String, String, String)>,
) -> Result<([(&'static str, String); 1], String), StatusCode> {
    if server.away.load(Ordering::Relaxed) {
        return Err(StatusCode::BAD_GATEWAY);
    }
    let manifest = format!("{{\"of\":\"{reference}\"}}");
    let digest = Digest::of(manifest.as_bytes()).to_string();
    Ok(([("docker-content-digest", digest)], manifest))
}

/// A running agent.
pub struct Running {
    cancel: CancellationToken,
    task: tokio::task::JoinHandle<bascule_core::Result<()>>,
}

impl Running {
    pub fn start(server: &Server, data_dir: &FilePath) -> Self {
        Self::start_in(server, data_dir, None)
    }

    /// With a cluster, as a kubeconfig tells.
    pub fn start_in(server: &Server, data_dir: &FilePath, cluster: Option<std::path::PathBuf>) -> Self {
        let mut config = Config::new(
            &format!("http://{}", server.address),
            "secret",
            data_dir,
            Arc::new(SystemClock),
        );
        config.crash_pause = Duration::from_millis(100);
        config.kubernetes = cluster.map(|kubeconfig| bascule_agent::Kubernetes {
            kubeconfig: Some(kubeconfig),
            namespace: "bascule-{environment}".to_owned(),
            registry: Some("registry.example:5000".to_owned()),
        });
        let cancel = CancellationToken::new();
        let task = tokio::spawn(Box::pin(Agent::new(config).run(cancel.clone())));
        Self { cancel, task }
    }

    pub async fn stop(self) {
        self.cancel.cancel();
        self.task.await.unwrap().unwrap();
    }

    /// Waits for it to refuse to run.
    pub async fn failure(self) -> bascule_core::Problem {
        self.task.await.unwrap().unwrap_err()
    }

    /// As a crash of the agent: nothing is ended in order.
    pub async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

/// The status and body of a GET; `None` if nobody answers.
pub async fn ask(address: &str, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    (!answer.is_empty()).then_some(answer)
}
