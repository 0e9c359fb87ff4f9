//! Who runs what protected branches and tags hold.

use super::{Created, Pipeline, store};
use crate::{Ci, job};
use bascule_core::{Actor, JobId, Permission, PipelineId, Problem, ProjectId, ProjectScope, Result};

/// Refuses what somebody gives to jobs of a protected branch or tag without the right to push there. Reviewed code alone
/// decides what protected variables are used for: variables of a person's, and inputs, which become part of the text,
/// could turn it to other ends.
pub(crate) fn may_give(reference: &str, protected: bool, may_push: bool, next: &str) -> Result<()> {
    if !protected || may_push {
        return Ok(());
    }
    Err(Problem::forbidden(Permission::ProtectedPush)
        .why(format!(
            "`{reference}` is protected, and its jobs see protected variables."
        ))
        .next(next))
}

/// A refusal as one line, where it is told in a log or beside a file's faults.
pub(crate) fn in_words(problem: &Problem) -> String {
    let all = [&problem.what, &problem.why, &problem.next];
    let said: Vec<&str> = all
        .into_iter()
        .map(String::as_str)
        .filter(|text| !text.is_empty())
        .collect();
    said.join(" ")
}

/// Which buttons somebody may press who looks at what a branch or tag holds: no page shows one that would be refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Buttons {
    /// Whether its jobs may be started, tried again and canceled.
    pub run: bool,
    /// Whether variables may be given to them.
    pub give: bool,
    /// Why they may not be started, for who starts others of the project.
    pub why: Option<String>,
}

impl Ci {
    /// Which buttons a caller may press; the same rules as [`Self::guard`] and [`may_give`].
    pub(crate) async fn buttons(
        &self,
        scope: &ProjectScope,
        reference: &str,
        protected: bool,
    ) -> Result<Buttons> {
        if !scope.holds(Permission::PipelineRun) {
            return Ok(Buttons::default());
        }
        let may_push = scope.holds(Permission::ProtectedPush);
        let runs = !protected || self.runs_protected(scope.id, may_push).await?;
        Ok(Buttons {
            run: runs,
            give: runs && (!protected || may_push),
            why: (!runs).then(|| {
                format!("`{reference}` is protected: only maintainers start, retry and cancel its jobs.")
            }),
        })
    }

    /// Whether someone may run what protected branches of a project hold: who pushes or merges there.
    pub(crate) async fn runs_protected(&self, project: ProjectId, may_push: bool) -> Result<bool> {
        Ok(may_push || self.code.developers_merge(project).await?)
    }

    /// Refuses who may not run what a branch or tag holds: jobs there deploy, and see protected variables.
    pub(crate) async fn guard(&self, scope: &ProjectScope, reference: &str, protected: bool) -> Result<()> {
        let may_push = scope.holds(Permission::ProtectedPush);
        self.guard_of(scope.id, reference, protected, may_push).await
    }

    /// As [`Self::guard`], for who is no caller of this project.
    pub(crate) async fn guard_of(
        &self,
        project: ProjectId,
        reference: &str,
        protected: bool,
        may_push: bool,
    ) -> Result<()> {
        if !protected || self.runs_protected(project, may_push).await? {
            return Ok(());
        }
        Err(Problem::new(
            403,
            "branch_protected",
            format!("`{reference}` is protected; you may not run its jobs."),
        )
        .why(
            "They deploy and see protected variables: only who pushes or merges there starts and stops them.",
        )
        .next("Ask a maintainer; they may let developers merge, and so run, in the project's settings."))
    }

    /// What becomes of a pipeline that someone asked for, told to them.
    pub(crate) async fn made_or_why(&self, project: ProjectId, created: Created) -> Result<Pipeline> {
        match created {
            Created::Pipeline(id) => self.pipeline(project, id).await,
            Created::Refused(id, faults) => Err(Problem::invalid("bad_ci_file", faults.first().to_string())
                .why("The CI file of this commit cannot be run.")
                .next(format!("Correct it and push; pipeline {id} lists every fault."))),
            Created::Nothing(why) => Err(Problem::invalid("no_pipeline", "No pipeline was started.")
                .why(format!("Because {why}."))
                .next("Look at the file on the project's CI lint page.")),
        }
    }

    /// As [`Self::guard`], for a pipeline.
    pub(crate) async fn guard_pipeline(&self, scope: &ProjectScope, id: PipelineId) -> Result<()> {
        let pipeline = self.pipeline(scope.id, id).await?;
        self.guard(scope, &pipeline.reference, pipeline.protected).await
    }

    /// Refuses who may not erase what a job left: it is what others look at to learn what happened. What the group
    /// requires is its own; of all else whoever pushes to protected branches may, and beside these also who started it.
    pub(crate) async fn guard_traces(&self, scope: &ProjectScope, id: JobId, actor: &Actor) -> Result<()> {
        let found = job::store::in_project(&self.db, scope.id, id).await?;
        let job = found.ok_or_else(|| Problem::not_found("job"))?;
        if let Some(required) = &job.required {
            return self.may_erase_required(&job, required, actor).await;
        }
        if scope.holds(Permission::ProtectedPush) {
            return Ok(());
        }
        let pipeline = store::find(&self.db, job.pipeline_id).await?;
        let own = store::actor(&self.db, job.pipeline_id).await?;
        let own = own.is_some_and(|own| own.kind == actor.kind && own.id == actor.id);
        if own && pipeline.is_some_and(|pipeline| !pipeline.protected) {
            return Ok(());
        }
        Err(Problem::forbidden(Permission::ProtectedPush)
            .why("What a job left shows others what happened; of protected branches, and of what somebody else started, it stays.")
            .next("Ask a maintainer, who may erase it; with a secret in its log, also revoke that secret."))
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
