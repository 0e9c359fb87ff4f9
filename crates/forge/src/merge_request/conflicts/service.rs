//! What is in conflict, and committing how it was solved.

use super::{Piece, Take, assemble, pieces};
use crate::{
    Forge,
    code::{Reading, read as objects, shown},
    merge_request::{
        MergeRequest, State,
        merge::{Conflict, Tried, build_commit, side, unrelated},
        read, service,
    },
    push::Update,
};
use bascule_core::{Caller, Permission, Problem, ProjectScope, Result};
use gix::{ObjectId, Repository, objs::tree::EntryKind};
use std::collections::HashMap;

/// Largest file whose conflicts are solved on the page, in bytes; and most files.
const FILE: u64 = 256 * 1024;
const FILES: usize = 50;

/// A file in conflict, as the page shows it.
#[derive(Clone, Debug)]
pub(crate) struct Unsolved {
    pub(crate) path: Vec<u8>,
    pub(crate) kind: String,
    /// Its text, piece by piece; none where only a whole side can be taken.
    pub(crate) pieces: Option<Vec<Piece>>,
    /// Whether the target branch and the source branch still have it.
    pub(crate) ours: bool,
    pub(crate) theirs: bool,
}

/// How a file is solved.
#[derive(Clone, Debug)]
pub(crate) enum Solution {
    /// Hunk by hunk.
    Hunks(Vec<Take>),
    /// As this text.
    Text(String),
    /// As a whole side has it, or has not.
    Side(Take),
}

/// What is in conflict between two commits.
pub(crate) struct Found {
    pub(crate) ours: String,
    pub(crate) theirs: String,
    pub(crate) files: Vec<Unsolved>,
    tree: ObjectId,
    conflicts: Vec<Conflict>,
}

impl Forge {
    /// The files in conflict of an open request.
    pub(crate) async fn unsolved(&self, request: &MergeRequest) -> Result<Found> {
        if request.state != State::Open {
            return Err(service::ended(request));
        }
        if request.is_fork() {
            return Err(Problem::conflict(
                "fork",
                "Conflicts with a fork are solved in a clone of the fork.",
            )
            .why("The result is a commit on the fork's branch, which has not the target's commits.")
            .next(format!(
                "In your clone: `git pull` the branch `{}` of the project, solve, and push.",
                request.target_branch
            )));
        }
        let ours = self
            .resolve_branch(request.project_id, &request.target_branch)
            .await?
            .ok_or_else(|| Problem::not_found("target branch"))?;
        let theirs = self
            .source_head(request)
            .await?
            .ok_or_else(|| service::source_gone(request))?;
        let tried = self.try_merge(request.project_id, &ours, &theirs).await?;
        if *tried == Tried::Unrelated {
            return Err(unrelated(request));
        }
        let Tried::Conflicts { tree, files } = tried.as_ref() else {
            return Err(
                Problem::conflict("no_conflicts", "There is nothing in conflict.").next("Merge the request.")
            );
        };
        if files.len() > FILES {
            return Err(too_much(&format!("{} files are in conflict.", files.len())));
        }
        let (tree, conflicts) = (tree.clone(), files.clone());
        let (one, two) = (ours.clone(), theirs.clone());
        let (tree, files, conflicts) = self
            .repositories()
            .read(request.project_id, move |repo| {
                let tree = objects::object_id(&tree)
                    .ok_or_else(|| crate::code::ReadError::git("a tree without an identifier"))?;
                let mut files = Vec::new();
                for conflict in &conflicts {
                    files.push(unsolved(repo, tree, conflict, &one, &two)?);
                }
                Ok((tree, files, conflicts))
            })
            .await?;
        Ok(Found {
            ours,
            theirs,
            files,
            tree,
            conflicts,
        })
    }

