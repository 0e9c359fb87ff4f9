//! Rows put together into what the API and the pages show, in a fixed number of queries.

use crate::{
    Delivery,
    deployment::{self, Deployment, instances},
    environment::Environment,
    fleet,
    rollout::{self, store::Rollout},
};
use bascule_core::{DeploymentId, EnvironmentId, Problem, ProjectId, Result, RolloutId, Timestamp};
use bascule_store::Json;
use bascule_wire::delivery as dto;
use std::collections::{HashMap, HashSet};

/// Environments by their identifiers, for names.
pub(crate) type Names = HashMap<EnvironmentId, String>;

pub(crate) fn names(environments: &[Environment]) -> Names {
    environments
        .iter()
        .map(|environment| (environment.id, environment.name.clone()))
        .collect()
}

pub(crate) fn deployment(row: &Deployment, names: &Names, rollout: Option<RolloutId>) -> dto::Deployment {
    dto::Deployment {
        id: row.id,
        environment: row.environment_id,
        environment_name: names.get(&row.environment_id).cloned().unwrap_or_default(),
        release: row.release_id,
        version: row.version.clone(),
        cause: row.cause.clone(),
        actor: row.actor.clone(),
        status: row.status().as_str().to_owned(),
        reason: row.reason.clone(),
        forced: row.forced.clone(),
        artifact: row.artifact_digest.clone(),
        driver: row.product.0.driver.unwrap_or_default().as_str().to_owned(),
        rollout,
        created_at: row.created_at,
        exposed_at: row.exposed_at,
        finished_at: row.finished_at,
    }
}

/// An instance; `among` are those that its side's share is spread over.
pub(crate) fn instance(
    row: &deployment::Instance,
    version: &str,
    among: &[deployment::Instance],
) -> dto::Instance {
    let side = |other: &&deployment::Instance| {
        other.deployment_id == row.deployment_id && other.baseline == row.baseline && other.in_service()
    };
    let size = u32::try_from(among.iter().filter(side).count()).unwrap_or(u32::MAX);
    dto::Instance {
        id: row.id,
        deployment: row.deployment_id,
        version: version.to_owned(),
        state: row.state(),
        weight: row.weight() / size.max(1),
        baseline: row.baseline,
        address: row.address.clone(),
        restarts: row.restarts(),
        message: row.message.clone(),
        smoke: row.smoke.as_ref().map(|Json(smoke)| smoke.clone()),
        started_at: row.started_at,
    }
}

pub(crate) fn rollout(row: &Rollout, names: &Names, now: Timestamp) -> dto::Rollout {
    let down = |at: Timestamp| row.up_at.or(row.finished_at).unwrap_or(now).since(at);
    let numbers = row.judge.0.numbers();
    dto::Rollout {
        id: row.id,
        deployment: row.deployment_id,
        environment: row.environment_id,
        environment_name: names.get(&row.environment_id).cloned().unwrap_or_default(),
        version: row.version.clone(),
        baseline: row.baseline.clone(),
        status: row.status().as_str().to_owned(),
        weight: row.weight(),
        strategy: row.policy.0.strategy.as_str().to_owned(),
        replicas: row.policy.0.replicas,
        fresh: row.fresh,
        downtime_ms: row
            .down_at
            .map(|at| u64::try_from(down(at).as_millis()).unwrap_or(u64::MAX)),
        steps: row.policy.0.steps.clone(),
        plan: plan(row),
        step: u32::try_from(row.step).unwrap_or(0),
        step_at: row.step_at,
        step_ms: row.policy.0.time_at(row.step()),
        cause: row.cause.clone(),
        reason: row.reason.clone(),
        numbers: dto::RolloutNumbers {
            new_requests: numbers.new_requests,
            new_errors: numbers.new_errors,
            new_slow: numbers.new_slow,
            old_requests: numbers.old_requests,
            old_errors: numbers.old_errors,
            old_slow: numbers.old_slow,
            slices: numbers.slices,
            error_evidence: numbers.error_evidence,
            slow_evidence: numbers.slow_evidence,
            threshold: numbers.threshold,
        },
        first_error_at: row.first_error_at,
        created_at: row.created_at,
        finished_at: row.finished_at,
    }
}

/// The steps of a rollout and where each stands.
fn plan(row: &Rollout) -> Vec<dto::RolloutStep> {
    let Json(policy) = &row.policy;
    let status = row.status();
    policy
        .steps
        .iter()
        .enumerate()
        .map(|(step, weight)| {
            let state = match status {
                rollout::Status::Promoted => "done",
                _ if step < row.step() => "done",
                ended if ended.ended() && step > row.step() => "never",
                _ if step > row.step() => "ahead",
                rollout::Status::Aborted => "undone",
                rollout::Status::Superseded => "left",
                _ => "now",
            };
            dto::RolloutStep {
                weight: *weight,
                time_ms: if *weight < 100 { policy.time_at(step) } else { 0 },
                pause: policy.pauses.contains(&step),
                state: state.to_owned(),
            }
        })
        .collect()
}

