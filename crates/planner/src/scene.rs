//! An environment as numbers, and the questions that the solver asks of it.

use crate::{
    constraint::{Candidate, Scope, Verdict},
    model::{Catalogue, Edge, Environment, Install, Level, ProductIndex},
    version::Version,
};

/// An environment as numbers: for each install the levels it is at, moves to, and may reach.
pub(crate) struct Scene<'a> {
    pub catalogue: &'a Catalogue,
    pub environment: &'a Environment,
    /// Where a product is among the installs.
    place: Vec<u32>,
    pub current: Vec<Level>,
    /// Where it is moving; its current level where it is not.
    pub moving: Vec<Level>,
}

const NOWHERE: u32 = u32::MAX;

impl<'a> Scene<'a> {
    pub fn new(catalogue: &'a Catalogue, environment: &'a Environment) -> Self {
        let mut place = vec![NOWHERE; catalogue.products.len()];
        for (at, install) in environment.installs.iter().enumerate() {
            if let Some(place) = place.get_mut(install.product) {
                *place = u32::try_from(at).unwrap_or(NOWHERE);
            }
        }
        let level = |install: &Install, version: &Option<Version>| {
            version
                .as_ref()
                .and_then(|version| catalogue.level(install.product, version))
                .unwrap_or(0)
        };
        let current: Vec<Level> = environment
            .installs
            .iter()
            .map(|i| level(i, &i.current))
            .collect();
        let moving = environment
            .installs
            .iter()
            .zip(&current)
            .map(|(i, current)| {
                if i.moving.is_some() {
                    level(i, &i.moving)
                } else {
                    *current
                }
            })
            .collect();
        Self {
            catalogue,
            environment,
            place,
            current,
            moving,
        }
    }

    pub fn len(&self) -> usize {
        self.current.len()
    }

