//! What is put in comes out, however it is divided and in whatever order it arrives.

use super::*;
use crate::{FolderBlobs, Signature, Standing, inspect, verify};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_division_and_any_order_give_the_same_content(
        sizes in proptest::collection::vec(0_usize..9_000, 0..6),
        chunk in 3_500_u64..16_000,
        order in any::<u64>(),
    ) {
        let artifacts: Vec<Vec<u8>> =
            sizes.iter().zip(1..).map(|(size, seed)| noise(*size, seed)).collect();
        let mut blobs = MemoryBlobs::default();
        let (hub, whole) = (key(1), export(Kind::Snapshot, 1, &artifacts, &mut blobs));
        let plan = match whole.clone().plan(Some(chunk), &blobs, &hub) {
            Ok(plan) => plan,
            Err(problem) => {
                prop_assert_eq!(problem.code, "bundle_chunk_too_small");
                return Ok(());
            }
        };
        let mut divided = files(&plan);
        for file in &divided {
            prop_assert!(file.len() as u64 <= chunk, "{} bytes", file.len());
            prop_assert!(verify(&file[..], &trust(), NOW).unwrap().verified);
        }
        prop_assert_eq!(&divided, &files(&whole.plan(Some(chunk), &blobs, &hub).unwrap()), "the same bytes again");
        let count = divided.len() as u64;
        divided.sort_by_key(|file| Digest::of(&[&order.to_le_bytes()[..], &file[..]].concat()));

        let folder = tempfile::tempdir().unwrap();
        let mut importer = open(folder.path());
        for (taken, file) in (1..).zip(&divided) {
            prop_assert!(importer.ready(NOW).unwrap().is_none());
            let progress = importer.accept(&file[..], NOW).unwrap();
            prop_assert!(!progress.already);
            match progress.standing {
                Standing::WaitsForChunks { missing } => prop_assert_eq!(missing.len() as u64, count - taken),
                standing => prop_assert_eq!((standing, taken), (Standing::Ready, count)),
            }
            prop_assert!(importer.accept(&file[..], NOW).unwrap().already);
        }
        let ready = importer.ready(NOW).unwrap().unwrap();
        let content = content(&ready);
        prop_assert_eq!(content.len(), artifacts.len() + 2);
        for (number, bytes) in artifacts.iter().enumerate() {
            let name = format!("clinic/portal@1.0.0/files/{number}");
            prop_assert_eq!(content.get(&(EntryKind::Artifact, name)), Some(bytes));
        }
        importer.applied(ready).unwrap();
        prop_assert!(importer.ready(NOW).unwrap().is_none());
        prop_assert_eq!(std::fs::read_dir(folder.path().join("blobs")).unwrap().count(), 0);
    }
}

#[test]
fn stock_tools_can_look_into_a_bundle() {
    let big = noise(20_000, 1);
    let divided = set(Kind::Snapshot, 1, std::slice::from_ref(&big), Some(8_192));
    assert!(divided.len() > 2);
    // The system's own tar, which the platform needs anyway.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("one.bundle.tar");
    std::fs::write(&path, &divided[0]).unwrap();
    let listed = std::process::Command::new("tar")
        .arg("-tf")
        .arg(&path)
        .output()
        .unwrap();
    assert!(listed.status.success() && listed.stderr.is_empty());
    assert!(listed.stdout.starts_with(b"bundle.json\nblobs/sha256/"));

    let mut pieces = BTreeMap::new();
    for file in &divided {
        let mut archive = tar::Archive::new(&file[..]);
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().display().to_string();
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
            pieces.insert(name, bytes);
        }
    }
    let prefix = format!("blobs/sha256/{}.", Digest::of(&big).hex());
    let joined: Vec<u8> = pieces
        .iter()
        .filter(|(name, _)| name.starts_with(&prefix))
        .flat_map(|(_, bytes)| bytes.clone())
        .collect();
    assert!(joined == big, "parts sort by where they begin");
}

#[test]
fn two_divisions_of_one_set_may_be_mixed() {
    let big = vec![noise(20_000, 1)];
    let (coarse, fine) = (
        set(Kind::Snapshot, 1, &big, Some(12_000)),
        set(Kind::Snapshot, 1, &big, Some(6_000)),
    );
    let folder = tempfile::tempdir().unwrap();
    let mut importer = open(folder.path());
    importer.accept(&coarse[0][..], NOW).unwrap();
    for file in &fine {
        importer.accept(&file[..], NOW).unwrap();
    }
    let ready = importer.ready(NOW).unwrap().unwrap();
    assert!(content(&ready).values().any(|bytes| *bytes == big[0]));
}

