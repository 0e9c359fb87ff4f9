//! Blobs: bytes by digest. Written as a stream under a temporary name, and given their final name only
//! when they are whole, so nothing half-written can be read.

use crate::{Error, Result};
use bascule_core::Digest;
use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt};
use object_store::{ObjectStore, ObjectStoreExt as _, WriteMultipart, local::LocalFileSystem, path::Path};
use sha2::{Digest as _, Sha256};
use std::{ops::Range, sync::Arc};

/// A store of blobs, cheap to clone.
#[derive(Clone, Debug)]
pub struct Blobs {
    store: Arc<dyn ObjectStore>,
    /// Where they are, if they are on a disk.
    folder: Option<Arc<std::path::Path>>,
}

/// Room on a disk, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// What may still be written.
    pub free: u64,
    /// The whole disk.
    pub total: u64,
}

/// What was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredBlob {
    /// Digest of the bytes; the blob's name.
    pub digest: Digest,
    /// Size in bytes.
    pub size: u64,
}

/// A blob being written. Dropped before [`BlobWriter::finish`], it leaves nothing behind.
pub struct BlobWriter {
    store: Arc<dyn ObjectStore>,
    temporary: Path,
    upload: WriteMultipart,
    hash: Sha256,
    size: u64,
    limit: u64,
}

const PART_BYTES: usize = 8 * 1024 * 1024;
/// Parts in flight before a writer waits: bounds memory per upload.
const PARTS_IN_FLIGHT: usize = 2;

