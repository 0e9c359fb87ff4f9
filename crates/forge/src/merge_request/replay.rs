//! Taking a merged change off again (revert), or to another branch (cherry-pick): a branch of its own with one commit,
//! and a request for it, so that it is looked at like any change.

use super::{
    MergeRequest, State,
    merge::{build_commit, in_conflict},
};
use crate::{Forge, code::read as objects, push::Update};
use bascule_core::{Caller, Permission, Problem, ProjectScope, Result};
use bascule_wire::merge_request::NewMergeRequest;

/// Which way a merged change is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Off again.
    Revert,
    /// To another branch.
    CherryPick,
}

impl Forge {
    /// Makes the source branch of an open request again, where it stood.
    pub(crate) async fn restore_source(
        &self,
        caller: &Caller,
        scope: &ProjectScope,
        iid: i64,
    ) -> Result<MergeRequest> {
        if !scope.holds(Permission::CodePush) {
            return Err(Problem::forbidden(Permission::CodePush));
        }
        let request = self.merge_request(scope.id, iid).await?;
        if request.state != State::Open {
            return Err(super::service::ended(&request));
        }
        if request.is_fork() {
            return Err(Problem::conflict("fork", "The branch was in a fork.")
                .why("Nobody but the fork's own people makes branches there.")
                .next("Push the branch to the fork again, or fetch the request and open a new one."));
        }
        if self.is_protected_branch(scope.id, &request.source_branch).await?
            && !scope.holds(Permission::ProtectedPush)
        {
            return Err(Problem::forbidden(Permission::ProtectedPush));
        }
        let lock = self.pushes().lock(scope.id);
        let lock = lock.lock_owned().await;
        self.settle_leftovers(scope.id).await?;
        if self.source_head(&request).await?.is_none() {
            let update = Update {
                reference: format!("refs/heads/{}", request.source_branch),
                old: None,
                new: Some(request.head.clone()),
            };
            self.move_branch(scope.id, &caller.actor, &update).await?;
        }
        drop(lock);
        self.wake_merges();
        self.merge_request(scope.id, iid).await
    }

    /// Makes the branch and the request.
    pub(crate) async fn replay(
        &self,
        caller: &Caller,
        scope: &ProjectScope,
        iid: i64,
        way: Way,
        target: Option<&str>,
    ) -> Result<MergeRequest> {
        if !scope.holds(Permission::CodePush) {
            return Err(Problem::forbidden(Permission::CodePush));
        }
        let request = self.merge_request(scope.id, iid).await?;
        let (State::Merged, Some(after), Some(before)) =
            (request.state, &request.merge_sha, &request.merge_before)
        else {
            return Err(Problem::conflict("not_merged", format!("!{iid} was not merged."))
                .why("Only what was merged can be taken off again or taken elsewhere."));
        };
        let target = target
            .map(str::trim)
            .filter(|target| !target.is_empty())
            .unwrap_or(&request.target_branch)
            .to_owned();
        if way == Way::CherryPick && target == request.target_branch {
            return Err(
                Problem::invalid("same_branch", format!("`{target}` has this change already."))
                    .next("Choose another branch to take it to."),
            );
        }
        let (from, to, title, message, name) = match way {
            Way::Revert => (
                after,
                before,
                format!("Revert \"{}\"", request.title),
                format!(
                    "Revert \"{}\"\n\nThis takes back what !{iid} brought as {after}.\n",
                    request.title
                ),
                format!("revert-{iid}"),
            ),
            Way::CherryPick => (
                before,
                after,
                request.title.clone(),
                format!(
                    "{}\n\nWhat !{iid} brought to {} as {after}.\n",
                    request.title, request.target_branch
                ),
                format!("pick-{iid}-to-{}", target.replace('/', "-")),
            ),
        };
        let by = self.signature_of(&caller.actor, caller.user).await?;
        let lock = self.pushes().lock(scope.id);
        let lock = lock.lock_owned().await;
        self.settle_leftovers(scope.id).await?;
        let tip = self.resolve_branch(scope.id, &target).await?.ok_or_else(|| {
            Problem::invalid("no_such_branch", format!("There is no branch `{target}`."))
                .next("Choose one that is there.")
        })?;
        let tree = match self.try_pick(scope.id, from, to, &tip).await?.clean() {
            Ok(tree) => tree,
            Err(files) => {
                let mut told = request.clone();
                told.target_branch.clone_from(&target);
                return Err(in_conflict(&told, &files)
                    .next("Do it on your own machine (`git revert`, `git cherry-pick`), solve the conflict, and push."));
            }
        };
        let (now, onto) = (self.now(), tip.clone());
        let made = self
            .repositories()
            .read(scope.id, move |repo| {
                let base = super::read::id(repo, &onto)?;
                if Some(objects::tree_of(repo, base)?.id) == objects::object_id(&tree) {
                    return Ok(None);
                }
                build_commit(repo, &tree, &[onto], None, &by, now, &message).map(Some)
            })
            .await?;
        let Some(sha) = made else {
            return Err(Problem::conflict(
                "nothing_to_change",
                format!("Nothing on `{target}` would change."),
            )
            .why("It was done there already."));
        };
        let mut branch = name.clone();
        for number in 2..100 {
            if self.resolve_branch(scope.id, &branch).await?.is_none() {
                break;
            }
            branch = format!("{name}-{number}");
        }
        if self.is_protected_branch(scope.id, &branch).await? && !scope.holds(Permission::ProtectedPush) {
            return Err(Problem::forbidden(Permission::ProtectedPush).why(format!(
                "The branch `{branch}`, which would be made, is protected."
            )));
        }
        let update = Update {
            reference: format!("refs/heads/{branch}"),
            old: None,
            new: Some(sha),
        };
        self.move_branch(scope.id, &caller.actor, &update).await?;
        self.pushes().soil(scope.id);
        drop(lock);
        let new = NewMergeRequest {
            source_branch: branch,
            target_branch: Some(target),
            title,
            description: match way {
                Way::Revert => format!("Takes back !{iid}."),
                Way::CherryPick => format!("Brings !{iid} here."),
            },
            ..NewMergeRequest::default()
        };
        self.open_request(caller, scope, &new).await
    }
}
