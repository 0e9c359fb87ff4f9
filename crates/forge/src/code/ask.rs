//! Asking command-line git what it knows best (blame, a file's history through its renames, ahead and behind):
//! its answer is read within bounds, and its process ends with the request.

use super::repositories;
use crate::{
    Forge,
    git::process::{Said, ask, first_line, too_much},
};
use bascule_core::{Problem, ProjectId, Result};
use std::{ffi::OsStr, io::ErrorKind, time::Duration};

/// The most of an answer that is kept, in bytes.
const ANSWER: usize = 8 * 1024 * 1024;
/// How long a question may take.
const PATIENCE: Duration = Duration::from_secs(30);

impl Forge {
    /// Runs a git command that reads; says what it said, and whether there was more than is kept.
    pub(super) async fn ask_git<S: AsRef<OsStr>>(
        &self,
        project: ProjectId,
        arguments: impl IntoIterator<Item = S>,
    ) -> Result<(Vec<u8>, bool)> {
        let mut command = self.git().within(&self.repositories().path(project));
        command.args(arguments);
        let complaint = match ask(command, ANSWER, PATIENCE).await {
            Ok(Said { bytes, end: None }) => return Ok((bytes, true)),
            Ok(Said {
                bytes,
                end: Some((status, _)),
            }) if status.success() => return Ok((bytes, false)),
            Ok(Said {
                end: Some((_, complaint)),
                ..
            }) => match too_much(&complaint) {
                Some(problem) => return Err(problem),
                None => first_line(&complaint),
            },
            Err(error) if error.kind() == ErrorKind::TimedOut => error.to_string(),
            Err(error) => return Err(repositories::disk(&error, "git's answer")),
        };
        tracing::warn!(complaint, "git could not answer");
        Err(Problem::new(
            500,
            "git_failed",
            "The repository could not answer this question.",
        )
        .why(format!("git says: {complaint}."))
        .next("If it stays so, ask an administrator to check the repository with git fsck."))
    }
}
