//! What is done to requests, save merging: each change and its fact in one transaction.

use super::{MergeRequest, State, Version, keep, merge::Tried, read, store, text};
use crate::{Forge, ProjectInfo, project::branch_name};
use bascule_core::{Actor, Caller, MergeRequestId, Permission, Problem, ProjectId, ProjectScope, Result};
use bascule_ledger::facts::merge_request::{
    MergeRequestChanged, MergeRequestClosed, MergeRequestOpened, MergeRequestReopened, MergeRequestUpdated,
};
use bascule_wire::merge_request::{MergeRequestChange, NewMergeRequest};
use std::sync::Arc;

/// Where a source branch stands, and what it would bring.
pub(super) struct Standing {
    pub(super) head: String,
    pub(super) base: String,
    pub(super) commits: i64,
    pub(super) title: String,
    pub(super) body: String,
}

impl Forge {
    /// A request by its number.
    ///
    /// # Errors
    /// There is none, or the database refused.
    pub async fn merge_request(&self, project: ProjectId, iid: i64) -> Result<MergeRequest> {
        store::find(self.db(), project, iid)
            .await?
            .ok_or_else(|| Problem::not_found("merge request"))
    }

    /// A request by its identifier.
    ///
    /// # Errors
    /// The database refused.
    pub async fn merge_request_by_id(&self, id: MergeRequestId) -> Result<Option<MergeRequest>> {
        Ok(store::by_id(self.db(), id).await?)
    }

    /// The numbers of a project's open requests.
    ///
    /// # Errors
    /// The database refused.
    pub async fn open_requests(&self, project: ProjectId) -> Result<Vec<i64>> {
        Ok(store::open_numbers(self.db(), project).await?)
    }

    /// The version that a request is at: who pushed what is to be merged.
    ///
    /// # Errors
    /// The database refused.
    pub async fn present_version(&self, request: &MergeRequest) -> Result<Option<Version>> {
        Ok(store::version(self.db(), request.id, request.version).await?)
    }

    /// Whether the branch that a request's commits come from is there.
    ///
    /// # Errors
    /// The repository cannot be read.
    pub async fn has_source(&self, request: &MergeRequest) -> Result<bool> {
        Ok(self.source_head(request).await?.is_some())
    }

    /// The tree that merging a request now would make; `None` where its changes and the target's meet, or the
    /// target is gone.
    ///
    /// # Errors
    /// The repository cannot be read.
    pub async fn merge_result(&self, request: &MergeRequest) -> Result<Option<String>> {
        Ok(match self.tried(request).await?.as_deref() {
            Some(Tried::Clean(tree)) => Some(tree.clone()),
            Some(Tried::Conflicts { .. } | Tried::Unrelated) | None => None,
        })
    }

    /// What merging a request now comes to; `None` where the target is gone.
    pub(super) async fn tried(&self, request: &MergeRequest) -> Result<Option<Arc<Tried>>> {
        let target = self.resolve_branch(request.project_id, &request.target_branch);
        match target.await? {
            Some(target) => Ok(Some(
                self.try_merge(request.project_id, &target, &request.head).await?,
            )),
            None => Ok(None),
        }
    }

