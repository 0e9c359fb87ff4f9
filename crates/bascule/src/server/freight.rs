//! What bundles carry, packed and unpacked where releases, projects and groups are all known.

use super::ports::ensure_project;
use async_trait::async_trait;
use bascule_bundle::EntryKind;
use bascule_core::{Actor, Digest, Problem, ProjectId, ReleaseId, Result, Visibility};
use bascule_delivery::{Arrival, Parcel, ParcelPart};
use bascule_forge::Forge;
use bascule_identity::Identity;
use bascule_ledger::PublicKey;
use bascule_store::Tx;
use bascule_supplychain::{CarriedRelease, Checked, Releases, advisory::Advisories, bundle::PartKind};
use std::sync::Arc;

/// Releases and projects, for bundles.
#[derive(Clone)]
pub struct Freight {
    pub releases: Releases,
    pub advisories: Advisories,
    pub forge: Forge,
    pub identity: Identity,
}

const fn kind(kind: PartKind) -> EntryKind {
    match kind {
        PartKind::Archive | PartKind::File => EntryKind::Artifact,
        PartKind::Sbom => EntryKind::Sbom,
        PartKind::Provenance => EntryKind::Provenance,
    }
}

#[async_trait]
impl bascule_delivery::Freight for Freight {
    async fn pack(&self, releases: &[ReleaseId]) -> Result<Vec<Parcel>> {
        let complete = self.releases.complete(releases).await?;
        complete
            .into_iter()
            .map(|(release, parts)| {
                let document = serde_json::to_value(CarriedRelease::from(&release));
                Ok(Parcel {
                    id: release.id,
                    project: release.project,
                    path: release.project_path,
                    version: release.version,
                    sha: release.sha,
                    document: document.map_err(|_| Problem::internal())?,
                    manifest: (release.manifest, release.manifest_size),
                    parts: parts
                        .into_iter()
                        .map(|part| ParcelPart {
                            name: part.name,
                            kind: kind(part.kind),
                            digest: part.digest,
                            size: part.size,
                        })
                        .collect(),
                })
            })
            .collect()
    }

    async fn check(&self, document: serde_json::Value, keys: &[PublicKey]) -> Result<Arrival> {
        let carried: CarriedRelease = serde_json::from_value(document).map_err(|error| {
            Problem::invalid(
                "release_refused",
                format!("A release in the bundle is described in a way that is not known here: {error}."),
            )
            .why("What is not understood is refused, never passed over.")
            .next("Bring this instance up to the hub's version, and import again.")
        })?;
        let checked = self.releases.check(carried, keys).await?;
        let carried = checked.carried();
        Ok(Arrival {
            id: carried.id,
            path: carried.project.clone(),
            version: carried.version.clone(),
            sha: carried.sha.clone(),
            checked: Arc::new(checked),
        })
    }

    async fn enter(&self, tx: &Tx, actor: &Actor, project: ProjectId, arrival: &Arrival) -> Result<bool> {
        let checked = arrival
            .checked
            .downcast_ref::<Checked>()
            .ok_or_else(Problem::internal)?;
        self.releases.enter(tx, actor, project, checked).await
    }

    async fn advisories(&self, releases: &[ReleaseId]) -> Result<Vec<(String, serde_json::Value)>> {
        self.advisories.records_for(releases).await
    }

    async fn advise(&self, actor: &Actor, records: &[serde_json::Value]) -> Result<()> {
        let done = self.advisories.import_all(actor, records).await?;
        for error in done.errors {
            tracing::warn!(
                id = error.id,
                reason = error.reason,
                "an advisory of a bundle cannot be read"
            );
        }
        Ok(())
    }

    async fn inventory(&self) -> Result<Vec<Digest>> {
        self.releases.held().await
    }

    async fn home(&self, path: &str) -> Result<ProjectId> {
        let description = "Came with a bundle from the hub";
        ensure_project(
            &self.forge,
            &self.identity,
            path,
            description,
            Visibility::Private,
        )
        .await
    }
}
