//! Repositories as jobs get them, kept to be copied. All jobs of a pipeline want the same one, and git takes a dozen
//! processes to make it; a copy takes none. A job gets files of its own, never links: it may write what is its own.

use bascule_core::Digest;
use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::SystemTime,
};

/// Repositories kept for one project: as many branches may be built at the same time without making each anew.
const KEPT: usize = 3;

/// The place of one repository, whether it is there or not.
#[derive(Clone, Debug)]
pub(crate) struct Ready {
    cache: PathBuf,
    name: String,
}

impl Ready {
    /// Of a project's object cache; `wish` is all that makes the repository what it is.
    pub(crate) fn of(cache: &Path, wish: &[&str]) -> Self {
        Self {
            cache: cache.to_owned(),
            name: Digest::of(wish.join("\0").as_bytes()).hex().to_owned(),
        }
    }

    fn folder(&self) -> PathBuf {
        self.cache.with_extension("ready")
    }

    /// Copies it to where a job wants it; `false` if it is not there. Waits for nobody but who fetches into the cache.
    pub(crate) async fn copy(&self, to: &Path) -> io::Result<bool> {
        let (ready, to) = (self.clone(), to.to_owned());
        blocking(move || {
            if !ready.folder().join(&ready.name).is_dir() {
                return Ok(false);
            }
            let held = lock_file(&ready.cache)?;
            held.lock_shared()?;
            ready.copy_held(&to)
        })
        .await
    }

    /// The same for who holds the cache's lock.
    pub(crate) async fn copy_locked(&self, to: &Path) -> io::Result<bool> {
        let (ready, to) = (self.clone(), to.to_owned());
        blocking(move || ready.copy_held(&to)).await
    }

    fn copy_held(&self, to: &Path) -> io::Result<bool> {
        let from = self.folder().join(&self.name);
        if !from.is_dir() {
            return Ok(false);
        }
        copy_all(&from, to)?;
        Ok(true)
    }

    /// Keeps a copy of what was just made and no job has touched. Only for who holds the cache's lock.
    pub(crate) async fn keep(&self, made: &Path) -> io::Result<()> {
        let (ready, made) = (self.clone(), made.to_owned());
        blocking(move || {
            let folder = ready.folder();
            // What an earlier life did not finish is written anew.
            let new = folder.join("new");
            remove(&new)?;
            fs::create_dir_all(&folder)?;
            copy_all(&made, &new)?;
            fs::rename(&new, folder.join(&ready.name))?;
            forget_oldest(&folder)
        })
        .await
    }
}

/// The file whose lock guards a project's cache and all that is made of it.
pub(crate) fn lock_file(cache: &Path) -> io::Result<File> {
    File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(cache.with_extension("lock"))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)?
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn forget_oldest(folder: &Path) -> io::Result<()> {
    let mut all: Vec<(SystemTime, PathBuf)> = fs::read_dir(folder)?
        .flatten()
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    all.sort();
    let old = all.len().saturating_sub(KEPT);
    for (_, path) in all.into_iter().take(old) {
        remove(&path)?;
    }
    Ok(())
}

/// Copies a folder of files and folders; what else there may be is left out.
fn copy_all(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (kind, to) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            copy_all(&entry.path(), &to)?;
        } else if kind.is_file() {
            // On file systems that can, this shares the blocks until one side writes.
            fs::copy(entry.path(), &to)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_kept_is_copied_and_the_oldest_goes() {
        let dir = tempfile::tempdir().unwrap();
        let made = dir.path().join("made");
        fs::create_dir_all(made.join("objects/pack")).unwrap();
        fs::write(made.join("objects/pack/a.pack"), "pack").unwrap();
        let cache = dir.path().join("cache.git");
        let places: Vec<Ready> = (0..5)
            .map(|n| Ready::of(&cache, &["x", &n.to_string()]))
            .collect();
        assert!(!places[0].copy(&dir.path().join("job")).await.unwrap());
        for (place, second) in places.iter().zip(1..) {
            place.keep(&made).await.unwrap();
            let at = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(second);
            let kept = File::open(place.folder().join(&place.name)).unwrap();
            kept.set_modified(at).unwrap();
        }
        let last = dir.path().join("last");
        assert!(places[4].copy(&last).await.unwrap());
        assert_eq!(fs::read(last.join("objects/pack/a.pack")).unwrap(), b"pack");
        assert!(!places[0].copy(&dir.path().join("first")).await.unwrap());
        assert_eq!(fs::read_dir(places[0].folder()).unwrap().count(), KEPT);
    }
}
