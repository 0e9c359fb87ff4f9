//! Judging pushes, and turning what they did into facts.

use super::{
    Context, Session, Update, brings_many, explain, is_version_tag, judge, left_out, remark, store,
    usual_trunk,
};
use crate::{
    Forge, ProjectInfo, code, project,
    workflow::{Bypass, Weighed},
};
use bascule_core::{Actor, Problem, ProjectId, Result, any_covers};
use bascule_ledger::facts::{
    forge::{BranchUpdated, CommitStamp, ProjectChanged, PushRefused, TagUpdated},
    workflow::WorkflowBypassed,
};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// How long a push waits for another to the same project.
const WAIT: Duration = Duration::from_secs(60);
/// How long an intent that moved nothing is kept, in case git outlived the server that started it.
const YOUNG: Duration = Duration::from_secs(60);
/// Facts appended in one transaction.
const BATCH: usize = 100;
/// Refused references that get a fact of their own.
const TOLD: usize = 20;
/// How long what a push gave its pipeline is kept: until the pipeline is made, which takes seconds.
const OPTIONS_KEPT: Duration = Duration::from_secs(7 * 86_400);

/// One reference that did move.
#[derive(Clone, Debug)]
pub(crate) struct Move {
    pub(crate) update: Update,
    /// The tag's commit, where the update speaks of a tag object.
    pub(crate) peeled: Option<String>,
    pub(crate) forced: bool,
    pub(crate) commits: Vec<CommitStamp>,
    pub(crate) count: i64,
}

impl Forge {
    /// Judges a push while its objects are in quarantine. `Ok` lets it through, with what to tell of it, its
    /// intents written and the project's lock held by the session.
    pub(super) async fn judge(
        &self,
        session: &Arc<Session>,
        updates: &[Update],
        quarantine: Option<PathBuf>,
    ) -> Result<String, String> {
        let lock = self.pushes().lock(session.project.id);
        let Ok(lock) = tokio::time::timeout(WAIT, lock.lock_owned()).await else {
            let problem = Problem::new(
                503,
                "busy",
                "Another push to this project is still being finished.",
            );
            return Err(format!("\n{}\n\n", problem.next("Push again in a moment.")));
        };
        let told = |problem: Problem| {
            let why = "The platform could not record the push, so it was not taken.";
            let problem = if problem.why.is_empty() {
                problem.why(why)
            } else {
                problem
            };
            format!("\nRefused: {problem}\n\n")
        };
        let weighed = self
            .weigh(session, updates, quarantine.as_deref())
            .await
            .map_err(told)?;
        if !weighed.refusals.is_empty() {
            if let Err(error) = self.tell_refusals(session, &weighed.refusals).await {
                tracing::error!(%error, "a refused push could not be told to the ledger");
            }
            return Err(explain(&weighed.refusals, &weighed.footer));
        }
        self.write_intents(session, updates, &weighed.trunk, weighed.bypass.as_ref())
            .await
            .map_err(|error| told(error.into()))?;
        let made = updates.iter().filter(|update| update.new.is_some());
        session.set_branches(made.filter_map(Update::branch).map(str::to_owned).collect());
        session.accept(lock);
        let mut text = remark(&weighed.warnings, weighed.bypass.as_ref());
        text.push_str(&left_out(updates, session.options(), &weighed.trunk));
        text.push_str(
            &self
                .remarks(session, &weighed.trunk, updates, quarantine.as_deref())
                .await,
        );
        Ok(text)
    }

