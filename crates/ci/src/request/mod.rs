//! Pipelines for merge requests: of the request's own commit, or of what merging it would make.

pub(crate) mod api;
pub(crate) mod store;

use crate::{
    Ci,
    pipeline::{self, Created, MergeRequest, More, Start},
};
use bascule_core::{Actor, ProjectId, Result};
use bascule_ledger::facts::forge::ProjectChanged;
use bascule_wire::ci::MergePipelines;

/// Their source.
pub(crate) const SOURCE: &str = "merge_request_event";
/// For the request's own commit.
pub(crate) const DETACHED: &str = "detached";
/// For what merging it would make.
const MERGED: &str = "merged_result";

impl Ci {
    /// Makes the pipeline of an open merge request, if the project's file has jobs for one.
    ///
    /// Where the project runs pipelines for merged results and the request can be merged, it is the merge that is
    /// tried; in conflict, the request's own commit is.
    pub(crate) async fn request_pipeline(
        &self,
        project: ProjectId,
        iid: i64,
        fact: &str,
        actor: &Actor,
    ) -> Result<Created> {
        // Before anything is merged: the same fact may come twice.
        if let Some(known) = pipeline::store::of_fact(&self.db, fact).await? {
            return Ok(Created::Pipeline(known.id));
        }
        let Some(mut request) = self.requests().request(project, iid).await? else {
            return Ok(Created::Nothing(
                "the request is not open here, or comes from a fork".to_owned(),
            ));
        };
        let merged = if store::merged_results(&self.db, project).await? {
            self.requests().merged(project, iid).await?
        } else {
            None
        };
        let head = request.source_sha.clone();
        let (sha, before, head_sha) = match merged {
            Some(merged) => {
                MERGED.clone_into(&mut request.event);
                request.target_sha.clone_from(&merged.target);
                (merged.sha, merged.target, Some(head))
            }
            None => {
                DETACHED.clone_into(&mut request.event);
                (head, request.base_sha.clone(), None)
            }
        };
        self.create_pipeline(Start {
            project,
            reference: request.source_branch.clone(),
            tag: false,
            sha,
            before: Some(before).filter(|sha| !sha.is_empty()),
            source: SOURCE,
            fact: Some(fact.to_owned()),
            variables: Vec::new(),
            actor: actor.clone(),
            more: More {
                merge_request: Some(request),
                head_sha,
                ..More::default()
            },
        })
        .await
    }

    /// How a project's pipelines of merge requests are made.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub async fn merge_pipelines(&self, project: ProjectId) -> Result<MergePipelines> {
        Ok(MergePipelines {
            merged_results: store::merged_results(&self.db, project).await?,
        })
    }

    /// Sets how a project's pipelines of merge requests are made.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub async fn set_merge_pipelines(
        &self,
        project: ProjectId,
        set: &MergePipelines,
        actor: &Actor,
    ) -> Result<()> {
        let tx = self.db.begin().await?;
        store::set_merged_results(&tx, project, set.merged_results).await?;
        let fact = ProjectChanged {
            project,
            setting: "merged_results_pipelines".to_owned(),
            value: set.merged_results.to_string(),
        };
        self.ledger.append(&tx, actor, &fact).await?;
        Ok(tx.commit().await?)
    }
}

/// Whether a pipeline is one that tries a merge request, and not one of the merge queue, whose commit is to become the
/// branch.
pub(crate) fn is_trial(request: Option<&MergeRequest>) -> bool {
    request.is_some_and(|request| request.event != pipeline::TRAIN)
}
