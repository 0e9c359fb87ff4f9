//! What facts do here: a new version tells who wrote it, and may make approvals stale.

use super::approval;
use crate::{Forge, merge_request::MergeRequest};
use async_trait::async_trait;
use bascule_core::{Actor, ActorKind, MergeRequestId, Result};
use bascule_ledger::{
    BoxError, Entry, Fact as _, Subscriber, decode,
    facts::{
        forge::BranchUpdated,
        merge_request::{MergeRequestOpened, MergeRequestUpdated},
        review::ApprovalsReset,
    },
};

/// Follows versions of requests.
pub(crate) struct Versions(pub(crate) Forge);

#[async_trait]
impl Subscriber for Versions {
    fn name(&self) -> &'static str {
        "forge.reviews"
    }

    fn kinds(&self) -> Vec<&'static str> {
        vec![
            BranchUpdated::KIND,
            MergeRequestOpened::KIND,
            MergeRequestUpdated::KIND,
        ]
    }

    async fn handle(&self, entry: &Entry) -> Result<(), BoxError> {
        if entry.kind == BranchUpdated::KIND {
            return self.pushed(entry).await;
        }
        let id: MergeRequestId = if entry.kind == MergeRequestOpened::KIND {
            decode::<MergeRequestOpened>(entry)?.merge_request
        } else {
            decode::<MergeRequestUpdated>(entry)?.merge_request
        };
        let Some(request) = self.0.merge_request_by_id(id).await? else {
            return Ok(());
        };
        if self.0.project_by_id(request.project_id).await?.is_none() {
            return Ok(());
        }
        self.0.note_writers(&request).await?;
        self.0.tell_stale(&request).await?;
        Ok(())
    }
}

impl Versions {
    /// Remembers who pushed. A commit may name anybody as its author; a push is done by an account.
    async fn pushed(&self, entry: &Entry) -> Result<(), BoxError> {
        let fact: BranchUpdated = decode(entry)?;
        let person = matches!(entry.actor.kind, ActorKind::User | ActorKind::Token);
        let Some(sha) = fact.after.filter(|_| person) else {
            return Ok(());
        };
        let Some(known) = self.0.people()?.by_name(&entry.actor.name).await? else {
            return Ok(());
        };
        let tx = self.0.db().begin().await?;
        approval::store::add_push(&tx, fact.project, &sha, known.id).await?;
        Ok(tx.commit().await?)
    }
}

impl Forge {
    /// Remembers who wrote a part of a request, also when a later version has their commits no more.
    async fn note_writers(&self, request: &MergeRequest) -> Result<()> {
        let writers = self.present_writers(request).await?;
        if writers.is_empty() {
            return Ok(());
        }
        let tx = self.db().begin().await?;
        for writer in writers {
            approval::store::add_writer(&tx, request.id, writer).await?;
        }
        Ok(tx.commit().await?)
    }

    /// Tells the ledger, once, which approvals are for another change than the present one.
    async fn tell_stale(&self, request: &MergeRequest) -> Result<()> {
        let settings = self.review_settings(request.project_id).await?;
        let mut stale = Vec::new();
        for given in approval::store::approvals(self.db(), request.id).await? {
            if !given.told_stale && !self.is_fresh(request, &given, &settings).await? {
                stale.push(given);
            }
        }
        if stale.is_empty() {
            return Ok(());
        }
        let tx = self.db().begin().await?;
        let mut users = Vec::new();
        for given in &stale {
            if approval::store::tell_stale(&tx, request.id, given).await? > 0 {
                users.push(given.user_id);
            }
        }
        if !users.is_empty() {
            let fact = ApprovalsReset {
                project: request.project_id,
                merge_request: request.id,
                iid: request.iid,
                users,
                head: request.head.clone(),
            };
            self.ledger().append(&tx, &Actor::system(), &fact).await?;
        }
        Ok(tx.commit().await?)
    }
}
