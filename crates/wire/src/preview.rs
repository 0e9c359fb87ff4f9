//! Previews of merge requests.

use bascule_core::{ReleaseId, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A merge request's preview.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Preview {
    /// The request's number.
    pub iid: i64,
    /// `off`, `waiting`, `held`, `starting`, `running`, `failed`, `stopping`, `stopped`.
    pub state: String,
    /// Where it answers, while it does.
    pub url: Option<String>,
    /// The left part of the host name under which edges with a shared listener serve it.
    pub host: Option<String>,
    /// The version that was put there last.
    pub version: Option<String>,
    /// Its commit.
    pub sha: Option<String>,
    /// Its build.
    pub build: Option<ReleaseId>,
    /// The request's newest commit.
    pub head: String,
    /// The rule that says so; empty where nothing more is to be said.
    pub rule: String,
    /// Why it stands so.
    pub why: String,
    /// What can be done.
    pub next: String,
    /// Who let the newest commit run, where it comes from a fork and someone did.
    pub allowed_by: Option<String>,
    /// When the request changed last.
    pub changed_at: Timestamp,
    /// When it is stopped unless something changes.
    pub ends_at: Option<Timestamp>,
}

/// Starts a preview.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct StartPreview {
    /// The commit that was looked at; needed for a fork's request, which runs nothing that nobody looked at.
    #[serde(default)]
    pub sha: String,
}

/// A secret of a project's previews, without its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PreviewSecret {
    /// Its name, and that of the variable it becomes.
    pub name: String,
    /// Who set it.
    pub actor: String,
    /// When.
    pub updated_at: Timestamp,
}
