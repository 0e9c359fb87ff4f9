//! Branches beside each other: how far they are ahead and behind, what is between two of them, and those that were
//! deleted and can be brought back.

use super::{
    Reading, diff, history,
    read::{self, CommitInfo, object_id},
    store::{self, Deleted},
};
use crate::{Forge, push::Update};
use bascule_core::{Actor, Problem, ProjectId, Result, Timestamp};
use gix::{ObjectId, Repository};
use std::{collections::BTreeSet, time::Duration};

/// How long a deleted branch can be brought back.
pub(crate) const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);
/// Deleted branches that are listed.
const LISTED: i64 = 100;
/// What is forgotten at once.
const BATCH: i64 = 200;

/// How far one commit is from another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Distance {
    /// Commits that only it has.
    pub(crate) ahead: usize,
    /// Commits that it lacks.
    pub(crate) behind: usize,
}

/// What lies between two commits.
pub(crate) struct Between {
    /// Where they parted; `None` where their histories have nothing in common.
    pub(crate) base: Option<ObjectId>,
    pub(crate) distance: Distance,
    /// Commits that only the second has: a page of them.
    pub(crate) commits: Vec<CommitInfo>,
    /// Files that differ from where they parted.
    pub(crate) changes: Vec<diff::Changed>,
    /// Said where too much differs to be looked at.
    pub(crate) instead: Option<String>,
}

/// Counts both sides. Each commit in between is looked at once.
pub(crate) fn distance(repo: &Repository, base: ObjectId, tip: ObjectId) -> Reading<Distance> {
    if base == tip {
        return Ok(Distance::default());
    }
    Ok(Distance {
        ahead: history::count(repo, tip, base)?,
        behind: history::count(repo, base, tip)?,
    })
}

/// What `new` brings to `old`, as a merge request would show it.
pub(crate) fn between(
    repo: &Repository,
    old: ObjectId,
    new: ObjectId,
    skip: usize,
    take: usize,
) -> Reading<Between> {
    let base = repo.merge_base(old, new)?.map(gix::Id::detach);
    let (changes, instead) = diff::changes_or_why(repo, base, new)?;
    Ok(Between {
        base,
        distance: distance(repo, old, new)?,
        commits: history::page(repo, new, vec![old], skip, take)?.0,
        changes,
        instead,
    })
}

/// The reference that keeps a deleted branch's commit from being collected. It is hidden from clients.
fn keeper(sha: &str) -> String {
    format!("refs/bascule/deleted/{sha}")
}

impl Forge {
    /// Distances of many tips from one base, in their order; those known before are not counted again.
    pub(crate) async fn distances(
        &self,
        project: ProjectId,
        base: ObjectId,
        tips: Vec<ObjectId>,
    ) -> Result<Vec<Distance>> {
        let known: Vec<Option<Distance>> = tips
            .iter()
            .map(|tip| self.cache().distance.get(&(base, *tip)))
            .collect();
        let asked: Vec<ObjectId> = tips
            .iter()
            .zip(&known)
            .filter(|(_, known)| known.is_none())
            .map(|(tip, _)| *tip)
            .collect();
        let counted = self
            .repositories()
            .read(project, move |repo| {
                let counted = asked.iter().map(|tip| Ok((*tip, distance(repo, base, *tip)?)));
                counted.collect::<Reading<Vec<_>>>()
            })
            .await?;
        for (tip, distance) in &counted {
            self.cache().distance.put((base, *tip), *distance, 128);
        }
        let mut counted = counted.into_iter();
        Ok(known
            .into_iter()
            .map(|known| {
                known
                    .or_else(|| counted.next().map(|(_, distance)| distance))
                    .unwrap_or_default()
            })
            .collect())
    }

