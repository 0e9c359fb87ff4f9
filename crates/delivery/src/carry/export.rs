//! What a site needs, gathered on the hub: its declaration, the releases that its installs can take, and recalls.
//! Nothing else has a way in: there is no kind of entry for people, permissions, tokens or settings.

use super::{
    Carry, Kept, RECALL_FORMAT, RELEASE_FORMAT, RecallDocument, ReleaseDocument, Way,
    choose::{Offered, choose, hold_back},
    count, expiry, number, site_name, store,
};
use crate::{
    catalogue::Listed,
    plan, product,
    site::{self, FILE_BYTES, FOLDER, Site, service::unknown_site},
};
use bascule_bundle::{EntryKind, Export, Inventory, Kind};
use bascule_core::{Actor, Digest, Name, Problem, ProjectId, ReleaseId, Result};
use bascule_planner::Version;
use bascule_store::Json;
use bascule_wire::bundle::{BundleExport, NewBundleExport, ObservedSite};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What an export builds upon.
struct Basis {
    kind: Kind,
    /// Number, name, and what the site knows once it has applied it.
    base: Option<(i64, Digest, BTreeMap<String, Digest>)>,
    /// Whether what the site said to have is left out.
    trusts_inventory: bool,
}

/// What was gathered.
struct Gathered {
    export: Export,
    known: BTreeMap<String, Digest>,
    releases: Vec<String>,
    notes: Vec<String>,
}

impl Carry {
    /// Makes a bundle for a site.
    ///
    /// # Errors
    /// The site is not declared, is reached by a network, or what it needs cannot be read.
    pub async fn export(&self, actor: &Actor, wanted: &NewBundleExport) -> Result<BundleExport> {
        let db = &self.delivery.db;
        let name = site_name(&wanted.site)?;
        let declared = site::store::get(db, name.as_str())
            .await?
            .ok_or_else(|| unknown_site(name.as_str()))?;
        let Json(body) = declared.body;
        if let Some(origin) = declared.origin {
            return Err(Problem::conflict(
                "site_not_ours",
                format!("The environment {name} is declared by the bundles of the hub {origin}."),
            )
            .why("A site has one hub; what it is to run comes from there.")
            .next("Export on the hub. To tell the hub what runs here, use `bascule bundle report`."));
        }
        if !body.disconnected {
            return Err(Problem::conflict(
                "site_connected",
                format!("The environment {name} is served from here by an agent."),
            )
            .why("Two hands would move it: this instance, and the one to which the bundle is carried.")
            .next(format!(
                "Write `network: none` in {FOLDER}{name}.yaml of the environments project, and push."
            )));
        }
        let now = self.now();
        let expires = expiry(now, wanted.days)?;
        let reported = store::report(db, name.as_str()).await?;
        let basis = self.basis(wanted, &name, reported.as_ref()).await?;
        let kind = basis.kind;
        let sequence = self.next_number(Way::To, &name).await?;
        let mut export = Export::new(kind, name.clone(), sequence, now, expires);
        if let Some((base, id, _)) = &basis.base {
            export = export.since(u64::try_from(*base).unwrap_or(0), id.clone());
        }
        if let (true, Some(reported)) = (basis.trusts_inventory, &reported) {
            export.leave_out(&self.inventory_of(reported).await?);
        }
        let observed = reported.as_ref().map(|reported| &reported.body.0);
        let base = basis.base.map(|(number, _, known)| (number, known));
        let known = base.as_ref().map(|(_, known)| known);
        let mut gathered = self.gather(export, &body, known, observed).await?;
        self.declaration(&mut gathered.export, &name, &declared.sha)
            .await?;
        let releases = count(gathered.releases.len());
        let base = base.map(|(number, _)| number);
        let mut made = self
            .keep(
                actor,
                Way::To,
                gathered.export,
                gathered.known,
                wanted.chunk,
                releases,
            )
            .await?;
        made.base = base;
        made.releases = gathered.releases;
        made.notes = gathered.notes;
        Ok(made)
    }

