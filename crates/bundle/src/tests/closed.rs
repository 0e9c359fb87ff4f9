//! Nothing travels but what has a kind: no people, permissions, tokens or settings.

use super::*;
use crate::{Manifest, inspect};

/// Fails to compile when a kind is added, so that whoever adds one comes by here.
const fn may_travel(kind: EntryKind) -> bool {
    match kind {
        EntryKind::Release
        | EntryKind::ReleaseManifest
        | EntryKind::Artifact
        | EntryKind::Sbom
        | EntryKind::Provenance
        | EntryKind::Advisory
        | EntryKind::Recall
        | EntryKind::DesiredState
        | EntryKind::ObservedState
        | EntryKind::Inventory => true,
    }
}

#[test]
fn the_kinds_are_these_and_no_others() {
    let words: Vec<&str> = EntryKind::ALL.iter().map(|kind| kind.as_str()).collect();
    assert_eq!(
        words,
        [
            "release",
            "release_manifest",
            "artifact",
            "sbom",
            "provenance",
            "advisory",
            "recall",
            "desired_state",
            "observed_state",
            "inventory"
        ]
    );
    for kind in EntryKind::ALL {
        assert!(may_travel(kind));
        let json = serde_json::to_value(kind).unwrap();
        assert_eq!(json, kind.as_str());
        assert_eq!(serde_json::from_value::<EntryKind>(json).unwrap(), kind);
    }
    for kind in Kind::ALL {
        assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
    }
}

#[test]
fn people_permissions_tokens_and_settings_cannot_be_put_in() {
    let file = set(Kind::Snapshot, 1, &[], None).remove(0);
    for word in [
        "user",
        "group",
        "member",
        "role",
        "permission",
        "token",
        "session",
        "key",
        "secret",
        "setting",
        "settings",
        "instance",
        "variable",
    ] {
        let forged = signed_again(&file, |json| json["set"]["entries"][0]["kind"] = word.into());
        let folder = tempfile::tempdir().unwrap();
        let problem = open(folder.path()).accept(&forged[..], NOW).unwrap_err();
        assert_eq!(problem.code, "bundle_bad_manifest", "{word}");
        assert!(problem.what.contains(word), "{}", problem.what);
    }
}

#[test]
fn no_field_may_be_added_anywhere() {
    let file = set(Kind::Snapshot, 1, &[noise(10, 1)], None).remove(0);
    for path in ["", "/set", "/chunk", "/set/entries/0", "/parts/0"] {
        let forged = signed_again(&file, |json| {
            json.pointer_mut(path).unwrap()["users"] = serde_json::json!(["root"]);
        });
        let problem = inspect(&forged[..], &trust(), NOW).unwrap_err();
        assert_eq!(problem.code, "bundle_bad_manifest", "{path}");
        assert!(problem.what.contains("unknown field `users`"), "{}", problem.what);
    }
}

#[test]
fn what_was_altered_is_not_blamed_on_whoever_signed_it() {
    let file = set(Kind::Snapshot, 1, &[noise(10, 1)], None).remove(0);
    let altered = signed_again(&file, |json| json["chunk"]["users"] = serde_json::json!(["root"]));
    // As it was signed by another key, and by the trusted one whose signature no longer fits.
    let problem = inspect(&altered[..], &Trust::default(), NOW).unwrap_err();
    assert!(!problem.why.contains("It is signed"), "{}", problem.why);
    let at = file.windows(9).position(|bytes| bytes == b"\"payload\"").unwrap() + 13;
    let mut altered = file.clone();
    altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
    let Err(problem) = crate::peek(&altered[..], &trust(), NOW) else {
        panic!("it was taken");
    };
    assert_eq!(problem.code, "bundle_tampered");
}

#[test]
fn each_way_has_its_own_kinds() {
    let hub = key(1);
    let blobs = MemoryBlobs::default();
    for kind in Kind::ALL {
        for entry in EntryKind::ALL {
            let mut export = Export::new(kind, site(), 2, NOW, LATER);
            if kind == Kind::Incremental {
                export = export.since(1, Digest::of(b""));
            }
            match entry {
                EntryKind::DesiredState => export.desired_state("x", &"0".repeat(40), b"x".to_vec()),
                _ => export.document(entry, "x", b"x".to_vec()),
            }
            .unwrap();
            let fits = kind.direction() == entry.direction();
            assert_eq!(export.plan(None, &blobs, &hub).is_ok(), fits, "{entry} in {kind}");
        }
    }
}

#[test]
fn a_manifest_reads_back_as_it_was_written() {
    let mut blobs = MemoryBlobs::default();
    let export = export(Kind::Snapshot, 1, &[noise(9_000, 1)], &mut blobs);
    let hub = key(1);
    let plan = export.plan(Some(8_192), &blobs, &hub).unwrap();
    for chunk in 1..=plan.chunks() {
        let manifest = plan.manifest(chunk).unwrap();
        let json = serde_json::to_vec(&manifest).unwrap();
        assert_eq!(serde_json::from_slice::<Manifest>(&json).unwrap(), manifest);
    }
    assert!(plan.manifest(0).is_err() && plan.manifest(plan.chunks() + 1).is_err());
    assert_eq!(
        plan.file_name(1),
        format!("site-7-000001-snapshot-01-of-{:02}.bundle.tar", plan.chunks())
    );
}
