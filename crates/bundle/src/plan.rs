//! An export, divided into files.

use crate::{
    BlobSource, Chunk, FORMAT, Manifest, PAYLOAD_TYPE, Part, Set,
    container::{BLOCK, END, Pack, copy, padded},
    export::open,
    limits, refuse, validate,
};
use bascule_core::{
    Digest, Problem, Result,
    dsse::{Envelope, Sign},
};
use sha2::{Digest as _, Sha256};
use std::{
    collections::BTreeMap,
    io::{self, Write},
};

/// An export that knows its files.
pub struct Plan<'a> {
    set: Set,
    id: Digest,
    documents: BTreeMap<Digest, Vec<u8>>,
    chunks: Vec<Vec<Part>>,
    blobs: &'a dyn BlobSource,
    key: &'a dyn Sign,
}

impl<'a> Plan<'a> {
    /// The same files once more, from what was kept of an export: its set and how [`Plan::division`] divided it.
    /// Documents are read from `blobs` like everything else.
    ///
    /// # Errors
    /// The set breaks a rule of the format, or another key than `key` made it.
    pub fn again(
        set: Set,
        division: Vec<Vec<Part>>,
        blobs: &'a dyn BlobSource,
        key: &'a dyn Sign,
    ) -> Result<Self> {
        validate::set(&set).map_err(|why| refuse::bad_manifest(&why))?;
        if set.source != key.key_id() {
            return Err(Problem::conflict(
                "bundle_other_key",
                format!(
                    "The bundle {} was made with another key than this instance has now.",
                    set.sequence
                ),
            )
            .why("Whoever takes it in believes the key that it names, and no other.")
            .next("Export anew."));
        }
        Ok(Self {
            id: set.id(),
            set,
            documents: BTreeMap::new(),
            chunks: division,
            blobs,
            key,
        })
    }
}

impl Plan<'_> {
    /// Which parts of which blobs are in which file, to be kept for [`Plan::again`].
    #[must_use]
    pub fn division(&self) -> &[Vec<Part>] {
        &self.chunks
    }

    /// How many bytes a file has.
    ///
    /// # Errors
    /// There is no such chunk.
    pub fn size(&self, chunk: u32) -> Result<u64> {
        let manifest = self.manifest(chunk)?;
        let payload = serde_json::to_vec(&manifest).map_err(|error| refuse::disk(&error.into()))?;
        let envelope = Envelope::sign(PAYLOAD_TYPE, &payload, self.key).to_json();
        let parts = manifest.parts.iter().map(|part| BLOCK + padded(part.size));
        Ok(BLOCK + padded(envelope.len() as u64) + END + parts.sum::<u64>())
    }

    /// How many files it takes.
    #[must_use]
    pub fn chunks(&self) -> u32 {
        u32::try_from(self.chunks.len()).unwrap_or(u32::MAX)
    }

    /// The set.
    #[must_use]
    pub fn set(&self) -> &Set {
        &self.set
    }

    /// The set's name, by which a later export builds upon it.
    #[must_use]
    pub fn id(&self) -> &Digest {
        &self.id
    }

    /// A file's name, such as `clinic-000005-incremental-01-of-03.bundle.tar`. Chunks count from 1 on.
    #[must_use]
    pub fn file_name(&self, chunk: u32) -> String {
        let (site, sequence, kind) = (&self.set.site, self.set.sequence, self.set.kind);
        let count = self.chunks();
        let width = count.to_string().len().max(2);
        format!("{site}-{sequence:06}-{kind}-{chunk:0width$}-of-{count:0width$}.bundle.tar")
    }

    /// What a file says.
    ///
    /// # Errors
    /// There is no such chunk.
    pub fn manifest(&self, chunk: u32) -> Result<Manifest> {
        let parts = usize::try_from(chunk)
            .ok()
            .and_then(|chunk| self.chunks.get(chunk.checked_sub(1)?))
            .ok_or_else(|| Problem::not_found("chunk"))?;
        Ok(Manifest {
            format: FORMAT.to_owned(),
            id: self.id.clone(),
            set: self.set.clone(),
            chunk: Chunk {
                index: chunk,
                count: self.chunks(),
            },
            parts: parts.clone(),
        })
    }

    /// Writes a file and gives its size.
    ///
    /// # Errors
    /// There is no such chunk, the file cannot be written, or a blob is not what its digest says; what was
    /// written is no bundle then.
    pub fn write(&self, chunk: u32, to: &mut dyn Write) -> Result<u64> {
        let manifest = self.manifest(chunk)?;
        let payload = serde_json::to_vec(&manifest).map_err(|error| refuse::disk(&error.into()))?;
        let envelope = Envelope::sign(PAYLOAD_TYPE, &payload, self.key).to_json();
        let mut size = BLOCK + padded(envelope.len() as u64) + END;
        let mut pack = Pack::new(to);
        pack.envelope(&envelope).map_err(|error| refuse::disk(&error))?;
        for part in &manifest.parts {
            let range = part.offset..part.offset + part.size;
            let mut from = open(&self.documents, self.blobs, &part.blob, range)
                .map_err(|error| not_there(&part.blob, &error))?;
            let digest = pack
                .part(part, from.as_mut())
                .map_err(|error| refuse::disk(&error))?;
            if digest.as_ref() != Some(&part.digest) {
                return Err(altered(&part.blob));
            }
            size += BLOCK + padded(part.size);
        }
        pack.end().map_err(|error| refuse::disk(&error))?;
        Ok(size)
    }
}

