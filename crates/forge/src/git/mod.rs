//! Running stock git: always with an empty environment and our settings, never with the machine's.

pub(crate) mod http;
pub(crate) mod process;
pub(crate) mod receive;

use crate::{Config, OpenError};
use std::{
    io,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    sync::Arc,
};
use tokio::process::Command;

/// Settings for every git we start. They stand here and not in each repository, so that an upgrade reaches
/// all repositories at once.
const SETTINGS: &[&str] = &[
    "safe.directory=*",
    // What was acknowledged survives a power cut; one flush per push instead of one per object.
    "core.fsync=committed",
    "core.fsyncMethod=batch",
    "core.logAllRefUpdates=false",
    "receive.fsckObjects=true",
    // Harmless faults of old tools, found in the history of well-known projects.
    "receive.fsck.badTimezone=ignore",
    "receive.fsck.missingSpaceBeforeDate=ignore",
    "receive.fsck.zeroPaddedFilemode=ignore",
    // Packing is our own background work, so that nobody's push waits for it.
    "receive.autogc=false",
    "maintenance.auto=false",
    "receive.advertiseAtomic=true",
    "receive.advertisePushOptions=true",
    "transfer.hideRefs=refs/bascule",
    // Thousands of them would be told to everyone who pushes.
    "receive.hideRefs=refs/merge-requests",
    "receive.hideRefs=refs/merge-queue",
    "uploadpack.allowFilter=true",
    "uploadpack.allowAnySHA1InWant=true",
    "init.defaultBranch=main",
];

/// The oldest git that has all we use (`core.fsyncMethod=batch`, `safe.directory`).
const OLDEST: (u32, u32) = (2, 38);

/// How git is started. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Git(Arc<Setup>);

#[derive(Debug)]
struct Setup {
    program: PathBuf,
    hooks: PathBuf,
    home: PathBuf,
    path: std::ffi::OsString,
}

impl Git {
    /// Checks git's version and writes the hooks.
    pub(crate) async fn prepare(config: &Config) -> Result<Self, OpenError> {
        let hooks = config.data.join("hooks");
        write_hooks(&hooks, &config.hook).map_err(|error| OpenError::Io {
            path: hooks.clone(),
            error,
        })?;
        let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
        let git = Self(Arc::new(Setup {
            // By its path: for a bare name each start would copy this process's page tables (`fork`), for which large
            // servers take longer than git for its work.
            program: which::which_in(&config.git, Some(&path), &config.data)
                .unwrap_or_else(|_| config.git.clone().into()),
            hooks,
            home: config.data.clone(),
            path,
        }));
        let answer = git
            .command()
            .arg("version")
            .output()
            .await
            .map_err(|e| OpenError::Git(e.to_string()))?;
        let text = String::from_utf8_lossy(&answer.stdout).trim().to_owned();
        match version(&text) {
            Some(found) if found >= OLDEST => Ok(git),
            _ => Err(OpenError::Git(format!("found `{text}`"))),
        }
    }

    /// A git command with our environment and settings.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.0.program);
        command
            .env_clear()
            .env("PATH", &self.0.path)
            .env("HOME", &self.0.home)
            .env("LC_ALL", "C")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_TERMINAL_PROMPT", "0")
            .current_dir(&self.0.home)
            .stdin(Stdio::null());
        for setting in SETTINGS {
            command.arg("-c").arg(setting);
        }
        let mut hooks = std::ffi::OsString::from("core.hooksPath=");
        hooks.push(&self.0.hooks);
        command.arg("-c").arg(hooks);
        command
    }

    /// A git command within a repository.
    pub(crate) fn within(&self, repository: &Path) -> Command {
        let mut command = self.command();
        command.arg("--git-dir").arg(repository);
        command
    }

    /// A git command within a repository that sees the objects of a push besides, where they are in quarantine.
    pub(crate) fn within_push(&self, repository: &Path, quarantine: Option<&Path>) -> Command {
        let mut command = self.within(repository);
        if let Some(quarantine) = quarantine {
            command
                .env("GIT_OBJECT_DIRECTORY", quarantine)
                .env("GIT_ALTERNATE_OBJECT_DIRECTORIES", repository.join("objects"));
        }
        command
    }

    /// Runs a short command within a repository to its end.
    pub(crate) async fn output(&self, repository: &Path, arguments: &[&str]) -> io::Result<Output> {
        self.within(repository)
            .args(arguments)
            .kill_on_drop(true)
            .output()
            .await
    }
}

/// One central directory of hooks: what they run is ours, whatever a repository holds.
fn write_hooks(directory: &Path, program: &[String]) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::create_dir_all(directory)?;
    let words: Vec<String> = program
        .iter()
        .map(|word| format!("'{}'", word.replace('\'', "'\\''")))
        .collect();
    let script = format!("#!/bin/sh\nexec {}\n", words.join(" "));
    let fresh = directory.join("pre-receive.new");
    std::fs::write(&fresh, script)?;
    std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o755))?;
    std::fs::rename(&fresh, directory.join("pre-receive"))
}

fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.strip_prefix("git version ")?.split(['.', ' ']);
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        assert_eq!(version("git version 2.47.3"), Some((2, 47)));
        assert_eq!(version("git version 2.39.5 (Apple Git-154)"), Some((2, 39)));
        assert_eq!(version("bash: git: not found"), None);
    }
}
