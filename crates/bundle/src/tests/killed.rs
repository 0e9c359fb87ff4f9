//! Importers that die: at every step that changes the disk, and for real in the middle of a file.

use super::*;
use crate::disk::fault;
use std::{
    io::{self, Read},
    path::PathBuf,
    process::Command,
};

fn divided() -> Vec<Vec<u8>> {
    set(
        Kind::Checkpoint,
        1,
        &[noise(9_000, 1), noise(300, 2)],
        Some(6_000),
    )
}

fn expected() -> BTreeMap<(EntryKind, String), Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let mut importer = open(folder.path());
    for file in divided() {
        importer.accept(&file[..], NOW).unwrap();
    }
    content(&importer.ready(NOW).unwrap().unwrap())
}

/// Imports and applies everything; how many files were acknowledged, and whether it was applied.
fn run(folder: &Path, files: &[Vec<u8>], acknowledged: &mut usize) -> bascule_core::Result<()> {
    let mut importer = Importer::open(folder, lane())?;
    for file in files {
        importer.accept(&file[..], NOW)?;
        *acknowledged += 1;
    }
    let ready = importer
        .ready(NOW)?
        .ok_or_else(|| bascule_core::Problem::not_found("set"))?;
    importer.applied(ready)
}

#[test]
fn dying_before_any_step_loses_nothing_and_shows_nothing_half() {
    let (files, expected) = (divided(), expected());
    assert!(files.len() > 2);
    for steps in 0.. {
        let folder = tempfile::tempdir().unwrap();
        let mut acknowledged = 0;
        fault::after(Some(steps));
        let outcome = run(folder.path(), &files, &mut acknowledged);
        fault::after(None);
        if outcome.is_ok() {
            assert!(steps > 50, "{steps} steps");
            return;
        }
        let mut importer = open(folder.path());
        let was_applied = importer.position().sequence == 1;
        if was_applied {
            let problem = importer.accept(&files[0][..], NOW).unwrap_err();
            assert_eq!(problem.code, "bundle_replayed");
            assert_eq!(acknowledged, files.len());
        } else {
            for (seen, file) in files.iter().enumerate() {
                let complete = importer.ready(NOW).unwrap().is_some();
                assert!(
                    !complete || seen >= files.len() - 1 || acknowledged >= files.len() - 1,
                    "step {steps}"
                );
                let progress = importer.accept(&file[..], NOW).unwrap();
                assert!(
                    progress.already || seen >= acknowledged,
                    "step {steps}: file {seen} was lost"
                );
            }
            let ready = importer.ready(NOW).unwrap().unwrap();
            assert_eq!(content(&ready), expected, "step {steps}");
            importer.applied(ready).unwrap();
        }
        drop(importer);
        drop(open(folder.path()));
        for name in ["blobs", "parts", "sets", "drafts"] {
            let left = std::fs::read_dir(folder.path().join(name)).unwrap().count();
            assert_eq!(left, 0, "step {steps}: {name}");
        }
    }
}

/// Ends the process, as `kill -9` would, when so many bytes were read.
struct Deadly<'a> {
    bytes: &'a [u8],
    left: usize,
}

impl Read for Deadly<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            std::process::abort();
        }
        let most = buffer.len().min(self.left).min(1_000);
        let count = self.bytes.read(&mut buffer[..most])?;
        self.left -= count.min(self.left);
        Ok(count)
    }
}

/// Not a test by itself: what the next one starts as a process of its own.
#[test]
fn import_that_dies() {
    let (Ok(folder), Ok(left)) = (std::env::var("BUNDLE_FOLDER"), std::env::var("BUNDLE_LEFT")) else {
        return;
    };
    let file = set(Kind::Snapshot, 1, &[noise(9_000, 1)], None).remove(0);
    let reader = Deadly {
        bytes: &file,
        left: left.parse().unwrap(),
    };
    drop(open(&PathBuf::from(folder)).accept(reader, NOW));
}

#[test]
fn a_killed_process_leaves_what_it_had() {
    let file = set(Kind::Snapshot, 1, &[noise(9_000, 1)], None).remove(0);
    let folder = tempfile::tempdir().unwrap();
    let mut kept = 0;
    for left in (400..file.len()).step_by(1_700).chain([file.len()]) {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "tests::killed::import_that_dies"])
            .env("BUNDLE_FOLDER", folder.path())
            .env("BUNDLE_LEFT", left.to_string())
            .output()
            .unwrap();
        assert!(!child.status.success(), "it was to die");
        let importer = open(folder.path());
        assert!(importer.ready(NOW).unwrap().is_none());
        let drafts = std::fs::read_dir(folder.path().join("drafts")).unwrap().count();
        assert_eq!(drafts, 0);
        let now = std::fs::read_dir(folder.path().join("blobs")).unwrap().count();
        assert!(now >= kept);
        kept = now;
    }
    assert_eq!(kept, 3);
    let mut importer = open(folder.path());
    assert!(!importer.accept(&file[..], NOW).unwrap().already);
    assert_eq!(content(&importer.ready(NOW).unwrap().unwrap()).len(), 3);
}
