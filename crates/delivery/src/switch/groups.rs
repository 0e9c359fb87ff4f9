//! Which groups there are in an environment: those that the plan tells of, and those that went back before. A plan
//! tries what failed no second time, and a person may.

use crate::plan::assemble::{Scene, World};
use bascule_planner::{Coupled, Environment, plan};
use std::collections::HashSet;

/// What a person's word is enough for: another try.
const TRIED: [&str; 2] = ["failed", "rolled_back"];

/// Whether a constraint of this kind keeps out what was tried before.
pub(super) fn of_a_try(kind: &str) -> bool {
    TRIED.contains(&kind)
}

/// All groups, those that the plan tells of first.
pub(super) fn groups(world: &World, scene: &Scene) -> Vec<Coupled> {
    let mut all = plan(&world.catalogue, &scene.environment).coupled;
    let Some(anew) = anew(&scene.environment) else {
        return all;
    };
    let known: HashSet<usize> = all.iter().flat_map(products).collect();
    let again = plan(&world.catalogue, &anew).coupled;
    // Where newer versions can switch, what went back is behind.
    all.extend(
        again
            .into_iter()
            .filter(|group| products(group).all(|one| !known.contains(&one))),
    );
    all
}

fn products(group: &Coupled) -> impl Iterator<Item = usize> {
    group.members.iter().map(|(product, ..)| *product)
}

/// The environment as if nothing had been tried there; `None` where nothing was.
fn anew(environment: &Environment) -> Option<Environment> {
    let tried = |install: &bascule_planner::Install| install.constraints.iter().any(|c| of_a_try(c.kind()));
    environment.installs.iter().any(tried).then(|| {
        let mut anew = environment.clone();
        for install in &mut anew.installs {
            install
                .constraints
                .retain(|constraint| !of_a_try(constraint.kind()));
        }
        anew
    })
}
