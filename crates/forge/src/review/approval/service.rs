//! Giving approvals, taking them back, weighing them.

use super::{APPROVED, COMMENTED, Given, Involved, Settings, store};
use crate::{
    Forge, ProjectInfo,
    merge_request::{MergeRequest, State},
    review::rules::{self, Bar, Case, Person, Verdict},
};
use bascule_core::{Caller, Permission, Problem, ProjectId, ProjectScope, Result, UserId};
use bascule_ledger::facts::review::{ApprovalGiven, ApprovalWithdrawn};
use bascule_store::Tx;
use std::collections::{BTreeMap, BTreeSet};

/// All that was looked at, and what it comes to.
#[derive(Clone, Debug)]
pub(crate) struct Weighed {
    pub(crate) settings: Settings,
    pub(crate) case: Case,
    pub(crate) verdict: Verdict,
    pub(crate) involved: Vec<Involved>,
}

impl Weighed {
    /// As [`Forge::may_approve`], of what was looked at already.
    pub(crate) fn may_approve(
        &self,
        caller: &Caller,
        scope: &ProjectScope,
        request: &MergeRequest,
        sha: &str,
    ) -> Result<UserId> {
        let user = looks_at(caller, scope, request, sha)?;
        let (barred, writers) = (self.settings.writers_barred, self.case.writers.clone());
        unbarred(caller, scope, request, user, barred, writers)
    }
}

impl Forge {
    /// What a project asks of reviews.
    pub(crate) async fn review_settings(&self, project: ProjectId) -> Result<Settings> {
        Ok(store::settings(self.db(), project).await?.unwrap_or_default())
    }

    /// Members of a project and some others, with the roles that they hold now.
    pub(crate) async fn people_of(
        &self,
        project: &ProjectInfo,
        others: &[(UserId, String)],
    ) -> Result<BTreeMap<UserId, Person>> {
        let mut people: BTreeMap<UserId, Person> = BTreeMap::new();
        for (known, role) in self.people()?.members(project).await? {
            let person = Person {
                id: known.id,
                name: known.username,
                role: Some(role),
            };
            people.insert(known.id, person);
        }
        for (id, name) in others {
            // Asked anew for each who matters: standing on the instance counts too, and a closed account ends all.
            let role = self.people()?.role(*id, project).await?;
            let person = Person {
                id: *id,
                name: name.clone(),
                role,
            };
            people.insert(*id, person);
        }
        Ok(people)
    }

    /// Weighs the approvals of a request as it stands.
    pub(crate) async fn weigh_approvals(
        &self,
        project: &ProjectInfo,
        request: &MergeRequest,
    ) -> Result<Weighed> {
        let settings = self.review_settings(project.id).await?;
        let kept = store::approvals(self.db(), request.id).await?;
        let involved = store::involved(self.db(), request.id).await?;
        let mut others: Vec<(UserId, String)> = kept
            .iter()
            .map(|given| (given.user_id, given.user_name.clone()))
            .collect();
        others.extend(
            involved
                .iter()
                .filter(|person| !person.verdict.is_empty())
                .map(|person| (person.user_id, person.user_name.clone())),
        );
        let people = self.people_of(project, &others).await?;
        let mut given = Vec::new();
        for one in &kept {
            given.push(rules::Given {
                by: one.user_id,
                name: one.user_name.clone(),
                fresh: self.is_fresh(request, one, &settings).await?,
            });
        }
        let demands = self.demands(project, request, &settings, &people).await?;
        let case = Case {
            author: request.author_id,
            writers: self.writers(request).await?,
            writers_barred: settings.writers_barred,
            people,
            given,
        };
        let verdict = case.judge(demands);
        Ok(Weighed {
            settings,
            case,
            verdict,
            involved,
        })
    }

    /// Whose approvals of a request count, by account and by name; for the record of its merge.
    ///
    /// # Errors
    /// Database or repository cannot be read.
    pub async fn approvers_of(
        &self,
        project: &ProjectInfo,
        request: &MergeRequest,
    ) -> Result<Vec<(UserId, String)>> {
        let verdict = self.weigh_approvals(project, request).await?.verdict;
        Ok(verdict.approver_ids.into_iter().zip(verdict.approvers).collect())
    }

    /// Whether an approval is for what would be merged now.
    pub(crate) async fn is_fresh(
        &self,
        request: &MergeRequest,
        given: &Given,
        settings: &Settings,
    ) -> Result<bool> {
        // What was approved for one branch was not for another.
        if given.target_branch != request.target_branch {
            return Ok(false);
        }
        if !settings.reset_on_change {
            return Ok(true);
        }
        self.is_same_change(
            request.project_id,
            (&given.base, &given.head),
            (&request.base, &request.head),
        )
        .await
    }

    /// Approves a request at the head that the caller looked at.
    pub(crate) async fn approve(
        &self,
        caller: &Caller,
        scope: &ProjectScope,
        request: &MergeRequest,
        sha: &str,
    ) -> Result<()> {
        let user = self.may_approve(caller, scope, request, sha).await?;
        let tx = self.db().begin().await?;
        self.write_approval(&tx, caller, request, user).await?;
        tx.commit().await?;
        self.wake_merges();
        Ok(())
    }

