//! What insights ask of others. The binary wires it to identity and the forge.

use async_trait::async_trait;
use bascule_core::{Caller, ProjectId, Result};

/// Which projects' facts and measures a caller may see.
#[async_trait]
pub trait Visible: Send + Sync {
    /// The projects in which the caller may read facts; `None` for all, and for facts of no project.
    async fn projects(&self, caller: &Caller) -> Result<Option<Vec<ProjectId>>>;
}
