//! Resource groups: of the jobs that name the same one, one runs at a time in a project, and who comes next is the
//! group's process mode.

pub(crate) mod api;
pub(crate) mod store;

use crate::{Ci, job, pipeline, status::JobStatus};
use bascule_core::{Actor, JobId, PipelineId, Problem, ProjectId, Result};
use bascule_ledger::facts::forge::ProjectChanged;
use bascule_wire::ci as wire;

/// Which of the jobs that wait comes next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Whichever is ready.
    #[default]
    Unordered,
    /// That of the oldest pipeline; one that is not ready yet is waited for.
    OldestFirst,
    /// That of the newest pipeline; one that is not ready yet is waited for.
    NewestFirst,
    /// That of the newest pipeline among those that are ready.
    NewestReadyFirst,
}

impl Mode {
    /// All modes.
    pub const ALL: [Self; 4] = [
        Self::Unordered,
        Self::OldestFirst,
        Self::NewestFirst,
        Self::NewestReadyFirst,
    ];

    /// GitLab's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unordered => "unordered",
            Self::OldestFirst => "oldest_first",
            Self::NewestFirst => "newest_first",
            Self::NewestReadyFirst => "newest_ready_first",
        }
    }

    /// Reads the word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.as_str() == word)
    }
}

/// What a job that waits for its resource group waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The job that has it.
    pub job: JobId,
    /// Its name.
    pub name: String,
    /// Its pipeline.
    pub pipeline: PipelineId,
}

impl Ci {
    /// Gives free resource groups to those that wait.
    pub(crate) async fn give_resources(&self) -> Result<()> {
        for (project, group) in store::waited_for(&self.db).await? {
            // What fails for one keeps no other back.
            if let Err(problem) = self.give_resource(project, &group).await {
                tracing::warn!(%problem, %project, group, "a resource group could not be given away");
            }
        }
        Ok(())
    }

    async fn give_resource(&self, project: ProjectId, group: &str) -> Result<()> {
        let tx = self.db.begin().await?;
        // Two replicas that give the same group away come one after the other; the group is locked before the
        // pipeline, everywhere.
        let mode = store::lock(&tx, project, group).await?;
        if store::holder(&tx, project, group).await?.is_some() {
            return Ok(());
        }
        let Some(next) = store::next(&tx, project, group, mode).await? else {
            return Ok(());
        };
        let Some(pipeline) = pipeline::store::find(&tx, next.pipeline_id).await? else {
            return Ok(());
        };
        pipeline::store::lock(&tx, pipeline.id).await?;
        let Some(job) = job::store::find(&tx, next.id).await? else {
            return Ok(());
        };
        // In an ordered group the next one may not be ready; then all wait.
        if job.status != JobStatus::WaitingForResource {
            return Ok(());
        }
        let status = pipeline::state::ready(job.bridge, false);
        job::store::set_waiting(&tx, job.id, status, self.clock.now()).await?;
        self.settle(&tx, &pipeline, &Actor::system()).await?;
        Ok(tx.commit().await?)
    }

    /// Why a job that waits for its resource group does not have it yet; empty for other jobs.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub async fn why_resource_waits(&self, job: &job::Job) -> Result<String> {
        let Some(group) = &job.resource_group else {
            return Ok(String::new());
        };
        if job.status != JobStatus::WaitingForResource {
            return Ok(String::new());
        }
        if let Some(holder) = store::holder(&self.db, job.project_id, group).await? {
            return Ok(format!(
                "The resource group `{group}` is in use by the job {} ({}) of pipeline {}.",
                holder.name, holder.job, holder.pipeline
            ));
        }
        let mode = store::mode(&self.db, job.project_id, group).await?;
        Ok(match store::next(&self.db, job.project_id, group, mode).await? {
            Some(next) if next.id != job.id => format!(
                "In the resource group `{group}` (`{}`) the job {} of pipeline {} comes first, and that one waits for \
                 what stands before it: let it go on, or cancel it.",
                mode.as_str(),
                next.id,
                next.pipeline_id
            ),
            _ => format!("The resource group `{group}` is free; it is given away now."),
        })
    }

    /// The resource groups of a project, by name.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub async fn resource_groups(&self, project: ProjectId) -> Result<Vec<wire::ResourceGroup>> {
        Ok(store::list(&self.db, project).await?)
    }

    /// Sets who comes next in a resource group.
    ///
    /// # Errors
    /// There is no such mode or group.
    pub async fn set_resource_mode(
        &self,
        project: ProjectId,
        group: &str,
        mode: &str,
        actor: &Actor,
    ) -> Result<wire::ResourceGroup> {
        let mode = Mode::parse(mode).ok_or_else(|| {
            let all: Vec<&str> = Mode::ALL.iter().map(|mode| mode.as_str()).collect();
            Problem::invalid("bad_mode", "There is no such process mode.")
                .next(format!("Use one of {}.", all.join(", ")))
        })?;
        let unknown = || {
            Problem::not_found("resource group")
                .why("A group comes into being with the first job that names it.")
        };
        let known = self.resource_groups(project).await?;
        if !known.iter().any(|one| one.key == group) {
            return Err(unknown());
        }
        let tx = self.db.begin().await?;
        store::lock(&tx, project, group).await?;
        store::set_mode(&tx, project, group, mode).await?;
        let fact = ProjectChanged {
            project,
            setting: "resource_group".to_owned(),
            value: format!("{group}: {}", mode.as_str()),
        };
        self.ledger.append(&tx, actor, &fact).await?;
        let signals = self.signals.clone();
        tx.after_commit(move || signals.engine.notify_one());
        tx.commit().await?;
        let groups = self.resource_groups(project).await?;
        groups
            .into_iter()
            .find(|one| one.key == group)
            .ok_or_else(unknown)
    }
}
