//! A release as a folder that can be carried anywhere and checked there, without a network.
//!
//! ```text
//! DIR/
//!   manifest.dsse.json      the signed list of all parts: [`MANIFEST_FILE`]
//!   key.pem                 the instance's public key, for convenience: [`KEY_FILE`]
//!   parts/                  every part under its name: [`PARTS_FOLDER`]
//!     sbom.cdx.json
//!     sbom.spdx.json
//!     provenance.dsse.json
//!     archives/<job>/<file name>
//!     files/<job>/<path in the archive>
//! ```
//!
//! The key in the folder proves only that the folder is whole. Who made it is proven by a key that came
//! another way: `bascule release verify DIR --key FILE`.

mod source;
mod verify;

pub use bascule_core::is_safe_path;
pub use source::{Folder, Memory, PartSource};
pub use verify::{Check, Report, verify, verify_folder};

use crate::attestation::dsse::Envelope;
use bascule_core::{Digest, Timestamp};
use bascule_ledger::InstanceKey;
use serde::{Deserialize, Serialize};

/// The file with the signed manifest.
pub const MANIFEST_FILE: &str = "manifest.dsse.json";
/// The file with the public key.
pub const KEY_FILE: &str = "key.pem";
/// The folder with the parts.
pub const PARTS_FOLDER: &str = "parts";
/// The payload type of a manifest in its envelope.
pub const PAYLOAD_TYPE: &str = "application/vnd.bascule.release+json";
/// The media type of the signed manifest.
pub const MEDIA_TYPE: &str = "application/vnd.bascule.release+dsse";
/// The format that this code writes and reads.
pub const FORMAT: &str = "bascule-release/1";
/// The name of the CycloneDX part.
pub const CYCLONEDX_PART: &str = "sbom.cdx.json";
/// The name of the SPDX part.
pub const SPDX_PART: &str = "sbom.spdx.json";
/// The name of the provenance part.
pub const PROVENANCE_PART: &str = "provenance.dsse.json";

/// What a part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PartKind {
    /// A job's artifact archive, as the job made it.
    Archive,
    /// One file out of such an archive.
    File,
    /// A software bill of materials.
    Sbom,
    /// The provenance of the archives and files.
    Provenance,
}

impl PartKind {
    /// As stored.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Archive => "archive",
            Self::File => "file",
            Self::Sbom => "sbom",
            Self::Provenance => "provenance",
        }
    }

    /// Reads a stored kind.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Archive, Self::File, Self::Sbom, Self::Provenance]
            .into_iter()
            .find(|kind| kind.as_str() == text)
    }

    /// Whether the provenance must vouch for it.
    #[must_use]
    pub const fn is_artifact(self) -> bool {
        matches!(self, Self::Archive | Self::File)
    }
}

/// The list of all that a release consists of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Always [`FORMAT`].
    pub format: String,
    /// `group/project`.
    pub project: String,
    /// The tag.
    pub tag: String,
    /// The version.
    pub version: String,
    /// The commit.
    pub commit: String,
    /// When it was published.
    pub created: Timestamp,
    /// All parts, ordered by name.
    pub parts: Vec<Part>,
}

/// One part of a release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Its name, a relative path below the parts folder.
    pub name: String,
    /// What it is.
    pub kind: PartKind,
    /// Its media type.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// The job it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// Its path in the job's archive, for a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

impl Manifest {
    /// Signs the manifest.
    #[must_use]
    pub fn sign(&self, key: &InstanceKey) -> Envelope {
        // The types hold nothing that JSON cannot; an empty payload would fail verification at once.
        Envelope::sign(PAYLOAD_TYPE, &serde_json::to_vec(self).unwrap_or_default(), key)
    }

    /// The part of that name.
    #[must_use]
    pub fn part(&self, name: &str) -> Option<&Part> {
        self.parts.iter().find(|part| part.name == name)
    }
}
