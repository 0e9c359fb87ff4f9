//! What is done to projects: each change and its fact in one transaction.

use super::{ProjectInfo, Visible, branch_name, pattern_name, store};
use crate::Forge;
use bascule_core::{
    Actor, Caller, GroupId, GroupScope, Name, Problem, ProjectId, Result, Visibility, any_covers,
};
use bascule_ledger::facts::forge::{ProjectChanged, ProjectCreated, ProjectDeleted};
use bascule_store::Tx;
use bascule_wire::forge::{NewProject, ProjectChange};
use std::sync::Arc;

/// Longest description, in characters.
const DESCRIPTION: usize = 500;
/// Most protected branches of a project.
const PROTECTED: usize = 100;

impl Forge {
    /// The project by this path. Answered from memory when it was asked for before.
    ///
    /// # Errors
    /// The database refused.
    pub async fn find(&self, group: &str, name: &str) -> Result<Option<Arc<ProjectInfo>>> {
        if let Some(known) = self.known(group, name) {
            return Ok(Some(known));
        }
        let version = self.cache_version();
        let found = store::find(self.db(), group, name).await?.map(Arc::new);
        if let Some(project) = &found {
            self.remember(version, project);
        }
        Ok(found)
    }

    /// The project that had this path before it was renamed; not asked where a project has it now.
    ///
    /// # Errors
    /// The database refused.
    pub async fn find_moved(&self, group: &str, name: &str) -> Result<Option<Arc<ProjectInfo>>> {
        Ok(store::find_moved(self.db(), group, name).await?.map(Arc::new))
    }

    /// The project by its identifier; `None` once it is deleted.
    ///
    /// # Errors
    /// The database refused.
    pub async fn project_by_id(&self, id: ProjectId) -> Result<Option<ProjectInfo>> {
        Ok(store::by_id(self.db(), id).await?)
    }

    /// The projects of a group in the order of their paths, those behind the path `after`.
    ///
    /// # Errors
    /// The database refused.
    pub async fn projects_of_group(
        &self,
        group: GroupId,
        after: &str,
        limit: i64,
    ) -> Result<Vec<ProjectInfo>> {
        Ok(store::of_group(self.db(), group, after, limit).await?)
    }

    /// Projects that someone may see, by path; `search` is looked for in path and description.
    ///
    /// # Errors
    /// The database refused.
    pub async fn list(
        &self,
        visible: &Visible,
        search: &str,
        offset: i64,
        limit: i64,
    ) -> Result<Vec<ProjectInfo>> {
        Ok(store::list(self.db(), visible, None, search, offset, limit).await?)
    }

    /// The address that `git clone` takes.
    #[must_use]
    pub fn clone_url(&self, project: &ProjectInfo) -> String {
        format!(
            "{}/{}.git",
            self.config().public_url.trim_end_matches('/'),
            project.path()
        )
    }

    /// The same over SSH; `None` where that is off.
    #[must_use]
    pub fn ssh_url(&self, project: &ProjectInfo) -> Option<String> {
        self.config().ssh.as_ref().map(|ssh| ssh.url(&project.path()))
    }

    /// Creates a project and its empty repository.
    ///
    /// # Errors
    /// The name is bad or taken, or the disk or database refused.
    pub async fn create(&self, actor: &Actor, group: &GroupScope, new: &NewProject) -> Result<ProjectInfo> {
        let name = Name::new(&new.name)?;
        let default_branch = branch_name(new.default_branch.as_deref().unwrap_or("main"))?;
        let project = ProjectInfo {
            id: ProjectId::new(),
            group_id: group.id,
            group: group.name.clone(),
            name: name.to_string(),
            description: description(&new.description)?,
            visibility: new.visibility.unwrap_or(Visibility::Private),
            default_branch,
            created_at: self.now(),
            created_by: actor.name.clone(),
            pushed_at: None,
        };
        // The repository first: one without a row is swept away later, a row without one would be a broken page.
        self.repositories()
            .create(project.id, &project.default_branch)
            .await?;
        let made: bascule_store::Result<()> = async {
            let tx = self.db().begin().await?;
            store::insert(&tx, &project).await?;
            store::take_path(&tx, &project.group, &project.name).await?;
            store::protect(&tx, project.id, &project.default_branch).await?;
            let fact = ProjectCreated {
                project: project.id,
                group: project.group_id,
                path: project.path(),
            };
            self.ledger().append(&tx, actor, &fact).await?;
            tx.commit().await
        }
        .await;
        if let Err(error) = made {
            self.repositories().remove(project.id).await;
            return Err(if error.is_unique_violation() {
                taken(&project.path())
            } else {
                error.into()
            });
        }
        Ok(project)
    }

