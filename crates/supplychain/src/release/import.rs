//! Releases that another instance made and a bundle brought: checked by their signer's key, then entered as they
//! are. Nothing of them is made anew, so what is signed stays what was signed.

use super::{Release, ReleasePart, Releases, store, version_of};
use crate::{
    attestation::dsse::Envelope,
    bundle::{self, CYCLONEDX_PART, Manifest, PartSource},
    sbom::cyclonedx::Bom,
};
use bascule_core::{Actor, Digest, Problem, ProjectId, ReleaseId, Result, Timestamp};
use bascule_ledger::{PublicKey, facts::supplychain::ReleaseImported};
use bascule_store::{Blobs, Tx};
use bascule_wire::release::ReleaseComponent;
use futures::StreamExt as _;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::{collections::BTreeMap, io};
use tokio::runtime::Handle;

/// Largest signed manifest of a release that is read, in bytes.
const MANIFEST_BYTES: u64 = 16 * 1024 * 1024;
/// Largest document (SBOM, provenance) that is read whole, in bytes.
const DOCUMENT_BYTES: u64 = 64 * 1024 * 1024;
/// Most digests in an inventory: what a site's report may hold.
const INVENTORY: i64 = 500_000;

/// What travels of a release besides its signed manifest and parts. It says nothing of pipelines, jobs and people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CarriedRelease {
    /// The release, by the name that it has where it was made.
    pub id: ReleaseId,
    /// `group/project`.
    pub project: String,
    /// The tag.
    pub tag: String,
    /// The version.
    pub version: String,
    /// The commit.
    pub sha: String,
    /// Its name, for people.
    pub name: String,
    /// Its description, Markdown.
    pub description: String,
    /// Digest of the signed manifest.
    pub manifest: Digest,
    /// Size of the signed manifest.
    pub manifest_size: u64,
    /// The key that signed it.
    pub key_id: String,
    /// The release before it, by version.
    pub previous: Option<String>,
    /// Commits since that one.
    pub commit_count: i64,
    /// The lockfiles that the SBOM was read from.
    pub lockfiles: Vec<String>,
    /// What a reader should know.
    pub notes: Vec<String>,
    /// When its pipeline was created.
    pub started_at: Timestamp,
    /// When its release job ended.
    pub finished_at: Timestamp,
    /// When it was published.
    pub at: Timestamp,
}

/// A release that was found to be what its signer signed; only [`Releases::check`] makes one.
#[derive(Clone, Debug)]
pub struct Checked {
    carried: CarriedRelease,
    parts: Vec<ReleasePart>,
    components: Vec<ReleaseComponent>,
    key: PublicKey,
}

impl Checked {
    /// What was said of it.
    #[must_use]
    pub fn carried(&self) -> &CarriedRelease {
        &self.carried
    }
}

impl From<&Release> for CarriedRelease {
    fn from(release: &Release) -> Self {
        Self {
            id: release.id,
            project: release.project_path.clone(),
            tag: release.tag.clone(),
            version: release.version.clone(),
            sha: release.sha.clone(),
            name: release.name.clone(),
            description: release.description.clone(),
            manifest: release.manifest.clone(),
            manifest_size: release.manifest_size,
            key_id: release.key_id.clone(),
            previous: release.previous.clone(),
            commit_count: release.commit_count,
            lockfiles: release.lockfiles.clone(),
            notes: release.notes.clone(),
            started_at: release.started_at,
            finished_at: release.finished_at,
            at: release.at,
        }
    }
}

impl Releases {
    /// Several releases with their parts, for a bundle.
    ///
    /// # Errors
    /// The database refused.
    pub async fn complete(&self, ids: &[ReleaseId]) -> Result<Vec<(Release, Vec<ReleasePart>)>> {
        let db = &self.inner.db;
        let mut parts: BTreeMap<ReleaseId, Vec<ReleasePart>> = BTreeMap::new();
        for (owner, part) in store::parts_of(db, ids).await? {
            parts.entry(owner).or_default().push(part);
        }
        let releases = store::by_ids(db, ids).await?;
        Ok(releases
            .into_iter()
            .map(|release| {
                let parts = parts.remove(&release.id).unwrap_or_default();
                (release, parts)
            })
            .collect())
    }

