//! Releases, as the JSON API tells of them and the command line reads them.

use bascule_core::{Digest, PipelineId, ReleaseId, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A release in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReleaseSummary {
    /// The release.
    pub id: ReleaseId,
    /// The tag.
    pub tag: String,
    /// The version: the tag without a leading `v`.
    pub version: String,
    /// Its name, for people.
    pub name: String,
    /// The commit.
    pub sha: String,
    /// The pipeline that made it; none of a release that another instance made.
    pub pipeline: Option<PipelineId>,
    /// The key of the instance that made it, if that is another one.
    #[serde(default)]
    pub origin: Option<String>,
    /// Components in its SBOM.
    pub components: i64,
    /// Commits since the release before it.
    pub commit_count: i64,
    /// When it was published.
    pub at: Timestamp,
}

/// One release, complete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReleaseDetails {
    /// What the list says of it.
    #[serde(flatten)]
    pub summary: ReleaseSummary,
    /// `group/project`.
    pub project: String,
    /// Its description, Markdown.
    pub description: String,
    /// The release before it, by version.
    pub previous: Option<String>,
    /// Digest of the signed manifest that lists every part.
    pub manifest: Digest,
    /// Size of the signed manifest, in bytes.
    pub manifest_size: u64,
    /// The key that signed it.
    pub key_id: String,
    /// The lockfiles that the SBOM was read from.
    pub lockfiles: Vec<String>,
    /// What a reader should know, such as files that were left out.
    pub notes: Vec<String>,
    /// Everything it consists of.
    pub parts: Vec<ReleasePart>,
}

/// One part of a release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReleasePart {
    /// Its name: where it belongs below `parts/` in a downloaded release.
    pub name: String,
    /// `archive`, `file`, `sbom`, `provenance`.
    pub kind: String,
    /// Its media type.
    pub media_type: String,
    /// Its digest, by which it is downloaded.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// The job it came from.
    pub job: Option<String>,
    /// Its path in the job's archive, for a file.
    pub path: Option<String>,
}

/// Some releases, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReleasePage {
    /// The releases.
    pub items: Vec<ReleaseSummary>,
    /// Give this as `before` to go on; absent at the end.
    pub next: Option<ReleaseId>,
}

/// One component of a release.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReleaseComponent {
    /// Its package URL.
    pub purl: String,
    /// `cargo`, `npm`, `pypi`, `golang`.
    pub ecosystem: String,
    /// Its name, with its group.
    pub name: String,
    /// Its version, if the lockfile pins one.
    pub version: Option<String>,
    /// `required`, `optional`, `excluded` (development only).
    pub scope: String,
    /// Whether it is part of the project itself.
    pub local: bool,
}

/// Some components, ordered by package URL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ComponentPage {
    /// The components.
    pub items: Vec<ReleaseComponent>,
    /// How many match in all.
    pub total: i64,
    /// Give this as `after` to go on; absent at the end.
    pub next: Option<String>,
}

/// The keys by which an instance's signatures are checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InstanceKeys {
    /// The keys: this instance's own first, then those of instances whose releases came here in bundles.
    pub keys: Vec<InstanceKeyInfo>,
}

/// One public key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InstanceKeyInfo {
    /// Its name, as signatures give it.
    pub id: String,
    /// Always `ed25519`.
    pub algorithm: String,
    /// The key in PEM.
    pub pem: String,
}
