//! Packing what a job made, and unpacking what other jobs made without trusting it.

use bascule_core::{Problem, Result};
use cap_std::{
    ambient_authority,
    fs::{Dir, OpenOptions, OpenOptionsExt as _},
};
use std::{
    fs::{self, File},
    io::{self, BufReader, BufWriter, Read, Write},
    os::unix::fs::PermissionsExt,
    path::{Component, Path, PathBuf},
};
use zip::{CompressionMethod, ZipArchive, ZipWriter, write::SimpleFileOptions};

/// Type bits of a link in a Unix mode.
const MODE_TYPE: u32 = 0o170_000;
const MODE_LINK: u32 = 0o120_000;
const MODE_FILE: u32 = 0o100_000;
/// Longest target of a link, in bytes.
const LINK_BYTES: u64 = 4096;

/// What an archive may unpack to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) bytes: u64,
    pub(crate) entries: usize,
}

/// Packs files of `root` into a zip at `to`; returns its size. Links are kept as links.
pub(crate) fn pack(root: &Path, files: &[String], to: &Path) -> io::Result<u64> {
    let mut zip = ZipWriter::new(BufWriter::new(File::create(to)?));
    for name in files {
        let path = root.join(name);
        let Ok(meta) = fs::symlink_metadata(&path) else {
            continue;
        };
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Deflated)
            .unix_permissions(meta.permissions().mode() & 0o777)
            .large_file(meta.len() > u64::from(u32::MAX) / 2);
        if meta.is_symlink() {
            if let Some(target) = fs::read_link(&path)?.to_str() {
                zip.add_symlink(name.as_str(), target, options)
                    .map_err(io::Error::other)?;
            }
        } else if meta.is_file() {
            let mut file = File::open(&path)?;
            zip.start_file(name.as_str(), options).map_err(io::Error::other)?;
            io::copy(&mut file, &mut zip)?;
        }
    }
    let mut out = zip.finish().map_err(io::Error::other)?;
    out.flush()?;
    Ok(fs::metadata(to)?.len())
}

/// Packs files one after the other, each gzipped under its name, as reports are sent.
pub(crate) fn gzip(root: &Path, files: &[String], to: &Path) -> io::Result<u64> {
    let mut out = BufWriter::new(File::create(to)?);
    for name in files {
        let path = root.join(name);
        if !fs::symlink_metadata(&path)?.is_file() {
            continue;
        }
        let base = name.rsplit('/').next().unwrap_or(name);
        let builder = flate2::GzBuilder::new().filename(base.as_bytes().to_vec());
        let mut member = builder.write(&mut out, flate2::Compression::default());
        io::copy(&mut File::open(&path)?, &mut member)?;
        member.finish()?;
    }
    out.flush()?;
    Ok(fs::metadata(to)?.len())
}

/// Unpacks a zip below `root`. Nothing is ever written outside, whatever the archive holds, whatever the workspace holds,
/// and whatever a service of the job does to the workspace meanwhile.
pub(crate) fn unpack(archive: &Path, root: &Path, bounds: Bounds) -> Result<usize> {
    let broken = |e: &dyn std::fmt::Display| {
        Problem::invalid("bad_archive", "An artifact archive cannot be read.").why(e.to_string())
    };
    let file = File::open(archive).map_err(|e| broken(&e))?;
    let mut zip = ZipArchive::new(BufReader::new(file)).map_err(|e| broken(&e))?;
    if zip.len() > bounds.entries {
        return Err(too_much(format!(
            "It holds {} entries; {} are allowed.",
            zip.len(),
            bounds.entries
        )));
    }
    let workspace = Dir::open_ambient_dir(root, ambient_authority()).map_err(|e| unwritable(root, &e))?;
    let mut left = bounds.bytes;
    let mut links = Vec::new();
    let mut count = 0;
    for index in 0..zip.len() {
        let mut entry = zip.by_index(index).map_err(|e| broken(&e))?;
        let path = safe_path(entry.name())?;
        if path.as_os_str().is_empty() {
            continue;
        }
        let mode = entry.unix_mode().unwrap_or(0o644);
        if entry.is_dir() {
            make_dirs(&workspace, &path)?;
            continue;
        }
        count += 1;
        if mode & MODE_TYPE == MODE_LINK {
            let mut target = String::new();
            entry
                .by_ref()
                .take(LINK_BYTES)
                .read_to_string(&mut target)
                .map_err(|e| broken(&e))?;
            links.push((target, path));
            continue;
        }
        if !matches!(mode & MODE_TYPE, 0 | MODE_FILE) {
            let why = "A device, a pipe or a socket is never unpacked.";
            return Err(refused(&path.to_string_lossy(), why));
        }
        if let Some(parent) = path.parent() {
            make_dirs(&workspace, parent)?;
        }
        clear(&workspace, &path)?;
        let mut new = OpenOptions::new();
        new.write(true).create_new(true).mode(0o600);
        let mut out = workspace
            .open_with(&path, &new)
            .map_err(|e| unwritable(&path, &e))?
            .into_std();
        // The sizes that an archive states may lie; what comes out of it is counted.
        let written = io::copy(&mut entry.by_ref().take(left.saturating_add(1)), &mut out).map_err(|e| {
            if e.kind() == io::ErrorKind::InvalidData {
                broken(&e)
            } else {
                unwritable(&path, &e)
            }
        })?;
        left = left.checked_sub(written).ok_or_else(|| {
            too_much(format!(
                "Unpacked, it is larger than the {} bytes allowed.",
                bounds.bytes
            ))
        })?;
        let permissions = fs::Permissions::from_mode((mode & 0o777) | 0o600);
        out.set_permissions(permissions)
            .map_err(|e| unwritable(&path, &e))?;
    }
    // Links last, so that no entry of this archive is written through one. Where they lead to is as harmless as where a
    // script's own do: nothing here follows one (a virtual environment's `python` leads out).
    for (target, path) in links {
        if target.is_empty() || target.contains('\0') {
            return Err(refused(
                &path.to_string_lossy(),
                "A link that leads nowhere is never unpacked.",
            ));
        }
        if let Some(parent) = path.parent() {
            make_dirs(&workspace, parent)?;
        }
        clear(&workspace, &path)?;
        workspace
            .symlink_contents(target, &path)
            .map_err(|e| unwritable(&path, &e))?;
    }
    Ok(count)
}