#[test]
fn incrementals_wait_for_their_base_and_are_given_in_order() {
    let first = set(Kind::Snapshot, 3, &[], None);
    let first_id = inspect(&first[0][..], &trust(), NOW).unwrap().id;
    let (fourth, fourth_id) = step(4, 3, &first_id);
    let (fifth, _) = step(5, 4, &fourth_id);
    let folder = tempfile::tempdir().unwrap();
    let mut importer = open(folder.path());
    let progress = importer.accept(&fifth[..], NOW).unwrap();
    assert_eq!(progress.standing.to_string(), "sequence 5 waits for 4");
    importer.accept(&fourth[..], NOW).unwrap();
    assert!(importer.ready(NOW).unwrap().is_none());
    importer.accept(&first[0][..], NOW).unwrap();
    let mut order = Vec::new();
    while let Some(ready) = importer.ready(NOW).unwrap() {
        order.push(ready.set().sequence);
        importer.applied(ready).unwrap();
    }
    assert_eq!(order, [3, 4, 5]);
    assert_eq!(importer.position().sequence, 5);
}

#[test]
fn an_incremental_upon_an_older_base_may_skip_what_lies_between() {
    let first = set(Kind::Snapshot, 1, &[], None);
    let first_id = inspect(&first[0][..], &trust(), NOW).unwrap().id;
    let folder = tempfile::tempdir().unwrap();
    let mut importer = open(folder.path());
    importer.accept(&first[0][..], NOW).unwrap();
    let ready = importer.ready(NOW).unwrap().unwrap();
    importer.applied(ready).unwrap();
    let (ninth, _) = step(9, 1, &first_id);
    assert_eq!(
        importer.accept(&ninth[..], NOW).unwrap().standing,
        Standing::Ready
    );
}

#[test]
fn a_whole_checkpoint_is_taken_before_all_that_waits() {
    let first = set(Kind::Snapshot, 1, &[], None);
    let (sixth, _) = step(6, 5, &Digest::of(b"never came"));
    let checkpoint = set(Kind::Checkpoint, 8, &[noise(9_000, 3)], Some(6_000));
    let folder = tempfile::tempdir().unwrap();
    let mut importer = open(folder.path());
    for file in [&first[0], &sixth].into_iter().chain(&checkpoint) {
        importer.accept(&file[..], NOW).unwrap();
    }
    let standings: Vec<Standing> = importer
        .status(NOW)
        .unwrap()
        .into_iter()
        .map(|set| set.standing)
        .collect();
    let superseded = Standing::Superseded { by: 8 };
    assert_eq!(standings, [superseded.clone(), superseded, Standing::Ready]);
    let ready = importer.ready(NOW).unwrap().unwrap();
    assert_eq!(ready.set().sequence, 8);
    importer.applied(ready).unwrap();
    assert!(importer.status(NOW).unwrap().is_empty());
    assert_eq!(
        importer.accept(&first[0][..], NOW).unwrap_err().code,
        "bundle_stale"
    );
}

#[test]
fn what_the_target_has_is_named_and_not_carried() {
    let known = noise(5_000, 1);
    let digest = Digest::of(&known);
    let mut blobs = MemoryBlobs::default();
    let mut export = export(Kind::Snapshot, 1, &[known, noise(10, 2)], &mut blobs);
    let hub = key(1);
    let full = files(&export.clone().plan(None, &blobs, &hub).unwrap()).remove(0);
    // An inventory as a report brings it.
    let text = inventory(&[digest.clone(), Digest::of(b"something else")]).to_bytes();
    export.leave_out(&Inventory::from_reader(&text[..]).unwrap());
    let plan = export.plan(None, &blobs, &hub).unwrap();
    assert_eq!(plan.set().held, std::slice::from_ref(&digest));
    let file = files(&plan).remove(0);
    assert!(full.len() - file.len() > 5_000);

    let folder = tempfile::tempdir().unwrap();
    let mut importer = open(folder.path());
    let progress = importer.accept(&file[..], NOW).unwrap();
    assert_eq!(
        progress.standing,
        Standing::WaitsForBlobs {
            count: 1,
            first: digest.clone()
        }
    );
    assert!(importer.ready(NOW).unwrap().is_none());
    drop(importer);
    let has = digest.clone();
    let lane = Lane::new(site(), Direction::ToSite, trust(), move |asked| *asked == has);
    let importer = Importer::open(folder.path(), lane).unwrap();
    let ready = importer.ready(NOW).unwrap().unwrap();
    assert!(!ready.carries(&digest));
    assert_eq!(ready.open(&digest).unwrap_err().code, "bundle_not_carried");
}

#[test]
fn reports_travel_back() {
    let site_key = key(7);
    let mut report = Export::new(Kind::Report, site(), 1, NOW, LATER);
    report
        .document(EntryKind::ObservedState, "observed", b"{}".to_vec())
        .unwrap();
    report.inventory(&inventory(&[Digest::of(b"x")])).unwrap();
    let blobs = MemoryBlobs::default();
    let file = files(&report.plan(None, &blobs, &site_key).unwrap()).remove(0);
    let folder = tempfile::tempdir().unwrap();
    let lane = Lane::new(
        site(),
        Direction::FromSite,
        Trust::new([site_key.public()]),
        |_| false,
    );
    let mut hub = Importer::open(folder.path(), lane).unwrap();
    hub.accept(&file[..], NOW).unwrap();
    let ready = hub.ready(NOW).unwrap().unwrap();
    let entry = ready.entries(EntryKind::Inventory).next().unwrap().clone();
    let inventory = Inventory::from_reader(ready.open(&entry.digest).unwrap()).unwrap();
    assert!(inventory.contains(&Digest::of(b"x")));
}