    /// What the export builds upon: what the site said to have applied, unless something else is asked for.
    async fn basis(
        &self,
        wanted: &NewBundleExport,
        site: &Name,
        reported: Option<&store::Reported>,
    ) -> Result<Basis> {
        let whole = |kind, trusts_inventory| Basis {
            kind,
            base: None,
            trusts_inventory,
        };
        let db = &self.delivery.db;
        match (wanted.kind.as_str(), wanted.since) {
            ("" | "auto", None) => {
                let Some(reported) = reported else {
                    return Ok(whole(Kind::Snapshot, false));
                };
                let base = match reported.applied {
                    0 => None,
                    applied => store::export(db, Way::To, site.as_str(), applied).await?,
                };
                match base.filter(|base| Some(&base.set_id) == reported.applied_id.as_ref()) {
                    Some(base) => self.upon(base).await,
                    None => Ok(whole(Kind::Snapshot, true)),
                }
            }
            ("full", None) => Ok(whole(Kind::Snapshot, false)),
            ("checkpoint", None) => Ok(whole(Kind::Checkpoint, false)),
            ("" | "auto", Some(since)) => {
                let base = store::export(db, Way::To, site.as_str(), number(since)).await?;
                let base = base.ok_or_else(|| {
                    Problem::new(
                        404,
                        "unknown_export",
                        format!("No bundle {since} was made for {site}."),
                    )
                    .why("An incremental bundle says what changed since another one.")
                    .next("`bascule bundle status` shows what was made and what was applied; --full makes a snapshot.")
                })?;
                self.upon(base).await
            }
            (kind, _) => Err(Problem::invalid(
                "bad_kind",
                format!("`{kind}` is no kind of export, or goes with no other."),
            )
            .next("Ask for `auto`, `full` or `checkpoint`, or for what changed since a number.")),
        }
    }

    async fn upon(&self, base: store::Exported) -> Result<Basis> {
        let kept = self.kept(&base.kept).await?;
        Ok(Basis {
            kind: Kind::Incremental,
            base: Some((base.sequence, base.set_id, kept.known)),
            trusts_inventory: true,
        })
    }

    async fn inventory_of(&self, reported: &store::Reported) -> Result<Inventory> {
        let limit = bascule_bundle::limits::INVENTORY_BYTES;
        match self.blobs.read(&reported.inventory, limit).await? {
            Some(bytes) => Inventory::from_reader(&bytes[..]),
            None => Ok(Inventory::default()),
        }
    }

