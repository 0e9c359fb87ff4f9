//! How much a job may write: watched, since a file system's own quotas take rights that a runner need not have.

use rustix::fs::statvfs;
use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Time between two looks at the free space, which cost nothing.
const LOOK: Duration = Duration::from_millis(200);
/// Longest time between two counts, which cost time by the number of files.
const COUNT: Duration = Duration::from_secs(15);
/// A count takes at most this share of the time.
const SHARE: u32 = 20;
/// A count is due when the free space fell by this part of what may be written.
const PART: u64 = 16;
/// Room on the file system that jobs leave to others, in bytes.
const RESERVE_BYTES: u64 = 512 << 20;
/// The same in files.
const RESERVE_ENTRIES: u64 = 10_000;

/// What a job may write in all.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quota {
    /// Space on disk, in bytes.
    pub(crate) bytes: u64,
    /// Files, folders and links.
    pub(crate) entries: u64,
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Used {
    bytes: u64,
    entries: u64,
}

impl Quota {
    /// Why this is too much.
    fn broken_by(self, used: Used) -> Option<String> {
        if used.bytes > self.bytes {
            return Some(format!(
                "it wrote {} MiB, more than the {} MiB of disk that a job is allowed (limit `disk_bytes`). Write less, or \
                 ask for a runner that allows more",
                used.bytes >> 20,
                self.bytes >> 20
            ));
        }
        (used.entries > self.entries).then(|| {
            format!(
                "it made {} files or more, and a job is allowed {} (limit `disk_entries`). Make fewer, or ask for a runner \
                 that allows more",
                used.entries, self.entries
            )
        })
    }
}

/// Waits until a job has written more than it may into `folders`, and tells why. Never ends where it does not.
pub(crate) async fn exceeded(quota: Quota, folders: Vec<PathBuf>) -> String {
    let mut counted = Instant::now();
    let mut cost = Duration::ZERO;
    let mut before = free(&folders);
    loop {
        tokio::time::sleep(LOOK).await;
        let now = free(&folders);
        let short = now.bytes < RESERVE_BYTES || now.entries < RESERVE_ENTRIES;
        let fell = before.bytes.saturating_sub(now.bytes) > quota.bytes / PART
            || before.entries.saturating_sub(now.entries) > quota.entries / PART;
        let since = counted.elapsed();
        if !(since >= COUNT.max(cost * SHARE) || (since >= cost * 2 && (fell || short))) {
            continue;
        }
        let (most, all) = (quota, folders.clone());
        let began = Instant::now();
        let used = tokio::task::spawn_blocking(move || count(&all, most))
            .await
            .unwrap_or_default();
        cost = began.elapsed();
        if let Some(why) = quota.broken_by(used) {
            return why;
        }
        // The machine is full, and this job had a good part in it.
        if short && (used.bytes > quota.bytes / PART || used.entries > quota.entries / PART) {
            return format!(
                "the runner's disk is full, and the job has {} MiB in {} files of it. Write less, or ask for a runner with \
                 more space",
                used.bytes >> 20,
                used.entries
            );
        }
        counted = Instant::now();
        before = now;
    }
}

/// The least of what is free where the folders lie.
fn free(folders: &[PathBuf]) -> Used {
    let mut least = Used {
        bytes: u64::MAX,
        entries: u64::MAX,
    };
    for folder in folders {
        if let Ok(stat) = statvfs(folder) {
            least.bytes = least.bytes.min(stat.f_bavail.saturating_mul(stat.f_frsize));
            // Some file systems count no files.
            if stat.f_files > 0 {
                least.entries = least.entries.min(stat.f_favail);
            }
        }
    }
    least
}

/// Counts until it is more than `most`. What vanishes meanwhile is not counted.
fn count(folders: &[PathBuf], most: Quota) -> Used {
    use std::os::unix::fs::MetadataExt as _;
    let mut used = Used::default();
    let mut open: Vec<PathBuf> = folders.to_vec();
    while let Some(folder) = open.pop() {
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries.flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            used.entries += 1;
            // A file of several names is counted once for each: nobody gains by that.
            used.bytes = used.bytes.saturating_add(meta.blocks() * 512);
            if meta.is_dir() && same_device(&meta, &folder) {
                open.push(entry.path());
            }
        }
        if used.bytes > most.bytes || used.entries > most.entries {
            break;
        }
    }
    used
}

/// Whether nothing is mounted there.
fn same_device(meta: &fs::Metadata, parent: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    fs::symlink_metadata(parent).is_ok_and(|parent| parent.dev() == meta.dev())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bytes_and_entries_are_counted_and_the_limit_is_named() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("a")).unwrap();
        fs::write(dir.path().join("a/big"), vec![1_u8; 1 << 20]).unwrap();
        std::os::unix::fs::symlink("/", dir.path().join("root")).unwrap();
        let folders = vec![dir.path().to_owned()];
        let wide = Quota {
            bytes: 1 << 30,
            entries: 100,
        };
        let used = count(&folders, wide);
        assert!(used.entries == 3 && used.bytes >= 1 << 20, "{used:?}");
        assert_eq!(wide.broken_by(used), None);
        let bytes = Quota { bytes: 1000, ..wide };
        assert!(bytes.broken_by(used).unwrap().contains("disk_bytes"));
        let entries = Quota { entries: 2, ..wide };
        assert!(
            entries
                .broken_by(used)
                .unwrap()
                .contains("allowed 2 (limit `disk_entries`)")
        );
    }
}
