//! What the forge's workflow policy asks of others, answered by planning and identity.

use async_trait::async_trait;
use bascule_core::{ProjectId, Result};
use bascule_identity::Identity;
use bascule_planning::Planning;
use std::collections::HashSet;

/// Issues.
pub struct Issues(pub Planning);

#[async_trait]
impl bascule_forge::ports::Issues for Issues {
    async fn open(&self, project: ProjectId, numbers: &[i64]) -> Result<HashSet<i64>> {
        self.0.open_issues(project, numbers).await
    }
}

/// Owners of keys.
pub struct Signers(pub Identity);

#[async_trait]
impl bascule_forge::ports::Signers for Signers {
    async fn addresses(&self, fingerprints: &[String]) -> Result<Vec<(String, String)>> {
        self.0.key_addresses(fingerprints).await
    }
}
