//! A set that is whole, signed and in its turn.

use crate::{Entry, EntryKind, Set, refuse};
use bascule_core::{Digest, Problem, Result};
use sha2::{Digest as _, Sha256};
use std::{
    fs::File,
    io::{self, Read},
    path::PathBuf,
};

/// A set that may be applied. Applying it must bear being done twice: a process that dies before
/// [`crate::Importer::applied`] is told the same set again.
#[derive(Debug)]
pub struct Ready {
    pub(crate) set: Set,
    pub(crate) id: Digest,
    pub(crate) blobs: PathBuf,
}

impl Ready {
    /// The set.
    #[must_use]
    pub fn set(&self) -> &Set {
        &self.set
    }

    /// The set's name.
    #[must_use]
    pub fn id(&self) -> &Digest {
        &self.id
    }

    /// Its entries of one kind, by name.
    pub fn entries(&self, kind: EntryKind) -> impl Iterator<Item = &Entry> {
        self.set.entries.iter().filter(move |entry| entry.kind == kind)
    }

    /// Whether the bundle carries the blob. One that it names and does not carry is here already.
    #[must_use]
    pub fn carries(&self, digest: &Digest) -> bool {
        self.entry(digest).is_some() && self.set.held.binary_search(digest).is_err()
    }

    /// A blob's bytes, checked once more as they are read: the last read fails if they are not what was
    /// signed.
    ///
    /// # Errors
    /// The bundle does not carry it, or the disk cannot be read.
    pub fn open(&self, digest: &Digest) -> Result<VerifiedBlob> {
        let size = self
            .entry(digest)
            .filter(|_| self.carries(digest))
            .map(|entry| entry.size)
            .ok_or_else(|| refuse::missing(digest))?;
        let file = File::open(self.blobs.join(digest.hex())).map_err(|error| refuse::disk(&error))?;
        Ok(VerifiedBlob {
            file,
            hasher: Sha256::new(),
            left: size,
            digest: digest.clone(),
        })
    }

    /// A document's bytes, all at once.
    ///
    /// # Errors
    /// The bundle does not carry it, it is larger than `limit`, or the disk cannot be read or has changed it.
    pub fn read(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>> {
        let mut blob = self.open(digest)?;
        if blob.left > limit {
            return Err(Problem::too_large(format!(
                "A document of {} bytes is in the bundle; at most {limit} are read.",
                blob.left
            )));
        }
        let mut bytes = Vec::new();
        blob.read_to_end(&mut bytes)
            .map_err(|error| refuse::disk(&error))?;
        Ok(bytes)
    }

    fn entry(&self, digest: &Digest) -> Option<&Entry> {
        self.set.entries.iter().find(|entry| entry.digest == *digest)
    }
}

/// The bytes of a blob, checked as they are read.
#[derive(Debug)]
pub struct VerifiedBlob {
    file: File,
    hasher: Sha256,
    left: u64,
    digest: Digest,
}

impl VerifiedBlob {
    /// Bytes that are left.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.left
    }
}

impl Read for VerifiedBlob {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let changed = || {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{} was changed in the staging area", self.digest),
            )
        };
        let count = self.file.read(buffer)?;
        self.left = self.left.checked_sub(count as u64).ok_or_else(changed)?;
        self.hasher.update(buffer.get(..count).unwrap_or_default());
        if count == 0 && (self.left > 0 || Digest::from_hash(&self.hasher.clone().finalize()) != self.digest)
        {
            return Err(changed());
        }
        Ok(count)
    }
}
