//! Disks that are full.

use super::*;
use std::process::Command;

#[test]
fn a_staging_area_without_room_refuses_and_goes_on_when_there_is_some() {
    let divided = set(
        Kind::Snapshot,
        1,
        &[noise(9_000, 1), noise(4_000, 2)],
        Some(8_192),
    );
    let folder = tempfile::tempdir().unwrap();
    let mut importer = open(folder.path()).with_room(6_000);
    let refused = divided
        .iter()
        .filter_map(|file| importer.accept(&file[..], NOW).err())
        .collect::<Vec<_>>();
    assert!(!refused.is_empty());
    for problem in refused {
        assert_eq!((problem.status, problem.code.as_str()), (507, "bundle_disk_full"));
    }
    assert!(importer.ready(NOW).unwrap().is_none());
    assert_eq!(
        std::fs::read_dir(folder.path().join("drafts")).unwrap().count(),
        0
    );
    drop(importer);
    let mut importer = open(folder.path());
    for file in &divided {
        importer.accept(&file[..], NOW).unwrap();
    }
    assert_eq!(content(&importer.ready(NOW).unwrap().unwrap()).len(), 4);
}

#[test]
fn what_the_disk_says_of_room_is_told_as_such() {
    let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
    let problem = crate::refuse::disk(&full);
    assert_eq!((problem.status, problem.code.as_str()), (507, "bundle_disk_full"));
    let hub = key(1);
    let blobs = MemoryBlobs::default();
    let export = Export::new(Kind::Snapshot, site(), 1, NOW, LATER);
    let plan = export.plan(None, &blobs, &hub).unwrap();
    let mut no_room = [0; 700];
    assert!(plan.write(1, &mut &mut no_room[..]).is_err());
}

/// Not a test by itself: what the next one starts where a small disk is mounted.
#[test]
fn import_on_a_small_disk() {
    let Ok(folder) = std::env::var("BUNDLE_SMALL_DISK") else {
        return;
    };
    let file = set(Kind::Snapshot, 1, &[noise(4_000, 1), noise(300_000, 2)], None).remove(0);
    let mut importer = open(Path::new(&folder));
    for _ in 0..2 {
        let problem = importer.accept(&file[..], NOW).unwrap_err();
        assert_eq!((problem.status, problem.code.as_str()), (507, "bundle_disk_full"));
        assert_eq!(
            std::fs::read_dir(Path::new(&folder).join("drafts"))
                .unwrap()
                .count(),
            0
        );
    }
    drop(importer);
    let importer = open(Path::new(&folder));
    assert!(importer.ready(NOW).unwrap().is_none());
    assert_eq!(importer.status(NOW).unwrap().len(), 1);
    let small = Digest::of(&noise(4_000, 1));
    assert!(Path::new(&folder).join("blobs").join(small.hex()).exists());
}

#[test]
fn a_full_disk_leaves_the_staging_area_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let mount = r#"mount -t tmpfs -o size=200k tmpfs "$BUNDLE_SMALL_DISK" && echo mounted && exec "$@""#;
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", mount, "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "tests::room::import_on_a_small_disk", "--nocapture"])
        .env("BUNDLE_SMALL_DISK", folder.path())
        .output();
    // Where nothing may be mounted, the tests above stand for this one.
    let Ok(output) = output else { return };
    let text = String::from_utf8_lossy(&output.stdout);
    if text.contains("mounted") {
        assert!(
            output.status.success(),
            "{text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(text.contains("1 passed"), "{text}");
    }
}
