//! Making releases, and answering about them.

use super::{
    Release, ReleasePart,
    making::{Inner, Stop},
    preview, store,
};
use crate::ports::{Artifacts, Tree};
use bascule_core::{Actor, Digest, FactId, Problem, ProjectId, ReleaseId, Result, limits};
use bascule_ledger::{Ledger, PublicKey, facts::ci::ReleaseRequested};
use bascule_store::{Blobs, Db};
use bascule_wire::release::ReleaseComponent;
use bytes::Bytes;
use futures::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use std::{
    ops::Range,
    sync::{Arc, Mutex},
};

/// Bytes of a part sent at a time when only a range of it is asked for.
const WINDOW: u64 = 1024 * 1024;

/// The bytes of a part.
pub type PartStream = BoxStream<'static, bascule_store::Result<Bytes>>;

/// Releases: made when CI asks for them, never changed, read by delivery, the API and the pages.
#[derive(Clone)]
pub struct Releases {
    pub(crate) inner: Arc<Inner>,
}

impl Releases {
    /// The service. `public_url` is the address under which people reach this instance, without a slash at
    /// the end; provenance names the project's code by it.
    #[must_use]
    pub fn new(
        db: Db,
        blobs: Blobs,
        ledger: Ledger,
        tree: Arc<dyn Tree>,
        artifacts: Arc<dyn Artifacts>,
        public_url: impl Into<String>,
    ) -> Self {
        let public_url = public_url.into().trim_end_matches('/').to_owned();
        Self {
            inner: Arc::new(Inner {
                db,
                blobs,
                ledger,
                tree,
                artifacts,
                public_url,
                failures: Mutex::default(),
            }),
        }
    }

    /// The key by which this instance's signatures are checked.
    #[must_use]
    pub fn key(&self) -> PublicKey {
        self.inner.ledger.key().public()
    }

    /// All keys that signed releases here: this instance's own first, then those of instances whose releases came
    /// in bundles.
    ///
    /// # Errors
    /// The database refused.
    pub async fn keys(&self) -> Result<Vec<PublicKey>> {
        let own = self.key();
        let others = store::origin_keys(&self.inner.db).await?;
        let others = others
            .iter()
            .filter_map(|kept| PublicKey::from_pem(&kept.pem).ok())
            .filter(|key| *key != own);
        Ok(std::iter::once(own.clone()).chain(others).collect())
    }

    /// One release.
    ///
    /// # Errors
    /// The database refused.
    pub async fn release(&self, id: ReleaseId) -> Result<Option<Release>> {
        Ok(store::by_id(&self.inner.db, id).await?)
    }

    /// The release of a tag, or of a version.
    ///
    /// # Errors
    /// The database refused.
    pub async fn release_by_version(&self, project: ProjectId, version: &str) -> Result<Option<Release>> {
        Ok(store::by_tag_or_version(&self.inner.db, project, version).await?)
    }

    /// A project's releases, newest first, those made before `before`.
    ///
    /// # Errors
    /// The database refused.
    pub async fn list(
        &self,
        project: ProjectId,
        before: Option<ReleaseId>,
        limit: i64,
    ) -> Result<Vec<Release>> {
        Ok(store::list(
            &self.inner.db,
            project,
            before,
            limit.clamp(1, limits::API_PAGE_ENTRIES + 1),
        )
        .await?)
    }

    /// All parts of a release, by name.
    ///
    /// # Errors
    /// The database refused.
    pub async fn parts(&self, release: ReleaseId) -> Result<Vec<ReleasePart>> {
        Ok(store::parts(&self.inner.db, release).await?)
    }

    /// A part by its name.
    ///
    /// # Errors
    /// The database refused.
    pub async fn part(&self, release: ReleaseId, name: &str) -> Result<Option<ReleasePart>> {
        Ok(store::part_by_name(&self.inner.db, release, name).await?)
    }

    /// A part by its digest.
    ///
    /// # Errors
    /// The database refused.
    pub async fn part_by_digest(&self, release: ReleaseId, digest: &Digest) -> Result<Option<ReleasePart>> {
        Ok(store::part_by_digest(&self.inner.db, release, digest).await?)
    }

    /// The file that the jobs put at `path`, as a product's `artifact:` names it; `None` if no job kept one.
    ///
    /// # Errors
    /// Two jobs made different ones.
    pub async fn file(&self, release: ReleaseId, path: &str) -> Result<Option<ReleasePart>> {
        let path = path.strip_prefix("./").unwrap_or(path);
        let mut found = store::parts_by_path(&self.inner.db, release, path).await?;
        if found.is_empty() {
            // A build for a preview is no release, and is run like one.
            found = preview::store::parts_by_path(&self.inner.db, release, path).await?;
        }
        let same = found
            .windows(2)
            .all(|two| matches!(two, [one, other] if one.digest == other.digest));
        if !same {
            let jobs: Vec<String> = found.into_iter().filter_map(|part| part.job).collect();
            let what = format!("More than one job made a file `{path}`, and they differ.");
            return Err(Problem::invalid("ambiguous_file", what)
                .why(format!(
                    "Which of them is meant cannot be known: {} each made one.",
                    jobs.join(", ")
                ))
                .next("Let one job alone keep that path as an artifact, and release again."));
        }
        Ok(found.pop())
    }

    /// The bytes of a part, or of the signed manifest; `None` if there is no such blob.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn open_part(&self, digest: &Digest) -> Result<Option<PartStream>> {
        Ok(self
            .inner
            .blobs
            .open(digest)
            .await?
            .map(futures::StreamExt::boxed))
    }

    /// Some bytes of a part; `range` must lie within it.
    #[must_use]
    pub fn open_range(&self, digest: &Digest, range: Range<u64>) -> PartStream {
        let (blobs, digest) = (self.inner.blobs.clone(), digest.clone());
        stream::try_unfold(range, move |range| {
            let (blobs, digest) = (blobs.clone(), digest.clone());
            async move {
                if range.is_empty() {
                    return Ok(None);
                }
                let end = range.start.saturating_add(WINDOW).min(range.end);
                let bytes = blobs.read_range(&digest, range.start..end).await?;
                Ok(Some((bytes, end..range.end)))
            }
        })
        .boxed()
    }

    /// Components of a release whose package URL holds `search`, ordered, those after `after`, and how many
    /// match in all.
    ///
    /// # Errors
    /// The database refused.
    pub async fn components(
        &self,
        release: ReleaseId,
        search: &str,
        after: &str,
        limit: i64,
    ) -> Result<(Vec<ReleaseComponent>, i64)> {
        let limit = limit.clamp(1, limits::API_PAGE_ENTRIES + 1);
        Ok(store::components(&self.inner.db, release, search, after, limit).await?)
    }

    /// Makes the release that a fact asks for, or refuses it; either way once, however often it is called.
    ///
    /// # Errors
    /// Something failed that may not fail again; call again later.
    pub async fn answer(&self, fact: FactId, actor: &Actor, request: &ReleaseRequested) -> Result<()> {
        let inner = &self.inner;
        if store::answered(&inner.db, fact).await? {
            return Ok(());
        }
        let outcome = match inner.make(request).await {
            Ok(made) => inner.publish(fact, actor, *made).await,
            Err(stop) => Err(stop),
        };
        match outcome {
            Ok(()) => Ok(()),
            Err(Stop::Fail(problem)) => match inner.failed(fact, &request.tag) {
                None => Err(problem),
                Some(enough) => inner.refuse(fact, actor, request, &enough).await,
            },
            Err(Stop::Refuse(problem)) => inner.refuse(fact, actor, request, &problem).await,
        }
    }
}
