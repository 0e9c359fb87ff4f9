//! Blobs: bytes by digest. Written as a stream under a temporary name, and given their final name only
//! when they are whole, so nothing half-written can be read.

use crate::{Error, Result};
use bascule_core::{Clock as _, Digest, SystemClock, Timestamp};
use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt};
use object_store::{
    GetResult, ObjectMeta, ObjectStore, ObjectStoreExt as _, WriteMultipart, local::LocalFileSystem,
    path::Path,
};
use sha2::{Digest as _, Sha256};
use std::{ops::Range, sync::Arc, time::Duration};

/// A store of blobs, cheap to clone.
#[derive(Clone, Debug)]
pub struct Blobs {
    store: Arc<dyn ObjectStore>,
    /// Where they are, if they are on a disk.
    folder: Option<Arc<std::path::Path>>,
    /// Where else to look for what is not here.
    older: Option<Arc<dyn ObjectStore>>,
}

/// A blob that was taken out of the way, to be deleted or put back. Nobody reads it meanwhile; whoever stores the same
/// bytes again stores them anew.
#[derive(Debug)]
pub struct Aside {
    store: Arc<dyn ObjectStore>,
    at: Path,
    place: Path,
    /// When it was stored.
    pub stored_at: Timestamp,
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
/// Where blobs are that were taken out of the way.
const ASIDE: &str = "aside";
/// A blob that was stored so lately is nobody's to delete.
const FRESH: Duration = Duration::from_secs(3600);

impl Blobs {
    /// Blobs in a directory, created if missing. What an earlier process left half-written is removed.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn on_disk(directory: &std::path::Path) -> Result<Self> {
        let prepare = || -> std::io::Result<()> {
            std::fs::create_dir_all(directory)?;
            put_all_back(directory)?;
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
            older: None,
        })
    }

    /// Blobs of one owner in a directory of their own, so that nobody else names them and the owner may delete them.
    /// What is not there is looked for among `older`, where the owner's blobs were kept before, and is never deleted.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn apart(directory: &std::path::Path, older: &Self) -> Result<Self> {
        Ok(Self {
            older: Some(older.store.clone()),
            ..Self::on_disk(directory)?
        })
    }

    /// Blobs in any object store.
    #[must_use]
    pub fn new(store: Arc<dyn ObjectStore>) -> Self {
        Self {
            store,
            folder: None,
            older: None,
        }
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
        // What was stored long ago may be about to be deleted; stored anew, it is not.
        let fresh = match self.store.head(&path).await {
            Ok(found) => now().since(stored_at(&found)) < FRESH,
            Err(_) => false,
        };
        if !fresh {
            self.store.put(&path, bytes.into()).await?;
        }
        Ok(StoredBlob { digest, size })
    }

    async fn get(&self, digest: &Digest) -> Result<Option<GetResult>> {
        let path = path_of(digest);
        for store in std::iter::once(&self.store).chain(&self.older) {
            match store.get(&path).await {
                Ok(found) => return Ok(Some(found)),
                Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }

    /// The blob's size, or `None` if there is none.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn size(&self, digest: &Digest) -> Result<Option<u64>> {
        let path = path_of(digest);
        for store in std::iter::once(&self.store).chain(&self.older) {
            match store.head(&path).await {
                Ok(meta) => return Ok(Some(meta.size)),
                Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }

    /// The blob's bytes as a stream, or `None` if there is none.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn open(
        &self,
        digest: &Digest,
    ) -> Result<Option<impl Stream<Item = Result<Bytes>> + Send + use<>>> {
        let found = self.get(digest).await?;
        Ok(found.map(|found| found.into_stream().map_err(Error::from)))
    }

    /// A part of the blob's bytes.
    ///
    /// # Errors
    /// There is no such blob, or it is shorter.
    pub async fn read_range(&self, digest: &Digest, range: Range<u64>) -> Result<Bytes> {
        let path = path_of(digest);
        match (self.store.get_range(&path, range.clone()).await, &self.older) {
            (Err(object_store::Error::NotFound { .. }), Some(older)) => {
                Ok(older.get_range(&path, range).await?)
            }
            (read, _) => Ok(read?),
        }
    }

    /// All of the blob's bytes, or `None` if there is none or it is larger than `limit`.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn read(&self, digest: &Digest, limit: u64) -> Result<Option<Bytes>> {
        match self.get(digest).await? {
            Some(found) if found.meta.size <= limit => Ok(Some(found.bytes().await?)),
            _ => Ok(None),
        }
    }

    /// Takes a blob out of the way, so that whether it is named can be asked while nobody stores it again unseen; `None`
    /// if there is none. A process that ends before it decided finds the blob back in its place.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn set_aside(&self, digest: &Digest) -> Result<Option<Aside>> {
        let place = path_of(digest);
        let at = Path::from(format!("{ASIDE}/{}", digest.hex()));
        match self.store.rename(&place, &at).await {
            Ok(()) => {}
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let found = self.store.head(&at).await?;
        Ok(Some(Aside {
            store: self.store.clone(),
            at,
            place,
            stored_at: stored_at(&found),
        }))
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

impl Aside {
    /// Puts the blob back.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn restore(self) -> Result<()> {
        Ok(self.store.rename(&self.at, &self.place).await?)
    }

    /// Deletes it.
    ///
    /// # Errors
    /// The store cannot be written.
    pub async fn delete(self) -> Result<()> {
        Ok(self.store.delete(&self.at).await?)
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

/// Puts back what an earlier process had taken out of the way.
fn put_all_back(directory: &std::path::Path) -> std::io::Result<()> {
    let aside = match std::fs::read_dir(directory.join(ASIDE)) {
        Ok(aside) => aside,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in aside {
        let entry = entry?;
        let name = entry.file_name();
        let Some(first) = name.to_str().and_then(|hex| hex.get(..2)) else {
            continue;
        };
        let folder = directory.join("sha256").join(first);
        std::fs::create_dir_all(&folder)?;
        std::fs::rename(entry.path(), folder.join(&name))?;
    }
    Ok(())
}

fn now() -> Timestamp {
    SystemClock.now()
}

fn stored_at(meta: &ObjectMeta) -> Timestamp {
    Timestamp::from_micros(meta.last_modified.timestamp_micros())
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

    #[tokio::test]
    async fn what_is_set_aside_is_deleted_or_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let older = Blobs::on_disk(&dir.path().join("all")).unwrap();
        let known = older.put_bytes(&b"from before"[..]).await.unwrap();
        let blobs = Blobs::apart(&dir.path().join("own"), &older).unwrap();
        assert_eq!(blobs.size(&known.digest).await.unwrap(), Some(11));
        assert_eq!(blobs.read_range(&known.digest, 0..4).await.unwrap(), "from");
        assert_eq!(
            blobs.read(&known.digest, 99).await.unwrap().unwrap(),
            "from before"
        );
        assert!(
            blobs.set_aside(&known.digest).await.unwrap().is_none(),
            "it may be another's too"
        );

        let own = blobs.put_bytes(&b"own"[..]).await.unwrap();
        let aside = blobs.set_aside(&own.digest).await.unwrap().unwrap();
        assert!(now().since(aside.stored_at) < Duration::from_secs(60));
        assert_eq!(blobs.size(&own.digest).await.unwrap(), None);
        aside.restore().await.unwrap();
        assert_eq!(blobs.read(&own.digest, 9).await.unwrap().unwrap(), "own");

        drop(blobs.set_aside(&own.digest).await.unwrap().unwrap());
        let blobs = Blobs::apart(&dir.path().join("own"), &older).unwrap();
        assert_eq!(blobs.read(&own.digest, 9).await.unwrap().unwrap(), "own");
        let aside = blobs.set_aside(&own.digest).await.unwrap().unwrap();
        aside.delete().await.unwrap();
        assert!(blobs.open(&own.digest).await.unwrap().is_none());
        assert_eq!(files(&dir.path().join("own")), 0);
    }
}
