//! Looking into the archive that a job left. It comes from an untrusted job: names that lead elsewhere are not
//! listed, what is read is bounded, and a file is given out as it is unpacked, never held whole.

use super::Artifact;
use crate::Ci;
use bascule_core::{Digest, JobId, Problem, Result, is_safe_path, limits};
use bascule_store::Blobs;
use bascule_wire::{
    ci_results::{ArtifactFile, ArtifactFolder},
    runner::ARTIFACT_ARCHIVE,
};
use bytes::Bytes;
use std::{
    collections::BTreeMap,
    io::{self, Read, Seek, SeekFrom},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::{runtime::Handle, sync::mpsc};
use zip::ZipArchive;

/// Most entries of an archive that is looked into.
const ENTRIES: usize = 100_000;
/// Most bytes read to find out what an archive holds.
const DIRECTORY: u64 = 8 * 1024 * 1024;
/// Entries of a folder told at once.
const TOLD: usize = 1_000;
/// Bytes given out in one go.
const CHUNK: usize = 64 * 1024;
/// Least and most bytes fetched in one go.
const FETCH: (u64, u64) = (4 * 1024, 256 * 1024);

/// A blob, read where a library wants to. For threads that may wait.
struct BlobReader {
    blobs: Blobs,
    digest: Digest,
    size: u64,
    at: u64,
    /// What was fetched last, and where it begins.
    held: (u64, Bytes),
    fetch: u64,
    /// How much may still be fetched.
    left: Arc<AtomicU64>,
    runtime: Handle,
}

impl Read for BlobReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.at >= self.size || into.is_empty() {
            return Ok(0);
        }
        let (start, bytes) = &self.held;
        let within = self.at.checked_sub(*start).filter(|at| *at < bytes.len() as u64);
        if within.is_none() {
            // One who reads on reads more and more at once; one who looks here and there does not.
            let follows = self.at == start + bytes.len() as u64 && !bytes.is_empty();
            self.fetch = if follows {
                (self.fetch * 2).min(FETCH.1)
            } else {
                FETCH.0
            };
            let end = (self.at + self.fetch).min(self.size);
            let wanted = end - self.at;
            self.left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                    left.checked_sub(wanted)
                })
                .map_err(|_| io::Error::other("the archive's directory is too large"))?;
            let found = self
                .runtime
                .block_on(self.blobs.read_range(&self.digest, self.at..end))
                .map_err(io::Error::other)?;
            self.held = (self.at, found);
        }
        let (start, bytes) = &self.held;
        let from = usize::try_from(self.at - start).unwrap_or(usize::MAX);
        let rest = bytes.get(from..).unwrap_or_default();
        let count = rest.len().min(into.len());
        into[..count].copy_from_slice(&rest[..count]);
        self.at += count as u64;
        Ok(count)
    }
}

impl Seek for BlobReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.size.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.at)
    }
}

/// An archive that was opened.
struct Opened {
    zip: ZipArchive<BlobReader>,
    left: Arc<AtomicU64>,
}

fn unreadable(error: &dyn std::fmt::Display) -> Problem {
    Problem::invalid(
        "bad_archive",
        format!("The archive cannot be looked into: {error}."),
    )
    .why("It came from a job, and what it says of itself does not hold, or is more than is looked at.")
    .next("Download it whole and look into it where it can do no harm.")
}

/// Opens an archive; for threads that may wait.
fn open(blobs: Blobs, artifact: &Artifact, runtime: Handle) -> Result<Opened> {
    let left = Arc::new(AtomicU64::new(DIRECTORY));
    let reader = BlobReader {
        blobs,
        digest: artifact.digest.clone(),
        size: u64::try_from(artifact.size).unwrap_or_default(),
        at: 0,
        held: (0, Bytes::new()),
        fetch: FETCH.0,
        left: left.clone(),
        runtime,
    };
    let zip = ZipArchive::new(reader).map_err(|error| unreadable(&error))?;
    if zip.len() > ENTRIES {
        return Err(unreadable(&format!(
            "it holds {} entries, and at most {ENTRIES} are looked at",
            zip.len()
        )));
    }
    left.store(u64::MAX, Ordering::Relaxed);
    Ok(Opened { zip, left })
}

/// The entries of a folder: name within it, and the entry's index unless it is a folder.
fn within(
    names: impl Iterator<Item = (usize, String)>,
    folder: &str,
) -> (BTreeMap<String, Option<usize>>, usize) {
    let prefix = if folder.is_empty() {
        String::new()
    } else {
        format!("{folder}/")
    };
    let (mut found, mut refused) = (BTreeMap::new(), 0);
    for (index, name) in names {
        let plain = name.trim_end_matches('/');
        if !is_safe_path(plain) {
            refused += 1;
            continue;
        }
        let Some(rest) = name.strip_prefix(&prefix).filter(|rest| !rest.is_empty()) else {
            continue;
        };
        match rest.split_once('/') {
            Some((sub, _)) => {
                found.entry(sub.to_owned()).or_insert(None);
            }
            None => {
                found.insert(rest.to_owned(), Some(index));
            }
        }
    }
    (found, refused)
}

/// A file that is being given out.
pub(crate) struct Given {
    /// Its first bytes.
    pub first: Bytes,
    /// How large it says it is.
    pub size: u64,
    /// What follows.
    pub rest: mpsc::Receiver<io::Result<Bytes>>,
}