    /// The blobs of all releases that are here.
    ///
    /// # Errors
    /// The database refused.
    pub async fn held(&self) -> Result<Vec<Digest>> {
        Ok(store::held(&self.inner.db, INVENTORY).await?)
    }

    /// Checks a release whose blobs are all here: the manifest's signature by one of the keys, every part against
    /// the manifest, provenance and SBOMs; and what is said of the release against what is signed.
    ///
    /// # Errors
    /// Says what does not hold.
    pub async fn check(&self, carried: CarriedRelease, keys: &[PublicKey]) -> Result<Checked> {
        let name = format!("{} {}", carried.project, carried.version);
        let Some(key) = keys.iter().find(|key| key.id() == carried.key_id).cloned() else {
            return Err(refused(
                &name,
                &format!(
                    "it is signed by the key {}, which is not trusted here",
                    carried.key_id
                ),
            ));
        };
        let blobs = self.inner.blobs.clone();
        let envelope = blobs
            .read(&carried.manifest, MANIFEST_BYTES)
            .await?
            .ok_or_else(|| refused(&name, "its signed manifest is not here"))?;
        let manifest: Manifest = Envelope::from_json(&envelope)
            .and_then(|envelope| envelope.verify(bundle::PAYLOAD_TYPE, &key))
            .and_then(|payload| serde_json::from_slice(&payload).map_err(|error| error.to_string()))
            .map_err(|why| refused(&name, &format!("its manifest does not hold: {why}")))?;
        let said = [&carried.project, &carried.tag, &carried.version, &carried.sha];
        let signed = [
            &manifest.project,
            &manifest.tag,
            &manifest.version,
            &manifest.commit,
        ];
        if said != signed || version_of(&manifest.tag)?.to_string() != manifest.version {
            return Err(refused(&name, "its manifest is another release's"));
        }
        let stored = Stored {
            blobs: blobs.clone(),
            handle: Handle::current(),
            envelope: envelope.to_vec(),
            digests: manifest
                .parts
                .iter()
                .map(|part| (part.name.clone(), part.digest.clone()))
                .collect(),
        };
        let checking = key.clone();
        let report = tokio::task::spawn_blocking(move || bundle::verify(&stored, Some(&checking)))
            .await
            .map_err(|error| {
                tracing::error!(%error, "checking a release failed");
                Problem::internal()
            })?;
        if let Some(failed) = report.failures().next() {
            return Err(refused(&name, &format!("{}: {}", failed.name, failed.detail)));
        }
        if !report.passed() {
            return Err(refused(&name, "nothing of it could be checked"));
        }
        let sbom = match manifest.part(CYCLONEDX_PART) {
            Some(part) => blobs.read(&part.digest, DOCUMENT_BYTES).await?,
            None => None,
        };
        let components = sbom
            .and_then(|bytes| Bom::from_json(&bytes).ok())
            .map(|bom| components(&bom))
            .unwrap_or_default();
        let parts = manifest.parts.into_iter().map(|part| ReleasePart {
            name: part.name,
            kind: part.kind,
            media_type: part.media_type,
            digest: part.digest,
            size: part.size,
            job: part.job,
            path: part.path,
        });
        Ok(Checked {
            parts: parts.collect(),
            components,
            carried,
            key,
        })
    }

    /// Enters a release that was checked. `false`: it is here already.
    ///
    /// # Errors
    /// A release of that tag or version is here with other bytes.
    pub async fn enter(&self, tx: &Tx, actor: &Actor, project: ProjectId, checked: &Checked) -> Result<bool> {
        let Checked {
            carried,
            parts,
            components,
            key,
        } = checked;
        let release = Release {
            id: carried.id,
            project,
            project_path: carried.project.clone(),
            tag: carried.tag.clone(),
            version: carried.version.clone(),
            sha: carried.sha.clone(),
            name: carried.name.clone(),
            description: carried.description.clone(),
            pipeline: None,
            job: None,
            origin: Some(key.id().to_owned()),
            manifest: carried.manifest.clone(),
            manifest_size: carried.manifest_size,
            key_id: carried.key_id.clone(),
            components: i64::try_from(components.len()).unwrap_or(i64::MAX),
            previous: carried.previous.clone(),
            commit_count: carried.commit_count,
            lockfiles: carried.lockfiles.clone(),
            notes: carried.notes.clone(),
            started_at: carried.started_at,
            finished_at: carried.finished_at,
            at: carried.at,
        };
        if let Some(known) = store::standing(tx, project, &release).await? {
            let same = known.tag == release.tag
                && known.version == release.version
                && known.manifest == release.manifest;
            return if same {
                Ok(false)
            } else {
                Err(differs(&release, &known.manifest))
            };
        }
        store::keep_key(tx, key.id(), &key.to_pem(), self.inner.ledger.clock().now()).await?;
        store::insert(tx, &release).await?;
        store::insert_parts(tx, release.id, parts).await?;
        store::insert_rows(tx, release.id, components).await?;
        let imported = ReleaseImported {
            project,
            release: release.id,
            tag: release.tag,
            version: release.version,
            sha: release.sha,
            manifest: release.manifest,
            origin: key.id().to_owned(),
            components: release.components,
            at: release.at,
        };
        self.inner.ledger.append(tx, actor, &imported).await?;
        Ok(true)
    }
}

