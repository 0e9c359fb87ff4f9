//! Asking command-line git what it knows best (blame, a file's history through its renames, ahead and behind):
//! its answer is read within bounds, and its process ends with the request.

use super::repositories;
use crate::{
    Forge,
    git::process::{Running, first_line, read},
};
use bascule_core::{Problem, ProjectId, Result};
use bytes::BytesMut;
use std::{ffi::OsStr, time::Duration};

/// The most of an answer that is kept, in bytes.
const ANSWER: usize = 8 * 1024 * 1024;

/// How long a question may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// What git said.
pub(super) struct Said {
    pub(super) bytes: Vec<u8>,
    /// Whether there was more than is kept.
    pub(super) cut: bool,
}

impl Forge {
    /// Runs a git command that reads.
    pub(super) async fn ask_git<S: AsRef<OsStr>>(
        &self,
        project: ProjectId,
        arguments: impl IntoIterator<Item = S>,
    ) -> Result<Said> {
        let failed = |error: std::io::Error| repositories::disk(&error, "git's answer");
        let mut command = self.git().within(&self.repositories().path(project));
        command.args(arguments);
        let mut running = Running::start(command, None, PATIENCE, ()).map_err(failed)?;
        let (mut bytes, mut buffer) = (Vec::new(), BytesMut::new());
        loop {
            let chunk = read(&mut running.stdout, &mut buffer).await.map_err(failed)?;
            if chunk.is_empty() {
                break;
            }
            bytes.extend_from_slice(&chunk);
            if bytes.len() > ANSWER {
                bytes.truncate(ANSWER);
                return Ok(Said { bytes, cut: true });
            }
        }
        let (status, complaint) = running.finish().await.map_err(failed)?;
        if status.success() {
            return Ok(Said { bytes, cut: false });
        }
        let complaint = first_line(&complaint);
        tracing::warn!(%status, complaint, "git could not answer");
        Err(Problem::new(
            500,
            "git_failed",
            "The repository could not answer this question.",
        )
        .why(format!("git says: {complaint}."))
        .next("If it stays so, ask an administrator to check the repository with git fsck."))
    }
}
