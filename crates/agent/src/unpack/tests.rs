use super::*;
use proptest::prelude::*;
use std::io::Cursor;
use tar::{Builder, EntryType, Header};

/// A tar entry whose path is written as it is, however bad.
fn entry(builder: &mut Builder<Vec<u8>>, kind: EntryType, path: &str, link: &str, content: &[u8]) {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(0o4755);
    header.set_size(content.len() as u64);
    let raw = header.as_mut_bytes();
    raw[..path.len()].copy_from_slice(path.as_bytes());
    raw[157..157 + link.len()].copy_from_slice(link.as_bytes());
    header.set_cksum();
    builder.append(&header, Cursor::new(content)).unwrap();
}

fn tarball(entries: &[(EntryType, &str, &str)]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (kind, path, link) in entries {
        let content: &[u8] = if *kind == EntryType::Regular {
            b"content"
        } else {
            b""
        };
        entry(&mut builder, *kind, path, link, content);
    }
    builder.into_inner().unwrap()
}

/// A folder `outer` with `root` in it, unpacked into from bytes.
fn try_unpack(bytes: &[u8], name: &str) -> (tempfile::TempDir, Result<(), Failure>) {
    let outer = tempfile::tempdir().unwrap();
    let (artifact, root) = (outer.path().join("artifact"), outer.path().join("root"));
    fs::write(&artifact, bytes).unwrap();
    fs::create_dir(&root).unwrap();
    let result = unpack_within(&artifact, name, &root, 1024 * 1024, 1000);
    (outer, result)
}

#[test]
fn a_good_archive_unpacks_with_folders_links_and_modes() {
    use EntryType::{Directory, Link, Regular, Symlink};
    let bytes = tarball(&[
        (Directory, "./app/", ""),
        (Regular, "./app/bin/server", ""),
        (Symlink, "run", "app/bin/server"),
        (Symlink, "app/up", "../run"),
        (Link, "same", "app/bin/server"),
    ]);
    let (outer, result) = try_unpack(&bytes, "a.tar");
    result.unwrap();
    let root = outer.path().join("root");
    assert_eq!(fs::read(root.join("app/up")).unwrap(), b"content");
    assert_eq!(fs::read(root.join("same")).unwrap(), b"content");
    let mode = fs::metadata(root.join("app/bin/server"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o755);
}

#[test]
fn gzip_zip_and_single_files_work_too() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&tarball(&[(EntryType::Regular, "a", "")]))
        .unwrap();
    let (outer, result) = try_unpack(&gzip.finish().unwrap(), "a.tar.gz");
    result.unwrap();
    assert!(outer.path().join("root/a").is_file());

    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default();
    zip.start_file("b/c.py", options.unix_permissions(0o755)).unwrap();
    zip.write_all(b"print()").unwrap();
    zip.add_symlink("link", "b/c.py", options).unwrap();
    let (outer, result) = try_unpack(&zip.finish().unwrap().into_inner(), "a.zip");
    result.unwrap();
    assert_eq!(fs::read(outer.path().join("root/link")).unwrap(), b"print()");

    let (outer, result) = try_unpack(b"#!/bin/sh\n", "../../server");
    result.unwrap();
    let mode = fs::metadata(outer.path().join("root/server"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o755);
}

#[test]
fn long_names_of_both_kinds_are_understood() {
    let long = format!("{}/file", "folder/".repeat(30));
    let mut gnu = Builder::new(Vec::new());
    let mut header = Header::new_gnu();
    header.set_size(1);
    header.set_mode(0o644);
    gnu.append_data(&mut header, &long, Cursor::new(b"x")).unwrap();
    let mut pax = Builder::new(Vec::new());
    pax.append_pax_extensions([("path", long.as_bytes())]).unwrap();
    entry(&mut pax, EntryType::Regular, "short", "", b"x");
    for archive in [gnu, pax] {
        let (outer, result) = try_unpack(&archive.into_inner().unwrap(), "a.tar");
        result.unwrap();
        assert_eq!(fs::read(outer.path().join("root").join(&long)).unwrap(), b"x");
    }
}