    /// Changes a project's settings.
    ///
    /// # Errors
    /// A value is bad, the name is taken, a program changes the default branch, or the database refused.
    pub async fn change(
        &self,
        caller: &Caller,
        id: ProjectId,
        change: &ProjectChange,
    ) -> Result<ProjectInfo> {
        // Which branch is protected, and whose owners count, hangs on it.
        if change.default_branch.is_some() {
            caller.must_be_person("changes the default branch")?;
        }
        let mut project = self
            .project_by_id(id)
            .await?
            .ok_or_else(|| Problem::not_found("project"))?;
        let before = project.clone();
        if let Some(name) = &change.name {
            project.name = Name::new(name)?.to_string();
        }
        if let Some(text) = &change.description {
            project.description = description(text)?;
        }
        if let Some(visibility) = change.visibility {
            project.visibility = visibility;
        }
        if let Some(branch) = &change.default_branch {
            project.default_branch = branch_name(branch)?;
            if self.resolve_branch(id, &project.default_branch).await?.is_none() && !self.is_empty(id).await?
            {
                return Err(
                    Problem::invalid("no_such_branch", format!("There is no branch `{branch}`."))
                        .why("Clones begin with the default branch, so it has to be there.")
                        .next("Push the branch first, then make it the default one."),
                );
            }
            self.repositories().set_head(id, &project.default_branch).await?;
        }
        let changes: Vec<(&str, &str)> = [
            ("name", &before.name, &project.name),
            ("description", &before.description, &project.description),
            ("default_branch", &before.default_branch, &project.default_branch),
        ]
        .into_iter()
        .filter(|(_, old, new)| old != new)
        .map(|(setting, _, new)| (setting, new.as_str()))
        .chain((before.visibility != project.visibility).then(|| ("visibility", project.visibility.as_str())))
        .collect();
        let saved: bascule_store::Result<()> = async {
            let tx = self.db().begin().await?;
            store::update(&tx, &project).await?;
            if before.name != project.name {
                store::take_path(&tx, &project.group, &project.name).await?;
                store::keep_path(&tx, id, &before.group, &before.name).await?;
            }
            if before.default_branch != project.default_branch {
                store::protect(&tx, id, &project.default_branch).await?;
            }
            self.tell_changes(&tx, &caller.actor, id, changes).await?;
            let forge = self.clone();
            tx.after_commit(move || forge.forget(id));
            tx.commit().await
        }
        .await;
        match saved {
            Ok(()) => Ok(project),
            Err(error) if error.is_unique_violation() => Err(taken(&project.path())),
            Err(error) => Err(error.into()),
        }
    }

    /// Deletes a project with its repository.
    ///
    /// # Errors
    /// There is no such project, or the database refused.
    pub async fn delete(&self, actor: &Actor, id: ProjectId) -> Result<()> {
        let project = self
            .project_by_id(id)
            .await?
            .ok_or_else(|| Problem::not_found("project"))?;
        let tx = self.db().begin().await?;
        store::delete(&tx, id).await?;
        crate::storage::store::forget(&tx, id).await?;
        crate::upkeep::store::forget(&tx, id).await?;
        crate::workflow::store::forget(&tx, id).await?;
        self.ledger()
            .append(
                &tx,
                actor,
                &ProjectDeleted {
                    project: id,
                    path: project.path(),
                },
            )
            .await?;
        let forge = self.clone();
        tx.after_commit(move || forge.forget(id));
        tx.commit().await?;
        self.repositories().remove(id).await;
        Ok(())
    }

