//! The helper in a job's pod: it runs the job from first to last as a runner does, and has the scripts run by the
//! container beside it.
//!
//! The two share a folder of named pipes and nothing else. The job's container reads from `go` which script is next,
//! writes its output to `out-N` and its exit code to `code`, and from `end` hears which signal all of its processes get.

use crate::{
    Config, ExecutorKind, KubernetesConfig, Limits, NetworkPolicy, S3, Shared,
    api::Api,
    executor::{Executor, Process, podman::service},
    job::{self, Failure, Ground},
    remote::Remote,
    script, workspace,
};
use async_trait::async_trait;
use bascule_client::Client;
use bascule_core::{Problem, Result};
use bascule_sandbox::Exit;
use bascule_wire::runner::Job;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde::{Deserialize, Serialize};
use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, unix::pipe},
    sync::Mutex,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// The job's folder in the pod's volume; parts of it are mounted in the job's container.
pub(crate) const JOB: &str = "job";
/// Name of the file that tells the helper what to do.
pub(super) const ERRAND: &str = "errand.json";
/// Where scripts and pipes lie in the job's container.
pub(super) const SCRIPTS: &str = "/run/bascule";
/// What the job's container runs, by any plain shell. Signals sent to all spare the first process and the sender.
pub(super) const SUPERVISOR: &str = r#"until cd /run/bascule 2>/dev/null && [ -p end ]; do sleep 0.1 2>/dev/null || sleep 1; done
while :; do read -r s <end && kill -"$s" -1 2>/dev/null; done &
exec 3>code
while read -r n <go && [ "$n" != over ]; do
  { if command -v bash >/dev/null 2>&1; then bash "step-$n.bash" 3>&-; else sh "step-$n.sh" 3>&-; fi; } >"out-$n" 2>&1 </dev/null
  echo "$n $?" >&3
done"#;
/// Pause between two looks at whether the other side is there.
const LOOK: Duration = Duration::from_millis(20);
/// Time for a container that runs to begin a script.
const BEGINS: Duration = Duration::from_secs(60);
/// Time for a container that runs to take a signal.
const SOON: Duration = Duration::from_secs(5);
/// Time for the runner, which sees why a container ended, to say so in the helper's place.
const RUNNERS_TURN: Duration = Duration::from_secs(90);

/// What a helper is to do, with what it needs to know of the runner. The runner's own token is not in it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Errand {
    url: String,
    name: String,
    job_variables: Vec<(String, String)>,
    limits: Limits,
    network_policy: NetworkPolicy,
    cache_s3: Option<S3>,
    report_patience: Duration,
    service_wait: Duration,
    git_protocols: String,
    job: Job,
}

impl Errand {
    pub(super) fn new(config: &Config, job: Job) -> Self {
        Self {
            url: config.url.clone(),
            name: config.name.clone(),
            job_variables: config.job_variables.clone(),
            limits: config.limits.clone(),
            network_policy: config.network_policy,
            cache_s3: config.cache_s3.clone(),
            report_patience: config.report_patience,
            service_wait: config.podman.service_wait,
            git_protocols: config.git_protocols.clone(),
            job,
        }
    }
}

/// Runs the one job of a pod, as the file `errand` tells, in the pod's volume `work`. `halt` ends it early; the job is
/// then reported as the platform's failure.
///
/// # Errors
/// If the errand cannot be read. Whatever becomes of the job is told to the server.
pub async fn run_in_pod(errand: &Path, work: &Path, halt: CancellationToken) -> Result<()> {
    let text = fs::read(errand).map_err(|e| workspace::unwritable(errand, &e))?;
    let errand: Errand = serde_json::from_slice(&text).map_err(|error| {
        Problem::invalid("bad_errand", "What the helper is to do cannot be read.")
            .why(error.to_string())
            .next("Take a helper of the runner's own version.")
    })?;
    let mut config = Config::new(&errand.url, "", work);
    config.name = errand.name;
    config.builds_dir = work.to_owned();
    config.executor = ExecutorKind::Kubernetes;
    config.kubernetes = KubernetesConfig::default();
    config.job_variables = errand.job_variables;
    config.limits = errand.limits;
    config.network_policy = errand.network_policy;
    config.cache_s3 = errand.cache_s3;
    config.report_patience = errand.report_patience;
    config.podman.service_wait = errand.service_wait;
    config.git_protocols = errand.git_protocols;
    // A pod's volume goes with it.
    config.git_cache = None;
    let client = Client::new(&config.url, None)?;
    let shared = Shared {
        api: Arc::new(Api::new(
            client,
            String::new(),
            config.system_id.clone(),
            "kubernetes",
        )),
        containers: None,
        remote: config.cache_s3.as_ref().map(Remote::new).transpose()?,
        cluster: None,
        config,
    };
    Box::pin(job::run(Arc::new(shared), errand.job, halt)).await;
    Ok(())
}

