//! The planner against a search of everything, on made-up catalogues of the kind that is measured: on monotone ranges it finds the one newest state, on others it is
//! never unsafe.

use bascule_planner::{
    Catalogue, Environment, State, Version, plan,
    sample::{Numbers, Shape, sample, version},
};
use proptest::prelude::*;

/// All consistent states, as levels from 1.
fn consistent(catalogue: &Catalogue, environment: &Environment, versions: u64) -> Vec<Vec<u64>> {
    let count = environment.installs.len();
    let mut all = Vec::new();
    let mut state = vec![1_u64; count];
    loop {
        if holds(catalogue, environment, &state) {
            all.push(state.clone());
        }
        let Some(at) = state.iter().position(|level| *level < versions) else {
            return all;
        };
        state[at] += 1;
        state[..at].fill(1);
    }
}

/// Read from the releases themselves, not from the planner's own tables.
fn holds(catalogue: &Catalogue, environment: &Environment, state: &[u64]) -> bool {
    environment.installs.iter().zip(state).all(|(install, level)| {
        let wanted = version(*level);
        let level = catalogue.level(install.product, &wanted).unwrap();
        catalogue
            .dependencies(install.product, level)
            .iter()
            .all(|dependency| {
                let other = catalogue.find(&dependency.product).unwrap();
                let at = environment
                    .installs
                    .iter()
                    .position(|i| i.product == other)
                    .unwrap();
                let there: Version = version(state[at]);
                dependency.minimum.as_ref().is_none_or(|m| *m <= there)
                    && dependency.maximum.admits_up_to(&there)
            })
    })
}

fn levels(environment: &Environment) -> Vec<u64> {
    environment
        .installs
        .iter()
        .map(|i| level(i.current.as_ref().unwrap()))
        .collect()
}

fn level(v: &Version) -> u64 {
    v.to_string().split('.').nth(1).unwrap().parse().unwrap()
}

fn check(seed: u64, products: usize, versions: u64, dependencies: usize, monotone: bool) {
    let shape = Shape {
        products,
        versions,
        dependencies,
        monotone,
    };
    let (catalogue, mut environment) = sample(seed, shape);
    assert!(
        holds(&catalogue, &environment, &levels(&environment)),
        "the sample begins consistent"
    );
    let best = if monotone {
        let all = consistent(&catalogue, &environment, versions);
        let newest = (0..products)
            .map(|at| all.iter().map(|s| s[at]).max().unwrap())
            .collect::<Vec<_>>();
        assert!(all.contains(&newest), "a lattice has a top");
        let target: Vec<u64> = plan(&catalogue, &environment)
            .installs
            .iter()
            .map(|p| level(p.target.as_ref().unwrap()))
            .collect();
        assert_eq!(target, newest, "seed {seed}");
        Some(newest)
    } else {
        None
    };
    // Steps taken in any order keep it consistent, also when several are under way at once.
    let mut numbers = Numbers(seed);
    for _ in 0..products * to_usize(versions) * 2 {
        let now = plan(&catalogue, &environment);
        let ready: Vec<_> = now
            .installs
            .iter()
            .filter(|p| p.state == State::Ready)
            .cloned()
            .collect();
        if ready.is_empty() {
            if let Some(group) = now.coupled.first() {
                for (product, _, to) in &group.members {
                    let install = environment
                        .installs
                        .iter_mut()
                        .find(|i| i.product == *product)
                        .unwrap();
                    install.current = Some(to.clone());
                }
                assert!(
                    holds(&catalogue, &environment, &levels(&environment)),
                    "a group step, seed {seed}"
                );
                continue;
            }
            if let Some(best) = &best {
                assert_eq!(
                    &levels(&environment),
                    best,
                    "steps end at the target, seed {seed}"
                );
            }
            return;
        }
        for planned in &ready {
            if numbers.below(3) > 0 || ready.len() == 1 {
                let install = environment
                    .installs
                    .iter_mut()
                    .find(|i| i.product == planned.product)
                    .unwrap();
                install.current = planned.step.as_ref().map(|step| step.to.clone());
                assert!(
                    holds(&catalogue, &environment, &levels(&environment)),
                    "seed {seed}"
                );
            }
        }
    }
    panic!("no end of steps, seed {seed}");
}

fn to_usize(n: u64) -> usize {
    usize::try_from(n).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn on_monotone_ranges_the_target_is_the_newest_there_is(seed in any::<u64>(), products in 2_usize..5, versions in 2_u64..5, dependencies in 1_usize..9) {
        check(seed, products, versions, dependencies, true);
    }

    #[test]
    fn on_other_ranges_no_step_is_unsafe(seed in any::<u64>(), products in 2_usize..5, versions in 2_u64..5, dependencies in 1_usize..9) {
        check(seed, products, versions, dependencies, false);
    }
}