    /// Refuses whoever may not approve this request at this head.
    pub(crate) async fn may_approve(
        &self,
        caller: &Caller,
        scope: &ProjectScope,
        request: &MergeRequest,
        sha: &str,
    ) -> Result<UserId> {
        let user = looks_at(caller, scope, request, sha)?;
        let settings = self.review_settings(scope.id).await?;
        let writers = if settings.writers_barred {
            self.writers(request).await?
        } else {
            BTreeSet::new()
        };
        unbarred(caller, scope, request, user, settings.writers_barred, writers)
    }

    /// Writes an approval that was found to be allowed.
    pub(crate) async fn write_approval(
        &self,
        tx: &Tx,
        caller: &Caller,
        request: &MergeRequest,
        user: UserId,
    ) -> Result<()> {
        let given = Given {
            user_id: user,
            user_name: caller.actor.name.clone(),
            head: request.head.clone(),
            base: request.base.clone(),
            target_branch: request.target_branch.clone(),
            told_stale: false,
            at: self.now(),
        };
        store::give(tx, request.id, &given).await?;
        self.note_verdict(tx, caller, request, user, APPROVED).await?;
        let fact = ApprovalGiven {
            project: request.project_id,
            merge_request: request.id,
            iid: request.iid,
            user,
            head: request.head.clone(),
        };
        self.ledger().append(tx, &caller.actor, &fact).await?;
        Ok(())
    }

    /// Notes what someone said about a request.
    pub(crate) async fn note_verdict(
        &self,
        tx: &Tx,
        caller: &Caller,
        request: &MergeRequest,
        user: UserId,
        verdict: &str,
    ) -> Result<()> {
        let known = store::involved(tx, request.id).await?;
        let mut person = known
            .into_iter()
            .find(|person| person.user_id == user)
            .unwrap_or_else(|| Involved::nobody(user, &caller.actor.name));
        person.user_name.clone_from(&caller.actor.name);
        verdict.clone_into(&mut person.verdict);
        person.head.clone_from(&request.head);
        store::involve(tx, request.id, &person, self.now()).await?;
        Ok(())
    }

    /// Notes that someone commented. A verdict that they gave before stands.
    pub(crate) async fn note_comment(
        &self,
        tx: &Tx,
        caller: &Caller,
        request: &MergeRequest,
        user: UserId,
    ) -> Result<()> {
        let known = store::involved(tx, request.id).await?;
        let said = known
            .iter()
            .any(|person| person.user_id == user && !person.verdict.is_empty());
        if said {
            return Ok(());
        }
        self.note_verdict(tx, caller, request, user, COMMENTED).await
    }

    /// Takes one's own approval, or wish for changes, back.
    pub(crate) async fn unapprove(
        &self,
        caller: &Caller,
        scope: &ProjectScope,
        request: &MergeRequest,
    ) -> Result<()> {
        let user = reviewer(caller, scope)?;
        if request.state != State::Open {
            return Err(crate::merge_request::ended(request));
        }
        let tx = self.db().begin().await?;
        let gone = store::withdraw(&tx, request.id, user).await?;
        let known = store::involved(&tx, request.id).await?;
        let said = known.into_iter().find(|person| person.user_id == user);
        let had = said.as_ref().is_some_and(|person| !person.verdict.is_empty());
        if let Some(mut person) = said {
            person.verdict.clear();
            person.head.clear();
            store::involve(&tx, request.id, &person, self.now()).await?;
        }
        if gone == 0 && !had {
            return Err(Problem::conflict(
                "not_approved",
                "There is nothing of yours to take back.",
            ));
        }
        let fact = ApprovalWithdrawn {
            project: request.project_id,
            merge_request: request.id,
            iid: request.iid,
            user,
        };
        self.ledger().append(&tx, &caller.actor, &fact).await?;
        tx.commit().await?;
        self.wake_merges();
        Ok(())
    }
}

/// Whoever reviews an open request at its present head.
fn looks_at(caller: &Caller, scope: &ProjectScope, request: &MergeRequest, sha: &str) -> Result<UserId> {
    let user = reviewer(caller, scope)?;
    if request.state != State::Open {
        return Err(crate::merge_request::ended(request));
    }
    if sha.trim() != request.head {
        return Err(Bar::Stale.refusal());
    }
    Ok(user)
}

/// Refuses whoever is barred from approving.
fn unbarred(
    caller: &Caller,
    scope: &ProjectScope,
    request: &MergeRequest,
    user: UserId,
    writers_barred: bool,
    writers: BTreeSet<UserId>,
) -> Result<UserId> {
    let person = Person {
        id: user,
        name: caller.actor.name.clone(),
        role: Some(scope.role),
    };
    let case = Case {
        author: request.author_id,
        writers,
        writers_barred,
        people: BTreeMap::from([(user, person)]),
        ..Case::default()
    };
    match case.bar(user) {
        Some(bar) => Err(bar.refusal()),
        None => Ok(user),
    }
}

/// The person who reviews. Programs do not: an approval is someone's word.
pub(crate) fn reviewer(caller: &Caller, scope: &ProjectScope) -> Result<UserId> {
    let Some(user) = caller.person() else {
        return Err(Problem::new(403, "not_a_person", "Only a person approves or asks for changes.")
            .why("An approval is someone's word that they have looked at the change; no account stands behind this token.")
            .next("Sign in, or use a personal token with the scope `api`. A program may comment and post findings."));
    };
    if !scope.holds(Permission::MergeRequestApprove) {
        return Err(Problem::forbidden(Permission::MergeRequestApprove));
    }
    Ok(user)
}