/// The scripts of the helper's job, run by the container beside it.
#[derive(Debug, Default)]
pub(crate) struct Inside {
    scripts: PathBuf,
    /// Both ends are kept open: between two scripts the container has neither.
    go: Option<(pipe::Sender, pipe::Receiver)>,
    code: Option<Arc<Mutex<Codes>>>,
    number: u32,
}

fn broken(what: &str, error: &io::Error) -> Failure {
    Failure::System(
        Problem::new(
            503,
            "no_pipe",
            format!("The job's container cannot be talked to: {what}."),
        )
        .why(error.to_string())
        .next("See whether the pod's volume allows named pipes."),
    )
}

/// Makes a named pipe that anyone in the pod may use: nobody else is there.
fn make_pipe(path: &Path) -> io::Result<()> {
    mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o666))
}

/// Opens a pipe to write once someone reads it.
async fn sender(path: &Path) -> io::Result<pipe::Sender> {
    loop {
        match pipe::OpenOptions::new().open_sender(path) {
            // Nobody reads yet.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error()) => {
                sleep(LOOK).await;
            }
            other => return other,
        }
    }
}

#[async_trait]
impl Executor for Inside {
    fn title(&self) -> &'static str {
        "kubernetes"
    }

    async fn prepare(&mut self, on: &Ground<'_>) -> Result<(), Failure> {
        self.scripts = on.space.scripts();
        // The job's container may run as anyone.
        let open = |path: PathBuf, mode: u32| {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode))
                .map_err(|e| Failure::System(workspace::unwritable(&path, &e)))
        };
        open(on.space.build(), 0o777)?;
        open(on.space.files(), 0o777)?;
        for (name, _) in on.vars.files() {
            open(on.space.files().join(name), 0o666)?;
        }
        for pipe in ["go", "code", "end"] {
            make_pipe(&self.scripts.join(pipe)).map_err(|e| broken("a pipe cannot be made", &e))?;
        }
        let code = pipe::OpenOptions::new().open_receiver(self.scripts.join("code"));
        let code = code.map_err(|e| broken("a pipe cannot be opened", &e))?;
        self.code = Some(Arc::new(Mutex::new(Codes {
            pipe: code,
            line: Vec::new(),
            over: false,
        })));
        on.trace.line("Waiting for the job's container …");
        let path = self.scripts.join("go");
        let go = sender(&path).await;
        let go = go.and_then(|go| Ok((go, pipe::OpenOptions::new().open_receiver(&path)?)));
        self.go = Some(go.map_err(|e| broken("a pipe cannot be opened", &e))?);
        wait_for_services(on).await;
        Ok(())
    }

    async fn start(&mut self, on: &Ground<'_>, script: &[String]) -> Result<Box<dyn Process>, Failure> {
        self.number += 1;
        let number = self.number;
        for (bash, shell) in [(true, "bash"), (false, "sh")] {
            let mut text = script::exports(&on.vars.environment());
            text.push_str(&script::render(bash, on.debug(), &on.project_dir, script));
            let path = self.scripts.join(format!("step-{number}.{shell}"));
            workspace::write_readable(&path, text.as_bytes())
                .map_err(|e| workspace::unwritable(&path, &e))?;
        }
        let path = self.scripts.join(format!("out-{number}"));
        make_pipe(&path).map_err(|e| broken("its output has no pipe", &e))?;
        let (Some((go, _)), Some(code)) = (&mut self.go, &self.code) else {
            return Err(Problem::internal().into());
        };
        go.write_all(format!("{number}\n").as_bytes())
            .await
            .map_err(|e| broken("it is gone", &e))?;
        let output = receiver(path)
            .await
            .map_err(|e| broken("it does not begin", &e))?;
        Ok(Box::new(Script {
            number,
            output: Some(output),
            code: Arc::clone(code),
            end: self.scripts.join("end"),
            ended: None,
        }))
    }

    async fn settle(&mut self) {
        if self.go.is_some() {
            signal(&self.scripts.join("end"), "KILL").await;
        }
    }

    async fn clean(&mut self) {
        if let Some((mut go, _)) = self.go.take() {
            let _ = timeout(SOON, go.write_all(b"over\n")).await;
        }
    }
}

/// Has all processes of the job's container get a signal.
async fn signal(end: &Path, name: &str) {
    let told = async {
        let mut end = sender(end).await?;
        end.write_all(format!("{name}\n").as_bytes()).await
    };
    if !matches!(timeout(SOON, told).await, Ok(Ok(()))) {
        tracing::warn!(name, "the job's container takes no signal; its pod is taken away");
    }
}

