//! Taking files in: the lane that a file belongs to, its gathering, and then everything that is ready.

use super::{
    Carry, Way, broken,
    files::Shelf,
    store,
    trust::{Trusted, trust},
};
use bascule_bundle::{Direction, Importer, Kind, Lane, Ready, Standing, Summary, peek};
use bascule_core::{Actor, Name, Problem, Result};
use bascule_ledger::{PublicKey, facts::bundles::BundleRefused};
use bascule_wire::bundle::{BundleApplied, BundleImport, GatheredSet};
use bytes::Bytes;
use futures::{
    Stream,
    stream::{self, StreamExt as _},
};
use std::{
    io::{self, Read},
    path::PathBuf,
    time::Duration,
};
use tokio::runtime::Handle;
use tokio_util::io::{StreamReader, SyncIoBridge};

/// Longest time without a byte of a file that comes in, so that a caller who went away does not stand in others' way.
const SILENCE: Duration = Duration::from_secs(60);
/// Time that the rest of a file is listened to which was refused, or was here already.
const REST: Duration = Duration::from_secs(60);

/// How long a question waits for an import to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whose sets are gathered in one folder.
pub(super) struct Place {
    pub(super) way: Way,
    pub(super) site: Name,
    pub(super) keys: Vec<PublicKey>,
}

impl Carry {
    /// Takes a file of a bundle or report as it comes, and applies whatever is ready by it.
    ///
    /// # Errors
    /// The file is refused, for a reason of its own code, or what it brings is.
    pub async fn import(
        &self,
        actor: &Actor,
        body: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    ) -> Result<BundleImport> {
        let _turn = self.turn.lock().await;
        let trusted = self.trusted().await?;
        let file = SyncIoBridge::new(StreamReader::new(Box::pin(lively(body))));
        let (carry, actor, handle) = (self.clone(), actor.clone(), Handle::current());
        tokio::task::spawn_blocking(move || carry.take(&handle, &actor, &trusted, file))
            .await
            .map_err(broken)?
    }

    /// Applies what a process that died had gathered and not applied.
    ///
    /// # Errors
    /// The database or the disk refused.
    pub async fn resume(&self) -> Result<()> {
        let _turn = self.turn.lock().await;
        let trusted = self.trusted().await?;
        let (carry, handle) = (self.clone(), Handle::current());
        let resumed = tokio::task::spawn_blocking(move || -> Result<()> {
            for place in trusted.places() {
                if !carry.lane_folder(&place).is_dir() {
                    continue;
                }
                let mut importer = carry.open(&handle, &place)?;
                let applied = carry.apply_ready(&handle, &Actor::system(), &place, &mut importer)?;
                if !applied.is_empty() {
                    tracing::info!(site = %place.site, sets = applied.len(), "bundles that were gathered are applied");
                }
            }
            Ok(())
        });
        resumed.await.map_err(broken)?
    }

    /// What is being gathered here, in all lanes, and what each set waits for.
    ///
    /// # Errors
    /// The disk cannot be read, or a file is being taken in just now.
    pub async fn gathered(&self) -> Result<Vec<GatheredSet>> {
        let Ok(_turn) = tokio::time::timeout(PATIENCE, self.turn.lock()).await else {
            return Err(
                Problem::conflict("bundle_busy", "A bundle is being taken in just now.")
                    .why("What is gathered changes with each file.")
                    .next("Ask again once the import is done."),
            );
        };
        let trusted = self.trusted().await?;
        let (carry, handle) = (self.clone(), Handle::current());
        let looked = tokio::task::spawn_blocking(move || -> Result<Vec<GatheredSet>> {
            let mut all = Vec::new();
            for place in trusted.places() {
                if !carry.lane_folder(&place).is_dir() {
                    continue;
                }
                let importer = carry.open(&handle, &place)?;
                all.extend(importer.status(carry.now())?.into_iter().map(|set| GatheredSet {
                    way: place.way.as_str().to_owned(),
                    site: place.site.to_string(),
                    sequence: set.sequence,
                    id: set.id,
                    kind: set.kind.to_string(),
                    created_at: set.created_at,
                    here: set.here,
                    missing: set.missing,
                    waits: set.standing.to_string(),
                }));
            }
            Ok(all)
        });
        looked.await.map_err(broken)?
    }

    fn take(
        &self,
        handle: &Handle,
        actor: &Actor,
        trusted: &Trusted,
        mut file: impl Read,
    ) -> Result<BundleImport> {
        let taken = self.take_whole(handle, actor, trusted, &mut file);
        // A client that is still sending hears an answer only once it is done.
        let started = self.now();
        let mut buffer = vec![0; 256 * 1024];
        while matches!(file.read(&mut buffer), Ok(1..)) && self.now().since(started) < REST {}
        taken
    }

    fn take_whole(
        &self,
        handle: &Handle,
        actor: &Actor,
        trusted: &Trusted,
        file: impl Read,
    ) -> Result<BundleImport> {
        let (summary, file) = peek(file, &trusted.all(), self.now())?;
        let taken = self.take_known(handle, actor, trusted, &summary, file);
        if let Err(problem) = &taken
            && !problem.is_server_fault()
        {
            handle.block_on(self.tell_refusal(actor, &summary, problem))?;
        }
        taken
    }

