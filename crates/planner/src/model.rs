//! What there is: products with their releases, and what is installed in one environment. Names are turned to
//! numbers once, when a release is published, so that planning is work on integers.

use crate::{
    constraint::Constraint,
    version::{Matcher, Version},
};
use bascule_core::Timestamp;
use std::{collections::HashMap, sync::Arc};

/// A product's number in a [`Catalogue`].
pub type ProductIndex = usize;
/// How far an install is: 0 for not installed, n for the n-th oldest release of its product.
pub type Level = usize;

/// A release, as its product file describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// Its version.
    pub version: Version,
    /// Products that must be there.
    pub dependencies: Vec<Dependency>,
    /// Products that must not be there, in some versions.
    pub incompatible: Vec<(String, Matcher)>,
    /// Channels that it is in.
    pub channels: Vec<String>,
    /// Set when it was called back.
    pub recalled: Option<Recall>,
}

impl Release {
    /// A release without dependencies, in no channel.
    #[must_use]
    pub const fn plain(version: Version) -> Self {
        Self {
            version,
            dependencies: Vec::new(),
            incompatible: Vec::new(),
            channels: Vec::new(),
            recalled: None,
        }
    }
}

/// Another product that must be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dependency {
    /// The product's key.
    pub product: String,
    /// The oldest version that will do.
    pub minimum: Option<Version>,
    /// The newest that will do.
    pub maximum: Matcher,
    /// Whether it counts only where the product is installed.
    pub optional: bool,
}

/// Why a release was called back, and how far an environment may go back when there is no way forward.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recall {
    /// Why.
    pub reason: String,
    /// The oldest version that may be gone back to; `None`: only forward.
    pub floor: Option<Version>,
}

/// A dependency or incompatibility, resolved to levels of the other product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Edge {
    pub to: ProductIndex,
    /// The other must be at least here; 0: it need not be there.
    pub least: Level,
    /// And at most here.
    pub most: Level,
    /// `least` counts only once the other is there.
    pub optional: bool,
    /// Levels at which it must not be.
    pub barred: Vec<Level>,
}

impl Edge {
    /// Whether the other product may be at a level.
    pub fn allows(&self, level: Level) -> bool {
        let enough = level >= self.least || (self.optional && level == 0);
        enough && level <= self.most && !self.barred.contains(&level)
    }
}

/// A product and its releases.
#[derive(Clone, Debug, Default)]
pub(crate) struct Product {
    pub key: String,
    pub one_by_one: bool,
    /// Oldest first.
    pub releases: Vec<Release>,
    /// For each release, what it asks of others.
    pub edges: Vec<Vec<Edge>>,
    /// Products with a release that names this one.
    pub named_by: Vec<ProductIndex>,
    /// Whether a newer release asks for less of another product than an older one does, or bars it: then the
    /// newest target is not found by lowering alone.
    pub falls: bool,
}

/// All products and their releases.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    pub(crate) products: Vec<Product>,
    index: HashMap<String, ProductIndex>,
}

impl Catalogue {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The number of a product; it is given one where it is not known yet.
    pub fn product(&mut self, key: &str) -> ProductIndex {
        if let Some(found) = self.index.get(key) {
            return *found;
        }
        let number = self.products.len();
        self.products.push(Product {
            key: key.to_owned(),
            ..Product::default()
        });
        self.index.insert(key.to_owned(), number);
        number
    }

    /// The number of a product that is known.
    #[must_use]
    pub fn find(&self, key: &str) -> Option<ProductIndex> {
        self.index.get(key).copied()
    }

    /// A product's key.
    #[must_use]
    pub fn key(&self, product: ProductIndex) -> &str {
        self.products.get(product).map_or("", |p| p.key.as_str())
    }

    /// A product's releases, oldest first.
    #[must_use]
    pub fn releases(&self, product: ProductIndex) -> &[Release] {
        self.products.get(product).map_or(&[], |p| p.releases.as_slice())
    }

    /// Says that a product's versions are taken one after the other and none is skipped.
    pub fn one_by_one(&mut self, product: ProductIndex, one_by_one: bool) {
        if let Some(product) = self.products.get_mut(product) {
            product.one_by_one = one_by_one;
        }
    }

    /// Adds a release, or replaces the one of the same version (its channels or recall changed).
    pub fn publish(&mut self, product: ProductIndex, release: Release) {
        for other in release
            .dependencies
            .iter()
            .map(|d| &d.product)
            .chain(release.incompatible.iter().map(|(p, _)| p))
        {
            let other = self.product(other);
            if let Some(other) = self.products.get_mut(other)
                && !other.named_by.contains(&product)
            {
                other.named_by.push(product);
            }
        }
        let Some(entry) = self.products.get_mut(product) else {
            return;
        };
        match entry
            .releases
            .binary_search_by(|known| known.version.cmp(&release.version))
        {
            Ok(at) => {
                entry.releases[at] = release;
                self.resolve(product, at);
                self.note_falls(product);
            }
            Err(at) => {
                entry.releases.insert(at, release);
                entry.edges.insert(at, Vec::new());
                self.resolve(product, at);
                self.note_falls(product);
                // Levels of this product have moved: whoever names it is resolved again.
                for other in self.products[product].named_by.clone() {
                    for at in 0..self.releases(other).len() {
                        self.resolve(other, at);
                    }
                    self.note_falls(other);
                }
            }
        }
    }