/// Waits until services listen on the ports that their variables name; the pod's containers share one network.
async fn wait_for_services(on: &Ground<'_>) {
    for wanted in &on.job.services {
        let port = service::variables(&on.vars, wanted).get(service::PORT);
        let Some(port) = port.and_then(|port| port.trim().parse::<u16>().ok()) else {
            continue;
        };
        let until = Instant::now() + on.shared.config.podman.service_wait;
        let listens = loop {
            if let Ok(Ok(_)) = timeout(SOON, TcpStream::connect(("127.0.0.1", port))).await {
                break true;
            }
            if Instant::now() >= until {
                break false;
            }
            sleep(LOOK * 5).await;
        };
        let name = on.vars.expand(&wanted.name);
        if listens {
            on.trace.line(&format!("The service {name} listens on {port}"));
        } else {
            on.trace.warn(&format!(
                "The service {name} does not listen on {port} after {} s (`service_wait_seconds`); the job goes on.",
                on.shared.config.podman.service_wait.as_secs()
            ));
        }
    }
}

/// Opens a pipe to read once someone writes it: before that it looks like one that all have left.
async fn receiver(path: PathBuf) -> io::Result<pipe::Receiver> {
    /// Lets go whoever waits for a writer.
    struct Release(PathBuf);
    impl Drop for Release {
        fn drop(&mut self) {
            drop(fs::File::options().read(true).write(true).open(&self.0));
        }
    }
    let release = Release(path.clone());
    let opened = tokio::task::spawn_blocking(move || fs::File::open(path));
    let file = match timeout(BEGINS, opened).await {
        Ok(opened) => opened.map_err(io::Error::other).flatten()?,
        Err(_) => return Err(io::Error::from(io::ErrorKind::TimedOut)),
    };
    drop(release);
    pipe::Receiver::from_file(file)
}

/// How scripts ended, as the job's container tells.
#[derive(Debug)]
struct Codes {
    pipe: pipe::Receiver,
    /// What came of the next line.
    line: Vec<u8>,
    /// Whether nobody is there to tell.
    over: bool,
}

/// A script that runs in the job's container.
struct Script {
    number: u32,
    output: Option<pipe::Receiver>,
    code: Arc<Mutex<Codes>>,
    end: PathBuf,
    ended: Option<Exit>,
}

impl Script {
    /// The next line of codes; `None` once the container has ended.
    async fn line(&self) -> Option<String> {
        let mut codes = self.code.lock().await;
        loop {
            let mut byte = [0];
            match codes.pipe.read(&mut byte).await {
                Ok(1) if byte == *b"\n" => {
                    let line = std::mem::take(&mut codes.line);
                    return Some(String::from_utf8_lossy(&line).into_owned());
                }
                Ok(1) => codes.line.extend(byte),
                _ => {
                    codes.over = true;
                    return None;
                }
            }
        }
    }
}

#[async_trait]
impl Process for Script {
    fn output(&mut self) -> Option<Box<dyn AsyncRead + Send + Unpin>> {
        let output = self.output.take()?;
        Some(Box::new(output))
    }

    async fn wait(&mut self) -> Result<Exit> {
        if let Some(exit) = self.ended {
            return Ok(exit);
        }
        while let Some(line) = self.line().await {
            let Some((number, code)) = line.split_once(' ') else {
                continue;
            };
            if number.parse() != Ok(self.number) {
                continue;
            }
            let exit = Exit {
                code: code.trim().parse().unwrap_or(1),
                timed_out: false,
                oom_killed: false,
                started: true,
            };
            self.ended = Some(exit);
            return Ok(exit);
        }
        sleep(RUNNERS_TURN).await;
        Err(Problem::new(
            503,
            "container_gone",
            "The job's container ended before its script did.",
        )
        .why("The cluster ended it, or it used more memory than it may.")
        .next("See the events of the pod's namespace."))
    }

    async fn terminate(&mut self, grace: Duration) -> Result<Exit> {
        let killed = Exit {
            code: 137,
            timed_out: false,
            oom_killed: false,
            started: true,
        };
        if self.code.lock().await.over {
            return Ok(killed);
        }
        if !grace.is_zero() {
            signal(&self.end, "TERM").await;
            if let Ok(exit) = timeout(grace, self.wait()).await {
                return exit;
            }
        }
        signal(&self.end, "KILL").await;
        match timeout(SOON, self.wait()).await {
            Ok(exit) => exit,
            // Its pod is taken away as soon as the helper has reported.
            Err(_) => Ok(killed),
        }
    }
}
