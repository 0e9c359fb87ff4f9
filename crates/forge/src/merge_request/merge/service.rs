//! Merging a request: ask every condition, make the commit, move the branch, tell it once.

use super::{Approver, Build, Conflict, Tried, store};
use crate::{
    Forge, ProjectInfo, Signature,
    code::shown,
    merge_request::{
        Check, CheckState, MergeRequest, Settings, State, Strategy, service, store as requests, text,
    },
    push::Update,
    told::sentences,
};
use bascule_core::{
    Actor, Caller, MergeRequestId, Permission, Problem, ProjectId, ProjectScope, Result, Timestamp, UserId,
};
use bascule_ledger::facts::{
    forge::BranchUpdated,
    merge_request::{MergeRequestChanged, MergeRequestMerged},
};
use bascule_store::{Backend, Tx};
use bascule_wire::merge_request::MergeOrder;
use std::time::Duration;

/// How long a merge of another replica may be under way.
const YOUNG: Duration = Duration::from_secs(60);

/// One request that comes with a move of the branch.
pub(crate) struct Landing {
    pub(crate) request: MergeRequestId,
    pub(crate) head: String,
    pub(crate) before: String,
    pub(crate) after: String,
    pub(crate) strategy: Strategy,
    pub(crate) queued: bool,
    pub(crate) delete_source: bool,
    pub(crate) actor: Actor,
}

impl Forge {
    /// Merges a request now, or notes the wish to have it merged once all conditions are met.
    ///
    /// # Errors
    /// The caller may not, a condition is not met, the branch moved meanwhile, files are in conflict, or the disk or
    /// database refused.
    pub async fn merge(
        &self,
        caller: &Caller,
        scope: &ProjectScope,
        iid: i64,
        order: &MergeOrder,
    ) -> Result<MergeRequest> {
        let project = self.project_of(scope).await?;
        let settings = self.merge_settings(project.id).await?;
        let strategy = match order.strategy.as_deref() {
            None | Some("") => settings.strategy,
            Some(text) => Strategy::parse(text)?,
        };
        if settings.strategy == Strategy::FastForward
            && strategy != Strategy::FastForward
            && strategy != Strategy::Rebase
        {
            return Err(
                Problem::invalid("bad_strategy", "This project keeps its history in one line.")
                    .why("Merge commits would break it.")
                    .next("Merge by fast-forward or rebase."),
            );
        }
        let lock = self.pushes().lock(project.id);
        let lock = lock.lock_owned().await;
        self.settle_leftovers(project.id).await?;
        self.finish_merges(project.id).await?;
        let request = self.merge_request(project.id, iid).await?;
        if request.state != State::Open {
            return Err(service::ended(&request));
        }
        self.may_merge(scope, &request, &settings).await?;
        let looked_at = order.sha.as_deref().is_none_or(|sha| sha == request.head);
        let stands = self.source_head(&request).await?;
        if !looked_at || stands.as_ref().is_some_and(|head| *head != request.head) {
            return Err(
                Problem::conflict("head_moved", format!("!{iid} has new commits."))
                    .why("What is merged is what was looked at, and nothing else.")
                    .next("Look at the new commits, then merge again."),
            );
        }
        let mut checks = self.merge_checks(&project, &request).await?;
        if let Some(reason) = order.bypass.as_deref().filter(|reason| !reason.trim().is_empty()) {
            let waits = order.when_checks_pass;
            if self
                .bypass_at_merge(caller, scope, &request, &checks, waits, reason)
                .await?
            {
                checks = self.merge_checks(&project, &request).await?;
            }
        }
        let free = !checks.iter().any(|check| check.state.holds());
        if !free && order.when_checks_pass {
            return self.wish(caller, &request, order, strategy).await;
        }
        if !free {
            return Err(held(&request, &checks));
        }
        if settings.queue {
            drop(lock);
            let delete = order.delete_source_branch.unwrap_or(request.delete_source);
            return self.enqueue(caller, &request, strategy, delete).await;
        }
        self.merge_checked(
            &project,
            &settings,
            &request,
            strategy,
            order.delete_source_branch.unwrap_or(request.delete_source),
            &caller.actor,
            caller.user,
        )
        .await?;
        drop(lock);
        self.wake_merges();
        self.merge_request(project.id, iid).await
    }

