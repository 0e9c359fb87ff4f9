//! What other capabilities ask about code. All by project and commit, so that answers never change.

use super::{FileToCommit, Reading, Signature, commit, diff, history, paths, read};
use crate::{Forge, push::Update};
use bascule_core::{Actor, Problem, ProjectId, Result, Timestamp};
use bascule_ledger::facts::forge::CommitStamp;
use gix::ObjectId;
use std::time::Duration;

/// Most paths that a commit may have to be listed.
const PATHS: usize = 500_000;
/// Largest file handed out whole.
const WHOLE_FILE: u64 = 64 * 1024 * 1024;

/// What a branch's or tag's name leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The commit.
    pub sha: String,
    /// Whether it is a tag.
    pub is_tag: bool,
}

/// Reads a commit's identifier, or says what is wrong with it.
pub(crate) fn commit_id(sha: &str) -> Result<ObjectId> {
    read::object_id(sha).ok_or_else(|| {
        Problem::bad_request("bad_commit_id", "A commit is named by its 40 hexadecimal digits.")
            .next("Resolve branches and tags first.")
    })
}

impl Forge {
    async fn at<T: Send + 'static>(
        &self,
        project: ProjectId,
        sha: &str,
        read: impl FnOnce(&gix::Repository, ObjectId) -> Reading<T> + Send + 'static,
    ) -> Result<T> {
        let id = commit_id(sha)?;
        self.repositories()
            .read(project, move |repo| {
                if !repo.has_object(id) {
                    return Err(Problem::not_found("commit").into());
                }
                read(repo, id)
            })
            .await
    }

    /// A file's bytes at a commit; `None` if there is no such file. Files over 64 MiB are an error.
    ///
    /// # Errors
    /// There is no such commit, or the repository cannot be read.
    pub async fn read_file(&self, project: ProjectId, sha: &str, path: &str) -> Result<Option<Vec<u8>>> {
        self.read_file_up_to(project, sha, path, WHOLE_FILE).await
    }

    /// The same with a limit of one's own, in bytes.
    ///
    /// # Errors
    /// As [`Forge::read_file`], and when the file is larger.
    pub async fn read_file_up_to(
        &self,
        project: ProjectId,
        sha: &str,
        path: &str,
        limit: u64,
    ) -> Result<Option<Vec<u8>>> {
        let path = path.to_owned();
        self.at(project, sha, move |repo, id| {
            read::file(repo, id, path.as_bytes(), limit)
        })
        .await
    }

    /// Several files' bytes at a commit, in the order of their paths, which are read together; `None` where there
    /// is no such file.
    ///
    /// # Errors
    /// As [`Forge::read_file_up_to`], when any of them is larger.
    pub async fn read_files_up_to(
        &self,
        project: ProjectId,
        sha: &str,
        paths: &[String],
        limit: u64,
    ) -> Result<Vec<Option<Vec<u8>>>> {
        let paths = paths.to_vec();
        self.at(project, sha, move |repo, id| read::files(repo, id, &paths, limit))
            .await
    }

    /// The paths of all files at a commit. Names that are not UTF-8 are spelt out, and so cannot be read back.
    ///
    /// # Errors
    /// There is no such commit, it has too many files, or the repository cannot be read.
    pub async fn list_paths(&self, project: ProjectId, sha: &str) -> Result<Vec<String>> {
        let texts = |paths: Vec<Vec<u8>>| paths.into_iter().map(text).collect();
        self.at(project, sha, move |repo, id| {
            read::all_paths(repo, id, PATHS).map(texts)
        })
        .await
    }

    /// The paths of files that differ between two commits; against the first parent (or nothing, for a first
    /// commit) where `before` is `None`. Of a moved file both paths are given.
    ///
    /// # Errors
    /// There is no such commit, or the repository cannot be read.
    pub async fn changed_paths(
        &self,
        project: ProjectId,
        before: Option<&str>,
        after: &str,
    ) -> Result<Vec<String>> {
        let before = before.map(commit_id).transpose()?;
        self.at(project, after, move |repo, id| {
            let before = match before {
                // Gone after a forced push: then everything counts as changed since the first parent.
                Some(before) if repo.has_object(before) => Some(before),
                _ => read::commit(repo, id)?.parents.first().copied(),
            };
            differing(repo, before, id)
        })
        .await
    }

    /// The paths of files that differ between a commit and what it has in common with another: what a merge
    /// request of the one into the other would show. Without anything in common, all of them.
    ///
    /// # Errors
    /// There is no such commit, or the repository cannot be read.
    pub async fn changed_since(&self, project: ProjectId, other: &str, sha: &str) -> Result<Vec<String>> {
        let other = commit_id(other)?;
        self.at(project, sha, move |repo, id| {
            let base = repo.merge_base(other, id)?.map(gix::Id::detach);
            differing(repo, base, id)
        })
        .await
    }

    /// The last commit, seen from another, that changed a path; `None` if there is no such file, or if finding it
    /// would take longer than `within`.
    ///
    /// # Errors
    /// There is no such commit, or the repository cannot be read.
    pub async fn last_commit(
        &self,
        project: ProjectId,
        sha: &str,
        path: &str,
        within: Duration,
    ) -> Result<Option<String>> {
        let path = path.as_bytes().to_vec();
        self.at(project, sha, move |repo, id| {
            if read::entry(repo, id, &path)?.is_none() {
                return Ok(None);
            }
            let found = history::last_change(repo, id, &path, within)?;
            Ok(found.map(|commit| commit.id.to_string()))
        })
        .await
    }

    /// The names of all tags.
    ///
    /// # Errors
    /// The repository cannot be read.
    pub async fn tag_names(&self, project: ProjectId) -> Result<Vec<String>> {
        self.repositories()
            .read(project, |repo| read::names(repo, "refs/tags/"))
            .await
    }

    /// The names of all branches.
    ///
    /// # Errors
    /// The repository cannot be read.
    pub async fn branch_names(&self, project: ProjectId) -> Result<Vec<String>> {
        self.repositories()
            .read(project, |repo| read::names(repo, "refs/heads/"))
            .await
    }

    /// What a branch's or tag's name, or a commit's identifier, leads to; a branch before a tag.
    ///
    /// # Errors
    /// The repository cannot be read.
    pub async fn resolve(&self, project: ProjectId, name: &str) -> Result<Option<Resolved>> {
        let name = name.to_owned();
        let found = self
            .repositories()
            .read(project, move |repo| read::resolve(repo, &name))
            .await?;
        Ok(found.map(|found| Resolved {
            sha: found.id.to_string(),
            is_tag: found.kind == read::NameKind::Tag,
        }))
    }

    /// The commit that a branch stands at.
    ///
    /// # Errors
    /// The repository cannot be read.
    pub async fn resolve_branch(&self, project: ProjectId, branch: &str) -> Result<Option<String>> {
        let name = format!("refs/heads/{branch}");
        let found = self
            .repositories()
            .read(project, move |repo| read::reference(repo, &name))
            .await?;
        Ok(found.map(|id| id.to_string()))
    }

    /// The commit that a tag leads to.
    ///
    /// # Errors
    /// The repository cannot be read.
    pub async fn resolve_tag(&self, project: ProjectId, tag: &str) -> Result<Option<String>> {
        let name = format!("refs/tags/{tag}");
        let found = self
            .repositories()
            .read(project, move |repo| read::reference(repo, &name))
            .await?;
        Ok(found.map(|id| id.to_string()))
    }

    /// What an annotated tag says, without its signature; `None` where there is no such tag, or it says nothing.
    ///
    /// # Errors
    /// The repository cannot be read.
    pub async fn tag_message(&self, project: ProjectId, tag: &str) -> Result<Option<String>> {
        let name = format!("refs/tags/{tag}");
        self.repositories()
            .read(project, move |repo| read::annotation(repo, &name))
            .await
    }

    /// Whether a project has no branch yet.
    ///
    /// # Errors
    /// The repository cannot be read.
    pub async fn is_empty(&self, project: ProjectId) -> Result<bool> {
        Ok(self
            .repositories()
            .read(project, history::heads)
            .await?
            .is_empty())
    }

    /// A commit's message; `None` if there is no such commit.
    ///
    /// # Errors
    /// The repository cannot be read.
    pub async fn commit_message(&self, project: ProjectId, sha: &str) -> Result<Option<String>> {
        let Some(id) = read::object_id(sha) else {
            return Ok(None);
        };
        self.repositories()
            .read(project, move |repo| {
                if !repo.has_object(id) {
                    return Ok(None);
                }
                let message = repo.find_commit(id)?.message_raw()?.to_vec();
                Ok(Some(String::from_utf8_lossy(&message).into_owned()))
            })
            .await
    }

    /// Who wrote a commit, as `name <address>`, and when it was committed; `None` if there is no such commit.
    ///
    /// # Errors
    /// The repository cannot be read.
    pub async fn commit_author(&self, project: ProjectId, sha: &str) -> Result<Option<(String, Timestamp)>> {
        let Some(id) = read::object_id(sha) else {
            return Ok(None);
        };
        self.repositories()
            .read(project, move |repo| {
                if !repo.has_object(id) {
                    return Ok(None);
                }
                let commit = read::commit(repo, id)?;
                let author = format!("{} <{}>", commit.author_name, commit.author_email);
                Ok(Some((author, commit.committed_at)))
            })
            .await
    }

    /// The commits reachable from `new` and not from `old` (all, without `old`): the newest 500, newest first,
    /// and how many there are in all.
    ///
    /// # Errors
    /// There is no such commit, or the repository cannot be read.
    pub async fn commits_between(
        &self,
        project: ProjectId,
        old: Option<&str>,
        new: &str,
    ) -> Result<(Vec<CommitStamp>, i64)> {
        let old = old.map(commit_id).transpose()?;
        self.at(project, new, move |repo, id| {
            let hidden = old.filter(|old| repo.has_object(*old)).into_iter().collect();
            history::between(repo, hidden, id)
        })
        .await
    }

    /// The commit that a branch, a tag or the beginning of an identifier (four digits at least) means, and its title.
    ///
    /// # Errors
    /// More than one commit begins so, or the repository cannot be read.
    pub async fn find_commit(&self, project: ProjectId, text: &str) -> Result<Option<(String, String)>> {
        let text = text.trim().to_owned();
        self.repositories()
            .read(project, move |repo| {
                let id = match read::resolve(repo, &text)? {
                    Some(found) => found.id,
                    None => match read::by_prefix(repo, &text.to_lowercase())? {
                        Ok(Some(id)) => id,
                        Ok(None) => return Ok(None),
                        Err(count) => {
                            let problem = Problem::invalid(
                                "ambiguous_commit",
                                format!("{count} commits begin with {text}."),
                            );
                            return Err(problem.next("Give more of its digits.").into());
                        }
                    },
                };
                Ok(Some((id.to_string(), read::commit(repo, id)?.title)))
            })
            .await
    }

    /// Which of `tips` contain a commit. A tip that is not there contains nothing.
    ///
    /// # Errors
    /// There is no such commit, or the repository cannot be read.
    pub async fn containing(&self, project: ProjectId, commit: &str, tips: &[String]) -> Result<Vec<bool>> {
        let tips: Vec<Option<ObjectId>> = tips.iter().map(|tip| read::object_id(tip)).collect();
        self.at(project, commit, move |repo, id| {
            let known: Vec<ObjectId> = tips.iter().copied().flatten().collect();
            let mut inside = history::containing(repo, id, &known)?.into_iter();
            let all = tips
                .iter()
                .map(|tip| tip.is_some() && inside.next() == Some(true));
            Ok(all.collect())
        })
        .await
    }

    /// The commit of a tag that one of these branches contains, and whether one of them stands there.
    pub(crate) async fn tag_on(
        &self,
        project: ProjectId,
        tag: &str,
        wanted: impl Fn(&str) -> bool + Send + 'static,
    ) -> Result<Option<(String, bool)>> {
        let name = format!("refs/tags/{tag}");
        self.repositories()
            .read(project, move |repo| {
                let Some(commit) = read::reference(repo, &name)? else {
                    return Ok(None);
                };
                let mut tips = Vec::new();
                for branch in history::heads(repo)?.into_iter().filter(|branch| wanted(branch)) {
                    tips.extend(read::reference(repo, &format!("refs/heads/{branch}"))?);
                }
                let inside = history::containing(repo, commit, &tips)?.contains(&true);
                Ok(inside.then(|| (commit.to_string(), tips.contains(&commit))))
            })
            .await
    }

    /// Commits files straight to a branch, which is made from the default branch (or from nothing, in an empty
    /// project) if it is not there. Returns the commit; the present one if nothing would change. Protection is
    /// not asked here: the caller of this function decides who may.
    ///
    /// # Errors
    /// A path is bad, or the disk or database refused.
    pub async fn commit_files(
        &self,
        project: ProjectId,
        branch: &str,
        files: Vec<FileToCommit>,
        message: &str,
        author: &Signature,
        actor: &Actor,
    ) -> Result<String> {
        self.commit_onto(project, branch, None, files, message, author, actor)
            .await
    }

    /// The same, and with `expected` only while the branch stands there: a push that comes in between is not
    /// written over.
    ///
    /// # Errors
    /// As [`Forge::commit_files`], and when the branch stands elsewhere.
    #[allow(clippy::too_many_arguments, reason = "all of a commit")]
    pub(crate) async fn commit_onto(
        &self,
        project: ProjectId,
        branch: &str,
        expected: Option<&str>,
        files: Vec<FileToCommit>,
        message: &str,
        author: &Signature,
        actor: &Actor,
    ) -> Result<String> {
        let branch = crate::project::branch_name(branch)?;
        commit::check(&files)?;
        let info = self
            .project_by_id(project)
            .await?
            .ok_or_else(|| Problem::not_found("project"))?;
        // No push may come in between: the branch is read and moved under the project's lock.
        let lock = self.pushes().lock(project);
        let _lock = lock.lock_owned().await;
        self.settle_leftovers(project).await?;
        let reference = format!("refs/heads/{branch}");
        let expected = expected.map(commit_id).transpose()?;
        let (message, author, now) = (message.to_owned(), author.clone(), self.now());
        let (name, default) = (reference.clone(), format!("refs/heads/{}", info.default_branch));
        let (old, base, new) = self
            .repositories()
            .read(project, move |repo| {
                let old = read::reference(repo, &name)?;
                if expected.is_some() && old != expected {
                    return Err(branch_moved().into());
                }
                let base = match old {
                    Some(old) => Some(old),
                    None => read::reference(repo, &default)?,
                };
                let new = commit::write(repo, base, &files, &message, &author, now)?;
                Ok((old, base, new))
            })
            .await?;
        let Some(new) = new.or(if old.is_none() { base } else { None }) else {
            return Ok(old.map(|id| id.to_string()).unwrap_or_default());
        };
        let update = Update {
            reference,
            old: old.map(|id| id.to_string()),
            new: Some(new.to_string()),
        };
        self.move_branch(project, actor, &update).await?;
        self.pushes().soil(project);
        Ok(new.to_string())
    }

    /// Moves a branch on the platform's own account: the intent first, then the reference, then its facts. The caller
    /// holds the project's lock, with leftovers settled.
    pub(crate) async fn move_branch(&self, project: ProjectId, actor: &Actor, update: &Update) -> Result<()> {
        let push = self.intend(project, actor, update).await?;
        let moved = self.move_reference(project, update).await;
        self.settle_push(project, &push).await?;
        moved
    }

    /// Moves a reference, if it still stands where it stood.
    pub(crate) async fn move_reference(&self, project: ProjectId, update: &Update) -> Result<()> {
        let zero = "0".repeat(40);
        let old = update.old.as_deref().unwrap_or(&zero);
        let new = update.new.as_deref().unwrap_or(&zero);
        let repository = self.repositories().path(project);
        let done = self
            .git()
            .output(&repository, &["update-ref", &update.reference, new, old])
            .await;
        let done = done.map_err(|error| super::repositories::disk(&error, "a reference"))?;
        if done.status.success() {
            return Ok(());
        }
        let complaint = String::from_utf8_lossy(&done.stderr).into_owned();
        tracing::warn!(complaint, "a reference could not be moved");
        if complaint.contains("No space left") {
            return Err(super::repositories::disk(
                &std::io::Error::other(complaint),
                "a reference",
            ));
        }
        Err(branch_moved())
    }
}

fn branch_moved() -> Problem {
    Problem::conflict("branch_moved", "The branch could not be moved.")
            .why("Another change came in between, or a branch of a like name (such as `a` and `a/b`) is in the way.")
            .next("Look at the branch again, then try once more.")
}

fn text(path: Vec<u8>) -> String {
    String::from_utf8(path).unwrap_or_else(|error| paths::shown(error.as_bytes()))
}

/// The paths of files that differ between two commits, those under their former names among them.
fn differing(repo: &gix::Repository, before: Option<ObjectId>, after: ObjectId) -> Reading<Vec<String>> {
    let mut paths: Vec<String> = diff::changes(repo, before, after)?
        .into_iter()
        .flat_map(|change| [Some(change.path), change.from])
        .flatten()
        .map(text)
        .collect();
    paths.sort();
    paths.dedup();
    Ok(paths)
}
