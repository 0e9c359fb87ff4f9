//! What is not what it should be is refused, each for its own reason.

use super::*;
use crate::{limits, verify};
use proptest::prelude::*;
use std::io::Read;

fn refusal(file: &[u8]) -> bascule_core::Problem {
    let folder = tempfile::tempdir().unwrap();
    let problem = open(folder.path()).accept(file, NOW).unwrap_err();
    assert!(!problem.why.is_empty() && !problem.next.is_empty(), "{problem:?}");
    problem
}

#[test]
fn a_flipped_bit_in_any_byte_is_refused() {
    let file = set(Kind::Snapshot, 1, &[noise(700, 1)], None).remove(0);
    assert!(verify(&file[..], &trust(), NOW).is_ok());
    for at in 0..file.len() {
        let mut spoilt = file.clone();
        spoilt[at] ^= 1 << (at % 8);
        assert!(verify(&spoilt[..], &trust(), NOW).is_err(), "byte {at}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_spoilt_file_is_never_ready_and_the_good_one_is_still_taken(
        at in any::<proptest::sample::Index>(), byte in 1_u8..,
    ) {
        let file = set(Kind::Snapshot, 1, &[noise(700, 1), noise(0, 1)], None).remove(0);
        let mut spoilt = file.clone();
        spoilt[at.index(file.len())] ^= byte;
        let folder = tempfile::tempdir().unwrap();
        let mut importer = open(folder.path());
        prop_assert!(importer.accept(&spoilt[..], NOW).is_err());
        prop_assert!(importer.ready(NOW).unwrap().is_none());
        prop_assert_eq!(std::fs::read_dir(folder.path().join("drafts")).unwrap().count(), 0);
        importer.accept(&file[..], NOW).unwrap();
        prop_assert_eq!(content(&importer.ready(NOW).unwrap().unwrap()).len(), 4);
    }

    #[test]
    fn noise_is_refused_without_a_panic(noise in proptest::collection::vec(any::<u8>(), 0..2_000)) {
        prop_assert!(verify(&noise[..], &trust(), NOW).is_err());
    }
}

#[test]
fn a_cut_file_is_refused_at_any_length_and_goes_on_where_it_stopped() {
    let file = set(Kind::Snapshot, 1, &[noise(700, 1), noise(1_500, 2)], None).remove(0);
    for length in 0..file.len() {
        let problem = verify(&file[..length], &trust(), NOW).unwrap_err();
        assert_eq!(problem.code, "bundle_truncated", "{length}");
    }
    let folder = tempfile::tempdir().unwrap();
    let mut importer = open(folder.path());
    let mut kept = 0;
    for length in (0..file.len()).step_by(97) {
        assert!(importer.accept(&file[..length], NOW).is_err());
        assert!(importer.ready(NOW).unwrap().is_none(), "{length}");
        let now = std::fs::read_dir(folder.path().join("blobs")).unwrap().count();
        assert!(now >= kept, "what was checked stays");
        kept = now;
    }
    assert_eq!(kept, 4);
    importer.accept(&file[..], NOW).unwrap();
    assert!(importer.ready(NOW).unwrap().is_some());
}

#[test]
fn a_reader_that_fails_is_told_so() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("the medium is scratched"))
        }
    }
    let file = set(Kind::Snapshot, 1, &[noise(700, 1)], None).remove(0);
    for length in [0, 100, 512, 3_000] {
        let problem = verify((&file[..length]).chain(Broken), &trust(), NOW).unwrap_err();
        assert_eq!(problem.code, "bundle_unreadable", "{length}");
        assert!(problem.what.contains("scratched"));
    }
}

#[test]
fn an_unknown_key_is_never_trusted_for_being_the_first() {
    let mut blobs = MemoryBlobs::default();
    let other = key(2);
    let export = export(Kind::Snapshot, 1, &[], &mut blobs);
    let file = files(&export.plan(None, &blobs, &other).unwrap()).remove(0);
    let problem = refusal(&file);
    assert_eq!(problem.code, "bundle_untrusted_key");
    assert!(problem.what.contains(&other.id) && problem.why.contains(&key(1).id));
}

#[test]
fn a_trusted_key_does_not_sign_for_another() {
    let file = set(Kind::Snapshot, 1, &[], None).remove(0);
    let forged = signed_again(&file, |json| json["set"]["source"] = "somebody".into());
    assert_eq!(refusal(&forged).code, "bundle_bad_manifest");
}

#[test]
fn other_sites_and_other_ways_are_refused() {
    let file = set(Kind::Snapshot, 1, &[], None).remove(0);
    let problem = refusal(&signed_again(&file, |json| json["set"]["site"] = "site-8".into()));
    assert_eq!(problem.code, "bundle_wrong_site");
    assert!(problem.what.contains("site-8") && problem.what.contains("site-7"));

    let folder = tempfile::tempdir().unwrap();
    let lane = Lane::new(site(), Direction::FromSite, trust(), |_| false);
    let problem = Importer::open(folder.path(), lane)
        .unwrap()
        .accept(&file[..], NOW)
        .unwrap_err();
    assert_eq!(problem.code, "bundle_wrong_direction");
}