    /// Whether the caller's role lets them merge into this branch.
    pub(crate) async fn may_merge(
        &self,
        scope: &ProjectScope,
        request: &MergeRequest,
        settings: &Settings,
    ) -> Result<()> {
        if !scope.holds(Permission::MergeRequestMerge) {
            return Err(Problem::forbidden(Permission::MergeRequestMerge));
        }
        if settings.developers_merge
            || scope.holds(Permission::ProtectedPush)
            || !self
                .is_protected_branch(request.project_id, &request.target_branch)
                .await?
        {
            return Ok(());
        }
        Err(Problem::new(
            403,
            "branch_protected",
            format!("`{}` is protected; you may not merge into it.", request.target_branch),
        )
        .why("Only maintainers merge into a protected branch here, because what is on it gets built and deployed.")
        .next("Ask a maintainer to merge it; they may let developers merge in the project's settings."))
    }

    /// Merges what was checked; the caller holds the project's lock.
    #[allow(clippy::too_many_arguments, reason = "each is a decision made before")]
    async fn merge_checked(
        &self,
        project: &ProjectInfo,
        settings: &Settings,
        request: &MergeRequest,
        strategy: Strategy,
        delete_source: bool,
        actor: &Actor,
        user: Option<UserId>,
    ) -> Result<()> {
        let before = self
            .resolve_branch(project.id, &request.target_branch)
            .await?
            .ok_or_else(|| Problem::not_found("target branch"))?;
        let by = self.signature_of(actor, user).await?;
        let approvers = self.approved_by(request).await?;
        let built = self
            .build_merge(&Build {
                project,
                request,
                settings,
                strategy,
                onto: &before,
                by: &by,
                approvers: &approvers,
            })
            .await?;
        let after = built.map_err(|conflicts| in_conflict(request, &conflicts))?;
        if after == before {
            return Err(Problem::conflict(
                "nothing_to_merge",
                format!("`{}` has all these changes already.", request.target_branch),
            )
            .why("A merge without a change would say that something happened.")
            .next("Close the request."));
        }
        let landing = Landing {
            request: request.id,
            head: request.head.clone(),
            before: before.clone(),
            after: after.clone(),
            strategy,
            queued: false,
            delete_source,
            actor: actor.clone(),
        };
        self.land(project.id, &request.target_branch, actor, &[landing])
            .await
    }

    /// Moves a branch to where the last of these lands; the caller holds the project's lock, and the first begins
    /// where the branch stands. All of them are merged, or none.
    pub(crate) async fn land(
        &self,
        project: ProjectId,
        branch: &str,
        actor: &Actor,
        landings: &[Landing],
    ) -> Result<()> {
        let (Some(first), Some(last)) = (landings.first(), landings.last()) else {
            return Ok(());
        };
        let update = Update {
            reference: format!("refs/heads/{branch}"),
            old: Some(first.before.clone()),
            new: Some(last.after.clone()),
        };
        let tx = self.db().begin().await?;
        let push = self.intend_in(&tx, project, actor, &update).await?;
        for landing in landings {
            let intent = store::Intent {
                merge_request_id: landing.request,
                project_id: project,
                push: push.clone(),
                holder: self.holder().to_owned(),
                target_branch: branch.to_owned(),
                head: landing.head.clone(),
                before_sha: landing.before.clone(),
                after_sha: landing.after.clone(),
                strategy: landing.strategy.as_str().to_owned(),
                queued: landing.queued,
                delete_source: landing.delete_source,
                actor_kind: landing.actor.kind.as_str().to_owned(),
                actor_id: landing.actor.id.clone(),
                actor_name: landing.actor.name.clone(),
                at: self.now(),
            };
            store::insert(&tx, &intent).await.map_err(|error| {
                if error.is_unique_violation() {
                    Problem::conflict("being_merged", "It is being merged at this moment.")
                        .next("Look again in a moment.")
                } else {
                    error.into()
                }
            })?;
        }
        tx.commit().await?;
        let moved = self.move_reference(project, &update).await;
        self.settle_push(project, &push).await?;
        self.finish_merges(project).await?;
        moved?;
        self.pushes().soil(project);
        Ok(())
    }

