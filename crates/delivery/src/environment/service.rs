//! Reading environments for others, and making those that a product needs.

use super::{DEFAULT, Environment, store, tier_name};
use crate::{Delivery, deployment, product::Slo};
use bascule_core::{Actor, EnvironmentId, ProjectId, Result, Timestamp};
use bascule_ledger::facts::delivery::EnvironmentCreated;
use bascule_store::{Result as StoreResult, Tx};

impl Delivery {
    /// A project's environments.
    ///
    /// # Errors
    /// The database refused.
    pub async fn environments(&self, project: ProjectId) -> Result<Vec<Environment>> {
        Ok(store::of_project(&self.db, project).await?)
    }

    /// One environment.
    ///
    /// # Errors
    /// The database refused.
    pub async fn environment(&self, id: EnvironmentId) -> Result<Option<Environment>> {
        Ok(store::get(&self.db, id).await?)
    }

    /// Every environment of the instance, a page of them after a project path, for those who watch over all.
    ///
    /// # Errors
    /// The database refused.
    pub async fn all_environments(&self, after: &str, limit: i64) -> Result<Vec<Environment>> {
        Ok(store::all(&self.db, after, limit).await?)
    }

    /// The promise that stands in an environment; `None` before the first product file was read.
    ///
    /// # Errors
    /// The database refused.
    pub async fn slo(&self, environment: EnvironmentId) -> Result<Option<Slo>> {
        let Some(environment) = store::get(&self.db, environment).await? else {
            return Ok(None);
        };
        Ok(store::slo(&self.db, &environment).await?)
    }

    /// The version that serves in an environment, and since when.
    ///
    /// # Errors
    /// The database refused.
    pub async fn serving(&self, environment: EnvironmentId) -> Result<Option<(String, Timestamp)>> {
        let Some(environment) = store::get(&self.db, environment).await? else {
            return Ok(None);
        };
        let Some(id) = environment.serving_id else {
            return Ok(None);
        };
        let serving = deployment::store::get(&self.db, id).await?;
        Ok(serving.map(|d| (d.version, d.finished_at.unwrap_or(d.created_at))))
    }

    /// Makes the environments that every product has, where they are missing.
    pub(crate) async fn ensure_environments(
        &self,
        tx: &Tx,
        project: ProjectId,
        path: &str,
    ) -> StoreResult<()> {
        store::set_path(tx, project, path).await?;
        for (name, tier) in DEFAULT {
            let environment = Environment {
                id: EnvironmentId::new(),
                project_id: project,
                project_path: path.to_owned(),
                name: name.to_owned(),
                tier: tier_name(tier).to_owned(),
                agent_id: None,
                serving_id: None,
                port: None,
                url: None,
                created_at: self.now(),
            };
            if store::create(tx, &environment).await? {
                let fact = EnvironmentCreated {
                    project,
                    environment: environment.id,
                    name: environment.name,
                    tier: environment.tier,
                };
                self.ledger.append(tx, &Actor::system(), &fact).await?;
                self.bump(tx, crate::fleet::Channel::Edge).await?;
            }
        }
        Ok(())
    }
}
