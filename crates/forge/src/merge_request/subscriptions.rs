//! What facts do here: a push to a source branch makes a version, one to a target branch may have merged a request.

use super::{State, store};
use crate::Forge;
use async_trait::async_trait;
use bascule_ledger::{
    BoxError, Entry, Fact as _, Subscriber, decode,
    facts::{
        ci::{PipelineCreated, PipelineFinished, PipelineRefused},
        forge::BranchUpdated,
    },
};

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
        if fact.after.is_some() {
            forge.notice_merged(&fact, &entry.actor).await?;
        }
        forge.wake_merges();
        Ok(())
    }
}

/// Lets merges that wait look again when a pipeline has ended.
pub(crate) struct Wakers(pub(crate) Forge);

#[async_trait]
impl Subscriber for Wakers {
    fn name(&self) -> &'static str {
        "forge.merges"
    }

    fn kinds(&self) -> Vec<&'static str> {
        vec![
            PipelineCreated::KIND,
            PipelineFinished::KIND,
            PipelineRefused::KIND,
        ]
    }

    async fn handle(&self, _: &Entry) -> Result<(), BoxError> {
        self.0.wake_merges();
        Ok(())
    }
}

impl Forge {
    /// A push to a target branch may bring commits of open requests: those are merged then.
    async fn notice_merged(
        &self,
        fact: &BranchUpdated,
        by: &bascule_core::Actor,
    ) -> bascule_core::Result<()> {
        let open = store::open_to(self.db(), fact.project, &fact.branch).await?;
        if open.is_empty() {
            return Ok(());
        }
        // A merge of the platform's own that is under way tells more than this would.
        let lock = self.pushes().lock(fact.project);
        let _lock = lock.lock_owned().await;
        self.finish_merges(fact.project).await?;
        let Some(tip) = self.resolve_branch(fact.project, &fact.branch).await? else {
            return Ok(());
        };
        // Told one by one, they are looked up; of a huge push the history is asked.
        let all = i64::try_from(fact.commits.len()) == Ok(fact.commit_count);
        let inside: Vec<bool> = if all {
            let brought: std::collections::HashSet<&str> =
                fact.commits.iter().map(|commit| commit.sha.as_str()).collect();
            open.iter()
                .map(|request| brought.contains(request.head.as_str()))
                .collect()
        } else {
            let heads: Vec<String> = open.iter().map(|request| request.head.clone()).collect();
            self.ancestors(fact.project, &tip, &heads).await?
        };
        for (request, inside) in open.into_iter().zip(inside) {
            let Some(request) = store::by_id(self.db(), request.id).await? else {
                continue;
            };
            if inside && request.state == State::Open {
                self.merged_by_push(&request, fact, by).await?;
            }
        }
        Ok(())
    }
}
