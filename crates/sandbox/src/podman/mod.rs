//! Calls podman: for agents that run images, and for jobs that name one.

mod conf;

pub use conf::write as write_settings;

use bascule_core::Problem;
use std::{
    fmt,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::process::Command;

/// Where podman and what it calls lie.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Name of the file that tells of want of memory.
pub const OOM: &str = "oom";

/// How to call it.
#[derive(Clone, Debug, Default)]
pub struct Podman {
    /// Its configuration (`CONTAINERS_CONF`), where not the machine's own.
    pub settings: Option<PathBuf>,
    /// Its registries (`CONTAINERS_REGISTRIES_CONF`), where not the machine's own.
    pub registries: Option<PathBuf>,
    /// Where it is called, if not where this process is: what looks after a container leaves a file [`OOM`] there when the
    /// container ran out of memory.
    pub folder: Option<PathBuf>,
}

/// A call that failed.
#[derive(Debug)]
pub struct Failed {
    /// Podman's exit code, if it ran.
    code: Option<i32>,
    missing: bool,
    said: String,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.said)
    }
}

impl Failed {
    /// A failure that podman did not tell itself.
    #[must_use]
    pub fn other(said: String) -> Self {
        Self {
            code: None,
            missing: false,
            said,
        }
    }

    /// What podman said.
    #[must_use]
    pub fn said(&self) -> &str {
        &self.said
    }

    /// Whether podman is not installed.
    #[must_use]
    pub fn missing(&self) -> bool {
        self.missing
    }

    /// Whether the machine is at fault and not what podman was given.
    #[must_use]
    pub fn machine(&self) -> bool {
        self.code.is_none() || self.said.contains("no space left on device")
    }

    /// Whether the runtime says that there is no such program in the image. The codes alone do not tell it:
    /// they also stand for what the machine does not allow.
    #[must_use]
    pub fn bad_command(&self) -> bool {
        matches!(self.code, Some(126 | 127))
            && ["exec: ", "executable file"]
                .iter()
                .any(|sign| self.said.contains(sign))
    }

    /// In words for people.
    #[must_use]
    pub fn problem(&self, what: &str) -> Problem {
        let problem = Problem::new(503, "podman", what).why(self.said.clone());
        if self.missing {
            return problem.next("Install it: `apt install podman runc netavark`.");
        }
        problem.next("See podman's message, and `podman info` on that machine.")
    }
}

/// Whether podman is on this machine.
#[must_use]
pub fn is_installed() -> bool {
    PATH.split(':').any(|dir| Path::new(dir).join("podman").is_file())
}

impl Podman {
    /// A call, with nothing of this process's environment but what podman needs.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        // By its path, for which nothing of this process is copied: see `which` in the workspace's manifest.
        let program = which::which_in("podman", Some(PATH), "/").unwrap_or_else(|_| "podman".into());
        let mut command = Command::new(program);
        command
            .args(arguments)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .env_clear();
        command.env("PATH", PATH);
        for name in [
            "HOME",
            "USER",
            "XDG_RUNTIME_DIR",
            "DBUS_SESSION_BUS_ADDRESS",
            "HTTP_PROXY",
            "HTTPS_PROXY",
            "NO_PROXY",
            "SSL_CERT_FILE",
            "SSL_CERT_DIR",
        ] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        if let Some(settings) = &self.settings {
            command.env("CONTAINERS_CONF", settings);
        }
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        if let Some(registries) = &self.registries {
            command.env("CONTAINERS_REGISTRIES_CONF", registries);
        }
        command
    }

    /// Runs it to its end and gives what it printed.
    ///
    /// # Errors
    /// What podman said, or that it did not end in time.
    pub async fn run(&self, arguments: &[&str], within: Duration) -> Result<String, Failed> {
        let mut command = self.command(arguments);
        let verb = arguments.first().copied().unwrap_or_default();
        let output = match tokio::time::timeout(within, command.output()).await {
            Ok(Ok(output)) => output,
            Ok(Err(error)) => {
                return Err(Failed {
                    code: None,
                    missing: error.kind() == std::io::ErrorKind::NotFound,
                    said: format!("podman cannot be called: {error}"),
                });
            }
            Err(_) => {
                return Err(Failed::other(format!(
                    "podman {verb} did not end within {} s",
                    within.as_secs()
                )));
            }
        };
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let said: Vec<&str> = said
            .lines()
            .filter(|line| !line.contains("level=warning") && !line.trim().is_empty())
            .collect();
        let last = said
            .get(said.len().saturating_sub(3)..)
            .unwrap_or_default()
            .join("; ");
        Err(Failed {
            code: output.status.code(),
            missing: false,
            said: last,
        })
    }
}