    /// Finishes merges of a project that moved its branch, and forgets those that did not. The caller holds the
    /// project's lock; cut-off pushes are settled.
    pub(crate) async fn finish_merges(&self, project: ProjectId) -> Result<()> {
        for intent in store::of_project(self.db(), project).await? {
            let tip = self.resolve_branch(project, &intent.target_branch).await?;
            let landed = match &tip {
                Some(tip) => {
                    self.ancestors(project, tip, std::slice::from_ref(&intent.after_sha))
                        .await?
                        == [true]
                }
                None => false,
            };
            if landed {
                self.finish(&intent).await?;
                continue;
            }
            // On SQLite there is one process; whoever else made it is dead.
            let mine = intent.holder == self.holder() || self.db().backend() == Backend::Sqlite;
            if mine || self.now().since(intent.at) > YOUNG {
                let tx = self.db().begin().await?;
                store::delete(&tx, intent.merge_request_id).await?;
                tx.commit().await?;
            }
        }
        Ok(())
    }

    async fn finish(&self, intent: &store::Intent) -> Result<()> {
        let Some(request) = requests::by_id(self.db(), intent.merge_request_id).await? else {
            let tx = self.db().begin().await?;
            store::delete(&tx, intent.merge_request_id).await?;
            return Ok(tx.commit().await?);
        };
        let actor = intent.actor();
        self.tell_merged(
            &request,
            &actor,
            Told {
                head: &intent.head,
                before: &intent.before_sha,
                after: &intent.after_sha,
                strategy: &intent.strategy,
                queued: intent.queued,
            },
        )
        .await?;
        if intent.delete_source {
            self.delete_source(&request, &intent.head, &actor).await?;
        }
        let tx = self.db().begin().await?;
        store::delete(&tx, intent.merge_request_id).await?;
        Ok(tx.commit().await?)
    }

    async fn tell_merged(&self, request: &MergeRequest, actor: &Actor, told: Told<'_>) -> Result<()> {
        if request.state == State::Merged {
            return Ok(());
        }
        let closes = self.closes(request, told.before, told.head).await?;
        // The branch has moved already: what cannot be read any more must not keep the merge from being told.
        let approvals = self.approved_by(request).await.unwrap_or_else(|problem| {
            tracing::warn!(%problem, "who approved a merge could not be read again");
            Vec::new()
        });
        let now = self.now();
        let tx = self.db().begin().await?;
        if requests::end(
            &tx,
            request.id,
            State::Merged,
            Some((told.before, told.after)),
            &actor.name,
            now,
        )
        .await?
            == 1
        {
            let fact = MergeRequestMerged {
                project: request.project_id,
                merge_request: request.id,
                iid: request.iid,
                source_project: request.source_project_id,
                source_branch: request.source_branch.clone(),
                target_branch: request.target_branch.clone(),
                head: told.head.to_owned(),
                before: told.before.to_owned(),
                after: told.after.to_owned(),
                strategy: told.strategy.to_owned(),
                queued: told.queued,
                closes,
                approvals: approvals
                    .into_iter()
                    .map(|approver| approver.user.to_string())
                    .collect(),
                opened_at: request.created_at,
                at: now,
            };
            self.ledger().append(&tx, actor, &fact).await?;
        }
        let queued = crate::queue::store::delete(&tx, request.id).await? == 1;
        tx.commit().await?;
        if queued {
            let name = crate::queue::reference(request.iid);
            self.set_references(request.project_id, &[(name, None)]).await?;
        }
        Ok(())
    }

