//! Archives that were made to do harm. The manifest is good and signed; what follows it is not.

use super::*;
use crate::{limits, verify};
use tar::{EntryType, Header};

/// A good bundle, cut behind its manifest, and the rest of it.
fn cut() -> (Vec<u8>, Vec<u8>) {
    let file = set(Kind::Snapshot, 1, &[noise(700, 1)], None).remove(0);
    let size = Header::from_byte_slice(&file[..512]).entry_size().unwrap();
    let at = 512 + usize::try_from(crate::container::padded(size)).unwrap();
    (file[..at].to_vec(), file[at..].to_vec())
}

fn entry(name: &[u8], kind: EntryType, size: u64, change: impl FnOnce(&mut Header)) -> Vec<u8> {
    let mut header = Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(0o644);
    change(&mut header);
    header.set_cksum();
    header.as_bytes().to_vec()
}

fn code_of(parts: &[&[u8]]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = parts.concat();
    let problem = open(folder.path()).accept(&file[..], NOW).unwrap_err();
    assert!(!folder.path().parent().unwrap().join("evil").exists());
    assert_eq!(verify(&file[..], &trust(), NOW).unwrap_err().code, problem.code);
    problem.code
}

#[test]
fn links_devices_extensions_and_strange_paths_are_hostile() {
    let (head, rest) = cut();
    let kinds = [
        EntryType::Symlink,
        EntryType::Link,
        EntryType::Directory,
        EntryType::Fifo,
        EntryType::Char,
        EntryType::Block,
        EntryType::XHeader,
        EntryType::XGlobalHeader,
        EntryType::GNUSparse,
        EntryType::GNULongName,
        EntryType::GNULongLink,
        EntryType::Continuous,
        EntryType::new(b'V'),
    ];
    for kind in kinds {
        let evil = entry(b"evil", kind, 0, |header| {
            header.set_link_name("/etc/passwd").unwrap();
        });
        assert_eq!(code_of(&[&head, &evil, &rest]), "bundle_hostile", "{kind:?}");
        assert_eq!(
            code_of(&[&evil, &head, &rest]),
            "bundle_hostile",
            "{kind:?} first"
        );
        let end = rest.len() - 1024;
        assert_eq!(
            code_of(&[&head, &rest[..end], &evil, &rest[end..]]),
            "bundle_hostile",
            "{kind:?} last"
        );
    }
    for name in [&b"/evil"[..], b"../evil", b"blobs/../../evil"] {
        let evil = entry(name, EntryType::Regular, 0, |_| {});
        assert_eq!(code_of(&[&head, &evil, &rest]), "bundle_hostile");
        assert_eq!(code_of(&[&evil, &head, &rest]), "bundle_hostile");
    }
}

#[test]
fn claimed_sizes_take_neither_memory_nor_disk() {
    let (head, rest) = cut();
    for size in [limits::MANIFEST_BYTES + 1, 0o77_777_777_777] {
        let claim = {
            let mut header = Header::from_byte_slice(&head[..512]).clone();
            header.set_size(size);
            header.set_cksum();
            header.as_bytes().to_vec()
        };
        assert_eq!(code_of(&[&claim, &head[512..], &rest]), "too_large");
    }
    // A size in the other form, that reaches beyond what the archive's digits can hold.
    let claim = {
        let mut header = Header::from_byte_slice(&head[..512]).clone();
        header.set_size(u64::MAX / 2);
        header.set_cksum();
        header.as_bytes().to_vec()
    };
    assert_ne!(code_of(&[&claim, &head[512..], &rest]), "");
    let part = {
        let mut header = Header::from_byte_slice(&rest[..512]).clone();
        header.set_size(1 << 40);
        header.set_cksum();
        header.as_bytes().to_vec()
    };
    assert_eq!(code_of(&[&head, &part, &rest[512..]]), "bundle_tampered");
}

#[test]
fn more_fewer_doubled_and_exchanged_entries_are_found() {
    let (head, rest) = cut();
    let end = rest.len() - 1024;
    // Entries by where they begin: release document, artifact, desired state.
    let mut entries = Vec::new();
    let mut at = 0;
    while at < end {
        let size = Header::from_byte_slice(&rest[at..at + 512]).entry_size().unwrap();
        let next = at + 512 + usize::try_from(crate::container::padded(size)).unwrap();
        entries.push(&rest[at..next]);
        at = next;
    }
    let tail = &rest[end..];
    assert_eq!(entries.len(), 3);
    let [one, two, three] = [entries[0], entries[1], entries[2]];
    for order in [
        vec![two, one, three],
        vec![one, one, two, three],
        vec![one, two],
        vec![one, two, three, three],
        vec![],
    ] {
        let mut parts: Vec<&[u8]> = vec![&head];
        parts.extend(order);
        parts.push(tail);
        assert_eq!(code_of(&parts), "bundle_tampered");
    }
    let more = entry(b"evil", EntryType::Regular, 0, |_| {});
    assert_eq!(code_of(&[&head, &rest[..end], &more, tail]), "bundle_tampered");
    assert_eq!(code_of(&[&head, &rest, b"\0"]), "bundle_tampered");
    assert_eq!(code_of(&[&head, &rest, &head]), "bundle_tampered");
}

#[test]
fn what_was_packed_again_is_no_bundle() {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = Header::new_ustar();
    header.set_size(2);
    header.set_mode(0o644);
    builder
        .append_data(&mut header, "folder/bundle.json", &b"{}"[..])
        .unwrap();
    let file = builder.into_inner().unwrap();
    assert_eq!(code_of(&[&file]), "bundle_not_a_bundle");
    assert_eq!(code_of(&[&[0; 10_240][..]]), "bundle_not_a_bundle");
    assert_eq!(
        code_of(&[&b"-----BEGIN PUBLIC KEY-----"[..]]),
        "bundle_not_a_bundle"
    );
    assert_eq!(code_of(&[&[b'x'; 10_240][..]]), "bundle_not_a_bundle");
}

#[test]
fn a_header_that_was_touched_is_found() {
    let (head, rest) = cut();
    let touched = |change: fn(&mut Header)| {
        let mut header = Header::from_byte_slice(&rest[..512]).clone();
        change(&mut header);
        header.set_cksum();
        header.as_bytes().to_vec()
    };
    for change in [
        (|header| header.set_mode(0o4_755)) as fn(&mut Header),
        |header| header.set_uid(1_000),
        |header| header.set_mtime(1),
        |header| header.set_size(1),
    ] {
        assert_eq!(
            code_of(&[&head, &touched(change), &rest[512..]]),
            "bundle_tampered"
        );
    }
}
