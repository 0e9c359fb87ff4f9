//! What this crate asks of others. The binary wires it to the forge.

use async_trait::async_trait;
use bascule_core::{GroupId, ProjectId, Result};

/// A project, as far as it is told where an outside partner reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedProject {
    /// The project.
    pub id: ProjectId,
    /// Its group.
    pub group: GroupId,
    /// `group/project`.
    pub path: String,
}

/// What projects are called.
#[async_trait]
pub trait Projects: Send + Sync {
    /// Those of the projects that there still are.
    async fn named(&self, projects: &[ProjectId]) -> Result<Vec<NamedProject>>;
}
