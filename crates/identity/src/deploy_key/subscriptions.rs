//! What others' facts do here: a project that is gone takes its deploy keys with it, so that they can be used
//! elsewhere.

use super::store;
use crate::Identity;
use bascule_ledger::{BoxError, Entry, Fact as _, Subscriber, decode, facts::forge::ProjectDeleted};

/// Removes the deploy keys of deleted projects.
pub struct DeployKeySubscriber(pub Identity);

#[async_trait::async_trait]
impl Subscriber for DeployKeySubscriber {
    fn name(&self) -> &'static str {
        "identity-deploy-keys"
    }

    fn kinds(&self) -> Vec<&'static str> {
        vec![ProjectDeleted::KIND]
    }

    async fn handle(&self, entry: &Entry) -> Result<(), BoxError> {
        let fact: ProjectDeleted = decode(entry)?;
        let tx = self.0.db().begin().await?;
        store::remove_all(&tx, fact.project).await?;
        tx.commit().await?;
        Ok(())
    }
}