    async fn weigh(
        &self,
        session: &Session,
        updates: &[Update],
        quarantine: Option<&Path>,
    ) -> Result<Weighed> {
        let id = session.project.id;
        super::CiOptions::parse(session.options())?;
        self.settle_leftovers(id).await?;
        let project = self
            .project_by_id(id)
            .await?
            .ok_or_else(|| Problem::not_found("project"))?;
        let mut protected = self.protected_branches(id).await?;
        protected.push(project.default_branch.clone());
        let path = project.path();
        let context = Context {
            project: &path,
            protected: &protected,
            may_protected: session.may_protected,
            by_request: self.merge_settings(id).await?.require_request,
        };
        let mut refusals = Vec::new();
        for update in updates {
            let rewrites = update.moves_protected(&context) && self.rewrites(id, update, quarantine).await;
            refusals.extend(judge(update, &context, rewrites));
        }
        let measured = self.measure_push(session, quarantine).await?;
        refusals.extend(self.weigh_size(&measured, &project, updates, quarantine).await?);
        if refusals.is_empty() {
            let files = measured.files;
            return self
                .weigh_workflow(session, &project, updates, quarantine, files)
                .await;
        }
        // What may not be pushed at all is not looked at any closer.
        Ok(Weighed {
            refusals,
            ..Weighed::default()
        })
    }

    /// Whether the update takes commits away. Asked of git, since the new objects are still in quarantine.
    async fn rewrites(&self, id: ProjectId, update: &Update, quarantine: Option<&Path>) -> bool {
        let (Some(old), Some(new)) = (&update.old, &update.new) else {
            return false;
        };
        let repository = self.repositories().path(id);
        let mut command = self.git().within_push(&repository, quarantine);
        command
            .args(["merge-base", "--is-ancestor", old, new])
            .kill_on_drop(true);
        match command.output().await {
            Ok(answer) => !answer.status.success(),
            Err(error) => {
                tracing::error!(%error, "git could not be asked");
                true
            }
        }
    }

    async fn tell_refusals(
        &self,
        session: &Session,
        refusals: &[super::Refusal],
    ) -> bascule_store::Result<()> {
        let tx = self.db().begin().await?;
        for refusal in refusals.iter().take(TOLD) {
            let fact = PushRefused {
                project: session.project.id,
                reference: refusal.reference.clone(),
                rule: refusal.rule.to_owned(),
            };
            self.ledger().append(&tx, &session.actor, &fact).await?;
        }
        tx.commit().await
    }

    async fn write_intents(
        &self,
        session: &Session,
        updates: &[Update],
        trunk: &str,
        bypass: Option<&Bypass>,
    ) -> bascule_store::Result<()> {
        let tx = self.db().begin().await?;
        if let Some(bypass) = bypass {
            let fact = WorkflowBypassed {
                project: session.project.id,
                references: bypass.references.iter().take(TOLD).cloned().collect(),
                rules: bypass.rules.iter().map(|rule| rule.key().to_owned()).collect(),
                reason: bypass.reason.clone(),
                merge_request: None,
                iid: None,
                head: None,
            };
            self.ledger().append(&tx, &session.actor, &fact).await?;
        }
        let mut given = super::CiOptions::parse(session.options()).unwrap_or_default();
        if !given.is_empty() {
            given.may_protected = session.may_protected;
            let (at, old) = (self.now(), self.now().minus(OPTIONS_KEPT));
            store::put_options(&tx, session.id(), session.project.id, &given, (at, old)).await?;
        }
        let (skips_all, many) = (super::skips_ci(session.options()), brings_many(updates));
        for update in updates {
            let at = self.now();
            let skips = skips_all || (many && update.branch() != Some(trunk));
            store::insert(
                &tx,
                session.id(),
                session.project.id,
                &session.actor,
                session.may_protected,
                update,
                at,
                (skips, !given.is_empty()),
            )
            .await?;
        }
        tx.commit().await
    }

