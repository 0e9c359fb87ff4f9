//! What is told of an install besides its plan. It holds nothing.

use super::{
    Stored,
    assemble::{Scene, World},
    store::Place,
};
use crate::{catalogue::Listed, site::store::Misnamed};
use bascule_core::ProjectId;
use bascule_planner::{Matcher, Version};
use std::collections::HashMap;

/// A version of another product that a release is best run with.
#[derive(Clone, Debug)]
pub(crate) struct Recommended {
    product: String,
    minimum: Option<Version>,
    maximum: Matcher,
    version: Version,
}

/// By product and version, where a release recommends any.
pub(super) type Recommendations = HashMap<(ProjectId, String), Vec<Recommended>>;

/// What a release recommends.
pub(super) fn recommended(listed: &Listed) -> Vec<Recommended> {
    let dependencies = listed.relations.0.dependencies.iter();
    let all = dependencies.filter_map(|dependency| {
        Some(Recommended {
            product: dependency.product.clone(),
            minimum: dependency.minimum.parse().ok(),
            maximum: dependency.maximum.parse().unwrap_or(Matcher::any()),
            version: dependency.recommended.parse().ok()?,
        })
    });
    all.collect()
}

impl Recommended {
    /// What is said where `runs` will do, and is older than what is recommended.
    fn remark(&self, runs: &Version) -> Option<String> {
        let will_do =
            self.minimum.as_ref().is_none_or(|least| runs >= least) && self.maximum.admits_up_to(runs);
        (will_do && *runs < self.version).then(|| {
            format!(
                "runs with {} {runs}; {} is recommended",
                self.product, self.version
            )
        })
    }
}

/// What runs beside a product that is older than what its release recommends.
pub(super) fn beside(world: &World, scene: &Scene, place: &Place) -> Vec<String> {
    let Some(version) = &place.serving_version else {
        return Vec::new();
    };
    let asked = world.recommended.get(&(place.project_id, version.clone()));
    let remark = |asked: &Recommended| {
        let other = scene
            .places
            .iter()
            .find(|other| other.project_path == asked.product)?;
        asked.remark(&other.serving_version.as_ref()?.parse().ok()?)
    };
    asked.into_iter().flatten().filter_map(remark).collect()
}

/// Adds to what is told of an install what nothing else says of it. What moves tells of its move alone.
pub(super) fn say_remarks(stored: &mut Stored, world: &World, scene: &Scene, place: &Place) {
    if matches!(stored.state.as_str(), "ready" | "moving") {
        return;
    }
    let own = |named: &&Misnamed| {
        place.declared && (named.product.is_empty() || named.product == place.project_path)
    };
    let names = scene.misnamed.iter().filter(own).map(|named| named.text.clone());
    for remark in names.chain(beside(world, scene, place)) {
        if !stored.why.contains(&remark) {
            stored.why = format!("{}; {remark}", stored.why);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_will_do_and_is_older_is_remarked_on() {
        let asked = Recommended {
            product: "health/auth".into(),
            minimum: "2.1.0".parse().ok(),
            maximum: "2.x.x".parse().unwrap(),
            version: "2.3.1".parse().unwrap(),
        };
        let said = |runs: &str| asked.remark(&runs.parse().unwrap());
        assert_eq!(
            said("2.1.0").as_deref(),
            Some("runs with health/auth 2.1.0; 2.3.1 is recommended")
        );
        for other in ["2.0.0", "2.3.1", "2.4.0", "3.0.0"] {
            assert_eq!(said(other), None, "{other}");
        }
    }
}
