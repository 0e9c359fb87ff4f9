//! What facts do to previews: they ask for a look, and no more, so that each may be heard many times.

use super::store::{self, Touched};
use crate::Delivery;
use async_trait::async_trait;
use bascule_core::{Problem, ProjectId};
use bascule_ledger::{
    BoxError, Entry, Fact as _, Subscriber, decode,
    facts::{
        ci::{PipelineCreated, PipelineFinished, PipelineRefused},
        forge::{BranchUpdated, ProjectDeleted},
        merge_request::{
            MergeRequestChanged, MergeRequestClosed, MergeRequestMerged, MergeRequestOpened,
            MergeRequestReopened, MergeRequestUpdated,
        },
    },
};

/// Follows requests, their branches and their pipelines.
pub(crate) struct OnRequests(pub(crate) Delivery);

#[async_trait]
impl Subscriber for OnRequests {
    fn name(&self) -> &'static str {
        "delivery.previews"
    }

    fn kinds(&self) -> Vec<&'static str> {
        vec![
            MergeRequestOpened::KIND,
            MergeRequestUpdated::KIND,
            MergeRequestChanged::KIND,
            MergeRequestReopened::KIND,
            MergeRequestClosed::KIND,
            MergeRequestMerged::KIND,
            PipelineCreated::KIND,
            PipelineFinished::KIND,
            PipelineRefused::KIND,
            BranchUpdated::KIND,
            ProjectDeleted::KIND,
        ]
    }

    async fn handle(&self, entry: &Entry) -> Result<(), BoxError> {
        let delivery = &self.0;
        if entry.kind == BranchUpdated::KIND {
            return self.branch(&decode(entry)?).await;
        }
        let tx = delivery.db.begin().await?;
        let touch =
            |project: ProjectId, iid: i64, how: Touched| store::touch(&tx, project, iid, how, delivery.now());
        match entry.kind.as_str() {
            MergeRequestOpened::KIND => {
                let fact: MergeRequestOpened = decode(entry)?;
                touch(fact.project, fact.iid, Touched::Pushed).await?;
            }
            MergeRequestUpdated::KIND => {
                let fact: MergeRequestUpdated = decode(entry)?;
                touch(fact.project, fact.iid, Touched::Pushed).await?;
            }
            MergeRequestReopened::KIND => {
                let fact: MergeRequestReopened = decode(entry)?;
                touch(fact.project, fact.iid, Touched::Afresh).await?;
            }
            MergeRequestChanged::KIND => {
                let fact: MergeRequestChanged = decode(entry)?;
                touch(fact.project, fact.iid, Touched::Anyhow).await?;
            }
            MergeRequestClosed::KIND => {
                let fact: MergeRequestClosed = decode(entry)?;
                touch(fact.project, fact.iid, Touched::Anyhow).await?;
            }
            MergeRequestMerged::KIND => {
                let fact: MergeRequestMerged = decode(entry)?;
                touch(fact.project, fact.iid, Touched::Anyhow).await?;
            }
            PipelineCreated::KIND => {
                let fact: PipelineCreated = decode(entry)?;
                store::ask_of_commit(&tx, fact.project, &fact.sha).await?;
            }
            PipelineFinished::KIND => {
                let fact: PipelineFinished = decode(entry)?;
                store::ask_of_commit(&tx, fact.project, &fact.sha).await?;
            }
            PipelineRefused::KIND => {
                let fact: PipelineRefused = decode(entry)?;
                store::ask_of_commit(&tx, fact.project, &fact.sha).await?;
            }
            _ => {
                let fact: ProjectDeleted = decode(entry)?;
                store::ask_of_project(&tx, fact.project).await?;
            }
        }
        delivery.wake_previews(&tx);
        tx.commit().await?;
        Ok(())
    }
}

impl OnRequests {
    /// Commits of a request may have come or gone with a branch, and so may the file that asks for previews.
    async fn branch(&self, fact: &BranchUpdated) -> Result<(), BoxError> {
        let delivery = &self.0;
        let mut open = Vec::new();
        if fact.default && fact.after.is_some() {
            // The file may have turned previews on: requests from before are known from now on.
            let all = delivery.ports.requests.open(fact.project).await;
            let all = all.map_err(|problem: Problem| Box::new(problem) as BoxError)?;
            let known = store::known(&delivery.db, fact.project).await?;
            open = all.into_iter().filter(|iid| !known.contains(iid)).collect();
        }
        let tx = delivery.db.begin().await?;
        store::ask_of_branch(&tx, fact.project, &fact.branch).await?;
        store::add_missing(&tx, fact.project, &open, delivery.now()).await?;
        delivery.wake_previews(&tx);
        tx.commit().await?;
        Ok(())
    }
}