#[test]
fn what_was_applied_is_not_applied_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut importer = open(folder.path());
    let (second, first) = (
        set(Kind::Snapshot, 2, &[], None),
        set(Kind::Snapshot, 1, &[], None),
    );
    importer.accept(&second[0][..], NOW).unwrap();
    let ready = importer.ready(NOW).unwrap().unwrap();
    importer.applied(ready).unwrap();
    drop(importer);
    let mut importer = open(folder.path());
    for file in [&first, &second] {
        let problem = importer.accept(&file[0][..], NOW).unwrap_err();
        assert_eq!(problem.code, "bundle_replayed");
    }
    // The staging area is lost, the database is not.
    let folder = tempfile::tempdir().unwrap();
    let mut importer = open(folder.path());
    importer.accept(&first[0][..], NOW).unwrap();
    importer.catch_up(2, &Digest::of(b"second"), true).unwrap();
    assert!(importer.ready(NOW).unwrap().is_none());
    assert_eq!(
        importer.accept(&first[0][..], NOW).unwrap_err().code,
        "bundle_stale"
    );
    assert_eq!(
        importer.accept(&second[0][..], NOW).unwrap_err().code,
        "bundle_replayed"
    );
}

#[test]
fn stale_bundles_are_refused_even_when_they_were_fresh_on_arrival() {
    let file = set(Kind::Snapshot, 1, &[], None).remove(0);
    let folder = tempfile::tempdir().unwrap();
    let mut importer = open(folder.path());
    importer.accept(&file[..], NOW).unwrap();
    assert!(importer.ready(LATER).unwrap().is_none());
    assert!(
        importer.status(LATER).unwrap()[0]
            .standing
            .to_string()
            .starts_with("stale since")
    );
    assert_eq!(
        importer.accept(&file[..], LATER).unwrap_err().code,
        "bundle_stale"
    );
    // Its number is free again.
    let fresh = signed_again(&file, |json| {
        json["set"]["expires_at"] = "2030-01-01T00:00:00Z".into();
    });
    importer.accept(&fresh[..], LATER).unwrap();
    assert!(importer.ready(LATER).unwrap().is_some());
}

#[test]
fn a_later_format_is_named_with_the_formats_that_are_understood() {
    let file = set(Kind::Snapshot, 1, &[], None).remove(0);
    let problem = refusal(&signed_again(&file, |json| {
        json["_type"] = "bascule.bundle/v2".into();
        json["new"] = true.into();
    }));
    assert_eq!(problem.code, "bundle_unknown_format");
    assert!(problem.what.contains("bascule.bundle/v2") && problem.why.contains("bascule.bundle/v1"));
}

#[test]
fn another_base_and_a_number_given_twice_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut importer = open(folder.path());
    let first = set(Kind::Snapshot, 1, &[], None);
    importer.accept(&first[0][..], NOW).unwrap();
    let ready = importer.ready(NOW).unwrap().unwrap();
    importer.applied(ready).unwrap();
    let (second, _) = step(2, 1, &Digest::of(b"another first"));
    assert_eq!(
        importer.accept(&second[..], NOW).unwrap_err().code,
        "bundle_other_base"
    );
    let (one, other) = (
        set(Kind::Snapshot, 3, &[noise(1, 1)], None),
        set(Kind::Snapshot, 3, &[noise(2, 2)], None),
    );
    importer.accept(&one[0][..], NOW).unwrap();
    let problem = importer.accept(&other[0][..], NOW).unwrap_err();
    assert_eq!(problem.code, "bundle_sequence_taken");
    assert!(importer.discard(3).unwrap() && !importer.discard(3).unwrap());
    importer.accept(&other[0][..], NOW).unwrap();
}

#[test]
fn a_set_whose_base_turned_out_another_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let mut importer = open(folder.path());
    let (second, _) = step(2, 1, &Digest::of(b"another first"));
    importer.accept(&second[..], NOW).unwrap();
    importer
        .accept(&set(Kind::Snapshot, 1, &[], None)[0][..], NOW)
        .unwrap();
    let ready = importer.ready(NOW).unwrap().unwrap();
    importer.applied(ready).unwrap();
    assert!(importer.ready(NOW).unwrap().is_none());
    let text = importer.status(NOW).unwrap()[0].standing.to_string();
    assert!(text.contains("ask for a checkpoint"), "{text}");
}

#[test]
fn two_importers_do_not_step_on_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(folder.path());
    let problem = Importer::open(folder.path(), lane()).unwrap_err();
    assert_eq!(problem.code, "bundle_busy");
    drop(first);
    drop(open(folder.path()));
}

