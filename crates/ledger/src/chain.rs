//! The hash chain. Each field is preceded by its length, so no two different entries hash alike by moving
//! bytes from one field to the next.

use crate::Entry;
use sha2::{Digest as _, Sha256};

/// The hash of an entry that follows one with the hash `previous` (empty for the first).
pub(crate) fn hash(previous: &str, entry: &Entry) -> String {
    let mut hasher = Sha256::new();
    let mut field = |bytes: &[u8]| {
        hasher.update((bytes.len() as u64).to_be_bytes());
        hasher.update(bytes);
    };
    field(previous.as_bytes());
    field(&entry.seq.to_be_bytes());
    field(entry.id.to_string().as_bytes());
    field(&entry.at.micros().to_be_bytes());
    field(entry.actor.kind.as_str().as_bytes());
    field(entry.actor.id.as_bytes());
    field(entry.actor.name.as_bytes());
    field(entry.kind.as_bytes());
    field(
        entry
            .project
            .map(|p| p.to_string())
            .unwrap_or_default()
            .as_bytes(),
    );
    field(entry.subject.as_bytes());
    field(entry.summary.as_bytes());
    field(entry.body.as_bytes());
    hex::encode(hasher.finalize())
}

/// What a checkpoint's signature covers.
pub(crate) fn checkpoint_message(seq: i64, hash: &str, at_micros: i64) -> Vec<u8> {
    format!("bascule ledger checkpoint\nseq {seq}\nhash {hash}\nat {at_micros}\n").into_bytes()
}
