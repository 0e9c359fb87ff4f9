//! Zip.

use super::{Failure, Target, refused};
use std::{
    ffi::OsString,
    fs::File,
    io::{BufReader, Read as _},
    os::unix::ffi::OsStringExt as _,
    path::{Path, PathBuf},
};
use zip::{ZipArchive, result::ZipError};

/// Longest target of a link, in bytes.
const LINK_BYTES: u64 = 4096;

pub(super) fn unpack(archive: File, target: &mut Target<'_>) -> Result<(), Failure> {
    let mut archive = ZipArchive::new(BufReader::new(archive)).map_err(damaged)?;
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(damaged)?;
        let name = PathBuf::from(entry.name());
        if entry.name().contains('\\') {
            return Err(refused(format!(
                "the path `{}` has a backslash, which systems read differently",
                name.display()
            )));
        }
        let mode = entry.unix_mode();
        // Type bits of the mode, where the archive was made on a Unix: none, file, folder, link.
        let kind = mode.unwrap_or(0) & 0o170_000;
        if entry.is_dir() {
            target.folder(&name)?;
        } else if kind == 0o120_000 {
            let mut link = Vec::new();
            let read = (&mut entry).take(LINK_BYTES).read_to_end(&mut link);
            read.map_err(|error| super::unreadable(&error))?;
            target.symlink(&name, Path::new(&OsString::from_vec(link)))?;
        } else if kind == 0 || kind == 0o100_000 {
            target.file(&name, mode.unwrap_or(0o644), &mut entry)?;
        } else {
            return Err(refused(format!(
                "`{}` is neither file, folder nor link",
                name.display()
            )));
        }
    }
    Ok(())
}

fn damaged(error: ZipError) -> Failure {
    match error {
        ZipError::Io(error) => super::unreadable(&error),
        other => refused(format!("the archive is damaged: {other}")),
    }
}
