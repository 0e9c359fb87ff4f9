//! Bundles are made, carried, spoilt and interrupted in every way that comes to mind.

mod carried;
mod closed;
mod hostile;
mod killed;
mod refused;
mod room;

use crate::{
    Direction, EntryKind, Export, Importer, Inventory, Kind, Lane, MemoryBlobs, Plan, Ready, Trust, manifest,
};
use bascule_core::{
    Digest, Name, Timestamp,
    dsse::{Envelope, Sign, Verify},
};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use std::{collections::BTreeMap, path::Path, sync::Arc};

pub(super) const NOW: Timestamp = Timestamp::from_seconds(1_720_111_500);
pub(super) const LATER: Timestamp = Timestamp::from_seconds(1_720_111_500 + 30 * 86_400);

#[derive(Debug)]
pub(super) struct Key {
    key: SigningKey,
    id: String,
}

#[derive(Debug)]
struct Public {
    key: VerifyingKey,
    id: String,
}

pub(super) fn key(seed: u8) -> Key {
    let key = SigningKey::from_bytes(&[seed; 32]);
    let id = hex::encode(&key.verifying_key().as_bytes()[..8]);
    Key { key, id }
}

impl Key {
    pub(super) fn public(&self) -> Arc<dyn Verify> {
        Arc::new(Public {
            key: self.key.verifying_key(),
            id: self.id.clone(),
        })
    }
}

impl Sign for Key {
    fn key_id(&self) -> &str {
        &self.id
    }

    fn signature(&self, message: &[u8]) -> Vec<u8> {
        self.key.sign(message).to_bytes().to_vec()
    }
}

impl Verify for Public {
    fn key_id(&self) -> &str {
        &self.id
    }

    fn accepts(&self, message: &[u8], signature: &[u8]) -> bool {
        Signature::from_slice(signature)
            .is_ok_and(|signature| self.key.verify_strict(message, &signature).is_ok())
    }
}

pub(super) fn site() -> Name {
    Name::new("site-7").unwrap()
}

pub(super) fn trust() -> Trust {
    Trust::new([key(1).public()])
}

pub(super) fn lane() -> Lane {
    Lane::new(site(), Direction::ToSite, trust(), |_| false)
}

pub(super) fn open(folder: &Path) -> Importer {
    Importer::open(folder, lane()).unwrap()
}

/// An export of one release with an artifact of each of these contents.
pub(super) fn export(kind: Kind, sequence: u64, artifacts: &[Vec<u8>], blobs: &mut MemoryBlobs) -> Export {
    let mut export = Export::new(kind, site(), sequence, NOW, LATER);
    export
        .document(
            EntryKind::Release,
            "clinic/portal@1.0.0",
            format!("{{\"sequence\":{sequence}}}").into_bytes(),
        )
        .unwrap();
    for (number, bytes) in artifacts.iter().enumerate() {
        let digest = blobs.add(bytes.clone());
        let name = format!("clinic/portal@1.0.0/files/{number}");
        export
            .blob(EntryKind::Artifact, &name, digest, bytes.len() as u64)
            .unwrap();
    }
    export
        .desired_state(
            "environments/site-7.yaml",
            &"a".repeat(40),
            b"portal: 1.x\n".to_vec(),
        )
        .unwrap();
    export
}

pub(super) fn files(plan: &Plan<'_>) -> Vec<Vec<u8>> {
    (1..=plan.chunks())
        .map(|chunk| {
            let mut bytes = Vec::new();
            let size = plan.write(chunk, &mut bytes).unwrap();
            assert_eq!(size, bytes.len() as u64);
            bytes
        })
        .collect()
}

/// The files of a set, signed by the hub.
pub(super) fn set(kind: Kind, sequence: u64, artifacts: &[Vec<u8>], chunk: Option<u64>) -> Vec<Vec<u8>> {
    let mut blobs = MemoryBlobs::default();
    let export = export(kind, sequence, artifacts, &mut blobs);
    files(&export.plan(chunk, &blobs, &key(1)).unwrap())
}

/// An incremental set of one document.
pub(super) fn step(sequence: u64, base: u64, base_id: &Digest) -> (Vec<u8>, Digest) {
    let mut blobs = MemoryBlobs::default();
    let export = export(Kind::Incremental, sequence, &[], &mut blobs).since(base, base_id.clone());
    let key = key(1);
    let plan = export.plan(None, &blobs, &key).unwrap();
    (files(&plan).remove(0), plan.id().clone())
}

/// All that a set holds, by kind and name.
pub(super) fn content(ready: &Ready) -> BTreeMap<(EntryKind, String), Vec<u8>> {
    ready
        .set()
        .entries
        .iter()
        .map(|entry| {
            let bytes = ready.read(&entry.digest, u64::MAX).unwrap();
            ((entry.kind, entry.name.clone()), bytes)
        })
        .collect()
}

/// Bytes that repeat nowhere near.
pub(super) fn noise(size: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..size)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        })
        .collect()
}

/// A bundle with another manifest, as JSON, signed again by the hub.
pub(super) fn signed_again(file: &[u8], change: impl FnOnce(&mut serde_json::Value)) -> Vec<u8> {
    let mut archive = tar::Archive::new(file);
    let mut entries = archive.entries().unwrap();
    let mut first = entries.next().unwrap().unwrap();
    let mut envelope = Vec::new();
    std::io::Read::read_to_end(&mut first, &mut envelope).unwrap();
    let rest = 512 + crate::container::padded(envelope.len() as u64);
    let payload = Envelope::from_json(&envelope).unwrap().unverified().unwrap();
    let mut json: serde_json::Value = serde_json::from_slice(&payload).unwrap();
    change(&mut json);
    // In the order of the type, where it still is one; the digest of the set is over its JSON.
    let payload = serde_json::from_value::<manifest::Manifest>(json.clone()).map_or_else(
        |_| serde_json::to_vec(&json).unwrap(),
        |mut manifest| {
            manifest.id = manifest.set.id();
            serde_json::to_vec(&manifest).unwrap()
        },
    );
    let envelope = Envelope::sign(crate::PAYLOAD_TYPE, &payload, &key(1)).to_json();
    let mut bytes = Vec::new();
    crate::container::Pack::new(&mut bytes)
        .envelope(&envelope)
        .unwrap();
    bytes.extend_from_slice(&file[usize::try_from(rest).unwrap()..]);
    bytes
}

pub(super) fn inventory(digests: &[Digest]) -> Inventory {
    digests.iter().cloned().collect()
}
