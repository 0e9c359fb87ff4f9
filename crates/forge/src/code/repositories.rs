//! Where repositories live: by identifier, so that renaming moves nothing. Opened ones are kept for a while.

use super::{ReadError, Reading, repository_gone};
use crate::{OpenError, git::Git, project, push::Pushes};
use bascule_core::{Problem, ProjectId, Result};
use bascule_store::Db;
use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// Opened repositories kept.
const OPEN: usize = 128;
/// Objects kept decoded while one request reads.
const OBJECTS: usize = 8 * 1024 * 1024;
/// Leftovers younger than this may still be written to.
const YOUNG: Duration = Duration::from_secs(90);

/// All repositories. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Repositories(Arc<Inner>);

struct Inner {
    root: PathBuf,
    trash: PathBuf,
    git: Git,
    open: Mutex<Opened>,
}

#[derive(Default)]
struct Opened {
    by_id: HashMap<ProjectId, (gix::ThreadSafeRepository, u64)>,
    ticks: u64,
}

impl Repositories {
    pub(crate) fn open(data: &Path, git: Git) -> Result<Self, OpenError> {
        let data = std::path::absolute(data).map_err(|error| OpenError::Io {
            path: data.to_owned(),
            error,
        })?;
        let root = data.join("repositories");
        let trash = root.join("trash");
        std::fs::create_dir_all(&trash).map_err(|error| OpenError::Io {
            path: trash.clone(),
            error,
        })?;
        Ok(Self(Arc::new(Inner {
            root,
            trash,
            git,
            open: Mutex::default(),
        })))
    }

    /// Where a project's repository is. The last two digits spread them evenly over directories.
    pub(crate) fn path(&self, id: ProjectId) -> PathBuf {
        let name = id.to_string();
        let shard = name.get(name.len().saturating_sub(2)..).unwrap_or_default();
        self.0.root.join(shard).join(format!("{name}.git"))
    }

    /// Makes an empty repository, whole or not at all.
    pub(crate) async fn create(&self, id: ProjectId, default_branch: &str) -> Result<()> {
        let fresh = self.0.trash.join(format!("{id}.new"));
        let made = self
            .0
            .git
            .command()
            .args(["init", "--bare", "--quiet", "--template="])
            .arg(format!("--initial-branch={default_branch}"))
            .arg(&fresh)
            .output()
            .await;
        let place = self.path(id);
        let moved = match made {
            Ok(done) if done.status.success() => place
                .parent()
                .map_or(Ok(()), std::fs::create_dir_all)
                .and_then(|()| std::fs::rename(&fresh, &place)),
            Ok(done) => Err(io::Error::other(
                String::from_utf8_lossy(&done.stderr).into_owned(),
            )),
            Err(error) => Err(error),
        };
        moved.map_err(|error| {
            drop(std::fs::remove_dir_all(&fresh));
            disk(&error, "the repository")
        })
    }

    /// Makes a repository with another's branches and tags, whole or not at all. Object files are hard links.
    pub(crate) async fn copy(&self, from: ProjectId, id: ProjectId, default_branch: &str) -> Result<()> {
        let fresh = self.0.trash.join(format!("{id}.new"));
        let place = self.path(id);
        let made = async {
            let run = |mut command: tokio::process::Command| async move {
                let done = command.kill_on_drop(true).output().await?;
                if done.status.success() {
                    return Ok(());
                }
                Err(io::Error::other(
                    String::from_utf8_lossy(&done.stderr).into_owned(),
                ))
            };
            let mut clone = self.0.git.command();
            clone
                .args(["clone", "--bare", "--local", "--quiet", "--template="])
                .arg(self.path(from))
                .arg(&fresh);
            run(clone).await?;
            // The copy is on its own: it keeps no address of this disk.
            let mut forget = self.0.git.within(&fresh);
            forget.args(["remote", "remove", "origin"]);
            run(forget).await?;
            let mut head = self.0.git.within(&fresh);
            head.args(["symbolic-ref", "HEAD"])
                .arg(format!("refs/heads/{default_branch}"));
            run(head).await?;
            if let Some(parent) = place.parent() {
                std::fs::create_dir_all(parent)?;
            }
            std::fs::rename(&fresh, &place)
        };
        made.await.map_err(|error| {
            drop(std::fs::remove_dir_all(&fresh));
            disk(&error, "the copy of a repository")
        })
    }

