//! Entering and leaving a queue, and what a round does.

use super::{CONDITION, Entry, store};
use crate::{
    Forge, ProjectInfo,
    merge_request::{
        Check, CheckState, MergeRequest, Settings, State, Strategy,
        merge::{Build, Landing, in_conflict},
        service::{self, may_edit},
        store as requests,
    },
    ports::{Outcome, Trial},
};
use bascule_core::{Actor, ActorKind, Caller, Problem, ProjectId, ProjectScope, Result};
use bascule_ledger::facts::merge_request::{MergeQueued, MergeSpeculated, MergeUnqueued};
use bascule_wire::merge_request::QueuePlace;

/// Most requests in one queue.
const LONGEST: i64 = 500;
/// Requests named that were before another.
const NAMED: usize = 5;
/// The reason of those that a pipeline found to break the branch.
const FAILED: &str = "pipeline_failed";
/// Most rounds in a row; another wake-up goes on.
const ROUNDS: usize = 100;

/// Why an entry leaves without being merged.
struct Out {
    reason: &'static str,
    detail: String,
    pipeline: Option<i64>,
}

impl Out {
    fn new(reason: &'static str, detail: impl Into<String>) -> Self {
        Self {
            reason,
            detail: detail.into(),
            pipeline: None,
        }
    }
}

/// What a round found to do.
enum Step {
    /// Nothing until something happens.
    Rest,
    /// Something changed: look again.
    Again,
}

impl Forge {
    /// Puts a request, whose conditions are met, at the end of its branch's queue.
    pub(crate) async fn enqueue(
        &self,
        caller: &Caller,
        request: &MergeRequest,
        strategy: Strategy,
        delete_source: bool,
    ) -> Result<MergeRequest> {
        let Some(user) = caller.user else {
            return Err(
                Problem::new(403, "not_a_person", "Only a person can put a request into the merge queue.")
                    .why("When its turn comes it is asked again whether they may merge, and a project's token may be gone by then.")
                    .next("Do it with your own account."),
            );
        };
        let full = store::list(self.db(), request.project_id, &request.target_branch, LONGEST + 1).await?;
        if full.len() as i64 >= LONGEST {
            return Err(
                Problem::conflict("queue_full", format!("{LONGEST} requests are in the queue."))
                    .why("Each needs a pipeline of its own.")
                    .next("Try again when some are merged."),
            );
        }
        let now = self.now();
        let tx = self.db().begin().await?;
        let entry = Entry {
            merge_request_id: request.id,
            project_id: request.project_id,
            iid: request.iid,
            target_branch: request.target_branch.clone(),
            position: store::next_position(&tx).await?,
            head: request.head.clone(),
            // In a queue the branch has always moved before one's turn comes.
            strategy: if strategy == Strategy::FastForward {
                Strategy::Rebase
            } else {
                strategy
            }
            .as_str()
            .to_owned(),
            delete_source,
            actor_kind: ActorKind::User.as_str().to_owned(),
            actor_id: user.to_string(),
            actor_name: caller.actor.name.clone(),
            base_sha: None,
            sha: None,
            started: false,
            pipeline: None,
            at: now,
        };
        if store::insert(&tx, &entry).await? == 1 {
            requests::set_auto(&tx, request.id, None, None, now).await?;
            let fact = MergeQueued {
                project: request.project_id,
                merge_request: request.id,
                iid: request.iid,
                target_branch: request.target_branch.clone(),
                head: request.head.clone(),
            };
            self.ledger().append(&tx, &caller.actor, &fact).await?;
        }
        tx.commit().await?;
        self.wake_merges();
        self.merge_request(request.project_id, request.iid).await
    }

    /// Takes a request out of its queue.
    ///
    /// # Errors
    /// The caller may not, it is in none, or the database refused.
    pub async fn leave_queue(&self, caller: &Caller, scope: &ProjectScope, iid: i64) -> Result<MergeRequest> {
        let request = self.merge_request(scope.id, iid).await?;
        may_edit(caller, scope, &request)?;
        // Not while it is being merged.
        let lock = self.pushes().lock(scope.id);
        let lock = lock.lock_owned().await;
        let entry = store::find(self.db(), request.id)
            .await?
            .ok_or_else(|| Problem::conflict("not_queued", format!("!{iid} is in no merge queue.")))?;
        let out = Out::new("taken_out", format!("{} took it out.", caller.actor.name));
        self.take_out(&entry, &caller.actor, out).await?;
        drop(lock);
        self.wake_merges();
        self.merge_request(scope.id, iid).await
    }