    /// Opens a request.
    ///
    /// # Errors
    /// A branch is missing, there is nothing to merge, the caller may not, or the disk or database refused.
    pub async fn open_request(
        &self,
        caller: &Caller,
        scope: &ProjectScope,
        new: &NewMergeRequest,
    ) -> Result<MergeRequest> {
        let project = self.project_of(scope).await?;
        let source = self.source_of(caller, scope, &project, new).await?;
        let source_branch = branch_name(new.source_branch.trim())?;
        let target = new.target_branch.as_deref().map_or("", str::trim);
        let target_branch = branch_name(if target.is_empty() {
            &project.default_branch
        } else {
            target
        })?;
        if source.id == project.id && source_branch == target_branch {
            return Err(
                Problem::invalid("same_branch", "Source and target are the same branch.")
                    .why("There is nothing to merge into itself.")
                    .next("Push your commits to a branch of their own."),
            );
        }
        let description = text::description(&new.description)?;
        // No push to the source may come in between, or a version would be missed.
        let lock = self.pushes().lock(source.id);
        let _lock = lock.lock_owned().await;
        let heard = self.ledger().head().await?;
        let known = store::open_from(self.db(), source.id, &source_branch).await?;
        if let Some(known) = known
            .iter()
            .find(|known| known.project_id == project.id && known.target_branch == target_branch)
        {
            return Err(Problem::conflict(
                "already_open",
                format!("!{} is open for this branch already.", known.iid),
            )
            .why("Two requests for the same commits would be reviewed twice and merged once.")
            .next(format!(
                "Push to the branch: !{} takes new commits up by itself.",
                known.iid
            )));
        }
        let id = MergeRequestId::new();
        let opening = (source.id != project.id).then(|| keep::opening(id));
        if let Some(opening) = &opening {
            self.bring(source.id, &source_branch, project.id, opening).await?;
        }
        let begun = self
            .begun(
                &project,
                (&source_branch, &target_branch),
                opening.clone(),
                &new.title,
            )
            .await;
        let (standing, title, draft) = match begun {
            Ok(begun) => begun,
            Err(problem) => {
                self.end_opening(project.id, opening).await;
                return Err(problem);
            }
        };
        let settings = self.merge_settings(project.id).await?;
        let now = self.now();
        // Only what was found good takes a number, so that none is missing.
        let tx = self.db().begin().await?;
        let iid = store::next_iid(&tx, project.id).await?;
        tx.commit().await?;
        let request = MergeRequest {
            id,
            project_id: project.id,
            iid,
            title,
            description: if description.is_empty() && new.title.trim().is_empty() {
                standing.body.clone()
            } else {
                description
            },
            source_project_id: source.id,
            source_branch,
            target_branch,
            author_id: caller.user,
            author_name: caller.actor.name.clone(),
            state: State::Open,
            draft: draft || new.draft,
            head: standing.head.clone(),
            base: standing.base.clone(),
            version: 1,
            heard,
            source_gone: false,
            delete_source: new.delete_source_branch.unwrap_or(settings.delete_source),
            auto_id: None,
            auto_kind: None,
            auto_name: None,
            auto_strategy: None,
            merge_sha: None,
            merge_before: None,
            ended_by: None,
            created_at: now,
            updated_at: now,
            ended_at: None,
        };
        self.keep_version(project.id, iid, 1, &request.head).await?;
        self.end_opening(project.id, opening).await;
        let version = Version {
            number: 1,
            head: standing.head,
            base: standing.base,
            forced: false,
            commit_count: standing.commits,
            by_id: caller.actor.id.clone(),
            by_name: caller.actor.name.clone(),
            at: now,
        };
        let tx = self.db().begin().await?;
        store::insert(&tx, &request).await?;
        store::add_version(&tx, request.id, &version).await?;
        let fact = MergeRequestOpened {
            project: project.id,
            merge_request: request.id,
            iid,
            source_project: request.source_project_id,
            source_branch: request.source_branch.clone(),
            target_branch: request.target_branch.clone(),
            head: request.head.clone(),
            draft: request.draft,
            at: now,
        };
        self.ledger().append(&tx, &caller.actor, &fact).await?;
        tx.commit().await?;
        Ok(request)
    }

    /// What a new request would bring, its title, and whether that says that it is a draft.
    async fn begun(
        &self,
        project: &ProjectInfo,
        (source_branch, target_branch): (&str, &str),
        opening: Option<String>,
        title: &str,
    ) -> Result<(Standing, String, bool)> {
        let standing = self
            .standing(project, source_branch, target_branch, opening)
            .await?;
        if standing.head == standing.base {
            return Err(Problem::invalid(
                "nothing_to_merge",
                format!("`{target_branch}` has every commit of `{source_branch}` already."),
            )
            .why("A request without commits changes nothing.")
            .next("Commit something to the branch and push it first."));
        }
        let (title, draft) = text::title(if title.trim().is_empty() {
            &standing.title
        } else {
            title
        })?;
        Ok((standing, title, draft))
    }

    /// Lets go of what was brought from a fork for a request that has a number by now, or never will.
    async fn end_opening(&self, project: ProjectId, opening: Option<String>) {
        if let Some(opening) = opening
            && let Err(problem) = self.set_references(project, &[(opening, None)]).await
        {
            tracing::warn!(%problem, "what was brought for a merge request is kept without need");
        }
    }

    /// The project that the commits come from; the caller must be allowed to push there, or anybody could make
    /// others' work look like their own wish.
    async fn source_of(
        &self,
        caller: &Caller,
        scope: &ProjectScope,
        project: &ProjectInfo,
        new: &NewMergeRequest,
    ) -> Result<ProjectInfo> {
        let path = new.source_project.as_deref().map_or("", str::trim);
        if path.is_empty() || path == project.path() {
            if scope.holds(Permission::CodePush) {
                return Ok(project.clone());
            }
            return Err(Problem::forbidden(Permission::CodePush)
                .next("Fork the project, push to the fork, and open the request from there."));
        }
        let unknown = || Problem::not_found("source project");
        let (group, name) = path.split_once('/').ok_or_else(unknown)?;
        let source = self.find(group, name).await?.ok_or_else(unknown)?;
        let role = self.sight().role(caller, &source).await?.ok_or_else(unknown)?;
        let there = ProjectScope {
            id: source.id,
            group_id: source.group_id,
            group: source.group.clone(),
            name: source.name.clone(),
            role,
            scopes: scope.scopes.clone(),
        };
        if !there.holds(Permission::CodePush) {
            return Err(Problem::forbidden(Permission::CodePush));
        }
        if store::fork_parent(self.db(), source.id).await? != Some(project.id)
            && store::fork_parent(self.db(), project.id).await? != Some(source.id)
        {
            return Err(
                Problem::invalid("no_fork", format!("{path} is no fork of {}.", project.path()))
                    .why("Commits are taken from the project itself or from a fork of it, where both have a history in common.")
                    .next("Fork the project and push your commits to the fork."),
            );
        }
        Ok(source.as_ref().clone())
    }

