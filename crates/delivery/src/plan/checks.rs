//! Which environments a release is checked against before it is published.

use super::assemble::World;
use bascule_planner::{Environment, Release};
use std::collections::HashSet;

/// Declared environments as they are. Where nobody declared what belongs together only the product itself counts,
/// if it runs there, and what the release asks for: a stranger's range must not hold up a project's own work.
pub(super) fn environments(world: &World, path: &str, release: &Release) -> Vec<Environment> {
    let own = world.catalogue.find(path);
    let asked: HashSet<_> = release
        .dependencies
        .iter()
        .map(|dependency| &dependency.product)
        .chain(release.incompatible.iter().map(|(product, _)| product))
        .filter_map(|product| world.catalogue.find(product))
        .chain(own)
        .collect();
    world
        .scenes
        .iter()
        .filter_map(|scene| {
            let mut environment = scene.environment.clone();
            if scene.site.is_none() {
                let runs = environment
                    .installs
                    .iter()
                    .any(|install| Some(install.product) == own && install.current.is_some());
                if !runs {
                    return None;
                }
                environment
                    .installs
                    .retain(|install| asked.contains(&install.product));
            }
            Some(environment)
        })
        .collect()
}
