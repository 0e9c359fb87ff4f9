//! Sites that no network reaches, each with a hub of its own: what it needs comes in bundles, as bytes, and what it
//! has to tell goes back in the same way.

use super::*;
use crate::{
    Arrival, Freight, Parcel, ParcelPart,
    carry::{Carry, Way},
};
use bascule_bundle::EntryKind;
use bascule_core::Problem;
use bascule_ledger::PublicKey;
use bascule_store::{Blobs, Tx};
use bascule_wire::bundle::{BundleExport, BundleImport, NewBundleExport, NewBundleKey, NewBundleReport};
use futures::StreamExt as _;
use serde::{Deserialize, Serialize};

const PART: &str = "dist/app.tar.gz";

/// Releases as bundles carry them, signed by the instance that made them.
struct Van {
    fakes: Arc<Fakes>,
    blobs: Blobs,
    key: InstanceKey,
}

#[derive(Serialize, Deserialize)]
struct Document {
    id: ReleaseId,
    path: String,
    version: String,
    sha: String,
    manifest: Digest,
}

/// What a release is made of, and its maker's signature over that.
#[derive(Serialize, Deserialize)]
struct Manifest {
    signed: String,
    signature: String,
}

fn signed(path: &str, version: &str, part: &Digest) -> String {
    format!("{path}@{version} {part}")
}

impl Van {
    /// A release's manifest and its part, kept where blobs are.
    async fn load(&self, release: &ReleaseInfo, path: &str) -> Result<[(Digest, u64); 2]> {
        let part = self.blobs.put_bytes(bytes_of(release.id, PART)).await?;
        let signed = signed(path, &release.version, &part.digest);
        let signature = self.key.sign(signed.as_bytes());
        let manifest = serde_json::to_vec(&Manifest { signed, signature }).unwrap();
        let manifest = self.blobs.put_bytes(manifest).await?;
        Ok([manifest, part].map(|blob| (blob.digest, blob.size)))
    }
}

#[async_trait]
impl Freight for Van {
    async fn pack(&self, releases: &[ReleaseId]) -> Result<Vec<Parcel>> {
        let mut all = Vec::new();
        for id in releases {
            let release = self.fakes.get(*id).await?.unwrap();
            let path = self.fakes.path(release.project).await?.unwrap();
            let [manifest, (digest, size)] = self.load(&release, &path).await?;
            let document = Document {
                id: *id,
                path: path.clone(),
                version: release.version.clone(),
                sha: release.sha.clone(),
                manifest: manifest.0.clone(),
            };
            all.push(Parcel {
                id: *id,
                project: release.project,
                path,
                version: release.version,
                sha: release.sha,
                document: serde_json::to_value(document).unwrap(),
                manifest,
                parts: vec![ParcelPart {
                    name: "app.tar.gz".into(),
                    kind: EntryKind::Artifact,
                    digest,
                    size,
                }],
            });
        }
        Ok(all)
    }

    async fn check(&self, document: serde_json::Value, keys: &[PublicKey]) -> Result<Arrival> {
        let refused = |why: &str| Problem::invalid("release_refused", why.to_owned());
        let document: Document = serde_json::from_value(document).unwrap();
        let manifest = self.blobs.read(&document.manifest, 10_000).await?;
        let manifest = manifest.ok_or_else(|| refused("its manifest did not come"))?;
        let manifest: Manifest = serde_json::from_slice(&manifest).unwrap();
        let by_maker = |key: &PublicKey| key.verify(manifest.signed.as_bytes(), &manifest.signature);
        let part = bytes_of(document.id, PART);
        let digest = Digest::of(part.as_bytes());
        if !keys.iter().any(by_maker) || manifest.signed != signed(&document.path, &document.version, &digest)
        {
            return Err(refused("it is not what its maker signed"));
        }
        if self.blobs.read(&digest, 10_000).await?.as_deref() != Some(part.as_bytes()) {
            return Err(refused("its artifact did not come"));
        }
        Ok(Arrival {
            id: document.id,
            path: document.path,
            version: document.version,
            sha: document.sha,
            checked: Arc::new(()),
        })
    }

    async fn enter(&self, _: &Tx, _: &Actor, project: ProjectId, arrival: &Arrival) -> Result<bool> {
        let mut releases = self.fakes.releases.lock().unwrap();
        if releases.iter().any(|release| release.id == arrival.id) {
            return Ok(false);
        }
        releases.push(ReleaseInfo {
            id: arrival.id,
            project,
            version: arrival.version.clone(),
            sha: arrival.sha.clone(),
        });
        Ok(true)
    }

