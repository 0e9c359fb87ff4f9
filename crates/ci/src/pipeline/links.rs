//! The pipelines above and below another, as far as someone may see them.

use super::{Pipeline, store};
use crate::{Ci, job};
use bascule_core::{Actor, JobId, Permission, ProjectId, Result};
use bascule_wire::ci::LinkedPipeline;
use std::collections::{HashMap, hash_map::Entry};

/// What stands above and below a pipeline.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Links {
    /// The pipeline whose bridge made it.
    pub upstream: Option<LinkedPipeline>,
    /// The pipelines that its bridges made, in their order.
    pub downstream: Vec<LinkedPipeline>,
}

impl Ci {
    /// What stands above and below a pipeline. Those of other projects only where `actor` may read pipelines there.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub async fn pipeline_links(&self, pipeline: &Pipeline, actor: &Actor) -> Result<Links> {
        let above = match pipeline.parent_id {
            Some(id) => store::find(&self.db, id).await?,
            None => None,
        };
        let below = store::children(&self.db, pipeline.id).await?;
        if above.is_none() && below.is_empty() {
            return Ok(Links::default());
        }
        let bridges: Vec<JobId> = below
            .iter()
            .chain([pipeline])
            .filter_map(|one| one.parent_job_id)
            .collect();
        let names = job::store::names(&self.db, &bridges).await?;
        // Each project is asked about once.
        let mut paths: HashMap<ProjectId, Option<String>> = HashMap::new();
        for project in below.iter().chain(&above).map(|one| one.project_id) {
            if let Entry::Vacant(place) = paths.entry(project) {
                place.insert(self.path_for(project, pipeline.project_id, actor).await?);
            }
        }
        let told = |one: &Pipeline, bridge: Option<JobId>| {
            let project = paths.get(&one.project_id).cloned().flatten()?;
            Some(LinkedPipeline {
                id: one.id,
                project,
                name: one.name.clone(),
                status: one.status.to_string(),
                job: bridge,
                job_name: bridge.and_then(|id| names.get(&id).cloned()),
                child: one.source == super::CHILD,
            })
        };
        Ok(Links {
            upstream: above
                .as_ref()
                .and_then(|above| told(above, pipeline.parent_job_id)),
            downstream: below
                .iter()
                .filter_map(|one| told(one, one.parent_job_id))
                .collect(),
        })
    }

    /// The path of a project, if it may be told.
    async fn path_for(&self, project: ProjectId, own: ProjectId, actor: &Actor) -> Result<Option<String>> {
        let may = project == own || self.reach().may(actor, project, Permission::PipelineRead).await?;
        if !may {
            return Ok(None);
        }
        Ok(self.code.project(project).await?.map(|info| info.path()))
    }
}
