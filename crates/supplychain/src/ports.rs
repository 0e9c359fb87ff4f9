//! What this crate asks of others; the binary answers from the forge and from CI.

use async_trait::async_trait;
use bascule_core::{Caller, Digest, JobId, ProjectId, ReleaseId, Result};
use bascule_ledger::facts::forge::CommitStamp;
use bytes::Bytes;
use futures::stream::BoxStream;

/// A project's code at a commit.
#[async_trait]
pub trait Tree: Send + Sync {
    /// The paths of all files.
    async fn list_files(&self, project: ProjectId, sha: &str) -> Result<Vec<String>>;

    /// The commit that a tag leads to, `None` if there is no such tag.
    async fn tag_commit(&self, project: ProjectId, tag: &str) -> Result<Option<String>>;

    /// The first `limit` bytes of a file, `None` if there is none.
    async fn read(&self, project: ProjectId, sha: &str, path: &str, limit: usize) -> Result<Option<Bytes>>;

    /// The commits reachable from `new` and not from `old` (all, without `old`): the newest 500, newest
    /// first, and how many there are in all.
    async fn commits_between(
        &self,
        project: ProjectId,
        old: Option<&str>,
        new: &str,
    ) -> Result<(Vec<CommitStamp>, i64)>;
}

/// A job's artifact archive, open for reading.
pub struct OpenArtifact {
    /// Its file name.
    pub file_name: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its digest.
    pub digest: Digest,
    /// Its bytes.
    pub bytes: BoxStream<'static, Result<Bytes, std::io::Error>>,
}

/// The artifacts that jobs made.
#[async_trait]
pub trait Artifacts: Send + Sync {
    /// Opens a job's archive; `None` if it has none, or no longer.
    async fn open(&self, job: JobId) -> Result<Option<OpenArtifact>>;
}

/// Whose findings a caller may read (identity and forge).
#[async_trait]
pub trait Sight: Send + Sync {
    /// The projects; `None` for all.
    async fn projects(&self, caller: &Caller) -> Result<Option<Vec<ProjectId>>>;
}

/// Where releases run (delivery).
#[async_trait]
pub trait Places: Send + Sync {
    /// Pairs of a release and the name of an environment in which it serves.
    async fn running(&self, releases: &[ReleaseId]) -> Result<Vec<(ReleaseId, String)>>;
}

/// What agents run (delivery).
#[async_trait]
pub trait Pulls: Send + Sync {
    /// Whether an agent, by its identifier, runs what is in this file of a release.
    async fn agent_runs(&self, agent: &str, archive: &Digest) -> Result<bool>;
}
