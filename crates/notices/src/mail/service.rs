//! Who gets mail of what; what people chose; how sending goes.

use super::{Choice, Level, Mail, store};
use crate::{
    Notices,
    ports::Target,
    todo::{Action, Meaning},
};
use bascule_core::{Caller, Problem, Result, Timestamp, UserId};
use bascule_ledger::{BoxError, Entry};
use bascule_store::Tx;
use bascule_wire::notices as wire;
use std::collections::{BTreeMap, BTreeSet};

/// Most people who get mail of one fact.
const PEOPLE: usize = 500;
/// Mails that are in trouble, on one page.
const TROUBLED: i64 = 50;

/// Who is to get mail, and for which reason of a to-do, if for one.
pub(crate) type Wanted = Vec<(UserId, Option<Action>)>;

fn level(choice: Choice, target: Target, action: Option<Action>) -> Level {
    match (target, action) {
        (_, Some(Action::BuildFailed)) => choice.pipelines,
        (Target::Issue(_), _) => choice.issues,
        (Target::Request(_), _) => choice.merge_requests,
    }
}

impl Notices {
    /// Who is to get mail of what a fact means. Those who are told by a to-do were found to read the target already.
    pub(crate) async fn mail_for(
        &self,
        meaning: &Meaning,
        actor: Option<UserId>,
    ) -> Result<Wanted, BoxError> {
        if self.config().mail.is_none() {
            return Ok(Vec::new());
        }
        let mut reasons: BTreeMap<UserId, Option<Action>> = BTreeMap::new();
        if meaning.news {
            for user in crate::todo::store::involved(self.db(), meaning.target).await? {
                reasons.insert(user, None);
            }
            for user in self.near(meaning.target).await? {
                reasons.insert(user, None);
            }
        }
        for user in &meaning.listeners {
            reasons.insert(*user, None);
        }
        if let Some(actor) = actor {
            reasons.remove(&actor);
        }
        for (user, action) in &meaning.tells {
            reasons.insert(*user, Some(*action));
        }
        let users: Vec<UserId> = reasons.keys().copied().take(PEOPLE).collect();
        if users.is_empty() {
            return Ok(Vec::new());
        }
        let chosen = store::choices(self.db(), &users).await?;
        let choice = |user: &UserId| chosen.get(user).copied().unwrap_or_default();
        let listens = |user: &UserId| meaning.listeners.contains(user);
        reasons.retain(|user, action| {
            let level = level(choice(user), meaning.target, *action);
            // Whoever subscribed to a label asked for exactly this.
            let least = if action.is_some() || listens(user) {
                Level::Todos
            } else {
                Level::All
            };
            level >= least
        });
        let watchers: Vec<UserId> = reasons
            .iter()
            .filter(|(_, action)| action.is_none())
            .map(|(user, _)| *user)
            .collect();
        let reads = self.who_reads(&watchers, meaning.target).await?;
        reasons.retain(|user, action| action.is_some() || reads.contains(user));
        Ok(reasons.into_iter().collect())
    }

    /// Who has to do with a target by what it is.
    async fn near(&self, target: Target) -> Result<Vec<UserId>> {
        Ok(match target {
            Target::Issue(id) => self.matters().issue(id).await?.map_or_else(Vec::new, |issue| {
                let assignees = issue.assignees.into_iter().map(|(id, _)| id);
                issue.author.into_iter().chain(assignees).collect()
            }),
            Target::Request(id) => self
                .matters()
                .request(id)
                .await?
                .map_or_else(Vec::new, |request| {
                    let people = request.author.into_iter().chain(request.assignees);
                    people.chain(request.reviewers).collect()
                }),
        })
    }

    fn person(caller: &Caller) -> Result<UserId> {
        caller.user.ok_or_else(|| {
            Problem::new(403, "no_person", "Mail goes to people.")
                .why("The token used is no person's.")
                .next("Sign in, or use a personal token.")
        })
    }

