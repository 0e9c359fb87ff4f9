//! The service on SQLite with ports of its own making, and the routes before it.

mod import;
mod making;
mod preview;
mod routes;

use super::*;
use crate::{
    ReleaseSubscriber,
    ports::{Artifacts, OpenArtifact, Tree},
};
use async_trait::async_trait;
use bascule_core::{Actor, FakeClock, Result};
use bascule_ledger::{
    Entry, Filter, Hub, InstanceKey, Ledger, Page,
    facts::{
        ci::{ArtifactRef, ReleaseRequested},
        forge::CommitStamp,
    },
};
use bascule_store::{Blobs, Db, DbOptions};
use bytes::Bytes;
use futures::StreamExt as _;
use std::{
    collections::BTreeMap,
    io::Write as _,
    sync::{Arc, Mutex},
};

const SHA: &str = "0123456789abcdef0123456789abcdef01234567";
const CARGO_LOCK: &str = "version = 4\n\n[[package]]\nname = \"app\"\nversion = \"1.0.0\"\ndependencies = [\"dep\"]\n\n[[package]]\nname = \"dep\"\nversion = \"0.3.1\"\nsource = \"registry+https://index.example/crates.io-index\"\nchecksum = \"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"\n";

/// A tree and artifacts that a test fills, and a fault that it may switch on.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) files: Mutex<BTreeMap<String, Vec<u8>>>,
    archives: Mutex<BTreeMap<i64, Vec<u8>>>,
    asked_between: Mutex<Vec<(Option<String>, String)>>,
    failing: Mutex<bool>,
    /// The commits of tags.
    tags: Mutex<BTreeMap<String, String>>,
}

#[async_trait]
impl Tree for World {
    async fn list_files(&self, _: ProjectId, _: &str) -> Result<Vec<String>> {
        if *self.failing.lock().unwrap() {
            return Err(Problem::internal());
        }
        Ok(self.files.lock().unwrap().keys().cloned().collect())
    }

    async fn tag_commit(&self, _: ProjectId, tag: &str) -> Result<Option<String>> {
        Ok(self.tags.lock().unwrap().get(tag).cloned())
    }

    async fn read(&self, _: ProjectId, _: &str, path: &str, limit: usize) -> Result<Option<Bytes>> {
        let file = self.files.lock().unwrap().get(path).cloned();
        Ok(file.map(|mut bytes| {
            bytes.truncate(limit);
            bytes.into()
        }))
    }

    async fn commits_between(
        &self,
        _: ProjectId,
        old: Option<&str>,
        new: &str,
    ) -> Result<(Vec<CommitStamp>, i64)> {
        self.asked_between
            .lock()
            .unwrap()
            .push((old.map(str::to_owned), new.to_owned()));
        let stamp = CommitStamp {
            sha: new.to_owned(),
            at: Timestamp::from_seconds(1),
            author: "a".to_owned(),
        };
        Ok((vec![stamp], 1))
    }
}

#[async_trait]
impl Artifacts for World {
    async fn open(&self, job: JobId) -> Result<Option<OpenArtifact>> {
        Ok(self
            .archives
            .lock()
            .unwrap()
            .get(&job.0)
            .cloned()
            .map(|bytes| OpenArtifact {
                file_name: "artifacts.zip".to_owned(),
                size: bytes.len() as u64,
                digest: Digest::of(&bytes),
                bytes: futures::stream::iter(
                    bytes
                        .chunks(7)
                        .map(|some| Ok(Bytes::copy_from_slice(some)))
                        .collect::<Vec<_>>(),
                )
                .boxed(),
            }))
    }
}

pub(crate) struct Bed {
    _dir: tempfile::TempDir,
    pub(crate) world: Arc<World>,
    pub(crate) releases: Releases,
    pub(crate) ledger: Ledger,
    pub(crate) clock: FakeClock,
    pub(crate) db: Db,
    blobs: Blobs,
    pub(crate) project: ProjectId,
}

