//! How the staging area is changed: each file is whole and durable before it has its name, and each change
//! is one step, so that a process that dies between any two leaves what it had.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};
use tempfile::NamedTempFile;

/// A file that has no name yet. Dropped before [`Draft::keep`], it leaves nothing behind; what a killed
/// process left is removed when the staging area is opened.
pub(crate) struct Draft {
    file: NamedTempFile,
}

impl Draft {
    pub(crate) fn new(folder: &Path) -> io::Result<Self> {
        step()?;
        Ok(Self {
            file: NamedTempFile::new_in(folder)?,
        })
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        step()?;
        self.file.write_all(bytes)
    }

    /// Gives the file its name, durably.
    pub(crate) fn keep(self, path: &Path) -> io::Result<()> {
        step()?;
        self.file.as_file().sync_all()?;
        step()?;
        self.file.persist(path).map_err(|error| error.error)?;
        step()?;
        sync_folder_of(path)
    }
}

/// Writes a small file as one step.
pub(crate) fn write(drafts: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut draft = Draft::new(drafts)?;
    draft.write(bytes)?;
    draft.keep(path)
}

/// Reads a small file; `None` if there is none.
pub(crate) fn read(path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
    match File::open(path) {
        Ok(file) => {
            let mut bytes = Vec::new();
            file.take(limit).read_to_end(&mut bytes)?;
            Ok(Some(bytes))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

pub(crate) fn create_folder(path: &Path) -> io::Result<()> {
    step()?;
    fs::create_dir_all(path)?;
    sync_folder_of(path)
}

/// Removes a file or a folder with all in it. Removing what is not there is no error.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    step()?;
    let outcome = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

/// The size of a file; `None` if there is none.
pub(crate) fn size(path: &Path) -> io::Result<Option<u64>> {
    match fs::metadata(path) {
        Ok(found) => Ok(Some(found.len())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Names and paths in a folder, ordered; none if there is no folder.
pub(crate) fn list(folder: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        found.push((entry.file_name().to_string_lossy().into_owned(), entry.path()));
    }
    found.sort();
    Ok(found)
}

fn sync_folder_of(path: &Path) -> io::Result<()> {
    path.parent()
        .map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

#[cfg(not(test))]
#[allow(clippy::unnecessary_wraps, reason = "tests stop here as if the process died")]
fn step() -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
pub(crate) use fault::step;

/// Tests stop at a chosen step, and everything after it fails too, as if the process had died there.
#[cfg(test)]
pub(crate) mod fault {
    use std::{cell::Cell, io};

    thread_local! { static LEFT: Cell<Option<u32>> = const { Cell::new(None) }; }

    pub(crate) fn after(steps: Option<u32>) {
        LEFT.set(steps);
    }

    pub(crate) fn step() -> io::Result<()> {
        match LEFT.get() {
            Some(0) => Err(io::Error::other("the process is dead")),
            left => {
                LEFT.set(left.map(|left| left - 1));
                Ok(())
            }
        }
    }
}