    /// Sees to it that no collection of garbage takes commits while their branches can be brought back.
    pub(crate) async fn keep_deleted(&self, project: ProjectId, shas: &BTreeSet<&str>) -> Result<()> {
        let keep: Vec<_> = shas.iter().map(|sha| (keeper(sha), Some(*sha))).collect();
        // In one go; one by one where some are gone already, of which there is nothing to keep.
        if keep.is_empty() || self.set_references(project, &keep).await.is_ok() {
            return Ok(());
        }
        let repository = self.repositories().path(project);
        for sha in shas {
            let done = self
                .git()
                .output(&repository, &["update-ref", &keeper(sha), sha])
                .await;
            let done = done.map_err(|error| super::repositories::disk(&error, "a reference"))?;
            if !done.status.success() {
                let complaint = String::from_utf8_lossy(&done.stderr).into_owned();
                tracing::warn!(%project, sha, complaint, "a deleted branch's commit cannot be kept");
            }
        }
        Ok(())
    }

    /// Branches that were deleted and can be brought back, the latest first.
    pub(crate) async fn deleted_branches(&self, project: ProjectId) -> Result<Vec<Deleted>> {
        let since = self.kept_since();
        let all = store::deleted(self.db(), project, since, LISTED).await?;
        let heads = self.repositories().read(project, history::heads).await?;
        let heads: std::collections::HashSet<String> = heads.into_iter().collect();
        Ok(all.into_iter().filter(|one| !heads.contains(&one.name)).collect())
    }

    fn kept_since(&self) -> Timestamp {
        self.now().minus(KEPT)
    }

    /// Brings a deleted branch back where it stood. Protection is not asked here: the caller decides who may.
    ///
    /// # Errors
    /// It was not deleted lately, is there again, or the disk or database refused.
    pub(crate) async fn restore_branch(
        &self,
        project: ProjectId,
        name: &str,
        actor: &Actor,
    ) -> Result<String> {
        let found = store::last_deleted(self.db(), project, name, self.kept_since()).await?;
        let Some(found) = found else {
            return Err(Problem::not_found("deleted branch")
                .why("A deleted branch can be brought back for 30 days.")
                .next("If you know its commit, push it again from a clone: git push origin COMMIT:refs/heads/NAME."));
        };
        let lock = self.pushes().lock(project);
        let _lock = lock.lock_owned().await;
        self.settle_leftovers(project).await?;
        let reference = format!("refs/heads/{name}");
        let (wanted, sha) = (reference.clone(), found.sha.clone());
        let (there, kept) = self
            .repositories()
            .read(project, move |repo| {
                let kept = object_id(&sha).is_some_and(|id| repo.has_object(id));
                Ok((read::reference(repo, &wanted)?, kept))
            })
            .await?;
        if there.is_some() {
            return Err(
                Problem::conflict("branch_exists", format!("There is a branch `{name}` again."))
                    .why("Bringing the old one back would move it.")
                    .next("Rename or delete the new one first."),
            );
        }
        if !kept {
            return Err(Problem::not_found("commit of the deleted branch")
                .next("Push it again from a clone that has it."));
        }
        let update = Update {
            reference,
            old: None,
            new: Some(found.sha.clone()),
        };
        self.move_branch(project, actor, &update).await?;
        let tx = self.db().begin().await?;
        store::forget_deleted(&tx, &found).await?;
        tx.commit().await?;
        Ok(found.sha)
    }

    /// Lets go what can no longer be brought back.
    pub(crate) async fn forget_deleted_branches(&self) -> Result<()> {
        loop {
            let over = store::over(self.db(), self.kept_since(), BATCH).await?;
            for one in &over {
                if !store::is_needed(self.db(), one).await? {
                    let repository = self.repositories().path(one.project_id);
                    let reference = keeper(&one.sha);
                    drop(
                        self.git()
                            .output(&repository, &["update-ref", "-d", &reference])
                            .await,
                    );
                }
                let tx = self.db().begin().await?;
                store::forget_deleted(&tx, one).await?;
                tx.commit().await?;
            }
            if over.is_empty() {
                return Ok(());
            }
        }
    }
}