#[test]
fn whatever_leads_out_is_refused() {
    use EntryType::{Block, Char, Directory, Fifo, Link, Regular, Symlink};
    let bad: &[&[(EntryType, &str, &str)]] = &[
        &[(Regular, "../evil", "")],
        &[(Regular, "/evil", "")],
        &[(Regular, "a/../../evil", "")],
        &[(Directory, "..", "")],
        &[(Symlink, "out", "/etc")],
        &[(Symlink, "out", "../..")],
        &[(Symlink, "a/out", "../../x")],
        // Through a link.
        &[(Directory, "a", ""), (Symlink, "b", "a"), (Regular, "b/file", "")],
        // Links that only together lead out.
        &[
            (Directory, "a/b", ""),
            (Symlink, "a/b/k", "../.."),
            (Symlink, "m", "a/b/k/.."),
        ],
        &[(Link, "shadow", "../artifact")],
        &[(Link, "shadow", "/etc/passwd")],
        &[(Symlink, "p", "q"), (Link, "shadow", "p")],
        &[(Char, "null", "")],
        &[(Block, "disk", "")],
        &[(Fifo, "pipe", "")],
        // A folder turned into a file and the other way round.
        &[(Directory, "a", ""), (Regular, "a", "")],
        &[(Regular, "a", ""), (Regular, "a/b", "")],
    ];
    for entries in bad {
        let (outer, result) = try_unpack(&tarball(entries), "a.tar");
        assert!(
            matches!(result, Err(Failure::Refused(_))),
            "{entries:?}: {result:?}"
        );
        assert!(!outer.path().join("evil").exists() && !outer.path().join("x").exists());
    }
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    zip.start_file("../evil", zip::write::SimpleFileOptions::default())
        .unwrap();
    zip.write_all(b"x").unwrap();
    let (outer, result) = try_unpack(&zip.finish().unwrap().into_inner(), "a.zip");
    assert!(matches!(result, Err(Failure::Refused(_))), "{result:?}");
    assert!(!outer.path().join("evil").exists());
}

#[test]
fn bombs_are_refused_by_what_they_become() {
    let mut builder = Builder::new(flate2::write::GzEncoder::new(
        Vec::new(),
        flate2::Compression::best(),
    ));
    let mut header = Header::new_ustar();
    header.set_path("zeros").unwrap();
    header.set_size(64 * 1024 * 1024);
    header.set_cksum();
    builder
        .append(&header, io::repeat(0).take(64 * 1024 * 1024))
        .unwrap();
    let bytes = builder.into_inner().unwrap().finish().unwrap();
    assert!(bytes.len() < 200_000);
    let (outer, result) = try_unpack(&bytes, "bomb.tgz");
    assert!(matches!(result, Err(Failure::Refused(_))), "{result:?}");
    assert!(fs::metadata(outer.path().join("root/zeros")).unwrap().len() <= 1024 * 1024);

    let many: Vec<_> = (0..1001).map(|n| format!("f{n}")).collect();
    let many: Vec<_> = many
        .iter()
        .map(|name| (EntryType::Directory, name.as_str(), ""))
        .collect();
    let (_outer, result) = try_unpack(&tarball(&many), "a.tar");
    assert!(matches!(result, Err(Failure::Refused(_))), "{result:?}");

    let mut names = Builder::new(Vec::new());
    entry(&mut names, EntryType::GNULongName, "x", "", &vec![b'a'; 100_000]);
    let (_outer, result) = try_unpack(&names.into_inner().unwrap(), "a.tar");
    assert!(matches!(result, Err(Failure::Refused(_))), "{result:?}");
}

proptest! {
    #[test]
    fn noise_is_refused_and_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        for name in ["a.tar", "a.tar.gz", "a.zip"] {
            let (outer, _) = try_unpack(&bytes, name);
            prop_assert_eq!(fs::read_dir(outer.path()).unwrap().count(), 2);
        }
    }
}
