//! Reading objects: names to commits, paths to entries, entries to bytes.

use super::{ReadError, Reading};
use bascule_core::{Problem, Timestamp};
use gix::{ObjectId, Repository, bstr::ByteSlice as _, objs::tree::EntryKind};
use std::collections::HashMap;

/// What a name points to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// The commit.
    pub(crate) id: ObjectId,
    /// What the name is.
    pub(crate) kind: NameKind,
}

/// What a name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NameKind {
    /// A branch.
    Branch,
    /// A tag.
    Tag,
    /// A commit's own identifier.
    Commit,
}

/// A commit, decoded.
#[derive(Clone, Debug)]
pub(crate) struct CommitInfo {
    pub(crate) id: ObjectId,
    pub(crate) title: String,
    pub(crate) body: String,
    pub(crate) author_name: String,
    pub(crate) author_email: String,
    pub(crate) authored_at: Timestamp,
    pub(crate) committer_name: String,
    pub(crate) committed_at: Timestamp,
    pub(crate) parents: Vec<ObjectId>,
}

/// One entry of a directory.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) name: Vec<u8>,
    pub(crate) kind: EntryKind,
    pub(crate) id: ObjectId,
}

/// A branch or tag and the commit it leads to.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) commit: CommitInfo,
}

/// Entries of one directory that are listed.
pub(crate) const ENTRIES: usize = 5_000;

/// Reads a full object identifier.
pub(crate) fn object_id(text: &str) -> Option<ObjectId> {
    (text.len() == 40)
        .then(|| ObjectId::from_hex(text.as_bytes()).ok())
        .flatten()
}

/// The commit of a full reference name, tags peeled.
pub(crate) fn reference(repo: &Repository, name: &str) -> Reading<Option<ObjectId>> {
    let Ok(name) = gix::refs::FullName::try_from(name) else {
        return Ok(None);
    };
    let Some(mut found) = repo.try_find_reference(name.as_ref())? else {
        return Ok(None);
    };
    // A tag of a file or directory leads to no commit.
    Ok(found.peel_to_commit().ok().map(|commit| commit.id))
}

/// What a reference points to, not peeled.
pub(crate) fn target(repo: &Repository, name: &str) -> Reading<Option<ObjectId>> {
    let Ok(name) = gix::refs::FullName::try_from(name) else {
        return Ok(None);
    };
    Ok(repo
        .try_find_reference(name.as_ref())?
        .and_then(|found| found.try_id().map(gix::Id::detach)))
}

/// What an annotated tag says, without its signature.
pub(crate) fn annotation(repo: &Repository, name: &str) -> Reading<Option<String>> {
    let Some(id) = target(repo, name)? else {
        return Ok(None);
    };
    let object = repo.find_object(id)?;
    if object.kind != gix::objs::Kind::Tag {
        return Ok(None);
    }
    let tag = object.into_tag();
    let decoded = tag.decode().map_err(ReadError::git)?;
    let text = decoded.message.to_str_lossy().trim().to_owned();
    Ok(Some(text).filter(|text| !text.is_empty()))
}

/// What a person means by a name: the commit of that very name, else a branch before a tag.
pub(crate) fn resolve(repo: &Repository, name: &str) -> Reading<Option<Found>> {
    // Whoever pins a commit gets that one, whatever a branch is called.
    if let Some(id) = object_id(name) {
        let header = repo.try_find_header(id)?;
        if header.is_some_and(|header| header.kind() == gix::objs::Kind::Commit) {
            let kind = NameKind::Commit;
            return Ok(Some(Found { id, kind }));
        }
    }
    for (prefix, kind) in [("refs/heads/", NameKind::Branch), ("refs/tags/", NameKind::Tag)] {
        if let Some(id) = reference(repo, &format!("{prefix}{name}"))? {
            return Ok(Some(Found { id, kind }));
        }
    }
    Ok(None)
}

/// The commit whose identifier begins so; `Err` with how many there are where it is more than one.
pub(crate) fn by_prefix(
    repo: &Repository,
    text: &str,
) -> Reading<std::result::Result<Option<ObjectId>, usize>> {
    let Ok(prefix) = gix::hash::Prefix::from_hex(text) else {
        return Ok(Ok(None));
    };
    let mut all = std::collections::HashSet::new();
    repo.objects
        .lookup_prefix(prefix, Some(&mut all))
        .map_err(ReadError::git)?;
    let mut commits = Vec::new();
    for id in all {
        let header = repo.try_find_header(id)?;
        if header.is_some_and(|header| header.kind() == gix::objs::Kind::Commit) {
            commits.push(id);
        }
    }
    Ok(match commits.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(*one)),
        more => Err(more.len()),
    })
}