    /// Adds many releases of many products at once; quicker than one by one.
    pub fn publish_all(&mut self, all: impl IntoIterator<Item = (String, Vec<Release>)>) {
        for (key, mut releases) in all {
            let product = self.product(&key);
            releases.sort_by(|a, b| a.version.cmp(&b.version));
            for release in &releases {
                for other in release
                    .dependencies
                    .iter()
                    .map(|d| &d.product)
                    .chain(release.incompatible.iter().map(|(p, _)| p))
                {
                    let other = self.product(other);
                    if self.products[other].named_by.last() != Some(&product)
                        && !self.products[other].named_by.contains(&product)
                    {
                        self.products[other].named_by.push(product);
                    }
                }
            }
            let entry = &mut self.products[product];
            entry.edges = vec![Vec::new(); releases.len()];
            entry.releases = releases;
        }
        for product in 0..self.products.len() {
            for at in 0..self.products[product].releases.len() {
                self.resolve(product, at);
            }
            self.note_falls(product);
        }
    }

    /// The level of a version.
    #[must_use]
    pub fn level(&self, product: ProductIndex, version: &Version) -> Option<Level> {
        self.releases(product)
            .binary_search_by(|known| known.version.cmp(version))
            .ok()
            .map(|at| at + 1)
    }

    /// The release at a level.
    #[must_use]
    pub fn at(&self, product: ProductIndex, level: Level) -> Option<&Release> {
        self.releases(product).get(level.checked_sub(1)?)
    }

    /// What a product asks of others at a level.
    pub(crate) fn edges(&self, product: ProductIndex, level: Level) -> &[Edge] {
        level
            .checked_sub(1)
            .and_then(|at| self.products.get(product)?.edges.get(at))
            .map_or(&[], Vec::as_slice)
    }

    /// Turns names and versions of one release into numbers and levels.
    fn resolve(&mut self, product: ProductIndex, at: usize) {
        let Some(release) = self.products.get(product).and_then(|p| p.releases.get(at)) else {
            return;
        };
        let mut edges: Vec<Edge> = Vec::with_capacity(release.dependencies.len());
        for dependency in &release.dependencies {
            let Some(to) = self.find(&dependency.product) else {
                continue;
            };
            let releases = self.releases(to);
            let below = dependency.minimum.as_ref().map_or(0, |minimum| {
                releases.partition_point(|known| known.version < *minimum)
            });
            edges.push(Edge {
                to,
                least: below + 1,
                most: releases.partition_point(|known| dependency.maximum.admits_up_to(&known.version)),
                optional: dependency.optional,
                barred: Vec::new(),
            });
        }
        for (key, matcher) in &release.incompatible {
            let Some(to) = self.find(key) else { continue };
            let barred = self
                .releases(to)
                .iter()
                .enumerate()
                .filter(|(_, known)| matcher.admits(&known.version))
                .map(|(at, _)| at + 1)
                .collect();
            edges.push(Edge {
                to,
                least: 0,
                most: usize::MAX,
                optional: true,
                barred,
            });
        }
        self.products[product].edges[at] = edges;
    }

    fn note_falls(&mut self, product: ProductIndex) {
        let edges = &self.products[product].edges;
        let falls = edges
            .windows(2)
            .any(|pair| self.fall(&pair[0], &pair[1]).is_some())
            || edges.iter().flatten().any(|edge| !edge.barred.is_empty());
        self.products[product].falls = falls;
    }

    /// The product of which a newer release asks for less than an older one, at either end.
    pub(crate) fn fall(&self, older: &[Edge], newer: &[Edge]) -> Option<ProductIndex> {
        let gone = older.iter().find(|edge| {
            edge.least > 0
                && newer
                    .iter()
                    .find(|next| next.to == edge.to)
                    .is_none_or(|next| next.least < edge.least)
        });
        let tighter = newer.iter().find(|edge| {
            let all = self.releases(edge.to).len();
            edge.most < all
                && older
                    .iter()
                    .find(|before| before.to == edge.to)
                    .is_none_or(|before| edge.most < before.most)
        });
        gone.or(tighter).map(|edge| edge.to)
    }
}

/// A product that belongs in an environment.
#[derive(Clone, Debug)]
pub struct Install {
    /// Which.
    pub product: ProductIndex,
    /// What runs; `None`: nothing yet.
    pub current: Option<Version>,
    /// What is being put there now, beside what runs.
    pub moving: Option<Version>,
    /// Whether pre-releases may be chosen.
    pub prereleases: bool,
    /// What else bears on it.
    pub constraints: Vec<Arc<dyn Constraint>>,
    /// Time without service when it must stop for a change, in seconds: what a coupled switch costs.
    pub restart_seconds: u64,
}

impl Install {
    /// An install on which nothing else bears.
    #[must_use]
    pub const fn new(product: ProductIndex, current: Option<Version>) -> Self {
        Self {
            product,
            current,
            moving: None,
            prereleases: false,
            constraints: Vec::new(),
            restart_seconds: 10,
        }
    }
}

/// One environment, as it is.
#[derive(Clone, Debug)]
pub struct Environment {
    /// Its name.
    pub name: String,
    /// What belongs there, each product once.
    pub installs: Vec<Install>,
    /// The present, as the caller knows it.
    pub now: Timestamp,
}
