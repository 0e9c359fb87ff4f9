//! Whether a manifest makes sense. The signature says who wrote it; this says that it can be followed.

use crate::{
    Direction, EntryKind, FORMAT, Kind, Manifest, Set,
    limits::{CHUNKS, PART_BYTES},
    refuse,
};
use bascule_core::{Digest, Result, is_safe_path};
use serde::Deserialize;
use std::collections::{HashMap, HashSet};

/// Reads a manifest. The format is looked at first, so that a later one is named and not called broken.
pub(crate) fn parse(payload: &[u8]) -> Result<Manifest> {
    #[derive(Deserialize)]
    struct Format {
        #[serde(rename = "_type")]
        format: String,
    }
    let format: Format =
        serde_json::from_slice(payload).map_err(|error| refuse::bad_manifest(&error.to_string()))?;
    if format.format != FORMAT {
        return Err(refuse::unknown_format(&format.format));
    }
    let manifest: Manifest =
        serde_json::from_slice(payload).map_err(|error| refuse::bad_manifest(&error.to_string()))?;
    check(&manifest).map_err(|why| refuse::bad_manifest(&why))?;
    Ok(manifest)
}

/// Says what is wrong with a manifest.
pub(crate) fn check(manifest: &Manifest) -> Result<(), String> {
    set(&manifest.set)?;
    if manifest.set.id() != manifest.id {
        return Err("its name is not the digest of the set".to_owned());
    }
    let chunk = manifest.chunk;
    if chunk.index == 0 || chunk.index > chunk.count || chunk.count > CHUNKS {
        return Err(format!("there is no chunk {} of {}", chunk.index, chunk.count));
    }
    parts(manifest)
}

/// Says what is wrong with a set.
pub(crate) fn set(set: &Set) -> Result<(), String> {
    if set.sequence == 0 {
        return Err("sequence numbers begin at 1".to_owned());
    }
    match (&set.base, set.kind) {
        (None, Kind::Incremental) => return Err("an incremental bundle names no base".to_owned()),
        (Some(_), Kind::Snapshot | Kind::Checkpoint) => {
            return Err(format!("a {} builds upon nothing, and names a base", set.kind));
        }
        (Some(base), _) if base.sequence >= set.sequence || base.sequence == 0 => {
            return Err(format!(
                "sequence {} cannot build upon {}",
                set.sequence, base.sequence
            ));
        }
        _ => {}
    }
    if set.created_at >= set.expires_at {
        return Err("it expires before it is made".to_owned());
    }
    let mut sizes: HashMap<&Digest, u64> = HashMap::new();
    let mut before = None;
    for entry in &set.entries {
        if entry.kind.direction() != set.kind.direction() {
            return Err(format!("a {} carries no {}", set.kind, entry.kind));
        }
        if !is_safe_path(&entry.name) {
            return Err(format!("`{}` is not a plain relative path", entry.name));
        }
        let place = (entry.kind, entry.name.as_str());
        if before.is_some_and(|before| before >= place) {
            return Err(format!(
                "the {} `{}` stands twice or out of order",
                entry.kind, entry.name
            ));
        }
        before = Some(place);
        if *sizes.entry(&entry.digest).or_insert(entry.size) != entry.size {
            return Err(format!("{} has two sizes", entry.digest));
        }
        let is_commit = |text: &String| {
            matches!(text.len(), 40 | 64)
                && text
                    .bytes()
                    .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        };
        match (&entry.commit, entry.kind) {
            (Some(commit), EntryKind::DesiredState) if is_commit(commit) => {}
            (None, kind) if kind != EntryKind::DesiredState => {}
            _ => {
                return Err(format!(
                    "the {} `{}` must name a git commit, and nothing else may",
                    entry.kind, entry.name
                ));
            }
        }
    }
    sizes
        .values()
        .try_fold(0_u64, |sum, size| sum.checked_add(*size))
        .ok_or("its sizes are larger than any disk")?;
    if !set.held.is_sorted_by(|one, other| one < other) {
        return Err("what the target holds stands twice or out of order".to_owned());
    }
    if let Some(held) = set.held.iter().find(|held| !sizes.contains_key(held)) {
        return Err(format!("no entry names {held}, which the target is said to hold"));
    }
    Ok(())
}

fn parts(manifest: &Manifest) -> Result<(), String> {
    let sizes: HashMap<&Digest, u64> = manifest.set.carried().into_iter().collect();
    let mut seen = HashSet::new();
    for part in &manifest.parts {
        let Some(whole) = sizes.get(&part.blob) else {
            return Err(format!("no entry needs {}, of which it has a part", part.blob));
        };
        let fits = part
            .offset
            .checked_add(part.size)
            .is_some_and(|end| end <= *whole);
        // An empty part would be a part of nothing, unless the blob is empty.
        if !fits || part.size > PART_BYTES || (part.size == 0 && *whole > 0) {
            return Err(format!("a part does not lie within {}", part.blob));
        }
        if part.is_whole() != (part.size == *whole) {
            return Err(format!(
                "a part of {} is called whole, or the whole a part",
                part.blob
            ));
        }
        if !seen.insert((&part.blob, part.offset)) {
            return Err(format!("a part of {} stands twice", part.blob));
        }
    }
    Ok(())
}

/// The word for a direction, for refusals.
pub(crate) fn way(direction: Direction) -> &'static str {
    match direction {
        Direction::ToSite => "from the hub to the site",
        Direction::FromSite => "from the site to the hub",
    }
}