impl Blobs {
    /// Blobs in a directory, created if missing. What an earlier process left half-written is removed.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn on_disk(directory: &std::path::Path) -> Result<Self> {
        let prepare = || -> std::io::Result<()> {
            std::fs::create_dir_all(directory)?;
            match std::fs::remove_dir_all(directory.join("tmp")) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            }
        };
        prepare().map_err(|e| Error::Source(e.to_string()))?;
        Ok(Self {
            // What is acknowledged outlives a power cut, not only the process.
            store: Arc::new(LocalFileSystem::new_with_prefix(directory)?.with_fsync(true)),
            folder: Some(directory.into()),
        })
    }

    /// Blobs in any object store.
    #[must_use]
    pub fn new(store: Arc<dyn ObjectStore>) -> Self {
        Self { store, folder: None }
    }

    /// Room where the blobs are; `None` where nobody can say, as in an object store.
    #[must_use]
    pub fn space(&self) -> Option<Space> {
        let disk = rustix::fs::statvfs(self.folder.as_deref()?).ok()?;
        Some(Space {
            free: disk.f_bavail.saturating_mul(disk.f_frsize),
            total: disk.f_blocks.saturating_mul(disk.f_frsize),
        })
    }

    /// Begins to write a blob of at most `limit` bytes.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn writer(&self, limit: u64) -> Result<BlobWriter> {
        let temporary = Path::from(format!("tmp/{}", bascule_core::FactId::new()));
        let upload = self.store.put_multipart(&temporary).await?;
        Ok(BlobWriter {
            store: self.store.clone(),
            temporary,
            upload: WriteMultipart::new_with_chunk_size(upload, PART_BYTES),
            hash: Sha256::new(),
            size: 0,
            limit,
        })
    }

    /// Stores a stream of at most `limit` bytes.
    ///
    /// # Errors
    /// The stream fails or is longer than `limit`, or the store cannot be written. Nothing is stored then.
    pub async fn put<E: std::fmt::Display>(
        &self,
        stream: impl Stream<Item = std::result::Result<Bytes, E>>,
        limit: u64,
    ) -> Result<StoredBlob> {
        let mut writer = self.writer(limit).await?;
        let mut stream = std::pin::pin!(stream);
        while let Some(chunk) = stream.next().await {
            let outcome = match chunk {
                Ok(chunk) => writer.write(&chunk).await,
                Err(error) => Err(Error::Source(error.to_string())),
            };
            if let Err(error) = outcome {
                writer.abort().await;
                return Err(error);
            }
        }
        writer.finish().await
    }

    /// Stores bytes at hand.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn put_bytes(&self, bytes: impl Into<Bytes>) -> Result<StoredBlob> {
        let bytes = bytes.into();
        let digest = Digest::of(&bytes);
        let size = bytes.len() as u64;
        let path = path_of(&digest);
        if self.store.head(&path).await.is_err() {
            self.store.put(&path, bytes.into()).await?;
        }
        Ok(StoredBlob { digest, size })
    }

    /// The blob's size, or `None` if there is none.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn size(&self, digest: &Digest) -> Result<Option<u64>> {
        match self.store.head(&path_of(digest)).await {
            Ok(meta) => Ok(Some(meta.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The blob's bytes as a stream, or `None` if there is none.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn open(
        &self,
        digest: &Digest,
    ) -> Result<Option<impl Stream<Item = Result<Bytes>> + Send + use<>>> {
        match self.store.get(&path_of(digest)).await {
            Ok(found) => Ok(Some(found.into_stream().map_err(Error::from))),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// A part of the blob's bytes.
    ///
    /// # Errors
    /// There is no such blob, or it is shorter.
    pub async fn read_range(&self, digest: &Digest, range: Range<u64>) -> Result<Bytes> {
        Ok(self.store.get_range(&path_of(digest), range).await?)
    }

    /// All of the blob's bytes, or `None` if there is none or it is larger than `limit`.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn read(&self, digest: &Digest, limit: u64) -> Result<Option<Bytes>> {
        match self.size(digest).await? {
            Some(size) if size <= limit => Ok(Some(self.store.get(&path_of(digest)).await?.bytes().await?)),
            _ => Ok(None),
        }
    }

    /// Removes a blob. Removing what is not there is no error.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn delete(&self, digest: &Digest) -> Result<()> {
        match self.store.delete(&path_of(digest)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl BlobWriter {
    /// Adds bytes.
    ///
    /// # Errors
    /// The limit is passed, or the store cannot be written.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.size += bytes.len() as u64;
        if self.size > self.limit {
            return Err(Error::TooLarge { limit: self.limit });
        }
        self.hash.update(bytes);
        self.upload.wait_for_capacity(PARTS_IN_FLIGHT).await?;
        self.upload.write(bytes);
        Ok(())
    }

    /// Bytes written so far.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Gives the blob its name. From here on it can be read.
    ///
    /// # Errors
    /// The store cannot be written; nothing is stored then.
    pub async fn finish(self) -> Result<StoredBlob> {
        let digest = Digest::from_hash(self.hash.finalize().as_slice());
        self.upload.finish().await?;
        let moved = self.store.rename(&self.temporary, &path_of(&digest)).await;
        if let Err(error) = moved {
            drop(self.store.delete(&self.temporary).await);
            return Err(error.into());
        }
        Ok(StoredBlob {
            digest,
            size: self.size,
        })
    }

    /// Leaves nothing behind.
    pub async fn abort(self) {
        if let Err(error) = self.upload.abort().await {
            tracing::warn!(%error, "an aborted upload could not be removed at once");
        }
    }
}

fn path_of(digest: &Digest) -> Path {
    let hex = digest.hex();
    Path::from(format!("sha256/{}/{hex}", hex.get(..2).unwrap_or("00")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunks(list: &[&'static [u8]]) -> impl Stream<Item = std::result::Result<Bytes, std::io::Error>> {
        futures::stream::iter(list.iter().map(|c| Ok(Bytes::from_static(c))).collect::<Vec<_>>())
    }

    fn files(directory: &std::path::Path) -> usize {
        std::fs::read_dir(directory).map_or(0, |entries| {
            entries
                .flatten()
                .map(|e| if e.path().is_dir() { files(&e.path()) } else { 1 })
                .sum()
        })
    }

    #[tokio::test]
    async fn a_stream_is_stored_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::on_disk(dir.path()).unwrap();
        let stored = blobs.put(chunks(&[b"hello ", b"world"]), 100).await.unwrap();
        assert_eq!(stored.digest, Digest::of(b"hello world"));
        assert_eq!(
            blobs.read(&stored.digest, 100).await.unwrap().unwrap(),
            "hello world"
        );
        assert_eq!(blobs.size(&stored.digest).await.unwrap(), Some(11));

        let before = files(dir.path());
        assert!(matches!(
            blobs.put(chunks(&[b"too", b"long"]), 4).await,
            Err(Error::TooLarge { limit: 4 })
        ));
        let broken = futures::stream::iter([Ok(Bytes::from_static(b"a")), Err(std::io::Error::other("cut"))]);
        assert!(matches!(blobs.put(broken, 100).await, Err(Error::Source(_))));
        assert_eq!(files(dir.path()), before, "failed uploads leave nothing behind");
    }

    #[tokio::test]
    async fn ranges_and_absence() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::on_disk(dir.path()).unwrap();
        let stored = blobs.put_bytes(&b"0123456789"[..]).await.unwrap();
        assert_eq!(blobs.read_range(&stored.digest, 2..5).await.unwrap(), "234");
        assert_eq!(
            blobs.read(&stored.digest, 5).await.unwrap(),
            None,
            "larger than asked for"
        );
        blobs.delete(&stored.digest).await.unwrap();
        blobs.delete(&stored.digest).await.unwrap();
        assert!(blobs.open(&stored.digest).await.unwrap().is_none());
    }
}