    /// Brings every queue forward as far as it goes.
    pub(crate) async fn queue_round(&self) -> Result<()> {
        for (project, target) in store::places(self.db()).await? {
            for _ in 0..ROUNDS {
                match Box::pin(self.queue_step(project, &target)).await {
                    Ok(Step::Again) => {}
                    Ok(Step::Rest) => break,
                    Err(problem) => {
                        tracing::error!(%problem, %project, target, "a merge queue could not be brought forward; will be tried again");
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    async fn queue_step(&self, id: ProjectId, target: &str) -> Result<Step> {
        let lock = self.pushes().lock(id);
        let _lock = lock.lock_owned().await;
        self.settle_leftovers(id).await?;
        self.finish_merges(id).await?;
        let Some(project) = self.project_by_id(id).await? else {
            return Ok(Step::Rest);
        };
        let settings = self.merge_settings(id).await?;
        let entries = store::list(self.db(), id, target, settings.queue_parallel).await?;
        if entries.is_empty() {
            return Ok(Step::Rest);
        }
        let mut requests = Vec::new();
        for entry in &entries {
            match self.still_good(&project, &settings, entry).await? {
                Ok(request) => requests.push(request),
                Err(out) => {
                    self.take_out(entry, &Actor::system(), out).await?;
                    return Ok(Step::Again);
                }
            }
        }
        let Some(tip) = self.resolve_branch(id, target).await? else {
            // Its condition names it; the entries went out above.
            return Ok(Step::Rest);
        };
        let mut base = tip;
        let mut tried = Vec::new();
        for (at, (mut entry, request)) in entries.into_iter().zip(&requests).enumerate() {
            let known = entry.base_sha.as_deref() == Some(base.as_str());
            if !(known && entry.sha.is_some()) {
                match self
                    .make_trial(&project, &settings, request, &entry, &base)
                    .await?
                {
                    Ok(sha) => {
                        entry.base_sha = Some(base.clone());
                        entry.sha = Some(sha);
                        entry.started = false;
                        entry.pipeline = None;
                    }
                    Err(out) if at == 0 => {
                        self.take_out(&entry, &Actor::system(), out).await?;
                        return Ok(Step::Again);
                    }
                    // It does not go together with one before it, which may itself go out: wait for its turn.
                    Err(_) => break,
                }
            }
            let Some(sha) = entry.sha.clone() else { break };
            if !entry.started {
                entry.pipeline = self.start_trial(&entry, &sha, &base).await?;
                entry.started = true;
            }
            base = sha;
            tried.push(entry);
        }
        self.land_green(&project, &settings, target, &tried).await
    }

    /// Whether an entry may still be merged, by who asked for it and by every condition.
    async fn still_good(
        &self,
        project: &ProjectInfo,
        settings: &Settings,
        entry: &Entry,
    ) -> Result<Result<MergeRequest, Out>> {
        let Some(request) = requests::by_id(self.db(), entry.merge_request_id).await? else {
            return Ok(Err(Out::new("closed", "It is gone.")));
        };
        if request.state != State::Open {
            let problem = service::ended(&request);
            return Ok(Err(Out::new("closed", problem.what)));
        }
        if request.target_branch != entry.target_branch {
            return Ok(Err(Out::new("changed", "It is to go to another branch now.")));
        }
        let stands = self.source_head(&request).await?;
        if request.head != entry.head || stands.is_some_and(|head| head != entry.head) {
            return Ok(Err(Out::new(
                "changed",
                "It has new commits, which nobody asked to merge.",
            )));
        }
        let Some((_, scope)) = self.acting(Some(&entry.actor()), project).await? else {
            return Ok(Err(Out::new(
                "check",
                format!("{} may not merge here any more.", entry.actor_name),
            )));
        };
        if let Err(problem) = self.may_merge(&scope, &request, settings).await {
            return Ok(Err(Out::new("check", problem.what)));
        }
        let checks = self.merge_checks(project, &request).await?;
        if let Some(check) = checks.iter().find(|check| check.state.holds()) {
            let reason = if check.name == "conflicts" {
                "conflict"
            } else {
                "check"
            };
            return Ok(Err(Out::new(reason, check.what.clone())));
        }
        Ok(Ok(request))
    }

    /// Merges an entry on top of what is before it, and keeps the result.
    async fn make_trial(
        &self,
        project: &ProjectInfo,
        settings: &Settings,
        request: &MergeRequest,
        entry: &Entry,
        base: &str,
    ) -> Result<Result<String, Out>> {
        let actor = entry.actor();
        let user = actor.id.parse().ok();
        let by = self.signature_of(&actor, user).await?;
        let approvers = self.approved_by(request).await?;
        let built = self
            .build_merge(&Build {
                project,
                request,
                settings,
                strategy: Strategy::parse(&entry.strategy)?,
                onto: base,
                by: &by,
                approvers: &approvers,
            })
            .await?;
        let sha = match built {
            Ok(sha) => sha,
            Err(conflicts) => {
                return Ok(Err(Out::new("conflict", in_conflict(request, &conflicts).what)));
            }
        };
        if sha == base {
            return Ok(Err(Out::new(
                "conflict",
                format!("`{}` has all its changes already.", entry.target_branch),
            )));
        }
        self.set_references(project.id, &[(entry.reference(), Some(sha.as_str()))])
            .await?;
        let old = entry.pipeline;
        let tx = self.db().begin().await?;
        if store::set_trial(&tx, entry.merge_request_id, Some(base), Some(&sha)).await? == 0 {
            return Ok(Err(Out::new("taken_out", "It was taken out.")));
        }
        let fact = MergeSpeculated {
            project: project.id,
            merge_request: request.id,
            iid: request.iid,
            target_branch: entry.target_branch.clone(),
            reference: entry.reference(),
            sha: sha.clone(),
            base: base.to_owned(),
        };
        self.ledger().append(&tx, &Actor::system(), &fact).await?;
        tx.commit().await?;
        self.cancel_trial(project.id, old).await;
        Ok(Ok(sha))
    }

    /// Asks CI for a pipeline of a trial. Asked twice after a crash, it makes one all the same.
    async fn start_trial(&self, entry: &Entry, sha: &str, base: &str) -> Result<Option<i64>> {
        let pipeline = match self.pipelines() {
            Some(pipelines) => {
                pipelines
                    .try_merge(&Trial {
                        project: entry.project_id,
                        attempt: entry.position,
                        iid: entry.iid,
                        target_branch: entry.target_branch.clone(),
                        reference: format!("merge-queue/{}", entry.iid),
                        sha: sha.to_owned(),
                        base: base.to_owned(),
                        actor: entry.actor(),
                    })
                    .await?
            }
            None => None,
        };
        let pipeline = pipeline.map(|id| id.0);
        let tx = self.db().begin().await?;
        store::set_started(&tx, entry.merge_request_id, sha, pipeline).await?;
        tx.commit().await?;
        Ok(pipeline)
    }

    async fn cancel_trial(&self, project: ProjectId, pipeline: Option<i64>) {
        if let (Some(pipeline), Some(pipelines)) = (pipeline, self.pipelines())
            && let Err(problem) = pipelines
                .cancel(project, bascule_core::PipelineId(pipeline))
                .await
        {
            tracing::debug!(%problem, "a pipeline that nobody waits for could not be stopped");
        }
    }

    /// Moves the branch to the last trial before which all passed, and takes out the one after it if that failed.
    async fn land_green(
        &self,
        project: &ProjectInfo,
        settings: &Settings,
        target: &str,
        tried: &[Entry],
    ) -> Result<Step> {
        let mut landings = Vec::new();
        let mut failed = None;
        for entry in tried {
            let (Some(sha), Some(base)) = (&entry.sha, &entry.base_sha) else {
                break;
            };
            match self.trial_outcome(project.id, settings, entry).await? {
                Outcome::Passed => landings.push(Landing {
                    request: entry.merge_request_id,
                    head: entry.head.clone(),
                    before: base.clone(),
                    after: sha.clone(),
                    strategy: Strategy::parse(&entry.strategy)?,
                    queued: true,
                    delete_source: entry.delete_source,
                    actor: entry.actor(),
                }),
                Outcome::Running | Outcome::Waiting => break,
                outcome @ (Outcome::Failed | Outcome::Canceled | Outcome::Skipped) => {
                    failed = Some((entry, outcome));
                    break;
                }
            }
        }
        if landings.is_empty() && failed.is_none() {
            return Ok(Step::Rest);
        }
        if let Some(last) = landings.last() {
            // In the name of who asked for the last of them: what the branch's pipeline may read is what they may.
            let by = last.actor.clone();
            self.land(project.id, target, &by, &landings).await?;
        }
        if let Some((entry, outcome)) = failed {
            let detail = match entry.pipeline {
                Some(id) if outcome == Outcome::Canceled => {
                    format!("Its pipeline #{id} was canceled, so nobody knows what it would have found.")
                }
                Some(id) if outcome == Outcome::Skipped => {
                    format!("Its pipeline #{id} skipped all its jobs, so nothing was tried.")
                }
                Some(id) => {
                    let before = requests::merged_since(self.db(), project.id, target, entry.at).await?;
                    broken(id, target, &before)
                }
                None => "No pipeline ran for its trial, and the project asks for a green one.".to_owned(),
            };
            let out = Out {
                reason: FAILED,
                detail,
                pipeline: entry.pipeline,
            };
            self.take_out(entry, &Actor::system(), out).await?;
        }
        Ok(Step::Again)
    }

    /// What a request has to know that was taken out because it breaks the branch; until it has new commits.
    pub(crate) async fn queue_check(&self, request: &MergeRequest) -> Result<Option<Check>> {
        let left = store::left(self.db(), request.id).await?;
        let Some(left) = left.filter(|left| left.reason == FAILED) else {
            return Ok(None);
        };
        let version = self.present_version(request).await?;
        let mended = version.is_some_and(|version| version.at > left.at);
        if mended || store::find(self.db(), request.id).await?.is_some() {
            return Ok(None);
        }
        Ok(Some(Check::holds(
            CONDITION,
            CheckState::Warned,
            format!("It was taken out of the merge queue. {}", left.detail),
            "Each change is tried with all that comes before it, so that the branch stays whole.",
            format!(
                "Bring `{}` into it, mend what the pipeline found, and push; put it into the queue again if the pipeline failed for another reason.",
                request.target_branch
            ),
        )))
    }

    /// Where a request stands in its queue; `None` where it is in none.
    pub(crate) async fn place_in_queue(&self, request: &MergeRequest) -> Result<Option<QueuePlace>> {
        let Some(entry) = store::find(self.db(), request.id).await? else {
            return Ok(None);
        };
        Ok(Some(QueuePlace {
            number: store::before(self.db(), &entry).await? + 1,
            target_branch: entry.target_branch,
        }))
    }

    /// How a trial stands, for people: `waiting`, `running`, `passed` or `failed`.
    pub(super) async fn stands(&self, settings: &Settings, entry: &Entry) -> Result<&'static str> {
        if entry.sha.is_none() || !entry.started {
            return Ok("waiting");
        }
        Ok(
            match self.trial_outcome(entry.project_id, settings, entry).await? {
                Outcome::Running | Outcome::Waiting => "running",
                Outcome::Passed => "passed",
                Outcome::Failed | Outcome::Canceled | Outcome::Skipped => "failed",
            },
        )
    }

    async fn trial_outcome(&self, project: ProjectId, settings: &Settings, entry: &Entry) -> Result<Outcome> {
        let (Some(pipeline), Some(pipelines)) = (entry.pipeline, self.pipelines()) else {
            return Ok(if settings.require_pipeline {
                Outcome::Failed
            } else {
                Outcome::Passed
            });
        };
        // By its number: whoever else has a pipeline made of the same commit chooses what runs in it.
        let found = pipelines
            .of_trial(project, bascule_core::PipelineId(pipeline))
            .await?;
        Ok(found.unwrap_or(Outcome::Failed))
    }

    async fn take_out(&self, entry: &Entry, actor: &Actor, out: Out) -> Result<()> {
        let tx = self.db().begin().await?;
        if store::delete(&tx, entry.merge_request_id).await? == 1 {
            store::leave(
                &tx,
                entry.merge_request_id,
                entry.project_id,
                out.reason,
                &out.detail,
                out.pipeline,
                self.now(),
            )
            .await?;
            let fact = MergeUnqueued {
                project: entry.project_id,
                merge_request: entry.merge_request_id,
                iid: entry.iid,
                target_branch: entry.target_branch.clone(),
                reason: out.reason.to_owned(),
                pipeline: out.pipeline,
            };
            self.ledger().append(&tx, actor, &fact).await?;
        }
        tx.commit().await?;
        self.set_references(entry.project_id, &[(entry.reference(), None)])
            .await?;
        if out.pipeline.is_none() {
            self.cancel_trial(entry.project_id, entry.pipeline).await;
        }
        Ok(())
    }
}

/// Why a branch would be broken: by the request alone, or with those that came before it.
fn broken(pipeline: i64, target: &str, before: &[i64]) -> String {
    let mut names: Vec<String> = before.iter().take(NAMED).map(|iid| format!("!{iid}")).collect();
    if before.len() > NAMED {
        names.push(format!("{} more", before.len() - NAMED));
    }
    let failed = format!("Its pipeline #{pipeline} failed");
    match (names.pop(), names.as_slice()) {
        (None, _) => format!("{failed}: with it, `{target}` would be broken."),
        (Some(one), []) => {
            format!("{failed}: with {one}, which was before it in the queue, `{target}` would be broken.")
        }
        (Some(last), others) => format!(
            "{failed}: with {} and {last}, which were before it in the queue, `{target}` would be broken.",
            others.join(", ")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_before_is_named_and_nothing_else() {
        assert_eq!(
            broken(7, "main", &[]),
            "Its pipeline #7 failed: with it, `main` would be broken."
        );
        assert_eq!(
            broken(7, "main", &[2]),
            "Its pipeline #7 failed: with !2, which was before it in the queue, `main` would be broken."
        );
        assert!(broken(7, "main", &[1, 2, 3]).contains("with !1, !2 and !3, which were before"));
        assert!(broken(7, "main", &[1, 2, 3, 4, 5, 6, 7]).contains("!4, !5 and 2 more, which were"));
    }
}