/// Whether a problem is of an archive as some job made it.
pub(crate) fn is_of_job(problem: &Problem) -> bool {
    matches!(problem.code.as_str(), "archive_refused" | "bad_archive")
}

fn refused(name: &str, why: &str) -> Problem {
    Problem::invalid(
        "archive_refused",
        format!("An artifact archive holds `{}`.", name.escape_debug()),
    )
    .why(why)
    .next("Nothing of it was written outside the workspace. Look at the job that made the archive.")
}

fn too_much(why: String) -> Problem {
    Problem::too_large("An artifact archive unpacks to more than is allowed.")
        .why(why)
        .next("Keep fewer files with `artifacts:paths` and `artifacts:exclude`.")
}

fn unwritable(path: &Path, error: &io::Error) -> Problem {
    Problem::new(
        500,
        "unwritable",
        format!("{} cannot be written.", path.display()),
    )
    .why(error.to_string())
    .next("Check the free space of the runner's builds directory.")
}

/// A path from an archive as a relative one without tricks.
fn safe_path(name: &str) -> Result<PathBuf> {
    let outside = "A name that leads out of the workspace is never unpacked.";
    if name.contains('\0') || name.starts_with('/') || name.len() > 4096 {
        return Err(refused(name, outside));
    }
    let mut path = PathBuf::new();
    for part in Path::new(name).components() {
        match part {
            Component::Normal(part) => path.push(part),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                return Err(refused(name, outside));
            }
        }
    }
    Ok(path)
}

/// Makes directories one by one; a link in the way is refused, since it may lead anywhere.
fn make_dirs(workspace: &Dir, dirs: &Path) -> Result<()> {
    let mut at = PathBuf::new();
    for part in dirs.components() {
        at.push(part);
        match workspace.symlink_metadata(&at) {
            Ok(meta) if meta.is_dir() => {}
            Ok(_) => {
                let why = "In the workspace a file or link stands where a directory is needed.";
                return Err(refused(&dirs.to_string_lossy(), why));
            }
            Err(_) => workspace.create_dir(&at).map_err(|e| unwritable(&at, &e))?,
        }
    }
    Ok(())
}

