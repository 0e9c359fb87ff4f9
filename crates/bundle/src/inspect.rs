//! Looking into a bundle without importing it.

use crate::{
    Base, Chunk, Entry, EntryKind, Kind, Manifest, PAYLOAD_TYPE, Set, Trust, container::Unpack, refuse,
    validate,
};
use bascule_core::{Digest, Name, Result, Timestamp, dsse::Envelope};
use serde::Serialize;
use std::{
    fmt,
    io::{self, Cursor, Read},
};

/// Whose signature a bundle has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Signature {
    /// A trusted key's, and it holds.
    Trusted {
        /// The key.
        key_id: String,
    },
    /// Of a key that is not trusted. Whether it holds is unknown, and so is whether anything else is true.
    Untrusted {
        /// The key that it names.
        key_id: String,
    },
}

/// What a bundle says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Whose signature it has.
    pub signature: Signature,
    /// The set's name.
    pub id: Digest,
    /// What it is for.
    pub kind: Kind,
    /// The site.
    pub site: Name,
    /// Its sequence number.
    pub sequence: u64,
    /// What it builds upon.
    pub base: Option<Base>,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it is stale.
    pub expires_at: Timestamp,
    /// Whether it is stale now.
    pub stale: bool,
    /// Which chunk the file is.
    pub chunk: Chunk,
    /// Bytes of blobs in this file.
    pub bytes: u64,
    /// Bytes of all entries of the set.
    pub set_bytes: u64,
    /// Blobs that are named and not carried.
    pub held: usize,
    /// Whether the whole file was read and is what its manifest says.
    pub verified: bool,
    /// Everything in the set.
    pub entries: Vec<Entry>,
}

/// Reads a bundle's manifest. One that is signed by an unknown key is shown, and said to be so.
///
/// # Errors
/// It is no bundle, has a format that is not understood, or the signature of a trusted key does not hold.
pub fn inspect(file: impl Read, trust: &Trust, now: Timestamp) -> Result<Summary> {
    let (manifest, signature) = manifest(&mut Unpack::new(file), trust)?;
    Ok(Summary::new(manifest, signature, now))
}

/// Reads all of a bundle and checks every byte of it, writing nothing.
///
/// # Errors
/// It is no bundle, it is signed by a key that is not trusted, or it is not what was signed.
pub fn verify(file: impl Read, trust: &Trust, now: Timestamp) -> Result<Summary> {
    let mut archive = Unpack::new(file);
    let manifest = trust.open(&archive.envelope()?)?;
    for part in &manifest.parts {
        archive.part(part, &mut |_| Ok(()))?;
    }
    archive.end()?;
    let signature = Signature::Trusted {
        key_id: manifest.set.source.clone(),
    };
    Ok(Summary {
        verified: true,
        ..Summary::new(manifest, signature, now)
    })
}

/// What a file says of itself, and the file as if it had not been read yet. Nothing of it is proven: it tells where
/// the file belongs, and no more. Where it makes no sense, `trust` tells what was altered from what a key has signed.
///
/// # Errors
/// It is no bundle, was altered, or has a format that is not understood.
pub fn peek<R: Read>(file: R, trust: &Trust, now: Timestamp) -> Result<(Summary, impl Read + use<R>)> {
    let mut tee = Tee {
        file,
        taken: Vec::new(),
    };
    let bytes = Unpack::new(&mut tee).envelope()?;
    let (manifest, signature) = unproven(&envelope(&bytes)?).map_err(|problem| match trust.open(&bytes) {
        Err(proven) => proven,
        Ok(_) => problem,
    })?;
    let summary = Summary::new(manifest, signature, now);
    Ok((summary, Cursor::new(tee.taken).chain(tee.file)))
}

/// Keeps what was read; the manifest's own limit bounds it.
struct Tee<R> {
    file: R,
    taken: Vec<u8>,
}

impl<R: Read> Read for Tee<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.taken
            .extend_from_slice(buffer.get(..count).unwrap_or_default());
        Ok(count)
    }
}

