//! A small world in plain numbers, its own rules of what may stand beside what, and how it looks to the planner.
//! Nothing here asks the planner anything.

use bascule_planner::{
    Catalogue, Dependency, Environment, Install, Matcher, Recall, Release, Version,
    constraint::{Approval, Channel, Incident, Pin},
    sample::Numbers,
};
use std::sync::Arc;

/// One version of another product that is needed, by number: 1 is the oldest.
#[derive(Clone, Debug)]
pub(crate) struct Need {
    pub to: usize,
    /// May lie above all that was released.
    pub least: Option<u64>,
    pub most: Option<u64>,
    pub optional: bool,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct ToyRelease {
    pub needs: Vec<Need>,
    /// Another product, and the one version of it that it cannot stand.
    pub bars: Vec<(usize, u64)>,
    pub prerelease: bool,
    pub outside: bool,
    /// The lowest version that may be gone back to.
    pub recalled: Option<Option<u64>>,
}

impl std::fmt::Display for Toy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, product) in self.products.iter().enumerate() {
            let way = if product.one_by_one { ", one by one" } else { "" };
            writeln!(f, "p{at}{way}: {:?}", self.installs[at])?;
            for (level, release) in (1..).zip(&product.releases) {
                write!(f, "  {level}:")?;
                for need in &release.needs {
                    let optional = if need.optional { "?" } else { "" };
                    write!(f, " p{}{optional} {:?}..{:?}", need.to, need.least, need.most)?;
                }
                for (to, bad) in &release.bars {
                    write!(f, " not p{to} {bad}")?;
                }
                let marks = [(release.prerelease, " pre"), (release.outside, " outside")];
                for (_, mark) in marks.iter().filter(|(is, _)| *is) {
                    f.write_str(mark)?;
                }
                if let Some(floor) = release.recalled {
                    write!(f, " recalled to {floor:?}")?;
                }
                writeln!(f)?;
            }
        }
        Ok(())
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct ToyProduct {
    pub releases: Vec<ToyRelease>,
    pub one_by_one: bool,
}

/// What is installed of the product with the same number; `None`: it does not belong here.
#[derive(Clone, Debug)]
pub(crate) struct ToyInstall {
    pub at: u64,
    /// Pinned to this version.
    pub pin: Option<u64>,
    /// Versions that are approved, where approval is asked for.
    pub approved: Option<Vec<u64>>,
    /// Whether something holds it for good.
    pub held: bool,
}

/// What an instance may hold.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Kind {
    /// Maxima may fall, versions are barred, optional needs begin above the first version.
    pub odd: bool,
    pub first_installs: bool,
    pub one_by_one: bool,
    pub choices: bool,
    pub approvals: bool,
    pub recalls: bool,
    pub holds: bool,
    /// What runs may be wrong already.
    pub broken: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Toy {
    pub products: Vec<ToyProduct>,
    pub installs: Vec<Option<ToyInstall>>,
}

pub(crate) type State = Vec<u64>;

fn chance(numbers: &mut Numbers, of: u64) -> bool {
    numbers.below(of) == 0
}

impl Toy {
    pub fn new(seed: u64, kind: Kind) -> Self {
        let numbers = &mut Numbers(seed);
        let count = 2 + numbers.below(3);
        let products: Vec<ToyProduct> = (0..count).map(|at| product(numbers, at, count, kind)).collect();
        let mut toy = Self {
            installs: vec![None; products.len()],
            products,
        };
        for at in 0..toy.products.len() {
            let newest = toy.newest(at);
            // Most begin old, so that there is a way to go.
            let current = if kind.first_installs && chance(numbers, 3) {
                0
            } else {
                1 + numbers.below(newest) / 2
            };
            let odd_one = (kind.first_installs || kind.choices || kind.broken) && chance(numbers, 12);
            toy.installs[at] = (!odd_one).then(|| ToyInstall {
                at: current,
                pin: (kind.choices && chance(numbers, 8)).then(|| 1 + numbers.below(newest)),
                approved: (kind.approvals && chance(numbers, 2))
                    .then(|| (1..=newest).filter(|_| chance(numbers, 2)).collect()),
                held: kind.holds && chance(numbers, 4),
            });
        }
        if !kind.broken {
            toy.begin_right(numbers);
        }
        toy
    }

