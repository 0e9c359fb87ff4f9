//! What others' facts do here.

use crate::{
    Incidents,
    incident::{Cause, Noticed, is_incident, store},
};
use async_trait::async_trait;
use bascule_ledger::{
    BoxError, Entry, Filter, Page, Subscriber, decode,
    facts::{
        delivery::{DeploymentCreated, EnvironmentCreated, RolloutFinished},
        forge::ProjectCreated,
        incidents::IncidentResolved,
        telemetry::{AlertClosed, AlertOpened},
    },
};

/// Opens incidents, and keeps the names of projects and environments.
pub struct Watch(pub Incidents);

#[async_trait]
impl Subscriber for Watch {
    fn name(&self) -> &'static str {
        "incidents.watch"
    }

    fn kinds(&self) -> Vec<&'static str> {
        vec![
            "project.created",
            "environment.created",
            "rollout.finished",
            "alert.opened",
            "alert.closed",
        ]
    }

    async fn handle(&self, entry: &Entry) -> Result<(), BoxError> {
        let incidents = &self.0;
        match entry.kind.as_str() {
            "project.created" => {
                let fact: ProjectCreated = decode(entry)?;
                let tx = incidents.db.begin().await?;
                store::know_project(&tx, fact.project, &fact.path).await?;
                tx.commit().await?;
            }
            "environment.created" => {
                let fact: EnvironmentCreated = decode(entry)?;
                let tx = incidents.db.begin().await?;
                store::know_environment(&tx, fact.environment, fact.project, &fact.name, &fact.tier).await?;
                tx.commit().await?;
            }
            "rollout.finished" => {
                let fact: RolloutFinished = decode(entry)?;
                if is_incident(&fact) {
                    incidents.notice(&of_rollout(entry, fact)).await?;
                }
            }
            "alert.opened" => {
                let fact: AlertOpened = decode(entry)?;
                let deployment = self.deployment(&fact).await?;
                incidents.notice(&of_alert(entry, fact, deployment)).await?;
            }
            "alert.closed" => {
                let fact: AlertClosed = decode(entry)?;
                let tx = incidents.db.begin().await?;
                store::alert_over(&tx, &fact.alert, fact.at).await?;
                tx.commit().await?;
            }
            _ => {}
        }
        Ok(())
    }
}

impl Watch {
    /// The newest deployment of the version that an alert blames.
    async fn deployment(&self, alert: &AlertOpened) -> Result<Option<String>, BoxError> {
        let Some(version) = &alert.version else {
            return Ok(None);
        };
        let filter = Filter {
            kinds: vec!["deployment.created".to_owned()],
            project: Some(alert.project),
            ..Filter::default()
        };
        let newest = self
            .0
            .ledger
            .read(
                &filter,
                Page::Newest {
                    before: None,
                    limit: 50,
                },
            )
            .await?;
        Ok(newest
            .iter()
            .filter_map(Entry::fact::<DeploymentCreated>)
            .find(|fact| fact.environment == alert.environment && fact.version == *version)
            .map(|fact| fact.deployment.to_string()))
    }
}

fn of_rollout(entry: &Entry, fact: RolloutFinished) -> Noticed {
    Noticed {
        fact: entry.id,
        seq: entry.seq,
        kind: entry.kind.clone(),
        cause: Cause::Rollout,
        project: fact.project,
        environment: fact.environment,
        deployment: Some(fact.deployment.to_string()),
        alert: None,
        title: format!(
            "{} was undone in {}: {}",
            fact.version, fact.environment_name, fact.reason
        ),
        began_at: fact.first_error_at.or(fact.exposed_at).unwrap_or(fact.at),
        detected_at: fact.at,
        restored_at: Some(fact.at),
        environment_name: fact.environment_name,
        version: Some(fact.version),
    }
}

fn of_alert(entry: &Entry, fact: AlertOpened, deployment: Option<String>) -> Noticed {
    Noticed {
        fact: entry.id,
        seq: entry.seq,
        kind: entry.kind.clone(),
        cause: Cause::Alert,
        project: fact.project,
        environment: fact.environment,
        deployment,
        title: format!(
            "{} burns its error budget {:.0} times too fast in {}",
            fact.slo, fact.burn_rate, fact.environment_name
        ),
        began_at: fact.began_at,
        detected_at: fact.at,
        restored_at: None,
        alert: Some(fact.alert),
        environment_name: fact.environment_name,
        version: fact.version,
    }
}

/// Commits the draft of a post-mortem once an incident is resolved.
pub struct WritePostmortem(pub Incidents);

#[async_trait]
impl Subscriber for WritePostmortem {
    fn name(&self) -> &'static str {
        "incidents.postmortem"
    }

    fn kinds(&self) -> Vec<&'static str> {
        vec!["incident.resolved"]
    }

    async fn handle(&self, entry: &Entry) -> Result<(), BoxError> {
        let fact: IncidentResolved = decode(entry)?;
        Ok(self.0.write_postmortem(fact.incident).await?)
    }
}