fn refused(name: &str, why: &str) -> Problem {
    Problem::invalid("release_refused", format!("The release {name} is not what its maker signed: {why}."))
        .why("A release is used for its maker's signature over every byte of it, and for nothing else.")
        .next("Ask the hub for a new bundle. If it stays, compare `bascule release key` of the hub with what is trusted here.")
}

fn differs(release: &Release, known: &Digest) -> Problem {
    Problem::conflict(
        "release_differs",
        format!(
            "The release {} {} is here already, with other bytes.",
            release.project_path, release.version
        ),
    )
    .why(format!(
        "A release never changes; here its manifest is {}, and the bundle brings {}.",
        known.short(),
        release.manifest.short()
    ))
    .next("Publish a new version on the hub. Nothing of the bundle was used.")
}

/// What the list of components shows of an SBOM.
fn components(bom: &Bom) -> Vec<ReleaseComponent> {
    let mut all = BTreeMap::new();
    for part in &bom.components {
        let Some(purl) = &part.purl else { continue };
        let kind = purl
            .strip_prefix("pkg:")
            .and_then(|rest| rest.split_once('/'))
            .map_or("", |(kind, _)| kind);
        let component = ReleaseComponent {
            purl: purl.clone(),
            ecosystem: kind.to_owned(),
            name: match &part.group {
                Some(group) => format!("{group}/{}", part.name),
                None => part.name.clone(),
            },
            version: part.version.clone(),
            scope: part.scope.clone().unwrap_or_else(|| "required".to_owned()),
            local: part
                .properties
                .iter()
                .any(|property| property.name == "bascule:local" && property.value == "true"),
        };
        all.insert(purl.clone(), component);
    }
    all.into_values().collect()
}

/// A release whose parts are blobs. Read on a thread that may block.
struct Stored {
    blobs: Blobs,
    handle: Handle,
    envelope: Vec<u8>,
    digests: BTreeMap<String, Digest>,
}

impl Stored {
    fn digest_of(&self, name: &str) -> io::Result<&Digest> {
        self.digests
            .get(name)
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }
}

impl PartSource for Stored {
    fn manifest(&self) -> io::Result<Vec<u8>> {
        Ok(self.envelope.clone())
    }

    fn key(&self) -> io::Result<Option<Vec<u8>>> {
        Ok(None)
    }

    fn digest(&self, name: &str) -> io::Result<(Digest, u64)> {
        let digest = self.digest_of(name)?;
        self.handle.block_on(async {
            let mut bytes = self
                .blobs
                .open(digest)
                .await
                .map_err(io::Error::other)?
                .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "it is not here"))?
                .boxed();
            let (mut hasher, mut size) = (Sha256::new(), 0_u64);
            while let Some(chunk) = bytes.next().await {
                let chunk = chunk.map_err(io::Error::other)?;
                size = size.saturating_add(chunk.len() as u64);
                hasher.update(&chunk);
            }
            Ok((Digest::from_hash(&hasher.finalize()), size))
        })
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let digest = self.digest_of(name)?;
        let found = self.handle.block_on(self.blobs.read(digest, DOCUMENT_BYTES));
        found
            .map_err(io::Error::other)?
            .map(|bytes| bytes.to_vec())
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "it is not here, or too large"))
    }

    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.digests.keys().cloned().collect())
    }
}
