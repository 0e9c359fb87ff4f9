//! Measuring: what lies in a quarantine, and what a repository takes on disk. Headers are read, never
//! contents, and only of what was pushed.

use super::Measured;
use crate::code::{ReadError, Reading};
use gix::odb::HeaderExt as _;
use std::path::Path;

/// Measures a push in its quarantine.
pub(super) fn measure(quarantine: &Path) -> Reading<Measured> {
    let bytes = on_disk(quarantine);
    if bytes == 0 {
        return Ok(Measured::default());
    }
    // git has checked these objects; the quarantine alone is opened, so that only they are seen.
    let objects = gix::odb::at(quarantine, gix::hash::Kind::Sha1).map_err(ReadError::git)?;
    let mut largest: Option<(gix::ObjectId, u64)> = None;
    for id in objects.iter().map_err(ReadError::git)? {
        let id = id.map_err(ReadError::git)?;
        let header = objects.header(id).map_err(ReadError::git)?;
        if header.kind() == gix::objs::Kind::Blob
            && largest.as_ref().is_none_or(|(_, size)| header.size() > *size)
        {
            largest = Some((id, header.size()));
        }
    }
    Ok(Measured {
        bytes,
        largest: largest.map(|(id, size)| (id.to_string(), size)),
    })
}

/// What a directory's files take, in bytes; what cannot be read counts nothing.
pub(crate) fn on_disk(directory: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return 0;
    };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(about) if about.is_dir() => on_disk(&entry.path()),
            Ok(about) if about.is_file() => about.len(),
            _ => 0,
        })
        .sum()
}