    /// Begins with what is right together: what was drawn, or all at their oldest, or nothing there yet.
    fn begin_right(&mut self, numbers: &mut Numbers) {
        for attempt in 0..12 {
            let state = self.state();
            let right =
                self.wrong(&state).is_empty() && (0..state.len()).all(|at| self.founded(at, state[at]));
            if right {
                return;
            }
            for at in 0..state.len() {
                let newest = self.newest(at);
                if let Some(install) = &mut self.installs[at] {
                    install.at = match attempt {
                        0..10 => install.at.min(1 + numbers.below(newest)),
                        10 => 1,
                        _ => 0,
                    };
                }
            }
        }
    }

    pub fn newest(&self, at: usize) -> u64 {
        self.products[at].releases.len() as u64
    }

    pub fn state(&self) -> State {
        self.installs
            .iter()
            .map(|install| install.as_ref().map_or(0, |install| install.at))
            .collect()
    }

    pub fn release(&self, at: usize, level: u64) -> Option<&ToyRelease> {
        self.products[at]
            .releases
            .get(usize::try_from(level).unwrap().checked_sub(1)?)
    }

    /// Whether a version of one takes what is there of another.
    fn takes(&self, one: usize, level: u64, other: usize, there: u64) -> bool {
        let Some(release) = self.release(one, level) else {
            return true;
        };
        let pre = self
            .release(other, there)
            .is_some_and(|release| release.prerelease);
        let needs = release.needs.iter().filter(|need| need.to == other).all(|need| {
            if there == 0 {
                return need.optional;
            }
            // A pre-release comes before its release, and so is not yet enough.
            let enough = need
                .least
                .is_none_or(|least| there > least || (there == least && !pre));
            enough && need.most.is_none_or(|most| there <= most)
        });
        needs && release.bars.iter().all(|(to, bad)| *to != other || *bad != there)
    }

    pub fn pair_ok(&self, one: usize, level: u64, other: usize, there: u64) -> bool {
        self.takes(one, level, other, there) && self.takes(other, there, one, level)
    }

    /// Pairs that may not be together.
    pub fn wrong(&self, state: &[u64]) -> Vec<(usize, usize)> {
        let here = |at: &usize| self.installs[*at].is_some();
        let all: Vec<usize> = (0..state.len()).filter(here).collect();
        all.iter()
            .flat_map(|one| {
                all.iter()
                    .filter(move |other| *other > one)
                    .map(move |other| (*one, *other))
            })
            .filter(|(one, other)| !self.pair_ok(*one, state[*one], *other, state[*other]))
            .collect()
    }

    /// Whether all that a version must have belongs here.
    pub fn founded(&self, at: usize, level: u64) -> bool {
        self.release(at, level).is_none_or(|release| {
            release
                .needs
                .iter()
                .all(|need| need.optional || self.installs[need.to].is_some())
        })
    }

    /// Whether a version may be chosen, whatever else is there.
    pub fn choosable(&self, at: usize, level: u64) -> bool {
        let Some(install) = &self.installs[at] else {
            return false;
        };
        let pinned = install.pin.is_none_or(|pin| pin == level);
        self.release(at, level).is_some_and(|release| {
            pinned && !release.prerelease && !release.outside && release.recalled.is_none()
        })
    }

    pub fn approved(&self, at: usize, level: u64) -> bool {
        let approved = self.installs[at]
            .as_ref()
            .and_then(|install| install.approved.as_ref());
        approved.is_none_or(|approved| approved.contains(&level))
    }

    /// Where one step may take an install, as far as it alone is asked.
    pub fn moves(&self, at: usize, from: u64, approved: bool) -> Vec<u64> {
        let fits = |level: &u64| {
            self.choosable(at, *level) && self.founded(at, *level) && (!approved || self.approved(at, *level))
        };
        if self.products[at].one_by_one && from > 0 {
            // The next that is no pre-release.
            let next =
                (from + 1..=self.newest(at)).find(|level| !self.release(at, *level).unwrap().prerelease);
            return next.into_iter().filter(fits).collect();
        }
        (from + 1..=self.newest(at)).filter(fits).collect()
    }

    /// All levels that single steps of its own could bring it to.
    pub fn levels(&self, at: usize, approved: bool) -> Vec<u64> {
        let mut all = vec![self.state()[at]];
        let mut next = 0;
        while let Some(from) = all.get(next).copied() {
            next += 1;
            // After a first install of one that goes one by one, what is above may be chosen at once too.
            for level in self.moves(at, from, approved) {
                if !all.contains(&level) {
                    all.push(level);
                }
            }
        }
        all
    }

