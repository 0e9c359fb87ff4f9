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
    /// What is counted on: where it is moving up to, or else where it is.
    pub floor: Vec<Level>,
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
        let moving: Vec<Level> = environment
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
        let floor = current.iter().zip(&moving).map(|(a, b)| *a.max(b)).collect();
        Self {
            catalogue,
            environment,
            place,
            current,
            moving,
            floor,
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

    fn candidate<'b>(&'b self, at: usize, release: &'b crate::Published) -> Candidate<'b> {
        let install = self.install(at);
        Candidate {
            product: self.catalogue.key(install.product),
            from: install.current.as_ref(),
            release,
            now: self.environment.now,
        }
    }

    /// Whether all that a version asks for belongs in the environment at all.
    pub fn founded(&self, at: usize, level: Level) -> bool {
        self.edges(at, level)
            .iter()
            .all(|edge| edge.spares() || self.place(edge.to()).is_some())
    }

    /// Whether a version waits for what another version may have already, such as an approval.
    pub fn waits_alone(&self, at: usize, level: Level) -> bool {
        let install = self.install(at);
        let mut by_version = install
            .constraints
            .iter()
            .filter(|constraint| constraint.by_version())
            .peekable();
        if by_version.peek().is_none() {
            return false;
        }
        self.catalogue.at(install.product, level).is_some_and(|release| {
            let candidate = self.candidate(at, release);
            by_version.any(|constraint| constraint.judge(&candidate).is_some())
        })
    }

    /// Whether anything here is asked version by version.
    pub fn any_waits_alone(&self) -> bool {
        let installs = &self.environment.installs;
        installs
            .iter()
            .flat_map(|install| &install.constraints)
            .any(|constraint| constraint.by_version())
    }

    /// Whether versions are taken one after the other from a level on.
    pub fn steps_one_by_one(&self, at: usize, from: Level) -> bool {
        // The first install of a schema may begin anywhere; after that none is skipped.
        from > 0 && self.catalogue.products[self.install(at).product].one_by_one
    }

    /// Where versions are taken one after the other, the one after a level. A pre-release that is not taken here is
    /// none of them.
    pub fn next(&self, at: usize, from: Level) -> Level {
        let passed = |level: &Level| {
            let version = self.version(at, *level);
            version.is_some_and(|version| !version.is_prerelease() || self.install(at).prereleases)
        };
        let newest = self.newest(at);
        (from + 1..=newest).find(passed).unwrap_or(newest + 1)
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

    /// What a version asks for that is not there, each as a verdict.
    pub fn absences(&self, at: usize, level: Level) -> Vec<Verdict> {
        self.edges(at, level)
            .iter()
            .filter(|edge| !edge.spares())
            .filter_map(|edge| {
                let key = self.catalogue.key(edge.to());
                let (why, event) = match self.place(edge.to()) {
                    None => (
                        format!("needs {key}, which does not belong in {}", self.environment.name),
                        format!("{key} to be installed"),
                    ),
                    Some(other) if self.current[other] == 0 => (
                        format!("needs {key}, which is not there yet"),
                        format!("{key} to be there"),
                    ),
                    Some(_) => return None,
                };
                Some(Verdict {
                    kind: "missing".to_owned(),
                    why,
                    lifts: Some(crate::Lift::When(event)),
                })
            })
            .collect()
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

    fn prerelease_hold(&self, at: usize, release: &crate::Published) -> Option<crate::Hold> {
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
        match self.place(edge.to()) {
            Some(other) => edge.allows(levels[other]),
            None => edge.spares(),
        }
    }

    /// Whether one install takes another's level.
    pub fn takes(&self, one: usize, level: Level, other: usize, other_level: Level) -> bool {
        let to = self.install(other).product;
        self.edges(one, level)
            .iter()
            .filter(|edge| edge.to() == to)
            .all(|edge| edge.allows(other_level))
    }

    /// Whether two installs may be at these levels together.
    pub fn pair_ok(&self, one: usize, level: Level, other: usize, other_level: Level) -> bool {
        self.takes(one, level, other, other_level) && self.takes(other, other_level, one, level)
    }

    /// Whether an install may go from its current level to another while each of its neighbours is at any of the
    /// levels that `at_levels` gives, the first of them now: no pair may become wrong that was not wrong before.
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
            if self.place(edge.to()).is_none() && !edge.spares() {
                let before = self
                    .edges(at, from)
                    .iter()
                    .any(|known| known.to() == edge.to() && !known.spares());
                if !before {
                    return false;
                }
            }
        }
        let mut neighbour_ok = |other: usize| {
            // What others still come to must not undo what this one puts right, whoever is done first.
            let (mut right, mut mends) = (true, false);
            for (n, other_level) in at_levels(other).into_iter().enumerate() {
                if self.pair_ok(at, level, other, other_level) {
                    mends |= n == 0;
                } else if self.pair_ok(at, from, other, other_level) {
                    return false;
                } else {
                    right = false;
                }
            }
            right || !mends
        };
        let named = self
            .edges(at, level)
            .iter()
            .filter_map(|edge| self.place(edge.to()));
        for other in named {
            if !neighbour_ok(other) {
                return false;
            }
        }
        self.dependents(at).all(neighbour_ok)
    }
}

/// Levels that may be chosen.
pub(crate) struct Pool<'s, 'a> {
    pub scene: &'s Scene<'a>,
    /// Whether only versions count that wait for nothing of their own, such as an approval.
    free: bool,
    /// The highest that each install may be at.
    pub tops: Vec<Level>,
}

impl<'s, 'a> Pool<'s, 'a> {
    pub fn new(scene: &'s Scene<'a>, free: bool) -> Self {
        let mut pool = Self {
            scene,
            free,
            tops: Vec::new(),
        };
        pool.tops = (0..scene.len()).map(|at| pool.top(at)).collect();
        pool
    }

    fn top(&self, at: usize) -> Level {
        let floor = self.scene.floor[at];
        if !self.scene.steps_one_by_one(at, floor) {
            return self.highest(at, self.scene.newest(at));
        }
        let mut top = floor;
        loop {
            let next = self.scene.next(at, top);
            if next > self.scene.newest(at) || !self.allowed(at, next) {
                return top;
            }
            top = next;
        }
    }

    pub fn allowed(&self, at: usize, level: Level) -> bool {
        self.scene.allowed(at, level)
            && self.scene.founded(at, level)
            && !(self.free && self.scene.waits_alone(at, level))
    }

    /// The highest level up to `most` that may be chosen, or where the install is.
    pub fn highest(&self, at: usize, most: Level) -> Level {
        let floor = self.scene.floor[at];
        (floor + 1..=most)
            .rev()
            .find(|level| self.allowed(at, *level))
            .unwrap_or(floor)
    }

    /// All levels above where an install is, up to its highest.
    pub fn levels(&self, at: usize) -> impl Iterator<Item = Level> + '_ {
        (self.scene.floor[at] + 1..=self.tops[at]).filter(move |level| self.allowed(at, *level))
    }
}

impl<'a> Scene<'a> {
    /// Whether the release at a level was recalled, and why.
    pub fn recall_of(&self, at: usize, level: Level) -> Option<&'a crate::Recall> {
        let release = self.catalogue.at(self.install(at).product, level)?;
        release.recalled.as_deref()
    }
}

pub(crate) fn recall_hold(release: &crate::Published) -> Option<crate::Hold> {
    release.recalled.as_ref().map(|recall| {
        crate::Hold::when(
            "recall",
            format!("was recalled: {}", recall.reason),
            "a newer release",
        )
    })
}
