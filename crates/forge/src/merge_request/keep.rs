//! Keeping what requests point to: references of the platform's own in the asked project, which git's collection
//! of garbage respects and nobody can push to.

use crate::{Forge, code::disk};
use bascule_core::{MergeRequestId, Problem, ProjectId, Result};
use std::{io, process::Stdio};
use tokio::io::AsyncWriteExt as _;

/// Where the present commit of a request is kept.
pub(crate) fn head(iid: i64) -> String {
    format!("refs/merge-requests/{iid}/head")
}

/// Where the commits of a fork are kept until their request has a number.
pub(crate) fn opening(id: MergeRequestId) -> String {
    format!("refs/merge-requests/opening-{id}/head")
}

fn version(iid: i64, number: i64) -> String {
    format!("refs/merge-requests/{iid}/v{number}")
}

impl Forge {
    /// Keeps a version's commit.
    pub(super) async fn keep_version(
        &self,
        project: ProjectId,
        iid: i64,
        number: i64,
        sha: &str,
    ) -> Result<()> {
        let changes = [(head(iid), Some(sha)), (version(iid, number), Some(sha))];
        self.set_references(project, &changes).await
    }

    /// Sets references of the platform's own, or removes them, all or none. Not for branches and tags: those
    /// move with an intent and a fact.
    pub(crate) async fn set_references(
        &self,
        project: ProjectId,
        changes: &[(String, Option<&str>)],
    ) -> Result<()> {
        let mut script = String::new();
        for (name, sha) in changes {
            match sha {
                Some(sha) => script.push_str(&format!("update {name} {sha}\n")),
                None => script.push_str(&format!("delete {name}\n")),
            }
        }
        let done = async {
            let mut child = self
                .git()
                .within(&self.repositories().path(project))
                .args(["update-ref", "--stdin"])
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .kill_on_drop(true)
                .spawn()?;
            if let Some(mut stdin) = child.stdin.take() {
                stdin.write_all(script.as_bytes()).await?;
                stdin.shutdown().await?;
            }
            child.wait_with_output().await
        };
        let done = done.await.map_err(|error| disk(&error, "a reference"))?;
        if done.status.success() {
            return Ok(());
        }
        Err(disk(
            &io::Error::other(String::from_utf8_lossy(&done.stderr).into_owned()),
            "a reference",
        ))
    }

    /// Brings a branch's commits from another project's repository, and keeps them under a name here.
    pub(super) async fn bring(&self, from: ProjectId, branch: &str, to: ProjectId, name: &str) -> Result<()> {
        let done = self
            .git()
            .within(&self.repositories().path(to))
            .args(["fetch", "--quiet", "--no-tags", "--no-write-fetch-head"])
            .arg(self.repositories().path(from))
            .arg(format!("+refs/heads/{branch}:{name}"))
            .kill_on_drop(true)
            .output()
            .await
            .map_err(|error| disk(&error, "the fork's commits"))?;
        self.repositories().evict(to);
        if done.status.success() {
            self.pushes().soil(to);
            return Ok(());
        }
        tracing::warn!(
            complaint = %String::from_utf8_lossy(&done.stderr),
            "commits could not be brought from a fork"
        );
        Err(
            Problem::conflict("not_fetched", "The fork's commits could not be fetched.")
                .why("Its branch may just have gone, or its repository cannot be read.")
                .next("Try again; if it stays, push the branch once more."),
        )
    }
}
