//! Bundles: signed single files that carry releases, advisories, recalls and desired state to a site without
//! a network, and the site's reports back. This is the format and its rules; it knows no database.
//!
//! A bundle is an uncompressed tar archive. Its first entry, `bundle.json`, is a signed envelope over the
//! [`Manifest`]; the others are blobs, or parts of blobs, by their digest. A set that is larger than the
//! medium is split over several files (chunks), each a bundle of its own.
//!
//! ```no_run
//! # use bascule_bundle::*; use bascule_core::*; use std::sync::Arc;
//! # fn hub(key: &dyn dsse::Sign, blobs: &dyn BlobSource, site: Name, app: Digest, now: Timestamp, later: Timestamp) -> Result<()> {
//! // On the hub: say what travels, then write each chunk.
//! let mut export = Export::new(Kind::Snapshot, site, 1, now, later);
//! export.document(EntryKind::Release, "clinic/portal@1.0.0", b"{}".to_vec())?;
//! export.blob(EntryKind::Artifact, "clinic/portal@1.0.0/app", app, 4096)?;
//! let plan = export.plan(Some(650 * 1024 * 1024), blobs, key)?;
//! for chunk in 1..=plan.chunks() {
//!     plan.write(chunk, &mut std::fs::File::create(plan.file_name(chunk)).map_err(|_| Problem::internal())?)?;
//! }
//! # Ok(()) }
//! # fn site(dir: &std::path::Path, site: Name, hub: Arc<dyn dsse::Verify>, file: std::fs::File, now: Timestamp) -> Result<()> {
//! // On the site: take the chunks in any order, then apply what is ready.
//! let lane = Lane::new(site, Direction::ToSite, Trust::new([hub]), |_digest| false);
//! let mut importer = Importer::open(dir, lane)?;
//! let progress = importer.accept(file, now)?;
//! assert_eq!(progress.standing.to_string(), "ready to be applied");
//! while let Some(ready) = importer.ready(now)? {
//!     for entry in ready.entries(EntryKind::Release) {
//!         let document = ready.read(&entry.digest, 1024 * 1024)?;
//!         // … store it, in one transaction with the sequence number …
//! #       drop(document);
//!     }
//!     importer.applied(ready)?;
//! }
//! # Ok(()) }
//! ```

mod container;
mod disk;
mod export;
mod import;
mod inspect;
mod inventory;
mod manifest;
mod plan;
mod ready;
mod refuse;
mod staging;
mod standing;
mod trust;
mod validate;

#[cfg(test)]
mod tests;

pub use export::{BlobSource, Export, FolderBlobs, MemoryBlobs};
pub use import::{Importer, Lane, Progress};
pub use inspect::{Signature, Summary, inspect, peek, verify};
pub use inventory::Inventory;
pub use manifest::{
    Base, Chunk, Direction, Entry, EntryKind, FORMAT, Kind, MANIFEST_FILE, Manifest, PAYLOAD_TYPE, Part, Set,
};
pub use plan::Plan;
pub use ready::{Ready, VerifiedBlob};
pub use staging::Applied;
pub use standing::{SetStatus, Standing};
pub use trust::Trust;

/// Limits on what a bundle may claim, named in one place so that a refusal can quote them.
pub mod limits {
    /// Largest signed manifest, in bytes as it stands in the file.
    pub const MANIFEST_BYTES: u64 = 64 * 1024 * 1024;
    /// Largest part of a blob in one archive entry, in bytes; the archive's size field ends above it.
    pub const PART_BYTES: u64 = 4 * 1024 * 1024 * 1024;
    /// Most chunks of one set.
    pub const CHUNKS: u32 = 10_000;
    /// Largest inventory that is read, in bytes.
    pub const INVENTORY_BYTES: u64 = 64 * 1024 * 1024;
    /// How many applied sequence numbers a site remembers, to check what an incremental builds upon.
    pub const HISTORY: usize = 1_000;
}
