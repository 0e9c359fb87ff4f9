//! How two versions of a request differ, commit by commit: what a forced push changed.

use super::{MergeRequest, Version, store};
use crate::{Forge, code::disk};
use bascule_core::{Problem, Result};
use std::{process::Stdio, time::Duration};
use tokio::io::AsyncReadExt as _;

/// Most commits of a version that are compared: git pairs each with each.
const COMMITS: i64 = 300;
/// Most of git's answer that is shown, in bytes.
const ANSWER: u64 = 512 * 1024;
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
            .arg(format!("{}..{}", new.base, new.head))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        let run = async {
            let mut child = command.spawn()?;
            let mut answer = Vec::new();
            if let Some(stdout) = child.stdout.take() {
                stdout.take(ANSWER).read_to_end(&mut answer).await?;
            }
            if answer.len() as u64 >= ANSWER {
                child.start_kill()?;
            }
            child.wait().await?;
            Ok::<_, std::io::Error>(answer)
        };
        let answer = tokio::time::timeout(PATIENCE, run).await.map_err(|_| {
            Problem::new(503, "too_slow", "Comparing the versions took too long.")
                .next("Compare them in your clone with `git range-diff`.")
        })?;
        let answer = answer.map_err(|error| disk(&error, "a comparison"))?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
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
