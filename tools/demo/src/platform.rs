//! The platform under demonstration: the real binary on a temporary data directory.

use crate::{Error, tell};
use serde_json::Value;
use std::{
    collections::VecDeque,
    io::{BufRead as _, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Arc, Mutex, PoisonError, mpsc},
    time::Duration,
};

pub struct Platform {
    binary: PathBuf,
    child: Child,
    folder: tempfile::TempDir,
    log: Arc<Mutex<VecDeque<String>>>,
    pub url: String,
    pub admin_token: String,
}

const LOG_LINES: usize = 60;

impl Platform {
    pub async fn start() -> Result<Self, Error> {
        tell::chapter("The platform starts: server, runner, agent and edge in one process");
        // The address that the README's screenshots show, if it is free.
        let listen = if std::net::TcpListener::bind("127.0.0.1:8080").is_ok() {
            "127.0.0.1:8080"
        } else {
            "127.0.0.1:0"
        };
        Self::launch(listen).await
    }

    /// A second one, which knows nothing of the first.
    pub async fn start_apart() -> Result<Self, Error> {
        Self::launch("127.0.0.1:0").await
    }

    async fn launch(listen: &str) -> Result<Self, Error> {
        let binary = std::env::current_exe()?.with_file_name("bascule");
        let folder = tempfile::Builder::new().prefix("bascule-demo-").tempdir()?;
        let data = folder.path().join("data");
        std::fs::create_dir(&data)?;
        let config = folder.path().join("bascule.toml");
        std::fs::write(&config, configuration()?)?;
        tell::command("bascule up --data data --config bascule.toml");
        let mut child = Command::new(&binary)
            .args(["up", "--listen", listen, "--data"])
            .arg(&data)
            .arg("--config")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| format!("{}: {e}", binary.display()))?;
        let log: Arc<Mutex<VecDeque<String>>> = Arc::default();
        let (ready, when_ready) = mpsc::channel();
        let streams: [Option<Box<dyn Read + Send>>; 2] = [
            child.stdout.take().map(|s| Box::new(s) as _),
            child.stderr.take().map(|s| Box::new(s) as _),
        ];
        for stream in streams.into_iter().flatten() {
            let (log, ready) = (log.clone(), ready.clone());
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    if let Some(url) = line.strip_prefix("ready ") {
                        drop(ready.send(url.trim().to_owned()));
                    }
                    let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
                    if log.len() == LOG_LINES {
                        log.pop_front();
                    }
                    log.push_back(line);
                }
            });
        }
        drop(ready);
        let waited =
            tokio::task::spawn_blocking(move || when_ready.recv_timeout(Duration::from_secs(60))).await?;
        let mut platform = Self {
            binary,
            child,
            folder,
            log,
            url: String::new(),
            admin_token: String::new(),
        };
        platform.url = waited.map_err(|_| format!("it was never ready:\n{}", platform.log()))?;
        tell::output(&format!("ready {}", platform.url));
        platform.admin_token = std::fs::read_to_string(data.join("admin.token"))?
            .trim()
            .to_owned();
        Ok(platform)
    }

    pub fn log(&self) -> String {
        self.log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .cloned()
            .collect::<Vec<_>>()
            .join("\n")
    }

    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub fn scratch(&self) -> &Path {
        self.folder.path()
    }

    pub fn admin_password(&self) -> String {
        std::fs::read_to_string(self.data().join("admin.password"))
            .unwrap_or_default()
            .trim()
            .to_owned()
    }

    /// Runs a verb, tells it, and returns what came of it.
    pub fn run(&self, token: &str, args: &[&str], input: &str) -> Result<Output, Error> {
        use std::io::Write as _;
        tell::command(&format!("bascule {}", shown(args)));
        let mut child = Command::new(&self.binary)
            .args(args)
            .env("BASCULE_URL", &self.url)
            .env("BASCULE_TOKEN", token)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes())?;
        }
        Ok(child.wait_with_output()?)
    }

    /// Runs a verb that must succeed, and tells what it printed.
    pub fn bascule(&self, token: &str, args: &[&str]) -> Result<String, Error> {
        let output = self.run(token, args, "")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        tell::output(&text);
        if !output.status.success() {
            return Err(format!(
                "bascule {}: {}",
                shown(args),
                String::from_utf8_lossy(&output.stderr)
            )
            .into());
        }
        Ok(text)
    }

    /// Asks for JSON, untold.
    pub fn json(&self, token: &str, args: &[&str]) -> Result<Value, Error> {
        let output = Command::new(&self.binary)
            .args(args)
            .arg("--json")
            .env("BASCULE_URL", &self.url)
            .env("BASCULE_TOKEN", token)
            .stdin(Stdio::null())
            .output()?;
        if !output.status.success() {
            return Err(format!(
                "bascule {}: {}",
                shown(args),
                String::from_utf8_lossy(&output.stderr)
            )
            .into());
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// Stops it as a service manager would; whether it ended well.
    pub fn stop(&mut self) -> bool {
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        self.child.wait().is_ok_and(|status| status.success())
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn shown(args: &[&str]) -> String {
    args.iter()
        .map(|arg| {
            if arg.contains(' ') {
                format!("\"{arg}\"")
            } else {
                (*arg).to_owned()
            }
        })
        .collect::<Vec<_>>()
        .join(" ")
}

/// Time runs faster here: burn-rate windows are a sixtieth, traffic is summed up every ten seconds. Jobs
/// learn this machine's package registry from its own npm, whatever it is.
fn configuration() -> Result<String, Error> {
    let mut text = String::from(
        "alert_time_scale = 0.0166\ntraffic_summary_seconds = 10\njobs = 2\n\n[job_variables]\n",
    );
    let npm = Command::new("npm")
        .args(["config", "get", "registry"])
        .stderr(Stdio::null())
        .output()?;
    let registry = String::from_utf8(npm.stdout)?;
    if let Some(registry) = registry
        .lines()
        .map(str::trim)
        .rfind(|line| line.starts_with("http"))
    {
        text.push_str(&format!("npm_config_registry = {}\n", Value::from(registry)));
    }
    for name in [
        "http_proxy",
        "https_proxy",
        "no_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "NO_PROXY",
    ] {
        if let Ok(value) = std::env::var(name) {
            text.push_str(&format!("{name} = {}\n", Value::from(value)));
        }
    }
    Ok(text)
}