/// Splits `name/of/branch/path/of/file`: the longest name that there is wins, as names may hold slashes.
pub(crate) fn resolve_longest(repo: &Repository, text: &str) -> Reading<Option<(Found, String, String)>> {
    let mut ends: Vec<usize> = text.match_indices('/').map(|(at, _)| at).take(20).collect();
    if ends.len() < 20 {
        ends.push(text.len());
    }
    for end in ends.into_iter().rev() {
        let (name, rest) = text.split_at(end);
        if !name.is_empty()
            && let Some(found) = resolve(repo, name)?
        {
            return Ok(Some((found, name.to_owned(), rest.trim_matches('/').to_owned())));
        }
    }
    Ok(None)
}

/// The tree of a commit; a tree is its own, so that what a merge would make can be read before there is a commit.
pub(crate) fn tree_of(repo: &Repository, commit: ObjectId) -> Reading<gix::Tree<'_>> {
    match repo.find_commit(commit) {
        Ok(commit) => Ok(commit.tree()?),
        Err(error) => repo.find_tree(commit).map_err(|_| error.into()),
    }
}

/// The entry at a path; the top itself for an empty path.
pub(crate) fn entry(
    repo: &Repository,
    commit: ObjectId,
    path: &[u8],
) -> Reading<Option<(EntryKind, ObjectId)>> {
    let tree = tree_of(repo, commit)?;
    if path.is_empty() {
        return Ok(Some((EntryKind::Tree, tree.id)));
    }
    let parts: Vec<&[u8]> = path.split(|b| *b == b'/').collect();
    if parts.len() > 200 || parts.iter().any(|part| part.is_empty()) {
        return Ok(None);
    }
    let found = tree.lookup_entry(parts.iter().copied())?;
    Ok(found.map(|entry| (entry.mode().kind(), entry.object_id())))
}

/// The entries of a directory, directories first; and whether there were more than are listed.
pub(crate) fn list(repo: &Repository, tree: ObjectId) -> Reading<(Vec<Entry>, bool)> {
    let tree = repo.find_tree(tree)?;
    let mut entries = Vec::new();
    let mut more = false;
    for entry in tree.iter() {
        let entry = entry?;
        if entries.len() >= ENTRIES {
            more = true;
            break;
        }
        entries.push(Entry {
            name: entry.filename().to_vec(),
            kind: entry.kind(),
            id: entry.object_id(),
        });
    }
    entries.sort_by(|a, b| (a.kind != EntryKind::Tree, &a.name).cmp(&(b.kind != EntryKind::Tree, &b.name)));
    Ok((entries, more))
}

/// The size of a file.
pub(crate) fn size(repo: &Repository, id: ObjectId) -> Reading<u64> {
    Ok(repo.find_header(id)?.size())
}

/// The bytes of a file, if they are no more than `limit`.
pub(crate) fn bytes(repo: &Repository, id: ObjectId, limit: u64) -> Reading<Option<Vec<u8>>> {
    if size(repo, id)? > limit {
        return Ok(None);
    }
    Ok(Some(repo.find_blob(id)?.take_data()))
}

/// The file at a path of a commit, if there is one; an error if it is larger than `limit`.
pub(crate) fn file(repo: &Repository, commit: ObjectId, path: &[u8], limit: u64) -> Reading<Option<Vec<u8>>> {
    match entry(repo, commit, path)? {
        Some((EntryKind::Blob | EntryKind::BlobExecutable, id)) => match bytes(repo, id, limit)? {
            Some(bytes) => Ok(Some(bytes)),
            None => Err(Problem::too_large(format!(
                "`{}` is larger than {limit} bytes.",
                super::paths::shown(path)
            ))
            .why("The file would have to be held in memory.")
            .next("Make it smaller.")
            .into()),
        },
        _ => Ok(None),
    }
}

/// The same for several paths, in their order; a folder that several are in is read once.
pub(crate) fn files(
    repo: &Repository,
    commit: ObjectId,
    paths: &[String],
    limit: u64,
) -> Reading<Vec<Option<Vec<u8>>>> {
    let (mut folder, mut inside): (Option<&str>, HashMap<Vec<u8>, ObjectId>) = (None, HashMap::new());
    let mut all = Vec::with_capacity(paths.len());
    for path in paths {
        let Some((parent, name)) = path.rsplit_once('/') else {
            all.push(file(repo, commit, path.as_bytes(), limit)?);
            continue;
        };
        if folder != Some(parent) {
            folder = Some(parent);
            inside.clear();
            if let Some((EntryKind::Tree, id)) = entry(repo, commit, parent.as_bytes())? {
                for entry in repo.find_tree(id)?.iter() {
                    let entry = entry?;
                    if matches!(entry.kind(), EntryKind::Blob | EntryKind::BlobExecutable) {
                        inside.insert(entry.filename().to_vec(), entry.object_id());
                    }
                }
            }
        }
        all.push(match inside.get(name.as_bytes()) {
            None => None,
            Some(id) => match bytes(repo, *id, limit)? {
                Some(bytes) => Some(bytes),
                None => return file(repo, commit, path.as_bytes(), limit).map(|_| all),
            },
        });
    }
    Ok(all)
}