impl Ci {
    /// What stands in a folder of a job's archive; the empty path is its top.
    ///
    /// # Errors
    /// There is no archive or no such folder, or it cannot be looked into.
    pub async fn artifact_folder(&self, job: JobId, path: &str) -> Result<ArtifactFolder> {
        let folder = path.trim_matches('/').to_owned();
        let artifact = self.zip_of(job).await?;
        let (blobs, runtime) = (self.blobs.clone(), Handle::current());
        blocking(move || {
            let mut opened = open(blobs, &artifact, runtime)?;
            let names = (0..opened.zip.len())
                .filter_map(|index| Some((index, opened.zip.name_for_index(index)?.to_owned())));
            let (found, refused) = within(names, &folder);
            if found.is_empty() && !folder.is_empty() {
                return Err(Problem::not_found("folder"));
            }
            // Sizes stand before each file; looking at them is bounded by how many are told.
            opened.left.store(8 * DIRECTORY, Ordering::Relaxed);
            let count = found.len();
            let mut list: Vec<(String, Option<usize>)> = found.into_iter().collect();
            list.sort_by(|(a, one), (b, other)| (one.is_some(), a).cmp(&(other.is_some(), b)));
            list.truncate(TOLD);
            let mut files = Vec::new();
            for (name, index) in list {
                let size = match index {
                    None => None,
                    Some(index) => Some(
                        opened
                            .zip
                            .by_index_raw(index)
                            .map_err(|error| unreadable(&error))?
                            .size(),
                    ),
                };
                let path = if folder.is_empty() {
                    name
                } else {
                    format!("{folder}/{name}")
                };
                files.push(ArtifactFile { path, size });
            }
            Ok(ArtifactFolder {
                job,
                path: folder,
                left_out: count.saturating_sub(files.len()) + refused,
                files,
            })
        })
        .await
    }

    async fn zip_of(&self, job: JobId) -> Result<Artifact> {
        let artifact = self.artifact(job, ARTIFACT_ARCHIVE).await?;
        if artifact.format != "zip" {
            return Err(
                Problem::invalid("no_zip", "Only archives in the zip format can be looked into.")
                    .next("Download it whole."),
            );
        }
        Ok(artifact)
    }

    /// A file of a job's archive, unpacked as it is read.
    pub(crate) async fn artifact_file(&self, job: JobId, path: &str) -> Result<Given> {
        if !is_safe_path(path) {
            return Err(Problem::not_found("file"));
        }
        let artifact = self.zip_of(job).await?;
        let (blobs, runtime, path) = (self.blobs.clone(), Handle::current(), path.to_owned());
        let (send, rest) = mpsc::channel::<io::Result<Bytes>>(4);
        let (begun, ready) = tokio::sync::oneshot::channel::<Result<(Bytes, u64)>>();
        tokio::task::spawn_blocking(move || {
            let mut begun = Some(begun);
            if let Err(problem) = unpack(blobs, &artifact, runtime, &path, &mut begun, &send)
                && let Some(begun) = begun.take()
            {
                // Nobody waits any more: nobody need know.
                drop(begun.send(Err(problem)));
            }
        });
        let (first, size) = ready.await.map_err(|_| Problem::internal())??;
        Ok(Given { first, size, rest })
    }
}

type Begun = Option<tokio::sync::oneshot::Sender<Result<(Bytes, u64)>>>;

/// Reads a file of an archive and gives it out piece by piece, no faster than it is taken.
fn unpack(
    blobs: Blobs,
    artifact: &Artifact,
    runtime: Handle,
    path: &str,
    begun: &mut Begun,
    send: &mpsc::Sender<io::Result<Bytes>>,
) -> Result<()> {
    let mut opened = open(blobs, artifact, runtime)?;
    let entry = match opened.zip.by_name(path) {
        Ok(entry) if entry.is_dir() => return Err(Problem::not_found("file")),
        Ok(entry) => entry,
        Err(zip::result::ZipError::FileNotFound) => return Err(Problem::not_found("file")),
        Err(error) => return Err(unreadable(&error)),
    };
    // A link names a file of wherever it is unpacked; here it is shown as what it holds, the name.
    let size = entry.size().min(limits::ARTIFACT_BYTES);
    let mut entry = entry.take(size);
    loop {
        let mut piece = vec![0; CHUNK];
        let mut filled = 0;
        while filled < CHUNK {
            match entry.read(&mut piece[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if begun.is_some() => return Err(unreadable(&error)),
                // What was begun is cut off, so that whoever reads it sees that it is not whole.
                Err(error) => {
                    drop(send.blocking_send(Err(error)));
                    return Ok(());
                }
            }
        }
        piece.truncate(filled);
        let piece = Bytes::from(piece);
        match begun.take() {
            Some(begun) => drop(begun.send(Ok((piece, size)))),
            None if filled == 0 => return Ok(()),
            None => {
                if send.blocking_send(Ok(piece)).is_err() {
                    return Ok(());
                }
            }
        }
        if filled < CHUNK {
            return Ok(());
        }
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| Problem::internal())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_seen_from_names_and_hostile_ones_are_left_out() {
        let names = [
            "a.txt",
            "dir/",
            "dir/b.txt",
            "dir/sub/c.txt",
            "../x",
            "/etc/passwd",
            "dir/../../y",
            "e\\f",
            "implied/z",
        ];
        let list = || {
            names
                .iter()
                .enumerate()
                .map(|(at, name)| (at, (*name).to_owned()))
        };
        let (top, refused) = within(list(), "");
        let seen: Vec<(&str, Option<usize>)> =
            top.iter().map(|(name, index)| (name.as_str(), *index)).collect();
        assert_eq!(seen, [("a.txt", Some(0)), ("dir", None), ("implied", None)]);
        assert_eq!(refused, 4);
        let (dir, _) = within(list(), "dir");
        assert_eq!(dir.keys().collect::<Vec<_>>(), ["b.txt", "sub"]);
        assert!(within(list(), "nope").0.is_empty());
    }
}
