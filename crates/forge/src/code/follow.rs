//! A file's or directory's history, through renames: `git log --follow`.

use super::{
    Reading,
    read::{self, CommitInfo, object_id},
};
use crate::Forge;
use bascule_core::{ProjectId, Result};
use gix::ObjectId;
use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};

/// A commit that changed a path.
pub(crate) struct Step {
    pub(crate) commit: CommitInfo,
    /// What the file was called then; the path itself for a directory.
    pub(crate) path: Vec<u8>,
}

impl Forge {
    /// A page of what changed a path, newest first; and whether there is more.
    pub(crate) async fn follow(
        &self,
        project: ProjectId,
        tip: ObjectId,
        path: &[u8],
        skip: usize,
        take: usize,
    ) -> Result<(Vec<Step>, bool)> {
        let wanted = path.to_vec();
        let directory = self
            .repositories()
            .read(project, move |repo| {
                let entry = read::entry(repo, tip, &wanted)?;
                Ok(entry.is_some_and(|(kind, _)| kind == gix::objs::tree::EntryKind::Tree))
            })
            .await?;
        let (skipped, taken, tip) = (
            format!("--skip={skip}"),
            format!("--max-count={}", take + 1),
            tip.to_string(),
        );
        let mut arguments = vec!["log", "--format=%H", "-z", &skipped, &taken];
        // Only a single file can be followed; and a directory's commits name many files.
        if !directory {
            arguments.extend(["--follow", "--name-only"]);
        }
        arguments.extend([tip.as_str(), "--"]);
        let arguments = arguments.into_iter().map(OsStr::new);
        let (said, _) = self
            .ask_git(project, arguments.chain([OsStr::from_bytes(path)]))
            .await?;
        let mut found = steps(&said);
        let more = found.len() > take;
        found.truncate(take);
        let fallback = path.to_vec();
        let steps = self
            .repositories()
            .read(project, move |repo| {
                let steps = found.into_iter().map(|(id, path)| {
                    Ok(Step {
                        commit: read::commit(repo, id)?,
                        path: path.unwrap_or_else(|| fallback.clone()),
                    })
                });
                steps.collect::<Reading<Vec<_>>>()
            })
            .await?;
        Ok((steps, more))
    }
}

/// Reads `--format=%H -z [--name-only]`: an identifier, and then, after a line's end, the name.
fn steps(bytes: &[u8]) -> Vec<(ObjectId, Option<Vec<u8>>)> {
    let mut steps: Vec<(ObjectId, Option<Vec<u8>>)> = Vec::new();
    for part in bytes.split(|byte| *byte == 0) {
        if let (Some(name), Some(last)) = (part.strip_prefix(b"\n"), steps.last_mut()) {
            last.1.get_or_insert_with(|| name.to_vec());
        } else if let Some(id) = std::str::from_utf8(part).ok().and_then(object_id) {
            steps.push((id, None));
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_belong_to_the_commit_before_them() {
        let (one, two) = ("1".repeat(40), "2".repeat(40));
        let said = format!("{one}\0\nnew name\0{two}\0{one}\0\nold\nname\0");
        let read = steps(said.as_bytes());
        let names: Vec<_> = read.iter().map(|(_, name)| name.clone()).collect();
        assert_eq!(
            names,
            [Some(b"new name".to_vec()), None, Some(b"old\nname".to_vec())]
        );
    }
}
