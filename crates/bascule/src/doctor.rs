//! `bascule doctor`: what this machine lacks, and how to get it.

use crate::cli::output::{Output, line};
use serde::Serialize;
use std::process::Command;

#[derive(Serialize)]
struct Check {
    name: &'static str,
    found: Option<String>,
    needed: bool,
    purpose: &'static str,
    get: &'static str,
}

const GIT_AT_LEAST: (u32, u32) = (2, 38);

/// Looks, prints, and returns whether everything needed is there.
pub async fn run(out: Output) -> bool {
    let checks = [
        check(
            "git",
            &["--version"],
            true,
            "serves clones and pushes (2.38 or later, for merge-tree)",
            "apt-get install git",
        ),
        check(
            "bwrap",
            &["--version"],
            true,
            "isolates jobs and products",
            "apt-get install bubblewrap",
        ),
        check(
            "prlimit",
            &["--version"],
            true,
            "limits jobs and products",
            "apt-get install util-linux",
        ),
        check(
            "tar",
            &["--version"],
            false,
            "jobs pack artifacts with it",
            "apt-get install tar",
        ),
        check(
            "podman",
            &["--version"],
            false,
            "runs container jobs and products (not used yet)",
            "apt-get install podman",
        ),
        check(
            "node",
            &["--version"],
            false,
            "the demo's service",
            "apt-get install nodejs npm",
        ),
    ];
    let git_old = checks[0]
        .found
        .as_deref()
        .and_then(version)
        .is_some_and(|found| found < GIT_AT_LEAST);
    let sandbox = bascule_sandbox::Sandbox::available().await;
    let mut good = !git_old && sandbox.is_ok();
    for check in &checks {
        good &= check.found.is_some() || !check.needed;
    }
    if out.is_json() {
        let problem = sandbox.err().map(|p| p.what);
        line(&serde_json::json!({ "ready": good, "checks": checks, "sandbox": problem, "ssh_host_key": host_key() }).to_string());
        return good;
    }
    for check in &checks {
        match (&check.found, check.needed) {
            (Some(version), _) => line(&format!("ok       {:<8} {version}", check.name)),
            (None, true) => line(&format!(
                "MISSING  {:<8} {}\n         get it: {}",
                check.name, check.purpose, check.get
            )),
            (None, false) => line(&format!(
                "absent   {:<8} {}; if wanted: {}",
                check.name, check.purpose, check.get
            )),
        }
    }
    if git_old {
        line("TOO OLD  git      version 2.38 or later is needed");
    }
    if let Err(problem) = sandbox {
        line(&format!("MISSING  sandbox  {problem}"));
    }
    if let Some(fingerprint) = host_key() {
        line(&format!("ssh key  {:<8} {fingerprint}", "server"));
    }
    line(if good {
        "This machine is ready."
    } else {
        "This machine is not ready: see above."
    });
    good
}

/// The fingerprint of this machine's SSH server, where its data directory is known and readable.
fn host_key() -> Option<String> {
    let config = crate::config::Config::read(&crate::config::ServerOptions::default()).ok()?;
    bascule_forge::ssh::host_key_fingerprint(&config.data)
}

fn check(name: &'static str, args: &[&str], needed: bool, purpose: &'static str, get: &'static str) -> Check {
    let found = Command::new(name)
        .args(args)
        .output()
        .ok()
        .filter(|o| o.status.success())
        .map(|o| {
            String::from_utf8_lossy(&o.stdout)
                .lines()
                .next()
                .unwrap_or_default()
                .trim()
                .to_owned()
        });
    Check {
        name,
        found,
        needed,
        purpose,
        get,
    }
}

fn version(text: &str) -> Option<(u32, u32)> {
    let number = text
        .split_whitespace()
        .find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    let mut parts = number.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    #[test]
    fn versions_are_read_from_what_git_prints() {
        assert_eq!(super::version("git version 2.47.3"), Some((2, 47)));
        assert_eq!(super::version("nothing"), None);
    }
}
