//! Knows the images of releases, and who may pull them.

use super::{
    ARCHIVE_TAG,
    layout::{self, Image},
    store::{self, Candidate, Held},
};
use crate::{PartStream, Releases, ports::Pulls};
use async_trait::async_trait;
use bascule_core::{ActorKind, Caller, Digest, Problem, ProjectId, ReleaseId, Result};
use bascule_ledger::{BoxError, Entry, Fact as _, Subscriber, decode, facts::supplychain::ReleasePublished};
use bytes::Bytes;
use futures::TryStreamExt as _;
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio_util::io::{StreamReader, SyncIoBridge};

/// Images of releases.
#[derive(Clone)]
pub struct Images {
    releases: Releases,
    pulls: Arc<dyn Pulls>,
    /// One archive at a time is read: it takes a processor and the disk.
    reading: Arc<tokio::sync::Mutex<()>>,
}

/// A blob that may be served.
pub(super) struct Found {
    pub(super) digest: Digest,
    pub(super) media_type: String,
    pub(super) size: u64,
    archive: Digest,
    position: u64,
    content: Option<String>,
}

impl Images {
    /// The service.
    #[must_use]
    pub fn new(releases: Releases, pulls: Arc<dyn Pulls>) -> Self {
        Self {
            releases,
            pulls,
            reading: Arc::default(),
        }
    }

    /// Where clients get tokens.
    pub(super) fn public_url(&self) -> &str {
        &self.releases.inner.public_url
    }

    /// A manifest by digest, by a release's version, or by its file.
    pub(super) async fn manifest(
        &self,
        caller: &Caller,
        project: ProjectId,
        reference: &str,
    ) -> Result<Option<Found>> {
        let Ok(digest) = reference.parse::<Digest>() else {
            let archive = match reference.strip_prefix(ARCHIVE_TAG) {
                Some(hex) => self.named_archive(project, hex).await?,
                None => self.tagged(project, reference).await?,
            };
            let Some(archive) = archive else { return Ok(None) };
            if !self
                .may_pull(caller, std::slice::from_ref(&archive))
                .await?
                .contains(&archive)
            {
                return Ok(None);
            }
            let root = self.root(&archive).await?;
            return Box::pin(self.blob(caller, project, &root, true)).await;
        };
        self.blob(caller, project, &digest, true).await
    }

    /// A blob, or a manifest, that lies in an archive of the project's releases.
    pub(super) async fn blob(
        &self,
        caller: &Caller,
        project: ProjectId,
        digest: &Digest,
        manifest: bool,
    ) -> Result<Option<Found>> {
        let held = store::held(&self.releases.inner.db, project, digest).await?;
        let archives: Vec<Digest> = held.iter().map(|held| held.archive.clone()).collect();
        let allowed = self.may_pull(caller, &archives).await?;
        Ok(held
            .into_iter()
            .find(|held| held.manifest == manifest && allowed.contains(&held.archive))
            .map(Found::from))
    }

    /// A blob's bytes, some of them.
    pub(super) fn open(&self, found: &Found, range: std::ops::Range<u64>) -> PartStream {
        use futures::StreamExt as _;
        if let Some(content) = &found.content {
            let cut = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
            let some = content
                .as_bytes()
                .get(cut(range.start)..cut(range.end))
                .unwrap_or_default();
            let some = Bytes::copy_from_slice(some);
            return futures::stream::once(async move { Ok(some) }).boxed();
        }
        let shifted = found.position.saturating_add(range.start)..found.position.saturating_add(range.end);
        self.releases.open_range(&found.archive, shifted)
    }

    /// Tags: versions, those after `last`; a release with several images has one tag for each.
    pub(super) async fn tags(
        &self,
        caller: &Caller,
        project: ProjectId,
        last: &str,
        limit: i64,
    ) -> Result<(Vec<String>, Option<String>)> {
        let db = &self.releases.inner.db;
        let mut versions = store::versions(db, project, last, limit.saturating_add(1)).await?;
        let more = crate::release::more(&mut versions, limit);
        let mut tags = Vec::new();
        for version in &versions {
            let Some(release) = self.releases.release_by_version(project, version).await? else {
                continue;
            };
            let images = self.images(release.id).await?;
            let archives: Vec<Digest> = images.iter().map(|image| image.digest.clone()).collect();
            let allowed = self.may_pull(caller, &archives).await?;
            let images: Vec<&Candidate> = images
                .iter()
                .filter(|image| allowed.contains(&image.digest))
                .collect();
            match images.as_slice() {
                [] => {}
                [_] => tags.push(version.clone()),
                several => tags.extend(
                    several
                        .iter()
                        .map(|image| format!("{version}_{}", stem(&image.path))),
                ),
            }
        }
        Ok((tags, versions.pop().filter(|_| more)))
    }

    /// Reads the archives of a release that may hold images.
    ///
    /// # Errors
    /// The store failed; call again later.
    pub async fn read_release(&self, release: ReleaseId) -> Result<()> {
        for candidate in store::candidates(&self.releases.inner.db, release).await? {
            match self.find(&candidate.digest).await {
                // What is gone from the store will not come back by waiting for it.
                Err(problem) if problem.status == 404 => {
                    tracing::warn!(archive = %candidate.digest, "a release's file is gone from the blob store");
                }
                found => drop(found?),
            }
        }
        Ok(())
    }

    /// Of these archives, those that a caller may pull from. Agents pull what they run; others what the project's
    /// releases hold.
    async fn may_pull(&self, caller: &Caller, archives: &[Digest]) -> Result<Vec<Digest>> {
        if caller.actor.kind != ActorKind::Agent {
            return Ok(archives.to_vec());
        }
        let mut allowed = Vec::new();
        for archive in archives {
            if self.pulls.agent_runs(&caller.actor.id, archive).await? {
                allowed.push(archive.clone());
            }
        }
        Ok(allowed)
    }

