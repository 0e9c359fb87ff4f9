//! Sending a review: a verdict together with all comments that were kept back for it.

use super::{me, store};
use crate::{
    Forge, ProjectInfo,
    merge_request::MergeRequest,
    review::approval::{APPROVED, CHANGES, COMMENTED},
};
use bascule_core::{Caller, Problem, ProjectScope, Result};
use bascule_ledger::facts::review::ReviewSubmitted;
use bascule_wire::review as wire;
use std::collections::BTreeSet;

/// What a reviewer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Comment,
    Approve,
    RequestChanges,
}

impl Verdict {
    fn parse(text: &str) -> Result<Self> {
        match text.trim() {
            "" | "comment" => Ok(Self::Comment),
            "approve" => Ok(Self::Approve),
            "request_changes" => Ok(Self::RequestChanges),
            _ => Err(Problem::invalid("bad_verdict", "There is no such verdict.")
                .next("Use comment, approve or request_changes.")),
        }
    }

    const fn as_kept(self) -> &'static str {
        match self {
            Self::Comment => COMMENTED,
            Self::Approve => APPROVED,
            Self::RequestChanges => CHANGES,
        }
    }
}

impl Forge {
    /// Sends a review.
    pub(crate) async fn submit_review(
        &self,
        caller: &Caller,
        scope: &ProjectScope,
        project: &ProjectInfo,
        request: &MergeRequest,
        review: &wire::NewReview,
    ) -> Result<()> {
        let verdict = Verdict::parse(&review.verdict)?;
        let sha = review.sha.as_deref().map(str::trim).filter(|sha| !sha.is_empty());
        let user = match verdict {
            Verdict::Comment => caller.person(),
            Verdict::Approve => {
                let sha = sha.ok_or_else(|| {
                    Problem::invalid("no_head", "An approval names the commit that was looked at.")
                        .why("Otherwise a push that came meanwhile would be approved unseen.")
                        .next("Give the head of the merge request as `sha`.")
                })?;
                Some(self.may_approve(caller, scope, request, sha).await?)
            }
            Verdict::RequestChanges => {
                let user = crate::review::approval::reviewer(caller, scope)?;
                if request.state != crate::merge_request::State::Open {
                    return Err(crate::merge_request::ended(request));
                }
                if request.author_id == Some(user) {
                    return Err(
                        Problem::invalid("own_request", "You opened this request yourself.")
                            .next("Mark it as a draft while you change it."),
                    );
                }
                Some(user)
            }
        };
        let mut made = Vec::new();
        for new in review.threads.iter().take(super::service::DRAFTS) {
            let new = wire::NewThread {
                draft: false,
                ..new.clone()
            };
            made.push(self.make_thread(caller, request, &new).await?);
        }
        if !review.body.trim().is_empty() {
            let new = wire::NewThread {
                body: review.body.clone(),
                ..wire::NewThread::default()
            };
            made.push(self.make_thread(caller, request, &new).await?);
        }
        let drafts = store::drafts(self.db(), request.id, &me(caller)).await?;
        let mut mentions = BTreeSet::new();
        for body in drafts
            .iter()
            .map(|d| &d.body)
            .chain(made.iter().map(|(_, c)| &c.body))
        {
            mentions.extend(self.mentions(project, body).await?);
        }
        let count = drafts.len() + made.len();
        if count == 0 && verdict == Verdict::Comment {
            return Err(Problem::invalid("empty_review", "There is nothing to send.")
                .next("Write a comment, approve, or ask for changes."));
        }
        let tx = self.db().begin().await?;
        for (thread, comment) in &made {
            store::insert_thread(&tx, thread).await?;
            store::insert_comment(&tx, comment).await?;
        }
        store::publish(&tx, request.id, &me(caller), self.now()).await?;
        match (user, verdict) {
            (Some(user), Verdict::Approve) => self.write_approval(&tx, caller, request, user).await?,
            (Some(user), Verdict::RequestChanges) => {
                crate::review::approval::store::withdraw(&tx, request.id, user).await?;
                self.note_verdict(&tx, caller, request, user, CHANGES).await?;
            }
            (Some(user), Verdict::Comment) if request.author_id != Some(user) => {
                self.note_comment(&tx, caller, request, user).await?;
            }
            _ => {}
        }
        let fact = ReviewSubmitted {
            project: request.project_id,
            merge_request: request.id,
            iid: request.iid,
            reviewer: user,
            verdict: verdict.as_kept().to_owned(),
            comments: i64::try_from(count).unwrap_or(i64::MAX),
            mentions: mentions.into_iter().collect(),
            head: request.head.clone(),
        };
        self.ledger().append(&tx, &caller.actor, &fact).await?;
        tx.commit().await?;
        self.wake_merges();
        Ok(())
    }
}