    /// Whether a step makes nothing wrong that was not wrong before.
    pub fn safe(&self, state: &[u64], at: usize, level: u64) -> bool {
        (0..state.len())
            .filter(|other| *other != at && self.installs[*other].is_some())
            .all(|other| {
                self.pair_ok(at, level, other, state[other])
                    || !self.pair_ok(at, state[at], other, state[other])
            })
            && (self.founded(at, level) || !self.founded(at, state[at]))
    }

    /// All states that single safe steps reach.
    pub fn reachable(&self, approved: bool) -> Vec<State> {
        let mut all = vec![self.state()];
        let mut known: std::collections::HashSet<State> = all.iter().cloned().collect();
        let mut next = 0;
        while let Some(state) = all.get(next).cloned() {
            next += 1;
            for at in 0..state.len() {
                let free = self.installs[at]
                    .as_ref()
                    .is_some_and(|install| !install.held || !approved);
                if !free {
                    continue;
                }
                for level in self.moves(at, state[at], approved) {
                    if self.safe(&state, at, level) {
                        let mut further = state.clone();
                        further[at] = level;
                        if known.insert(further.clone()) {
                            all.push(further);
                        }
                    }
                }
            }
        }
        all
    }

    /// All consistent states within reach of choices.
    pub fn consistent(&self) -> Vec<State> {
        let levels: Vec<Vec<u64>> = (0..self.products.len())
            .map(|at| {
                if self.installs[at].is_some() {
                    self.levels(at, false)
                } else {
                    vec![0]
                }
            })
            .collect();
        let mut all = Vec::new();
        let mut digits = vec![0; levels.len()];
        loop {
            let state: State = digits
                .iter()
                .zip(&levels)
                .map(|(digit, all)| all[*digit])
                .collect();
            if self.wrong(&state).is_empty() {
                all.push(state);
            }
            let Some(at) = (0..digits.len()).find(|at| digits[*at] + 1 < levels[*at].len()) else {
                return all;
            };
            digits[at] += 1;
            digits[..at].fill(0);
        }
    }

    /// Fewest wrong, fewest missing, highest in sum; a newer version whose own needs are not met counts as the old one.
    pub fn score(&self, state: &[u64]) -> (std::cmp::Reverse<usize>, std::cmp::Reverse<usize>, u64) {
        let here = |at: &usize| self.installs[*at].is_some();
        let missing = (0..state.len()).filter(|at| state[*at] == 0 && here(at)).count();
        let start = self.state();
        let counted = |at: usize| {
            let met = (0..state.len())
                .filter(|other| *other != at && here(other))
                .all(|other| self.takes(at, state[at], other, state[other]));
            if met { state[at] } else { start[at] }
        };
        (
            std::cmp::Reverse(self.wrong(state).len()),
            std::cmp::Reverse(missing),
            (0..state.len()).map(counted).sum(),
        )
    }

    pub fn version(&self, at: usize, level: u64) -> Version {
        let pre = self.release(at, level).is_some_and(|release| release.prerelease);
        format!("1.{level}.0{}", if pre { "-rc.1" } else { "" })
            .parse()
            .unwrap()
    }

