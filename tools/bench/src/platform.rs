//! The binary under measurement, on a data directory of its own.

use crate::{Error, Result, process::Server};
use serde_json::{Value, json};
use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// The release binary beside this program.
pub fn binary() -> PathBuf {
    std::env::var_os("BENCH_BASCULE").map_or_else(
        || {
            std::env::current_exe()
                .unwrap_or_default()
                .with_file_name("bascule")
        },
        PathBuf::from,
    )
}

/// `bascule up`, running.
pub struct Platform {
    server: Server,
    pub url: String,
    pub token: String,
    /// From the start of the process to its `ready` line.
    pub ready_after: Duration,
    http: reqwest::Client,
}

impl Platform {
    /// Starts `bascule up` on a data directory and waits for its `ready` line. What it logs goes to
    /// `bascule.log` beside that directory.
    pub fn up(data: &Path) -> Result<Self> {
        Self::start(data, "up", &[])
    }

    /// The same with more options.
    pub fn up_with(data: &Path, more: &[&str]) -> Result<Self> {
        Self::start(data, "up", more)
    }

    /// The same with git over SSH, on a free port of loopback.
    pub fn up_with_ssh(data: &Path) -> Result<Self> {
        Self::start(data, "up", &["--ssh-listen", "127.0.0.1:0"])
    }

    /// Starts `bascule server`, with no runner, agent or edge beside it.
    pub fn server(data: &Path) -> Result<Self> {
        Self::start(data, "server", &[])
    }

    fn start(data: &Path, role: &str, more: &[&str]) -> Result<Self> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(data.with_extension("log"))?;
        let begun = Instant::now();
        let mut child = Command::new(binary())
            .args([role, "--listen", "127.0.0.1:0", "--data"])
            .arg(data)
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .map_err(|e| {
                format!(
                    "{}: {e}; build it with cargo build --release -p bascule",
                    binary().display()
                )
            })?;
        let stdout = child.stdout.take().ok_or("it has no output")?;
        let server = Server::of(child);
        let mut lines = BufReader::new(stdout).lines();
        let url = loop {
            let Some(line) = lines.next() else {
                let log = std::fs::read_to_string(data.with_extension("log")).unwrap_or_default();
                let last: Vec<&str> = log.lines().rev().take(5).collect();
                return Err(format!("bascule {role} was never ready: {}", last.join("\n")).into());
            };
            let line = line?;
            if let Some(url) = line.strip_prefix("ready ") {
                break url.trim().to_owned();
            }
        };
        let ready_after = begun.elapsed();
        // Its log must never fill the pipe.
        std::thread::spawn(move || lines.map_while(std::result::Result::ok).for_each(drop));
        let token = std::fs::read_to_string(data.join("admin.token"))?
            .trim()
            .to_owned();
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self {
            server,
            url,
            token,
            ready_after,
            http,
        })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// Asks it to stop and waits until it has.
    pub fn stop(mut self) {
        self.server.stop();
    }

    /// Gets JSON.
    pub async fn get(&self, path: &str) -> Result<Value> {
        let answer = self
            .http
            .get(format!("{}{path}", self.url))
            .bearer_auth(&self.token)
            .send()
            .await?;
        read(path, answer).await
    }

    /// Posts JSON.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        let request = self
            .http
            .post(format!("{}{path}", self.url))
            .bearer_auth(&self.token)
            .json(body);
        read(path, request.send().await?).await
    }

    /// Gets a page and reads it to the end; the time that took.
    pub async fn time_page(&self, path: &str) -> Result<Duration> {
        let begun = Instant::now();
        let answer = self
            .http
            .get(format!("{}{path}", self.url))
            .bearer_auth(&self.token)
            .send()
            .await?;
        let status = answer.status();
        let body = answer.bytes().await?;
        let took = begun.elapsed();
        if status != 200 || !body.starts_with(b"<!") {
            return Err(format!("{path} answered {status}, {} bytes", body.len()).into());
        }
        Ok(took)
    }

    pub async fn create_group(&self, name: &str) -> Result<()> {
        self.post("/api/v1/groups", &json!({ "name": name }))
            .await
            .map(drop)
    }

    pub async fn create_project(&self, group: &str, name: &str) -> Result<Value> {
        self.post(
            &format!("/api/v1/groups/{group}/projects"),
            &json!({ "name": name }),
        )
        .await
    }

    /// The address for git, with the token in it.
    pub fn git_url(&self, path: &str) -> String {
        format!(
            "{}/{path}.git",
            self.url
                .replacen("http://", &format!("http://bench:{}@", self.token), 1)
        )
    }

    /// Runs a client verb and reads its JSON.
    pub fn verb(&self, arguments: &[&str]) -> Result<Value> {
        let output = Command::new(binary())
            .args(arguments)
            .arg("--json")
            .env("BASCULE_URL", &self.url)
            .env("BASCULE_TOKEN", &self.token)
            .stdin(Stdio::null())
            .output()?;
        if !output.status.success() {
            return Err(format!(
                "bascule {}: {}",
                arguments.join(" "),
                String::from_utf8_lossy(&output.stderr)
            )
            .into());
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }
}

async fn read(path: &str, answer: reqwest::Response) -> Result<Value> {
    let status = answer.status();
    let text = answer.text().await?;
    if !status.is_success() {
        return Err(format!("{path} answered {status}: {text}").into());
    }
    if text.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_str(&text).map_err(|error| Error::from(format!("{path}: {error}")))
}

/// Stock git with no settings of this machine's user; what it printed.
pub fn git(folder: &Path, arguments: &[&str]) -> Result<String> {
    let output = Command::new("git")
        .args([
            "-c",
            "user.name=bench",
            "-c",
            "user.email=bench@example.org",
            "-c",
            "init.defaultBranch=main",
            "-c",
            "gc.auto=0",
        ])
        .args(arguments)
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("NO_PROXY", "127.0.0.1")
        .stdin(Stdio::null())
        .output()?;
    if !output.status.success() {
        let first = arguments.first().unwrap_or(&"");
        return Err(format!("git {first}: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
