//! What the pages' forms do.

use super::{base, see};
use crate::{Delivery, rollout::service::Act};
use axum::extract::State;
use bascule_core::{DeploymentId, RolloutId};
use bascule_web::{Answer, FormBody, InProject, PathOf, Who};
use bascule_wire::delivery::NewDeployment;
use serde::Deserialize;

#[derive(Deserialize)]
pub(super) struct DeployForm {
    version: String,
    environment: String,
    #[serde(default)]
    force: Option<String>,
    #[serde(default)]
    reason: String,
}

pub(super) async fn deploy(
    State(delivery): State<Delivery>,
    who: Who,
    project: InProject,
    FormBody(form): FormBody<DeployForm>,
) -> Answer {
    let new = NewDeployment {
        version: form.version,
        environment: form.environment,
        force: form.force.is_some(),
        reason: form.reason,
    };
    let id = delivery
        .deploy(&who, project.id, |permission| project.holds(permission), &new)
        .await?;
    Ok(see(&format!("{}/deployments/{id}", base(&project))))
}

#[derive(Deserialize)]
pub(super) struct ActForm {
    #[serde(default)]
    reason: String,
}

pub(super) async fn cancel(
    State(delivery): State<Delivery>,
    who: Who,
    project: InProject,
    PathOf((_, _, id)): PathOf<(String, String, DeploymentId)>,
    FormBody(form): FormBody<ActForm>,
) -> Answer {
    delivery
        .cancel(
            &who,
            project.id,
            |permission| project.holds(permission),
            id,
            &form.reason,
        )
        .await?;
    Ok(see(&format!("{}/deployments/{id}", base(&project))))
}

type At = PathOf<(String, String, RolloutId)>;

async fn act(
    delivery: &Delivery,
    who: &Who,
    project: &InProject,
    at: &At,
    act: Act,
    form: &ActForm,
) -> Answer {
    let PathOf((_, _, id)) = at;
    delivery
        .act_on_rollout(who, project.id, *id, act, &form.reason)
        .await?;
    Ok(see(&format!("{}/rollouts/{id}", base(project))))
}

pub(super) async fn promote(
    State(delivery): State<Delivery>,
    who: Who,
    project: InProject,
    at: At,
    FormBody(form): FormBody<ActForm>,
) -> Answer {
    act(&delivery, &who, &project, &at, Act::Promote, &form).await
}

pub(super) async fn pause(
    State(delivery): State<Delivery>,
    who: Who,
    project: InProject,
    at: At,
    FormBody(form): FormBody<ActForm>,
) -> Answer {
    act(&delivery, &who, &project, &at, Act::Pause, &form).await
}

pub(super) async fn resume(
    State(delivery): State<Delivery>,
    who: Who,
    project: InProject,
    at: At,
    FormBody(form): FormBody<ActForm>,
) -> Answer {
    act(&delivery, &who, &project, &at, Act::Resume, &form).await
}

pub(super) async fn abort(
    State(delivery): State<Delivery>,
    who: Who,
    project: InProject,
    at: At,
    FormBody(form): FormBody<ActForm>,
) -> Answer {
    act(&delivery, &who, &project, &at, Act::Abort, &form).await
}