    fn take_known(
        &self,
        handle: &Handle,
        actor: &Actor,
        trusted: &Trusted,
        summary: &Summary,
        file: impl Read,
    ) -> Result<BundleImport> {
        let now = self.now();
        let place = trusted.place(summary)?;
        let mut importer = self.open(handle, &place)?;
        let progress = importer.accept(file, now)?;
        let applied = self.apply_ready(handle, actor, &place, &mut importer)?;
        let done = applied.iter().any(|set| set.sequence == progress.sequence);
        let waits = if done {
            String::new()
        } else {
            let status = importer.status(now)?;
            match status.iter().find(|status| status.id == progress.id) {
                Some(status) => status.standing.to_string(),
                None if progress.standing == Standing::Ready => {
                    "nothing: a later one took its place".to_owned()
                }
                None => progress.standing.to_string(),
            }
        };
        Ok(BundleImport {
            site: place.site.to_string(),
            sequence: progress.sequence,
            id: progress.id,
            kind: progress.kind.to_string(),
            chunk: progress.chunk,
            chunks: progress.chunks,
            already: progress.already,
            applied,
            waits,
        })
    }

    fn lane_folder(&self, place: &Place) -> PathBuf {
        self.folder.join(format!("{}-{}", place.way.as_str(), place.site))
    }

    /// Opens a lane. What the database says to be applied counts, if the folder was lost.
    fn open(&self, handle: &Handle, place: &Place) -> Result<Importer> {
        let direction = match place.way {
            Way::To => Direction::ToSite,
            Way::From => Direction::FromSite,
        };
        let shelf = Shelf::new(&self.blobs);
        let lane = Lane::new(place.site.clone(), direction, trust(&place.keys), move |digest| {
            shelf.holds(digest)
        });
        let mut importer = Importer::open(&self.lane_folder(place), lane)?;
        let applied = handle.block_on(store::applied(&self.delivery.db, place.way, place.site.as_str()))?;
        for row in applied {
            let sequence = u64::try_from(row.sequence).unwrap_or(0);
            importer.catch_up(sequence, &row.set_id, row.checkpoint)?;
        }
        Ok(importer)
    }

    /// Applies all that waits for nothing, in order. One that cannot be applied is dropped, so that it does not
    /// stand in the way of what comes after it.
    fn apply_ready(
        &self,
        handle: &Handle,
        actor: &Actor,
        place: &Place,
        importer: &mut Importer,
    ) -> Result<Vec<BundleApplied>> {
        let mut done = Vec::new();
        while let Some(ready) = importer.ready(self.now())? {
            match handle.block_on(Box::pin(self.apply(actor, place, &ready))) {
                Ok(applied) => {
                    importer.applied(ready)?;
                    done.push(applied);
                }
                Err(problem) => {
                    if !problem.is_server_fault() {
                        importer.discard(ready.set().sequence)?;
                    }
                    return Err(problem);
                }
            }
        }
        Ok(done)
    }

    async fn apply(&self, actor: &Actor, place: &Place, ready: &Ready) -> Result<BundleApplied> {
        match place.way {
            Way::To => self.bring_into_force(actor, place, ready).await,
            Way::From => self.hear(actor, place, ready).await,
        }
    }

    async fn tell_refusal(&self, actor: &Actor, summary: &Summary, problem: &Problem) -> Result<()> {
        let fact = BundleRefused {
            site: summary.site.to_string(),
            sequence: super::number(summary.sequence),
            rule: problem.code.clone(),
            reason: problem.what.clone(),
        };
        let tx = self.delivery.db.begin().await?;
        self.delivery.ledger.append(&tx, actor, &fact).await?;
        tx.commit().await?;
        Ok(())
    }
}

/// A body that ends with an error where nothing comes for too long.
fn lively(
    body: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
) -> impl Stream<Item = io::Result<Bytes>> + Send {
    stream::unfold(Some(body.boxed()), |body| async move {
        let mut body = body?;
        match tokio::time::timeout(SILENCE, body.next()).await {
            Ok(next) => next.map(|piece| (piece, Some(body))),
            Err(_) => {
                let silent = io::Error::new(io::ErrorKind::TimedOut, "nothing came for a minute");
                Some((Err(silent), None))
            }
        }
    })
}

impl Trusted {
    /// All lanes.
    fn places(&self) -> Vec<Place> {
        let here = self.here.iter().map(|(site, keys)| Place {
            way: Way::To,
            site: site.clone(),
            keys: keys.clone(),
        });
        let sites = self.sites.iter().map(|(site, keys)| Place {
            way: Way::From,
            site: site.clone(),
            keys: keys.clone(),
        });
        here.chain(sites).collect()
    }

    /// The lane that a file says to belong to. The lane itself refuses what lies.
    fn place(&self, summary: &Summary) -> Result<Place> {
        let report = summary.kind == Kind::Report;
        let found = self.places().into_iter().find(|place| match place.way {
            Way::To => !report,
            Way::From => report && place.site == summary.site,
        });
        found.ok_or_else(|| {
            let (what, next) = if report {
                (
                    format!("No key of the site {} is trusted here.", summary.site),
                    format!("bascule bundle trust KEY --of {}", summary.site),
                )
            } else {
                (
                    "This instance takes no bundles: no hub's key is trusted here.".to_owned(),
                    format!("bascule bundle trust KEY --as {}", summary.site),
                )
            };
            Problem::invalid("bundle_untrusted_key", what)
                .why("A bundle is believed for a signature by a key that came another way, and never for being the first.")
                .next(format!(
                    "Get the other instance's key by a way of its own (`bascule release key` there), then: `{next}`."
                ))
        })
    }
}
