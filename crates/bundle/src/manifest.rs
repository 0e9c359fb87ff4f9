//! What a bundle says of itself. Everything here is signed, and every type refuses fields that it does not
//! know: what has no place in these types cannot travel.

use bascule_core::{Digest, Name, Timestamp};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The format that this code writes and reads: the manifest's `_type`.
pub const FORMAT: &str = "bascule.bundle/v1";
/// The payload type of a manifest in its envelope.
pub const PAYLOAD_TYPE: &str = "application/vnd.bascule.bundle+json";
/// The archive's first entry: the signed manifest.
pub const MANIFEST_FILE: &str = "bundle.json";

/// What one file says: what the set is, and which of its bytes are in this file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Always [`FORMAT`].
    #[serde(rename = "_type")]
    pub format: String,
    /// Names the set: the digest of `set`, as JSON. All chunks of a set carry the same.
    pub id: Digest,
    /// The set.
    pub set: Set,
    /// Which chunk this file is.
    pub chunk: Chunk,
    /// The archive's other entries, in their order.
    pub parts: Vec<Part>,
}

/// All that is carried at once, in one file or several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Set {
    /// What it is for.
    pub kind: Kind,
    /// The key of the instance that made it.
    pub source: String,
    /// The site that it is for; of a report, the site that reports.
    pub site: Name,
    /// Counts the sets of one source for one site, each direction by itself, from 1 on.
    pub sequence: u64,
    /// The set that must have been applied before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Base>,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it is stale.
    pub expires_at: Timestamp,
    /// Everything in it, ordered by kind and name.
    pub entries: Vec<Entry>,
    /// Blobs that entries name and no chunk carries: the target has them. Ordered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held: Vec<Digest>,
}

/// A set that another one builds upon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Base {
    /// Its sequence number.
    pub sequence: u64,
    /// Its name.
    pub id: Digest,
}

/// A chunk's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chunk {
    /// Which one, from 1 on.
    pub index: u32,
    /// Of how many.
    pub count: u32,
}

/// What a set is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Everything for the site.
    Snapshot,
    /// What changed since the base.
    Incremental,
    /// Everything for the site; all sets before it may be forgotten and are refused from then on.
    Checkpoint,
    /// What the site has to tell.
    Report,
}

/// Which way a set travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// From a hub to a site.
    ToSite,
    /// From a site to its hub.
    FromSite,
}

/// One thing that a set carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// What it is.
    pub kind: EntryKind,
    /// Its name, a plain relative path, such as `clinic/portal@1.2.0/files/build/app`.
    pub name: String,
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// The git commit that it comes from, for [`EntryKind::DesiredState`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
}

/// Everything that may travel. The list is closed: there is no kind for people, groups, permissions, tokens,
/// keys, sessions or settings, so they cannot be put in and are refused when met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// A release's document.
    Release,
    /// A release's signed manifest.
    ReleaseManifest,
    /// An archive or file of a release.
    Artifact,
    /// A software bill of materials.
    Sbom,
    /// A provenance statement.
    Provenance,
    /// A security advisory.
    Advisory,
    /// A recall of a range of releases.
    Recall,
    /// A file of the site's declaration, at a git commit.
    DesiredState,
    /// What runs at the site.
    ObservedState,
    /// The digests of the blobs that the site has: [`crate::Inventory`].
    Inventory,
}

/// The bytes of a blob, or a part of them, as one entry of the archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// The whole blob's digest.
    pub blob: Digest,
    /// Where in the blob the part begins.
    pub offset: u64,
    /// Its size in bytes.
    pub size: u64,
    /// The part's own digest; of a whole blob, the blob's.
    pub digest: Digest,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Snapshot, Self::Incremental, Self::Checkpoint, Self::Report];

    /// As written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Snapshot => "snapshot",
            Self::Incremental => "incremental",
            Self::Checkpoint => "checkpoint",
            Self::Report => "report",
        }
    }

    /// Which way it travels.
    #[must_use]
    pub const fn direction(self) -> Direction {
        match self {
            Self::Snapshot | Self::Incremental | Self::Checkpoint => Direction::ToSite,
            Self::Report => Direction::FromSite,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl EntryKind {
    /// All kinds.
    pub const ALL: [Self; 10] = [
        Self::Release,
        Self::ReleaseManifest,
        Self::Artifact,
        Self::Sbom,
        Self::Provenance,
        Self::Advisory,
        Self::Recall,
        Self::DesiredState,
        Self::ObservedState,
        Self::Inventory,
    ];

    /// As written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::ReleaseManifest => "release_manifest",
            Self::Artifact => "artifact",
            Self::Sbom => "sbom",
            Self::Provenance => "provenance",
            Self::Advisory => "advisory",
            Self::Recall => "recall",
            Self::DesiredState => "desired_state",
            Self::ObservedState => "observed_state",
            Self::Inventory => "inventory",
        }
    }

    /// Which way it travels.
    #[must_use]
    pub const fn direction(self) -> Direction {
        match self {
            Self::Release
            | Self::ReleaseManifest
            | Self::Artifact
            | Self::Sbom
            | Self::Provenance
            | Self::Advisory
            | Self::Recall
            | Self::DesiredState => Direction::ToSite,
            Self::ObservedState | Self::Inventory => Direction::FromSite,
        }
    }
}

impl fmt::Display for EntryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Set {
    /// The set's name: the digest of its JSON.
    #[must_use]
    pub fn id(&self) -> Digest {
        // The types hold nothing that JSON cannot; an empty text would fail verification at once.
        Digest::of(&serde_json::to_vec(self).unwrap_or_default())
    }

    /// Digest and size of each blob that the chunks carry, once each, in the order of the entries.
    #[must_use]
    pub fn carried(&self) -> Vec<(&Digest, u64)> {
        let mut seen = std::collections::HashSet::new();
        self.entries
            .iter()
            .filter(|entry| self.held.binary_search(&entry.digest).is_err())
            .filter(|entry| seen.insert(&entry.digest))
            .map(|entry| (&entry.digest, entry.size))
            .collect()
    }

    /// Whether it is stale at `now`.
    #[must_use]
    pub fn is_stale(&self, now: Timestamp) -> bool {
        now >= self.expires_at
    }
}

impl Part {
    /// Whether it is the whole blob.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.digest == self.blob
    }

    /// Its name in the archive. Parts of one blob sort by where they begin, so `cat` joins them.
    #[must_use]
    pub fn file_name(&self) -> String {
        if self.is_whole() {
            format!("blobs/sha256/{}", self.blob.hex())
        } else {
            format!("blobs/sha256/{}.{:020}", self.blob.hex(), self.offset)
        }
    }
}