/// Takes away a file or link that stands where one is to be written.
fn clear(workspace: &Dir, path: &Path) -> Result<()> {
    match workspace.symlink_metadata(path) {
        Ok(meta) if !meta.is_dir() => workspace.remove_file(path).map_err(|e| unwritable(path, &e)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        bytes: 10_000,
        entries: 10,
    };

    fn zip(dir: &Path, entries: &[(&str, &str, bool)]) -> PathBuf {
        let path = dir.join("a.zip");
        let mut zip = ZipWriter::new(File::create(&path).unwrap());
        for (name, content, link) in entries {
            let options = SimpleFileOptions::default();
            if *link {
                zip.add_symlink(*name, *content, options).unwrap();
            } else {
                zip.start_file(*name, options).unwrap();
                zip.write_all(content.as_bytes()).unwrap();
            }
        }
        zip.finish().unwrap();
        path
    }

    #[test]
    fn what_is_packed_comes_out_again() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::create_dir_all(from.join("d/bin")).unwrap();
        fs::create_dir(&to).unwrap();
        fs::write(from.join("d/run"), "#!/bin/sh").unwrap();
        fs::set_permissions(from.join("d/run"), fs::Permissions::from_mode(0o4755)).unwrap();
        std::os::unix::fs::symlink("../run", from.join("d/bin/run")).unwrap();
        let files = crate::glob::walk(&from).unwrap();
        assert_eq!(files, ["d/bin/run", "d/run"]);
        let archive = dir.path().join("x.zip");
        pack(&from, &files, &archive).unwrap();
        assert_eq!(unpack(&archive, &to, BOUNDS).unwrap(), 2);
        assert_eq!(fs::read_to_string(to.join("d/bin/run")).unwrap(), "#!/bin/sh");
        assert_eq!(
            fs::metadata(to.join("d/run")).unwrap().permissions().mode() & 0o7777,
            0o755
        );
    }

    #[test]
    fn a_link_put_in_the_way_meanwhile_leads_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let (root, outside) = (dir.path().join("root"), dir.path().join("outside"));
        fs::create_dir_all(root.join("d")).unwrap();
        fs::create_dir(&outside).unwrap();
        let archive = zip(
            dir.path(),
            &[("d/a", "1", false), ("d/b", "2", false), ("d/c", "3", false)],
        );
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // As a service does that sees the workspace: a folder, and in its place a link out of it, by turns.
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let _ = fs::rename(root.join("d"), root.join("e"));
                    let _ = std::os::unix::fs::symlink(&outside, root.join("d"));
                    let _ = fs::remove_file(root.join("d"));
                    let _ = fs::rename(root.join("e"), root.join("d"));
                }
            });
            for _ in 0..2000 {
                let _ = unpack(&archive, &root, BOUNDS);
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    }

    #[test]
    fn nothing_leads_out_of_the_workspace() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir(&root).unwrap();
        for (name, content, link) in [
            ("../evil", "x", false),
            ("a/../../evil", "x", false),
            ("/evil", "x", false),
        ] {
            let archive = zip(dir.path(), &[(name, content, link)]);
            assert_eq!(
                unpack(&archive, &root, BOUNDS).unwrap_err().code,
                "archive_refused",
                "{name}"
            );
        }
        // Here a name like any other.
        let archive = zip(dir.path(), &[("a\\..\\b", "x", false)]);
        unpack(&archive, &root, BOUNDS).unwrap();
        assert!(root.join("a\\..\\b").is_file());
        // Links lead where they like, and nothing is written through them: not by the archive that brings one, nor by a
        // later one.
        let both = [
            ("venv/bin/python", "/usr/bin/python3", true),
            ("l", dir.path().to_str().unwrap(), true),
        ];
        unpack(&zip(dir.path(), &both), &root, BOUNDS).unwrap();
        assert_eq!(
            fs::read_link(root.join("venv/bin/python")).unwrap(),
            Path::new("/usr/bin/python3")
        );
        for order in [
            [("l", "..", true), ("l/evil", "x", false)],
            [("l/evil", "x", false), ("l", "..", true)],
        ] {
            let _ = unpack(&zip(dir.path(), &order), &root, BOUNDS);
            assert!(!dir.path().join("evil").exists());
        }
        let _ = fs::remove_file(root.join("l"));
        // A link from the repository, and one from an earlier archive.
        std::os::unix::fs::symlink(dir.path(), root.join("out")).unwrap();
        let archive = zip(dir.path(), &[("out/evil", "x", false)]);
        assert_eq!(
            unpack(&archive, &root, BOUNDS).unwrap_err().code,
            "archive_refused"
        );
        let archive = zip(dir.path(), &[("out", "now a file", false)]);
        unpack(&archive, &root, BOUNDS).unwrap();
        assert_eq!(fs::read_to_string(root.join("out")).unwrap(), "now a file");
        assert!(!dir.path().join("evil").exists());
    }

    #[test]
    fn bombs_and_nonsense_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let archive = zip(dir.path(), &[("a", &"0".repeat(10_001), false)]);
        assert_eq!(unpack(&archive, dir.path(), BOUNDS).unwrap_err().status, 413);
        let names: Vec<String> = (0..11).map(|n| n.to_string()).collect();
        let many: Vec<(&str, &str, bool)> = names.iter().map(|n| (n.as_str(), "", false)).collect();
        let archive = zip(dir.path(), &many);
        assert_eq!(unpack(&archive, dir.path(), BOUNDS).unwrap_err().status, 413);
        fs::write(&archive, "no zip at all").unwrap();
        assert_eq!(
            unpack(&archive, dir.path(), BOUNDS).unwrap_err().code,
            "bad_archive"
        );
    }
}
