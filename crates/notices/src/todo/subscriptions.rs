//! What facts do here.

use super::{Action, Meaning, Settle, meaning, store};
use crate::{Notices, mail, ports::Target, store as heard};
use async_trait::async_trait;
use bascule_core::UserId;
use bascule_ledger::{
    BoxError, Entry, Fact as _, Subscriber, decode,
    facts::{
        forge::{BranchUpdated, ProjectDeleted},
        merge_request::MergeRequestUpdated,
    },
};
use std::collections::BTreeSet;

/// Most people told of one fact.
const PEOPLE: usize = 200;

/// Tells people.
pub struct Tell(pub Notices);

#[async_trait]
impl Subscriber for Tell {
    fn name(&self) -> &'static str {
        "notices.people"
    }

    fn kinds(&self) -> Vec<&'static str> {
        [meaning::KINDS, &[ProjectDeleted::KIND]].concat()
    }

    async fn handle(&self, entry: &Entry) -> Result<(), BoxError> {
        let notices = &self.0;
        if heard_already(notices, "people", entry.seq).await? {
            return Ok(());
        }
        if entry.kind == ProjectDeleted::KIND {
            let fact: ProjectDeleted = decode(entry)?;
            let tx = notices.db().begin().await?;
            if heard::hear(&tx, "people", entry.seq).await? {
                store::forget_project(&tx, fact.project).await?;
            }
            return Ok(tx.commit().await?);
        }
        let actor = notices.people().behind(&entry.actor).await?;
        let meanings = notices.meaning(entry, actor).await?;
        notices.tell("people", entry, actor, meanings).await
    }
}

/// Tells whose requests cannot be merged any more, since their target branch moved. Apart from the others, since
/// merges are tried for it.
pub struct Conflicts(pub Notices);

#[async_trait]
impl Subscriber for Conflicts {
    fn name(&self) -> &'static str {
        "notices.conflicts"
    }

    fn kinds(&self) -> Vec<&'static str> {
        vec![BranchUpdated::KIND, MergeRequestUpdated::KIND]
    }

    async fn handle(&self, entry: &Entry) -> Result<(), BoxError> {
        let notices = &self.0;
        if heard_already(notices, "conflicts", entry.seq).await? {
            return Ok(());
        }
        let matters = notices.matters();
        let standings = if entry.kind == BranchUpdated::KIND {
            let fact: BranchUpdated = decode(entry)?;
            match fact.after {
                Some(_) => matters.standing_to(fact.project, &fact.branch).await?,
                None => Vec::new(),
            }
        } else {
            let fact: MergeRequestUpdated = decode(entry)?;
            matters.standing(fact.merge_request).await?.into_iter().collect()
        };
        let meanings = standings.into_iter().map(|standing| {
            let meaning = Meaning::request(standing.id, standing.project, standing.number).quiet();
            if standing.conflict {
                meaning.tell(standing.author, Action::Unmergeable)
            } else {
                meaning.settle(Settle::Actions(vec![Action::Unmergeable]))
            }
        });
        let meanings = meanings.collect();
        notices.tell("conflicts", entry, None, meanings).await
    }
}

async fn heard_already(notices: &Notices, name: &str, seq: i64) -> Result<bool, BoxError> {
    Ok(heard::heard(notices.db(), name).await? >= seq)
}

impl Notices {
    /// Writes what a fact means, with the note that it was heard: all of it or nothing.
    async fn tell(
        &self,
        name: &str,
        entry: &Entry,
        actor: Option<UserId>,
        mut meanings: Vec<Meaning>,
    ) -> Result<(), BoxError> {
        if meanings.is_empty() {
            // Nothing comes of it, however often it is heard: nothing is written.
            return Ok(());
        }
        let mut mails = Vec::new();
        for meaning in &mut meanings {
            meaning.tells.truncate(PEOPLE);
            // Nobody is told of what they did themselves.
            meaning
                .tells
                .retain(|(user, action)| Some(*user) != actor || action.of_platform());
            let told: Vec<UserId> = meaning.tells.iter().map(|(user, _)| *user).collect();
            let reads = self.who_reads(&told, meaning.target).await?;
            meaning.tells.retain(|(user, _)| reads.contains(user));
            meaning.joins.retain(|user| reads.contains(user));
            meaning.joins.extend(actor);
            mails.push(self.mail_for(meaning, actor).await?);
        }
        let now = self.now();
        let tx = self.db().begin().await?;
        if !heard::hear(&tx, name, entry.seq).await? {
            return Ok(());
        }
        let mut mailed = false;
        for (meaning, wanted) in meanings.iter().zip(mails) {
            for settle in &meaning.settles {
                store::settle(&tx, meaning.target, settle, &entry.kind, now).await?;
            }
            let mut news: BTreeSet<UserId> = BTreeSet::new();
            for (user, action) in &meaning.tells {
                let new = store::New {
                    user: *user,
                    project: meaning.project,
                    action: *action,
                    target: meaning.target,
                    number: meaning.number,
                    anchor: &meaning.anchor,
                    thread: &meaning.thread,
                    actor: if action.of_platform() {
                        ""
                    } else {
                        &entry.actor.name
                    },
                    seq: entry.seq,
                    at: entry.at,
                };
                if meaning.once && *action == Action::Mentioned && store::was_told(&tx, &new).await? {
                    continue;
                }
                let again = store::waits(&tx, &new).await?;
                if !again || action.speaks_again() {
                    news.insert(*user);
                }
                if again && !action.speaks_again() {
                    // It waits already; its place in the list stays.
                    continue;
                }
                store::put(&tx, &new).await?;
            }
            for user in &meaning.joins {
                store::join(&tx, meaning.target, *user).await?;
            }
            mailed |= mail::enqueue(&tx, entry, meaning, &wanted, &news, now).await?;
        }
        let wake = self.clone();
        if mailed {
            tx.after_commit(move || wake.0.mails.notify_one());
        }
        Ok(tx.commit().await?)
    }

    /// Those of some people who may read a target.
    pub(crate) async fn who_reads(
        &self,
        people: &[UserId],
        target: Target,
    ) -> Result<BTreeSet<UserId>, BoxError> {
        let mut reads = BTreeSet::new();
        for user in people {
            let Some(person) = self.people().person(*user).await? else {
                continue;
            };
            if !self.matters().seen(&person.caller, &[target]).await?.is_empty() {
                reads.insert(*user);
            }
        }
        Ok(reads)
    }
}
