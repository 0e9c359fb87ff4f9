//! What others' facts do here.

use crate::{
    Delivery, ReleaseInfo, catalogue,
    deployment::Order,
    environment,
    plan::{self, Change},
};
use async_trait::async_trait;
use bascule_core::{Actor, Problem};
use bascule_ledger::{
    BoxError, Entry, Fact as _, Subscriber, decode,
    facts::{
        delivery::ProductRefused,
        forge::{BranchUpdated, ProjectChanged, ProjectCreated},
        identity::GroupCreated,
        incidents::{IncidentOpened, IncidentResolved},
        supplychain::ReleasePublished,
    },
};
use bascule_wire::agent::Driver;
use std::collections::BTreeMap;

/// A release was published: if it describes a product, it goes to staging by itself.
pub(crate) struct OnRelease(pub(crate) Delivery);

#[async_trait]
impl Subscriber for OnRelease {
    fn name(&self) -> &'static str {
        "delivery.release"
    }

    fn kinds(&self) -> Vec<&'static str> {
        vec![ReleasePublished::KIND]
    }

    async fn handle(&self, entry: &Entry) -> Result<(), BoxError> {
        let fact: ReleasePublished = decode(entry)?;
        self.0
            .on_release(&fact)
            .await
            .map_err(|problem| Box::new(problem) as BoxError)
    }
}

/// The environments project was pushed to, or an incident holds or frees a product: plans are made anew.
pub(crate) struct OnEnvironments(pub(crate) Delivery);

#[async_trait]
impl Subscriber for OnEnvironments {
    fn name(&self) -> &'static str {
        "delivery.environments"
    }

    fn kinds(&self) -> Vec<&'static str> {
        vec![
            BranchUpdated::KIND,
            IncidentOpened::KIND,
            IncidentResolved::KIND,
            ProjectCreated::KIND,
            ProjectChanged::KIND,
            ReleasePublished::KIND,
            GroupCreated::KIND,
        ]
    }

    async fn handle(&self, entry: &Entry) -> Result<(), BoxError> {
        let boxed = |problem: Problem| Box::new(problem) as BoxError;
        // What a file named before it existed may exist now.
        let comes = [ProjectCreated::KIND, ProjectChanged::KIND, ReleasePublished::KIND];
        if comes.contains(&entry.kind.as_str()) {
            return self.0.resolve_unknown().await.map_err(boxed);
        }
        if entry.kind == GroupCreated::KIND {
            let fact: GroupCreated = decode(entry)?;
            return self.0.group_is_there(&fact.name).await.map_err(boxed);
        }
        if entry.kind != BranchUpdated::KIND {
            let tx = self.0.db.begin().await?;
            let project = if entry.kind == IncidentOpened::KIND {
                let fact: IncidentOpened = decode(entry)?;
                plan::store::incident_opened(&tx, fact.incident, fact.project, fact.number).await?;
                fact.project
            } else {
                let fact: IncidentResolved = decode(entry)?;
                plan::store::incident_over(&tx, fact.incident).await?;
                fact.project
            };
            self.0.replan_for(&tx, Change::Project(project)).await?;
            tx.commit().await?;
            return Ok(());
        }
        let fact: BranchUpdated = decode(entry)?;
        let (Some(sha), true) = (&fact.after, fact.default) else {
            return Ok(());
        };
        let home = self
            .0
            .ports
            .projects
            .find(&self.0.ports.environments)
            .await
            .map_err(boxed)?;
        if home == Some(fact.project) {
            self.0.sync_sites(fact.project, sha).await.map_err(boxed)?;
        }
        Ok(())
    }
}

impl Delivery {
    async fn on_release(&self, fact: &ReleasePublished) -> Result<(), Problem> {
        let release = ReleaseInfo {
            id: fact.release,
            project: fact.project,
            version: fact.version.clone(),
            sha: fact.sha.clone(),
        };
        let Some(path) = self.ports.projects.path(fact.project).await? else {
            return Ok(());
        };
        let Some(found) = self.product_of(&release, &BTreeMap::new()).await? else {
            return Ok(());
        };
        let tx = self.db.begin().await?;
        // The same transaction marks the release and creates the deployment, so a second offer finds it done.
        if !environment::store::take_release(&tx, fact.release, self.now()).await? {
            return Ok(());
        }
        match found {
            Err(reason) => {
                let refused = ProductRefused {
                    project: fact.project,
                    release: fact.release,
                    reason,
                };
                self.ledger.append(&tx, &Actor::system(), &refused).await?;
            }
            Ok((product, part)) => {
                self.ensure_environments(&tx, fact.project, &path).await?;
                environment::store::set_product(&tx, fact.project, fact.release, &product, self.now())
                    .await?;
                catalogue::store::put(&tx, &release, &product.relations, self.now()).await?;
                self.weigh(&tx, fact.release).await?;
                // An agent goes where a file installs it: this instance's own machine has one already.
                let is_agent = product.driver == Some(Driver::Agent);
                if let Some(staging) = environment::store::by_name(&tx, fact.project, "staging").await?
                    && !is_agent
                    // What a file declares is moved by its plan.
                    && !environment::store::declared(&tx, staging.id).await?
                {
                    let order = Order {
                        release,
                        product,
                        part,
                        cause: "release",
                        forced: String::new(),
                        settings: BTreeMap::new(),
                    };
                    self.create(&tx, &Actor::system(), &staging, order).await?;
                }
            }
        }
        self.replan_for(&tx, Change::Product(fact.project)).await?;
        tx.commit().await?;
        Ok(())
    }
}
