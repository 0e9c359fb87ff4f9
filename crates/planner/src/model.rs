//! What there is: products with their releases, and what is installed in one environment. Names are turned to
//! numbers once, when a release is published, so that planning is work on integers.

use crate::{
    constraint::Constraint,
    version::{Matcher, Version},
};
use bascule_core::Timestamp;
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

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

/// A release as the catalogue keeps it: what many releases have in common is kept once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Its version.
    pub version: Version,
    /// Channels that it is in.
    pub channels: Arc<[String]>,
    /// Keys of the products that must be there, also where that is optional.
    pub needs: Arc<[Arc<str>]>,
    /// Set when it was called back.
    pub recalled: Option<Box<Recall>>,
    pub(crate) edges: Box<[Edge]>,
}

/// A dependency or incompatibility, resolved to levels of the other product. Sixteen bytes, as there are millions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Edge {
    to: u32,
    /// The other must be at least here; where this bars: the first level at which it must not be.
    least: u32,
    /// And at most here; where this bars: the last level at which it must not be.
    most: u32,
    /// Where the versions are written down, and the two marks below.
    bound: u32,
}

/// Counts only once the other is there.
const OPTIONAL: u32 = 1 << 31;
/// Says where the other must not be.
const BARS: u32 = 1 << 30;

impl Edge {
    pub const fn to(&self) -> ProductIndex {
        self.to as usize
    }

    pub const fn least(&self) -> Level {
        self.least as usize
    }

    pub const fn most(&self) -> Level {
        self.most as usize
    }

    pub const fn optional(&self) -> bool {
        self.bound & OPTIONAL != 0
    }

    pub const fn bars(&self) -> bool {
        self.bound & BARS != 0
    }

    /// Whether the other product may be at a level; 0: not there yet.
    pub const fn allows(&self, level: Level) -> bool {
        let (least, most) = (self.least(), self.most());
        if self.bars() {
            return level < least || level > most;
        }
        (level >= least || (self.optional() && level == 0)) && level <= most
    }

    /// Whether the other product need not be there.
    pub const fn spares(&self) -> bool {
        self.optional() || self.bars()
    }

    const fn written(&self) -> usize {
        (self.bound & !(OPTIONAL | BARS)) as usize
    }
}

/// Versions as they are written in a release; the same ones are kept once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Bound {
    minimum: Option<Version>,
    matcher: Matcher,
}

impl Bound {
    /// The two levels of an edge, among the releases of the product that it leads to.
    fn levels(&self, bars: bool, releases: &[Published]) -> (u32, u32) {
        let below = if bars {
            releases.partition_point(|known| self.below(&known.version))
        } else {
            self.minimum.as_ref().map_or(0, |minimum| {
                releases.partition_point(|known| known.version < *minimum)
            })
        };
        let most = releases.partition_point(|known| self.matcher.admits_up_to(&known.version));
        (small(below).saturating_add(1), small(most))
    }

    /// Whether a version lies below all that the matcher means. What it means lies together in the versions' order.
    fn below(&self, version: &Version) -> bool {
        self.matcher.admits_up_to(version) && !self.matcher.admits(version)
    }
}

/// What of a product's ranges makes planning harder.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Oddities {
    /// A newer release takes less of another product than an older one does, or bars it: then there may be no one
    /// newest target. A minimum that falls does no harm.
    pub falls: bool,
    /// Some release takes not all of another product: a first install then bounds what nothing bounded before.
    pub bounds: bool,
    /// Some release takes another product from a version on, or not at all.
    pub holes: bool,
}

/// A product and its releases.
#[derive(Clone, Debug, Default)]
pub(crate) struct Product {
    pub key: Arc<str>,
    pub one_by_one: bool,
    /// Oldest first.
    pub releases: Vec<Published>,
    /// Products with a release that names this one.
    pub named_by: Vec<ProductIndex>,
    pub odd: Oddities,
}

/// All products and their releases. A copy is cheap: it shares what neither side changes.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    pub(crate) products: Vec<Arc<Product>>,
    index: Arc<HashMap<Arc<str>, ProductIndex>>,
    common: Arc<Common>,
}

/// What many releases have in common.
#[derive(Clone, Debug, Default)]
struct Common {
    bounds: Vec<Bound>,
    places: HashMap<Bound, u32>,
    channels: HashSet<Arc<[String]>>,
    needs: HashSet<Arc<[Arc<str>]>>,
}

impl Common {
    fn bound(&mut self, bound: Bound) -> u32 {
        if let Some(place) = self.places.get(&bound) {
            return *place;
        }
        let place = small(self.bounds.len());
        self.bounds.push(bound.clone());
        self.places.insert(bound, place);
        place
    }

