//! Trying a merge without touching a reference: `git merge-tree` says what would come of it, and names every file
//! in which two changes meet.

use crate::{
    Forge,
    code::{ReadError, Reading, disk, read as objects},
    git::process::{ask, too_much},
};
use bascule_core::{Problem, ProjectId, Result};
use gix::{ObjectId, Repository};
use std::{io::ErrorKind, sync::Arc, time::Duration};

/// Most of git's answer that is read: some ten thousand conflicts.
const ANSWER: usize = 4 * 1024 * 1024;
/// Conflicts named.
const NAMED: usize = 1_000;
/// How long git may try.
const PATIENCE: Duration = Duration::from_secs(60);

/// What came of trying.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tried {
    /// The tree of the merge.
    Clean(String),
    /// Two changes meet.
    Conflicts {
        /// A tree all the same: its files hold both changes, with git's marks.
        tree: String,
        /// In which files.
        files: Vec<Conflict>,
    },
    /// The two have no commit in common, so that nobody can say what changed.
    Unrelated,
}

impl Tried {
    /// The tree of a clean merge, else the files in conflict.
    pub(crate) fn clean(self) -> std::result::Result<String, Vec<Conflict>> {
        match self {
            Self::Clean(tree) => Ok(tree),
            Self::Conflicts { files, .. } => Err(files),
            Self::Unrelated => Err(Vec::new()),
        }
    }
}

/// A file in which two changes meet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Conflict {
    /// Its path.
    pub(crate) path: Vec<u8>,
    /// Git's word for it, such as `contents` or `modify/delete`.
    pub(crate) kind: String,
    /// The file's identifiers: in the common commit, in ours (the target), in theirs (the source).
    pub(crate) stages: [Option<String>; 3],
}

/// Which side of a conflict.
pub(crate) mod side {
    /// The branch merged into.
    pub(crate) const OURS: usize = 1;
    /// The branch merged from.
    pub(crate) const THEIRS: usize = 2;
}

/// Reads what `git merge-tree --write-tree -z` says.
pub(crate) fn parse(answer: &[u8]) -> Option<(String, Vec<Conflict>)> {
    let mut fields = answer.split(|byte| *byte == 0);
    let tree = std::str::from_utf8(fields.next()?).ok()?.trim_end_matches('\n');
    if tree.len() != 40 || !tree.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let mut found: Vec<Conflict> = Vec::new();
    let mut at = std::collections::HashMap::new();
    let mut place = |found: &mut Vec<Conflict>, path: &[u8]| -> Option<usize> {
        if let Some(known) = at.get(path) {
            return Some(*known);
        }
        if found.len() >= NAMED {
            return None;
        }
        found.push(Conflict {
            path: path.to_vec(),
            ..Conflict::default()
        });
        at.insert(path.to_vec(), found.len() - 1);
        Some(found.len() - 1)
    };
    for field in fields.by_ref() {
        if field.is_empty() {
            break;
        }
        // `mode identifier stage<TAB>path`
        let tab = field.iter().position(|byte| *byte == b'\t')?;
        let (about, path) = (field.get(..tab)?, field.get(tab + 1..)?);
        let mut about = std::str::from_utf8(about).ok()?.split(' ');
        let (_, id, stage) = (about.next()?, about.next()?, about.next()?);
        let stage: usize = stage.parse().ok().filter(|stage| (1..=3).contains(stage))?;
        if let Some(conflict) = place(&mut found, path).and_then(|at| found.get_mut(at))
            && let Some(slot) = conflict.stages.get_mut(stage - 1)
        {
            *slot = Some(id.to_owned());
        }
    }
    // Messages: how many paths, the paths, the kind, the text.
    while let Some(count) = fields.next() {
        let Some(count) = std::str::from_utf8(count)
            .ok()
            .and_then(|text| text.trim().parse::<usize>().ok())
        else {
            break;
        };
        let paths: Vec<&[u8]> = fields.by_ref().take(count.min(100)).collect();
        let Some(kind) = fields.next() else { break };
        let kind = String::from_utf8_lossy(kind);
        let _text = fields.next();
        let Some(kind) = kind.strip_prefix("CONFLICT (").and_then(|k| k.strip_suffix(')')) else {
            continue;
        };
        if let Some(conflict) = paths
            .first()
            .and_then(|path| place(&mut found, path))
            .and_then(|at| found.get_mut(at))
            && conflict.kind.is_empty()
        {
            kind.clone_into(&mut conflict.kind);
        }
    }
    Some((tree.to_owned(), found))
}

impl Forge {
    /// What merging `theirs` into `ours` comes to. Kept, since commits never change.
    pub(crate) async fn try_merge(&self, project: ProjectId, ours: &str, theirs: &str) -> Result<Arc<Tried>> {
        let key = (project, ours.to_owned(), theirs.to_owned());
        if let Some(known) = self.cache().merges.get(&key) {
            return Ok(known);
        }
        let tried = Arc::new(self.merge_tree(project, ours, theirs).await?);
        let weight = 200
            + match tried.as_ref() {
                Tried::Clean(_) | Tried::Unrelated => 0,
                Tried::Conflicts { files, .. } => files.iter().map(|c| c.path.len() + 300).sum(),
            };
        self.cache().merges.put(key, tried.clone(), weight);
        Ok(tried)
    }