    /// Removes a repository: out of the way at once, its files afterwards.
    pub(crate) async fn remove(&self, id: ProjectId) {
        self.evict(id);
        let gone = self.0.trash.join(format!("{id}.old"));
        if let Err(error) = std::fs::rename(self.path(id), &gone) {
            tracing::warn!(%error, project = %id, "a repository could not be moved away");
            return;
        }
        drop(tokio::task::spawn_blocking(move || {
            if let Err(error) = std::fs::remove_dir_all(&gone) {
                tracing::warn!(%error, "a deleted repository's files could not all be removed");
            }
        }));
    }

    /// Makes `HEAD` point to a branch, which clones then begin with.
    pub(crate) async fn set_head(&self, id: ProjectId, branch: &str) -> Result<()> {
        let target = format!("refs/heads/{branch}");
        let done = self
            .0
            .git
            .output(&self.path(id), &["symbolic-ref", "HEAD", &target])
            .await;
        self.evict(id);
        match done {
            Ok(done) if done.status.success() => Ok(()),
            Ok(done) => Err(disk(
                &io::Error::other(String::from_utf8_lossy(&done.stderr).into_owned()),
                "HEAD",
            )),
            Err(error) => Err(disk(&error, "HEAD")),
        }
    }

    /// Reads a repository on a thread that may block.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        id: ProjectId,
        read: impl FnOnce(&gix::Repository) -> Reading<T> + Send + 'static,
    ) -> Result<T> {
        let this = self.clone();
        let task = tokio::task::spawn_blocking(move || {
            let mut repository = this.opened(id)?.to_thread_local();
            repository.object_cache_size_if_unset(OBJECTS);
            read(&repository).map_err(Problem::from)
        });
        task.await.unwrap_or_else(|error| {
            tracing::error!(%error, "reading a repository panicked; this is a bug");
            Err(Problem::internal())
        })
    }

    fn opened(&self, id: ProjectId) -> Result<gix::ThreadSafeRepository> {
        {
            let mut open = self.opened_ones();
            open.ticks += 1;
            let tick = open.ticks;
            if let Some((repository, used)) = open.by_id.get_mut(&id) {
                *used = tick;
                return Ok(repository.clone());
            }
        }
        let path = self.path(id);
        if !path.join("HEAD").exists() {
            return Err(repository_gone());
        }
        // The server's own settings and none of the machine's; the directory is ours, whoever owns it.
        let options = gix::open::Options::isolated()
            .open_path_as_is(true)
            .with(gix::sec::Trust::Full);
        let repository = options.open(path).map_err(ReadError::from)?;
        let mut open = self.opened_ones();
        let tick = open.ticks;
        if open.by_id.len() >= OPEN
            && let Some(oldest) = open
                .by_id
                .iter()
                .min_by_key(|(_, (_, used))| *used)
                .map(|(id, _)| *id)
        {
            open.by_id.remove(&oldest);
        }
        open.by_id.insert(id, (repository.clone(), tick));
        Ok(repository)
    }

    /// Opens a repository afresh next time; called when its packs have changed.
    pub(crate) fn evict(&self, id: ProjectId) {
        self.opened_ones().by_id.remove(&id);
    }

    fn opened_ones(&self) -> std::sync::MutexGuard<'_, Opened> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes the quarantine of a push that was killed, if no other push to the project is on its way.
    pub(crate) async fn sweep_quarantine(&self, id: ProjectId, pushes: &Pushes) {
        let objects = self.path(id).join("objects");
        let found = tokio::task::spawn_blocking(move || quarantines(&objects))
            .await
            .unwrap_or_default();
        // Looked at after listing: a push that began since is not in the list, one that began before is busy.
        if found.is_empty() || pushes.busy(id) {
            return;
        }
        let swept = tokio::task::spawn_blocking(move || {
            for path in found {
                if let Err(error) = std::fs::remove_dir_all(&path) {
                    tracing::warn!(path = %path.display(), %error, "a quarantine could not be removed");
                }
            }
        });
        drop(swept.await);
    }

    /// Removes what killed pushes and half-made projects left behind.
    pub(crate) async fn sweep(&self, db: &Db, pushes: &Pushes) {
        let trash = self.0.trash.clone();
        drop(tokio::task::spawn_blocking(move || sweep_directory(&trash, |_| true)).await);
        let mut after = None;
        loop {
            let ids = match project::store::ids(db, after, 200).await {
                Ok(ids) => ids,
                Err(error) => {
                    tracing::warn!(%error, "leftovers could not be swept");
                    return;
                }
            };
            let Some(last) = ids.last().copied() else { return };
            after = Some(last);
            let paths: Vec<PathBuf> = ids
                .into_iter()
                .filter(|id| !pushes.busy(*id))
                .map(|id| self.path(id))
                .collect();
            let swept = tokio::task::spawn_blocking(move || {
                paths.iter().map(|path| sweep_repository(path)).sum::<usize>()
            });
            match swept.await {
                Ok(0) => {}
                Ok(count) => tracing::info!(count, "swept leftovers of pushes that were cut off"),
                Err(error) => tracing::warn!(%error, "leftovers could not be swept"),
            }
        }
    }
}

