//! Whether an approval is still for the change that would be merged.
//!
//! It is while the head is the same, and after a pure rebase: where putting the approved commit onto the new
//! base, as git merges, comes to exactly the files of the new head. That is stricter than comparing patches by
//! their text, which takes blanks, binary files and places in a file lightly.

use crate::{
    Forge,
    code::{history, read::object_id},
    git::process::{Said, ask},
};
use bascule_core::{ProjectId, Result};
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// Answers remembered; they never change, as commits do not.
const KEPT: usize = 10_000;
/// Most that is read of what git says of a merge, in bytes; the first line is what counts.
const ANSWER: usize = 64 * 1024;
/// How long git may try a merge.
const PATIENCE: Duration = Duration::from_secs(30);

/// Answers to questions about commits alone.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    same: Mutex<HashMap<(String, String, String), bool>>,
}

impl Memory {
    fn recall(&self, key: &(String, String, String)) -> Option<bool> {
        let same = self.same.lock().unwrap_or_else(PoisonError::into_inner);
        same.get(key).copied()
    }

    fn keep(&self, key: (String, String, String), answer: bool) {
        let mut same = self.same.lock().unwrap_or_else(PoisonError::into_inner);
        if same.len() >= KEPT {
            same.clear();
        }
        same.insert(key, answer);
    }
}

impl Forge {
    /// Whether `head` on `base` is what was approved as `approved` on `stood`.
    pub(super) async fn is_same_change(
        &self,
        project: ProjectId,
        (stood, approved): (&str, &str),
        (base, head): (&str, &str),
    ) -> Result<bool> {
        if approved == head && (stood == base || stood.is_empty()) {
            return Ok(true);
        }
        // What it stands on only goes forward: before an older base, what the target has had since is a change too, one
        // that nobody looked at.
        if stood.is_empty() || (stood != base && !self.follows(project, stood, base).await?) {
            return Ok(false);
        }
        if approved == head {
            return Ok(true);
        }
        let key = (approved.to_owned(), base.to_owned(), head.to_owned());
        if let Some(answer) = self.review_memory().recall(&key) {
            return Ok(answer);
        }
        let tree = self.repositories().read(project, {
            let head = head.to_owned();
            move |repo| {
                let Some(id) = object_id(&head).filter(|id| repo.has_object(*id)) else {
                    return Ok(None);
                };
                Ok(Some(repo.find_commit(id)?.tree_id()?.to_string()))
            }
        });
        let Some(tree) = tree.await? else {
            return Ok(false);
        };
        let mut command = self.git().within(&self.repositories().path(project));
        command.args(["merge-tree", "--write-tree", base, approved]);
        let merged = ask(command, ANSWER, PATIENCE).await;
        // What conflicts, or cannot be asked, is no pure rebase.
        let answer = match merged {
            Ok(Said {
                bytes,
                end: Some((status, _)),
            }) if status.success() => {
                let text = String::from_utf8_lossy(&bytes);
                text.lines().next().map(str::trim) == Some(tree.as_str())
            }
            Ok(_) => false,
            Err(error) => {
                tracing::error!(%error, "git could not be asked");
                return Ok(false);
            }
        };
        self.review_memory().keep(key, answer);
        Ok(answer)
    }

    /// Whether a commit has another in its history; not where one of them is gone.
    async fn follows(&self, project: ProjectId, old: &str, new: &str) -> Result<bool> {
        let ids = (object_id(old), object_id(new));
        self.repositories()
            .read(project, move |repo| match ids {
                (Some(old), Some(new)) if repo.has_object(old) && repo.has_object(new) => {
                    Ok(history::containing(repo, old, &[new])?.contains(&true))
                }
                _ => Ok(false),
            })
            .await
    }
}