    /// Releases and recalls for the products that the site installs.
    async fn gather(
        &self,
        mut export: Export,
        body: &Site,
        base: Option<&BTreeMap<String, Digest>>,
        observed: Option<&ObservedSite>,
    ) -> Result<Gathered> {
        let db = &self.delivery.db;
        let projects: HashMap<String, ProjectId> = store::installed(db, &body.name)
            .await?
            .into_iter()
            .map(|row| (row.project_path, row.project_id))
            .collect();
        let mut channels: HashMap<ReleaseId, BTreeSet<String>> = HashMap::new();
        for row in store::channels_for(db, &body.name).await? {
            channels.entry(row.release_id).or_default().insert(row.channel);
        }
        let listed = store::releases_for(db, &body.name).await?;
        let mut offered: HashMap<ProjectId, Vec<Offered<'_>>> = HashMap::new();
        for listed in &listed {
            let channels = channels.get(&listed.release_id).cloned().unwrap_or_default();
            offered
                .entry(listed.project_id)
                .or_default()
                .push(Offered { listed, channels });
        }
        let mut notes = Vec::new();
        let incidents = plan::store::incidents(db).await?;
        let mut wanted: BTreeMap<ReleaseId, &BTreeSet<String>> = BTreeMap::new();
        for install in &body.installs {
            let Some(project) = projects.get(&install.product) else {
                notes.push(format!(
                    "{} is installed there and is no project here",
                    install.product
                ));
                continue;
            };
            let all = offered.get(project).map_or(&[][..], Vec::as_slice);
            let runs = running(observed, &install.product, all);
            let mut chosen = choose(body, install, runs.as_ref(), all);
            // The site cannot know of it, so what would wait here does not set out either.
            if let (Some(number), Some(runs)) = (incidents.get(project), &runs) {
                let before = chosen.len();
                hold_back(&mut chosen, runs);
                if chosen.len() < before {
                    notes.push(format!(
                        "{} stays at {runs} there: incident {number} is open, so its newer releases are left out; export \
                         again once it is over",
                        install.product
                    ));
                }
            }
            if chosen.is_empty() {
                notes.push(format!(
                    "{} has no release that the site can take",
                    install.product
                ));
            }
            wanted.extend(
                chosen
                    .into_iter()
                    .map(|offer| (offer.listed.release_id, &offer.channels)),
            );
        }
        let mut known = base.cloned().unwrap_or_default();
        let ids: Vec<ReleaseId> = wanted.keys().copied().collect();
        let mut releases = Vec::new();
        let mut held = Vec::new();
        for parcel in self.freight.pack(&ids).await? {
            let name = format!("{}@{}", parcel.path, parcel.version);
            let file = self.delivery.product_file(parcel.project, &parcel.sha).await?;
            let Some(file) = file.and_then(|bytes| String::from_utf8(bytes).ok()) else {
                notes.push(format!("{name} is left out: its bascule.yaml cannot be read"));
                continue;
            };
            let document = ReleaseDocument {
                format: RELEASE_FORMAT.to_owned(),
                release: parcel.document,
                channels: wanted.get(&parcel.id).copied().cloned().unwrap_or_default(),
                product: file,
            };
            let about = format!("release {name}");
            let before = known.get(&about);
            let bytes = self.document(&document).await?;
            let digest = Digest::of(&bytes);
            if before == Some(&digest) {
                continue;
            }
            if before.is_some() {
                // Its bytes came with the base; only what is said of it changed.
                held.push(parcel.manifest.0.clone());
                held.extend(parcel.parts.iter().map(|part| part.digest.clone()));
            }
            export.document(EntryKind::Release, &name, bytes)?;
            let (manifest, size) = parcel.manifest;
            export.blob(EntryKind::ReleaseManifest, &name, manifest, size)?;
            for part in parcel.parts {
                export.blob(
                    part.kind,
                    &format!("{name}/{}", part.name),
                    part.digest,
                    part.size,
                )?;
            }
            known.insert(about, digest);
            releases.push(name);
        }
        export.leave_out(&held.into_iter().collect());
        let paths: HashMap<ProjectId, &String> = projects.iter().map(|(path, id)| (*id, path)).collect();
        // The site matches for itself: it has the advisories, and lifts what they no longer say.
        for recalled in listed.iter().filter(|listed| listed.recall_cause != "finding") {
            let Some(path) = paths.get(&recalled.project_id) else {
                continue;
            };
            if let Some(document) = recall(path, recalled) {
                let name = format!("{path}@{}", recalled.version);
                let bytes = self.document(&document).await?;
                let digest = Digest::of(&bytes);
                let about = format!("recall {name}");
                if known.get(&about) != Some(&digest) {
                    export.document(EntryKind::Recall, &name, bytes)?;
                    known.insert(about, digest);
                }
            }
        }
        let touched: Vec<ReleaseId> = listed.iter().map(|listed| listed.release_id).collect();
        for (id, record) in self.freight.advisories(&touched).await? {
            let bytes = self.document(&record).await?;
            let digest = Digest::of(&bytes);
            let about = format!("advisory {id}");
            if known.get(&about) != Some(&digest) {
                export.document(EntryKind::Advisory, &id.replace(':', "_"), bytes)?;
                known.insert(about, digest);
            }
        }
        releases.sort();
        Ok(Gathered {
            export,
            known,
            releases,
            notes,
        })
    }

