//! Who runs what protected branches and tags hold.

use super::store;
use crate::{Ci, job};
use bascule_core::{JobId, Permission, PipelineId, Problem, ProjectId, ProjectScope, Result};

impl Ci {
    /// Whether someone may run what protected branches of a project hold: who pushes or merges there.
    pub(crate) async fn runs_protected(&self, project: ProjectId, may_push: bool) -> Result<bool> {
        Ok(may_push || self.code.developers_merge(project).await?)
    }

    /// Refuses who may not run what a branch or tag holds: jobs there deploy, and see protected variables.
    pub(crate) async fn guard(&self, scope: &ProjectScope, reference: &str, protected: bool) -> Result<()> {
        let may_push = scope.holds(Permission::ProtectedPush);
        if !protected || self.runs_protected(scope.id, may_push).await? {
            return Ok(());
        }
        Err(Problem::new(
            403,
            "branch_protected",
            format!("`{reference}` is protected; you may not run its jobs."),
        )
        .why("They deploy and see protected variables: only who pushes or merges there starts them.")
        .next("Ask a maintainer; they may let developers merge, and so run, in the project's settings."))
    }

    /// As [`Self::guard`], for a pipeline.
    pub(crate) async fn guard_pipeline(&self, scope: &ProjectScope, id: PipelineId) -> Result<()> {
        let pipeline = self.pipeline(scope.id, id).await?;
        self.guard(scope, &pipeline.reference, pipeline.protected).await
    }

    /// As [`Self::guard`], for a job.
    pub(crate) async fn guard_job(&self, scope: &ProjectScope, id: JobId) -> Result<()> {
        let found = job::store::in_project(&self.db, scope.id, id).await?;
        let job = found.ok_or_else(|| Problem::not_found("job"))?;
        match store::find(&self.db, job.pipeline_id).await? {
            Some(pipeline) => self.guard(scope, &pipeline.reference, pipeline.protected).await,
            None => Ok(()),
        }
    }
}
