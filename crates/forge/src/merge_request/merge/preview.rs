//! The commit that merging a request would make, for pipelines that try it before anyone merges.

use super::Build;
use crate::{
    Forge, Signature,
    merge_request::{MergeRequest, Strategy, store},
};
use bascule_core::{ProjectId, Result};

/// A merge that was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MergedCommit {
    /// The commit.
    pub sha: String,
    /// Where the target branch stood.
    pub target: String,
}

impl Forge {
    /// Makes the commit that merging a request now would make, and keeps it under `refs/merge-requests/IID/merge`.
    /// `None` where the target is gone, has everything already, or is in conflict.
    ///
    /// # Errors
    /// The repository cannot be read or written.
    pub async fn merged_commit(&self, request: &MergeRequest) -> Result<Option<MergedCommit>> {
        let Some(project) = self.project_by_id(request.project_id).await? else {
            return Ok(None);
        };
        let Some(target) = self.resolve_branch(project.id, &request.target_branch).await? else {
            return Ok(None);
        };
        let settings = self.merge_settings(project.id).await?;
        let by = Signature {
            name: "Bascule".to_owned(),
            email: "bascule@localhost".to_owned(),
        };
        let built = self
            .build_merge(&Build {
                project: &project,
                request,
                settings: &settings,
                strategy: Strategy::Merge,
                onto: &target,
                by: &by,
                approvers: &[],
            })
            .await;
        let sha = match built {
            Ok(Ok(sha)) if sha != target => sha,
            // Histories without a common past are in conflict too, as far as a pipeline is concerned.
            Err(problem) if problem.is_server_fault() => return Err(problem),
            _ => return Ok(None),
        };
        let name = format!("refs/merge-requests/{}/merge", request.iid);
        self.set_references(project.id, &[(name, Some(sha.as_str()))])
            .await?;
        Ok(Some(MergedCommit { sha, target }))
    }

    /// The open requests whose commits come from a branch.
    ///
    /// # Errors
    /// The database refused.
    pub async fn requests_from(&self, project: ProjectId, branch: &str) -> Result<Vec<MergeRequest>> {
        Ok(store::open_from(self.db(), project, branch).await?)
    }
}
