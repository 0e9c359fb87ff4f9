//! Made-up catalogues and environments, the same for the same seed: for tests and measurements.

use crate::{
    model::{Catalogue, Dependency, Environment, Install, Release},
    version::{Matcher, Version},
};
use bascule_core::Timestamp;

/// How large, and of what kind.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Products.
    pub products: usize,
    /// Releases of each.
    pub versions: u64,
    /// Dependencies between two products; each has a range in every release.
    pub dependencies: usize,
    /// Whether ranges never fall as a product gets newer.
    pub monotone: bool,
}

/// A small, good enough stream of numbers (splitmix64, Steele, Lea, Flood 2014).
#[derive(Clone, Debug)]
pub struct Numbers(pub u64);

impl Numbers {
    /// The next number below `bound`; 0 where the bound is 0.
    pub const fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        if bound == 0 { 0 } else { z % bound }
    }
}

/// The version at a level.
#[must_use]
pub const fn version(level: u64) -> Version {
    Version::new(1, level, 0)
}

/// A product's key.
#[must_use]
pub fn key(product: usize) -> String {
    format!("group/p{product}")
}

/// A product that another names, and the seed of the range in each of that one's releases.
type Named = (usize, u64);

/// A catalogue, and an environment in which every product is installed in its oldest release.
#[must_use]
pub fn sample(seed: u64, shape: Shape) -> (Catalogue, Environment) {
    let mut numbers = Numbers(seed);
    let mut dependencies: Vec<Vec<Named>> = vec![Vec::new(); shape.products];
    for n in 0..shape.dependencies {
        let products = shape.products as u64;
        let from = if n < shape.products {
            n
        } else {
            to_usize(numbers.below(products))
        };
        let to = to_usize(numbers.below(products));
        if from != to && dependencies[from].iter().all(|(known, _)| *known != to) {
            dependencies[from].push((to, numbers.below(u64::MAX)));
        }
    }
    let mut catalogue = Catalogue::new();
    catalogue.publish_all(dependencies.iter().enumerate().map(|(product, named)| {
        let named: Vec<_> = named
            .iter()
            .map(|(to, seed)| (to, ranges(&mut Numbers(*seed), shape)))
            .collect();
        let releases = (1..=shape.versions).map(|level| {
            let mut release = Release::plain(version(level));
            for (to, ranges) in &named {
                let Some((least, most)) = ranges.get(to_usize(level - 1)) else {
                    continue;
                };
                release.dependencies.push(Dependency {
                    product: key(**to),
                    minimum: Some(version(*least)),
                    maximum: Matcher::Exactly(version(*most)),
                    optional: false,
                });
            }
            release
        });
        (key(product), releases.collect())
    }));
    let installs = (0..shape.products)
        .filter_map(|product| Some(Install::new(catalogue.find(&key(product))?, Some(version(1)))))
        .collect();
    let environment = Environment {
        name: "sample".to_owned(),
        installs,
        now: Timestamp::from_seconds(0),
    };
    (catalogue, environment)
}

/// For each level of a product, the range of another. The lowest levels go together.
fn ranges(numbers: &mut Numbers, shape: Shape) -> Vec<(u64, u64)> {
    let versions = shape.versions;
    let mut leasts: Vec<u64> = (0..versions)
        .map(|level| 1 + numbers.below(level.saturating_mul(4) / 5 + 1))
        .collect();
    let mut mosts: Vec<u64> = (0..versions)
        .map(|level| (1 + level + numbers.below(versions)).min(versions))
        .collect();
    if shape.monotone {
        leasts.sort_unstable();
        mosts.sort_unstable();
    }
    leasts[0] = 1;
    leasts
        .into_iter()
        .zip(mosts)
        .map(|(least, most)| (least, most.max(least)))
        .collect()
}

fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(0)
}
