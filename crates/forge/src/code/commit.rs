//! Commits that the platform makes itself, straight into a bare repository.

use super::{ReadError, Reading, read};
use bascule_core::{Problem, Timestamp};
use gix::{ObjectId, Repository, objs::tree::EntryKind};

/// A file to be committed, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileToCommit {
    /// Its path from the top.
    pub path: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Who is named as a commit's author and committer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// Their name.
    pub name: String,
    /// Their address.
    pub email: String,
}

/// Most files in one commit.
const FILES: usize = 1_000;

impl Signature {
    /// As git writes it.
    pub(crate) fn to_git(&self, at: Timestamp) -> gix::actor::Signature {
        gix::actor::Signature {
            name: Self::clean(&self.name, "Bascule").into(),
            email: Self::clean(&self.email, "noreply@bascule.invalid").into(),
            time: gix::date::Time {
                seconds: at.seconds(),
                offset: 0,
            },
        }
    }

    /// Git gives these characters a meaning of their own.
    fn clean(text: &str, or: &str) -> String {
        let text: String = text
            .chars()
            .filter(|c| !c.is_control() && !matches!(c, '<' | '>'))
            .collect();
        let text = text.trim();
        if text.is_empty() {
            or.to_owned()
        } else {
            text.to_owned()
        }
    }
}

/// Checks a path that git's clients will write to people's disks.
pub(super) fn check_path(path: &str) -> Result<(), Problem> {
    let bad = |part: &str| {
        let folded = part.to_ascii_lowercase();
        part.is_empty()
            || matches!(part, "." | "..")
            || matches!(folded.as_str(), ".git" | "git~1")
            || part.contains(['\\', '\0'])
    };
    if path.len() <= 1_000 && !path.split('/').any(bad) && !path.chars().any(char::is_control) {
        return Ok(());
    }
    Err(Problem::invalid(
        "bad_path",
        format!(
            "`{}` cannot be a file's path.",
            super::paths::shown(path.as_bytes())
        ),
    )
    .why("A path has no empty part, no `.`, `..` or `.git`, no backslash and no control character.")
    .next("Give the path from the top of the project, such as `docs/guide.md`."))
}

pub(super) fn check(files: &[FileToCommit]) -> Result<(), Problem> {
    if files.is_empty() || files.len() > FILES {
        return Err(
            Problem::invalid("bad_commit", format!("A commit needs 1 to {FILES} files."))
                .next("Commit in parts."),
        );
    }
    files.iter().try_for_each(|file| check_path(&file.path))
}

/// Writes the objects of a commit on top of `parent`. No reference moves. `None` when nothing would change.
pub(super) fn write(
    repo: &Repository,
    parent: Option<ObjectId>,
    files: &[FileToCommit],
    message: &str,
    by: &Signature,
    at: Timestamp,
) -> Reading<Option<ObjectId>> {
    let base = match parent {
        Some(parent) => read::tree_of(repo, parent)?.id,
        None => ObjectId::empty_tree(gix::hash::Kind::Sha1),
    };
    let mut editor = repo.edit_tree(base)?;
    for file in files {
        let kind = match parent
            .map(|parent| read::entry(repo, parent, file.path.as_bytes()))
            .transpose()?
            .flatten()
        {
            Some((EntryKind::BlobExecutable, _)) => EntryKind::BlobExecutable,
            _ => EntryKind::Blob,
        };
        let blob = repo.write_blob(&file.bytes)?;
        editor.upsert(file.path.as_str(), kind, blob)?;
    }
    let tree = editor.write()?.detach();
    if parent.is_some() && tree == base {
        return Ok(None);
    }
    let signature = by.to_git(at);
    let commit = gix::objs::Commit {
        tree,
        parents: parent.into_iter().collect(),
        author: signature.clone(),
        committer: signature,
        encoding: None,
        message: format!("{}\n", message.trim_end()).into(),
        extra_headers: Vec::new(),
    };
    Ok(Some(
        repo.write_object(&commit).map_err(ReadError::from)?.detach(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_would_leave_a_work_tree_are_refused() {
        for bad in [
            "",
            "/etc/passwd",
            "../x",
            "a/../../b",
            ".git/config",
            "a/.GIT/hooks/x",
            "a//b",
            "a\\b",
            "a\nb",
            "GIT~1/x",
        ] {
            assert!(check_path(bad).is_err(), "{bad:?}");
        }
        for good in [
            "README.md",
            "docs/post-mortems/2024-07.md",
            ".gitlab-ci.yml",
            ".github/x",
        ] {
            assert!(check_path(good).is_ok(), "{good:?}");
        }
    }
}
