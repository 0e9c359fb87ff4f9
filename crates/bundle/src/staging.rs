//! The staging area: a folder in which a set is gathered.
//!
//! ```text
//! DIR/lock                          held while an importer is open
//! DIR/applied.json                  how far this site is
//! DIR/drafts/                       files that are not whole; emptied at start
//! DIR/sets/<sequence>-<id>/         a set that is being gathered
//!   set.json                        its signed manifest, as it came
//!   chunk-<index>-<count>           this chunk was taken to its end
//! DIR/blobs/<digest>                whole blobs
//! DIR/parts/<digest>/<offset>-<size>   parts of blobs that are not whole yet
//! ```

use crate::{Part, Set, container::copy, disk, limits, refuse};
use bascule_core::{Digest, Problem, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::{
    collections::{BTreeMap, HashSet},
    fs::{File, TryLockError},
    io,
    path::{Path, PathBuf},
};

/// How far a site is, or what a hub has taken from a site.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Applied {
    /// The last set that was applied; 0 before the first.
    pub sequence: u64,
    /// The newest checkpoint that was applied.
    #[serde(default)]
    pub checkpoint: Option<u64>,
    /// The newest applied sets, by sequence number.
    #[serde(default)]
    pub history: BTreeMap<u64, Digest>,
}

impl Applied {
    /// Notes that a set was applied.
    pub(crate) fn record(&mut self, sequence: u64, id: &Digest, is_checkpoint: bool) {
        self.sequence = self.sequence.max(sequence);
        if is_checkpoint {
            self.checkpoint = self.checkpoint.max(Some(sequence));
        }
        self.history.insert(sequence, id.clone());
        while self.history.len() > limits::HISTORY {
            self.history.pop_first();
        }
    }
}

/// The folder. All paths in it follow from digests and numbers, none from a name in a bundle.
#[derive(Debug)]
pub(crate) struct Staging {
    folder: PathBuf,
    _lock: File,
}

impl Staging {
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        let prepare = || -> io::Result<File> {
            disk::create_folder(folder)?;
            for name in ["drafts", "sets", "blobs", "parts"] {
                disk::create_folder(&folder.join(name))?;
            }
            File::options()
                .create(true)
                .truncate(false)
                .write(true)
                .open(folder.join("lock"))
        };
        let lock = prepare().map_err(|error| refuse::disk(&error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(refuse::busy()),
            Err(TryLockError::Error(error)) => return Err(refuse::disk(&error)),
        }
        let staging = Self {
            folder: folder.to_owned(),
            _lock: lock,
        };
        staging.empty_drafts().map_err(|error| refuse::disk(&error))?;
        Ok(staging)
    }

    fn empty_drafts(&self) -> io::Result<()> {
        for (_, path) in disk::list(&self.drafts())? {
            disk::remove(&path)?;
        }
        Ok(())
    }

    pub(crate) fn drafts(&self) -> PathBuf {
        self.folder.join("drafts")
    }

    pub(crate) fn blobs(&self) -> PathBuf {
        self.folder.join("blobs")
    }

    fn blob(&self, digest: &Digest) -> PathBuf {
        self.blobs().join(digest.hex())
    }

    fn parts(&self, digest: &Digest) -> PathBuf {
        self.folder.join("parts").join(digest.hex())
    }

    pub(crate) fn part(&self, part: &Part) -> PathBuf {
        if part.is_whole() {
            return self.blob(&part.blob);
        }
        self.parts(&part.blob)
            .join(format!("{:020}-{}", part.offset, part.size))
    }

    pub(crate) fn set_folder(&self, sequence: u64, id: &Digest) -> PathBuf {
        self.folder
            .join("sets")
            .join(format!("{sequence:020}-{}", id.hex()))
    }

    pub(crate) fn applied(&self) -> Result<Applied> {
        let bytes = disk::read(&self.folder.join("applied.json"), limits::MANIFEST_BYTES)
            .map_err(|error| refuse::disk(&error))?;
        let Some(bytes) = bytes else {
            return Ok(Applied::default());
        };
        // Beginning anew would let everything be replayed.
        serde_json::from_slice(&bytes).map_err(|error| {
            Problem::new(
                500,
                "bundle_staging_damaged",
                format!("`applied.json` of the staging area cannot be read: {error}."),
            )
            .why("It says which bundles were applied; without it an old one could be brought again.")
            .next("Put it back from a backup, or remove the staging area and ask the hub for a checkpoint.")
        })
    }

    pub(crate) fn write_applied(&self, applied: &Applied) -> Result<()> {
        serde_json::to_vec_pretty(applied)
            .map_err(io::Error::from)
            .and_then(|json| disk::write(&self.drafts(), &self.folder.join("applied.json"), &json))
            .map_err(|error| refuse::disk(&error))
    }

    /// The folders of the sets that are being gathered, by sequence number.
    pub(crate) fn set_folders(&self) -> io::Result<Vec<PathBuf>> {
        Ok(disk::list(&self.folder.join("sets"))?
            .into_iter()
            .map(|(_, path)| path)
            .collect())
    }

    /// Whether a blob is there and whole.
    pub(crate) fn has(&self, digest: &Digest, size: u64) -> io::Result<bool> {
        Ok(disk::size(&self.blob(digest))? == Some(size))
    }

    /// Notes that a chunk was taken to its end.
    pub(crate) fn mark(&self, set: &Path, index: u32, count: u32) -> io::Result<()> {
        disk::write(&self.drafts(), &set.join(format!("chunk-{index}-{count}")), b"")
    }

