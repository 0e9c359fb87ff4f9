//! What this crate asks of others. The binary wires it to the forge.

use async_trait::async_trait;
use bascule_core::{Actor, ProjectId, Result};

/// A commit and the name it was found under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// The commit.
    pub sha: String,
    /// Branch or tag name.
    pub reference: String,
    /// Whether it is a tag.
    pub tag: bool,
}

/// A project, as jobs and pages name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectInfo {
    /// Its group's name.
    pub group: String,
    /// Its name.
    pub name: String,
    /// Its default branch.
    pub default_branch: String,
    /// Where a runner clones it from, without user and password: `http://host/group/project.git`.
    pub clone_url: String,
}

impl ProjectInfo {
    /// `group/project`.
    #[must_use]
    pub fn path(&self) -> String {
        format!("{}/{}", self.group, self.name)
    }
}

/// Code and projects.
#[async_trait]
pub trait Code: Send + Sync {
    /// A file's bytes at a commit, if there is such a file and it is not larger than a CI file may be.
    async fn read_file(&self, project: ProjectId, sha: &str, path: &str) -> Result<Option<Vec<u8>>>;

    /// All files of a commit.
    async fn list_paths(&self, project: ProjectId, sha: &str) -> Result<Vec<String>>;

    /// Files that differ between two commits; against the first parent where `before` is `None`.
    async fn changed_paths(
        &self,
        project: ProjectId,
        before: Option<&str>,
        after: &str,
    ) -> Result<Vec<String>>;

    /// What a branch or tag name points to; a branch before a tag of the same name.
    async fn resolve(&self, project: ProjectId, reference: &str) -> Result<Option<Commit>>;

    /// The commit's message.
    async fn commit_message(&self, project: ProjectId, sha: &str) -> Result<Option<String>>;

    /// The project; `None` once it is deleted.
    async fn project(&self, project: ProjectId) -> Result<Option<ProjectInfo>>;

    /// Whether the branch or tag is protected, so that jobs may see protected variables.
    async fn is_protected(&self, project: ProjectId, reference: &str, tag: bool) -> Result<bool>;

    /// A project by its path, if that actor may read its code. A project that is not there and one that may
    /// not be read look alike. Without an answer of one's own: no project may be read.
    async fn readable(&self, actor: &Actor, path: &str) -> Result<Option<ProjectId>> {
        let _ = (actor, path);
        Ok(None)
    }

    /// The commit that a branch, tag, commit or component's version (`~latest`, `1`, `1.2`) means.
    async fn version(&self, project: ProjectId, text: &str) -> Result<Option<String>> {
        Ok(self.resolve(project, text).await?.map(|commit| commit.sha))
    }

    /// Files that differ between a commit and what it has in common with another.
    async fn changed_since(&self, project: ProjectId, other: &str, sha: &str) -> Result<Vec<String>> {
        self.changed_paths(project, Some(other), sha).await
    }

    /// Digests of files' content, in the order of the paths; `None` where there is no such file.
    async fn digests(&self, project: ProjectId, sha: &str, paths: &[String]) -> Result<Vec<Option<String>>> {
        let mut digests = Vec::with_capacity(paths.len());
        for path in paths {
            let bytes = self.read_file(project, sha, path).await?;
            digests.push(bytes.map(|bytes| bascule_core::Digest::of(&bytes).to_string()));
        }
        Ok(digests)
    }

    /// The text at an address, where the instance allows it.
    async fn fetch(&self, url: &str) -> Result<Fetched> {
        let _ = url;
        Ok(Fetched::NotAllowed)
    }
}

/// What became of fetching an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// Its text.
    Text(String),
    /// The instance's settings do not name it.
    NotAllowed,
    /// It could not be had, and why.
    Failed(String),
}

/// Who shows what programs find about commits.
#[async_trait]
pub trait Findings: Send + Sync {
    /// Takes a report about a commit, in SARIF or another format that it knows, and says how many findings it took.
    /// `tool` names the program where the report does not.
    async fn take(
        &self,
        project: ProjectId,
        sha: &str,
        report: Vec<u8>,
        tool: &str,
        actor: &Actor,
    ) -> Result<usize>;
}