    /// As the planner takes it. Published in some order that the seed says, at once or one by one.
    pub fn show(&self, seed: u64) -> (Catalogue, Environment) {
        let numbers = &mut Numbers(seed);
        let key = |at: usize| format!("toys/p{at}");
        let mut all: Vec<(usize, Release)> = Vec::new();
        for (at, product) in self.products.iter().enumerate() {
            for (level, toy) in (1..).zip(&product.releases) {
                let mut release = Release::plain(self.version(at, level));
                release.channels = if toy.outside {
                    vec![]
                } else {
                    vec!["stable".into(), "dev".into()]
                };
                release.recalled = toy.recalled.map(|floor| Recall {
                    reason: "loses data".into(),
                    floor: floor.map(|floor| Version::new(1, floor, 0)),
                });
                for need in &toy.needs {
                    release.dependencies.push(Dependency {
                        product: key(need.to),
                        minimum: need.least.map(|least| Version::new(1, least, 0)),
                        maximum: need
                            .most
                            .map_or(Matcher::any(), |most| Matcher::Family(vec![1, most])),
                        optional: need.optional,
                    });
                }
                for (to, bad) in &toy.bars {
                    release
                        .incompatible
                        .push((key(*to), Matcher::Family(vec![1, *bad])));
                }
                all.push((at, release));
            }
        }
        let mut catalogue = Catalogue::new();
        if chance(numbers, 2) {
            let mut by_product: Vec<(String, Vec<Release>)> = Vec::new();
            for at in 0..self.products.len() {
                let own = all
                    .iter()
                    .filter(|(of, _)| *of == at)
                    .map(|(_, release)| release.clone());
                by_product.push((key(at), own.collect()));
            }
            catalogue.publish_all(by_product);
        } else {
            while !all.is_empty() {
                let pick = usize::try_from(numbers.below(all.len() as u64)).unwrap();
                let (at, release) = all.swap_remove(pick);
                let product = catalogue.product(&key(at));
                catalogue.publish(product, release);
            }
        }
        let mut installs = Vec::new();
        for (at, product) in self.products.iter().enumerate() {
            let index = catalogue.product(&key(at));
            catalogue.one_by_one(index, product.one_by_one);
            let Some(toy) = &self.installs[at] else { continue };
            let mut install = Install::new(index, (toy.at > 0).then(|| self.version(at, toy.at)));
            install.constraints.push(Arc::new(Channel::new("stable")));
            if let Some(pin) = toy.pin {
                install.constraints.push(Arc::new(Pin {
                    versions: Matcher::Exactly(self.version(at, pin)),
                    reason: String::new(),
                }));
            }
            if let Some(approved) = &toy.approved {
                install.constraints.push(Arc::new(Approval {
                    by: "security".into(),
                    given: approved.iter().map(|level| self.version(at, *level)).collect(),
                    nobody: false,
                }));
            }
            if toy.held {
                install.constraints.push(Arc::new(Incident("incident 7".into())));
            }
            installs.push(install);
        }
        let environment = Environment {
            name: "site-7".into(),
            installs,
            now: bascule_core::Timestamp::from_seconds(0),
        };
        (catalogue, environment)
    }
}

fn product(numbers: &mut Numbers, at: u64, count: u64, kind: Kind) -> ToyProduct {
    let newest = 1 + numbers.below(4);
    let mut releases: Vec<ToyRelease> = (0..newest).map(|_| ToyRelease::default()).collect();
    for to in (0..count).filter(|to| *to != at) {
        if !chance(numbers, 2) {
            continue;
        }
        let mut mosts: Vec<Option<u64>> = (0..newest)
            .map(|level| {
                let most = 1 + numbers.below(5).max(if kind.odd { 0 } else { level });
                // Where it is open once it must stay so.
                (!chance(numbers, 3)).then_some(most)
            })
            .collect();
        if !kind.odd {
            mosts.sort_by_key(|most| most.unwrap_or(u64::MAX));
        }
        let optional = chance(numbers, 4);
        // From some version on only, or up to one only; its end is no fall, as it then takes all.
        let from = if kind.odd { numbers.below(newest) } else { 0 };
        let to_last = if chance(numbers, 4) {
            1 + numbers.below(newest)
        } else {
            newest
        };
        for level in from..to_last.max(from) {
            // Minima may fall: that does no harm.
            let least = if chance(numbers, 3) {
                None
            } else {
                Some(1 + numbers.below(level + 2))
            };
            releases[usize::try_from(level).unwrap()].needs.push(Need {
                to: usize::try_from(to).unwrap(),
                least: if optional && !kind.odd { None } else { least },
                most: mosts[usize::try_from(level).unwrap()],
                optional,
            });
        }
        if kind.odd && chance(numbers, 3) {
            let level = usize::try_from(numbers.below(newest)).unwrap();
            let bad = 1 + numbers.below(4);
            releases[level].bars.push((usize::try_from(to).unwrap(), bad));
        }
    }
    // The oldest go together, mostly.
    if !kind.first_installs && !kind.broken {
        for need in releases.iter_mut().take(1).flat_map(|release| &mut release.needs) {
            need.least = None;
        }
        for release in releases.iter_mut().take(1) {
            release.bars.retain(|(_, bad)| *bad != 1);
        }
    }
    for release in &mut releases {
        release.prerelease = kind.choices && chance(numbers, 6);
        release.outside = kind.choices && chance(numbers, 6);
        if kind.recalls && chance(numbers, 4) {
            release.recalled = Some(chance(numbers, 2).then(|| 1 + numbers.below(newest)));
        }
    }
    ToyProduct {
        releases,
        one_by_one: kind.one_by_one && chance(numbers, 3),
    }
}
