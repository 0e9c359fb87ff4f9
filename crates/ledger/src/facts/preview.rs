//! Facts about previews of merge requests, published by delivery.

use super::{fact, short};
use bascule_core::{EnvironmentId, ProjectId, ReleaseId, Timestamp};
use serde::{Deserialize, Serialize};

/// A preview was started: its first version is put into an environment of its own.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PreviewStarted {
    /// The project.
    pub project: ProjectId,
    /// The merge request's number.
    pub iid: i64,
    /// The preview's environment.
    pub environment: EnvironmentId,
    /// The build that runs there.
    pub build: ReleaseId,
    /// Its version.
    pub version: String,
    /// Its commit.
    pub sha: String,
    /// When.
    pub at: Timestamp,
}
fact!(
    PreviewStarted,
    "preview.started",
    |f| Some(f.project),
    |f| format!("preview:{}:{}", f.project, f.iid),
    |f| format!("started the preview of !{} with {}", f.iid, short(&f.sha))
);

/// A preview gets another version.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PreviewUpdated {
    /// The project.
    pub project: ProjectId,
    /// The merge request's number.
    pub iid: i64,
    /// The preview's environment.
    pub environment: EnvironmentId,
    /// The build that comes.
    pub build: ReleaseId,
    /// Its version.
    pub version: String,
    /// Its commit.
    pub sha: String,
    /// When.
    pub at: Timestamp,
}
fact!(
    PreviewUpdated,
    "preview.updated",
    |f| Some(f.project),
    |f| format!("preview:{}:{}", f.project, f.iid),
    |f| format!("puts {} into the preview of !{}", short(&f.sha), f.iid)
);

/// A preview is stopped: it is out of traffic, and its instances end.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PreviewStopped {
    /// The project.
    pub project: ProjectId,
    /// The merge request's number.
    pub iid: i64,
    /// The preview's environment.
    pub environment: EnvironmentId,
    /// Which rule: `merged`, `closed`, `branch_gone`, `off`, `stopped`, `expired`, `crowded`, …
    pub rule: String,
    /// Why, in plain words.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}
fact!(
    PreviewStopped,
    "preview.stopped",
    |f| Some(f.project),
    |f| format!("preview:{}:{}", f.project, f.iid),
    |f| format!("stopped the preview of !{}: {}", f.iid, f.reason)
);

/// Someone let a commit from a fork run as a preview.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PreviewAllowed {
    /// The project.
    pub project: ProjectId,
    /// The merge request's number.
    pub iid: i64,
    /// The commit, and no other.
    pub sha: String,
    /// When.
    pub at: Timestamp,
}
fact!(
    PreviewAllowed,
    "preview.allowed",
    |f| Some(f.project),
    |f| format!("preview:{}:{}", f.project, f.iid),
    |f| format!("let {} of !{} run as a preview", short(&f.sha), f.iid)
);

/// A secret for a project's previews was set or removed. The value is in no fact.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PreviewSecretChanged {
    /// The project.
    pub project: ProjectId,
    /// Its name.
    pub name: String,
    /// Whether it is gone.
    pub removed: bool,
}
fact!(
    PreviewSecretChanged,
    "preview_secret.changed",
    |f| Some(f.project),
    |f| format!("project:{}", f.project),
    |f| if f.removed {
        format!("removed the secret {} of previews", f.name)
    } else {
        format!("set the secret {} of previews", f.name)
    }
);
