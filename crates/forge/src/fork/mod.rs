//! Forks: a copy of a project in which someone may push who may only read the project itself, so that merge requests
//! can come from there.
//!
//! The copy's object files are hard links to the project's own, so it is quick and takes no room at first; nothing is
//! shared by reference (no alternates), so neither side's collection of garbage can take anything from the other.

mod api;
mod pages;

use crate::{
    Forge, ProjectInfo,
    merge_request::store,
    project::{self, store as projects},
    storage::store::Scope,
    workflow,
};
use bascule_core::{Caller, Name, Problem, ProjectId, ProjectScope, Result};
use bascule_ledger::facts::{forge::ProjectCreated, merge_request::ProjectForked};
use bascule_web::Routes;
use bascule_wire::merge_request::NewFork;

pub(crate) fn routes() -> Routes<Forge> {
    Routes::new().merge(api::routes()).merge(pages::routes())
}

impl Forge {
    /// Makes a fork of a project that the caller reads.
    ///
    /// # Errors
    /// The caller may not create projects there, the name is taken, or the disk or database refused.
    pub async fn fork(&self, caller: &Caller, scope: &ProjectScope, new: &NewFork) -> Result<ProjectInfo> {
        let parent = self.project_of(scope).await?;
        let group = self
            .sight()
            .home(
                caller,
                new.group
                    .as_deref()
                    .map(str::trim)
                    .filter(|group| !group.is_empty()),
            )
            .await?;
        let name = Name::new(
            new.name
                .as_deref()
                .map(str::trim)
                .filter(|name| !name.is_empty())
                .unwrap_or(&parent.name),
        )?;
        let fork = ProjectInfo {
            id: ProjectId::new(),
            group_id: group.id,
            group: group.name.clone(),
            name: name.to_string(),
            created_at: self.now(),
            created_by: caller.actor.name.clone(),
            pushed_at: parent.pushed_at,
            ..parent.clone()
        };
        if self.find(&fork.group, &fork.name).await?.is_some() {
            return Err(taken(&fork.path()));
        }
        // What is asked of changes there is asked of them here, or the first to say so would be the request.
        let asked = self.policy_of(parent.group_id, parent.id).await?;
        let rules = (asked != self.policy_of(fork.group_id, fork.id).await?).then(|| asked.as_own());
        self.repositories()
            .copy(parent.id, fork.id, &fork.default_branch)
            .await?;
        let made: bascule_store::Result<()> = async {
            let tx = self.db().begin().await?;
            projects::insert(&tx, &fork).await?;
            project::store::protect(&tx, fork.id, &fork.default_branch).await?;
            store::set_fork_parent(&tx, fork.id, parent.id).await?;
            if let Some(rules) = &rules {
                workflow::store::set(&tx, Scope::Project(fork.id), rules).await?;
            }
            let created = ProjectCreated {
                project: fork.id,
                group: fork.group_id,
                path: fork.path(),
            };
            self.ledger().append(&tx, &caller.actor, &created).await?;
            let forked = ProjectForked {
                project: fork.id,
                parent: parent.id,
                path: fork.path(),
            };
            self.ledger().append(&tx, &caller.actor, &forked).await?;
            tx.commit().await
        }
        .await;
        if let Err(error) = made {
            self.repositories().remove(fork.id).await;
            return Err(if error.is_unique_violation() {
                taken(&fork.path())
            } else {
                error.into()
            });
        }
        Ok(fork)
    }

    /// The project that another is a fork of, if the fork's parent is still there.
    ///
    /// # Errors
    /// The database refused.
    pub async fn parent_of(&self, fork: ProjectId) -> Result<Option<ProjectInfo>> {
        match store::fork_parent(self.db(), fork).await? {
            Some(parent) => self.project_by_id(parent).await,
            None => Ok(None),
        }
    }
}

fn taken(path: &str) -> Problem {
    Problem::conflict("name_taken", format!("There is already a project `{path}`."))
        .why("A project's path is its address.")
        .next("Use it, or give the fork another name.")
}
