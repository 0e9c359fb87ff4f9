//! What a job's `release:` asks for, and whether it may have it.

use super::{Failure, Job, Outcome, log};
use crate::{
    Ci,
    fault::shown,
    pipeline::Pipeline,
    variables::{expand, resolve},
};
use bascule_core::Result;
use bascule_ledger::facts::ci::ReleaseRequested;

/// The platform would not do what the job asked for.
const REFUSED: &str = "configuration_error";

impl Ci {
    /// The release that a job of a tag's pipeline asks for; `None` if it asks for none, and words where it may not have
    /// it. A release is signed, so it is of the tag that the pipeline runs for, and only of a protected one.
    pub(super) async fn release_of(
        &self,
        job: &Job,
        pipeline: &Pipeline,
    ) -> Result<std::result::Result<Option<ReleaseRequested>, String>> {
        let Some(release) = &job.spec.0.release else {
            return Ok(Ok(None));
        };
        let Some(info) = self.code.project(job.project_id).await? else {
            return Ok(Ok(None));
        };
        let values = resolve(&self.job_variables(job, pipeline, &info).await?);
        let asked = expand(&release.tag_name, &values);
        let tag = pipeline.reference.clone();
        if !asked.is_empty() && asked != tag {
            return Ok(Err(format!(
                "`release:tag_name` is `{}`, and this pipeline runs for the tag `{}`; a release is of its pipeline's own \
                 tag. Write `tag_name: $CI_COMMIT_TAG`",
                shown(&asked),
                shown(&tag)
            )));
        }
        if !pipeline.protected {
            return Ok(Err(format!(
                "the tag `{}` is not protected, and only a protected tag is released, because whoever may push can make \
                 any other. Tag a version, such as `1.4.0`, on a commit of a protected branch",
                shown(&tag)
            )));
        }
        let name = Some(expand(&release.name, &values)).filter(|name| !name.is_empty());
        Ok(Ok(Some(ReleaseRequested {
            project: job.project_id,
            project_path: info.path(),
            pipeline: pipeline.id,
            job: job.id,
            name: name.unwrap_or_else(|| tag.clone()),
            description: expand(&release.description, &values),
            tag,
            sha: pipeline.sha.clone(),
            artifacts: Vec::new(),
            runner: job.runner_id,
            started_at: pipeline.created_at,
            finished_at: pipeline.created_at,
            ci_file_digest: pipeline.ci_file_digest.clone(),
        })))
    }

    /// Says in the job's log why there is no release; how the job ends.
    pub(super) async fn refuse_release(&self, job: &Job, words: &str) -> Result<Outcome> {
        let line = format!("\n\u{1b}[31;1mBascule: no release is made: {words}.\u{1b}[0m\n");
        log::append_line(&self.db, job.id, line.as_bytes()).await?;
        Ok(Outcome::Failed(Failure {
            reason: REFUSED.to_owned(),
            exit_code: None,
        }))
    }
}
