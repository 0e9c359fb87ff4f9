//! What others' pipelines do to bridges, and bridges to what they made.

use super::{Obstacle, reason};
use crate::{
    Ci,
    config::{JobSpec, Strategy},
    job::{self, Job},
    pipeline::{self, Pipeline},
    status::PipelineStatus,
};
use bascule_core::{Actor, JobId, Permission, PipelineId, ProjectId, Result};

impl Ci {
    /// A pipeline ended: the bridge that made it and waits for it ends alike.
    pub(crate) async fn bridge_follows(&self, id: PipelineId) -> Result<()> {
        let Some(made) = pipeline::store::find(&self.db, id).await? else {
            return Ok(());
        };
        // As it stands now: the fact may be an old one.
        if !made.status.is_final() {
            return Ok(());
        }
        if let Some(bridge) = made.parent_job_id
            && self.depends(bridge).await?
        {
            self.mirror_end(bridge, made.status).await?;
        }
        // Bridges that follow it without having made it.
        let mut after = JobId(0);
        loop {
            let page = job::store::bridges_to(&self.db, id, after).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = last.id;
            for bridge in page.iter().filter(|bridge| bridge.spec.0.mirrored().is_some()) {
                self.mirror_end(bridge.id, made.status).await?;
            }
        }
    }

    /// A project is about to go: bridges of others that wait for its pipelines wait no more.
    pub(crate) async fn bridges_lose(&self, project: ProjectId) -> Result<()> {
        let gone = Obstacle::new(
            reason::FAILED,
            "the project was deleted whose pipeline this job waited for",
        );
        let mut after = JobId(0);
        loop {
            let page = job::store::bridges_into(&self.db, project, after).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = last.id;
            for bridge in page {
                self.fail_bridge(&bridge, &gone).await?;
            }
        }
    }

    async fn depends(&self, bridge: JobId) -> Result<bool> {
        let job = job::store::find(&self.db, bridge).await?;
        Ok(job.is_some_and(|job| waits(&job)))
    }

    /// Jobs of a pipeline that had ended run again: the bridges that wait for it do too, all the way up.
    pub(crate) async fn reopen_bridge(&self, pipeline: &Pipeline, actor: &Actor) -> Result<()> {
        let mut at = pipeline.clone();
        while let Some(id) = at.parent_job_id {
            let Some(bridge) = job::store::find(&self.db, id).await?.filter(waits) else {
                return Ok(());
            };
            if !self.reopen(&bridge, actor).await? {
                return Ok(());
            }
            // It may have ended again meanwhile.
            if let Some(now) = pipeline::store::find(&self.db, at.id).await?
                && now.status.is_final()
            {
                self.mirror_end(bridge.id, now.status).await?;
            }
            match pipeline::store::find(&self.db, bridge.pipeline_id).await? {
                Some(parent) => at = parent,
                None => return Ok(()),
            }
        }
        Ok(())
    }

    /// A bridge was canceled: what it made, and it waited for, is canceled too.
    pub(crate) async fn cancel_behind(&self, bridge: JobId, actor: &Actor) -> Result<()> {
        let Some(job) = job::store::find(&self.db, bridge).await?.filter(waits) else {
            return Ok(());
        };
        if let Some(id) = job.downstream_id
            && let Some(made) = pipeline::store::find(&self.db, id).await?
        {
            self.cancel_made(&made, actor).await?;
        }
        Ok(())
    }

    /// A pipeline was canceled as a whole: its children are too, whether it waited for them or not.
    pub(crate) async fn cancel_children(&self, id: PipelineId, actor: &Actor) -> Result<()> {
        for made in pipeline::store::children(&self.db, id).await? {
            if made.source == pipeline::CHILD {
                self.cancel_made(&made, actor).await?;
            }
        }
        Ok(())
    }

    /// In another project only who may run pipelines there cancels them.
    async fn cancel_made(&self, made: &Pipeline, actor: &Actor) -> Result<()> {
        let ended = made.status.is_final() && made.status != PipelineStatus::Manual;
        let may = made.source == pipeline::CHILD
            || *actor == Actor::system()
            || self
                .reach()
                .may(actor, made.project_id, Permission::PipelineRun)
                .await?;
        if !ended && may {
            self.cancel_pipeline(made.project_id, made.id, actor).await?;
        }
        Ok(())
    }
}

fn waits(bridge: &Job) -> bool {
    depends(&bridge.spec.0)
}

/// Whether a bridge waits for what it makes.
pub(crate) fn depends(bridge: &JobSpec) -> bool {
    bridge
        .trigger
        .as_ref()
        .is_some_and(|trigger| trigger.strategy != Strategy::None)
}