    /// The site's file as it stands at the commit that is in force.
    async fn declaration(&self, export: &mut Export, site: &Name, sha: &str) -> Result<()> {
        let ports = &self.delivery.ports;
        let gone = || {
            Problem::new(
                500,
                "declaration_gone",
                format!("The declaration of {site} cannot be read at {sha}."),
            )
            .why("What is in force was read there, and a site is given what stands in git.")
            .next(format!(
                "Push {FOLDER}{site}.yaml to {} anew.",
                ports.environments
            ))
        };
        let home = ports.projects.find(&ports.environments).await?.ok_or_else(gone)?;
        for ending in ["yaml", "yml"] {
            let path = format!("{FOLDER}{site}.{ending}");
            if let Some(bytes) = ports.files.read(home, sha, &path, FILE_BYTES).await? {
                self.blobs.put_bytes(bytes.clone()).await?;
                return export.desired_state(&path, sha, bytes);
            }
        }
        Err(gone())
    }

    /// A document's bytes, kept as a blob so that the export's files can be written again.
    pub(super) async fn document(&self, document: &impl serde::Serialize) -> Result<Vec<u8>> {
        let bytes = serde_json::to_vec(document).map_err(|error| super::damaged("a document", error))?;
        self.blobs.put_bytes(bytes.clone()).await?;
        Ok(bytes)
    }

    pub(super) async fn kept(&self, digest: &Digest) -> Result<Kept> {
        let limit = bascule_bundle::limits::MANIFEST_BYTES * 2;
        let bytes = self.blobs.read(digest, limit).await?.ok_or_else(|| {
            Problem::new(500, "export_lost", "What was kept of this bundle is gone.")
                .why("The blob store has it no longer, or it is too large.")
                .next("Export anew, with --full.")
        })?;
        serde_json::from_slice(&bytes).map_err(|error| super::damaged("an export", error))
    }

    /// Numbers are given once and in order; one may be lost when an export fails.
    pub(super) async fn next_number(&self, way: Way, site: &Name) -> Result<u64> {
        let tx = self.delivery.db.begin().await?;
        let next = tx.next_number(&format!("bundle:{}:{site}", way.as_str())).await?;
        tx.commit().await?;
        u64::try_from(next).map_err(|error| super::damaged("a number", error))
    }
}

/// The version from which on releases are of use: what runs, or what may be gone back to from there.
fn running(observed: Option<&ObservedSite>, product: &str, all: &[Offered<'_>]) -> Option<Version> {
    let install = observed?
        .installs
        .iter()
        .find(|install| install.product == product)?;
    let floor = all
        .iter()
        .find(|offer| offer.listed.version == install.version)
        .filter(|offer| offer.listed.recall_reason.is_some())
        .and_then(|offer| offer.listed.recall_floor.as_deref())
        .and_then(|floor| floor.parse().ok());
    floor.or_else(|| install.version.parse().ok())
}

/// What a site is told of a release that was recalled, or whose recall a person lifted: it may have been told of it.
fn recall(path: &str, listed: &Listed) -> Option<RecallDocument> {
    let lifted = listed.recall_reason.is_none();
    (!lifted || listed.recall_cause == "lifted").then(|| RecallDocument {
        format: RECALL_FORMAT.to_owned(),
        product: path.to_owned(),
        version: listed.version.clone(),
        reason: listed.recall_reason.clone().unwrap_or_default(),
        floor: listed.recall_floor.clone().unwrap_or_default(),
        lifted,
    })
}

impl crate::Delivery {
    /// A product's file at a release's commit: what a bundle brought, or else the repository's.
    pub(crate) async fn product_file(&self, project: ProjectId, sha: &str) -> Result<Option<Vec<u8>>> {
        if let Some(text) = store::file(&self.db, project, sha, product::FILE).await? {
            return Ok(Some(text.into_bytes()));
        }
        self.ports
            .files
            .read(project, sha, product::FILE, product::FILE_BYTES)
            .await
    }
}