fn not_there(digest: &Digest, error: &io::Error) -> Problem {
    Problem::new(
        500,
        "bundle_blob_missing",
        format!("The blob {digest} cannot be read: {error}."),
    )
    .why("A bundle that lacks what it names could never be applied.")
    .next("Look at the blob store; a backup may still have it.")
}

fn altered(digest: &Digest) -> Problem {
    Problem::new(
        500,
        "bundle_blob_altered",
        format!("The blob {digest} is not what its digest says."),
    )
    .why("It was changed or cut where it is stored. It is not carried anywhere.")
    .next("Find out who can write to the blob store, and take the blob from a backup.")
}

/// Fills files one after the other. A blob that fits in a file is never split.
struct Divider<'a> {
    limit: u64,
    /// Bytes of a manifest's JSON without any part.
    bare: u64,
    /// Bytes of an envelope without a payload.
    shell: u64,
    json: u64,
    archive: u64,
    chunks: Vec<Vec<Part>>,
    documents: &'a BTreeMap<Digest, Vec<u8>>,
    blobs: &'a dyn BlobSource,
}

pub(crate) fn divide<'a>(
    set: Set,
    documents: BTreeMap<Digest, Vec<u8>>,
    limit: u64,
    blobs: &'a dyn BlobSource,
    key: &'a dyn Sign,
) -> Result<Plan<'a>> {
    let id = set.id();
    // Every later manifest is this one with other numbers, none longer, and with parts.
    let largest = Manifest {
        format: FORMAT.to_owned(),
        id: id.clone(),
        set: set.clone(),
        chunk: Chunk {
            index: limits::CHUNKS,
            count: limits::CHUNKS,
        },
        parts: Vec::new(),
    };
    let mut divider = Divider {
        limit,
        bare: json_size(&largest),
        shell: Envelope::sign(PAYLOAD_TYPE, b"", key).to_json().len() as u64,
        json: 0,
        archive: 0,
        chunks: vec![Vec::new()],
        documents: &documents,
        blobs,
    };
    divider.json = divider.bare;
    divider.fits()?;
    for (digest, size) in set.carried() {
        divider.add(digest, size)?;
    }
    let chunks = divider.chunks;
    Ok(Plan {
        set,
        id,
        documents,
        chunks,
        blobs,
        key,
    })
}

fn json_size(value: &impl serde::Serialize) -> u64 {
    serde_json::to_vec(value).map_or(u64::MAX / 4, |json| json.len() as u64)
}

