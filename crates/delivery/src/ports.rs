//! What delivery asks of others. The binary wires each to the capability that knows.

use crate::preview::Pipeline;
use async_trait::async_trait;
use bascule_core::{Actor, Caller, Digest, EnvironmentId, Permission, ProjectId, ReleaseId, Result};
use bascule_ledger::PublicKey;
use bascule_store::Tx;
use bascule_wire::edge::Slice;
use bytes::Bytes;
use futures::stream::BoxStream;
use std::sync::Arc;

/// A release, as far as delivery needs it.
#[derive(Clone, Debug)]
pub struct ReleaseInfo {
    /// The release.
    pub id: ReleaseId,
    /// Its project.
    pub project: ProjectId,
    /// Its version.
    pub version: String,
    /// Its commit.
    pub sha: String,
}

/// One file of a release.
#[derive(Clone, Debug)]
pub struct ReleasePart {
    /// Digest of its bytes.
    pub digest: Digest,
    /// Size in bytes.
    pub size: u64,
    /// File name, whose ending tells how to unpack it.
    pub file_name: String,
}

/// Bytes as they come.
pub type ByteStream = BoxStream<'static, std::io::Result<Bytes>>;

/// Releases (supplychain).
#[async_trait]
pub trait Releases: Send + Sync {
    /// A release by its identifier.
    async fn get(&self, release: ReleaseId) -> Result<Option<ReleaseInfo>>;

    /// A project's release by its version.
    async fn by_version(&self, project: ProjectId, version: &str) -> Result<Option<ReleaseInfo>>;

    /// The project's newest releases, for a form to choose from.
    async fn newest(&self, project: ProjectId, limit: usize) -> Result<Vec<ReleaseInfo>>;

    /// The file at `path` within the release's artifacts.
    async fn find_part(&self, release: ReleaseId, path: &str) -> Result<Option<ReleasePart>>;

    /// The bytes of a part, streamed.
    async fn open(&self, digest: &Digest) -> Result<Option<ByteStream>>;
}

/// Files of projects (forge).
#[async_trait]
pub trait ProjectFiles: Send + Sync {
    /// A file at a commit, or `None` where there is none. Larger ones than `limit` bytes are an error.
    async fn read(&self, project: ProjectId, sha: &str, path: &str, limit: usize) -> Result<Option<Vec<u8>>>;

    /// Several files at a commit, in the order of their paths. Where any is larger than `limit` bytes it is an
    /// error.
    async fn read_some(
        &self,
        project: ProjectId,
        sha: &str,
        paths: &[String],
        limit: usize,
    ) -> Result<Vec<Option<Vec<u8>>>> {
        let mut all = Vec::with_capacity(paths.len());
        for path in paths {
            all.push(self.read(project, sha, path, limit).await?);
        }
        Ok(all)
    }

    /// All files at a commit.
    async fn list(&self, project: ProjectId, sha: &str) -> Result<Vec<String>>;
}

/// A commit, as far as delivery needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitFound {
    /// Its identifier.
    pub sha: String,
    /// The first line of its message.
    pub title: String,
}

/// What came after what (forge).
#[async_trait]
pub trait History: Send + Sync {
    /// The commit that a branch, a tag or the beginning of an identifier means.
    async fn find(&self, project: ProjectId, text: &str) -> Result<Option<CommitFound>>;

    /// Which of `tips` contain a commit. Status 404 where the commit itself is not there.
    async fn containing(&self, project: ProjectId, commit: &str, tips: &[String]) -> Result<Vec<bool>>;
}

/// Teams (identity): groups whose members approve.
#[async_trait]
pub trait Teams: Send + Sync {
    /// Whether the caller belongs to a team, as developer or above. `None`: there is no such team.
    async fn belongs(&self, caller: &Caller, team: &str) -> Result<Option<bool>>;

    /// Whether there is such a team.
    async fn exists(&self, team: &str) -> Result<bool>;
}

/// Error budgets (telemetry).
#[async_trait]
pub trait Budgets: Send + Sync {
    /// Share of the error budget left in an environment; 1 is untouched. `None`: not known.
    async fn left(&self, environment: EnvironmentId) -> Result<Option<f64>>;
}

/// Projects (forge).
#[async_trait]
pub trait ProjectInfo: Send + Sync {
    /// The project at `group/project`.
    async fn find(&self, path: &str) -> Result<Option<ProjectId>>;

    /// `group/project`.
    async fn path(&self, project: ProjectId) -> Result<Option<String>>;

    /// The projects whose environments the caller may read; `None` for all.
    async fn visible(&self, caller: &Caller) -> Result<Option<Vec<ProjectId>>>;

    /// Whether the caller may do something in a project, by role and by the scope of the token used.
    async fn holds(&self, caller: &Caller, project: ProjectId, permission: Permission) -> Result<bool>;
}

/// A merge request as it stands.
#[derive(Clone, Debug)]
pub struct RequestNow {
    /// Whether it is open.
    pub open: bool,
    /// Whether it was merged.
    pub merged: bool,
    /// The commit that it would merge; the asked project has it.
    pub head: String,
    /// The project that its commits come from.
    pub source: ProjectId,
    /// The branch there.
    pub source_branch: String,
    /// Whether that branch is there.
    pub has_source: bool,
    /// The branch that it is to go to.
    pub target_branch: String,
    /// Where that branch stands; `None` where it is gone.
    pub target: Option<String>,
    /// Whether its commits come from the project itself, or were proposed and pushed by its developers.
    pub trusted: bool,
}

