use crate::{Page, Postgres};
use serde_json::Value;
use std::{
    collections::VecDeque,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

/// Which database an app runs on.
#[derive(Clone, Debug)]
enum Database {
    Sqlite,
    Postgres(Arc<Postgres>),
}

/// `bascule up` with a data directory and ports of its own; ended, and its directory removed, on drop.
pub struct TestApp {
    binary: PathBuf,
    // Unmounted before its folder is removed.
    small_disk: Option<SmallDisk>,
    data: tempfile::TempDir,
    database: Database,
    variables: Vec<(String, String)>,
    /// Started in the directory above its data, which it is told as a relative path.
    relative: bool,
    /// Where it listens at its first start.
    listen: String,
    child: Option<Child>,
    log: Arc<Mutex<VecDeque<String>>>,
    url: String,
    token: String,
    http: reqwest::Client,
}

const READY_WITHIN: Duration = Duration::from_secs(60);
const LOG_LINES: usize = 400;

impl TestApp {
    /// Starts `binary` (in a test: `env!("CARGO_BIN_EXE_bascule")`) on SQLite.
    #[must_use]
    pub fn start(binary: &str) -> Self {
        Self::with(binary, Database::Sqlite, &[])
    }

    /// Starts it with more environment variables.
    #[must_use]
    pub fn start_with(binary: &str, variables: &[(&str, &str)]) -> Self {
        Self::with(binary, Database::Sqlite, variables)
    }

    /// Starts it on a PostgreSQL of its own.
    #[must_use]
    pub fn start_on_postgres(binary: &str) -> Self {
        Self::with(binary, Database::Postgres(Arc::new(Postgres::start())), &[])
    }

    /// Starts it on a PostgreSQL of its own with more environment variables.
    #[must_use]
    pub fn start_on_postgres_with(binary: &str, variables: &[(&str, &str)]) -> Self {
        Self::with(binary, Database::Postgres(Arc::new(Postgres::start())), variables)
    }

    /// Starts it as a person does who gives `--data ./NAME` in the directory above.
    #[must_use]
    pub fn start_relative(binary: &str) -> Self {
        let mut app = Self::new(binary, Database::Sqlite, &[]);
        app.relative = true;
        app.resume();
        app
    }

    /// Starts it on another address than loopback's; only for a network that is the test's own.
    #[must_use]
    pub fn start_on(binary: &str, listen: &str) -> Self {
        let mut app = Self::new(binary, Database::Sqlite, &[]);
        listen.clone_into(&mut app.listen);
        app.resume();
        app
    }

    /// Starts it with its data on a disk of its own of so many MiB.
    ///
    /// # Panics
    /// Where no file system can be mounted: run it as root, or under `unshare -rm`.
    #[must_use]
    pub fn start_on_small_disk(binary: &str, mib: u32) -> Self {
        let mut app = Self::new(binary, Database::Sqlite, &[]);
        app.small_disk = Some(SmallDisk::mount(app.data.path(), mib));
        app.resume();
        app
    }

    fn with(binary: &str, database: Database, variables: &[(&str, &str)]) -> Self {
        let mut app = Self::new(binary, database, variables);
        app.resume();
        app
    }

    fn new(binary: &str, database: Database, variables: &[(&str, &str)]) -> Self {
        drop(rustls::crypto::ring::default_provider().install_default());
        Self {
            binary: PathBuf::from(binary),
            small_disk: None,
            data: tempfile::tempdir().unwrap(),
            database,
            variables: variables
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
            relative: false,
            listen: "127.0.0.1:0".to_owned(),
            child: None,
            log: Arc::default(),
            url: String::new(),
            token: String::new(),
            http: reqwest::Client::builder()
                .redirect(reqwest::redirect::Policy::none())
                .no_proxy()
                // A connection kept from before a kill would fail the first request after it.
                .pool_max_idle_per_host(0)
                .build()
                .unwrap(),
        }
    }

    /// Starts the process again on the same data.
    pub fn resume(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        // The same port after a restart, so that those who wait for the server find it again.
        let listen = if self.url.is_empty() {
            &self.listen
        } else {
            self.url.trim_start_matches("http://")
        };
        let mut command = Command::new(&self.binary);
        let data = match (
            self.relative,
            self.data.path().parent(),
            self.data.path().file_name(),
        ) {
            (true, Some(above), Some(name)) => {
                command.current_dir(above);
                Path::new(".").join(name)
            }
            _ => self.data.path().to_owned(),
        };
        command
            .args(["up", "--listen", listen, "--data"])
            .arg(&data)
            .envs(self.variables.iter().map(|(k, v)| (k, v)))
            .env_remove("BASCULE_URL")
            .env_remove("BASCULE_TOKEN")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Database::Postgres(postgres) = &self.database {
            command.args(["--database", postgres.url()]);
        }
        let mut child = command.spawn().unwrap();
        let (ready, when_ready) = mpsc::channel();
        for stream in [
            Box::new(child.stdout.take().unwrap()) as Box<dyn std::io::Read + Send>,
            Box::new(child.stderr.take().unwrap()),
        ] {
            let (log, ready) = (self.log.clone(), ready.clone());
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    if let Some(url) = line.strip_prefix("ready ") {
                        drop(ready.send(url.trim().to_owned()));
                    }
                    let mut log = log.lock().unwrap();
                    if log.len() == LOG_LINES {
                        log.pop_front();
                    }
                    log.push_back(line);
                }
            });
        }
        self.child = Some(child);
        self.url = when_ready
            .recv_timeout(READY_WITHIN)
            .unwrap_or_else(|_| panic!("never ready:\n{}", self.log()));
        self.token = std::fs::read_to_string(self.data.path().join("admin.token"))
            .unwrap()
            .trim()
            .to_owned();
    }

    /// The last lines it logged.
    #[must_use]
    pub fn log(&self) -> String {
        self.log
            .lock()
            .unwrap()
            .iter()
            .cloned()
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// Ends the process as a power cut would (SIGKILL).
    pub fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Asks the process to stop (SIGTERM) and returns its exit code.
    pub fn stop(&mut self) -> Option<i32> {
        let mut child = self.child.take().unwrap();
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        child.wait().unwrap().code()
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Its address, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The first administrator's token.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Where its PostgreSQL is reached.
    ///
    /// # Panics
    /// It runs on SQLite.
    #[must_use]
    pub fn database_url(&self) -> &str {
        match &self.database {
            Database::Postgres(postgres) => postgres.url(),
            Database::Sqlite => panic!("it runs on SQLite"),
        }
    }

    /// Its data directory.
    #[must_use]
    pub fn data(&self) -> &Path {
        self.data.path()
    }

    /// A git remote's URL with a token in it.
    #[must_use]
    pub fn remote(&self, project: &str, token: &str) -> String {
        format!(
            "http://git:{token}@{}/{project}.git",
            self.url.trim_start_matches("http://")
        )
    }

    /// The command line as the administrator.
    #[must_use]
    pub fn cli(&self) -> Cli {
        self.cli_as(&self.token)
    }

    /// The command line with another token.
    #[must_use]
    pub fn cli_as(&self, token: &str) -> Cli {
        Cli {
            binary: self.binary.clone(),
            url: self.url.clone(),
            token: token.to_owned(),
        }
    }

    /// A request to a path, with the administrator's token.
    pub fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        self.anonymous(method, path).bearer_auth(&self.token)
    }

    /// A request to a path, as nobody.
    pub fn anonymous(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        self.http
            .request(method.parse().unwrap(), format!("{}{path}", self.url))
    }

    /// A page as the administrator sees it.
    pub async fn page(&self, path: &str) -> Page {
        let answer = self
            .request("GET", path)
            .header("accept", "text/html")
            .send()
            .await
            .unwrap();
        let status = answer.status().as_u16();
        Page::new(path, status, &answer.text().await.unwrap())
    }

    /// JSON from a path, as the administrator.
    pub async fn json(&self, path: &str) -> Value {
        let answer = self.request("GET", path).send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert!(status.is_success(), "GET {path}: {status}\n{text}");
        serde_json::from_str(&text).unwrap()
    }
}

