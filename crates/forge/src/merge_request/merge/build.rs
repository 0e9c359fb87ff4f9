//! Making the commit that a merge moves the branch to. Objects are written, no reference moves.

use super::{
    Approver, Conflict, Tried,
    message::{self, Words, Writer},
    unrelated,
};
use crate::{
    Forge, ProjectInfo, Signature,
    code::{ReadError, Reading, read as objects},
    merge_request::{MergeRequest, Settings, Strategy, read},
};
use bascule_core::{Problem, ProjectId, Result, Timestamp};
use gix::{ObjectId, Repository};

/// Most commits that are put on top of a branch one by one.
const REBASED: usize = 1_000;
/// Most commits whose titles and authors are looked at for a message.
const LISTED: usize = 500;

/// What is to be built.
pub(crate) struct Build<'a> {
    pub(crate) project: &'a ProjectInfo,
    pub(crate) request: &'a MergeRequest,
    pub(crate) settings: &'a Settings,
    pub(crate) strategy: Strategy,
    /// What it is to stand on.
    pub(crate) onto: &'a str,
    /// Who merges.
    pub(crate) by: &'a Signature,
    pub(crate) approvers: &'a [Approver],
}

/// A commit, as the log needs it.
struct Listed {
    titles: Vec<String>,
    author: (gix::actor::Signature, Writer),
    writers: Vec<Writer>,
}

impl Forge {
    /// Makes the commit; the files in conflict where it cannot be made.
    pub(crate) async fn build_merge(&self, build: &Build<'_>) -> Result<Result<String, Vec<Conflict>>> {
        match build.strategy {
            Strategy::FastForward => self.fast_forward(build).await.map(Ok),
            Strategy::Rebase => self.rebased(build).await,
            Strategy::Merge | Strategy::Squash => self.merged(build).await,
        }
    }

    async fn merged(&self, build: &Build<'_>) -> Result<Result<String, Vec<Conflict>>> {
        let id = build.project.id;
        let request = build.request;
        let tried = self.try_merge(id, build.onto, &request.head).await?;
        let tree = match tried.as_ref() {
            Tried::Clean(tree) => tree.clone(),
            Tried::Conflicts { files, .. } => return Ok(Err(files.clone())),
            Tried::Unrelated => return Err(unrelated(request)),
        };
        let (onto, head) = (build.onto.to_owned(), request.head.clone());
        let listed = self
            .repositories()
            .read(id, move |repo| list(repo, &onto, &head))
            .await?;
        let squash = build.strategy == Strategy::Squash;
        let writers: Vec<Writer> = listed
            .writers
            .iter()
            .filter(|writer| !writer.email.eq_ignore_ascii_case(&listed.author.1.email))
            .take(20)
            .cloned()
            .collect();
        let message = message::message(
            build.settings,
            build.strategy,
            &Words {
                request,
                project: &build.project.path(),
                titles: &listed.titles,
                writers: &writers,
                approvers: build.approvers,
            },
        );
        let author = if squash { Some(listed.author.0) } else { None };
        let parents = if squash {
            vec![build.onto.to_owned()]
        } else {
            vec![build.onto.to_owned(), request.head.clone()]
        };
        let (by, now) = (build.by.clone(), self.now());
        let sha = self
            .repositories()
            .read(id, move |repo| {
                write(repo, &tree, &parents, author, &by, now, &message)
            })
            .await?;
        Ok(Ok(sha))
    }

    async fn fast_forward(&self, build: &Build<'_>) -> Result<String> {
        let inside = self
            .ancestors(build.project.id, &build.request.head, &[build.onto.to_owned()])
            .await?;
        if inside.first() == Some(&true) {
            return Ok(build.request.head.clone());
        }
        Err(Problem::conflict(
            "not_fast_forward",
            format!(
                "`{}` has commits that `{}` does not build on.",
                build.request.target_branch, build.request.source_branch
            ),
        )
        .why("The project merges by fast-forward alone, so that its history stays one line.")
        .next(format!(
            "Put your commits on top: `git pull --rebase origin {}`, then push.",
            build.request.target_branch
        )))
    }

    async fn rebased(&self, build: &Build<'_>) -> Result<Result<String, Vec<Conflict>>> {
        let id = build.project.id;
        let (onto, head) = (build.onto.to_owned(), build.request.head.clone());
        let plan = self
            .repositories()
            .read(id, move |repo| line_up(repo, &onto, &head))
            .await?;
        let Some(commits) = plan else {
            return Ok(Ok(build.request.head.clone()));
        };
        let mut tip = build.onto.to_owned();
        for (parent, commit) in commits {
            match pick(self, id, &parent, &commit, &tip, build.by, None).await? {
                Ok(Some(made)) => tip = made,
                // The target has this change already.
                Ok(None) => {}
                Err(conflicts) => return Ok(Err(conflicts)),
            }
        }
        Ok(Ok(tip))
    }

    /// Which of `commits` are in the history of `tip`.
    pub(crate) async fn ancestors(
        &self,
        project: ProjectId,
        tip: &str,
        commits: &[String],
    ) -> Result<Vec<bool>> {
        let (tip, commits) = (tip.to_owned(), commits.to_vec());
        self.repositories()
            .read(project, move |repo| {
                let Ok(tip) = read::id(repo, &tip) else {
                    return Ok(vec![false; commits.len()]);
                };
                let mut inside = Vec::with_capacity(commits.len());
                for commit in &commits {
                    let known = objects::object_id(commit).filter(|id| repo.has_object(*id));
                    inside.push(known.is_some_and(|commit| {
                        let base = repo.merge_base(commit, tip).ok().flatten();
                        base.is_some_and(|base| base.detach() == commit)
                    }));
                }
                Ok(inside)
            })
            .await
    }
}