#[test]
fn a_set_whose_signer_is_no_longer_trusted_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    open(folder.path())
        .accept(&set(Kind::Snapshot, 1, &[], None)[0][..], NOW)
        .unwrap();
    let lane = Lane::new(site(), Direction::ToSite, Trust::new([key(2).public()]), |_| {
        false
    });
    let importer = Importer::open(folder.path(), lane).unwrap();
    assert!(importer.status(NOW).unwrap().is_empty());
    assert_eq!(std::fs::read_dir(folder.path().join("blobs")).unwrap().count(), 0);
}

#[test]
fn manifests_that_cannot_be_followed_are_refused() {
    let file = set(Kind::Snapshot, 2, &[noise(9_000, 1)], Some(8_192)).remove(0);
    type Change = fn(&mut serde_json::Value);
    let changes: &[(&str, Change)] = &[
        ("begin at 1", |json| json["set"]["sequence"] = 0.into()),
        ("names no base", |json| json["set"]["kind"] = "incremental".into()),
        ("names a base", |json| {
            json["set"]["base"] = serde_json::json!({"sequence": 1, "id": Digest::of(b"")});
        }),
        ("before it is made", |json| {
            json["set"]["expires_at"] = json["set"]["created_at"].clone();
        }),
        ("carries no", |json| json["set"]["kind"] = "report".into()),
        ("plain relative path", |json| {
            json["set"]["entries"][0]["name"] = "../x".into();
        }),
        ("out of order", |json| {
            json["set"]["entries"].as_array_mut().unwrap().reverse();
        }),
        ("twice", |json| {
            let first = json["set"]["entries"][0].clone();
            json["set"]["entries"].as_array_mut().unwrap().insert(0, first);
        }),
        ("git commit", |json| {
            json["set"]["entries"][0]["commit"] = "a".repeat(40).into();
        }),
        ("is said to hold", |json| {
            json["set"]["held"] = serde_json::json!([Digest::of(b"")]);
        }),
        ("no chunk 9", |json| json["chunk"]["index"] = 9.into()),
        ("no chunk 0", |json| json["chunk"]["index"] = 0.into()),
        ("does not lie within", |json| {
            json["parts"][0]["offset"] = u64::MAX.into();
        }),
        ("has a part", |json| {
            json["parts"][0]["blob"] = serde_json::json!(Digest::of(b""));
        }),
        ("has a part", |json| {
            json["set"]["held"] = serde_json::json!([json["parts"][0]["blob"]]);
        }),
        ("stands twice", |json| {
            let first = json["parts"][0].clone();
            json["parts"].as_array_mut().unwrap().push(first);
        }),
        ("larger than any disk", |json| {
            json["set"]["entries"][0]["size"] = u64::MAX.into();
            json["parts"] = serde_json::json!([]);
        }),
    ];
    for (sign, change) in changes {
        let problem = refusal(&signed_again(&file, change));
        assert_eq!(problem.code, "bundle_bad_manifest", "{sign}");
        assert!(problem.what.contains(sign), "{sign}: {}", problem.what);
    }
}

#[test]
fn parts_that_do_not_make_up_the_blob_remove_the_set() {
    // Only a faulty or evil hub can sign such a thing: every part as said, and the whole another.
    let divided = set(Kind::Snapshot, 1, &[noise(9_000, 1)], Some(8_192));
    assert!(divided.len() > 1);
    let other = Digest::of(b"another whole");
    let old = Digest::of(&noise(9_000, 1));
    let folder = tempfile::tempdir().unwrap();
    let mut importer = open(folder.path());
    let mut last = Ok(());
    for file in &divided {
        let mut forged = signed_again(file, |json| {
            let text = json.to_string().replace(old.hex(), other.hex());
            *json = serde_json::from_str(&text).unwrap();
        });
        rename_entries(&mut forged, old.hex(), other.hex());
        last = importer.accept(&forged[..], NOW).map(drop);
    }
    assert_eq!(last.unwrap_err().code, "bundle_tampered");
    assert!(importer.status(NOW).unwrap().is_empty());
    for file in &divided {
        importer.accept(&file[..], NOW).unwrap();
    }
    assert!(importer.ready(NOW).unwrap().is_some());
}

fn rename_entries(file: &mut [u8], from: &str, to: &str) {
    let mut at = 0;
    while at + 512 <= file.len() && file[at] != 0 {
        let mut header = tar::Header::from_byte_slice(&file[at..at + 512]).clone();
        let size = header.entry_size().unwrap();
        let name = header.path().unwrap().display().to_string();
        if name.contains(from) {
            header.set_path(name.replace(from, to)).unwrap();
            header.set_cksum();
            file[at..at + 512].copy_from_slice(header.as_bytes());
        }
        at += 512 + usize::try_from(crate::container::padded(size)).unwrap();
    }
}

#[test]
fn limits_are_those_that_the_archive_can_hold() {
    // Eleven octal digits hold less than 8 GiB; above it archives would be written in another form.
    const { assert!(limits::PART_BYTES < 8 * 1024 * 1024 * 1024) };
}