/// A file system in memory over a folder, gone on drop.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(folder: &Path, mib: u32) -> Self {
        let output = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mib}m"), "none"])
            .arg(folder)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "a small disk cannot be mounted; run this as root, or under `unshare -rm`: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Self(folder.to_owned())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a helper that still ends holds it for a moment.
        drop(Command::new("umount").arg("-l").arg(&self.0).output());
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut err = std::io::stderr().lock();
            drop(std::io::Write::write_all(
                &mut err,
                format!("--- the app's log ---\n{}\n", self.log()).as_bytes(),
            ));
        }
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// The command line against one server.
#[derive(Clone, Debug)]
pub struct Cli {
    binary: PathBuf,
    url: String,
    token: String,
}

impl Cli {
    /// Runs a verb and returns what came of it.
    #[must_use]
    pub fn run(&self, args: &[&str]) -> Output {
        Command::new(&self.binary)
            .args(args)
            .env("BASCULE_URL", &self.url)
            .env("BASCULE_TOKEN", &self.token)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// Runs a verb that must succeed and returns what it printed.
    #[must_use]
    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(
            output.status.success(),
            "bascule {args:?}: {:?}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a verb with `--json` that must succeed and returns its value.
    #[must_use]
    pub fn json(&self, args: &[&str]) -> Value {
        let text = self.ok(&[args, &["--json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("bascule {args:?} --json: {e}\n{text}"))
    }

    /// Runs a verb that must fail; returns its exit code and what it said.
    #[must_use]
    pub fn refused(&self, args: &[&str]) -> (i32, String) {
        let output = self.run(args);
        assert!(!output.status.success(), "bascule {args:?} should have failed");
        (
            output.status.code().unwrap_or(-1),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    }
}
