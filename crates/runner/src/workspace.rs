//! The directory of one job: made fresh, removed whole, found again after a crash.

use crate::api::JobRef;
use bascule_core::{JobId, Problem, Result};
use cap_std::{ambient_authority, fs::Dir};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

const PREFIX: &str = "job-";

/// Which job a directory is of.
#[derive(Serialize, Deserialize)]
struct Mark {
    id: JobId,
    token: String,
}

/// One job's directories.
#[derive(Clone, Debug)]
pub(crate) struct Workspace {
    root: PathBuf,
}

impl Workspace {
    pub(crate) fn create(builds: &Path, job: &JobRef) -> Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let root = builds.join(format!("{PREFIX}{}-{}-{number}", job.id, std::process::id()));
        let space = Self { root };
        space.fill(job).map_err(|e| unwritable(&space.root, &e))?;
        Ok(space)
    }

    /// The one of a pod, part of which other containers have already.
    #[cfg(feature = "kubernetes")]
    pub(crate) fn of_pod(root: PathBuf, job: &JobRef) -> Result<Self> {
        let space = Self { root };
        space.fill(job).map_err(|e| unwritable(&space.root, &e))?;
        Ok(space)
    }

    fn fill(&self, job: &JobRef) -> io::Result<()> {
        let mut private = DirBuilder::new();
        private.mode(0o700).recursive(true).create(&self.root)?;
        for dir in [
            self.build(),
            self.home(),
            self.tmp(),
            self.files(),
            self.scripts(),
            self.meta(),
            self.sources(),
        ] {
            private.create(dir)?;
        }
        fs::set_permissions(self.scripts(), fs::Permissions::from_mode(0o755))?;
        let mark = serde_json::to_vec(&Mark {
            id: job.id,
            token: job.token.clone(),
        })?;
        write_private(&self.meta().join("job.json"), &mark)
    }

    /// All of it.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// A name that no other job of this machine's life has.
    pub(crate) fn name(&self) -> String {
        let name = self.root.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    /// The sources, and where scripts run.
    pub(crate) fn build(&self) -> PathBuf {
        self.root.join("build")
    }

    /// The job's home directory.
    pub(crate) fn home(&self) -> PathBuf {
        self.root.join("home")
    }

    /// The job's `/tmp`, on disk rather than in memory.
    pub(crate) fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// File variables.
    pub(crate) fn files(&self) -> PathBuf {
        self.root.join("files")
    }

    /// Rendered scripts.
    pub(crate) fn scripts(&self) -> PathBuf {
        self.root.join("scripts")
    }

    /// The runner's own; never shown to the job.
    pub(crate) fn meta(&self) -> PathBuf {
        self.root.join("meta")
    }

    /// Where sources are fetched and written out, before the job gets them: git obeys what lies in its repository, so it
    /// works where nothing of the job's has ever been.
    pub(crate) fn sources(&self) -> PathBuf {
        self.root.join("sources")
    }

    /// Gives the job its sources. What a hook or a service left in their place goes.
    pub(crate) fn hand_over(&self) -> io::Result<()> {
        let build = Dir::open_ambient_dir(self.build(), ambient_authority())?;
        let sources = Dir::open_ambient_dir(self.sources(), ambient_authority())?;
        for entry in sources.entries()? {
            let name = entry?.file_name();
            match build.symlink_metadata(&name) {
                Ok(meta) if meta.is_dir() => build.remove_dir_all(&name)?,
                Ok(_) => build.remove_file(&name)?,
                Err(_) => {}
            }
            sources.rename(&name, &build, &name)?;
        }
        Ok(())
    }

    /// Removes all of it.
    pub(crate) async fn wipe(self) {
        let root = self.root;
        let removed = tokio::task::spawn_blocking(move || remove(&root).map_err(|e| (root, e))).await;
        if let Ok(Err((root, error))) = removed {
            tracing::warn!(dir = %root.display(), %error, "a job's directory could not be removed; the next start tries again");
        }
    }
}

/// Writes a file that only this user reads.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    io::Write::write_all(&mut file, content)
}

/// Writes a file that the job reads, whoever it runs as: the folder that all lies in is this user's alone.
pub(crate) fn write_readable(path: &Path, content: &[u8]) -> io::Result<()> {
    write_private(path, content)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644))
}

/// Directories left behind by a runner that was killed, with the jobs they were of.
pub(crate) fn stale(builds: &Path) -> Vec<(Workspace, Option<JobRef>)> {
    let Ok(entries) = fs::read_dir(builds) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX))
        .map(|entry| {
            let space = Workspace { root: entry.path() };
            let mark = fs::read(space.meta().join("job.json")).ok();
            let mark: Option<Mark> = mark.and_then(|bytes| serde_json::from_slice(&bytes).ok());
            (
                space,
                mark.map(|m| JobRef {
                    id: m.id,
                    token: m.token,
                    debug: false,
                }),
            )
        })
        .collect()
}

/// Makes sure that this is the only runner on `builds`; the lock ends with the file.
pub(crate) fn lock(builds: &Path) -> Result<File> {
    let file = DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(builds)
        .and_then(|()| {
            File::options()
                .write(true)
                .create(true)
                .truncate(false)
                .open(builds.join("lock"))
        })
        .map_err(|e| unwritable(builds, &e))?;
    file.try_lock().map_err(|_| {
        Problem::conflict(
            "runner_running",
            format!("Another runner works in {}.", builds.display()),
        )
        .why("Two runners in one directory would remove each other's jobs.")
        .next("Stop the other one, or give this one a directory of its own.")
    })?;
    Ok(file)
}

fn remove(root: &Path) -> io::Result<()> {
    match fs::remove_dir_all(root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(_) => {
            // A job may have taken away its own right to change a directory.
            open_up(root)?;
            fs::remove_dir_all(root)
        }
        Ok(()) => Ok(()),
    }
}

fn open_up(dir: &Path) -> io::Result<()> {
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            open_up(&entry.path())?;
        }
    }
    Ok(())
}

pub(crate) fn unwritable(path: &Path, error: &io::Error) -> Problem {
    Problem::new(
        503,
        "unwritable",
        format!("{} cannot be written.", path.display()),
    )
    .why(error.to_string())
    .next("Check free space and permissions there.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_workspace_is_found_again_and_goes_whole() {
        let dir = tempfile::tempdir().unwrap();
        let builds = dir.path().join("builds");
        let held = lock(&builds).unwrap();
        assert_eq!(lock(&builds).unwrap_err().code, "runner_running");
        let job = JobRef {
            id: JobId(7),
            token: "t".into(),
            debug: false,
        };
        let space = Workspace::create(&builds, &job).unwrap();
        let shut = space.build().join("shut");
        fs::create_dir(&shut).unwrap();
        fs::write(shut.join("f"), "").unwrap();
        fs::set_permissions(&shut, fs::Permissions::from_mode(0o000)).unwrap();
        let mut found = stale(&builds);
        assert_eq!(found.len(), 1);
        let (space, job) = found.remove(0);
        assert_eq!(job.unwrap().id, JobId(7));
        space.wipe().await;
        assert!(stale(&builds).is_empty());
        drop(held);
    }
}
