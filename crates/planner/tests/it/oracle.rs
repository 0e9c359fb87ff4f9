//! The planner against a search of everything, over small worlds of all kinds.

use super::toy::{Kind, State, Toy};
use bascule_planner::{
    Catalogue, Environment, Plan, Planned, State as Stand, explain, plan, sample::Numbers,
};

/// Kinds in turn: each alone, so that what fails is easy to name, and then together.
const fn kind(n: u64) -> Kind {
    let plain = Kind {
        odd: false,
        first_installs: false,
        one_by_one: false,
        choices: false,
        approvals: false,
        recalls: false,
        holds: false,
        broken: false,
    };
    match n % 14 {
        0 => plain,
        1 => Kind {
            first_installs: true,
            ..plain
        },
        2 => Kind {
            one_by_one: true,
            ..plain
        },
        3 => Kind {
            choices: true,
            ..plain
        },
        4 => Kind {
            approvals: true,
            ..plain
        },
        5 => Kind {
            recalls: true,
            ..plain
        },
        6 => Kind { holds: true, ..plain },
        7 => Kind { odd: true, ..plain },
        8 => Kind {
            odd: true,
            first_installs: true,
            ..plain
        },
        9 => Kind {
            odd: true,
            one_by_one: true,
            choices: true,
            ..plain
        },
        10 => Kind {
            broken: true,
            ..plain
        },
        11 => Kind {
            odd: true,
            broken: true,
            first_installs: true,
            recalls: true,
            holds: true,
            ..plain
        },
        12 => Kind {
            first_installs: true,
            one_by_one: true,
            choices: true,
            approvals: true,
            ..plain
        },
        _ => Kind {
            odd: true,
            first_installs: true,
            one_by_one: true,
            choices: true,
            approvals: true,
            ..plain
        },
    }
}

/// One instance as the planner has it, beside the toy that it is.
struct Play {
    seed: u64,
    kind: Kind,
    toy: Toy,
    catalogue: Catalogue,
    environment: Environment,
    /// The toy's number of each install.
    places: Vec<usize>,
    /// What was begun and done so far.
    log: Vec<String>,
}

impl Play {
    fn new(seed: u64, kind: Kind) -> Self {
        let toy = Toy::new(seed, kind);
        let (catalogue, environment) = toy.show(seed ^ 0x5eed);
        let places = (0..toy.products.len())
            .filter(|at| toy.installs[*at].is_some())
            .collect();
        Self {
            seed,
            kind,
            toy,
            catalogue,
            environment,
            places,
            log: Vec::new(),
        }
    }

    fn told(&self) -> String {
        let (seed, kind, log) = (self.seed, self.kind, self.log.join(", "));
        format!("seed {seed} of {kind:?}\n{log}\n{}", self.toy)
    }

    fn level(&self, at: usize, version: Option<&bascule_planner::Version>) -> u64 {
        version.map_or(0, |version| {
            (1..=self.toy.newest(at))
                .find(|level| self.toy.version(at, *level) == *version)
                .unwrap()
        })
    }

    fn plan(&self) -> Plan {
        let found = plan(&self.catalogue, &self.environment);
        assert!(
            found.newest && found.bound.is_none(),
            "a small world is searched whole: {}",
            self.told()
        );
        assert_eq!(found, plan(&self.catalogue, &self.environment), "the same twice");
        found
    }

    /// The target as levels. One that is not there and that nothing lets in names the version that it waits for:
    /// what others reach says whether it is counted on.
    fn target(&self, found: &Plan) -> State {
        let mut all = vec![0; self.toy.products.len()];
        let mut unsure = Vec::new();
        for (planned, at) in found.installs.iter().zip(&self.places) {
            all[*at] = self.level(*at, planned.target.as_ref());
            if planned.current.is_none() && planned.state == Stand::Blocked {
                unsure.push(*at);
            }
        }
        let some = (0..1_u32 << unsure.len()).map(|bits| {
            let mut state = all.clone();
            for (n, at) in unsure.iter().enumerate() {
                if bits & (1 << n) != 0 {
                    state[*at] = 0;
                }
            }
            state
        });
        let founded = |state: &State| {
            (0..state.len()).all(|at| {
                let level = state[at];
                level == self.toy.state()[at]
                    || (self.toy.founded(at, level) && self.toy.choosable(at, level))
            })
        };
        some.filter(founded)
            .max_by_key(|state| self.toy.score(state))
            .unwrap_or(all)
    }

