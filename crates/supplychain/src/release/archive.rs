//! The files of a job's artifact archive, each as a blob of its own, so that one can be fetched by its path.
//! Streamed from blob to blob; what an archive says of itself is not believed.

use crate::bundle::is_safe_path;
use bascule_core::Digest;
use bascule_store::{Blobs, StoredBlob};
use bytes::Bytes;
use std::{
    collections::HashSet,
    io::{self, Read, Seek, SeekFrom},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::runtime::Handle;

/// Most files taken out of the archives of one release.
pub(super) const FILES: usize = 2_000;
/// Most bytes taken out of them.
pub(super) const BYTES: u64 = 4 * 1024 * 1024 * 1024;
/// Most bytes read for an archive's table of contents: it is held in memory.
const CONTENTS_BYTES: u64 = 8 * 1024 * 1024;
const CHUNK: usize = 1024 * 1024;

/// What may still be taken out for a release.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    pub(super) files: usize,
    pub(super) bytes: u64,
}

/// One file that was taken out.
#[derive(Clone, Debug)]
pub(super) struct Extracted {
    pub(super) path: String,
    pub(super) blob: StoredBlob,
}

/// What came of an archive.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) files: Vec<Extracted>,
    /// What was left out, and why.
    pub(super) notes: Vec<String>,
}

/// Why an archive could not be read.
#[derive(Debug)]
pub(super) enum ExtractError {
    /// The archive itself is wrong.
    Broken(String),
    /// Our store failed.
    Store(bascule_store::Error),
}

/// Takes the regular files out of a zip archive that lies in `blobs`. What is no zip archive has none.
pub(super) async fn extract(
    blobs: &Blobs,
    archive: &StoredBlob,
    budget: Budget,
) -> Result<Outcome, ExtractError> {
    let head = blobs
        .read_range(&archive.digest, 0..archive.size.min(4))
        .await
        .map_err(ExtractError::Store)?;
    // A zip archive begins with an entry, or, when it is empty, with its end record.
    if ![&b"PK\x03\x04"[..], b"PK\x05\x06"].contains(&&head[..]) {
        return Ok(Outcome::default());
    }
    let (blobs, archive) = (blobs.clone(), archive.clone());
    let handle = Handle::current();
    tokio::task::spawn_blocking(move || Extraction { blobs, handle }.run(&archive, budget))
        .await
        .map_err(|error| ExtractError::Store(bascule_store::Error::Source(error.to_string())))?
}

struct Extraction {
    blobs: Blobs,
    handle: Handle,
}