fn manifest<R: Read>(archive: &mut Unpack<R>, trust: &Trust) -> Result<(Manifest, Signature)> {
    let bytes = archive.envelope()?;
    let envelope = envelope(&bytes)?;
    let key_id = key_of(&envelope);
    if trust.key(&key_id).is_some() {
        return Ok((trust.open(&bytes)?, Signature::Trusted { key_id }));
    }
    unproven(&envelope).map_err(|problem| {
        if problem.code == refuse::BAD_MANIFEST {
            refuse::unproven_manifest(problem)
        } else {
            problem
        }
    })
}

fn envelope(bytes: &[u8]) -> Result<Envelope> {
    Envelope::from_json(bytes).map_err(|error| refuse::not_a_bundle(&error))
}

fn key_of(envelope: &Envelope) -> String {
    let first = envelope.signatures.first();
    first.map(|signature| signature.keyid.clone()).unwrap_or_default()
}

/// What a manifest says, whoever signed it.
fn unproven(envelope: &Envelope) -> Result<(Manifest, Signature)> {
    if envelope.payload_type != PAYLOAD_TYPE {
        return Err(refuse::not_a_bundle(&format!(
            "it holds `{}`",
            refuse::short(&envelope.payload_type)
        )));
    }
    let payload = envelope
        .unverified()
        .ok_or_else(|| refuse::not_a_bundle("its manifest is not base64"))?;
    let key_id = key_of(envelope);
    Ok((validate::parse(&payload)?, Signature::Untrusted { key_id }))
}

impl Summary {
    fn new(manifest: Manifest, signature: Signature, now: Timestamp) -> Self {
        let Manifest {
            id,
            set,
            chunk,
            parts,
            ..
        } = manifest;
        let stale = set.is_stale(now);
        let Set {
            kind,
            site,
            sequence,
            base,
            created_at,
            expires_at,
            entries,
            held,
            ..
        } = set;
        let sum = |sizes: &mut dyn Iterator<Item = u64>| sizes.fold(0_u64, u64::saturating_add);
        Self {
            signature,
            id,
            kind,
            site,
            sequence,
            base,
            created_at,
            expires_at,
            stale,
            chunk,
            bytes: sum(&mut parts.iter().map(|part| part.size)),
            set_bytes: sum(&mut entries.iter().map(|entry| entry.size)),
            held: held.len(),
            verified: false,
            entries,
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let base = self
            .base
            .as_ref()
            .map(|base| format!(", builds upon {}", base.sequence))
            .unwrap_or_default();
        writeln!(
            f,
            "{} {} of the site {}{base}",
            self.kind, self.sequence, self.site
        )?;
        writeln!(f, "id         {}", self.id)?;
        writeln!(
            f,
            "chunk      {} of {}, {} bytes in this file",
            self.chunk.index, self.chunk.count, self.bytes
        )?;
        writeln!(f, "made       {}", self.created_at)?;
        let stale = if self.stale { "  STALE" } else { "" };
        writeln!(f, "use before {}{stale}", self.expires_at)?;
        match &self.signature {
            Signature::Trusted { key_id } => writeln!(f, "signature  good, by the trusted key {key_id}")?,
            Signature::Untrusted { key_id } => writeln!(
                f,
                "signature  NOT CHECKED: it names the key {}, which is not trusted; nothing here is proven",
                refuse::short(key_id)
            )?,
        }
        if self.verified {
            writeln!(f, "content    every byte is what was signed")?;
        }
        for kind in EntryKind::ALL {
            let of_kind: Vec<&Entry> = self.entries.iter().filter(|entry| entry.kind == kind).collect();
            for entry in &of_kind {
                let commit = entry
                    .commit
                    .as_ref()
                    .map(|commit| format!("  at {commit}"))
                    .unwrap_or_default();
                writeln!(
                    f,
                    "{:<17}  {}  {} bytes  {}{commit}",
                    kind.as_str(),
                    entry.digest.short(),
                    entry.size,
                    entry.name
                )?;
            }
        }
        write!(
            f,
            "{} entries, {} bytes in all, {} blobs left out because the target has them",
            self.entries.len(),
            self.set_bytes,
            self.held
        )
    }
}
