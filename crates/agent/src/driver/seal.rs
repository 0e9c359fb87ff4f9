//! What a folder held when it was made, so that a later change on disk is noticed before anything of it is
//! started.

use bascule_core::Digest;
use sha2::{Digest as _, Sha256};
use std::{
    collections::BTreeMap,
    fs, io,
    io::Read as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

#[derive(Clone, Debug, PartialEq, Eq)]
enum Held {
    Folder,
    File(Digest, u32),
    Link(PathBuf),
    Other,
}

/// Every file, folder and link of some folders, as it was.
#[derive(Clone, Debug)]
pub(crate) struct Seal {
    roots: Vec<PathBuf>,
    held: BTreeMap<PathBuf, Held>,
}

impl Seal {
    /// Looks at all there is in these folders. Reads every byte.
    pub(crate) fn of(roots: Vec<PathBuf>) -> io::Result<Self> {
        let held = look(&roots)?;
        Ok(Self { roots, held })
    }

    /// What was changed or removed since, if anything; with `strict` also what was added.
    pub(crate) fn broken(&self, strict: bool) -> io::Result<Option<PathBuf>> {
        let mut now = look(&self.roots)?;
        for (path, held) in &self.held {
            if now.remove(path).as_ref() != Some(held) {
                return Ok(Some(path.clone()));
            }
        }
        Ok(now.into_keys().next().filter(|_| strict))
    }
}

fn look(roots: &[PathBuf]) -> io::Result<BTreeMap<PathBuf, Held>> {
    let mut held = BTreeMap::new();
    let mut folders: Vec<PathBuf> = roots.to_vec();
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            // Its absence shows as a missing entry.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            let (path, kind) = (entry.path(), entry.file_type()?);
            let found = if kind.is_dir() {
                folders.push(path.clone());
                Held::Folder
            } else if kind.is_file() {
                Held::File(digest(&path)?, entry.metadata()?.permissions().mode())
            } else if kind.is_symlink() {
                Held::Link(fs::read_link(&path)?)
            } else {
                Held::Other
            };
            held.insert(path, found);
        }
    }
    Ok(held)
}

fn digest(path: &Path) -> io::Result<Digest> {
    let (mut file, mut hash, mut buffer) = (fs::File::open(path)?, Sha256::new(), vec![0_u8; 128 * 1024]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(Digest::from_hash(&hash.finalize())),
            read => hash.update(buffer.get(..read).unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_noticed_and_an_addition_where_it_matters() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        fs::create_dir_all(root.join("bin")).unwrap();
        fs::write(root.join("bin/app"), "good").unwrap();
        std::os::unix::fs::symlink("bin/app", root.join("run")).unwrap();
        let seal = Seal::of(vec![root.clone()]).unwrap();
        assert_eq!(seal.broken(true).unwrap(), None);
        fs::write(root.join("data"), "its own").unwrap();
        assert_eq!(seal.broken(false).unwrap(), None);
        assert_eq!(seal.broken(true).unwrap(), Some(root.join("data")));
        fs::write(root.join("bin/app"), "evil").unwrap();
        assert_eq!(seal.broken(false).unwrap(), Some(root.join("bin/app")));
        fs::write(root.join("bin/app"), "good").unwrap();
        assert_eq!(seal.broken(false).unwrap(), None);
        fs::remove_file(root.join("run")).unwrap();
        assert_eq!(seal.broken(false).unwrap(), Some(root.join("run")));
    }
}