/// Merge requests (forge).
#[async_trait]
pub trait Requests: Send + Sync {
    /// A request as it stands now; `None` where it, or its project, is gone.
    async fn get(&self, project: ProjectId, iid: i64) -> Result<Option<RequestNow>>;

    /// The numbers of a project's open requests.
    async fn open(&self, project: ProjectId) -> Result<Vec<i64>>;

    /// The tree that merging an open request now would make; `None` where its changes and the target's meet.
    async fn merge_result(&self, project: ProjectId, iid: i64) -> Result<Option<String>>;
}

/// What is to be built for a preview.
#[derive(Clone, Debug)]
pub struct NewBuild {
    /// The project that was asked.
    pub project: ProjectId,
    /// The request's number.
    pub iid: i64,
    /// The project whose pipeline made it: a fork, or the same.
    pub source: ProjectId,
    /// The pipeline.
    pub pipeline: bascule_core::PipelineId,
    /// The commit.
    pub sha: String,
    /// Its version.
    pub version: String,
}

/// Pipelines and what they made (CI, supplychain).
#[async_trait]
pub trait Builds: Send + Sync {
    /// How the newest pipeline of a commit stands.
    async fn pipeline(&self, project: ProjectId, sha: &str) -> Result<Pipeline>;

    /// Keeps what a pipeline made as a release's parts are kept; the same, however often it is asked for. Its parts
    /// are found as those of a release are. Status 4xx: asking again changes nothing.
    async fn build(&self, wanted: &NewBuild) -> Result<ReleaseId>;

    /// Forgets the builds of a request, save one.
    async fn forget(&self, project: ProjectId, iid: i64, save: Option<ReleaseId>) -> Result<()>;
}

/// Where counts of traffic go (telemetry). Must come to the same when the same slices are given twice.
#[async_trait]
pub trait TrafficSink: Send + Sync {
    /// Takes what an edge counted.
    async fn record(&self, slices: &[Slice]) -> Result<()>;
}

/// All ports of delivery.
#[derive(Clone)]
pub struct Ports {
    /// Releases.
    pub releases: Arc<dyn Releases>,
    /// Files of projects.
    pub files: Arc<dyn ProjectFiles>,
    /// What came after what.
    pub history: Arc<dyn History>,
    /// Projects.
    pub projects: Arc<dyn ProjectInfo>,
    /// Teams.
    pub teams: Arc<dyn Teams>,
    /// Error budgets.
    pub budgets: Arc<dyn Budgets>,
    /// Merge requests.
    pub requests: Arc<dyn Requests>,
    /// Pipelines and what they made.
    pub builds: Arc<dyn Builds>,
    /// The project that declares environments, as `group/project`.
    pub environments: String,
    /// Where counts of traffic go.
    pub traffic: Arc<dyn TrafficSink>,
}

/// A release as it travels in a bundle.
#[derive(Clone, Debug)]
pub struct Parcel {
    /// The release.
    pub id: ReleaseId,
    /// Its project.
    pub project: ProjectId,
    /// `group/project`.
    pub path: String,
    /// Its version.
    pub version: String,
    /// Its commit.
    pub sha: String,
    /// What is said of it besides its signed manifest; delivery carries it and does not look into it.
    pub document: serde_json::Value,
    /// Digest and size of its signed manifest.
    pub manifest: (Digest, u64),
    /// All its parts.
    pub parts: Vec<ParcelPart>,
}

/// A part of a release that travels.
#[derive(Clone, Debug)]
pub struct ParcelPart {
    /// Its name within the release.
    pub name: String,
    /// What it is.
    pub kind: bascule_bundle::EntryKind,
    /// Digest of its bytes.
    pub digest: Digest,
    /// Size in bytes.
    pub size: u64,
}

/// A release that arrived and was found to be what its maker signed.
#[derive(Clone)]
pub struct Arrival {
    /// The release.
    pub id: ReleaseId,
    /// `group/project`.
    pub path: String,
    /// Its version.
    pub version: String,
    /// Its commit.
    pub sha: String,
    /// What the checker keeps for entering it.
    pub checked: Arc<dyn std::any::Any + Send + Sync>,
}

/// What bundles need of releases and projects (supplychain, forge, identity).
#[async_trait]
pub trait Freight: Send + Sync {
    /// Releases, complete.
    async fn pack(&self, releases: &[ReleaseId]) -> Result<Vec<Parcel>>;

    /// Checks a release that arrived, whose blobs are all here, by its maker's signature.
    async fn check(&self, document: serde_json::Value, keys: &[PublicKey]) -> Result<Arrival>;

    /// Enters a release that was checked, in the transaction given. `false`: it was here.
    async fn enter(&self, tx: &Tx, actor: &Actor, project: ProjectId, arrival: &Arrival) -> Result<bool>;

    /// Records of the advisories that releases have or had findings of, each with its name.
    async fn advisories(&self, releases: &[ReleaseId]) -> Result<Vec<(String, serde_json::Value)>>;

    /// Takes records of advisories; the newest state of each counts.
    async fn advise(&self, actor: &Actor, records: &[serde_json::Value]) -> Result<()>;

    /// The blobs of all releases that are here.
    async fn inventory(&self) -> Result<Vec<Digest>>;

    /// The project at `group/project`, made if missing.
    async fn home(&self, path: &str) -> Result<ProjectId>;
}