/// Puts one commit on top of another, with its author and message; `None` where nothing of it is left.
async fn pick(
    forge: &Forge,
    project: ProjectId,
    parent: &str,
    commit: &str,
    onto: &str,
    by: &Signature,
    message: Option<String>,
) -> Result<Result<Option<String>, Vec<Conflict>>> {
    let tree = match forge.try_pick(project, parent, commit, onto).await?.clean() {
        Ok(tree) => tree,
        Err(files) => return Ok(Err(files)),
    };
    let (onto, commit) = (onto.to_owned(), commit.to_owned());
    let (by, now) = (by.clone(), forge.now());
    let made = forge
        .repositories()
        .read(project, move |repo| {
            let base = read::id(repo, &onto)?;
            if Some(objects::tree_of(repo, base)?.id) == objects::object_id(&tree) {
                return Ok(None);
            }
            let original = repo.find_commit(read::id(repo, &commit)?)?;
            let text = String::from_utf8_lossy(original.message_raw()?).into_owned();
            let author = original.author()?.to_owned().map_err(ReadError::git)?;
            // What is said anew (a revert) is the picker's own.
            let (author, text) = match message {
                Some(message) => (None, message),
                None => (Some(author), text),
            };
            write(repo, &tree, &[onto], author, &by, now, &text).map(Some)
        })
        .await?;
    Ok(Ok(made))
}

/// The commits to be put on top of `onto`, oldest first, each with its parent; `None` where `head` builds on `onto`
/// in one line already.
#[allow(clippy::type_complexity, reason = "pairs of identifiers, used once")]
fn line_up(repo: &Repository, onto: &str, head: &str) -> Reading<Option<Vec<(String, String)>>> {
    let (onto, head) = (read::id(repo, onto)?, read::id(repo, head)?);
    let (found, more) = read::commits(repo, onto, head, 0, REBASED)?;
    if more {
        return Err(Problem::invalid(
            "too_many_commits",
            format!("The branch has more than {REBASED} commits."),
        )
        .why("Each of them would be made anew.")
        .next("Rebase it on your own machine and push it, or choose a merge commit.")
        .into());
    }
    let base = repo.merge_base(onto, head).ok().flatten().map(gix::Id::detach);
    if base == Some(onto) && found.iter().all(|commit| commit.parents.len() == 1) {
        return Ok(None);
    }
    // By parentage and not by date, as clocks go wrong: a commit comes when all its parents among them have come.
    let mut waiting: Vec<_> = found.into_iter().rev().collect();
    let mut open: std::collections::HashSet<ObjectId> = waiting.iter().map(|commit| commit.id).collect();
    let mut ordered = Vec::new();
    while !waiting.is_empty() {
        let before = waiting.len();
        let mut rest = Vec::new();
        for commit in waiting {
            if commit.parents.iter().any(|parent| open.contains(parent)) {
                rest.push(commit);
                continue;
            }
            open.remove(&commit.id);
            // Merges bring nothing of their own.
            if let [parent] = commit.parents.as_slice() {
                ordered.push((parent.to_string(), commit.id.to_string()));
            }
        }
        waiting = rest;
        if waiting.len() == before {
            return Err(ReadError::git("a history that goes round in circles"));
        }
    }
    Ok(Some(ordered))
}

fn list(repo: &Repository, onto: &str, head: &str) -> Reading<Listed> {
    let (onto, head) = (read::id(repo, onto)?, read::id(repo, head)?);
    let (found, _) = read::commits(repo, onto, head, 0, LISTED)?;
    let oldest = found.last().map_or(head, |commit| commit.id);
    let author = repo
        .find_commit(oldest)?
        .author()?
        .to_owned()
        .map_err(ReadError::git)?;
    let mut writers: Vec<Writer> = Vec::new();
    for commit in found.iter().rev() {
        if !writers
            .iter()
            .any(|known| known.email.eq_ignore_ascii_case(&commit.author_email))
        {
            writers.push(Writer {
                name: commit.author_name.clone(),
                email: commit.author_email.clone(),
            });
        }
    }
    let first = Writer {
        name: author.name.to_string(),
        email: author.email.to_string(),
    };
    Ok(Listed {
        titles: found.into_iter().rev().map(|commit| commit.title).collect(),
        author: (author, first),
        writers,
    })
}

/// Writes a commit. `author`: who the change is by, where that is not who commits.
pub(crate) fn write(
    repo: &Repository,
    tree: &str,
    parents: &[String],
    author: Option<gix::actor::Signature>,
    by: &Signature,
    at: Timestamp,
    message: &str,
) -> Reading<String> {
    let tree = objects::object_id(tree).ok_or_else(|| ReadError::git("a tree without an identifier"))?;
    let mut ids = Vec::new();
    for parent in parents {
        ids.push(read::id(repo, parent)?);
    }
    let committer = by.to_git(at);
    let commit = gix::objs::Commit {
        tree,
        parents: ids.into_iter().collect(),
        author: author.unwrap_or_else(|| committer.clone()),
        committer,
        encoding: None,
        message: format!("{}\n", message.trim_end()).into(),
        extra_headers: Vec::new(),
    };
    Ok(repo
        .write_object(&commit)
        .map_err(ReadError::from)?
        .detach()
        .to_string())
}
