//! The files of an export: planned once, kept as a list, and written as often as they are fetched. No file is ever
//! in memory or on disk as a whole here.

use super::{Carry, Kept, Way, broken, count, number, store};
use bascule_bundle::{BlobSource, Export, Part, Plan, Set};
use bascule_core::{Actor, Digest, Problem, Result};
use bascule_ledger::facts::bundles::BundleExported;
use bascule_store::Blobs;
use bascule_wire::bundle::{BundleExport, BundleFile};
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt as _};
use std::{
    collections::BTreeMap,
    io::{self, BufWriter, Read, Write},
    ops::Range,
};
use tokio::{runtime::Handle, sync::mpsc};

/// Bytes read from the blob store at a time.
const WINDOW: u64 = 1024 * 1024;
/// Bytes sent at a time, and how many such pieces wait before the writer does.
const PIECE: usize = 256 * 1024;
const PIECES: usize = 4;

/// A file on its way.
pub(crate) struct Fetched {
    pub(super) name: String,
    pub(super) size: u64,
    pub(crate) bytes: BoxStream<'static, io::Result<Bytes>>,
}

struct Planned {
    set: Set,
    id: Digest,
    division: Vec<Vec<Part>>,
    files: Vec<(String, u64)>,
}

fn files_of(plan: &Plan<'_>) -> Result<Vec<(String, u64)>> {
    (1..=plan.chunks())
        .map(|chunk| Ok((plan.file_name(chunk), plan.size(chunk)?)))
        .collect()
}

impl Carry {
    /// Divides an export into files, keeps what is needed to write them, and records it.
    pub(super) async fn keep(
        &self,
        actor: &Actor,
        way: Way,
        export: Export,
        known: BTreeMap<String, Digest>,
        chunk: Option<u64>,
        releases: i64,
    ) -> Result<BundleExport> {
        let shelf = Shelf::new(&self.blobs);
        let key = self.delivery.ledger.key().clone();
        let planned = tokio::task::spawn_blocking(move || -> Result<Planned> {
            let plan = export.plan(chunk, &shelf, &key)?;
            Ok(Planned {
                set: plan.set().clone(),
                id: plan.id().clone(),
                division: plan.division().to_vec(),
                files: files_of(&plan)?,
            })
        })
        .await
        .map_err(broken)??;
        let Planned {
            set,
            id,
            division,
            files,
        } = planned;
        let (site, sequence) = (set.site.to_string(), number(set.sequence));
        let (kind, base, expires_at) = (set.kind.to_string(), set.base.clone(), set.expires_at);
        let held = set.held.len();
        let kept = serde_json::to_vec(&Kept { set, division, known })
            .map_err(|error| super::damaged("an export", error))?;
        let kept = self.blobs.put_bytes(kept).await?;
        let row = store::Exported {
            site: site.clone(),
            sequence,
            set_id: id.clone(),
            kind: kind.clone(),
            kept: kept.digest,
            at: self.now(),
        };
        let fact = BundleExported {
            site: site.clone(),
            sequence,
            bundle: id.clone(),
            kind: kind.clone(),
            base: base.as_ref().map(|base| number(base.sequence)),
            releases,
            files: count(files.len()),
            bytes: number(files.iter().map(|(_, size)| *size).sum()),
        };
        let tx = self.delivery.db.begin().await?;
        store::put_export(&tx, way, &row).await?;
        self.delivery.ledger.append(&tx, actor, &fact).await?;
        tx.commit().await?;
        let files = files
            .into_iter()
            .zip(1..)
            .map(|((name, size), chunk)| BundleFile {
                name,
                size,
                path: format!("/api/v1/bundles/files/{}/{site}/{sequence}/{chunk}", way.as_str()),
            })
            .collect();
        Ok(BundleExport {
            site,
            sequence,
            id,
            kind,
            base: fact.base,
            expires_at,
            releases: Vec::new(),
            held,
            files,
            notes: Vec::new(),
        })
    }

    /// A file of a bundle that was made.
    pub(crate) async fn fetch(&self, way: &str, site: &str, sequence: i64, chunk: u32) -> Result<Fetched> {
        let gone = || Problem::not_found("file of a bundle");
        let way = Way::parse(way).ok_or_else(gone)?;
        let exported = store::export(&self.delivery.db, way, site, sequence)
            .await?
            .ok_or_else(gone)?;
        let kept = self.kept(&exported.kept).await?;
        let shelf = Shelf::new(&self.blobs);
        let key = self.delivery.ledger.key().clone();
        let (pieces, mut coming) = mpsc::channel::<io::Result<Bytes>>(PIECES);
        let (announce, announced) = tokio::sync::oneshot::channel();
        tokio::task::spawn_blocking(move || {
            let again = Plan::again(kept.set, kept.division, &shelf, &key)
                .and_then(|plan| Ok((plan.file_name(chunk), plan.size(chunk)?, plan)));
            let plan = match again {
                Ok((name, size, plan)) => {
                    if announce.send(Ok((name, size))).is_err() {
                        return;
                    }
                    plan
                }
                Err(problem) => return drop(announce.send(Err(problem))),
            };
            let mut pipe = BufWriter::with_capacity(PIECE, Pipe(pieces.clone()));
            let written = plan
                .write(chunk, &mut pipe)
                .and_then(|_| pipe.flush().map_err(|_| Problem::internal()));
            if let Err(problem) = written {
                tracing::error!(%problem, "a bundle could not be written to its end");
                // The answer breaks off, so that a cut file is not taken for a whole one.
                drop(pieces.blocking_send(Err(io::Error::other(problem.what))));
            }
        });
        let (name, size) = announced.await.map_err(|_| Problem::internal())??;
        let bytes = stream::poll_fn(move |context| coming.poll_recv(context)).boxed();
        Ok(Fetched { name, size, bytes })
    }
}

/// Where a file is written to.
struct Pipe(mpsc::Sender<io::Result<Bytes>>);

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0
            .blocking_send(Ok(Bytes::copy_from_slice(bytes)))
            .map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The blob store, read by threads that may block.
pub(super) struct Shelf {
    blobs: Blobs,
    handle: Handle,
}

impl Shelf {
    pub(super) fn new(blobs: &Blobs) -> Self {
        Self {
            blobs: blobs.clone(),
            handle: Handle::current(),
        }
    }

    /// Whether a blob is here.
    pub(super) fn holds(&self, digest: &Digest) -> bool {
        self.handle
            .block_on(self.blobs.size(digest))
            .ok()
            .flatten()
            .is_some()
    }
}

impl BlobSource for Shelf {
    fn open(&self, digest: &Digest, range: Range<u64>) -> io::Result<Box<dyn Read + '_>> {
        Ok(Box::new(Window {
            shelf: self,
            digest: digest.clone(),
            left: range,
            bytes: Bytes::new(),
        }))
    }
}

struct Window<'a> {
    shelf: &'a Shelf,
    digest: Digest,
    left: Range<u64>,
    bytes: Bytes,
}

impl Read for Window<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.bytes.is_empty() && !self.left.is_empty() {
            let end = self.left.start.saturating_add(WINDOW).min(self.left.end);
            let reading = self.shelf.blobs.read_range(&self.digest, self.left.start..end);
            self.bytes = self.shelf.handle.block_on(reading).map_err(io::Error::other)?;
            self.left.start = end;
        }
        let count = buffer.len().min(self.bytes.len());
        let piece = self.bytes.split_to(count);
        if let Some(room) = buffer.get_mut(..count) {
            room.copy_from_slice(&piece);
        }
        Ok(count)
    }
}
