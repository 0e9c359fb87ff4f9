//! Measuring: what lies in a quarantine, and what a repository takes on disk. Headers are read, never
//! contents, and only of what was pushed.

use super::Measured;
use crate::code::{ReadError, Reading};
use gix::{
    ObjectId,
    odb::{HeaderExt as _, store::iter::Ordering},
};
use std::path::Path;

/// Measures a push in its quarantine.
pub(super) fn measure(quarantine: &Path) -> Reading<Measured> {
    let bytes = on_disk(quarantine);
    if bytes == 0 {
        return Ok(Measured::default());
    }
    let mut largest: Option<(ObjectId, u64)> = None;
    files(&open(quarantine)?, |id, size| {
        if largest.as_ref().is_none_or(|(_, most)| size > *most) {
            largest = Some((id, size));
        }
    })?;
    Ok(Measured {
        bytes,
        largest: largest.map(|(id, size)| (id.to_string(), size)),
    })
}

/// The objects in a quarantine. git has checked them; the quarantine alone is opened, so that only they are seen.
pub(crate) fn open(quarantine: &Path) -> Reading<gix::odb::Handle> {
    gix::odb::at(quarantine, gix::hash::Kind::Sha1).map_err(ReadError::git)
}

/// Hands on each file's object and size, those of packs in the order in which they lie there: whoever reads them so
/// reads what they are told as differences to just before.
pub(crate) fn files(objects: &gix::odb::Handle, mut each: impl FnMut(ObjectId, u64)) -> Reading<()> {
    let all = objects
        .iter()
        .map_err(ReadError::git)?
        .with_ordering(Ordering::PackAscendingOffsetThenLooseLexicographical);
    for id in all {
        let id = id.map_err(ReadError::git)?;
        let header = objects.header(id).map_err(ReadError::git)?;
        if header.kind() == gix::objs::Kind::Blob {
            each(id, header.size());
        }
    }
    Ok(())
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
