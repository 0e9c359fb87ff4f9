//! Measuring: what lies in a quarantine, and what a repository takes on disk. Headers are read, never
//! contents, and only of what was pushed.

use super::{Files, Measured};
use crate::code::{ReadError, Reading};
use gix::{
    ObjectId,
    objs::Kind,
    odb::{
        HeaderExt as _, loose,
        pack::{Bundle, data::entry::Header},
    },
};
use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    path::{Path, PathBuf},
};

/// Most files of a push that are remembered, for looking through them.
const FILES: usize = 2_000_000;

/// Measures a push in its quarantine.
pub(crate) fn measure(quarantine: &Path) -> Reading<Measured> {
    let bytes = on_disk(quarantine);
    if bytes == 0 {
        return Ok(Measured::default());
    }
    let objects = open(quarantine)?;
    let mut largest: Option<(ObjectId, u64)> = None;
    let mut files = Files::default();
    let mut keep = |id: ObjectId, size: u64| {
        if largest.as_ref().is_none_or(|(_, most)| size > *most) {
            largest = Some((id, size));
        }
        if files.ids.len() < FILES {
            files.ids.push((id, size));
        } else {
            files.cut = true;
        }
    };
    for index in &indexes(quarantine) {
        for id in packed(index)? {
            keep(id, objects.header(id).map_err(ReadError::git)?.size());
        }
    }
    for id in loose::Store::at(quarantine, gix::hash::Kind::Sha1).iter() {
        let id = id.map_err(ReadError::git)?;
        let header = objects.header(id).map_err(ReadError::git)?;
        if header.kind() == Kind::Blob {
            keep(id, header.size());
        }
    }
    Ok(Measured {
        bytes,
        largest: largest.map(|(id, size)| (id.to_string(), size)),
        files: Some(files),
    })
}

/// The objects in a quarantine. git has checked them; the quarantine alone is opened, so that only they are seen.
pub(crate) fn open(quarantine: &Path) -> Reading<gix::odb::Handle> {
    gix::odb::at(quarantine, gix::hash::Kind::Sha1).map_err(ReadError::git)
}

/// The indexes of its packs.
pub(crate) fn indexes(quarantine: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(quarantine.join("pack")) else {
        return Vec::new();
    };
    let paths = entries.flatten().map(|entry| entry.path());
    paths
        .filter(|path| path.extension().is_some_and(|kind| kind == "idx"))
        .collect()
}

/// The files in a pack, in the order in which they lie there: whoever reads them so reads what they are told as
/// differences to just before. What a difference is of is what it is to, so nobody walks each chain to its end
/// (gitformat-pack).
fn packed(index: &Path) -> Reading<Vec<ObjectId>> {
    let bundle = Bundle::at(index, gix::hash::Kind::Sha1).map_err(ReadError::git)?;
    let mut entries: Vec<(u64, ObjectId)> = bundle
        .index
        .iter()
        .map(|entry| (entry.pack_offset, entry.oid))
        .collect();
    entries.sort_unstable();
    let mut is_file: HashMap<u64, bool, BuildHasherDefault<Offsets>> =
        HashMap::with_capacity_and_hasher(entries.len(), BuildHasherDefault::default());
    // Named by identifier, what it is to may lie further back.
    let mut later: Vec<(u64, u64)> = Vec::new();
    for (offset, _) in &entries {
        let known = match bundle.pack.entry(*offset).map_err(ReadError::git)?.header {
            Header::Blob => Some(true),
            Header::Commit | Header::Tree | Header::Tag => Some(false),
            Header::OfsDelta { base_distance } => {
                let base = offset.saturating_sub(base_distance);
                later.extend((!is_file.contains_key(&base)).then_some((*offset, base)));
                is_file.get(&base).copied()
            }
            Header::RefDelta { base_id } => {
                let base = bundle.index.lookup(base_id);
                later.extend(base.map(|at| (*offset, bundle.index.pack_offset_at_index(at))));
                None
            }
        };
        is_file.extend(known.map(|known| (*offset, known)));
    }
    while !later.is_empty() {
        let before = later.len();
        later.retain(|(offset, base)| match is_file.get(base).copied() {
            Some(known) => is_file.insert(*offset, known).is_some(),
            None => true,
        });
        if later.len() == before {
            break;
        }
    }
    entries.retain(|(offset, _)| is_file.get(offset).copied().unwrap_or_default());
    Ok(entries.into_iter().map(|(_, id)| id).collect())
}

/// Spreads offsets: there are hundreds of thousands, nobody chooses where they collide in a map that lives for one push.
#[derive(Default)]
struct Offsets(u64);

impl Hasher for Offsets {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }
    fn write_u64(&mut self, offset: u64) {
        // Fibonacci hashing (Knuth, The Art of Computer Programming 3, 6.4).
        self.0 = (self.0 ^ offset).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
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