    /// What a push gave its pipeline, as facts of it name the push; nothing where that was forgotten.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub async fn ci_options(&self, project: ProjectId, push: &str) -> bascule_core::Result<super::CiOptions> {
        Ok(store::options(self.db(), project, push)
            .await?
            .unwrap_or_default())
    }

    /// Makes facts of what an accepted push did, once git has ended.
    pub(crate) async fn conclude(&self, session: &Session) {
        let mut pause = Duration::from_millis(50);
        for _ in 0..6 {
            let settled = async {
                let intents = store::of_push(self.db(), session.id()).await?;
                self.settle(session.project.id, intents, false).await
            };
            match settled.await {
                Ok(()) => {
                    self.pushes().soil(session.project.id);
                    if let Err(error) = self.grow(session.project.id, session.bytes()).await {
                        tracing::warn!(%error, "a project's growth was not noted; the next upkeep measures it");
                    }
                    return;
                }
                Err(problem) => {
                    tracing::error!(%problem, "a push's facts could not be appended; will be tried again");
                }
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
    }

    /// Finishes what crashes cut off.
    pub(crate) async fn recover(&self) -> Result<()> {
        for project in store::projects_with_intents(self.db()).await? {
            let lock = self.pushes().lock(project);
            let Ok(_lock) = lock.try_lock_owned() else {
                continue;
            };
            self.settle_leftovers(project).await?;
        }
        Ok(())
    }

    /// The same for one project, whose lock the caller holds.
    pub(crate) async fn settle_leftovers(&self, project: ProjectId) -> Result<()> {
        let mut intents = store::of_project(self.db(), project).await?;
        intents.retain(|intent| !self.pushes().is_running(&intent.push));
        if intents.is_empty() {
            return Ok(());
        }
        self.settle(project, intents, true).await
    }

    /// Compares intents with the references as they are, and appends what happened. What did not happen is
    /// forgotten, unless `keep_young` and it may still be about to.
    async fn settle(&self, id: ProjectId, intents: Vec<store::Intent>, keep_young: bool) -> Result<()> {
        if intents.is_empty() {
            return Ok(());
        }
        let Some(mut project) = self.project_by_id(id).await? else {
            return self.forget_intents(intents).await;
        };
        self.repositories().evict(id);
        let adopted = self.adopt_default(&project, &intents).await?;
        if let Some(branch) = &adopted {
            project.default_branch.clone_from(branch);
        }
        let updates: Vec<Update> = intents.iter().map(store::Intent::update).collect();
        let default = project.default_branch.clone();
        let moves = self
            .repositories()
            .read(id, move |repo| code::moves(repo, &updates, &default))
            .await?;
        // Before anything is told: what a deleted branch held stays while it can be brought back.
        let deleted: BTreeSet<&str> = moves
            .iter()
            .flatten()
            .map(|happened| &happened.update)
            .filter(|update| update.branch().is_some() && update.new.is_none())
            .filter_map(|update| update.old.as_deref())
            .collect();
        self.keep_deleted(id, &deleted).await?;
        let mut protected = self.protected_branches(id).await?;
        protected.push(project.default_branch.clone());
        let now = self.now();
        let pairs: Vec<_> = intents.into_iter().zip(moves).collect();
        let mut first = true;
        for batch in pairs.chunks(BATCH) {
            let tx = self.db().begin().await?;
            if let Some(branch) = adopted.as_ref().filter(|_| first) {
                let actor = batch
                    .first()
                    .map_or_else(Actor::system, |(intent, _)| intent.actor());
                project::store::set_default_branch(&tx, id, branch).await?;
                project::store::protect(&tx, id, branch).await?;
                let fact = ProjectChanged {
                    project: id,
                    setting: "default_branch".to_owned(),
                    value: branch.clone(),
                };
                self.ledger().append(&tx, &actor, &fact).await?;
                let forge = self.clone();
                tx.after_commit(move || forge.forget(id));
            }
            first = false;
            for (intent, happened) in batch {
                match happened {
                    Some(happened) => {
                        self.append(&tx, intent, happened, (&project, &protected)).await?;
                    }
                    None if keep_young && now.since(intent.at) < YOUNG => continue,
                    None => {}
                }
                store::delete(&tx, intent).await?;
            }
            if batch.iter().any(|(_, happened)| happened.is_some()) {
                project::store::touch(&tx, id, now).await?;
            }
            tx.commit().await?;
        }
        Ok(())
    }

    async fn append(
        &self,
        tx: &bascule_store::Tx,
        intent: &store::Intent,
        happened: &Move,
        (project, protected): (&ProjectInfo, &[String]),
    ) -> bascule_store::Result<()> {
        let id = project.id;
        let (actor, at, update) = (intent.actor(), self.now(), &happened.update);
        if let Some(branch) = update.branch() {
            if let (Some(old), None) = (&update.old, &update.new) {
                code::store::insert_deleted(tx, id, branch, old, &actor.name, at).await?;
            }
            let fact = BranchUpdated {
                project: id,
                branch: branch.to_owned(),
                before: update.old.clone(),
                after: update.new.clone(),
                default: branch == project.default_branch,
                forced: happened.forced,
                commits: happened.commits.clone(),
                commit_count: happened.count,
                at,
                ci_skip: intent.ci_skip,
                ci_options: intent.ci_options.then(|| intent.push.clone()),
            };
            self.ledger().append(tx, &actor, &fact).await?;
            if let Some(new) = update.new.as_deref().filter(|_| any_covers(protected, branch)) {
                project::store::vouch(tx, id, new).await?;
            }
        } else if let Some(tag) = update.tag() {
            let after = happened.peeled.clone().or_else(|| update.new.clone());
            if let Some(after) = after
                .as_deref()
                .filter(|_| intent.may_protect && is_version_tag(tag))
            {
                project::store::vouch(tx, id, after).await?;
            }
            let fact = TagUpdated {
                project: id,
                tag: tag.to_owned(),
                before: update.old.clone(),
                after,
                at,
                ci_skip: intent.ci_skip,
                ci_options: intent.ci_options.then(|| intent.push.clone()),
            };
            self.ledger().append(tx, &actor, &fact).await?;
        }
        Ok(())
    }

    async fn forget_intents(&self, intents: Vec<store::Intent>) -> Result<()> {
        let tx = self.db().begin().await?;
        for intent in &intents {
            store::delete(&tx, intent).await?;
        }
        Ok(tx.commit().await?)
    }

    /// An empty project whose first push brings other branches than the default one: the first of them
    /// becomes the default, as people expect who come with a `master`.
    async fn adopt_default(
        &self,
        project: &crate::ProjectInfo,
        intents: &[store::Intent],
    ) -> Result<Option<String>> {
        let created: Vec<String> = intents
            .iter()
            .filter(|intent| intent.may_protect && intent.old_sha.is_none() && intent.new_sha.is_some())
            .filter_map(|intent| intent.reference.strip_prefix("refs/heads/").map(str::to_owned))
            .collect();
        if created.is_empty() || created.contains(&project.default_branch) {
            return Ok(None);
        }
        let heads = self.repositories().read(project.id, code::heads).await?;
        let default = &project.default_branch;
        if heads.is_empty()
            || heads
                .iter()
                .any(|head| head == default || !created.contains(head))
        {
            return Ok(None);
        }
        let chosen = usual_trunk(|name| heads.iter().any(|head| head == name));
        let Some(chosen) = chosen.map(str::to_owned).or_else(|| heads.first().cloned()) else {
            return Ok(None);
        };
        self.repositories().set_head(project.id, &chosen).await?;
        Ok(Some(chosen))
    }

    /// Writes the intent of one change that the platform itself is about to make; the caller holds the lock.
    pub(crate) async fn intend(&self, id: ProjectId, actor: &Actor, update: &Update) -> Result<String> {
        let tx = self.db().begin().await?;
        let push = self.intend_in(&tx, id, actor, update).await?;
        tx.commit().await?;
        Ok(push)
    }

    /// The same within a transaction that notes more.
    pub(crate) async fn intend_in(
        &self,
        tx: &bascule_store::Tx,
        id: ProjectId,
        actor: &Actor,
        update: &Update,
    ) -> Result<String> {
        let push = uuid::Uuid::now_v7().simple().to_string();
        store::insert(tx, &push, id, actor, true, update, self.now(), (false, false)).await?;
        Ok(push)
    }

    /// Makes facts of it.
    pub(crate) async fn settle_push(&self, id: ProjectId, push: &str) -> Result<()> {
        let intents = store::of_push(self.db(), push).await?;
        self.settle(id, intents, false).await
    }
}
