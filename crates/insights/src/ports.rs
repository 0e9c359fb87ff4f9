//! What insights ask of others. The binary wires it to identity and the forge.

use async_trait::async_trait;
use bascule_core::{Caller, ProjectId, Result, Timestamp};

/// Which projects' facts and measures a caller may see.
#[async_trait]
pub trait Visible: Send + Sync {
    /// The projects in which the caller may read facts; `None` for all, and for facts of no project.
    async fn projects(&self, caller: &Caller) -> Result<Option<Vec<ProjectId>>>;
}

/// Something that waits for a person, as the first page says it.
#[derive(Clone, Debug)]
pub struct Wait {
    /// The name of its icon.
    pub icon: &'static str,
    /// In one sentence.
    pub text: String,
    /// Where it is dealt with.
    pub href: String,
    /// The project, as its path.
    pub project: String,
    /// Since when.
    pub since: Timestamp,
}

/// What else waits for a person that only others know.
#[async_trait]
pub trait Waits: Send + Sync {
    /// What the caller may see of it, the most pressing first.
    async fn waits(&self, caller: &Caller) -> Result<Vec<Wait>>;
}
