//! What this crate asks of others. The binary wires it to the forge.

use crate::pipeline::MergeRequest;
use async_trait::async_trait;
use bascule_core::{Actor, GroupId, Permission, ProjectId, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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
    /// Its group's identifier.
    pub group_id: String,
    /// `private`, `internal` or `public`.
    pub visibility: String,
    /// What it is for, in its owners' words.
    pub description: String,
    /// Where a runner clones it from, without user and password: `http://host/group/project.git`.
    pub clone_url: String,
    /// The same over SSH; empty where that is not served.
    pub ssh_url: String,
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

    /// What an annotated tag says; `None` of a tag that says nothing.
    async fn tag_message(&self, project: ProjectId, tag: &str) -> Result<Option<String>> {
        let _ = (project, tag);
        Ok(None)
    }

    /// The commit's message.
    async fn commit_message(&self, project: ProjectId, sha: &str) -> Result<Option<String>>;

    /// Who made a commit, and when.
    async fn commit_stamp(&self, project: ProjectId, sha: &str) -> Result<Option<CommitStamp>> {
        let _ = (project, sha);
        Ok(None)
    }

    /// The project; `None` once it is deleted.
    async fn project(&self, project: ProjectId) -> Result<Option<ProjectInfo>>;

    /// Whether the branch or tag is protected, so that jobs may see protected variables.
    async fn is_protected(&self, project: ProjectId, reference: &str, tag: bool) -> Result<bool>;

    /// Whether developers merge into the project's protected branches, and so answer for what runs there.
    async fn developers_merge(&self, project: ProjectId) -> Result<bool>;

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

    /// The release that a component's version means, as `1.2.3`; `None` where it is a branch or a commit.
    async fn release(&self, project: ProjectId, text: &str) -> Result<Option<String>> {
        let _ = (project, text);
        Ok(None)
    }

    /// For each path the last commit, seen from `sha`, that changed it; `None` where there is no such file.
    async fn last_commits(
        &self,
        project: ProjectId,
        sha: &str,
        paths: &[String],
    ) -> Result<Vec<Option<String>>> {
        self.digests(project, sha, paths).await
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

    /// Names of branches to choose from, the default branch first; protected ones only where they are asked for. Not more
    /// than a person looks through.
    async fn branches(&self, project: ProjectId, protected: bool) -> Result<Vec<String>> {
        let _ = (project, protected);
        Ok(Vec::new())
    }

    /// What a push gave its pipeline, by the name that the push's fact says.
    async fn push_options(&self, project: ProjectId, name: &str) -> Result<PushOptions> {
        let _ = (project, name);
        Ok(PushOptions::default())
    }

    /// The text at an address, where the instance allows it.
    async fn fetch(&self, url: &str) -> Result<Fetched> {
        let _ = url;
        Ok(Fetched::NotAllowed)
    }
}

/// What a push gives its pipeline (`git push -o ci.variable="NAME=value" -o ci.input="name=value"`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PushOptions {
    /// Variables for all jobs.
    pub variables: BTreeMap<String, String>,
    /// Values for the file's inputs, as texts.
    pub inputs: BTreeMap<String, String>,
    /// Whether who pushed may push to protected branches, and so give variables to their jobs.
    pub may_protected: bool,
}

/// Who made a commit, and when.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommitStamp {
    /// `name <address>`.
    pub author: String,
    /// When it was committed, as RFC 3339 has it.
    pub time: String,
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

/// Who started something, as their jobs and those who trust these are told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Person {
    /// The account.
    pub id: String,
    /// Its user name.
    pub login: String,
    /// What people call them.
    pub name: String,
    /// Their address; may be empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub email: String,
    /// What they are in the project: `developer`, `maintainer`; empty where that is not known.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub role: String,
}

/// A project among others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// The project.
    pub id: ProjectId,
    /// Its group.
    pub group: GroupId,
    /// `group/project`.
    pub path: String,
    /// Its default branch.
    pub default_branch: String,
}

/// Other projects, and what people may do there. Until it is wired, nobody may do anything.
#[async_trait]
pub trait Reach: Send + Sync {
    /// The project at `group/project`, whoever may see it.
    async fn find(&self, path: &str) -> Result<Option<Neighbour>>;

    /// A project by its identifier; `None` once it is deleted.
    async fn get(&self, project: ProjectId) -> Result<Option<Neighbour>>;

    /// The projects of a group in the order of their paths, those behind `after`.
    async fn of_group(&self, group: GroupId, after: &str, limit: i64) -> Result<Vec<Neighbour>>;

    /// Whether who started something may do this in a project, as things stand now. What is not known to be allowed
    /// is not.
    async fn may(&self, actor: &Actor, project: ProjectId, permission: Permission) -> Result<bool>;

    /// The person behind an actor, where an open account stands behind it, and what they are in a project.
    async fn person(&self, actor: &Actor, project: ProjectId) -> Result<Option<Person>> {
        let _ = (actor, project);
        Ok(None)
    }

    /// Whether an account is open.
    async fn is_open(&self, user: &str) -> Result<bool>;
}

/// What merging a request would make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merged {
    /// The commit.
    pub sha: String,
    /// Where the target branch stood.
    pub target: String,
}

/// Merge requests, as far as pipelines are made for them.
#[async_trait]
pub trait Requests: Send + Sync {
    /// An open request whose commits come from a branch of the same project; `None` otherwise: code from outside gets
    /// no pipeline with this project's variables.
    async fn request(&self, project: ProjectId, iid: i64) -> Result<Option<MergeRequest>>;

    /// The commit that merging the request would make now, kept so that runners can fetch it; `None` where it is in
    /// conflict.
    async fn merged(&self, project: ProjectId, iid: i64) -> Result<Option<Merged>>;

    /// Numbers of the open requests from a branch.
    async fn open_from(&self, project: ProjectId, branch: &str) -> Result<Vec<i64>>;
}

/// What stands for ports that are not wired.
pub(crate) struct Nobody;

#[async_trait]
impl Reach for Nobody {
    async fn find(&self, _: &str) -> Result<Option<Neighbour>> {
        Ok(None)
    }

    async fn get(&self, _: ProjectId) -> Result<Option<Neighbour>> {
        Ok(None)
    }

    async fn of_group(&self, _: GroupId, _: &str, _: i64) -> Result<Vec<Neighbour>> {
        Ok(Vec::new())
    }

    async fn may(&self, _: &Actor, _: ProjectId, _: Permission) -> Result<bool> {
        Ok(false)
    }

    async fn is_open(&self, _: &str) -> Result<bool> {
        Ok(false)
    }
}

#[async_trait]
impl Requests for Nobody {
    async fn request(&self, _: ProjectId, _: i64) -> Result<Option<MergeRequest>> {
        Ok(None)
    }

    async fn merged(&self, _: ProjectId, _: i64) -> Result<Option<Merged>> {
        Ok(None)
    }

    async fn open_from(&self, _: ProjectId, _: &str) -> Result<Vec<i64>> {
        Ok(Vec::new())
    }
}