    fn put(&mut self, n: usize, level: u64) {
        let at = self.places[n];
        let state = self.toy.state();
        let before = self.toy.wrong(&state);
        self.log.push(format!("p{at} at {level}"));
        assert!(
            self.toy.safe(&state, at, level),
            "p{at} {} → {level} is unsafe in {state:?}: {}",
            state[at],
            self.told()
        );
        self.toy.installs[at].as_mut().unwrap().at = level;
        let after = self.toy.wrong(&self.toy.state());
        assert!(after.iter().all(|pair| before.contains(pair)), "{}", self.told());
        self.environment.installs[n].current = Some(self.toy.version(at, level));
        self.environment.installs[n].moving = None;
    }

    /// A step as it may be taken: to what may be chosen, with its approvals, and not while something holds it.
    fn lawful(&self, planned: &Planned, at: usize) -> u64 {
        let step = planned.step.as_ref().unwrap();
        let (from, to) = (self.toy.state()[at], self.level(at, Some(&step.to)));
        let install = self.toy.installs[at].as_ref().unwrap();
        assert!(!install.held && self.toy.approved(at, to), "{}", self.told());
        assert_eq!(step.back, to < from);
        if step.back {
            let floor = self
                .toy
                .release(at, from)
                .unwrap()
                .recalled
                .expect("goes back from a recalled version only");
            assert!(
                floor.is_some_and(|floor| floor <= to) && self.toy.choosable(at, to),
                "{}",
                self.told()
            );
        } else {
            assert!(
                self.toy.moves(at, from, true).contains(&to),
                "p{at} {from} → {to}: {}",
                self.told()
            );
        }
        to
    }

    /// Takes steps until there is none left, some at once, finished in any order.
    fn run(&mut self, numbers: &mut Numbers) -> Plan {
        for _ in 0..200 {
            let found = self.plan();
            let mut moving: Vec<usize> = (0..self.places.len())
                .filter(|n| self.environment.installs[*n].moving.is_some())
                .collect();
            let mut begun = false;
            for (n, planned) in found.installs.iter().enumerate() {
                if planned.state == Stand::Ready {
                    let to = self.lawful(planned, self.places[n]);
                    if numbers.below(3) > 0 || (!begun && moving.is_empty()) {
                        self.log.push(format!("p{} to {to}", self.places[n]));
                        self.environment.installs[n].moving = Some(self.toy.version(self.places[n], to));
                        moving.push(n);
                        begun = true;
                    }
                }
            }
            if moving.is_empty() {
                return found;
            }
            if !begun || numbers.below(2) == 0 {
                let n = moving[usize::try_from(numbers.below(moving.len() as u64)).unwrap()];
                let to = self.environment.installs[n].moving.clone();
                let level = self.level(self.places[n], to.as_ref());
                self.put(n, level);
            }
        }
        panic!("no end of steps: {}", self.told());
    }

    /// Takes a group step, all at once.
    fn switch(&mut self, found: &Plan) {
        let group = &found.coupled[0];
        assert!(group.members.len() > 1, "{}", self.told());
        let before = self.toy.wrong(&self.toy.state());
        for (product, _, to) in &group.members {
            let n = self
                .environment
                .installs
                .iter()
                .position(|install| install.product == *product)
                .unwrap();
            let at = self.places[n];
            let (from, level) = (self.toy.state()[at], self.level(at, Some(to)));
            assert!(
                self.toy.moves(at, from, false).contains(&level),
                "a group skips nothing: {}",
                self.told()
            );
            self.toy.installs[at].as_mut().unwrap().at = level;
            self.environment.installs[n].current = Some(to.clone());
        }
        let after = self.toy.wrong(&self.toy.state());
        assert!(
            after.iter().all(|pair| before.contains(pair)),
            "a group step: {}",
            self.told()
        );
    }

    /// What is said of every version above what runs: clear exactly where one step of its own brings it there now.
    fn check_reasons(&self) {
        let state = self.toy.state();
        for (n, at) in self.places.iter().copied().enumerate() {
            for level in state[at] + 1..=self.toy.newest(at) {
                let version = self.toy.version(at, level);
                let why = explain(
                    &self.catalogue,
                    &self.environment,
                    &format!("toys/p{at}"),
                    &version,
                );
                let install = self.toy.installs[at].as_ref().unwrap();
                let free = !install.held && self.toy.moves(at, state[at], true).contains(&level);
                let fits = free
                    && self.toy.founded(at, level)
                    && (0..state.len()).all(|other| {
                        other == at
                            || self.toy.installs[other].is_none()
                            || self.toy.pair_ok(at, level, other, state[other])
                    });
                assert_eq!(
                    why.clear,
                    fits,
                    "p{at} {version} ({n}): {} {}",
                    why.sentence,
                    self.told()
                );
                assert_eq!(why.clear, why.links.is_empty(), "{}", why.sentence);
                // A chain that ends says what would lift it.
                assert!(
                    why.clear
                        || why
                            .links
                            .iter()
                            .any(|link| link.lifts.is_some() || link.kind == "ready"),
                    "{}: {}",
                    why.sentence,
                    self.told()
                );
            }
        }
    }
}

