//! What others' facts do here.

use crate::{
    Planning,
    issue::{By, store},
    label::store as labels,
    references::{self, Reference},
};
use async_trait::async_trait;
use bascule_core::{Actor, GroupId, ProjectId, Role};
use bascule_ledger::{
    BoxError, Entry, Subscriber, decode,
    facts::forge::{BranchUpdated, ProjectCreated, ProjectDeleted},
};
use serde::Deserialize;

/// Gives new projects their labels, and forgets deleted ones.
pub struct Follow(pub Planning);

#[async_trait]
impl Subscriber for Follow {
    fn name(&self) -> &'static str {
        "planning.follow"
    }

    fn kinds(&self) -> Vec<&'static str> {
        vec!["project.created", "project.deleted"]
    }

    async fn handle(&self, entry: &Entry) -> Result<(), BoxError> {
        let planning = &self.0;
        let tx = planning.db.begin().await?;
        if entry.kind == "project.created" {
            let fact: ProjectCreated = decode(entry)?;
            // When all facts come again, a project deleted since gets its labels and loses them.
            labels::seed(&tx, fact.project, fact.group, planning.now()).await?;
        } else {
            let fact: ProjectDeleted = decode(entry)?;
            store::forget(&tx, fact.project).await?;
        }
        Ok(tx.commit().await?)
    }
}

/// Closes what a commit on the default branch, or a merge request, says that it closes.
pub struct CloseByPush(pub Planning);

/// A merged request, as far as it matters here.
#[derive(Deserialize)]
struct Merged {
    project: ProjectId,
    #[serde(alias = "number")]
    iid: i64,
    #[serde(default)]
    target_branch: Option<String>,
    #[serde(default)]
    closes: Vec<Closes>,
}

/// An issue's number in the same project, or a reference.
#[derive(Deserialize)]
#[serde(untagged)]
enum Closes {
    Number(i64),
    Reference(String),
}

#[async_trait]
impl Subscriber for CloseByPush {
    fn name(&self) -> &'static str {
        "planning.close"
    }

    fn kinds(&self) -> Vec<&'static str> {
        vec!["branch.updated", "merge_request.merged"]
    }

    async fn handle(&self, entry: &Entry) -> Result<(), BoxError> {
        if entry.kind == "branch.updated" {
            let fact: BranchUpdated = decode(entry)?;
            if fact.default && fact.after.is_some() {
                self.pushed(&entry.actor, &fact).await?;
            }
            return Ok(());
        }
        let fact: Merged = serde_json::from_str(&entry.body)
            .map_err(|error| format!("fact {} cannot be read: {error}", entry.seq))?;
        // What is merged elsewhere closes nothing until it reaches the default branch.
        let default = self.0.projects.default_branch(fact.project).await?;
        if fact.target_branch.is_some() && fact.target_branch != default {
            return Ok(());
        }
        let source = format!("merge-request:{}:{}", fact.project, fact.iid);
        for closes in fact.closes {
            let reference = match closes {
                Closes::Number(number) => Some(Reference {
                    project: None,
                    number,
                }),
                Closes::Reference(text) => references::parse(&text),
            };
            if let Some(reference) = reference {
                self.close(
                    &entry.actor,
                    fact.project,
                    &reference,
                    &source,
                    &By::MergeRequest(fact.iid),
                )
                .await?;
            }
        }
        Ok(())
    }
}

impl CloseByPush {
    async fn pushed(&self, actor: &Actor, fact: &BranchUpdated) -> Result<(), BoxError> {
        if self.0.projects.group_of(fact.project).await?.is_none() {
            // Deleted since.
            return Ok(());
        }
        for commit in fact.commits.iter().rev() {
            let Some(message) = self.0.code.message(fact.project, &commit.sha).await? else {
                continue;
            };
            for reference in references::closes(&message) {
                let source = format!("commit:{}:{}", fact.project, commit.sha);
                self.close(
                    actor,
                    fact.project,
                    &reference,
                    &source,
                    &By::Commit(commit.sha.clone()),
                )
                .await?;
            }
        }
        Ok(())
    }

    async fn close(
        &self,
        actor: &Actor,
        from: ProjectId,
        reference: &Reference,
        source: &str,
        by: &By,
    ) -> Result<(), BoxError> {
        let Some(target) = self.target(actor, from, reference).await? else {
            return Ok(());
        };
        Ok(self
            .0
            .close_by(actor, target, reference.number, source, by)
            .await?)
    }

    /// The project that a reference means. Who may push to the default branch of a project closes its issues; those of
    /// another project are closed by who may edit them there.
    async fn target(
        &self,
        actor: &Actor,
        from: ProjectId,
        reference: &Reference,
    ) -> Result<Option<(ProjectId, GroupId)>, BoxError> {
        let planning = &self.0;
        let Some(path) = &reference.project else {
            let group = planning.projects.group_of(from).await?;
            return Ok(group.map(|group| (from, group)));
        };
        let Some((project, group)) = planning.projects.id_of(path).await? else {
            return Ok(None);
        };
        if project == from {
            return Ok(Some((project, group)));
        }
        let reach = planning.people.behind(actor).await?;
        let may = reach.acts(project, group) >= Some(Role::Reporter);
        Ok(may.then_some((project, group)))
    }
}
