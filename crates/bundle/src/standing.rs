//! What a set that is being gathered waits for.

use crate::Kind;
use bascule_core::{Digest, Timestamp};
use serde::Serialize;
use std::fmt;

/// A set in the staging area.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SetStatus {
    /// Its sequence number.
    pub sequence: u64,
    /// Its name.
    pub id: Digest,
    /// What it is for.
    pub kind: Kind,
    /// When it was made.
    pub created_at: Timestamp,
    /// The chunks that are here, of the division that lacks least.
    pub here: Vec<u32>,
    /// The chunks that are missing of it.
    pub missing: Vec<u32>,
    /// What it waits for.
    pub standing: Standing,
}

/// What a set waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Standing {
    /// For nothing.
    Ready,
    /// For chunks that were not imported yet.
    WaitsForChunks {
        /// Which ones.
        missing: Vec<u32>,
    },
    /// For the set that it builds upon.
    WaitsForBase {
        /// Its own sequence number.
        sequence: u64,
        /// The base's.
        base: u64,
    },
    /// For blobs that the exporter left out and that are not here.
    WaitsForBlobs {
        /// How many.
        count: usize,
        /// The first of them.
        first: Digest,
    },
    /// For nothing any more: it is stale.
    Stale {
        /// Since when.
        since: Timestamp,
    },
    /// For nothing any more: a checkpoint that is ready takes its place.
    Superseded {
        /// The checkpoint.
        by: u64,
    },
    /// For nothing any more: another set than its base was applied.
    OtherBase {
        /// The base's sequence number.
        base: u64,
    },
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready => f.write_str("ready to be applied"),
            Self::WaitsForChunks { missing } => {
                let shown: Vec<String> = missing.iter().take(10).map(u32::to_string).collect();
                write!(f, "waits for chunk {}", shown.join(", "))?;
                match missing.len().saturating_sub(shown.len()) {
                    0 => Ok(()),
                    more => write!(f, " and {more} more"),
                }
            }
            Self::WaitsForBase { sequence, base } => write!(f, "sequence {sequence} waits for {base}"),
            Self::WaitsForBlobs { count, first } => write!(
                f,
                "lacks {count} blobs that the hub believed to be here, the first is {}: send a new report with the inventory, or ask for a snapshot",
                first.short()
            ),
            Self::Stale { since } => write!(f, "stale since {since}: ask for a new one"),
            Self::Superseded { by } => write!(f, "superseded by the checkpoint {by}"),
            Self::OtherBase { base } => write!(
                f,
                "builds upon another {base} than was applied here: ask for a checkpoint"
            ),
        }
    }
}
