//! Facts about releases and their evidence.

use super::fact;
use super::forge::CommitStamp;
use bascule_core::{Digest, PipelineId, ProjectId, ReleaseId, Timestamp};
use serde::{Deserialize, Serialize};

/// A release exists, complete with its evidence, and will never change.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReleasePublished {
    /// The project.
    pub project: ProjectId,
    /// The release.
    pub release: ReleaseId,
    /// The tag.
    pub tag: String,
    /// The version: the tag without a leading `v`.
    pub version: String,
    /// The commit.
    pub sha: String,
    /// The pipeline that made it.
    pub pipeline: PipelineId,
    /// Digest of the manifest that lists every part with its digest.
    pub manifest: Digest,
    /// Components in the SBOM.
    pub components: i64,
    /// The release before it, by version.
    pub previous: Option<String>,
    /// Commits since the release before it (all, if it is the first), newest first, at most 500.
    pub commits: Vec<CommitStamp>,
    /// How many commits in all.
    pub commit_count: i64,
    /// When it was published.
    pub at: Timestamp,
}
fact!(
    ReleasePublished,
    "release.published",
    |f| Some(f.project),
    |f| format!("release:{}", f.release),
    |f| format!(
        "published release {} with {} components in its SBOM",
        f.version, f.components
    )
);

/// A release of another instance came with a bundle and was found to be what its signer signed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReleaseImported {
    /// The project.
    pub project: ProjectId,
    /// The release, by the name that it has where it was made.
    pub release: ReleaseId,
    /// The tag.
    pub tag: String,
    /// The version: the tag without a leading `v`.
    pub version: String,
    /// The commit.
    pub sha: String,
    /// Digest of the manifest that lists every part with its digest.
    pub manifest: Digest,
    /// The key that signed the manifest.
    pub origin: String,
    /// Components in the SBOM.
    pub components: i64,
    /// When it was published where it was made.
    pub at: Timestamp,
}
fact!(
    ReleaseImported,
    "release.imported",
    |f| Some(f.project),
    |f| format!("release:{}", f.release),
    |f| format!("imported release {}, signed by the key {}", f.version, f.origin)
);

/// A release was asked for and refused.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReleaseRefused {
    /// The project.
    pub project: ProjectId,
    /// The tag.
    pub tag: String,
    /// The rule, such as `exists`, `no_artifacts`, `bad_lockfile`.
    pub rule: String,
    /// Why, in plain words.
    pub reason: String,
}
fact!(
    ReleaseRefused,
    "release.refused",
    |f| Some(f.project),
    |f| format!("project:{}", f.project),
    |f| format!("no release {}: {}", f.tag, f.reason)
);
