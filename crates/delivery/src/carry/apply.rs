//! Bringing a hub's bundle into force. Bytes go to the blob store and releases are checked first; then one
//! transaction holds the releases, the recalls, the declaration, and the number of the bundle. A process that dies
//! before it has changed nothing that counts, and does it all again.

use super::{
    Carry, DOCUMENT_BYTES, RECALL_FORMAT, RELEASE_FORMAT, RecallDocument, ReleaseDocument, import::Place,
    number, store,
};
use crate::{
    Arrival, ReleaseInfo, catalogue, environment,
    fleet::Channel,
    product::{self, Product},
    site::{self, Site},
};
use bascule_bundle::{EntryKind, Ready, VerifiedBlob};
use bascule_core::{Actor, Digest, Problem, ProjectId, Result};
use bascule_ledger::facts::{
    advisories::RecallLifted,
    bundles::BundleImported,
    delivery::{ProductRefused, ReleasePromoted, ReleaseRecalled},
};
use bascule_store::Tx;
use bascule_wire::bundle::BundleApplied;
use bytes::Bytes;
use futures::stream::{self, Stream};
use serde::de::DeserializeOwned;
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Read as _},
};

/// Bytes moved from the staging area at a time.
const PIECE: usize = 1024 * 1024;

/// A release that is to be entered.
struct Arriving {
    arrival: Arrival,
    channels: BTreeSet<String>,
    file: String,
    product: std::result::Result<Product, String>,
}

impl Carry {
    pub(super) async fn bring_into_force(
        &self,
        actor: &Actor,
        place: &Place,
        ready: &Ready,
    ) -> Result<BundleApplied> {
        self.shelve(ready).await?;
        let arriving = self.arriving(place, ready).await?;
        let mut advisories: Vec<serde_json::Value> = Vec::new();
        for entry in ready.entries(EntryKind::Advisory) {
            advisories.push(self.read(ready, &entry.digest, &entry.name).await?);
        }
        // Known before the releases are: each is then matched as it enters. What is newer here stays.
        self.freight.advise(actor, &advisories).await?;
        let mut recalls: Vec<RecallDocument> = Vec::new();
        for entry in ready.entries(EntryKind::Recall) {
            let recall: RecallDocument = self.read(ready, &entry.digest, &entry.name).await?;
            expect(&recall.format, RECALL_FORMAT, &entry.name)?;
            recalls.push(recall);
        }
        let (declared, commit) = self.declared(place, ready).await?;

        let paths: BTreeSet<&str> = arriving.iter().map(|one| one.arrival.path.as_str()).collect();
        let mut projects: BTreeMap<String, ProjectId> = BTreeMap::new();
        for path in paths {
            projects.insert(path.to_owned(), self.freight.home(path).await?);
        }
        let others = declared.installs.iter().map(|install| &install.product);
        for path in others.chain(recalls.iter().map(|recall| &recall.product)) {
            if !projects.contains_key(path)
                && let Some(project) = self.delivery.ports.projects.find(path).await?
            {
                projects.insert(path.clone(), project);
            }
        }
        let home = self.freight.home(&self.delivery.ports.environments).await?;

        let set = ready.set();
        let mut done = BundleApplied {
            sequence: set.sequence,
            kind: set.kind.to_string(),
            releases: Vec::new(),
            recalls: Vec::new(),
        };
        let applied = store::Applied {
            sequence: number(set.sequence),
            set_id: ready.id().clone(),
            checkpoint: set.kind == bascule_bundle::Kind::Checkpoint,
        };
        let tx = self.delivery.db.begin().await?;
        if !store::put_applied(&tx, place.way, place.site.as_str(), &applied, self.now()).await? {
            // Another process was faster with the very same number.
            return Ok(done);
        }
        for one in &arriving {
            let Some(project) = projects.get(&one.arrival.path) else {
                continue;
            };
            if self.enter(&tx, actor, *project, one).await? {
                done.releases
                    .push(format!("{}@{}", one.arrival.path, one.arrival.version));
            }
        }
        for recall in &recalls {
            if let Some(project) = projects.get(&recall.product)
                && self.call_back(&tx, actor, *project, recall).await?
            {
                let lifted = if recall.lifted { " (lifted)" } else { "" };
                done.recalls
                    .push(format!("{}@{}{lifted}", recall.product, recall.version));
            }
        }
        self.declare(&tx, home, &set.source, &commit, &declared, &projects)
            .await?;
        let fact = BundleImported {
            site: place.site.to_string(),
            sequence: applied.sequence,
            bundle: applied.set_id,
            kind: done.kind.clone(),
            source: set.source.clone(),
            releases: super::count(done.releases.len()),
            recalls: super::count(done.recalls.len()),
        };
        self.delivery.ledger.append(&tx, actor, &fact).await?;
        self.delivery.replan(&tx).await?;
        tx.commit().await?;
        Ok(done)
    }

