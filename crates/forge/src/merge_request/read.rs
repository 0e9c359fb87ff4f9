//! Looking at what a request would bring: its commits, its files, and how versions differ.

use super::service::Standing;
use crate::code::{
    Reading,
    cache::Lines,
    diff::{self, Changed, FileDiff},
    history,
    read::{self, CommitInfo},
};
use bascule_core::Problem;
use gix::{ObjectId, Repository};

fn missing(branch: &str) -> Problem {
    Problem::invalid("no_such_branch", format!("There is no branch `{branch}`."))
        .why("Commits are merged from one branch into another.")
        .next("Push the branch first, or check its name.")
}

fn strangers(source: &str, target: &str) -> Problem {
    Problem::invalid(
        "unrelated",
        format!("`{source}` and `{target}` have no commit in common."),
    )
    .why("Without a common beginning nobody can say what would change.")
    .next(format!("Begin your branch from `{target}`."))
}

fn merge_base(repo: &Repository, one: ObjectId, two: ObjectId) -> Option<ObjectId> {
    repo.merge_base(one, two).ok().flatten().map(gix::Id::detach)
}

/// Where source (a full name) and target (a branch) stand.
pub(super) fn standing(repo: &Repository, name: &str, source: &str, target: &str) -> Reading<Standing> {
    let head = read::reference(repo, name)?.ok_or_else(|| missing(source))?;
    let tip = read::reference(repo, &format!("refs/heads/{target}"))?.ok_or_else(|| missing(target))?;
    let base = merge_base(repo, head, tip).ok_or_else(|| strangers(source, target))?;
    let (found, _) = commits(repo, base, head, 0, 500)?;
    let first = found.last();
    Ok(Standing {
        head: head.to_string(),
        base: base.to_string(),
        commits: count(repo, base, head)?,
        title: match first {
            Some(only) if found.len() == 1 => only.title.clone(),
            _ => source.replace(['-', '_', '/'], " "),
        },
        body: match first {
            Some(only) if found.len() == 1 => only.body.clone(),
            _ => String::new(),
        },
    })
}

/// The base of a commit and a branch.
pub(super) fn base(repo: &Repository, head: &str, target: &str) -> Reading<String> {
    let head = id(repo, head)?;
    let tip = read::reference(repo, &format!("refs/heads/{target}"))?.ok_or_else(|| missing(target))?;
    merge_base(repo, head, tip)
        .map(|base| base.to_string())
        .ok_or_else(|| strangers("the branch", target).into())
}

/// What a new head means: its base, whether commits were taken out, how many it has. `None` if it is not there.
pub(super) fn advance(
    repo: &Repository,
    before: &str,
    head: &str,
    target: &str,
) -> Reading<Option<(Option<String>, bool, i64)>> {
    let Some(head) = read::object_id(head).filter(|id| repo.has_object(*id)) else {
        return Ok(None);
    };
    let forced = match read::object_id(before).filter(|id| repo.has_object(*id)) {
        Some(before) => merge_base(repo, before, head) != Some(before),
        None => true,
    };
    let base = match read::reference(repo, &format!("refs/heads/{target}"))? {
        Some(tip) => merge_base(repo, head, tip),
        None => None,
    };
    let commits = match base {
        Some(base) => count(repo, base, head)?,
        None => 0,
    };
    Ok(Some((base.map(|base| base.to_string()), forced, commits)))
}

/// A commit that is there.
pub(crate) fn id(repo: &Repository, sha: &str) -> Reading<ObjectId> {
    read::object_id(sha)
        .filter(|id| repo.has_object(*id))
        .ok_or_else(|| Problem::not_found("commit").into())
}

/// Most commits counted.
const COUNTED: usize = 100_000;

fn count(repo: &Repository, base: ObjectId, head: ObjectId) -> Reading<i64> {
    let count = history::walk(repo, head, vec![base])?.take(COUNTED).count();
    Ok(i64::try_from(count).unwrap_or(i64::MAX))
}

/// A page of the commits that are in `head` and not in `base`, newest first; and whether there are more.
pub(crate) fn commits(
    repo: &Repository,
    base: ObjectId,
    head: ObjectId,
    skip: usize,
    take: usize,
) -> Reading<(Vec<CommitInfo>, bool)> {
    history::page(repo, head, vec![base], skip, take)
}

/// Changed files, and some of them in full.
pub(crate) struct Shown {
    pub(crate) changes: Vec<Changed>,
    /// Said where too much changed to be shown.
    pub(crate) instead: Option<String>,
    pub(crate) files: Vec<FileDiff>,
    pub(crate) next: Option<usize>,
}

/// What changed between two commits, shown from a file on; with colours where there is a place to keep them.
pub(crate) fn changes(
    repo: &Repository,
    base: &str,
    head: &str,
    from: usize,
    lines: usize,
    colours: Option<&Lines>,
) -> Reading<Shown> {
    let (base, head) = (id(repo, base)?, id(repo, head)?);
    let (changes, instead) = diff::changes_or_why(repo, Some(base), head)?;
    let (files, next) = diff::show(repo, &changes, from, lines, colours)?;
    Ok(Shown {
        changes,
        instead,
        files,
        next,
    })
}
