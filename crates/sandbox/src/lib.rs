//! Runs untrusted commands under bubblewrap with limits, and calls podman for those who run images.
//!
//! A command sees a read-only `/usr`, a few files of `/etc`, its own `/proc`, `/dev` and `/tmp`, what the
//! caller binds, and nothing else of the machine. It has no capability, no network unless asked for, no view
//! of other processes, and an environment of the caller's words only. When the main process ends, or this
//! process ends, or time is up, the whole process namespace ends with it, grandchildren included.
//!
//! Limits on memory and processes are control groups where this process may create them (version 1 or 2),
//! else resource limits. Without bubblewrap nothing runs: [`Sandbox::available`] says how to get it.
//!
//! Two things a caller must know. As root, the command keeps root's number towards the kernel, without any
//! capability: bind nothing it must not read. And [`Network::Host`] shares the machine's network whole,
//! its loopback and abstract sockets included.

mod cgroup;
pub mod handover;
pub mod podman;
mod process;
mod spec;

pub use process::{Exit, Running, ask_to_end};
pub use spec::{Network, Spec};

use bascule_core::{Problem, Result};
use std::{
    path::PathBuf,
    process::Stdio,
    sync::{Mutex, OnceLock, PoisonError},
    time::Duration,
};

/// Entry to the sandbox of this machine.
#[derive(Clone, Copy, Debug)]
pub struct Sandbox;

/// What was found out about this machine.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    pub(crate) bwrap: PathBuf,
    pub(crate) prlimit: PathBuf,
    pub(crate) sh: PathBuf,
    /// Whether this bubblewrap can forbid further user namespaces, as since 0.8.
    pub(crate) disable_userns: bool,
}

impl Sandbox {
    /// A command to run inside; finish with [`Spec::spawn`].
    pub fn command(program: impl Into<String>) -> Spec {
        Spec::new(program)
    }

    /// Whether commands can be run inside on this machine. Tries it for real the first time, and ends what programs
    /// before this one left behind when they were killed.
    ///
    /// # Errors
    /// What is missing and how to get it.
    pub async fn available() -> Result<()> {
        static TRIED: OnceLock<()> = OnceLock::new();
        if TRIED.get().is_some() {
            return Ok(());
        }
        let refused = |why: String| {
            Problem::new(
                503,
                "sandbox_unavailable",
                "Commands cannot be run in a sandbox on this machine.",
            )
            .why(why)
            .next(
                "Allow unprivileged user namespaces: `sysctl -w user.max_user_namespaces=15000` \
                     (on Ubuntu also `kernel.apparmor_restrict_unprivileged_userns=0`, on older Debian \
                     `kernel.unprivileged_userns_clone=1`), or run as root.",
            )
        };
        cgroup::sweep();
        let mut running = Self::command("/bin/sh")
            .args(["-c", "exit 42"])
            .merge_stderr()
            .spawn()
            .await?;
        let output = running.stdout.take();
        let exit = running.wait_at_most(Duration::from_secs(20)).await?;
        if exit.code == 42 {
            let _ = TRIED.set(());
            return Ok(());
        }
        let mut said = String::new();
        if let Some(output) = output {
            use tokio::io::AsyncReadExt;
            let _ = output.take(4096).read_to_string(&mut said).await;
        }
        Err(refused(format!(
            "bubblewrap ended with code {}: {}",
            exit.code,
            said.trim()
        )))
    }
}

/// Finds the programs the sandbox is made of. Only success is remembered, so that installing them helps at
/// once.
pub(crate) async fn host() -> Result<Host> {
    static FOUND: Mutex<Option<Host>> = Mutex::new(None);
    if let Some(host) = FOUND.lock().unwrap_or_else(PoisonError::into_inner).clone() {
        return Ok(host);
    }
    let missing = |program: &str, package: &str, why: &str| {
        Problem::new(
            503,
            "sandbox_unavailable",
            format!("`{program}` is not installed."),
        )
        .why(why.to_owned())
        .next(format!(
            "Install it: `apt install {package}` (Debian, Ubuntu), `dnf install {package}` (Fedora), \
                 `apk add {package}` (Alpine); then try again, no restart is needed."
        ))
    };
    let reason =
        "Foreign commands are run only under bubblewrap, which keeps them off the rest of the machine.";
    let bwrap = find("bwrap").ok_or_else(|| missing("bwrap", "bubblewrap", reason))?;
    let prlimit = find("prlimit")
        .ok_or_else(|| missing("prlimit", "util-linux", "Resource limits are set with it."))?;
    let sh = find("sh").ok_or_else(|| missing("sh", "dash", "Scripts need a shell."))?;
    let help = tokio::process::Command::new(&bwrap)
        .arg("--help")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .await
        .map_err(|e| missing("bwrap", "bubblewrap", reason).why(format!("It cannot be started: {e}.")))?;
    let disable_userns = String::from_utf8_lossy(&help.stdout).contains("--disable-userns");
    let host = Host {
        bwrap,
        prlimit,
        sh,
        disable_userns,
    };
    *FOUND.lock().unwrap_or_else(PoisonError::into_inner) = Some(host.clone());
    Ok(host)
}

/// Looks where distributions put programs, whatever this process's own `PATH` says.
fn find(program: &str) -> Option<PathBuf> {
    [
        "/usr/bin",
        "/bin",
        "/usr/local/bin",
        "/usr/sbin",
        "/sbin",
        "/run/current-system/sw/bin",
    ]
    .iter()
    .map(|dir| PathBuf::from(dir).join(program))
    .find(|path| path.is_file())
}

#[cfg(test)]
mod tests;