    async fn advisories(&self, _: &[ReleaseId]) -> Result<Vec<(String, serde_json::Value)>> {
        Ok(Vec::new())
    }

    async fn advise(&self, _: &Actor, _: &[serde_json::Value]) -> Result<()> {
        Ok(())
    }

    /// The artifacts that are here. A manifest is small enough to come again.
    async fn inventory(&self) -> Result<Vec<Digest>> {
        let releases = self.fakes.releases.lock().unwrap();
        let parts = releases.iter().map(|release| bytes_of(release.id, PART));
        Ok(parts.map(|part| Digest::of(part.as_bytes())).collect())
    }

    async fn home(&self, path: &str) -> Result<ProjectId> {
        let mut projects = self.fakes.projects.lock().unwrap();
        Ok(*projects.entry(path.to_owned()).or_insert_with(ProjectId::new))
    }
}

/// The bundles of an instance.
pub(super) fn carry(world: &World) -> Carry {
    let folder = world.dir.path();
    let blobs = Blobs::on_disk(&folder.join("blobs")).unwrap();
    let van = Van {
        fakes: world.fakes.clone(),
        blobs: blobs.clone(),
        key: world.ledger.key().clone(),
    };
    Carry::new(
        world.delivery.clone(),
        blobs,
        folder.join("bundles"),
        Arc::new(van),
    )
}

/// A site with a hub of its own.
pub(super) struct Far {
    pub(super) name: String,
    pub(super) world: World,
    carry: Carry,
    /// What fits on the medium that is carried there, in bytes.
    medium: Option<u64>,
}

impl Far {
    /// A site whose key the hub knows, and that knows the hub's.
    pub(super) async fn new(name: String, medium: Option<u64>, hub: &World, at_hub: &Carry) -> Self {
        let world = World::new().await;
        let carry = carry(&world);
        let key_of = |world: &World, role: &str| NewBundleKey {
            pem: world.ledger.key().public().to_pem(),
            role: role.into(),
            site: name.clone(),
        };
        let by = Actor::system();
        carry.believe(&by, &key_of(hub, "hub")).await.unwrap();
        at_hub.believe(&by, &key_of(&world, "site")).await.unwrap();
        Self {
            name,
            world,
            carry,
            medium,
        }
    }

    /// What the hub has for the site is carried there, in as many files as the medium asks for and the last of them
    /// first; the kind of the bundle.
    pub(super) async fn bring(&self, hub: &Carry) -> String {
        let wanted = NewBundleExport {
            site: self.name.clone(),
            chunk: self.medium,
            ..NewBundleExport::default()
        };
        let made = Box::pin(hub.export(&Actor::system(), &wanted)).await.unwrap();
        assert!(made.notes.is_empty(), "{:?}", made.notes);
        let files = files(hub, Way::To, &made).await;
        let last = hand_over(files, &self.carry).await;
        assert_eq!(last.applied.len(), 1, "{last:?}");
        made.kind
    }

    /// What the site has to tell is carried to the hub.
    pub(super) async fn tell(&self, hub: &Carry) {
        let wanted = NewBundleReport::default();
        let made = self.carry.report(&Actor::system(), &wanted).await.unwrap();
        let files = files(&self.carry, Way::From, &made).await;
        let last = hand_over(files, hub).await;
        assert_eq!(last.applied.len(), 1, "{last:?}");
    }
}

/// The files of a bundle, as they stand on a medium.
async fn files(carry: &Carry, way: Way, made: &BundleExport) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for (file, chunk) in made.files.iter().zip(1..) {
        let mut fetched = carry
            .fetch(way.as_str(), &made.site, made.sequence, chunk)
            .await
            .unwrap();
        let mut bytes = Vec::new();
        while let Some(piece) = fetched.bytes.next().await {
            bytes.extend_from_slice(&piece.unwrap());
        }
        assert_eq!(bytes.len() as u64, file.size);
        all.push(bytes);
    }
    all
}

/// Gives files to an instance, the last first; what became of the one that came last.
async fn hand_over(files: Vec<Vec<u8>>, to: &Carry) -> BundleImport {
    let mut last = None;
    for file in files.into_iter().rev() {
        assert!(last.is_none_or(|last: BundleImport| last.applied.is_empty()));
        let body = futures::stream::iter([Ok(bytes::Bytes::from(file))]);
        last = Some(to.import(&Actor::system(), body).await.unwrap());
    }
    last.unwrap()
}