    /// A push brought the commits of an open request into its target.
    pub(crate) async fn merged_by_push(
        &self,
        request: &MergeRequest,
        fact: &BranchUpdated,
        by: &Actor,
    ) -> Result<()> {
        let after = fact.after.as_deref().unwrap_or(&request.head);
        self.tell_merged(
            request,
            by,
            Told {
                head: &request.head,
                before: fact.before.as_deref().unwrap_or(&request.base),
                after,
                strategy: "push",
                queued: false,
            },
        )
        .await
    }

    /// Numbers of issues that description and commits say are closed.
    pub(crate) async fn closes(&self, request: &MergeRequest, onto: &str, head: &str) -> Result<Vec<i64>> {
        let (onto, head) = (onto.to_owned(), head.to_owned());
        let messages = self
            .repositories()
            .read(request.project_id, move |repo| {
                let (Ok(onto), Ok(head)) = (
                    crate::merge_request::read::id(repo, &onto),
                    crate::merge_request::read::id(repo, &head),
                ) else {
                    return Ok(Vec::new());
                };
                let (found, _) = crate::merge_request::read::commits(repo, onto, head, 0, 500)?;
                Ok(found
                    .into_iter()
                    .map(|commit| format!("{}\n\n{}", commit.title, commit.body))
                    .collect::<Vec<_>>())
            })
            .await?;
        let mut closes = text::closes(&request.title);
        closes.extend(text::closes(&request.description));
        for message in messages {
            closes.extend(text::closes(&message));
        }
        closes.sort_unstable();
        closes.dedup();
        closes.truncate(100);
        Ok(closes)
    }

    /// Deletes the source branch, if it still stands at what was merged and nothing protects it.
    async fn delete_source(&self, request: &MergeRequest, head: &str, actor: &Actor) -> Result<()> {
        // In a fork the branch is its owner's.
        if request.is_fork() {
            return Ok(());
        }
        let project = request.project_id;
        let stands = self.resolve_branch(project, &request.source_branch).await?;
        if stands.as_deref() != Some(head)
            || self.is_protected_branch(project, &request.source_branch).await?
        {
            return Ok(());
        }
        let others = requests::open_from(self.db(), project, &request.source_branch).await?;
        let aimed = requests::open_to(self.db(), project, &request.source_branch).await?;
        if !others.is_empty() || !aimed.is_empty() {
            return Ok(());
        }
        let update = Update {
            reference: format!("refs/heads/{}", request.source_branch),
            old: Some(head.to_owned()),
            new: None,
        };
        let push = self.intend(project, actor, &update).await?;
        let moved = self.move_reference(project, &update).await;
        self.settle_push(project, &push).await?;
        if let Err(problem) = moved {
            tracing::warn!(%problem, "a merged branch could not be deleted");
        }
        Ok(())
    }

    /// Notes that a request is to be merged once all conditions are met.
    async fn wish(
        &self,
        caller: &Caller,
        request: &MergeRequest,
        order: &MergeOrder,
        strategy: Strategy,
    ) -> Result<MergeRequest> {
        let Some(user) = caller.user else {
            return Err(
                Problem::new(403, "not_a_person", "Only a person can ask for a merge later.")
                    .why("When the time comes it is asked again whether they may, and a project's token may be gone by then.")
                    .next("Ask with your own account, or merge once the checks pass."),
            );
        };
        let actor = Actor::new(bascule_core::ActorKind::User, user, caller.actor.name.clone());
        let chosen = order.strategy.as_ref().map(|_| strategy.as_str());
        let tx = self.db().begin().await?;
        requests::set_auto(&tx, request.id, Some(&actor), chosen, self.now()).await?;
        store::set_dropped(&tx, request.id, request.project_id, None).await?;
        let fact = MergeRequestChanged {
            project: request.project_id,
            merge_request: request.id,
            iid: request.iid,
            field: "auto_merge".to_owned(),
            value: "on".to_owned(),
            person: None,
        };
        self.ledger().append(&tx, &caller.actor, &fact).await?;
        tx.commit().await?;
        self.wake_merges();
        self.merge_request(request.project_id, request.iid).await
    }

