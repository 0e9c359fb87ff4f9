use std::{
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// A PostgreSQL cluster of its own, from Debian's binaries, run as an unprivileged user, stopped and
/// removed on drop.
#[derive(Debug)]
pub struct Postgres {
    child: Child,
    url: String,
    _folder: tempfile::TempDir,
}

impl Postgres {
    /// Starts a cluster on a free port of loopback.
    ///
    /// # Panics
    /// PostgreSQL is not installed (`make setup`), or does not start.
    #[must_use]
    pub fn start() -> Self {
        let bin = newest_bin();
        let folder = tempfile::Builder::new().prefix("bascule-pg").tempdir().unwrap();
        let data = folder.path().join("data");
        let root = rustix::process::getuid().is_root();
        if root {
            let status = Command::new("chown")
                .arg("postgres")
                .arg(folder.path())
                .status()
                .unwrap();
            assert!(status.success(), "chown to postgres");
        }
        let run = |program: &str| {
            let path = bin.join(program);
            if root {
                let mut command = Command::new("setpriv");
                command
                    .args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"])
                    .arg(path);
                command
            } else {
                Command::new(path)
            }
        };
        let output = run("initdb")
            .args(["-D"])
            .arg(&data)
            .args([
                "-U",
                "bascule",
                "-A",
                "trust",
                "-E",
                "UTF8",
                "--locale=C.UTF-8",
                "--no-sync",
            ])
            .current_dir("/tmp")
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "initdb: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let child = run("postgres")
            .arg("-D")
            .arg(&data)
            .args(["-p", &port.to_string(), "-h", "127.0.0.1", "-k"])
            .arg(&data)
            .args(["-c", "fsync=off"])
            .current_dir("/tmp")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let postgres = Self {
            child,
            url: format!("postgres://bascule@127.0.0.1:{port}/postgres"),
            _folder: folder,
        };
        let started = Instant::now();
        loop {
            let ready = Command::new(bin.join("pg_isready"))
                .args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()])
                .status()
                .unwrap();
            if ready.success() {
                return postgres;
            }
            assert!(
                started.elapsed() < Duration::from_secs(30),
                "PostgreSQL did not start"
            );
            std::thread::yield_now();
        }
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // SIGQUIT: at once, and its children with it.
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::QUIT);
        drop(self.child.wait());
    }
}

fn newest_bin() -> PathBuf {
    let mut versions: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .map(|entries| {
            entries
                .flatten()
                .map(|e| e.path().join("bin"))
                .filter(|p| p.join("initdb").exists())
                .collect()
        })
        .unwrap_or_default();
    versions.sort();
    versions
        .pop()
        .expect("PostgreSQL is not installed: run `make setup`")
}