    async fn named_archive(&self, project: ProjectId, hex: &str) -> Result<Option<Digest>> {
        let Ok(archive) = format!("sha256:{hex}").parse::<Digest>() else {
            return Ok(None);
        };
        let has = store::has(&self.releases.inner.db, project, &archive).await?;
        Ok(Some(archive).filter(|_| has))
    }

    /// `1.4.0`, or `1.4.0_web` where the release holds several images.
    async fn tagged(&self, project: ProjectId, tag: &str) -> Result<Option<Digest>> {
        let (version, name) = match tag.split_once('_') {
            Some((version, name)) => (version, Some(name)),
            None => (tag, None),
        };
        let Some(release) = self.releases.release_by_version(project, version).await? else {
            return Ok(None);
        };
        let mut images = self.images(release.id).await?;
        if let Some(name) = name {
            images.retain(|image| stem(&image.path) == name);
        }
        images.dedup_by(|one, other| one.digest == other.digest);
        match images.as_slice() {
            [] => Ok(None),
            [image] => Ok(Some(image.digest.clone())),
            several => {
                let tags: Vec<String> = several
                    .iter()
                    .map(|image| format!("`{version}_{}`", stem(&image.path)))
                    .collect();
                Err(Problem::new(
                    404,
                    "several_images",
                    format!("The release {version} holds {} images.", several.len()),
                )
                .why("A tag means one image.")
                .next(format!("Pull one of {}.", tags.join(", "))))
            }
        }
    }

    /// The images of a release, by path.
    async fn images(&self, release: ReleaseId) -> Result<Vec<Candidate>> {
        let mut images = Vec::new();
        for candidate in store::candidates(&self.releases.inner.db, release).await? {
            if self.find(&candidate.digest).await?.is_ok() {
                images.push(candidate);
            }
        }
        Ok(images)
    }

    /// The manifest that stands for the image in an archive.
    async fn root(&self, archive: &Digest) -> Result<Digest> {
        self.find(archive).await?.map_err(|why| {
            Problem::new(404, "no_image", format!("The file {} holds no image that can be pulled.", archive.short()))
                .why(format!("{why}."))
                .next("Save the image with `podman save --format oci-archive` or `docker save`, uncompressed, and release again.")
        })
    }

    /// What an archive holds; read if it was not before.
    async fn find(&self, archive: &Digest) -> Result<std::result::Result<Digest, String>> {
        let db = &self.releases.inner.db;
        let known = |found: store::Archive| found.root.ok_or(found.why);
        if let Some(found) = store::archive(db, archive).await? {
            return Ok(known(found));
        }
        let _alone = self.reading.lock().await;
        if let Some(found) = store::archive(db, archive).await? {
            return Ok(known(found));
        }
        let found = self.read(archive).await?;
        let tx = db.begin().await?;
        store::keep(&tx, archive, &found, self.releases.inner.ledger.clock().now()).await?;
        tx.commit().await?;
        match &found {
            Ok(image) => {
                tracing::info!(%archive, root = %image.root, blobs = image.blobs.len(), "an image was found");
            }
            Err(why) => tracing::debug!(%archive, why, "an archive holds no image"),
        }
        Ok(found.map(|image| image.root))
    }

    async fn read(&self, archive: &Digest) -> Result<std::result::Result<Image, String>> {
        let stream = self
            .releases
            .open_part(archive)
            .await?
            .ok_or_else(|| Problem::not_found("file of this release"))?;
        // What the store fails at says nothing of the archive.
        let failed = Arc::new(AtomicBool::new(false));
        let noted = Arc::clone(&failed);
        let stream = stream.map_err(move |error| {
            noted.store(true, Ordering::Relaxed);
            io::Error::other(error.to_string())
        });
        let reader = SyncIoBridge::new(StreamReader::new(stream));
        let read = tokio::task::spawn_blocking(move || layout::read(reader));
        let found = read.await.map_err(|error| {
            tracing::error!(%error, "reading an archive failed");
            Problem::internal()
        })?;
        if failed.load(Ordering::Relaxed) {
            return Err(Problem::internal());
        }
        Ok(found)
    }
}

/// The name of a file without its endings, as a tag can hold it.
fn stem(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    let name = name.strip_suffix(".tar").unwrap_or(name);
    let name = name.strip_suffix(".oci").unwrap_or(name);
    name.chars()
        .take(60)
        .map(|c| {
            if c.is_ascii_alphanumeric() || matches!(c, '.' | '-') {
                c
            } else {
                '-'
            }
        })
        .collect()
}

impl From<Held> for Found {
    fn from(held: Held) -> Self {
        let unsigned = |number: i64| u64::try_from(number).unwrap_or_default();
        Self {
            digest: held.digest,
            media_type: held.media_type,
            size: unsigned(held.size),
            archive: held.archive,
            position: unsigned(held.position),
            content: held.content,
        }
    }
}

/// Reads the images of each release once it is published.
#[derive(Clone)]
pub struct ImageSubscriber(Images);

impl ImageSubscriber {
    /// Reads by this service.
    #[must_use]
    pub fn new(images: Images) -> Self {
        Self(images)
    }
}

#[async_trait]
impl Subscriber for ImageSubscriber {
    fn name(&self) -> &'static str {
        "supplychain.images"
    }

    fn kinds(&self) -> Vec<&'static str> {
        vec![ReleasePublished::KIND]
    }

    async fn handle(&self, entry: &Entry) -> std::result::Result<(), BoxError> {
        let published: ReleasePublished = decode(entry)?;
        self.0
            .read_release(published.release)
            .await
            .map_err(BoxError::from)
    }
}