    /// The chunks that were not taken yet, of the division into `count`, or else of the one that lacks least.
    pub(crate) fn missing(set: &Path, count: Option<u32>) -> io::Result<Vec<u32>> {
        let taken = Self::taken(set)?;
        let found = match count {
            Some(count) => Some(lacking(count, taken.get(&count).unwrap_or(&HashSet::new()))),
            None => taken
                .iter()
                .map(|(count, taken)| lacking(*count, taken))
                .min_by_key(Vec::len),
        };
        // Before the first chunk is whole nobody knows how many there are.
        Ok(found.unwrap_or_else(|| vec![1]))
    }

    /// The chunks that were taken and those that were not, of the division that lacks least.
    pub(crate) fn gathered(set: &Path) -> io::Result<(Vec<u32>, Vec<u32>)> {
        let found = Self::taken(set)?
            .into_iter()
            .map(|(count, taken)| (lacking(count, &taken), taken))
            .min_by_key(|(missing, _)| missing.len());
        let Some((missing, taken)) = found else {
            return Ok((Vec::new(), vec![1]));
        };
        let mut here: Vec<u32> = taken.into_iter().collect();
        here.sort_unstable();
        Ok((here, missing))
    }

    /// The chunks that were taken, by the division into so many.
    fn taken(set: &Path) -> io::Result<BTreeMap<u32, HashSet<u32>>> {
        let mut taken: BTreeMap<u32, HashSet<u32>> = BTreeMap::new();
        for (name, _) in disk::list(set)? {
            let numbers = name
                .strip_prefix("chunk-")
                .and_then(|numbers| numbers.split_once('-'));
            if let Some((Ok(index), Ok(count))) =
                numbers.map(|(index, count)| (index.parse::<u32>(), count.parse::<u32>()))
            {
                taken.entry(count).or_default().insert(index);
            }
        }
        Ok(taken)
    }

    /// Bytes of blobs and parts that are kept.
    pub(crate) fn used(&self) -> io::Result<u64> {
        let mut total: u64 = 0;
        for (_, blob) in disk::list(&self.folder.join("blobs"))? {
            total = total.saturating_add(disk::size(&blob)?.unwrap_or(0));
        }
        for (_, parts) in disk::list(&self.folder.join("parts"))? {
            for (_, part) in disk::list(&parts)? {
                total = total.saturating_add(disk::size(&part)?.unwrap_or(0));
            }
        }
        Ok(total)
    }

    /// Joins a blob from its parts once all are there. `false`: some are missing.
    pub(crate) fn join(&self, digest: &Digest, size: u64) -> Result<bool> {
        let fault = |error: io::Error| refuse::disk(&error);
        if self.has(digest, size).map_err(fault)? {
            disk::remove(&self.parts(digest)).map_err(fault)?;
            return Ok(true);
        }
        let Some(pieces) = self.cover(digest, size).map_err(fault)? else {
            return Ok(false);
        };
        let mut draft = disk::Draft::new(&self.drafts()).map_err(fault)?;
        let mut hasher = Sha256::new();
        for (path, skip) in pieces {
            let mut file = File::open(path).map_err(fault)?;
            io::Seek::seek(&mut file, io::SeekFrom::Start(skip)).map_err(fault)?;
            copy(&mut file, |bytes| {
                hasher.update(bytes);
                draft.write(bytes)
            })
            .map_err(fault)?;
        }
        if Digest::from_hash(&hasher.finalize()) != *digest {
            disk::remove(&self.parts(digest)).map_err(fault)?;
            return Err(refuse::tampered(&format!(
                "the parts of {digest} do not make it up"
            )));
        }
        draft.keep(&self.blob(digest)).map_err(fault)?;
        disk::remove(&self.parts(digest)).map_err(fault)?;
        Ok(true)
    }

    /// Parts that cover a blob without a gap, and what to skip of each. Two divisions may be mixed.
    fn cover(&self, digest: &Digest, size: u64) -> io::Result<Option<Vec<(PathBuf, u64)>>> {
        let mut there = Vec::new();
        for (name, path) in disk::list(&self.parts(digest))? {
            let numbers = name.split_once('-');
            if let Some((Ok(offset), Ok(length))) =
                numbers.map(|(offset, length)| (offset.parse::<u64>(), length.parse::<u64>()))
                && disk::size(&path)? == Some(length)
            {
                there.push((offset, offset.saturating_add(length), path));
            }
        }
        let mut pieces = Vec::new();
        let mut at = 0;
        while at < size {
            let next = there
                .iter()
                .filter(|(from, to, _)| *from <= at && *to > at)
                .max_by_key(|(_, to, _)| *to);
            let Some((from, to, path)) = next else {
                return Ok(None);
            };
            pieces.push((path.clone(), at - from));
            at = *to;
        }
        Ok(Some(pieces))
    }

    /// Removes every blob and part that none of the sets needs.
    pub(crate) fn tidy<'a>(&self, sets: impl Iterator<Item = &'a Set>) -> io::Result<()> {
        let needed: HashSet<&str> = sets
            .flat_map(Set::carried)
            .map(|(digest, _)| digest.hex())
            .collect();
        for folder in ["blobs", "parts"] {
            for (name, path) in disk::list(&self.folder.join(folder))? {
                if !needed.contains(name.as_str()) {
                    disk::remove(&path)?;
                }
            }
        }
        Ok(())
    }
}

/// The chunks of a division that were not taken.
fn lacking(count: u32, taken: &HashSet<u32>) -> Vec<u32> {
    (1..=count.min(limits::CHUNKS))
        .filter(|index| !taken.contains(index))
        .collect()
}