/// The paths of all files of a commit, in git's order. Links are files; submodules are not.
pub(crate) fn all_paths(repo: &Repository, commit: ObjectId, limit: usize) -> Reading<Vec<Vec<u8>>> {
    let mut paths = Vec::new();
    let mut open = vec![(Vec::new(), tree_of(repo, commit)?.id)];
    while let Some((prefix, id)) = open.pop() {
        let tree = repo.find_tree(id)?;
        for entry in tree.iter() {
            let entry = entry?;
            let mut path = prefix.clone();
            path.extend_from_slice(entry.filename());
            match entry.kind() {
                EntryKind::Tree => {
                    path.push(b'/');
                    open.push((path, entry.object_id()));
                }
                EntryKind::Commit => {}
                _ => paths.push(path),
            }
            if paths.len() > limit || open.len() > limit {
                return Err(Problem::invalid(
                    "too_many_files",
                    format!("The commit has more than {limit} files."),
                )
                .into());
            }
        }
    }
    paths.sort();
    Ok(paths)
}

/// Whether a commit has at most so many files. A folder that lies in it more than once is looked at once.
pub(crate) fn has_at_most(repo: &Repository, commit: ObjectId, most: u64) -> Reading<bool> {
    let top = tree_of(repo, commit)?.id;
    let mut known: HashMap<ObjectId, u64> = HashMap::new();
    // A folder with its own files, and the folders in it that are counted before it is.
    let mut open = vec![(top, None)];
    while let Some((id, counted)) = open.pop() {
        if known.contains_key(&id) {
            continue;
        }
        let Some((files, folders)) = counted else {
            let (mut files, mut folders) = (0_u64, Vec::new());
            for entry in repo.find_tree(id)?.iter() {
                let entry = entry?;
                match entry.kind() {
                    EntryKind::Tree => folders.push(entry.object_id()),
                    _ => files += 1,
                }
            }
            let within: Vec<_> = folders.iter().map(|folder| (*folder, None)).collect();
            open.push((id, Some((files, folders))));
            open.extend(within);
            continue;
        };
        let within = folders.iter().filter_map(|folder| known.get(folder));
        let all = within.fold(files, |sum, one| sum.saturating_add(*one));
        if all > most {
            return Ok(false);
        }
        known.insert(id, all);
    }
    Ok(true)
}

/// Decodes a commit.
pub(crate) fn commit(repo: &Repository, id: ObjectId) -> Reading<CommitInfo> {
    let commit = repo.find_commit(id)?;
    let (author, committer) = (commit.author()?, commit.committer()?);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let message = text(commit.message_raw()?);
    let message = message.trim();
    let (title, body) = message.split_once('\n').unwrap_or((message, ""));
    Ok(CommitInfo {
        id,
        title: title.trim_end().to_owned(),
        body: body.trim().to_owned(),
        author_name: text(author.name.trim()),
        author_email: text(author.email.trim()),
        authored_at: Timestamp::from_seconds(author.seconds()),
        committer_name: text(committer.name.trim()),
        committed_at: Timestamp::from_seconds(committer.seconds()),
        parents: commit.parent_ids().map(gix::Id::detach).collect(),
    })
}

/// Names under a prefix, short, sorted by git; those that are not UTF-8 are left out.
pub(crate) fn names(repo: &Repository, prefix: &str) -> Reading<Vec<String>> {
    let platform = repo.references()?;
    let all = if prefix == "refs/heads/" {
        platform.local_branches()?
    } else {
        platform.tags()?
    };
    let mut names = Vec::new();
    for found in all {
        let found = found.map_err(ReadError::git)?;
        if let Some(name) = found
            .name()
            .as_bstr()
            .to_str()
            .ok()
            .and_then(|name| name.strip_prefix(prefix))
        {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

/// A page of names with their commits; those that lead to no commit are left out.
pub(crate) fn named(repo: &Repository, prefix: &str, names: &[String]) -> Reading<Vec<Named>> {
    let mut found = Vec::new();
    for name in names {
        if let Some(id) = reference(repo, &format!("{prefix}{name}"))? {
            found.push(Named {
                name: name.clone(),
                commit: commit(repo, id)?,
            });
        }
    }
    Ok(found)
}

/// Whether a file's bytes are not text, as git guesses it.
pub(crate) fn is_binary(bytes: &[u8]) -> bool {
    bytes.iter().take(8000).any(|b| *b == 0)
}
