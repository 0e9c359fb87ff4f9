//! Walking history: commits of a page, commits between two points, and what changed an entry last.

use super::{
    ReadError, Reading,
    read::{self, CommitInfo, entry},
};
use crate::push::{Move, Update};
use bascule_core::{Digest, Timestamp};
use bascule_ledger::facts::forge::CommitStamp;
use gix::{ObjectId, Repository, revision::walk::Sorting, traverse::commit::simple::CommitTimeOrder};
use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

/// Most commits told of one by one.
pub(crate) const STAMPS: usize = 500;

/// Commits reachable from `tip` and from none of `hidden`, newest first.
pub(crate) fn walk(
    repo: &Repository,
    tip: ObjectId,
    hidden: Vec<ObjectId>,
) -> Reading<impl Iterator<Item = Reading<ObjectId>> + '_> {
    let walk = repo
        .rev_walk([tip])
        .sorting(Sorting::ByCommitTime(CommitTimeOrder::NewestFirst))
        .with_hidden(hidden);
    Ok(walk
        .all()?
        .map(|info| info.map(|info| info.id).map_err(ReadError::git)))
}

/// A page of history without what is reachable from `hidden`; and whether there is more.
pub(crate) fn page(
    repo: &Repository,
    tip: ObjectId,
    hidden: Vec<ObjectId>,
    skip: usize,
    take: usize,
) -> Reading<(Vec<CommitInfo>, bool)> {
    let mut commits = Vec::new();
    for id in walk(repo, tip, hidden)?.skip(skip).take(take.saturating_add(1)) {
        commits.push(read::commit(repo, id?)?);
    }
    let more = commits.len() > take;
    commits.truncate(take);
    Ok((commits, more))
}

/// How many commits are reachable from one and not from another.
pub(crate) fn count(repo: &Repository, from: ObjectId, hidden: ObjectId) -> Reading<usize> {
    let mut count = 0;
    for id in walk(repo, from, vec![hidden])? {
        id?;
        count += 1;
    }
    Ok(count)
}

/// Commits reachable from `new` and from none of `hidden`: the newest, and how many in all.
pub(crate) fn between(
    repo: &Repository,
    hidden: Vec<ObjectId>,
    new: ObjectId,
) -> Reading<(Vec<CommitStamp>, i64)> {
    let mut stamps = Vec::new();
    let mut count = 0;
    for id in walk(repo, new, hidden)? {
        let id = id?;
        count += 1;
        if stamps.len() < STAMPS {
            let commit = repo.find_commit(id)?;
            stamps.push(CommitStamp {
                sha: id.to_string(),
                at: Timestamp::from_seconds(commit.committer()?.seconds()),
                author: author_hash(commit.author()?.email),
            });
        }
    }
    Ok((stamps, count))
}

/// Which of `tips` contain a commit: itself, or later ones. One walk over what came after it, whatever the number
/// of tips.
pub(crate) fn containing(repo: &Repository, commit: ObjectId, tips: &[ObjectId]) -> Reading<Vec<bool>> {
    let known: Vec<ObjectId> = tips.iter().copied().filter(|tip| repo.has_object(*tip)).collect();
    let mut children: HashMap<ObjectId, Vec<ObjectId>> = HashMap::new();
    let walk = repo
        .rev_walk(known)
        .sorting(Sorting::ByCommitTime(CommitTimeOrder::NewestFirst))
        .with_hidden(read::commit(repo, commit)?.parents);
    for info in walk.all()? {
        let info = info.map_err(ReadError::git)?;
        for parent in info.parent_ids() {
            children.entry(parent.detach()).or_default().push(info.id);
        }
    }
    let mut inside = HashSet::from([commit]);
    let mut open = vec![commit];
    while let Some(at) = open.pop() {
        for child in children.get(&at).into_iter().flatten() {
            if inside.insert(*child) {
                open.push(*child);
            }
        }
    }
    Ok(tips.iter().map(|tip| inside.contains(tip)).collect())
}

/// Tells authors apart without keeping their addresses.
fn author_hash(email: &[u8]) -> String {
    let email = String::from_utf8_lossy(email).trim().to_lowercase();
    Digest::of(email.as_bytes()).hex().chars().take(16).collect()
}

/// Names of all branches.
pub(crate) fn heads(repo: &Repository) -> Reading<Vec<String>> {
    read::names(repo, "refs/heads/")
}