#[test]
fn inspecting_says_whose_signature_it_is() {
    let file = set(Kind::Snapshot, 1, &[noise(100, 1)], None).remove(0);
    let trusted = inspect(&file[..], &trust(), NOW).unwrap();
    assert_eq!(
        trusted.signature,
        Signature::Trusted {
            key_id: key(1).id.clone()
        }
    );
    let text = trusted.to_string();
    for sign in [
        "snapshot 1 of the site site-7",
        "good, by the trusted key",
        "clinic/portal@1.0.0",
        "3 entries",
    ] {
        assert!(text.contains(sign), "{text}");
    }
    let unknown = inspect(&file[..], &Trust::default(), LATER).unwrap();
    assert!(unknown.to_string().contains("NOT CHECKED"));
    assert!(unknown.stale);
    assert_eq!(
        serde_json::to_value(&unknown).unwrap()["signature"]["state"],
        "untrusted"
    );
    assert_eq!(
        verify(&file[..], &Trust::default(), NOW).unwrap_err().code,
        "bundle_untrusted_key"
    );
}

#[test]
fn blobs_altered_where_they_are_stored_are_not_exported_and_not_given_out() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = noise(9_000, 1);
    let digest = Digest::of(&bytes);
    let path = folder.path().join(digest.hex());
    std::fs::write(&path, &bytes).unwrap();
    let mut whole = Export::new(Kind::Snapshot, site(), 1, NOW, LATER);
    whole
        .blob(EntryKind::Artifact, "app", digest.clone(), 9_000)
        .unwrap();
    let (blobs, hub) = (FolderBlobs::new(folder.path()), key(1));
    let file = files(&whole.clone().plan(None, &blobs, &hub).unwrap()).remove(0);
    let mut spoilt = bytes;
    spoilt[4_000] ^= 1;
    std::fs::write(&path, &spoilt).unwrap();
    let split = whole.clone().plan(Some(4_096), &blobs, &hub);
    assert_eq!(
        split.err().map(|problem| problem.code).as_deref(),
        Some("bundle_blob_altered")
    );
    let plan = whole.plan(None, &blobs, &hub).unwrap();
    assert_eq!(
        plan.write(1, &mut Vec::new()).unwrap_err().code,
        "bundle_blob_altered"
    );

    let staging = tempfile::tempdir().unwrap();
    let mut importer = open(staging.path());
    importer.accept(&file[..], NOW).unwrap();
    std::fs::write(staging.path().join("blobs").join(digest.hex()), &spoilt).unwrap();
    let ready = importer.ready(NOW).unwrap().unwrap();
    assert!(
        ready
            .read(&digest, u64::MAX)
            .unwrap_err()
            .what
            .contains("changed")
    );
    // The way out: discard, and import again.
    assert!(importer.discard(1).unwrap());
    importer.accept(&file[..], NOW).unwrap();
    assert_eq!(content(&importer.ready(NOW).unwrap().unwrap()).len(), 1);
}

#[test]
fn what_was_kept_of_an_export_gives_the_same_files_again() {
    let mut blobs = MemoryBlobs::default();
    let artifacts = [noise(9_000, 1), noise(40, 2)];
    let export = export(Kind::Snapshot, 1, &artifacts, &mut blobs);
    let hub = key(1);
    let plan = export.plan(Some(6_000), &blobs, &hub).unwrap();
    let written = files(&plan);
    assert!(written.len() > 1);
    for (chunk, file) in (1..).zip(&written) {
        assert_eq!(plan.size(chunk).unwrap(), file.len() as u64);
    }
    // Documents are blobs like all else from then on.
    let (set, division) = (plan.set().clone(), plan.division().to_vec());
    drop(blobs.add(b"{\"sequence\":1}".to_vec()));
    drop(blobs.add(b"portal: 1.x\n".to_vec()));
    let again = crate::Plan::again(set.clone(), division.clone(), &blobs, &hub).unwrap();
    assert_eq!(files(&again), written);
    let other = key(2);
    let refused = crate::Plan::again(set, division, &blobs, &other);
    assert_eq!(refused.err().map(|p| p.code).as_deref(), Some("bundle_other_key"));
}

#[test]
fn a_glance_at_a_file_takes_nothing_from_it() {
    let file = set(Kind::Snapshot, 3, &[noise(5_000, 1)], None).remove(0);
    let (summary, mut rest) = crate::peek(&file[..], &Trust::default(), NOW).unwrap();
    assert_eq!((summary.sequence, summary.kind), (3, Kind::Snapshot));
    assert!(matches!(summary.signature, Signature::Untrusted { .. }));
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut rest, &mut bytes).unwrap();
    assert_eq!(bytes, file);
}