    /// Takes the wish back.
    ///
    /// # Errors
    /// The caller may not, or the database refused.
    pub async fn cancel_auto_merge(
        &self,
        caller: &Caller,
        scope: &ProjectScope,
        iid: i64,
    ) -> Result<MergeRequest> {
        let request = self.merge_request(scope.id, iid).await?;
        service::may_edit(caller, scope, &request)?;
        self.drop_wish(&request, &caller.actor, "off", None).await?;
        self.merge_request(scope.id, iid).await
    }

    /// Takes a wish back. `why` is told to who had it, unless they did it themselves.
    pub(super) async fn drop_wish(
        &self,
        request: &MergeRequest,
        actor: &Actor,
        value: &str,
        why: Option<String>,
    ) -> Result<()> {
        if request.auto_id.is_none() {
            return Ok(());
        }
        let tx = self.db().begin().await?;
        requests::set_auto(&tx, request.id, None, None, self.now()).await?;
        self.tell_dropped(&tx, request, actor, value, why).await?;
        Ok(tx.commit().await?)
    }

    /// Notes and tells that the wish that a request had is gone.
    pub(crate) async fn tell_dropped(
        &self,
        tx: &Tx,
        request: &MergeRequest,
        actor: &Actor,
        value: &str,
        why: Option<String>,
    ) -> Result<()> {
        let dropped = why.map(|why| store::Dropped {
            wisher: request.auto_name.clone().unwrap_or_default(),
            why,
            at: self.now(),
        });
        store::set_dropped(tx, request.id, request.project_id, dropped.as_ref()).await?;
        let fact = MergeRequestChanged {
            project: request.project_id,
            merge_request: request.id,
            iid: request.iid,
            field: "auto_merge".to_owned(),
            value: value.to_owned(),
            person: request.auto_id.as_ref().and_then(|id| id.parse().ok()),
        };
        self.ledger().append(tx, actor, &fact).await?;
        Ok(())
    }

    /// Why a request is not merged by itself any more, and since when; `None` where nobody asked, or where it still is.
    pub(crate) async fn wish_dropped(&self, request: &MergeRequest) -> Result<Option<(String, Timestamp)>> {
        if request.state != State::Open || request.auto_id.is_some() {
            return Ok(None);
        }
        let found = store::dropped(self.db(), request.id).await?;
        Ok(found.map(|found| {
            let told = format!(
                "{} had asked to merge it once all is met. {}",
                found.wisher, found.why
            );
            (told, found.at)
        }))
    }

    /// Whether a branch is the default one or protected.
    pub(crate) async fn is_protected_branch(&self, project: ProjectId, branch: &str) -> Result<bool> {
        let default = self
            .project_by_id(project)
            .await?
            .is_some_and(|project| project.default_branch == branch);
        Ok(default || self.is_protected(project, branch, false).await?)
    }

    /// How whoever merges is named in commits.
    pub(crate) async fn signature_of(&self, actor: &Actor, user: Option<UserId>) -> Result<Signature> {
        let person = match user {
            Some(user) => self.sight().person(user).await?,
            None => None,
        };
        let nowhere = |name: &str| format!("{name}@users.noreply.invalid");
        Ok(match person {
            Some(person) => Signature {
                email: if person.email.is_empty() {
                    nowhere(&person.username)
                } else {
                    person.email
                },
                name: if person.display_name.is_empty() {
                    person.username
                } else {
                    person.display_name
                },
            },
            None => Signature {
                name: actor.name.clone(),
                email: nowhere(&actor.name),
            },
        })
    }

