//! A release is made in memory and on disk, and then spoilt in every way that comes to mind.

use super::super::{KEY_FILE, MANIFEST_FILE, Memory, PARTS_FOLDER, Part, PartKind};
use super::*;
use crate::attestation::{Build, ResourceDescriptor};
use crate::sbom::{Inventory, cyclonedx::Subject};
use bascule_core::{Digest, Timestamp};
use bascule_ledger::InstanceKey;
use proptest::prelude::*;
use std::sync::LazyLock;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

static KEY: LazyLock<InstanceKey> = LazyLock::new(InstanceKey::generate);

fn key() -> &'static InstanceKey {
    &KEY
}

fn part(kind: PartKind, name: &str, bytes: &[u8]) -> Part {
    Part {
        name: name.to_owned(),
        kind,
        media_type: "application/octet-stream".to_owned(),
        digest: Digest::of(bytes),
        size: bytes.len() as u64,
        job: None,
        path: None,
    }
}

/// A release of one archive and one file, with the commits that its documents name.
fn release(provenance_commit: &str, sbom_commit: &str, vouch: bool) -> Memory {
    let at = Timestamp::from_seconds(1_720_111_500);
    let subject = Subject {
        project: "clinic/portal",
        version: "1.0.0",
        commit: sbom_commit,
        at,
    };
    let mut parts = BTreeMap::from([
        ("archives/build/artifacts.zip".to_owned(), b"archive".to_vec()),
        ("files/build/dist/app".to_owned(), b"program".to_vec()),
        (
            CYCLONEDX_PART.to_owned(),
            Bom::new(&Inventory::default(), &subject).to_json(),
        ),
        (
            SPDX_PART.to_owned(),
            Document::new(&Inventory::default(), &subject).to_json(),
        ),
    ]);
    let artifacts = parts
        .iter()
        .filter(|(name, _)| name.starts_with("archives/") || (vouch && name.starts_with("files/")))
        .map(|(name, bytes)| ResourceDescriptor {
            name: name.clone(),
            digest: digest_set(&Digest::of(bytes)),
            ..ResourceDescriptor::default()
        })
        .collect();
    let build = Build {
        project: "clinic/portal",
        reference: "refs/tags/1.0.0",
        commit: provenance_commit,
        source: "https://h/clinic/portal.git",
        ci_file: None,
        pipeline: 1,
        job: 2,
        runner: None,
        key_id: "k",
        started_at: at,
        finished_at: at,
    };
    parts.insert(
        PROVENANCE_PART.to_owned(),
        Statement::provenance(&build, artifacts, Vec::new())
            .sign(key())
            .to_json(),
    );
    let kind = |name: &str| match name {
        PROVENANCE_PART => PartKind::Provenance,
        name if name.starts_with("archives/") => PartKind::Archive,
        name if name.starts_with("files/") => PartKind::File,
        _ => PartKind::Sbom,
    };
    let manifest = Manifest {
        format: FORMAT.to_owned(),
        project: "clinic/portal".to_owned(),
        tag: "1.0.0".to_owned(),
        version: "1.0.0".to_owned(),
        commit: COMMIT.to_owned(),
        created: at,
        parts: parts
            .iter()
            .map(|(name, bytes)| part(kind(name), name, bytes))
            .collect(),
    };
    Memory {
        manifest: manifest.sign(key()).to_json(),
        key: Some(key().public().to_pem().into_bytes()),
        parts,
    }
}

fn whole() -> Memory {
    release(COMMIT, COMMIT, true)
}

fn failed(release: &Memory) -> Vec<String> {
    let report = verify(release, Some(&key().public()));
    report.failures().map(|check| check.name.clone()).collect()
}

#[test]
fn a_whole_release_passes_with_a_given_key_and_with_its_own() {
    let trusted = verify(&whole(), Some(&key().public()));
    assert!(
        trusted.passed() && trusted.trusted_key,
        "{:?}",
        trusted.failures().collect::<Vec<_>>()
    );
    let own = verify(&whole(), None);
    assert!(own.passed() && !own.trusted_key);
    assert!(own.checks[0].detail.contains("not who made it"));
}

#[test]
fn another_key_is_refused() {
    let other = InstanceKey::generate().public();
    let report = verify(&whole(), Some(&other));
    assert!(!report.passed());
    assert!(report.manifest.is_none());
    let mut without = whole();
    without.key = None;
    assert!(verify(&without, Some(&key().public())).passed());
    assert!(!verify(&without, None).passed());
}

#[test]
fn what_is_missing_or_added_is_named() {
    let mut missing = whole();
    missing.parts.remove("files/build/dist/app");
    assert_eq!(failed(&missing), ["files/build/dist/app"]);
    let mut added = whole();
    added.parts.insert("files/build/extra".to_owned(), Vec::new());
    assert_eq!(failed(&added), ["files/build/extra"]);
}

#[test]
fn documents_that_speak_of_something_else_are_named() {
    assert_eq!(failed(&release("other", COMMIT, true)), ["provenance commit"]);
    assert_eq!(failed(&release(COMMIT, "other", true)), ["SBOM commit"]);
    assert_eq!(failed(&release(COMMIT, COMMIT, false)), ["provenance subjects"]);
}

#[test]
fn a_folder_is_checked_as_it_was_downloaded_and_links_are_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    let release = whole();
    std::fs::write(folder.path().join(MANIFEST_FILE), &release.manifest).unwrap();
    std::fs::write(folder.path().join(KEY_FILE), release.key.clone().unwrap()).unwrap();
    for (name, bytes) in &release.parts {
        let path = Folder::new(folder.path()).part_path(name).unwrap();
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    let report = verify_folder(folder.path(), None);
    assert!(report.passed(), "{:?}", report.failures().collect::<Vec<_>>());

    let app = folder.path().join(PARTS_FOLDER).join("files/build/dist/app");
    std::fs::rename(&app, folder.path().join("elsewhere")).unwrap();
    std::os::unix::fs::symlink(folder.path().join("elsewhere"), &app).unwrap();
    let report = verify_folder(folder.path(), None);
    let failed: Vec<&Check> = report.failures().collect();
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0].detail, "it is not a regular file");
    assert!(Folder::new(folder.path()).part_path("../x").is_err());
    assert!(!verify_folder(&folder.path().join("nowhere"), None).passed());
}

#[test]
fn any_flipped_bit_of_the_manifest_or_key_is_found() {
    let whole = whole();
    for bit in 0..whole.manifest.len() * 8 {
        let mut spoilt = whole.clone();
        spoilt.manifest[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(failed(&spoilt), [MANIFEST_FILE], "bit {bit}");
    }
    for bit in 0..whole.key.as_ref().unwrap().len() * 8 {
        let mut spoilt = whole.clone();
        spoilt.key.as_mut().unwrap()[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(failed(&spoilt), [KEY_FILE], "bit {bit}");
        assert!(!verify(&spoilt, None).passed(), "bit {bit}");
    }
}

proptest! {
    #[test]
    fn any_flipped_bit_of_a_part_names_that_part(at in any::<proptest::sample::Index>(), bit in 0u8..8) {
        let mut spoilt = whole();
        let total: usize = spoilt.parts.values().map(Vec::len).sum();
        let mut at = at.index(total);
        let mut name = String::new();
        for (part, bytes) in &mut spoilt.parts {
            if at < bytes.len() {
                bytes[at] ^= 1 << bit;
                name.clone_from(part);
                break;
            }
            at -= bytes.len();
        }
        prop_assert!(failed(&spoilt).contains(&name), "{name}");
    }
}