    /// Moves what the bundle carries of releases to the blob store. What is there already is left.
    async fn shelve(&self, ready: &Ready) -> Result<()> {
        let kinds = [
            EntryKind::ReleaseManifest,
            EntryKind::Artifact,
            EntryKind::Sbom,
            EntryKind::Provenance,
        ];
        for entry in kinds.into_iter().flat_map(|kind| ready.entries(kind)) {
            if !ready.carries(&entry.digest) || self.blobs.size(&entry.digest).await? == Some(entry.size) {
                continue;
            }
            let stored = self
                .blobs
                .put(Box::pin(pieces(ready.open(&entry.digest)?)), entry.size)
                .await?;
            if stored.digest != entry.digest {
                tracing::error!(digest = %entry.digest, "a gathered blob was altered on disk");
                return Err(Problem::internal());
            }
        }
        Ok(())
    }

    /// The releases, each checked by its maker's signature over bytes that are in the blob store.
    async fn arriving(&self, place: &Place, ready: &Ready) -> Result<Vec<Arriving>> {
        let mut all = Vec::new();
        for entry in ready.entries(EntryKind::Release) {
            let document: ReleaseDocument = self.read(ready, &entry.digest, &entry.name).await?;
            expect(&document.format, RELEASE_FORMAT, &entry.name)?;
            let arrival = self.freight.check(document.release, &place.keys).await?;
            if entry.name != format!("{}@{}", arrival.path, arrival.version) {
                return Err(unusable(&entry.name, "it is another release than its name says"));
            }
            let product = product::parse(document.product.as_bytes()).map_err(|error| error.to_string());
            all.push(Arriving {
                arrival,
                channels: document.channels,
                file: document.product,
                product,
            });
        }
        // Oldest first: the newest says what the product is.
        all.sort_by_cached_key(|one| one.arrival.version.parse::<bascule_planner::Version>().ok());
        Ok(all)
    }

    /// The site's declaration, as this instance is to follow it.
    async fn declared(&self, place: &Place, ready: &Ready) -> Result<(Site, String)> {
        let mut entries = ready.entries(EntryKind::DesiredState);
        let (Some(entry), None) = (entries.next(), entries.next()) else {
            return Err(unusable(
                place.site.as_str(),
                "it brings not one declaration, but more or none",
            ));
        };
        let bytes = self.bytes(ready, &entry.digest).await?;
        let mut site =
            site::parse(&entry.name, &bytes).map_err(|fault| unusable(&entry.name, &fault.to_string()))?;
        if site.name != place.site.as_str() {
            return Err(unusable(&entry.name, "it declares another site"));
        }
        // Here is where it is reached.
        site.disconnected = false;
        Ok((site, entry.commit.clone().unwrap_or_default()))
    }

    /// Enters one release with what delivery keeps of it. `false`: it was here.
    async fn enter(&self, tx: &Tx, actor: &Actor, project: ProjectId, one: &Arriving) -> Result<bool> {
        let now = self.now();
        let arrival = &one.arrival;
        let new = self.freight.enter(tx, actor, project, arrival).await?;
        store::put_file(tx, project, &arrival.sha, product::FILE, &one.file).await?;
        let product = match &one.product {
            Ok(product) => product,
            Err(reason) => {
                if new {
                    let refused = ProductRefused {
                        project,
                        release: arrival.id,
                        reason: reason.clone(),
                    };
                    self.delivery.ledger.append(tx, actor, &refused).await?;
                }
                return Ok(new);
            }
        };
        let release = ReleaseInfo {
            id: arrival.id,
            project,
            version: arrival.version.clone(),
            sha: arrival.sha.clone(),
        };
        // What a declaration installs is moved by its plan; nothing goes to staging by itself.
        environment::store::take_release(tx, arrival.id, now).await?;
        if new {
            environment::store::set_product(tx, project, arrival.id, product, now).await?;
        }
        catalogue::store::put(tx, &release, &product.relations, now).await?;
        self.delivery.weigh(tx, arrival.id).await?;
        for channel in &one.channels {
            if catalogue::store::enter(tx, arrival.id, channel, now).await? {
                let fact = ReleasePromoted {
                    project,
                    release: arrival.id,
                    version: arrival.version.clone(),
                    channel: channel.clone(),
                    reason: "it is there on the hub".to_owned(),
                };
                self.delivery.ledger.append(tx, actor, &fact).await?;
            }
        }
        Ok(new)
    }

