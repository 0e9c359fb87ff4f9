//! What facts do here: a push to a source branch makes a version, one to a target branch may have merged a request.

use super::store;
use crate::Forge;
use async_trait::async_trait;
use bascule_ledger::{BoxError, Entry, Fact as _, Subscriber, decode, facts::forge::BranchUpdated};

/// Follows branches.
pub(crate) struct Branches(pub(crate) Forge);

#[async_trait]
impl Subscriber for Branches {
    fn name(&self) -> &'static str {
        "forge.merge_requests"
    }

    fn kinds(&self) -> Vec<&'static str> {
        vec![BranchUpdated::KIND]
    }

    async fn handle(&self, entry: &Entry) -> Result<(), BoxError> {
        let fact: BranchUpdated = decode(entry)?;
        let forge = &self.0;
        for request in store::open_from(forge.db(), fact.project, &fact.branch).await? {
            if request.heard >= entry.seq {
                continue;
            }
            let id = request.id;
            if let Some(head) = &fact.after {
                forge.take_up(request, head, &entry.actor, entry.seq).await?;
            }
            let tx = forge.db().begin().await?;
            store::hear(&tx, id, entry.seq, fact.after.is_none()).await?;
            tx.commit().await?;
        }
        forge.wake_merges();
        Ok(())
    }
}