    /// Where the branches stand. Commits of a fork have been brought under `kept` before.
    async fn standing(
        &self,
        project: &ProjectInfo,
        source_branch: &str,
        target_branch: &str,
        kept: Option<String>,
    ) -> Result<Standing> {
        let name = kept.unwrap_or_else(|| format!("refs/heads/{source_branch}"));
        let (source_branch, target_branch) = (source_branch.to_owned(), target_branch.to_owned());
        self.repositories()
            .read(project.id, move |repo| {
                read::standing(repo, &name, &source_branch, &target_branch)
            })
            .await
    }

    /// Takes up what was pushed to the source branch; the request as it is then. The caller holds the lock of the
    /// source project, or hears of its facts in order.
    pub(crate) async fn take_up(
        &self,
        request: MergeRequest,
        head: &str,
        by: &Actor,
        heard: i64,
    ) -> Result<MergeRequest> {
        if request.head == head || request.state != State::Open {
            return Ok(request);
        }
        if request.is_fork() {
            self.bring(
                request.source_project_id,
                &request.source_branch,
                request.project_id,
                &keep::head(request.iid),
            )
            .await?;
        }
        let (before, target, sha) = (
            request.head.clone(),
            request.target_branch.clone(),
            head.to_owned(),
        );
        let made = self
            .repositories()
            .read(request.project_id, move |repo| {
                read::advance(repo, &before, &sha, &target)
            })
            .await?;
        let Some((base, forced, commits)) = made else {
            // The commit is gone again, and with it the wish to see it; a later fact tells what came instead.
            return Ok(request);
        };
        let version = Version {
            number: request.version + 1,
            head: head.to_owned(),
            base: base.unwrap_or_else(|| request.base.clone()),
            forced,
            commit_count: commits,
            by_id: by.id.clone(),
            by_name: by.name.clone(),
            at: self.now(),
        };
        self.keep_version(request.project_id, request.iid, version.number, head)
            .await?;
        let tx = self.db().begin().await?;
        if store::advance(&tx, &request, &version, heard).await? {
            let fact = MergeRequestUpdated {
                project: request.project_id,
                merge_request: request.id,
                iid: request.iid,
                version: version.number,
                before: request.head.clone(),
                head: version.head.clone(),
                forced,
                at: version.at,
            };
            self.ledger().append(&tx, by, &fact).await?;
            if request.auto_id.is_some() {
                let why = format!(
                    "{} pushed new commits since, and what is merged is what was looked at. Look at them and ask again.",
                    by.name
                );
                self.tell_dropped(&tx, &request, by, "off: new commits", Some(why))
                    .await?;
            }
        }
        tx.commit().await?;
        store::by_id(self.db(), request.id)
            .await?
            .ok_or_else(|| Problem::not_found("merge request"))
    }

    /// Changes what people write and choose.
    ///
    /// # Errors
    /// The caller may not, the request has ended, a value is bad, or the database refused.
    pub async fn edit_request(
        &self,
        caller: &Caller,
        scope: &ProjectScope,
        iid: i64,
        change: &MergeRequestChange,
    ) -> Result<MergeRequest> {
        let mut request = self.merge_request(scope.id, iid).await?;
        may_edit(caller, scope, &request)?;
        if request.state != State::Open {
            return Err(ended(&request));
        }
        let mut changes: Vec<(&str, String)> = Vec::new();
        if let Some(title) = &change.title {
            let (title, draft) = text::title(title)?;
            if title != request.title {
                changes.push(("title", String::new()));
            }
            if draft && !request.draft {
                request.draft = true;
                changes.push(("draft", "on".to_owned()));
            }
            request.title = title;
        }
        if let Some(description) = &change.description {
            let description = text::description(description)?;
            if description != request.description {
                changes.push(("description", String::new()));
            }
            request.description = description;
        }
        if let Some(draft) = change.draft
            && draft != request.draft
        {
            request.draft = draft;
            changes.push(("draft", if draft { "on" } else { "off" }.to_owned()));
        }
        if let Some(delete) = change.delete_source_branch {
            request.delete_source = delete;
        }
        if let Some(target) = &change.target_branch
            && target.trim() != request.target_branch
        {
            let target = branch_name(target.trim())?;
            if !request.is_fork() && target == request.source_branch {
                return Err(Problem::invalid(
                    "same_branch",
                    "Source and target are the same branch.",
                ));
            }
            let (head, to) = (request.head.clone(), target.clone());
            request.base = self
                .repositories()
                .read(request.project_id, move |repo| read::base(repo, &head, &to))
                .await?;
            request.target_branch.clone_from(&target);
            changes.push(("target_branch", target));
        }
        request.updated_at = self.now();
        let tx = self.db().begin().await?;
        store::edit(&tx, &request).await?;
        for (field, value) in changes {
            let fact = MergeRequestChanged {
                project: request.project_id,
                merge_request: request.id,
                iid: request.iid,
                field: field.to_owned(),
                value,
                person: None,
            };
            self.ledger().append(&tx, &caller.actor, &fact).await?;
        }
        tx.commit().await?;
        self.wake_merges();
        Ok(request)
    }