    async fn call_back(
        &self,
        tx: &Tx,
        actor: &Actor,
        project: ProjectId,
        recall: &RecallDocument,
    ) -> Result<bool> {
        let Some(release) = store::listed(tx, project, &recall.version).await? else {
            return Ok(false);
        };
        let (version, delivery) = (recall.version.clone(), &self.delivery);
        if recall.lifted {
            let fact = RecallLifted {
                project,
                release,
                version,
                reason: "lifted at the hub".to_owned(),
            };
            return delivery.let_back(tx, actor, &fact).await;
        }
        let fact = ReleaseRecalled {
            project,
            release,
            version,
            reason: recall.reason.clone(),
            floor: recall.floor.clone(),
        };
        delivery.call_back(tx, actor, &fact).await
    }

    /// The declaration comes into force as if it had been pushed here.
    async fn declare(
        &self,
        tx: &Tx,
        home: ProjectId,
        source: &str,
        commit: &str,
        site: &Site,
        projects: &BTreeMap<String, ProjectId>,
    ) -> Result<()> {
        let before = site::store::get(tx, &site.name).await?;
        let before = before
            .filter(|before| before.origin.as_deref() == Some(source))
            .map(|before| before.body.0);
        environment::store::undeclare(tx, &site.name, self.now()).await?;
        self.delivery
            .declare(tx, home, commit, Some(source), site, before.as_ref(), projects)
            .await?;
        self.delivery.bump(tx, Channel::Edge).await?;
        Ok(())
    }

    pub(super) async fn bytes(&self, ready: &Ready, digest: &Digest) -> Result<Vec<u8>> {
        if ready.carries(digest) {
            return ready.read(digest, DOCUMENT_BYTES);
        }
        let found = self.blobs.read(digest, DOCUMENT_BYTES).await?;
        found
            .map(|bytes| bytes.to_vec())
            .ok_or_else(|| unusable(digest.short(), "a document of it is not here"))
    }

    pub(super) async fn read<T: DeserializeOwned>(
        &self,
        ready: &Ready,
        digest: &Digest,
        name: &str,
    ) -> Result<T> {
        let bytes = self.bytes(ready, digest).await?;
        serde_json::from_slice(&bytes).map_err(|error| unusable(name, &error.to_string()))
    }
}

pub(super) fn expect(found: &str, format: &str, name: &str) -> Result<()> {
    if found == format {
        return Ok(());
    }
    let found: String = found.chars().filter(|c| !c.is_control()).take(60).collect();
    Err(unusable(
        name,
        &format!("it has the format `{found}`, and this version reads `{format}`"),
    ))
}

pub(super) fn unusable(name: &str, why: &str) -> Problem {
    Problem::invalid(
        "bundle_unusable",
        format!("The bundle is signed and whole, and cannot be followed: {name}: {why}."),
    )
    .why("It is all or nothing: what is in force stays in force.")
    .next("Bring this instance up to the hub's version, or let the hub export anew; then import again.")
}

/// A blob's bytes in pieces, checked as they are read. Read where blocking is allowed.
fn pieces(blob: VerifiedBlob) -> impl Stream<Item = io::Result<Bytes>> {
    stream::try_unfold(blob, |mut blob| async move {
        let mut bytes = Vec::with_capacity(PIECE);
        (&mut blob).take(PIECE as u64).read_to_end(&mut bytes)?;
        Ok((!bytes.is_empty()).then(|| (Bytes::from(bytes), blob)))
    })
}