impl Divider<'_> {
    /// The file's size with `json` bytes of manifest and `archive` bytes of entries.
    fn size(&self, json: u64, archive: u64) -> u64 {
        let envelope = json.div_ceil(3).saturating_mul(4).saturating_add(self.shell);
        (BLOCK + END)
            .saturating_add(padded(envelope))
            .saturating_add(archive)
    }

    /// Refuses a set whose list alone is too long.
    fn fits(&self) -> Result<()> {
        let envelope = self.bare.div_ceil(3).saturating_mul(4).saturating_add(self.shell);
        // Half of what is read, so that the parts have their place too.
        if envelope > limits::MANIFEST_BYTES / 2 {
            return Err(refuse::too_large(envelope));
        }
        let least = self.size(self.bare + PART_JSON, 2 * BLOCK);
        if self.limit < least {
            return Err(self.too_small(least));
        }
        Ok(())
    }

    fn too_small(&self, least: u64) -> Problem {
        Problem::invalid(
            "bundle_chunk_too_small",
            format!("Chunks of {} bytes are too small for this export.", self.limit),
        )
        .why("Each chunk can be checked alone, so each carries the list of the whole set.")
        .next(format!(
            "Choose at least {least} bytes, or export less at once with `--since`."
        ))
    }

    fn next_chunk(&mut self) -> Result<()> {
        if self.chunks.len() >= limits::CHUNKS as usize {
            return Err(self.too_small(self.limit.saturating_mul(2)));
        }
        self.chunks.push(Vec::new());
        (self.json, self.archive) = (self.bare, 0);
        Ok(())
    }

    fn is_empty(&self) -> bool {
        self.chunks.last().is_none_or(Vec::is_empty)
    }

    fn put(&mut self, part: Part) {
        self.json += PART_JSON;
        self.archive += BLOCK + padded(part.size);
        if let Some(chunk) = self.chunks.last_mut() {
            chunk.push(part);
        }
    }

    /// How many bytes a part may have here, beside what is here already.
    fn room(&self, json: u64, archive: u64) -> u64 {
        let taken = self.size(json + PART_JSON, archive + BLOCK);
        let manifest_full = (json + PART_JSON).div_ceil(3) * 4 + self.shell > limits::MANIFEST_BYTES;
        if manifest_full {
            return 0;
        }
        (self.limit.saturating_sub(taken) / BLOCK * BLOCK).min(limits::PART_BYTES)
    }

    fn add(&mut self, digest: &Digest, size: u64) -> Result<()> {
        let whole = |digest: &Digest| Part {
            blob: digest.clone(),
            offset: 0,
            size,
            digest: digest.clone(),
        };
        if size <= self.room(self.json, self.archive) && self.has_room() {
            self.put(whole(digest));
            return Ok(());
        }
        if size <= self.room(self.bare, 0) {
            self.next_chunk()?;
            self.put(whole(digest));
            return Ok(());
        }
        self.split(digest, size)
    }

    /// Whether an entry of no bytes would still fit.
    fn has_room(&self) -> bool {
        self.size(self.json + PART_JSON, self.archive + BLOCK) <= self.limit
    }

    fn split(&mut self, digest: &Digest, size: u64) -> Result<()> {
        let mut hasher = Sha256::new();
        let mut offset = 0;
        while offset < size {
            let mut room = self.room(self.json, self.archive).min(size - offset);
            if room == 0 {
                if self.is_empty() {
                    return Err(self.too_small(self.size(self.bare + PART_JSON, 2 * BLOCK)));
                }
                self.next_chunk()?;
                room = self.room(self.json, self.archive).min(size - offset);
            }
            let mut part = Sha256::new();
            let mut from = open(self.documents, self.blobs, digest, offset..offset + room)
                .map_err(|error| not_there(digest, &error))?;
            let read = copy(from.as_mut(), |bytes| {
                hasher.update(bytes);
                part.update(bytes);
                Ok(())
            })
            .map_err(|error| not_there(digest, &error))?;
            if read != room {
                return Err(altered(digest));
            }
            drop(from);
            self.put(Part {
                blob: digest.clone(),
                offset,
                size: room,
                digest: Digest::from_hash(&part.finalize()),
            });
            offset += room;
        }
        if Digest::from_hash(&hasher.finalize()) == *digest {
            Ok(())
        } else {
            Err(altered(digest))
        }
    }
}

/// Most bytes that a part takes in the manifest: two digests and two numbers of at most 20 digits.
const PART_JSON: u64 = 2 * 73 + 2 * 20 + 48;