    /// Closes a request without a merge.
    ///
    /// # Errors
    /// The caller may not, it has ended, or the database refused.
    pub async fn close_request(
        &self,
        caller: &Caller,
        scope: &ProjectScope,
        iid: i64,
    ) -> Result<MergeRequest> {
        let request = self.merge_request(scope.id, iid).await?;
        may_edit(caller, scope, &request)?;
        let now = self.now();
        let tx = self.db().begin().await?;
        if store::end(&tx, request.id, State::Closed, None, &caller.actor.name, now).await? == 0 {
            return Err(ended(&request));
        }
        let fact = MergeRequestClosed {
            project: request.project_id,
            merge_request: request.id,
            iid,
            at: now,
        };
        self.ledger().append(&tx, &caller.actor, &fact).await?;
        tx.commit().await?;
        self.wake_merges();
        self.merge_request(scope.id, iid).await
    }

    /// Opens a closed request again, at what its branch holds now.
    ///
    /// # Errors
    /// The caller may not, it is not closed, its branch is gone, or the disk or database refused.
    pub async fn reopen_request(
        &self,
        caller: &Caller,
        scope: &ProjectScope,
        iid: i64,
    ) -> Result<MergeRequest> {
        let request = self.merge_request(scope.id, iid).await?;
        may_edit(caller, scope, &request)?;
        let head = self
            .source_head(&request)
            .await?
            .ok_or_else(|| source_gone(&request))?;
        let now = self.now();
        let tx = self.db().begin().await?;
        if store::reopen(&tx, request.id, now).await? == 0 {
            return Err(Problem::conflict(
                "not_closed",
                format!(
                    "!{iid} is {}; only a closed request can be opened again.",
                    request.state.as_str()
                ),
            ));
        }
        let fact = MergeRequestReopened {
            project: request.project_id,
            merge_request: request.id,
            iid,
            at: now,
        };
        self.ledger().append(&tx, &caller.actor, &fact).await?;
        tx.commit().await?;
        let lock = self.pushes().lock(request.source_project_id);
        let _lock = lock.lock_owned().await;
        let request = self.merge_request(scope.id, iid).await?;
        self.take_up(request, &head, &caller.actor, 0).await
    }

    /// Where the source branch stands; `None` if it or its project is gone.
    pub(crate) async fn source_head(&self, request: &MergeRequest) -> Result<Option<String>> {
        if self.project_by_id(request.source_project_id).await?.is_none() {
            return Ok(None);
        }
        self.resolve_branch(request.source_project_id, &request.source_branch)
            .await
    }
}

/// Whoever opened it, and whoever may push here.
pub(crate) fn may_edit(caller: &Caller, scope: &ProjectScope, request: &MergeRequest) -> Result<()> {
    let own = caller.user.is_some() && caller.user == request.author_id;
    if own || scope.holds(Permission::CodePush) {
        return Ok(());
    }
    Err(Problem::forbidden(Permission::CodePush)
        .why("A request is changed by whoever opened it and by developers of the project."))
}

pub(crate) fn ended(request: &MergeRequest) -> Problem {
    Problem::conflict(
        "request_ended",
        format!("!{} is {} already.", request.iid, request.state.as_str()),
    )
    .why("What has ended is part of the record.")
    .next(match request.state {
        State::Closed => "Open it again first.",
        _ => "Open a new request for further changes.",
    })
}

pub(crate) fn source_gone(request: &MergeRequest) -> Problem {
    Problem::conflict(
        "source_gone",
        format!("The branch `{}` is gone.", request.source_branch),
    )
    .why("There is nothing to merge from.")
    .next("Restore the branch, or close the request. Its commits are kept.")
}