impl Delivery {
    /// Environments with all that stands in them.
    pub(crate) async fn environment_views(
        &self,
        environments: &[Environment],
    ) -> Result<Vec<dto::Environment>> {
        let ids: Vec<EnvironmentId> = environments.iter().map(|e| e.id).collect();
        let names = names(environments);
        let instances = instances::in_environments(&self.db, &ids).await?;
        let open = deployment::store::open_in_all(&self.db, &ids).await?;
        let wanted: HashSet<DeploymentId> = environments
            .iter()
            .filter_map(|e| e.serving_id)
            .chain(instances.iter().map(|i| i.deployment_id))
            .chain(open.iter().map(|d| d.id))
            .collect();
        let wanted: Vec<DeploymentId> = wanted.into_iter().collect();
        let known: HashMap<_, _> = deployment::store::some(&self.db, &wanted)
            .await?
            .into_iter()
            .map(|d| (d.id, d))
            .collect();
        let rollouts = self.rollouts_of(&wanted).await?;
        let agents = fleet::store::agents(&self.db).await?;
        let apart = self.apart(environments).await?;
        let reports = self.reports(apart.clone()).await?;
        let told = |e: &Environment| {
            let reported = reports.get(&e.name).filter(|_| e.agent_id.is_none())?;
            let mut installs = reported.body.0.installs.iter();
            let install = installs.find(|install| install.product == e.project_path);
            Some(dto::ToldServing {
                version: install.map(|i| i.version.clone()).unwrap_or_default(),
                health: install.map(|i| i.health.clone()).unwrap_or_default(),
                at: reported.body.0.at,
                sequence: reported.sequence,
            })
        };
        let view = |d: &Deployment| deployment(d, &names, rollouts.get(&d.id).copied());
        let version = |id: &DeploymentId| known.get(id).map_or("", |d| d.version.as_str());
        Ok(environments
            .iter()
            .map(|e| {
                let agent = agents.iter().find(|agent| Some(agent.id) == e.agent_id);
                let mine = instances.iter().filter(|i| i.environment_id == e.id);
                let apart = e.agent_id.is_none() && apart.contains(&e.name);
                dto::Environment {
                    id: e.id,
                    project: e.project_path.clone(),
                    name: e.name.clone(),
                    tier: e.tier(),
                    // An address of ours leads to nothing that no network reaches.
                    url: e.url.clone().filter(|_| !apart),
                    agent: agent.map(|agent| agent.name.clone()),
                    agent_online: agent.is_some_and(|agent| agent.online),
                    serving: e.serving_id.and_then(|id| known.get(&id)).map(view),
                    active: open.iter().find(|d| d.environment_id == e.id).map(view),
                    instances: mine
                        .map(|i| instance(i, version(&i.deployment_id), &instances))
                        .collect(),
                    told: if apart { told(e) } else { None },
                    apart,
                }
            })
            .collect())
    }

    pub(crate) async fn rollouts_of(
        &self,
        deployments: &[DeploymentId],
    ) -> Result<HashMap<DeploymentId, RolloutId>> {
        let rows = deployment::store::rollouts_of(&self.db, deployments).await?;
        Ok(rows.into_iter().map(|row| (row.deployment_id, row.id)).collect())
    }

    /// A page of a project's deployments, newest first.
    pub(crate) async fn deployment_views(
        &self,
        project: ProjectId,
        environment: Option<&str>,
        before: Option<DeploymentId>,
        limit: i64,
    ) -> Result<Vec<dto::Deployment>> {
        let environments = self.environments(project).await?;
        let environment = match environment {
            None | Some("") => None,
            Some(name) => match environments.iter().find(|e| e.name == name) {
                Some(environment) => Some(environment.id),
                None => return Err(Problem::not_found("environment")),
            },
        };
        let which = deployment::store::Which {
            project,
            environment,
            before,
            limit,
        };
        let rows = deployment::store::list(&self.db, which).await?;
        let ids: Vec<DeploymentId> = rows.iter().map(|d| d.id).collect();
        let rollouts = self.rollouts_of(&ids).await?;
        let names = names(&environments);
        Ok(rows
            .iter()
            .map(|d| deployment(d, &names, rollouts.get(&d.id).copied()))
            .collect())
    }

    /// One deployment of a project, with its instances.
    pub(crate) async fn deployment_view(
        &self,
        project: ProjectId,
        id: DeploymentId,
    ) -> Result<(dto::Deployment, Vec<dto::Instance>)> {
        let row = deployment::store::get(&self.db, id)
            .await?
            .filter(|d| d.project_id == project);
        let Some(row) = row else {
            return Err(Problem::not_found("deployment"));
        };
        let names = names(&self.environments(project).await?);
        let rollout = self.rollouts_of(&[id]).await?.get(&id).copied();
        let running = instances::of_deployment(&self.db, id).await?;
        let running = running
            .iter()
            .filter(|i| !i.baseline && !i.held())
            .map(|i| instance(i, &row.version, &running))
            .collect();
        Ok((deployment(&row, &names, rollout), running))
    }

    /// One rollout of a project.
    pub(crate) async fn rollout_row(&self, project: ProjectId, id: RolloutId) -> Result<Rollout> {
        let row = rollout::store::get(&self.db, id)
            .await?
            .filter(|r| r.project_id == project);
        row.ok_or_else(|| Problem::not_found("rollout"))
    }

    /// One rollout of a project, for showing.
    pub(crate) async fn rollout_view(&self, project: ProjectId, id: RolloutId) -> Result<dto::Rollout> {
        let row = self.rollout_row(project, id).await?;
        Ok(rollout(
            &row,
            &names(&self.environments(project).await?),
            self.now(),
        ))
    }
}