    pub fn install(&self, at: usize) -> &'a Install {
        &self.environment.installs[at]
    }

    pub fn place(&self, product: ProductIndex) -> Option<usize> {
        let place = *self.place.get(product)?;
        (place != NOWHERE).then_some(place as usize)
    }

    pub fn edges(&self, at: usize, level: Level) -> &'a [Edge] {
        self.catalogue.edges(self.install(at).product, level)
    }

    /// Installs of products that name this one in some release.
    pub fn dependents(&self, at: usize) -> impl Iterator<Item = usize> + '_ {
        let product = self.install(at).product;
        self.catalogue.products[product]
            .named_by
            .iter()
            .filter_map(|by| self.place(*by))
    }

    pub fn version(&self, at: usize, level: Level) -> Option<&'a Version> {
        self.catalogue
            .at(self.install(at).product, level)
            .map(|release| &release.version)
    }

    pub fn key(&self, at: usize) -> &'a str {
        self.catalogue.key(self.install(at).product)
    }

    pub fn newest(&self, at: usize) -> Level {
        self.catalogue.releases(self.install(at).product).len()
    }

    pub fn is_moving(&self, at: usize) -> bool {
        self.moving[at] != self.current[at]
    }

    /// Whether a version may be chosen at all.
    pub fn allowed(&self, at: usize, level: Level) -> bool {
        let install = self.install(at);
        let Some(release) = self.catalogue.at(install.product, level) else {
            return false;
        };
        if release.recalled.is_some() || (release.version.is_prerelease() && !install.prereleases) {
            return false;
        }
        install.constraints.is_empty()
            || install
                .constraints
                .iter()
                .filter(|constraint| constraint.scope() == Scope::Version)
                .all(|constraint| constraint.judge(&self.candidate(at, release)).is_none())
    }

    fn candidate<'b>(&'b self, at: usize, release: &'b crate::Release) -> Candidate<'b> {
        let install = self.install(at);
        Candidate {
            product: self.catalogue.key(install.product),
            from: install.current.as_ref(),
            release,
            now: self.environment.now,
        }
    }

    /// The highest allowed level from `most` down to `least`.
    pub fn highest(&self, at: usize, least: Level, most: Level) -> Option<Level> {
        (least..=most).rev().find(|level| self.allowed(at, *level))
    }

    /// What each constraint says of a level.
    pub fn verdicts(&self, at: usize, level: Level) -> Vec<Verdict> {
        let install = self.install(at);
        let Some(release) = self.catalogue.at(install.product, level) else {
            return Vec::new();
        };
        let mut all = vec![
            Verdict::of("prerelease", self.prerelease_hold(at, release)),
            Verdict::of("recall", recall_hold(release)),
        ];
        let candidate = self.candidate(at, release);
        all.extend(
            install
                .constraints
                .iter()
                .map(|constraint| Verdict::of(constraint.kind(), constraint.judge(&candidate))),
        );
        all
    }

    /// The holds on a level, of one scope.
    pub fn holds(&self, at: usize, level: Level, scope: Scope) -> Vec<crate::Hold> {
        let install = self.install(at);
        let Some(release) = self.catalogue.at(install.product, level) else {
            return Vec::new();
        };
        let candidate = self.candidate(at, release);
        let mut holds: Vec<crate::Hold> = Vec::new();
        if scope == Scope::Version {
            holds.extend(self.prerelease_hold(at, release));
            holds.extend(recall_hold(release));
        }
        holds.extend(
            install
                .constraints
                .iter()
                .filter(|constraint| constraint.scope() == scope)
                .filter_map(|constraint| constraint.judge(&candidate)),
        );
        holds
    }

    fn prerelease_hold(&self, at: usize, release: &crate::Release) -> Option<crate::Hold> {
        (release.version.is_prerelease() && !self.install(at).prereleases).then(|| {
            let why = "is a pre-release, and none are taken here";
            crate::Hold::when(
                "prerelease",
                why,
                "its release, or a setting that admits pre-releases",
            )
        })
    }

    /// Whether the edge's other end may be at a level, or absent.
    pub fn edge_ok(&self, edge: &Edge, levels: &[Level]) -> bool {
        match self.place(edge.to) {
            Some(other) => edge.allows(levels[other]),
            None => edge.optional || edge.least == 0,
        }
    }

    /// Whether two installs may be at these levels together.
    fn pair_ok(&self, one: usize, level: Level, other: usize, other_level: Level) -> bool {
        let (product, other_product) = (self.install(one).product, self.install(other).product);
        let there = |edges: &[Edge], to: ProductIndex, level: Level| {
            edges
                .iter()
                .filter(|edge| edge.to == to)
                .all(|edge| edge.allows(level))
        };
        there(self.edges(one, level), other_product, other_level)
            && there(self.edges(other, other_level), product, level)
    }

    /// Whether an install may go from its current level to another while each of its neighbours is at any of the
    /// levels that `at_levels` gives: no pair may become wrong that was not wrong before.
    pub fn safe(&self, at: usize, level: Level, at_levels: impl FnMut(usize) -> [Level; 3]) -> bool {
        self.safe_from(at, self.current[at], level, at_levels)
    }

    /// As [`Scene::safe`], from a level that it is thought to have reached.
    pub fn safe_from<const N: usize>(
        &self,
        at: usize,
        from: Level,
        level: Level,
        mut at_levels: impl FnMut(usize) -> [Level; N],
    ) -> bool {
        for edge in self.edges(at, level) {
            if self.place(edge.to).is_none() && !(edge.optional || edge.least == 0) {
                let before = self
                    .edges(at, from)
                    .iter()
                    .any(|known| known.to == edge.to && !(known.optional || known.least == 0));
                if !before {
                    return false;
                }
            }
        }
        let mut neighbour_ok = |other: usize| {
            at_levels(other).into_iter().all(|other_level| {
                self.pair_ok(at, level, other, other_level) || !self.pair_ok(at, from, other, other_level)
            })
        };
        let named = self
            .edges(at, level)
            .iter()
            .filter_map(|edge| self.place(edge.to));
        for other in named {
            if !neighbour_ok(other) {
                return false;
            }
        }
        self.dependents(at).all(neighbour_ok)
    }
}

pub(crate) fn recall_hold(release: &crate::Release) -> Option<crate::Hold> {
    release.recalled.as_ref().map(|recall| {
        crate::Hold::when(
            "recall",
            format!("was recalled: {}", recall.reason),
            "a newer release",
        )
    })
}
