//! Plans in words: as stored, and as told by the API.

use super::{
    Stored,
    assemble::{Scene, World},
    state_name, store,
};
use crate::site;
use bascule_core::Timestamp;
use bascule_planner::{Coupled, Explainer, Lift, Planned, State, Verdict, Version};
use bascule_store::Json;
use bascule_wire::delivery as dto;
use std::collections::{BTreeMap, BTreeSet};

/// What a declaration gives a product, above its own.
pub(crate) fn declared_settings(scene: &Scene, place: &store::Place) -> BTreeMap<String, String> {
    scene
        .site
        .as_ref()
        .filter(|_| place.declared)
        .map(|site| site.settings_of(&place.project_path))
        .unwrap_or_default()
}

/// What differs from the declaration, field by field.
pub(super) fn drift(scene: &Scene, place: &store::Place) -> Vec<String> {
    let (Some(Json(runs)), true) = (&place.settings, place.declared) else {
        return Vec::new();
    };
    let should = declared_settings(scene, place);
    let names: BTreeSet<&String> = runs.keys().chain(should.keys()).collect();
    let text =
        |value: Option<&String>| value.map_or_else(|| "unset".to_owned(), |value| format!("`{value}`"));
    names
        .into_iter()
        .filter(|name| runs.get(*name) != should.get(*name))
        .map(|name| {
            let what = if name == site::DRIVER {
                "the driver".to_owned()
            } else {
                format!("the variable {name}")
            };
            format!(
                "{what} is {}, and should be {}",
                text(runs.get(name)),
                text(should.get(name))
            )
        })
        .collect()
}

/// Whether the version that runs was recalled and has to stay for now.
fn runs_recalled(planned: &Planned) -> bool {
    planned.target == planned.current
}

/// A plan in words.
pub(super) fn told(
    world: &World,
    explainer: &Explainer<'_>,
    planned: &Planned,
    coupled: &[Coupled],
    declared: bool,
) -> Stored {
    let text = |version: Option<&Version>| version.map(ToString::to_string).unwrap_or_default();
    let key = world.catalogue.key(planned.product);
    let target = text(planned.target.as_ref());
    let step = text(planned.step.as_ref().map(|step| &step.to));
    let about = |version: &Version| explainer.explain(key, version).sentence;
    let why = match (planned.state, &planned.step, &planned.target) {
        (State::Blocked, None, _) if runs_recalled(planned) => {
            explainer.stays_recalled(key).unwrap_or_default()
        }
        (State::UpToDate, _, Some(version)) => {
            let newest = world
                .catalogue
                .releases(planned.product)
                .last()
                .map(|r| &r.version);
            match newest {
                Some(newest) if newest > version => about(newest),
                _ => format!("{version} is the newest that may be here"),
            }
        }
        (State::UpToDate, ..) => "nothing may be here yet".to_owned(),
        (State::Moving, ..) => "a deployment is under way".to_owned(),
        (State::Ready, Some(step), _) if step.back => {
            format!("goes back to {}: what runs was recalled", step.to)
        }
        (State::Ready, Some(step), _) if declared => format!("{} is put here now", step.to),
        (State::Ready, Some(step), _) => format!("{} can be put here", step.to),
        (State::Coupled, _, _) => {
            let group = coupled.iter().find(|group| {
                group
                    .members
                    .iter()
                    .any(|(product, ..)| *product == planned.product)
            });
            let names: Vec<String> = group
                .into_iter()
                .flat_map(|group| &group.members)
                .map(|(product, _, to)| format!("{} {to}", world.catalogue.key(*product)))
                .collect();
            let seconds = group.map_or(0, |group| group.downtime_seconds);
            format!(
                "can only switch together: {}; about {seconds} seconds without service, on a person's word (`bascule plan switch`)",
                names.join(", ")
            )
        }
        (_, Some(step), _) => about(&step.to),
        (_, None, Some(version)) => about(version),
        (_, None, None) => String::new(),
    };
    Stored {
        environment_id: bascule_core::EnvironmentId::new(),
        state: state_name(planned.state).to_owned(),
        current: text(planned.current.as_ref()),
        target,
        step,
        why,
        verdicts: Json(planned.verdicts.clone()),
        at: Timestamp::default(),
    }
}

pub(super) fn entry(place: &store::Place, stored: Stored) -> dto::PlanEntry {
    let Json(verdicts) = stored.verdicts;
    dto::PlanEntry {
        environment: place.name.clone(),
        tier: if place.tier == "production" {
            bascule_wire::agent::Tier::Production
        } else {
            bascule_wire::agent::Tier::Staging
        },
        product: place.project_path.clone(),
        declared: place.declared,
        state: stored.state,
        current: stored.current,
        target: stored.target,
        step: stored.step,
        why: stored.why,
        verdicts: verdicts.into_iter().map(verdict).collect(),
        at: stored.at,
    }
}

/// What a constraint says.
pub(crate) fn verdict(verdict: Verdict) -> dto::PlanVerdict {
    dto::PlanVerdict {
        kind: verdict.kind,
        why: verdict.why,
        lifts: verdict.lifts.as_ref().map(lift).unwrap_or_default(),
    }
}

pub(super) fn lift(lift: &Lift) -> String {
    match lift {
        Lift::At(at) => at.to_string(),
        Lift::When(event) => event.clone(),
    }
}
