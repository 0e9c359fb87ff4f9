//! Who is asked to review, who a request is assigned to, and who would be a good choice.

use super::{CHANGES, Involved, store};
use crate::{Forge, ProjectInfo, merge_request::MergeRequest, review::rules::APPROVER};
use bascule_core::{Caller, Permission, Problem, ProjectScope, Result, Role, UserId};
use bascule_ledger::facts::review::{AssigneesChanged, ReviewersChanged};
use bascule_wire::review as wire;
use std::collections::{BTreeMap, BTreeSet};

/// Most reviewers or assignees of one request.
const PEOPLE: usize = 50;
/// Suggestions shown.
const SUGGESTED: usize = 20;

impl Forge {
    /// Sets reviewers and assignees. Naming a reviewer again who has said something asks them anew.
    pub(crate) async fn change_people(
        &self,
        caller: &Caller,
        scope: &ProjectScope,
        request: &MergeRequest,
        change: &wire::PeopleChange,
    ) -> Result<()> {
        crate::merge_request::may_edit(caller, scope, request)?;
        let project = self.project_of(scope).await?;
        let reviewers = self.named(&project, change.reviewers.as_deref()).await?;
        let assignees = self.named(&project, change.assignees.as_deref()).await?;
        if let Some(reviewers) = &reviewers
            && request
                .author_id
                .is_some_and(|author| reviewers.contains_key(&author))
        {
            return Err(
                Problem::invalid("own_request", "Whoever opened a request cannot be its reviewer.")
                    .why("A review is what someone else says about it.")
                    .next("Choose someone else; as assignee they may stay."),
            );
        }
        let before = store::involved(self.db(), request.id).await?;
        let mut all: BTreeMap<UserId, Involved> = before
            .into_iter()
            .map(|person| (person.user_id, person))
            .collect();
        let (mut requested, mut dropped, mut assigned, mut released) = (vec![], vec![], vec![], vec![]);
        let named = reviewers.iter().flatten().chain(assignees.iter().flatten());
        for (id, name) in named {
            all.entry(*id).or_insert_with(|| Involved::nobody(*id, name));
        }
        for (id, person) in &mut all {
            if let Some(reviewers) = &reviewers {
                let wanted = reviewers.contains_key(id);
                if person.reviewer && !wanted {
                    dropped.push(*id);
                    if person.verdict == CHANGES {
                        may_dismiss(caller, scope, *id)?;
                        person.verdict.clear();
                    }
                } else if wanted && !person.reviewer {
                    requested.push(*id);
                    // Someone who already said something is asked for their word on what there is now; their wish
                    // for changes stands until they have spoken.
                    if person.verdict != CHANGES {
                        person.verdict.clear();
                    }
                }
                person.reviewer = wanted;
            }
            if let Some(assignees) = &assignees {
                let wanted = assignees.contains_key(id);
                if wanted != person.assignee {
                    if wanted {
                        assigned.push(*id);
                    } else {
                        released.push(*id);
                    }
                }
                person.assignee = wanted;
            }
        }
        let tx = self.db().begin().await?;
        let now = self.now();
        for person in all.values() {
            store::involve(&tx, request.id, person, now).await?;
        }
        if !requested.is_empty() || !dropped.is_empty() {
            let fact = ReviewersChanged {
                project: request.project_id,
                merge_request: request.id,
                iid: request.iid,
                requested,
                removed: dropped,
            };
            self.ledger().append(&tx, &caller.actor, &fact).await?;
        }
        if !assigned.is_empty() || !released.is_empty() {
            let fact = AssigneesChanged {
                project: request.project_id,
                merge_request: request.id,
                iid: request.iid,
                assigned,
                removed: released,
            };
            self.ledger().append(&tx, &caller.actor, &fact).await?;
        }
        tx.commit().await?;
        self.wake_merges();
        Ok(())
    }

    /// Sets a wish for changes aside, as a maintainer may whose reviewer is away.
    pub(crate) async fn dismiss(
        &self,
        caller: &Caller,
        scope: &ProjectScope,
        request: &MergeRequest,
        name: &str,
    ) -> Result<()> {
        let involved = store::involved(self.db(), request.id).await?;
        let Some(mut person) = involved
            .into_iter()
            .find(|person| person.user_name == name && person.verdict == CHANGES)
        else {
            return Err(Problem::not_found("wish for changes"));
        };
        may_dismiss(caller, scope, person.user_id)?;
        person.verdict.clear();
        person.head.clear();
        let fact = ReviewersChanged {
            project: request.project_id,
            merge_request: request.id,
            iid: request.iid,
            requested: vec![],
            removed: vec![person.user_id],
        };
        let tx = self.db().begin().await?;
        store::involve(&tx, request.id, &person, self.now()).await?;
        self.ledger().append(&tx, &caller.actor, &fact).await?;
        tx.commit().await?;
        self.wake_merges();
        Ok(())
    }

