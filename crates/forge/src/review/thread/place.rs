//! Where threads and findings stand in the present version of a request.

use super::Anchor;
use crate::{
    Forge,
    code::{Reading, diff, read},
    merge_request::MergeRequest,
    review::position::{Carried, Carrier, Lines, Side},
};
use bascule_core::Result;
use gix::{ObjectId, Repository};
use std::collections::HashMap;

/// Largest file in which lines are followed, in bytes.
const FILE: u64 = 1024 * 1024;
/// Pairs of files compared for one page.
const PAIRS: usize = 400;

/// Where lines stand now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) path: String,
    pub(crate) side: Side,
    pub(crate) lines: Lines,
    /// They changed since; path and lines are those of the version that was looked at.
    pub(crate) outdated: bool,
}

/// Follows lines from earlier versions to one base and head; each pair of files is compared once.
pub(crate) struct Follower<'a> {
    repo: &'a Repository,
    base: String,
    head: String,
    carriers: HashMap<(ObjectId, ObjectId), Carrier>,
    moves: HashMap<(String, String), HashMap<Vec<u8>, Vec<u8>>>,
}

impl<'a> Follower<'a> {
    pub(crate) fn new(repo: &'a Repository, base: &str, head: &str) -> Self {
        Self {
            repo,
            base: base.to_owned(),
            head: head.to_owned(),
            carriers: HashMap::new(),
            moves: HashMap::new(),
        }
    }

    /// Where lines stand now.
    pub(crate) fn place(&mut self, anchor: &Anchor) -> Reading<Placed> {
        let here = |path: String, lines, outdated| Placed {
            path,
            side: anchor.side,
            lines,
            outdated,
        };
        let to = match anchor.side {
            Side::Old => self.base.clone(),
            Side::New => self.head.clone(),
        };
        if anchor.sha == to {
            return Ok(here(anchor.path.clone(), anchor.lines, false));
        }
        let outdated = Ok(here(anchor.path.clone(), anchor.lines, true));
        let Some(old) = self.blob(&anchor.sha, &anchor.path)? else {
            return outdated;
        };
        let (path, new) = match self.blob(&to, &anchor.path)? {
            Some(new) => (anchor.path.clone(), new),
            None => {
                let Some(moved) = self.moved(&anchor.sha, &to, &anchor.path)? else {
                    return outdated;
                };
                match self.blob(&to, &moved)? {
                    Some(new) => (moved, new),
                    None => return outdated,
                }
            }
        };
        if old == new {
            return Ok(here(path, anchor.lines, false));
        }
        if !self.carriers.contains_key(&(old, new)) {
            if self.carriers.len() >= PAIRS {
                return outdated;
            }
            let (Some(before), Some(after)) = (self.text(old)?, self.text(new)?) else {
                return outdated;
            };
            self.carriers
                .insert((old, new), Carrier::between(&before, &after));
        }
        match self
            .carriers
            .get(&(old, new))
            .map(|carrier| carrier.carry(anchor.lines))
        {
            Some(Carried::At(lines)) => Ok(here(path, lines, false)),
            _ => outdated,
        }
    }

    fn blob(&self, sha: &str, path: &str) -> Reading<Option<ObjectId>> {
        let Some(commit) = read::object_id(sha).filter(|id| self.repo.has_object(*id)) else {
            return Ok(None);
        };
        let entry = read::entry(self.repo, commit, path.as_bytes())?;
        Ok(entry.filter(|(kind, _)| is_file(*kind)).map(|(_, id)| id))
    }

    fn text(&self, id: ObjectId) -> Reading<Option<String>> {
        text(self.repo, id)
    }

    /// Where a file went that was moved as it is.
    fn moved(&mut self, from: &str, to: &str, path: &str) -> Reading<Option<String>> {
        let key = (from.to_owned(), to.to_owned());
        if !self.moves.contains_key(&key) {
            let (Some(old), Some(new)) = (read::object_id(from), read::object_id(to)) else {
                return Ok(None);
            };
            if !self.repo.has_object(old) || !self.repo.has_object(new) {
                return Ok(None);
            }
            let moves = diff::changes(self.repo, Some(old), new)?
                .into_iter()
                .filter_map(|change| Some((change.from?, change.path)))
                .collect();
            self.moves.insert(key.clone(), moves);
        }
        let moved = self.moves.get(&key).and_then(|moves| moves.get(path.as_bytes()));
        Ok(moved.and_then(|path| String::from_utf8(path.clone()).ok()))
    }
}

fn is_file(kind: gix::objs::tree::EntryKind) -> bool {
    use gix::objs::tree::EntryKind;
    matches!(
        kind,
        EntryKind::Blob | EntryKind::BlobExecutable | EntryKind::Link
    )
}

/// A file's text, as diffs show it; `None` if it is too large or no text.
pub(crate) fn text(repo: &Repository, id: ObjectId) -> Reading<Option<String>> {
    let bytes = read::bytes(repo, id, FILE)?.filter(|bytes| !read::is_binary(bytes));
    Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

/// The text of a file at a commit.
pub(crate) fn text_at(repo: &Repository, sha: &str, path: &str) -> Reading<Option<String>> {
    let Some(commit) = read::object_id(sha).filter(|id| repo.has_object(*id)) else {
        return Ok(None);
    };
    match read::entry(repo, commit, path.as_bytes())? {
        Some((kind, id)) if is_file(kind) => text(repo, id),
        _ => Ok(None),
    }
}

impl Forge {
    /// Where lines of earlier versions stand in a request's present one, in the order given.
    pub(crate) async fn place_all(
        &self,
        request: &MergeRequest,
        anchors: Vec<Option<Anchor>>,
    ) -> Result<Vec<Option<Placed>>> {
        if anchors.iter().all(Option::is_none) {
            return Ok(vec![None; anchors.len()]);
        }
        let (base, head) = (request.base.clone(), request.head.clone());
        self.repositories()
            .read(request.project_id, move |repo| {
                let mut follower = Follower::new(repo, &base, &head);
                anchors
                    .iter()
                    .map(|anchor| anchor.as_ref().map(|anchor| follower.place(anchor)).transpose())
                    .collect()
            })
            .await
    }
}