impl Extraction {
    fn run(&self, archive: &StoredBlob, mut budget: Budget) -> Result<Outcome, ExtractError> {
        let allowance = Arc::new(AtomicU64::new(CONTENTS_BYTES));
        let reader = BlobReader::new(self, archive, allowance.clone());
        let broken = |error: zip::result::ZipError| ExtractError::Broken(error.to_string());
        let mut zip = zip::ZipArchive::new(reader).map_err(broken)?;
        allowance.store(u64::MAX, Ordering::Relaxed);
        let mut outcome = Outcome::default();
        let mut names = Names::default();
        let (mut unsafe_names, mut odd) = (0_usize, 0_usize);
        for index in 0..zip.len() {
            let entry = zip.by_index_raw(index).map_err(broken)?;
            if entry.is_dir() {
                continue;
            }
            if entry.is_symlink() || entry.encrypted() || !entry.is_file() {
                odd += 1;
                continue;
            }
            let path = entry.name().trim_start_matches("./").to_owned();
            if !is_safe_path(&path) || !names.take(&path) {
                unsafe_names += 1;
                continue;
            }
            drop(entry);
            if budget.files == 0 {
                outcome
                    .notes
                    .push(format!("only the first {FILES} files can be fetched one by one"));
                break;
            }
            let mut entry = zip.by_index(index).map_err(broken)?;
            match self.store(&mut entry, budget.bytes) {
                Ok(blob) => {
                    budget.files -= 1;
                    budget.bytes = budget.bytes.saturating_sub(blob.size);
                    outcome.files.push(Extracted { path, blob });
                }
                Err(ExtractError::Store(bascule_store::Error::TooLarge { .. })) => {
                    outcome.notes.push(format!("`{path}` and what follows it is more than {BYTES} bytes and can be fetched in the archive only"));
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        if odd > 0 {
            outcome.notes.push(format!(
                "{odd} links or encrypted entries can be fetched in the archive only"
            ));
        }
        if unsafe_names > 0 {
            outcome.notes.push(format!("{unsafe_names} entries whose names are no plain paths, or taken, can be fetched in the archive only"));
        }
        Ok(outcome)
    }

    fn store(&self, entry: &mut impl Read, limit: u64) -> Result<StoredBlob, ExtractError> {
        let mut writer = self
            .handle
            .block_on(self.blobs.writer(limit))
            .map_err(ExtractError::Store)?;
        let mut buffer = vec![0; CHUNK];
        loop {
            let fault = match entry.read(&mut buffer) {
                Ok(0) => return self.handle.block_on(writer.finish()).map_err(ExtractError::Store),
                Ok(count) => match self
                    .handle
                    .block_on(writer.write(buffer.get(..count).unwrap_or_default()))
                {
                    Ok(()) => continue,
                    Err(error) => ExtractError::Store(error),
                },
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => ExtractError::Broken(error.to_string()),
            };
            self.handle.block_on(writer.abort());
            return Err(fault);
        }
    }
}

/// The paths taken so far; no file may stand twice, or where a folder must be.
#[derive(Default)]
struct Names {
    files: HashSet<String>,
    folders: HashSet<String>,
}

impl Names {
    fn take(&mut self, path: &str) -> bool {
        let above: Vec<&str> = path
            .match_indices('/')
            .filter_map(|(at, _)| path.get(..at))
            .collect();
        if self.folders.contains(path) || above.iter().any(|folder| self.files.contains(*folder)) {
            return false;
        }
        self.folders.extend(above.into_iter().map(str::to_owned));
        self.files.insert(path.to_owned())
    }
}

/// A blob as a seekable file, read in windows.
struct BlobReader<'a> {
    extraction: &'a Extraction,
    digest: Digest,
    size: u64,
    at: u64,
    window: Bytes,
    window_at: u64,
    allowance: Arc<AtomicU64>,
}

impl<'a> BlobReader<'a> {
    fn new(extraction: &'a Extraction, archive: &StoredBlob, allowance: Arc<AtomicU64>) -> Self {
        Self {
            extraction,
            digest: archive.digest.clone(),
            size: archive.size,
            at: 0,
            window: Bytes::new(),
            window_at: 0,
            allowance,
        }
    }

    fn in_window(&self) -> &[u8] {
        let offset = self
            .at
            .checked_sub(self.window_at)
            .and_then(|offset| usize::try_from(offset).ok());
        offset
            .and_then(|offset| self.window.get(offset..))
            .unwrap_or_default()
    }
}

impl Read for BlobReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at >= self.size || buffer.is_empty() {
            return Ok(0);
        }
        if self.in_window().is_empty() {
            let end = self.at.saturating_add(CHUNK as u64).min(self.size);
            let read = self.extraction.blobs.read_range(&self.digest, self.at..end);
            self.window = self
                .extraction
                .handle
                .block_on(read)
                .map_err(|error| io::Error::other(error.to_string()))?;
            self.window_at = self.at;
        }
        let found = self.in_window();
        let count = found.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), found.get(..count)) {
            to.copy_from_slice(from);
        }
        let left = self.allowance.load(Ordering::Relaxed);
        let Some(left) = left.checked_sub(count as u64) else {
            return Err(io::Error::other("its table of contents is too large"));
        };
        self.allowance.store(left, Ordering::Relaxed);
        self.at += count as u64;
        Ok(count)
    }
}

impl Seek for BlobReader<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.size.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at =
            target.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "before the beginning"))?;
        Ok(self.at)
    }
}
