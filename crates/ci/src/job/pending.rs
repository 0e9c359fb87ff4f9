//! Jobs that no runner takes: given up after a while, so that their pipelines end and the queue holds only what may run.

use super::{Failure, Job, log, service::tries_again, store};
use crate::{Ci, pipeline, status::JobStatus};
use bascule_core::{Actor, Result, Timestamp};
use std::time::Duration;

/// GitLab's word for it, also under `retry:when`.
const STUCK: &str = "stuck_or_timeout_failure";
/// How long a job waits for a runner, as with GitLab.
pub(crate) const WAITS: Duration = Duration::from_secs(24 * 3600);

impl Ci {
    /// Fails jobs that waited for a runner longer than [`WAITS`], with the reason why they wait. Called by a timer.
    pub(super) async fn give_up_pending(&self, now: Timestamp) -> Result<()> {
        for job in store::pending_since(&self.db, now.minus(WAITS)).await? {
            let waits = self.why_job_waits(&job).await?;
            let why = waits.map_or_else(String::new, |waits| format!(": {}", waits.reason));
            self.give_up(&job, &why).await?;
        }
        Ok(())
    }

    async fn give_up(&self, job: &Job, why: &str) -> Result<()> {
        let Some(pipeline) = pipeline::store::find(&self.db, job.pipeline_id).await? else {
            return Ok(());
        };
        let hours = WAITS.as_secs() / 3600;
        let line =
            format!("\u{1b}[31;1mBascule: no runner took the job within {hours} hours{why}\u{1b}[0m\n");
        let failure = Failure {
            reason: STUCK.to_owned(),
            exit_code: None,
        };
        let actor = Actor::system();
        let now = self.clock.now();
        let tx = self.db.begin().await?;
        pipeline::store::lock(&tx, pipeline.id).await?;
        let still = store::find(&tx, job.id)
            .await?
            .is_some_and(|job| job.runner_id.is_none());
        let open = [JobStatus::Pending];
        let (reason, failed) = (Some(STUCK), JobStatus::Failed);
        if !still || !store::finish(&tx, job.id, &open, failed, reason, None, now).await? {
            return Ok(());
        }
        self.tell_finished(&tx, job, failed, reason, &actor).await?;
        if tries_again(job, &failure, 0) {
            self.try_again(&tx, job, STUCK, &actor).await?;
        }
        self.settle(&tx, &pipeline, &actor).await?;
        tx.commit().await?;
        Ok(log::append_line(&self.db, job.id, line.as_bytes()).await?)
    }
}