    async fn merge_tree(&self, project: ProjectId, ours: &str, theirs: &str) -> Result<Tried> {
        let mut command = self.git().within(&self.repositories().path(project));
        command.args(["merge-tree", "--write-tree", "-z", ours, theirs]);
        let said = ask(command, ANSWER, PATIENCE).await.map_err(|error| {
            if error.kind() != ErrorKind::TimedOut {
                return disk(&error, "a merge");
            }
            Problem::new(503, "merge_too_slow", "Trying the merge took too long.")
                .why("It would hold up everybody else.")
                .next("Merge the target branch into yours on your own machine, and push the result.")
        })?;
        self.repositories().evict(project);
        let code = said.end.as_ref().map(|(status, _)| status.code());
        // Cut short, what was read still names the first of many conflicts.
        let (None | Some(Some(0 | 1)), Some((tree, conflicts))) = (code, parse(&said.bytes)) else {
            if !self.have_common_past(project, ours, theirs).await? {
                return Ok(Tried::Unrelated);
            }
            let complaint = said.end.map(|(_, complaint)| complaint).unwrap_or_default();
            if let Some(problem) = too_much(&complaint) {
                return Err(problem);
            }
            return Err(disk(&std::io::Error::other(complaint), "a merge"));
        };
        if code == Some(Some(0)) {
            return Ok(Tried::Clean(tree));
        }
        Ok(Tried::Conflicts {
            tree,
            files: conflicts,
        })
    }

    /// Whether two commits have one in common. Git refuses to merge where they have none.
    async fn have_common_past(&self, project: ProjectId, one: &str, other: &str) -> Result<bool> {
        let (one, other) = (one.to_owned(), other.to_owned());
        self.repositories()
            .read(project, move |repo| {
                let (one, other) = (
                    crate::merge_request::read::id(repo, &one)?,
                    crate::merge_request::read::id(repo, &other)?,
                );
                Ok(repo.merge_base(one, other).map_err(ReadError::git)?.is_some())
            })
            .await
    }

    /// What putting the change from `before` to `after` on top of `onto` comes to: a cherry-pick, or a revert with
    /// the two exchanged. Git is given three commits made for this alone, so that it takes `before` for what both
    /// have in common, whatever the history says; nothing refers to them, and they are collected one day.
    pub(crate) async fn try_pick(
        &self,
        project: ProjectId,
        before: &str,
        after: &str,
        onto: &str,
    ) -> Result<Tried> {
        let ids = [before.to_owned(), onto.to_owned(), after.to_owned()];
        let (ours, theirs) = self
            .repositories()
            .read(project, move |repo| {
                let tree = |sha: &String| -> Reading<ObjectId> {
                    let id = crate::merge_request::read::id(repo, sha)?;
                    Ok(objects::tree_of(repo, id)?.id)
                };
                let [before, onto, after] = &ids;
                let base = scaffold(repo, tree(before)?, None)?;
                let ours = scaffold(repo, tree(onto)?, Some(base))?;
                let theirs = scaffold(repo, tree(after)?, Some(base))?;
                Ok((ours.to_string(), theirs.to_string()))
            })
            .await?;
        self.merge_tree(project, &ours, &theirs).await
    }
}

fn scaffold(repo: &Repository, tree: ObjectId, parent: Option<ObjectId>) -> Reading<ObjectId> {
    let signature = gix::actor::Signature {
        name: "Bascule".into(),
        email: "noreply@bascule.invalid".into(),
        time: gix::date::Time {
            seconds: 0,
            offset: 0,
        },
    };
    let commit = gix::objs::Commit {
        tree,
        parents: parent.into_iter().collect(),
        author: signature.clone(),
        committer: signature,
        encoding: None,
        message: "for trying a merge\n".into(),
        extra_headers: Vec::new(),
    };
    Ok(repo.write_object(&commit).map_err(ReadError::from)?.detach())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    #[test]
    fn a_clean_merge_is_a_tree() {
        let (tree, conflicts) = parse(format!("{A}\0").as_bytes()).unwrap();
        assert_eq!((tree.as_str(), conflicts.len()), (A, 0));
        assert!(parse(b"fatal: no\0").is_none());
        assert!(parse(b"").is_none());
    }

    #[test]
    fn conflicts_are_named_file_by_file() {
        let answer = format!(
            "{A}\0100644 {A} 1\ta b\n.txt\0100644 {B} 2\ta b\n.txt\0100644 {A} 3\ta b\n.txt\0100644 {B} 1\tgone\0100644 {A} 2\tgone\0\0\
             1\0a b\n.txt\0Auto-merging\0Auto-merging a b\n.txt\n\0\
             1\0a b\n.txt\0CONFLICT (contents)\0CONFLICT (content): …\n\0\
             1\0gone\0CONFLICT (modify/delete)\0CONFLICT …\n\0"
        );
        let (_, conflicts) = parse(answer.as_bytes()).unwrap();
        let found: Vec<_> = conflicts
            .iter()
            .map(|c| (c.path.as_slice(), c.kind.as_str()))
            .collect();
        assert_eq!(
            found,
            [
                (b"a b\n.txt".as_slice(), "contents"),
                (b"gone".as_slice(), "modify/delete")
            ]
        );
        assert_eq!(conflicts[0].stages[side::OURS].as_deref(), Some(B));
        assert_eq!(conflicts[1].stages[side::THEIRS], None);
    }

    proptest! {
        #[test]
        fn any_answer_is_read_without_panic(rest in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut answer = A.as_bytes().to_vec();
            answer.push(0);
            answer.extend(rest);
            drop(parse(&answer));
        }
    }
}