fn check(seed: u64, kind: Kind) {
    let mut play = Play::new(seed, kind);
    let numbers = &mut Numbers(seed ^ 0xace);
    let first = play.toy.clone();
    let began = first.state();
    let start_wrong = first.wrong(&began).len();
    play.check_reasons();
    let found = play.plan();
    let target = play.target(&found);
    let goes_back = found
        .installs
        .iter()
        .any(|planned| planned.step.as_ref().is_some_and(|step| step.back));
    assert!(
        goes_back || first.wrong(&target).len() <= start_wrong,
        "{target:?}: {}",
        play.told()
    );
    let monotone = !kind.odd && !kind.broken;
    let newest = monotone.then(|| {
        let all = first.consistent();
        let top: State = (0..began.len())
            .map(|at| all.iter().map(|state| state[at]).max().unwrap())
            .collect();
        all.contains(&top).then_some(top)
    });
    if let Some(Some(newest)) = &newest
        && !goes_back
    {
        assert_eq!(&target, newest, "{}", play.told());
    }
    let end = play.run(numbers);
    let state = play.toy.state();
    // Where something holds for good, and ranges fall, it may be worth waiting for.
    if !kind.recalls && (!kind.holds || monotone) {
        let reached = first.reachable(true);
        let best = reached.iter().max_by_key(|state| first.score(state)).unwrap();
        // A first install that needs others to switch with it is not given up for a newer version of another.
        let within = |state: &&State| state.iter().zip(&target).all(|(a, b)| a <= b);
        let towards = reached
            .iter()
            .filter(within)
            .max_by_key(|state| first.score(state));
        let is = first.score(&state);
        // Where what runs is wrong, each step changes what is worth it: only as much is mended as can be.
        assert!(
            (kind.broken && is.0 == first.score(best).0)
                || is == first.score(best)
                || (kind.first_installs && towards.is_some_and(|t| is == first.score(t))),
            "came to {state:?}, and {best:?} can be reached: {}",
            play.told()
        );
    }
    for (planned, at) in end.installs.iter().zip(&play.places) {
        let recalled = play
            .toy
            .release(*at, state[*at])
            .and_then(|release| release.recalled)
            .flatten();
        let install = play.toy.installs[*at].as_ref().unwrap();
        let stays = planned.state == Stand::Blocked && planned.target == planned.current;
        if let (Some(floor), true, false) = (recalled, stays, install.held) {
            for level in floor..state[*at] {
                let fits = play.toy.choosable(*at, level) && play.toy.founded(*at, level);
                assert!(
                    !(fits && play.toy.safe(&state, *at, level)),
                    "p{at} stays recalled: {}",
                    play.told()
                );
            }
        }
        if state[*at] == 0 && play.toy.newest(*at) > 0 {
            assert!(
                planned.state != Stand::UpToDate,
                "what is not there waits for something: {}",
                play.told()
            );
        }
    }
    play.check_reasons();
    // With a person's word, groups take it all the way.
    let groups = !kind.one_by_one && !kind.approvals && !kind.holds && !kind.recalls;
    let mut end = end;
    while !end.coupled.is_empty() {
        let before = play.toy.state();
        play.switch(&end);
        assert!(play.toy.state() > before || play.toy.state() != before);
        end = play.run(numbers);
    }
    if let (Some(Some(newest)), true) = (&newest, groups) {
        assert_eq!(&play.toy.state(), newest, "in the end: {}", play.told());
    }
}

/// Said to run over 100,000 instances by `BASCULE_INSTANCES=100000`; a test run does with fewer.
#[test]
fn many_instances() {
    let count: u64 = std::env::var("BASCULE_INSTANCES")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(6_000);
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || {
                let only = std::env::var("BASCULE_SEED").ok().and_then(|n| n.parse().ok());
                if let Some(seed) = only {
                    return check(seed, kind(seed));
                }
                for seed in (thread..count).step_by(usize::try_from(threads).unwrap()) {
                    check(seed, kind(seed));
                }
            });
        }
    });
}
