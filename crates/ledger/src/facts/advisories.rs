//! Facts about advisories and what they mean for releases.

use super::fact;
use bascule_core::{ProjectId, ReleaseId, Timestamp};
use serde::{Deserialize, Serialize};

/// Advisories were imported. The records themselves are no facts: they are public, many, and change.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AdvisoryImported {
    /// Records read.
    pub read: i64,
    /// Advisories that were not here.
    pub added: i64,
    /// Advisories that replaced an older state of theirs.
    pub changed: i64,
    /// Of those: withdrawn.
    pub withdrawn: i64,
    /// Records that could not be read.
    pub refused: i64,
    /// The first of those that are new or changed, up to fifty.
    pub advisories: Vec<String>,
    /// When.
    pub at: Timestamp,
}
fact!(
    AdvisoryImported,
    "advisory.imported",
    |_| None,
    |_| "instance:advisories".to_owned(),
    |f| format!(
        "imported {} advisories: {} new, {} changed, {} withdrawn, {} refused",
        f.read, f.added, f.changed, f.withdrawn, f.refused
    )
);

/// A release has a component that an advisory speaks of. Comes again when its severity or what mends it changes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FindingOpened {
    /// The project.
    pub project: ProjectId,
    /// The release.
    pub release: ReleaseId,
    /// Its version.
    pub version: String,
    /// Names the finding within the project, the same from release to release.
    pub key: String,
    /// The advisory.
    pub advisory: String,
    /// `critical`, `high`, `medium`, `low`, `unknown`.
    pub severity: String,
    /// The component, as a package URL.
    pub purl: String,
    /// The package without its version: `cargo:openssl`.
    pub package: String,
    /// The component's version.
    pub component_version: String,
    /// Versions of the package that mend it, the nearest first; none known where empty.
    pub fixed: Vec<String>,
    /// Whether it is needed for development alone.
    pub development: bool,
    /// Whether a decision stands that sets it aside already.
    #[serde(default)]
    pub set_aside: bool,
    /// When.
    pub at: Timestamp,
}
fact!(
    FindingOpened,
    "finding.opened",
    |f| Some(f.project),
    |f| format!("finding:{}", f.key),
    |f| format!(
        "found {} ({}) in {}: {} {}",
        f.advisory, f.severity, f.version, f.package, f.component_version
    )
);

/// A release has a finding no longer: its advisory was withdrawn or says otherwise now.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FindingClosed {
    /// The project.
    pub project: ProjectId,
    /// The release.
    pub release: ReleaseId,
    /// Its version.
    pub version: String,
    /// The finding.
    pub key: String,
    /// The advisory.
    pub advisory: String,
    /// The component, as a package URL.
    pub purl: String,
    /// Why, in plain words.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}
fact!(
    FindingClosed,
    "finding.closed",
    |f| Some(f.project),
    |f| format!("finding:{}", f.key),
    |f| format!(
        "{} is no finding in {} any more: {}",
        f.advisory, f.version, f.reason
    )
);

/// A person set a finding aside, for all releases of the project.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FindingWaived {
    /// The project.
    pub project: ProjectId,
    /// The finding.
    pub key: String,
    /// The advisory.
    pub advisory: String,
    /// The package.
    pub package: String,
    /// `waived` or `not_affected`.
    pub verdict: String,
    /// For `not_affected`: why, in VEX's words.
    pub justification: String,
    /// Why, in the person's own.
    pub reason: String,
    /// Until when.
    pub until: Option<Timestamp>,
    /// When.
    pub at: Timestamp,
}
fact!(
    FindingWaived,
    "finding.waived",
    |f| Some(f.project),
    |f| format!("finding:{}", f.key),
    |f| format!(
        "set {} in {} aside as {}: {}",
        f.advisory,
        f.package,
        f.verdict.replace('_', " "),
        f.reason
    )
);

/// A decision on a finding is over: taken back, or its time has passed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FindingReopened {
    /// The project.
    pub project: ProjectId,
    /// The finding.
    pub key: String,
    /// The advisory.
    pub advisory: String,
    /// The package.
    pub package: String,
    /// Why, in plain words.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}
fact!(
    FindingReopened,
    "finding.reopened",
    |f| Some(f.project),
    |f| format!("finding:{}", f.key),
    |f| format!("{} in {} counts again: {}", f.advisory, f.package, f.reason)
);

/// A recall that was for findings is over, since none of them counts any more.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RecallLifted {
    /// The project.
    pub project: ProjectId,
    /// The release.
    pub release: ReleaseId,
    /// Its version.
    pub version: String,
    /// Why, in plain words.
    pub reason: String,
}
fact!(
    RecallLifted,
    "release.recall_lifted",
    |f| Some(f.project),
    |f| format!("release:{}", f.release),
    |f| format!("lifted the recall of {}: {}", f.version, f.reason)
);