    fn channels(&mut self, channels: Vec<String>) -> Arc<[String]> {
        if let Some(known) = self.channels.get(channels.as_slice()) {
            return Arc::clone(known);
        }
        let new: Arc<[String]> = channels.into();
        self.channels.insert(Arc::clone(&new));
        new
    }

    fn needs(&mut self, needs: Vec<Arc<str>>) -> Arc<[Arc<str>]> {
        if let Some(known) = self.needs.get(needs.as_slice()) {
            return Arc::clone(known);
        }
        let new: Arc<[Arc<str>]> = needs.into();
        self.needs.insert(Arc::clone(&new));
        new
    }
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
        let key: Arc<str> = key.into();
        self.products.push(Arc::new(Product {
            key: Arc::clone(&key),
            ..Product::default()
        }));
        Arc::make_mut(&mut self.index).insert(key, number);
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
        self.products.get(product).map_or("", |p| &p.key)
    }

    /// A product's releases, oldest first.
    #[must_use]
    pub fn releases(&self, product: ProductIndex) -> &[Published] {
        self.products.get(product).map_or(&[], |p| p.releases.as_slice())
    }

    /// What the release at a level asks of other products, as it was published.
    #[must_use]
    pub fn dependencies(&self, product: ProductIndex, level: Level) -> Vec<Dependency> {
        let edges = self.edges(product, level).iter().filter(|edge| !edge.bars());
        edges
            .filter_map(|edge| {
                let bound = self.common.bounds.get(edge.written())?;
                Some(Dependency {
                    product: self.key(edge.to()).to_owned(),
                    minimum: bound.minimum.clone(),
                    maximum: bound.matcher.clone(),
                    optional: edge.optional(),
                })
            })
            .collect()
    }

    /// Says that a product's versions are taken one after the other and none is skipped.
    pub fn one_by_one(&mut self, product: ProductIndex, one_by_one: bool) {
        if let Some(product) = self.products.get_mut(product) {
            Arc::make_mut(product).one_by_one = one_by_one;
        }
    }

    /// Adds a release, or replaces the one of the same version (its channels or recall changed).
    pub fn publish(&mut self, product: ProductIndex, release: Release) {
        if product >= self.products.len() {
            return;
        }
        let mut published = self.take_in(product, release);
        for edge in &mut published.edges {
            self.resolve(edge);
        }
        let version = published.version.clone();
        let entry = Arc::make_mut(&mut self.products[product]);
        match entry
            .releases
            .binary_search_by(|known| known.version.cmp(&version))
        {
            Ok(at) => {
                entry.releases[at] = published;
                self.note(product);
            }
            Err(at) => {
                entry.releases.insert(at, published);
                self.note(product);
                // Levels of this product have moved.
                for other in self.products[product].named_by.clone() {
                    self.shift(other, product, &version);
                    self.note(other);
                }
            }
        }
    }

    /// Adds many releases of many products at once; quicker than one by one.
    pub fn publish_all(&mut self, all: impl IntoIterator<Item = (String, Vec<Release>)>) {
        for (key, mut releases) in all {
            let product = self.product(&key);
            if !self.products[product].releases.is_empty() {
                for release in releases {
                    self.publish(product, release);
                }
                continue;
            }
            releases.sort_by(|a, b| a.version.cmp(&b.version));
            let mut published: Vec<Published> = Vec::with_capacity(releases.len());
            for release in releases {
                let next = self.take_in(product, release);
                // Of two of the same version the later counts.
                if published.last().is_some_and(|last| last.version == next.version) {
                    published.pop();
                }
                published.push(next);
            }
            Arc::make_mut(&mut self.products[product]).releases = published;
        }
        for product in 0..self.products.len() {
            let mut entry = std::mem::take(&mut self.products[product]);
            for release in &mut Arc::make_mut(&mut entry).releases {
                for edge in &mut release.edges {
                    self.resolve(edge);
                }
            }
            self.products[product] = entry;
        }
        for product in 0..self.products.len() {
            self.note(product);
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
    pub fn at(&self, product: ProductIndex, level: Level) -> Option<&Published> {
        self.releases(product).get(level.checked_sub(1)?)
    }

    /// What a product asks of others at a level.
    pub(crate) fn edges(&self, product: ProductIndex, level: Level) -> &[Edge] {
        self.at(product, level).map_or(&[], |release| &release.edges)
    }

    /// Whether a minimum is written down, or any version will do.
    pub(crate) fn has_minimum(&self, edge: &Edge) -> bool {
        let bound = self.common.bounds.get(edge.written());
        bound.is_some_and(|bound| bound.minimum.is_some())
    }

    /// The range of an edge in words, as the product file writes it: `≥ 1.1.0 and ≤ 1.x.x`; empty where any version
    /// will do.
    pub(crate) fn range(&self, edge: &Edge) -> String {
        let Some(bound) = self.common.bounds.get(edge.written()) else {
            return String::new();
        };
        if edge.bars() {
            return bound.matcher.to_string();
        }
        let most = (bound.matcher != Matcher::any()).then(|| format!("≤ {}", bound.matcher));
        let least = bound.minimum.as_ref().map(|minimum| format!("≥ {minimum}"));
        let parts: Vec<String> = least.into_iter().chain(most).collect();
        parts.join(" and ")
    }

    /// A release as it is kept; its levels are not resolved yet. What a product asks of itself means nothing.
    fn take_in(&mut self, product: ProductIndex, release: Release) -> Published {
        let mut edges = Vec::with_capacity(release.dependencies.len() + release.incompatible.len());
        let mut needs = Vec::with_capacity(release.dependencies.len());
        let dependencies = release.dependencies.into_iter().map(|dependency| {
            let mark = if dependency.optional { OPTIONAL } else { 0 };
            (dependency.product, dependency.minimum, dependency.maximum, mark)
        });
        let incompatible = release
            .incompatible
            .into_iter()
            .map(|(key, matcher)| (key, None, matcher, BARS));
        for (key, minimum, matcher, mark) in dependencies.chain(incompatible) {
            let to = self.product(&key);
            if to == product {
                continue;
            }
            let named_by = &self.products[to].named_by;
            if named_by.last() != Some(&product) && !named_by.contains(&product) {
                Arc::make_mut(&mut self.products[to]).named_by.push(product);
            }
            if mark != BARS {
                needs.push(Arc::clone(&self.products[to].key));
            }
            let bound = Arc::make_mut(&mut self.common).bound(Bound { minimum, matcher });
            edges.push(Edge {
                to: small(to),
                least: 0,
                most: 0,
                bound: bound | mark,
            });
        }
        let common = Arc::make_mut(&mut self.common);
        Published {
            version: release.version,
            channels: common.channels(release.channels),
            needs: common.needs(needs),
            recalled: release.recalled.map(Box::new),
            edges: edges.into_boxed_slice(),
        }
    }

    /// Turns the versions of an edge into levels.
    fn resolve(&self, edge: &mut Edge) {
        if let Some(bound) = self.common.bounds.get(edge.written()) {
            (edge.least, edge.most) = bound.levels(edge.bars(), self.releases(edge.to()));
        }
    }

    /// Moves the levels of one product's edges to another, which has a new version: both ends are counts of the
    /// versions below them.
    fn shift(&mut self, product: ProductIndex, to: ProductIndex, version: &Version) {
        let to = small(to);
        let common = Arc::clone(&self.common);
        for release in &mut Arc::make_mut(&mut self.products[product]).releases {
            for edge in release.edges.iter_mut().filter(|edge| edge.to == to) {
                let Some(bound) = common.bounds.get(edge.written()) else {
                    continue;
                };
                let below = if edge.bars() {
                    bound.below(version)
                } else {
                    bound.minimum.as_ref().is_some_and(|minimum| version < minimum)
                };
                edge.least += u32::from(below);
                edge.most += u32::from(bound.matcher.admits_up_to(version));
            }
        }
    }

    fn note(&mut self, product: ProductIndex) {
        let releases = self.releases(product);
        let edges = || releases.iter().flat_map(|release| release.edges.iter());
        let odd = Oddities {
            falls: edges().any(Edge::bars)
                || releases
                    .windows(2)
                    .any(|pair| self.fall(&pair[0].edges, &pair[1].edges).is_some()),
            bounds: edges().any(|edge| edge.bars() || edge.most() < self.releases(edge.to()).len()),
            holes: edges().any(|edge| edge.optional() && edge.least > 1),
        };
        Arc::make_mut(&mut self.products[product]).odd = odd;
    }

    /// The product of which a newer release takes less than an older one.
    pub(crate) fn fall(&self, older: &[Edge], newer: &[Edge]) -> Option<ProductIndex> {
        let taken = |edges: &[Edge], to: u32| {
            edges
                .iter()
                .filter(|edge| edge.to == to && !edge.bars())
                .map(|edge| edge.most)
                .min()
        };
        newer
            .iter()
            .filter(|edge| !edge.bars() && edge.most() < self.releases(edge.to()).len())
            .find(|edge| taken(older, edge.to).is_none_or(|before| edge.most < before))
            .map(Edge::to)
    }
}

fn small(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX >> 2)
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