    /// Accounts by their names, who all may read the project.
    async fn named(
        &self,
        project: &ProjectInfo,
        names: Option<&[String]>,
    ) -> Result<Option<BTreeMap<UserId, String>>> {
        let Some(names) = names else { return Ok(None) };
        if names.len() > PEOPLE {
            return Err(Problem::invalid("too_many", format!("At most {PEOPLE} people."))
                .next("Name those whose word matters most."));
        }
        let mut found = BTreeMap::new();
        for name in names {
            let name = name.trim().trim_start_matches('@');
            if name.is_empty() {
                continue;
            }
            let known = self.people()?.by_name(name).await?;
            let role = match &known {
                Some(known) => self.people()?.role(known.id, project).await?,
                None => None,
            };
            match known {
                Some(known) if role.is_some_and(|role| role >= Role::Reporter) => {
                    found.insert(known.id, known.username);
                }
                _ => {
                    let shown: String = name.chars().take(63).collect();
                    return Err(Problem::invalid(
                        "no_such_member",
                        format!("`{shown}` cannot read this project's code, or there is no such account."),
                    )
                    .why("Whoever reviews has to see the change.")
                    .next("Check the name, or make them a member first."));
                }
            }
        }
        Ok(Some(found))
    }

    /// Who would be a good reviewer: those whose approval is missing, with the fewest reviews waiting first.
    pub(crate) async fn suggest_reviewers(
        &self,
        project: &ProjectInfo,
        request: &MergeRequest,
    ) -> Result<Vec<wire::SuggestedReviewer>> {
        let weighed = self.weigh_approvals(project, request).await?;
        self.suggest_from(&weighed).await
    }

    /// The same, where approvals were weighed already.
    pub(crate) async fn suggest_from(
        &self,
        weighed: &super::Weighed,
    ) -> Result<Vec<wire::SuggestedReviewer>> {
        let asked: BTreeSet<UserId> = weighed
            .involved
            .iter()
            .filter(|person| person.reviewer || !person.verdict.is_empty())
            .map(|person| person.user_id)
            .collect();
        let by_name: BTreeMap<&str, UserId> = weighed
            .case
            .people
            .values()
            .map(|person| (person.name.as_str(), person.id))
            .collect();
        let mut because: BTreeMap<UserId, BTreeSet<String>> = BTreeMap::new();
        for outcome in weighed
            .verdict
            .outcomes
            .iter()
            .filter(|outcome| outcome.missing > 0)
        {
            for name in &outcome.could {
                if let Some(id) = by_name.get(name.as_str()) {
                    because.entry(*id).or_default().insert(outcome.name.clone());
                }
            }
        }
        // Without a rule that asks for someone, anyone who may approve is as good.
        if because.is_empty() {
            for person in weighed.case.people.values() {
                if person.role.is_some_and(|role| role >= APPROVER) && weighed.case.bar(person.id).is_none() {
                    because.entry(person.id).or_default();
                }
            }
        }
        because.retain(|id, _| !asked.contains(id));
        let ids: Vec<UserId> = because.keys().copied().take(500).collect();
        let waiting = store::waiting(self.db(), &ids).await?;
        let mut suggested: Vec<wire::SuggestedReviewer> = because
            .into_iter()
            .filter_map(|(id, because)| {
                Some(wire::SuggestedReviewer {
                    name: weighed.case.people.get(&id)?.name.clone(),
                    because: because.into_iter().collect(),
                    waiting: waiting.get(&id).copied().unwrap_or(0),
                })
            })
            .collect();
        suggested.sort_by(|a, b| {
            (a.because.is_empty(), a.waiting, &a.name).cmp(&(b.because.is_empty(), b.waiting, &b.name))
        });
        suggested.truncate(SUGGESTED);
        Ok(suggested)
    }
}

/// Only a maintainer sets another's wish for changes aside.
fn may_dismiss(caller: &Caller, scope: &ProjectScope, whose: UserId) -> Result<()> {
    caller.must_be_person("sets another's wish for changes aside")?;
    if caller.user == Some(whose) || scope.holds(Permission::ProjectManage) {
        return Ok(());
    }
    Err(Problem::forbidden(Permission::ProjectManage)
        .why("Someone asked for changes. Whoever wants the merge cannot set that aside themselves.")
        .next("Ask them to look again; a maintainer can set it aside if they are away."))
}
