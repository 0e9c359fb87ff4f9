//! How two versions of a request differ, commit by commit: what a forced push changed.

use super::{MergeRequest, Version, store};
use crate::{Forge, code::disk, git::process::ask};
use bascule_core::{Problem, Result};
use std::{io::ErrorKind, time::Duration};

/// Most commits of a version that are compared: git pairs each with each.
const COMMITS: i64 = 300;
/// Most of git's answer that is shown, in bytes.
const ANSWER: usize = 512 * 1024;
/// How long git may take.
const PATIENCE: Duration = Duration::from_secs(20);

impl Forge {
    /// A version by its number.
    pub(crate) async fn version(&self, request: &MergeRequest, number: i64) -> Result<Version> {
        store::version(self.db(), request.id, number)
            .await?
            .ok_or_else(|| Problem::not_found("version"))
    }

    /// What `git range-diff` says of two versions.
    pub(crate) async fn range_diff(&self, request: &MergeRequest, from: i64, to: i64) -> Result<String> {
        let (old, new) = (
            self.version(request, from).await?,
            self.version(request, to).await?,
        );
        if old.commit_count > COMMITS || new.commit_count > COMMITS {
            return Err(Problem::invalid(
                "too_many_commits",
                format!("A version has more than {COMMITS} commits."),
            )
            .why("Each commit of one is compared with each of the other.")
            .next("Compare them in your clone: `git fetch origin 'refs/merge-requests/*:refs/mr/*'`, then `git range-diff`."));
        }
        let mut command = self.git().within(&self.repositories().path(request.project_id));
        command
            .args(["range-diff", "--no-color", "--no-ext-diff"])
            .arg(format!("{}..{}", old.base, old.head))
            .arg(format!("{}..{}", new.base, new.head));
        let said = ask(command, ANSWER, PATIENCE).await.map_err(|error| {
            if error.kind() != ErrorKind::TimedOut {
                return disk(&error, "a comparison");
            }
            Problem::new(503, "too_slow", "Comparing the versions took too long.")
                .next("Compare them in your clone with `git range-diff`.")
        })?;
        Ok(String::from_utf8_lossy(&said.bytes).into_owned())
    }
}

/// How a line of `git range-diff` is coloured.
pub(crate) fn class(line: &str) -> &'static str {
    let Some(inner) = line.strip_prefix("    ") else {
        return "diff-hunk";
    };
    match inner.as_bytes() {
        [b'@', b'@', ..] => "diff-hunk",
        [b'+', ..] => "diff-add",
        [b'-', ..] => "diff-del",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn lines_are_told_apart() {
        for (line, expected) in [
            ("1:  aaaa = 1:  bbbb Title", "diff-hunk"),
            ("    @@ a.txt", "diff-hunk"),
            ("    -+old", "diff-del"),
            ("    ++new", "diff-add"),
            ("      same", ""),
            ("", "diff-hunk"),
        ] {
            assert_eq!(super::class(line), expected, "{line}");
        }
    }
}
