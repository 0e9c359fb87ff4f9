//! One process per data directory.

use bascule_core::{Problem, Result};
use std::{fs::File, io::Write as _, path::Path};

/// Held while a process uses a data directory; the system lets go of it when the process ends, however it
/// ends.
#[derive(Debug)]
pub struct DataLock(#[allow(dead_code, reason = "held, not used")] File);

impl DataLock {
    /// Takes the directory, creating it (mode 0700) if missing.
    pub fn take(directory: &Path) -> Result<Self> {
        let unusable = |error: std::io::Error| {
            Problem::new(
                500,
                "data_directory",
                format!(
                    "The data directory {} cannot be used: {error}.",
                    directory.display()
                ),
            )
            .next("Choose another with --data, or give this user the right to write there.")
        };
        {
            use std::os::unix::fs::DirBuilderExt as _;
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(directory)
                .map_err(unusable)?;
        }
        let path = directory.join("lock");
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(unusable)?;
        if rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err() {
            let holder = std::fs::read_to_string(&path).unwrap_or_default();
            return Err(Problem::conflict(
                "data_directory_in_use",
                format!(
                    "Another Bascule (process {}) already uses {}.",
                    holder.trim(),
                    directory.display()
                ),
            )
            .why("Two processes on one SQLite file and one set of repositories would harm each other.")
            .next("Stop that one, or start this one with another --data."));
        }
        file.set_len(0).map_err(unusable)?;
        write!(file, "{}", std::process::id()).map_err(unusable)?;
        Ok(Self(file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_refused_and_the_third_may_come_after_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let first = DataLock::take(dir.path()).unwrap();
        assert_eq!(
            DataLock::take(dir.path()).unwrap_err().code,
            "data_directory_in_use"
        );
        drop(first);
        DataLock::take(dir.path()).unwrap();
    }
}
