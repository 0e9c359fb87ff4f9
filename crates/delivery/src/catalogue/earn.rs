//! What a release has to do before it enters a channel: the rule, pure.

use super::{
    Listed,
    store::{Approved, Served},
};
use crate::product::ChannelRule;
use bascule_core::{ReleaseId, Timestamp};
use bascule_planner::constraint::Wait;
use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

/// What a release waits for before it enters a channel; nothing: it has earned it. `served` is where it serves.
pub(crate) fn waits_for(
    listed: &Listed,
    rule: &ChannelRule,
    served: &[&Served],
    approved: &[Approved],
    now: Timestamp,
) -> Vec<Wait> {
    let long = Duration::from_millis(rule.soak_ms);
    let mut waits = Vec::new();
    for environment in &rule.soak_in {
        let row = served.iter().find(|row| row.environment == *environment);
        let since = row.map(|row| row.since);
        if since.is_none_or(|since| now.since(since) < long) {
            waits.push(Wait::Soak {
                environment: environment.clone(),
                until: since.map(|since| since.plus(long)),
            });
        }
    }
    let scope = format!("channel:{}", rule.name);
    let given = rule.approval.is_empty()
        || approved.iter().any(|given| {
            given.project_id == listed.project_id
                && given.version == listed.version
                && given.scope == scope
                && given.team == rule.approval
        });
    if !given {
        waits.push(Wait::Approval(rule.approval.clone()));
    }
    waits
}

/// The environments in which some releases have to serve before they enter a channel: nobody asks about others.
pub(crate) fn soaks<'a>(listed: impl IntoIterator<Item = &'a Listed>) -> Vec<&'a str> {
    let rules = listed.into_iter().flat_map(|listed| &listed.relations.0.channels);
    let names: BTreeSet<&str> = rules.flat_map(|rule| &rule.soak_in).map(String::as_str).collect();
    names.into_iter().collect()
}

/// Where each release serves.
pub(crate) fn by_release(served: &[Served]) -> HashMap<ReleaseId, Vec<&Served>> {
    let mut all: HashMap<_, Vec<_>> = HashMap::new();
    for row in served {
        all.entry(row.release_id).or_default().push(row);
    }
    all
}
