//! The instances of an environment as a rollout tells them apart: by deployment, never by instance.

use super::Seen;
use crate::deployment::Instance;
use bascule_core::{DeploymentId, InstanceId};
use bascule_wire::agent::InstanceState;

/// Who is who in an environment. Instances that are gone are in none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sides {
    /// Those of the deployment that is being rolled out.
    pub new: Vec<Instance>,
    /// All others: as a rule of the deployment that served before, after an interrupted rollout of several.
    pub old: Vec<Instance>,
    /// Those that stand only to be compared with.
    pub baseline: Vec<Instance>,
}

impl Sides {
    pub fn of(deployment: DeploymentId, living: Vec<Instance>) -> Self {
        let (new, others): (Vec<_>, Vec<_>) = living
            .into_iter()
            .partition(|instance| instance.deployment_id == deployment);
        let (baseline, old) = others.into_iter().partition(|instance| instance.baseline);
        Self { new, old, baseline }
    }
}

/// Identifiers of those that a test picks.
pub(crate) fn pick(instances: &[Instance], test: impl Fn(&Instance) -> bool) -> Vec<InstanceId> {
    instances
        .iter()
        .filter(|instance| test(instance))
        .map(|instance| instance.id)
        .collect()
}

/// Restarts of those that a test picks, all together.
pub(crate) fn restarts(instances: &[Instance], test: impl Fn(&Instance) -> bool) -> u32 {
    instances
        .iter()
        .filter(|instance| test(instance))
        .fold(0, |sum, instance| sum.saturating_add(instance.restarts()))
}

/// The shares of the new version, of a fresh baseline and of what served before. A baseline instance gets what one
/// of the new instances gets, so that both do the same work.
pub(crate) fn shares(weight: u32, new: usize, fresh: bool) -> (u32, u32, u32) {
    let rest = 100_u32.saturating_sub(weight);
    if !fresh {
        return (weight, 0, rest);
    }
    let each = weight / u32::try_from(new).unwrap_or(u32::MAX).max(1);
    let baseline = each.max(1).min(rest);
    (weight, baseline, rest - baseline)
}

/// How bad a state is, the worst last.
const fn badness(state: InstanceState) -> u8 {
    match state {
        InstanceState::Healthy => 0,
        InstanceState::Fetching | InstanceState::Starting | InstanceState::Draining => 1,
        InstanceState::Unhealthy => 2,
        InstanceState::Stopped => 3,
        InstanceState::Crashed => 4,
        InstanceState::Failed => 5,
    }
}

impl Seen {
    /// A side as one: the worst of its instances speaks, the longest ill of these; restarts are counted together.
    pub(crate) fn side<'a>(instances: impl Iterator<Item = &'a Instance> + Clone) -> Self {
        let worst = instances
            .clone()
            .max_by_key(|i| (badness(i.state()), std::cmp::Reverse(i.state_at)));
        let reported: Option<Vec<_>> = instances.clone().map(|i| i.reported_at).collect();
        let Some(worst) = worst else {
            return Self {
                state: InstanceState::Stopped,
                since: bascule_core::Timestamp::from_micros(0),
                restarts: 0,
                reported_at: None,
                message: "no instance is left".to_owned(),
            };
        };
        Self {
            state: worst.state(),
            since: worst.state_at,
            restarts: instances.fold(0, |sum, i| sum.saturating_add(i.restarts())),
            reported_at: reported.and_then(|all| all.into_iter().min()),
            message: worst.message.clone(),
        }
    }
}