    /// The names and patterns of branches that only maintainers push to.
    ///
    /// # Errors
    /// The database refused.
    pub async fn protected_branches(&self, id: ProjectId) -> Result<Vec<String>> {
        Ok(store::protected(self.db(), id).await?)
    }

    /// Whether a branch or tag is protected, so that jobs for it may see protected variables. A version tag is where a
    /// protected branch stands or stood at its commit, or holds it and the tag was made by someone who may push there:
    /// anyone who may push makes tags, but not of what nobody has looked at, nor of a step on the way to what somebody
    /// has.
    ///
    /// # Errors
    /// The database or the repository refused.
    pub async fn is_protected(&self, id: ProjectId, reference: &str, tag: bool) -> Result<bool> {
        if tag && !crate::push::is_version_tag(reference) {
            return Ok(false);
        }
        let patterns = self.protected_branches(id).await?;
        let covered = move |branch: &str| any_covers(&patterns, branch);
        if tag {
            match self.tag_on(id, reference, covered).await? {
                Some((_, true)) => Ok(true),
                Some((sha, false)) => Ok(store::is_vouched(self.db(), id, &sha).await?),
                None => Ok(false),
            }
        } else {
            Ok(covered(reference))
        }
    }

    /// Tells of settings that a transaction changed: name and new value.
    pub(crate) async fn tell_changes<V: Into<String>>(
        &self,
        tx: &Tx,
        actor: &Actor,
        project: ProjectId,
        changes: impl IntoIterator<Item = (&'static str, V)>,
    ) -> bascule_store::Result<()> {
        for (setting, value) in changes {
            let fact = ProjectChanged {
                project,
                setting: setting.to_owned(),
                value: value.into(),
            };
            self.ledger().append(tx, actor, &fact).await?;
        }
        Ok(())
    }

    /// Protects a branch or a pattern of branches.
    ///
    /// # Errors
    /// The caller is a program, the pattern is bad, there are too many, or the database refused.
    pub async fn protect(&self, caller: &Caller, id: ProjectId, pattern: &str) -> Result<()> {
        caller.must_be_person("changes which branches are protected")?;
        let pattern = pattern_name(pattern.trim())?;
        if self.protected_branches(id).await?.len() >= PROTECTED {
            return Err(Problem::invalid(
                "too_many",
                format!("A project protects at most {PROTECTED} names and patterns."),
            )
            .next("Use a pattern with `*` instead of many names."));
        }
        let tx = self.db().begin().await?;
        if store::protect(&tx, id, &pattern).await? > 0 {
            self.tell_changes(&tx, &caller.actor, id, [("protected_branch", pattern)])
                .await?;
        }
        Ok(tx.commit().await?)
    }

    /// Takes protection off a branch or pattern. The default branch keeps its own.
    ///
    /// # Errors
    /// The caller is a program, it is the default branch, or the database refused.
    pub async fn unprotect(&self, caller: &Caller, id: ProjectId, pattern: &str) -> Result<()> {
        caller.must_be_person("changes which branches are protected")?;
        let project = self
            .project_by_id(id)
            .await?
            .ok_or_else(|| Problem::not_found("project"))?;
        if project.default_branch == pattern {
            return Err(
                Problem::conflict("default_branch", "The default branch stays protected.")
                    .why("Releases and measures stand on its history.")
                    .next("Make another branch the default one first."),
            );
        }
        let tx = self.db().begin().await?;
        if store::unprotect(&tx, id, pattern).await? > 0 {
            self.tell_changes(&tx, &caller.actor, id, [("unprotected_branch", pattern)])
                .await?;
        }
        Ok(tx.commit().await?)
    }
}

fn description(text: &str) -> Result<String> {
    let text: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if text.chars().count() > DESCRIPTION {
        return Err(Problem::invalid(
            "too_long",
            format!("The description is longer than {DESCRIPTION} characters."),
        )
        .next("Put details into the project's README."));
    }
    Ok(text)
}

fn taken(path: &str) -> Problem {
    Problem::conflict("name_taken", format!("There is already a project `{path}`."))
        .why("A project's path is its address.")
        .next("Choose another name.")
}
