//! What happens by itself and by time: bridges are crossed, resource groups are given away, delayed jobs and schedules
//! begin.
//!
//! Every replica does all of this. What is to be done stands in the database, and each step takes it from there in one
//! transaction that only one of them can win; so nothing is lost when a server is killed, and nothing is done twice.

use crate::{Ci, job, pipeline};
use bascule_core::{Actor, Result};
use std::time::Duration;

/// How often to look, where nothing of this process says that there is something to do.
const EVERY: Duration = Duration::from_secs(1);

impl Ci {
    /// One turn of all that happens by itself. A fault of one part does not keep the others back.
    pub async fn turn(&self) {
        let told = |what: &str, done: Result<()>| {
            if let Err(problem) = done {
                tracing::warn!(%problem, what, "a turn of the engine failed in part; tried again soon");
            }
        };
        told("delayed jobs", self.start_delayed().await);
        told("schedules", self.run_schedules().await);
        told("resource groups", self.give_resources().await);
        told("environments", self.stop_due().await);
        told("bridges", Box::pin(self.cross_bridges()).await);
    }

    /// Turns until the server stops.
    pub(crate) async fn turn_on(&self) {
        loop {
            tokio::select! {
                () = self.options.stop.cancelled() => return,
                () = self.signals.engine.notified() => {}
                () = tokio::time::sleep(EVERY) => {}
            }
            self.turn().await;
        }
    }

    /// Starts delayed jobs whose time has come.
    async fn start_delayed(&self) -> Result<()> {
        let now = self.clock.now();
        for job in job::store::due(&self.db, now).await? {
            let Some(pipeline) = pipeline::store::find(&self.db, job.pipeline_id).await? else {
                continue;
            };
            let tx = self.db.begin().await?;
            pipeline::store::lock(&tx, pipeline.id).await?;
            // Someone may have started, moved or canceled it meanwhile.
            let still = job::store::find(&tx, job.id).await?;
            if !still.is_some_and(|job| job.status == crate::status::JobStatus::Scheduled) {
                continue;
            }
            job::store::set_waiting(&tx, job.id, job.ready(), now).await?;
            self.settle(&tx, &pipeline, &Actor::system()).await?;
            tx.commit().await?;
        }
        Ok(())
    }
}