/// Which of these updates happened, and what they brought. `None` for what did not.
pub(crate) fn moves(repo: &Repository, updates: &[Update], default: &str) -> Reading<Vec<Option<Move>>> {
    let pushed: HashSet<&str> = updates.iter().map(|update| update.reference.as_str()).collect();
    // What other branches held before: commits there are not new with a new branch.
    let mut before: Option<Vec<ObjectId>> = None;
    let mut brought: Vec<ObjectId> = Vec::new();
    let mut moves: Vec<Option<Move>> = vec![None; updates.len()];
    // The default branch first: its commits are then not counted again with every other branch of a first push.
    let mut order: Vec<usize> = (0..updates.len()).collect();
    order.sort_by_key(|at| updates.get(*at).and_then(Update::branch) != Some(default));
    for at in order {
        let Some(update) = updates.get(at) else { continue };
        if read::target(repo, &update.reference)?.map(|id| id.to_string()) != update.new {
            continue;
        }
        let mut happened = Move {
            update: update.clone(),
            peeled: None,
            forced: false,
            commits: Vec::new(),
            count: 0,
        };
        let (old, new) = (
            update.old.as_deref().and_then(read::object_id),
            update.new.as_deref().and_then(read::object_id),
        );
        if update.tag().is_some() {
            happened.peeled = read::reference(repo, &update.reference)?.map(|id| id.to_string());
        } else if let (Some(branch), Some(new)) = (update.branch(), new) {
            let hidden = match old {
                // The old commits are kept by git until they are collected, so they can still be looked at.
                Some(old) if repo.has_object(old) => {
                    happened.forced = repo
                        .merge_base(old, new)
                        .ok()
                        .flatten()
                        .is_none_or(|base| base.detach() != old);
                    vec![old]
                }
                Some(_) => {
                    happened.forced = true;
                    Vec::new()
                }
                None if branch == default => Vec::new(),
                None => {
                    let known = match &before {
                        Some(known) => known,
                        None => before.insert(elsewhere(repo, &pushed, updates)?),
                    };
                    known.iter().chain(&brought).copied().collect()
                }
            };
            (happened.commits, happened.count) = between(repo, hidden, new)?;
            brought.push(new);
        }
        if let Some(place) = moves.get_mut(at) {
            *place = Some(happened);
        }
    }
    Ok(moves)
}

/// Where branches stood that this push did not create.
fn elsewhere(repo: &Repository, pushed: &HashSet<&str>, updates: &[Update]) -> Reading<Vec<ObjectId>> {
    let mut ids = Vec::new();
    for name in heads(repo)? {
        let full = format!("refs/heads/{name}");
        if !pushed.contains(full.as_str()) {
            ids.extend(read::reference(repo, &full)?);
        }
    }
    ids.extend(
        updates
            .iter()
            .filter_map(|update| update.old.as_deref().and_then(read::object_id))
            .filter(|id| repo.has_object(id)),
    );
    Ok(ids)
}

/// What changed each entry of a directory last: name to commit. Stops at `budget`, leaving the rest out.
pub(crate) fn last_changes(
    repo: &Repository,
    tip: ObjectId,
    path: &[u8],
    budget: Duration,
) -> Reading<(HashMap<Vec<u8>, CommitInfo>, bool)> {
    let started = Instant::now();
    let mut found = HashMap::new();
    let mut pending = entries_at(repo, tip, path)?;
    for id in walk(repo, tip, Vec::new())? {
        if pending.is_empty() {
            return Ok((found, true));
        }
        if started.elapsed() > budget {
            return Ok((found, false));
        }
        let id = id?;
        let here = entries_at(repo, id, path)?;
        let mut changed: HashSet<&Vec<u8>> = pending
            .iter()
            .filter(|(name, id)| here.get(*name) == Some(*id))
            .map(|(name, _)| name)
            .collect();
        if changed.is_empty() {
            continue;
        }
        for parent in repo
            .find_commit(id)?
            .parent_ids()
            .map(gix::Id::detach)
            .collect::<Vec<_>>()
        {
            let there = entries_at(repo, parent, path)?;
            changed.retain(|name| there.get(*name) != here.get(*name));
        }
        if changed.is_empty() {
            continue;
        }
        let commit = read::commit(repo, id)?;
        let changed: Vec<Vec<u8>> = changed.into_iter().cloned().collect();
        for name in changed {
            pending.remove(&name);
            found.insert(name, commit.clone());
        }
    }
    Ok((found, true))
}

fn entries_at(repo: &Repository, commit: ObjectId, path: &[u8]) -> Reading<HashMap<Vec<u8>, ObjectId>> {
    let Some((gix::objs::tree::EntryKind::Tree, tree)) = entry(repo, commit, path)? else {
        return Ok(HashMap::new());
    };
    let tree = repo.find_tree(tree)?;
    let mut entries = HashMap::new();
    for entry in tree.iter() {
        let entry = entry?;
        entries.insert(entry.filename().to_vec(), entry.object_id());
    }
    Ok(entries)
}

/// The last commit that touched a path, within a budget.
pub(crate) fn last_change(
    repo: &Repository,
    tip: ObjectId,
    path: &[u8],
    budget: Duration,
) -> Reading<Option<CommitInfo>> {
    let started = Instant::now();
    let now = entry(repo, tip, path)?;
    for id in walk(repo, tip, Vec::new())? {
        if started.elapsed() > budget {
            return Ok(None);
        }
        let id = id?;
        if entry(repo, id, path)? != now {
            continue;
        }
        let mut differs = true;
        for parent in repo.find_commit(id)?.parent_ids() {
            differs &= entry(repo, parent.detach(), path)? != now;
        }
        if differs {
            return read::commit(repo, id).map(Some);
        }
    }
    Ok(None)
}
