//! Secrets by which clusters pull the images that agents run. They open nothing else: who reads one in a cluster
//! cannot speak for its agent.

use super::{Agent, agents, store};
use crate::{Delivery, deployment::instances};
use bascule_core::{AgentId, Digest, ProjectId, Result};
use bascule_wire::agent::PullSecret;

/// What a pull secret begins with.
pub const PULL_SECRET: &str = "bpul-";

impl Delivery {
    /// A new secret for an agent; the one before it ends.
    pub(crate) async fn new_pull_secret(&self, agent: &Agent) -> Result<PullSecret> {
        let password = agents::new_token(PULL_SECRET.trim_end_matches('-'));
        let tx = self.db.begin().await?;
        store::set_pull_secret(&tx, agent.id, &agents::token_hash(&password), self.now()).await?;
        tx.commit().await?;
        tracing::info!(agent = agent.name, "a new pull secret was made");
        Ok(PullSecret {
            username: agent.name.clone(),
            password,
        })
    }

    /// The agent that a pull secret was made for.
    ///
    /// # Errors
    /// The database refused.
    pub async fn agent_by_pull_secret(&self, secret: &str) -> Result<Option<Agent>> {
        Ok(store::agent_by_pull_secret(&self.db, &agents::token_hash(secret)).await?)
    }

    /// Whether an agent runs what is in a file of a release.
    ///
    /// # Errors
    /// The database refused.
    pub async fn agent_runs(&self, agent: AgentId, artifact: &Digest) -> Result<bool> {
        Ok(instances::may_fetch(&self.db, agent, artifact).await?)
    }

    /// Whether an agent runs anything of a project.
    ///
    /// # Errors
    /// The database refused.
    pub async fn agent_serves(&self, agent: AgentId, project: ProjectId) -> Result<bool> {
        Ok(instances::serves_project(&self.db, agent, project).await?)
    }
}
