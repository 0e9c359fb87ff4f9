//! Caches kept in a directory of the runner's machine, one archive for each project and key.

use crate::{archive, glob};
use bascule_core::{Digest, Result};
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

/// The caches of one project.
#[derive(Clone, Debug)]
pub(crate) struct Caches {
    root: PathBuf,
    project: String,
    protected: bool,
    most_bytes: u64,
}

/// How servers end the keys of caches that protected and other branches may share.
const SHARED: &str = "-non_protected";

impl Caches {
    /// Protected branches have caches of their own, so that an unprotected one cannot slip something in.
    pub(crate) fn new(root: &Path, project: &str, protected: bool, most_bytes: u64) -> Self {
        Self {
            root: root.to_owned(),
            project: project.to_owned(),
            protected,
            most_bytes,
        }
    }

    /// What a key's cache is called, here and in an object store.
    pub(crate) fn name(&self, key: &str) -> String {
        // A job of a branch that is not protected gets into no other's cache, whatever it calls its key.
        let protected = self.protected && !key.ends_with(SHARED);
        let project = Digest::of(format!("{}\0{protected}", self.project).as_bytes());
        format!("{}/{}.zip", project.hex(), Digest::of(key.as_bytes()).hex())
    }

    fn file(&self, key: &str) -> PathBuf {
        self.root.join(self.name(key))
    }

    /// Unpacks the first of `keys` that there is; tells which.
    pub(crate) fn restore(
        &self,
        keys: &[String],
        into: &Path,
        bounds: archive::Bounds,
    ) -> Result<Option<String>> {
        for key in keys {
            let file = self.file(key);
            if file.is_file() {
                archive::unpack(&file, into, bounds)?;
                return Ok(Some(key.clone()));
            }
        }
        Ok(None)
    }

    /// Stores files under `key`, in the place of what was there; returns the size.
    pub(crate) fn store(&self, key: &str, root: &Path, files: &[String]) -> io::Result<u64> {
        let file = self.file(key);
        let dir = file.parent().unwrap_or(&self.root).to_owned();
        fs::create_dir_all(&dir)?;
        // Jobs that run at once may store the same key.
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let part = dir.join(format!("{}-{number}.part", std::process::id()));
        let size = archive::pack(root, files, &part).inspect_err(|_| {
            let _ = fs::remove_file(&part);
        })?;
        fs::rename(&part, &file)?;
        self.evict(&file)?;
        Ok(size)
    }

    /// Removes the caches stored longest ago until all fit.
    fn evict(&self, keep: &Path) -> io::Result<()> {
        let mut all = Vec::new();
        for path in glob::walk(&self.root)?
            .into_iter()
            .map(|p| self.root.join(p))
            .filter(|p| p != keep)
        {
            let meta = fs::metadata(&path)?;
            all.push((meta.modified()?, meta.len(), path));
        }
        all.sort();
        let mut total: u64 = fs::metadata(keep)?.len() + all.iter().map(|(_, size, _)| size).sum::<u64>();
        for (_, size, path) in all {
            if total <= self.most_bytes {
                break;
            }
            fs::remove_file(path)?;
            total = total.saturating_sub(size);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_comes_back_for_its_project_and_the_oldest_goes() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir(&from).unwrap();
        fs::create_dir(&to).unwrap();
        fs::write(from.join("f"), "x").unwrap();
        let bounds = archive::Bounds {
            bytes: 100,
            entries: 10,
        };
        let caches = Caches::new(&dir.path().join("cache"), "g/p", false, 150);
        let keys = ["none".to_owned(), "k".to_owned()];
        assert_eq!(caches.restore(&keys, &to, bounds).unwrap(), None);
        caches.store("k", &from, &["f".to_owned()]).unwrap();
        assert_eq!(caches.restore(&keys, &to, bounds).unwrap().as_deref(), Some("k"));
        assert_eq!(fs::read_to_string(to.join("f")).unwrap(), "x");
        let protected = Caches::new(&dir.path().join("cache"), "g/p", true, 150);
        assert_eq!(protected.restore(&keys, &to, bounds).unwrap(), None);
        // What the server says may be shared.
        let shared = ["s-non_protected".to_owned()];
        protected.store(&shared[0], &from, &["f".to_owned()]).unwrap();
        assert!(caches.restore(&shared, &to, bounds).unwrap().is_some());
        caches.store("k-protected", &from, &["f".to_owned()]).unwrap();
        let keys_of_others = ["k-protected".to_owned()];
        assert_eq!(protected.restore(&keys_of_others, &to, bounds).unwrap(), None);
        caches.store("k", &from, &["f".to_owned()]).unwrap();
        protected.store("other", &from, &["f".to_owned()]).unwrap();
        assert_eq!(caches.restore(&keys, &to, bounds).unwrap(), None);
    }
}