fn is_quarantine(name: &str) -> bool {
    name.starts_with("tmp_objdir-") || name.starts_with("incoming-")
}

/// Where pushes to a repository lie until git takes them.
pub(crate) fn quarantines(objects: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(objects).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_name().to_str().is_some_and(is_quarantine))
        .map(|entry| entry.path())
        .collect()
}

fn sweep_repository(repository: &Path) -> usize {
    let objects = repository.join("objects");
    let packs = objects.join("pack");
    sweep_directory(&objects, |name| {
        is_quarantine(name) || name.starts_with("tmp_obj_")
    }) + sweep_directory(&packs, |name| {
        name.starts_with("tmp_") || name.starts_with(".tmp-")
    }) + sweep_locks(&repository.join("refs"), 0)
        + sweep_directory(repository, |name| {
            matches!(
                name,
                "packed-refs.lock" | "HEAD.lock" | "shallow.lock" | "packed-refs.new"
            )
        })
}

/// Locks of references that a killed git left; with one of them nobody could push to the branch again.
fn sweep_locks(directory: &Path, depth: usize) -> usize {
    let mut count = sweep_directory(directory, |name| name.ends_with(".lock"));
    if depth < 16
        && let Ok(entries) = std::fs::read_dir(directory)
    {
        for entry in entries
            .flatten()
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        {
            count += sweep_locks(&entry.path(), depth + 1);
        }
    }
    count
}

fn sweep_directory(directory: &Path, leftover: impl Fn(&str) -> bool) -> usize {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return 0;
    };
    let mut count = 0;
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Ok(about) = entry.metadata() else { continue };
        let old = about
            .modified()
            .ok()
            .and_then(|at| at.elapsed().ok())
            .is_some_and(|age| age > YOUNG);
        if !old || !name.to_str().is_some_and(&leftover) {
            continue;
        }
        let removed = if about.is_dir() {
            std::fs::remove_dir_all(entry.path())
        } else {
            std::fs::remove_file(entry.path())
        };
        match removed {
            Ok(()) => count += 1,
            Err(error) => {
                tracing::warn!(path = %entry.path().display(), %error, "a leftover could not be removed");
            }
        }
    }
    count
}

/// What a failing disk is told as.
pub(crate) fn disk(error: &io::Error, what: &str) -> Problem {
    tracing::error!(%error, what, "the disk refused");
    if error.kind() == io::ErrorKind::StorageFull || error.to_string().contains("No space left") {
        return Problem::new(
            507,
            "storage_full",
            "The server's disk is full; nothing was stored.",
        )
        .why("What cannot be stored whole is not stored at all.")
        .next("Ask an administrator to free or add space, then try again.");
    }
    Problem::internal()
}