    /// Commits how conflicts were solved to the source branch. `seen`: the two commits that were looked at.
    pub(crate) async fn solve(
        &self,
        caller: &Caller,
        scope: &ProjectScope,
        iid: i64,
        seen: (&str, &str),
        solutions: HashMap<usize, Solution>,
    ) -> Result<MergeRequest> {
        let request = self.merge_request(scope.id, iid).await?;
        if !scope.holds(Permission::CodePush)
            || (self.is_protected_branch(scope.id, &request.source_branch).await?
                && !scope.holds(Permission::ProtectedPush))
        {
            return Err(Problem::forbidden(Permission::CodePush));
        }
        let by = self.signature_of(&caller.actor, caller.user).await?;
        let lock = self.pushes().lock(scope.id);
        let _lock = lock.lock_owned().await;
        self.settle_leftovers(scope.id).await?;
        let found = self.unsolved(&request).await?;
        if (found.ours.as_str(), found.theirs.as_str()) != seen {
            return Err(
                Problem::conflict("head_moved", "One of the branches has new commits.")
                    .why("What was solved is not what would be merged.")
                    .next("Look at the conflicts again."),
            );
        }
        let message = format!(
            "Merge branch '{}' into '{}'\n\nSolved by hand: {}\n",
            request.target_branch,
            request.source_branch,
            found
                .files
                .iter()
                .take(20)
                .map(|file| shown(&file.path))
                .collect::<Vec<_>>()
                .join(", ")
        );
        let now = self.now();
        let (ours, theirs) = (found.ours.clone(), found.theirs.clone());
        let sha = self
            .repositories()
            .read(scope.id, move |repo| {
                let tree = solved(repo, &found, &solutions)?;
                let parents = [theirs, ours];
                build_commit(repo, &tree.to_string(), &parents, None, &by, now, &message)
            })
            .await?;
        let update = Update {
            reference: format!("refs/heads/{}", request.source_branch),
            old: Some(seen.1.to_owned()),
            new: Some(sha.clone()),
        };
        self.move_branch(scope.id, &caller.actor, &update).await?;
        self.pushes().soil(scope.id);
        let request = self.merge_request(scope.id, iid).await?;
        self.take_up(request, &sha, &caller.actor, 0).await
    }
}

fn too_much(what: &str) -> Problem {
    Problem::conflict("too_much", what)
        .why("The page is for small conflicts.")
        .next("Merge the target branch into yours on your own machine, and push the result.")
}

fn entry(repo: &Repository, tree: ObjectId, path: &[u8]) -> Reading<Option<(EntryKind, ObjectId)>> {
    let parts: Vec<&[u8]> = path.split(|b| *b == b'/').collect();
    let found = repo.find_tree(tree)?.lookup_entry(parts.iter().copied())?;
    Ok(found.map(|entry| (entry.mode().kind(), entry.object_id())))
}

fn unsolved(
    repo: &Repository,
    tree: ObjectId,
    conflict: &Conflict,
    ours: &str,
    theirs: &str,
) -> Reading<Unsolved> {
    let has = |at: usize| conflict.stages.get(at).is_some_and(Option::is_some);
    let mut file = Unsolved {
        path: conflict.path.clone(),
        kind: conflict.kind.clone(),
        pieces: None,
        ours: has(side::OURS),
        theirs: has(side::THEIRS),
    };
    if file.ours
        && file.theirs
        && let Some((EntryKind::Blob | EntryKind::BlobExecutable, id)) = entry(repo, tree, &conflict.path)?
        && let Some(bytes) = objects::bytes(repo, id, FILE)?
        && let Ok(text) = String::from_utf8(bytes)
        && !text.contains('\0')
    {
        file.pieces = pieces(&text, ours, theirs)
            .filter(|pieces| pieces.iter().any(|piece| matches!(piece, Piece::Differs { .. })));
    }
    Ok(file)
}

/// The tree of the merge with every conflict solved.
fn solved(repo: &Repository, found: &Found, solutions: &HashMap<usize, Solution>) -> Reading<ObjectId> {
    let mut editor = repo.edit_tree(found.tree)?;
    for (at, (file, conflict)) in found.files.iter().zip(&found.conflicts).enumerate() {
        let missing = || {
            Problem::invalid("unsolved", format!("`{}` is not solved.", shown(&file.path)))
                .next("Choose for every hunk, or write the text.")
        };
        let path = gix::bstr::BString::from(file.path.clone());
        let kind = match entry(repo, found.tree, &file.path)? {
            Some((kind @ (EntryKind::BlobExecutable | EntryKind::Link), _)) => kind,
            _ => EntryKind::Blob,
        };
        let text = match (solutions.get(&at).ok_or_else(missing)?, &file.pieces) {
            (Solution::Hunks(takes), Some(pieces)) => assemble(pieces, takes).ok_or_else(missing)?,
            (Solution::Text(text), Some(_)) => text.clone(),
            (Solution::Side(take), _) => {
                let stage = match take {
                    Take::Ours => side::OURS,
                    Take::Theirs => side::THEIRS,
                    Take::Both => return Err(missing().into()),
                };
                match conflict.stages.get(stage).and_then(Option::as_deref) {
                    Some(id) => {
                        editor.upsert(path, kind, read::id(repo, id)?)?;
                    }
                    None => {
                        editor.remove(path)?;
                    }
                }
                continue;
            }
            _ => return Err(missing().into()),
        };
        let blob = repo.write_blob(text.as_bytes())?;
        editor.upsert(path, kind, blob)?;
    }
    Ok(editor.write()?.detach())
}