    /// What someone hears of by mail.
    ///
    /// # Errors
    /// No person asks, or the database refused.
    pub async fn mail_choice(&self, caller: &Caller) -> Result<wire::MailChoice> {
        let user = Self::person(caller)?;
        let chosen = store::choices(self.db(), &[user]).await?;
        let choice = chosen.get(&user).copied().unwrap_or_default();
        Ok(wire::MailChoice {
            issues: choice.issues.as_str().to_owned(),
            merge_requests: choice.merge_requests.as_str().to_owned(),
            pipelines: choice.pipelines.as_str().to_owned(),
        })
    }

    /// Chooses what one hears of by mail.
    ///
    /// # Errors
    /// A level is none, no person asks, or the database refused.
    pub async fn choose_mail(&self, caller: &Caller, wanted: &wire::MailChoice) -> Result<()> {
        let user = Self::person(caller)?;
        let read = |word: &str| {
            Level::parse(word).ok_or_else(|| {
                let shown: String = word.chars().take(40).collect();
                Problem::invalid("bad_level", format!("`{shown}` is no level."))
                    .next("Give all, todos or none.")
            })
        };
        let choice = Choice {
            issues: read(&wanted.issues)?,
            merge_requests: read(&wanted.merge_requests)?,
            pipelines: read(&wanted.pipelines)?,
        };
        let tx = self.db().begin().await?;
        store::choose(&tx, user, choice).await?;
        Ok(tx.commit().await?)
    }

    /// How sending goes. An administrator mends the way, and need learn neither to whom nor about what.
    ///
    /// # Errors
    /// The database refused.
    pub async fn mail_status(&self) -> Result<wire::MailStatus> {
        let settings = self.config().mail.as_ref();
        let troubled = store::troubled(self.db(), TROUBLED).await?;
        Ok(wire::MailStatus {
            server: settings.map_or_else(String::new, |s| format!("{}:{}", s.host, s.port)),
            from: settings.map_or_else(String::new, |s| s.from.clone()),
            counts: store::counts(self.db()).await?.into_iter().collect(),
            troubled: troubled
                .into_iter()
                .map(|mail| wire::MailTrouble {
                    next_try_at: (mail.state == "waiting").then_some(mail.due_at),
                    tried_at: mail.tried_at.unwrap_or(mail.at),
                    kind: mail.kind,
                    state: mail.state,
                    tries: mail.tries,
                    error: mail.error,
                })
                .collect(),
        })
    }

    /// Tries everything again that waits or was given up.
    pub(crate) async fn retry_mail(&self) -> Result<u64> {
        let tx = self.db().begin().await?;
        let again = store::again(&tx, self.now()).await?;
        tx.commit().await?;
        self.0.mails.notify_one();
        Ok(again)
    }
}

/// Writes down the mails of a fact. Those told by a to-do that waits already, for whom it is no news, get none. Says
/// whether there is one.
pub(crate) async fn enqueue(
    tx: &Tx,
    entry: &Entry,
    meaning: &Meaning,
    wanted: &Wanted,
    news: &BTreeSet<UserId>,
    now: Timestamp,
) -> bascule_store::Result<bool> {
    let mut any = false;
    for (user, action) in wanted {
        if action.is_some() && !news.contains(user) {
            continue;
        }
        any = true;
        let mail = Mail {
            id: store::id(),
            user_id: *user,
            project_id: meaning.project,
            action: action.map_or("", Action::as_str).to_owned(),
            kind: entry.kind.clone(),
            target: meaning.target.kind().to_owned(),
            target_id: meaning.target.id(),
            anchor: meaning.anchor.clone(),
            actor: entry.actor.name.clone(),
            summary: entry.summary.clone(),
            at: now,
            state: "waiting".to_owned(),
            tries: 0,
            due_at: now,
            tried_at: None,
            error: String::new(),
        };
        store::put(tx, entry, &mail).await?;
    }
    Ok(any)
}
