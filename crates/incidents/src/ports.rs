//! What incidents ask of others. The binary wires each to the capability that knows.

use async_trait::async_trait;
use bascule_core::{Caller, ProjectId, Result};

/// Which projects' incidents a caller may see (identity and forge).
#[async_trait]
pub trait Visible: Send + Sync {
    /// The projects in which the caller may read incidents; `None` for all.
    async fn projects(&self, caller: &Caller) -> Result<Option<Vec<ProjectId>>>;
}

/// A document that was committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// `group/project` that holds it.
    pub home: String,
    /// The commit.
    pub sha: String,
}

/// Where post-mortems are kept (forge). Committing the same bytes to the same path again must come to the
/// same, so that a step cut short may be done over.
#[async_trait]
pub trait PostmortemHome: Send + Sync {
    /// Commits a file on the default branch, of the project itself or of where the institution keeps such
    /// documents. Refusals are problems below 500; they are shown and not tried again by themselves.
    async fn commit(&self, project: ProjectId, path: &str, bytes: &[u8], message: &str) -> Result<Committed>;
}