impl Bed {
    pub(crate) async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(&DbOptions::Sqlite(dir.path().join("test.db")))
            .await
            .unwrap();
        db.migrate(&[
            bascule_store::MIGRATIONS,
            bascule_ledger::MIGRATIONS,
            crate::MIGRATIONS,
        ])
        .await
        .unwrap();
        let blobs = Blobs::on_disk(&dir.path().join("blobs")).unwrap();
        let clock = FakeClock::at(Timestamp::from_seconds(1_720_111_500));
        let ledger = Ledger::new(db.clone(), Arc::new(clock.clone()), InstanceKey::generate());
        let world = Arc::new(World::default());
        world
            .files
            .lock()
            .unwrap()
            .insert("Cargo.lock".to_owned(), CARGO_LOCK.into());
        world.files.lock().unwrap().insert(
            "node_modules/x/package-lock.json".to_owned(),
            b"nonsense".to_vec(),
        );
        let releases = Releases::new(
            db.clone(),
            blobs.clone(),
            ledger.clone(),
            world.clone(),
            world.clone(),
            "http://bascule.test/",
        );
        Self {
            _dir: dir,
            world,
            releases,
            ledger,
            clock,
            db,
            blobs,
            project: ProjectId::new(),
        }
    }

    /// Keeps an archive as the artifacts of a job.
    pub(crate) fn artifact(&self, job: i64, name: &str, files: &[(&str, &[u8])]) -> ArtifactRef {
        let bytes = zip_of(files);
        let reference = ArtifactRef {
            job: JobId(job),
            job_name: name.to_owned(),
            file_name: "artifacts.zip".to_owned(),
            digest: Digest::of(&bytes),
            size: i64::try_from(bytes.len()).unwrap(),
        };
        self.world.archives.lock().unwrap().insert(job, bytes);
        reference
    }

    fn request(&self, tag: &str, artifacts: Vec<ArtifactRef>) -> ReleaseRequested {
        ReleaseRequested {
            project: self.project,
            project_path: "clinic/portal".to_owned(),
            pipeline: PipelineId(7),
            job: JobId(9),
            tag: tag.to_owned(),
            sha: SHA.to_owned(),
            name: format!("Portal {tag}"),
            description: "**New**: <script>alert(1)</script>".to_owned(),
            artifacts,
            runner: None,
            started_at: self.ledger.clock().now(),
            finished_at: self.ledger.clock().now(),
            ci_file_digest: Some(Digest::of(b"ci")),
        }
    }

    /// Appends the request, as CI does once its tag is pushed.
    async fn append(&self, request: &ReleaseRequested) {
        self.world
            .tags
            .lock()
            .unwrap()
            .entry(request.tag.clone())
            .or_insert_with(|| request.sha.clone());
        let tx = self.db.begin().await.unwrap();
        self.ledger
            .append(
                &tx,
                &Actor::new(bascule_core::ActorKind::Job, 9, "release"),
                request,
            )
            .await
            .unwrap();
        tx.commit().await.unwrap();
    }

    /// Lets the subscriber do its work.
    async fn settle(&self) -> Result<(), String> {
        let hub = Hub::default().with(Arc::new(ReleaseSubscriber::new(self.releases.clone())));
        hub.settle(&self.ledger).await.map_err(|error| error.to_string())
    }

    pub(crate) async fn ask(&self, tag: &str, artifacts: Vec<ArtifactRef>) {
        self.append(&self.request(tag, artifacts)).await;
        self.settle().await.unwrap();
    }

    pub(crate) async fn facts(&self, kind: &str) -> Vec<Entry> {
        let filter = Filter {
            kinds: vec![kind.to_owned()],
            ..Filter::default()
        };
        self.ledger
            .read(&filter, Page::After { after: 0, limit: 100 })
            .await
            .unwrap()
    }

    pub(crate) async fn release(&self, tag: &str) -> Release {
        self.releases
            .release_by_version(self.project, tag)
            .await
            .unwrap()
            .expect("a release")
    }

    async fn bytes(&self, digest: &Digest) -> Vec<u8> {
        let mut stream = self.releases.open_part(digest).await.unwrap().expect("a blob");
        let mut all = Vec::new();
        while let Some(some) = stream.next().await {
            all.extend_from_slice(&some.unwrap());
        }
        all
    }
}

fn zip_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in files {
        zip.start_file(*name, zip::write::SimpleFileOptions::default())
            .unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}