    /// Who approved a request as it stands.
    pub(crate) async fn approved_by(&self, request: &MergeRequest) -> Result<Vec<Approver>> {
        let project = self.project_by_id(request.project_id).await?;
        let project = project.ok_or_else(|| Problem::not_found("project"))?;
        let approvers = self.approvers_of(&project, request).await?.into_iter();
        Ok(approvers.map(|(user, name)| Approver { user, name }).collect())
    }

    /// The condition that the two branches go together.
    pub(crate) async fn conflict_check(&self, request: &MergeRequest, tip: &str) -> Result<Check> {
        let tried = self.try_merge(request.project_id, tip, &request.head).await?;
        Ok(match tried.as_ref() {
            Tried::Clean(_) => Check::passed("conflicts", "It goes together with the target branch."),
            Tried::Conflicts { files, .. } => {
                let problem = in_conflict(request, files);
                Check::holds(
                    "conflicts",
                    CheckState::Failed,
                    problem.what,
                    problem.why,
                    problem.next,
                )
            }
            Tried::Unrelated => {
                let problem = unrelated(request);
                Check::holds(
                    "unrelated",
                    CheckState::Failed,
                    problem.what,
                    problem.why,
                    problem.next,
                )
            }
        })
    }
}

struct Told<'a> {
    head: &'a str,
    before: &'a str,
    after: &'a str,
    strategy: &'a str,
    queued: bool,
}

/// What holds a merge, as a refusal.
pub(crate) fn held(request: &MergeRequest, checks: &[Check]) -> Problem {
    let open: Vec<&Check> = checks.iter().filter(|check| check.state.holds()).collect();
    let what: Vec<&str> = open.iter().map(|check| check.what.as_str()).collect();
    let why: Vec<&str> = open
        .iter()
        .map(|check| check.why.as_str())
        .filter(|why| !why.is_empty())
        .collect();
    let next: Vec<&str> = open
        .iter()
        .map(|check| check.next.as_str())
        .filter(|next| !next.is_empty())
        .collect();
    let code = open.first().map_or("checks", |check| check.name);
    Problem::conflict(
        &format!("held_by_{code}"),
        format!("!{} cannot be merged yet: {}", request.iid, sentences(what)),
    )
    .why(sentences(why))
    .next(sentences(next))
}

/// Branches without a common past, as a refusal.
pub(crate) fn unrelated(request: &MergeRequest) -> Problem {
    let (source, target) = (&request.source_branch, &request.target_branch);
    Problem::conflict(
        "unrelated",
        format!("`{source}` has no commit in common with `{target}`."),
    )
    .why("Without a common beginning nobody can say what would change.")
    .next(format!(
        "Put your commits on top of `{target}` (`git rebase --onto origin/{target} --root`) and push by force, or close the request."
    ))
}

/// Files that two changes meet in, as a refusal.
pub(crate) fn in_conflict(request: &MergeRequest, conflicts: &[Conflict]) -> Problem {
    let mut files: Vec<String> = conflicts
        .iter()
        .take(10)
        .map(|conflict| {
            let kind = if conflict.kind.is_empty() || conflict.kind == "contents" {
                String::new()
            } else {
                format!(" ({})", conflict.kind)
            };
            format!("`{}`{kind}", shown(&conflict.path))
        })
        .collect();
    if conflicts.len() > 10 {
        files.push(format!("and {} more", conflicts.len() - 10));
    }
    Problem::conflict(
        "conflicts",
        format!(
            "It is in conflict with `{}` in {}.",
            request.target_branch,
            files.join(", ")
        ),
    )
    .why("Both branches changed the same place, and only a person can say which change is meant.")
    .next(format!(
        "Merge `{}` into `{}` and push, or solve the conflict on the request's page.",
        request.target_branch, request.source_branch
    ))
}
