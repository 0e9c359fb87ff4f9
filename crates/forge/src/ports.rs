//! What this crate asks of others. The binary wires it to identity.

use crate::Visible;
use async_trait::async_trait;
use bascule_core::{Caller, Result};

/// Who sees what.
#[async_trait]
pub trait Sight: Send + Sync {
    /// Which projects the caller may see, as far as it can be said without asking each project.
    async fn visible(&self, caller: &Caller) -> Result<Visible>;
}
