//! Why a version is not there: a chain of plain sentences, each about one product, version and kind, so that a
//! page can link each to the facts behind it.

use crate::{
    constraint::{Hold, Lift, Scope},
    model::{Catalogue, Edge, Environment, Level},
    scene::Scene,
    solve::{plan, reach_in},
    version::Version,
};
use serde::{Deserialize, Serialize};
use std::{ops::RangeInclusive, sync::OnceLock};

/// One link of the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// What kind of constraint: `dependency` (it needs another), `dependent` (another does not take it),
    /// `incompatible`, `missing`, or a constraint's own kind.
    pub kind: String,
    /// The product that it is about.
    pub product: String,
    /// The version that it holds.
    pub version: String,
    /// In plain words.
    pub text: String,
    /// What would lift it, or the first of several things; `None` where another link says so.
    pub lifts: Option<Lift>,
    /// Each thing that holds it by itself, with what would lift that; empty where another link says so.
    pub holds: Vec<Hold>,
}

/// The answer to "why not?".
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Why {
    /// Whether the version runs, or could be put there now.
    pub clear: bool,
    /// All of it in one sentence.
    pub sentence: String,
    /// Link by link.
    pub links: Vec<Link>,
}

/// Links in a chain before it is cut.
const LINKS: usize = 50;

/// Why `version` of a product does not run in an environment, and what would have to happen.
#[must_use]
pub fn explain(catalogue: &Catalogue, environment: &Environment, product: &str, version: &Version) -> Why {
    Explainer::new(catalogue, environment).explain(product, version)
}

/// Explains many versions of one environment, which is prepared once.
pub struct Explainer<'a> {
    scene: Scene<'a>,
    /// The levels that the environment comes to: looked for once, where something asks for them.
    target: OnceLock<Vec<Level>>,
}

impl<'a> Explainer<'a> {
    /// Prepares an environment.
    #[must_use]
    pub fn new(catalogue: &'a Catalogue, environment: &'a Environment) -> Self {
        Self {
            scene: Scene::new(catalogue, environment),
            target: OnceLock::new(),
        }
    }

    /// As [`explain`].
    #[must_use]
    pub fn explain(&self, product: &str, version: &Version) -> Why {
        let scene = &self.scene;
        let environment = &scene.environment.name;
        let (at, level) = match find(scene, product, version) {
            Ok(found) => found,
            Err((kind, sentence)) => return unclear(product, version, kind, sentence),
        };
        let current = scene.current[at];
        if level == current {
            return self.leaves(at).unwrap_or_else(|| Why {
                clear: true,
                sentence: format!("{product} {version} runs in {environment}"),
                links: Vec::new(),
            });
        }
        if scene.is_moving(at) && scene.moving[at] == level {
            return arrives(scene, at, product, version);
        }
        let here = scene.version(at, current);
        if level < current && scene.recall_of(at, current).is_none() {
            let here = here.map(ToString::to_string).unwrap_or_default();
            let sentence = format!(
                "{product} is at {here} already, which is newer, and a plan goes back only from a recalled version"
            );
            return unclear(product, version, "older", sentence);
        }
        let mut teller = Teller::new(scene, &self.target);
        let clear = teller.tell(at, level) && teller.links.is_empty();
        let links = teller.links;
        let texts = texts(&links);
        let moving = scene
            .version(at, scene.moving[at])
            .filter(|_| scene.is_moving(at));
        let sentence = match (clear, moving, here) {
            (true, Some(moving), _) => {
                format!("{product} goes to {moving} now; {version} can be put in {environment} after that")
            }
            (true, None, _) => match self.passed_over(at, level) {
                Some(why) => format!("{product} {version} could be put in {environment} now, but {why}"),
                None => format!("{product} {version} can be put in {environment} now"),
            },
            (false, Some(moving), _) => format!("{product} goes to {moving} now; {texts}"),
            (false, None, Some(here)) => format!("{product} stays at {here}: {texts}"),
            (false, None, None) => format!("{product} is not there yet: {texts}"),
        };
        Why {
            clear,
            sentence,
            links,
        }
    }

    /// Why a plan does not come to a version against which nothing stands as things are: what else it plans does not
    /// go with it. `None` where it does come there.
    pub(crate) fn passed_over(&self, at: usize, level: Level) -> Option<String> {
        let scene = &self.scene;
        let target = self.target.get_or_init(|| reach_in(scene));
        let goal = target[at];
        if goal >= level {
            return None;
        }
        let key = scene.key(at);
        let version = |at: usize, level: Level| scene.version(at, level).map(ToString::to_string);
        let asked = version(at, level).unwrap_or_default();
        let kept = match version(at, goal) {
            Some(there) if goal == scene.current[at] => format!("the plan keeps {key} at {there}"),
            Some(there) => format!("the plan takes {key} to {there} instead"),
            None => format!("the plan leaves {key} out"),
        };
        let stands = |other: usize| {
            let name = scene.key(other);
            match version(other, target[other]) {
                Some(there) if target[other] == scene.current[other] => {
                    format!("{name} {there}, which runs there,")
                }
                Some(there) => format!("{name} {there}, which is planned there,"),
                None => format!("{name}, which is not there,"),
            }
        };
        let wants = |edge: &Edge, key: &str| {
            let range = scene.catalogue.range(edge);
            if edge.bars() {
                format!("cannot run beside {key} {range}")
            } else {
                format!("needs {key} {range}").trim_end().to_owned()
            }
        };
        let own = scene.edges(at, level).iter().filter_map(|edge| {
            let other = scene.place(edge.to())?;
            let name = scene.catalogue.key(edge.to());
            let wrong = !edge.allows(target[other]);
            wrong.then(|| {
                format!(
                    "{asked} {}, and not {}",
                    wants(edge, name),
                    stands(other).trim_end_matches(',')
                )
            })
        });
        let product = scene.install(at).product;
        let others = scene.dependents(at).flat_map(|other| {
            let edges = scene.edges(other, target[other]).iter();
            edges
                .filter(|edge| edge.to() == product && !edge.allows(level))
                .map(move |edge| format!("{} {}", stands(other), wants(edge, key)))
        });
        let why: Vec<String> = own.chain(others).collect();
        Some(if why.is_empty() {
            format!("{kept}: that goes with newer versions of others")
        } else {
            format!("{kept}: {}", why.join("; "))
        })
    }

    /// What runs and was recalled: where it goes, or why it stays. `None` where it was not recalled.
    fn leaves(&self, at: usize) -> Option<Why> {
        let scene = &self.scene;
        let current = scene.current[at];
        let recall = scene.recall_of(at, current)?;
        let (key, here) = (scene.key(at), scene.version(at, current)?);
        let planned = plan(scene.catalogue, scene.environment)
            .installs
            .into_iter()
            .nth(at)?;
        let to = planned.step.map(|step| step.to);
        let to = to.or(planned.target.filter(|target| target != here));
        let (then, lifts, links) = match (scene.is_moving(at), to) {
            (true, _) => {
                let to = scene.version(at, scene.moving[at])?;
                (
                    format!("it goes to {to} now"),
                    "its deployment's end".to_owned(),
                    Vec::new(),
                )
            }
            (false, Some(to)) => {
                let links = self.explain(key, &to).links;
                let then = if links.is_empty() {
                    format!("it goes to {to}, which can be put there now")
                } else {
                    format!("it goes to {to}: {}", texts(&links))
                };
                (then, format!("{to} in its place"), links)
            }
            (false, None) => {
                let (reason, links) = self.stays(at, recall);
                (
                    format!("it stays for now: {reason}"),
                    "a release that may take its place".to_owned(),
                    links,
                )
            }
        };
        let lifts = Lift::When(lifts);
        let text = format!("{here} was recalled: {}", recall.reason);
        let own = Link {
            kind: "recall".to_owned(),
            product: key.to_owned(),
            version: here.to_string(),
            holds: vec![Hold {
                kind: "recall".to_owned(),
                why: format!("was recalled: {}", recall.reason),
                lifts: lifts.clone(),
            }],
            text,
            lifts: Some(lifts),
        };
        Some(Why {
            clear: false,
            sentence: format!(
                "{key} {here} runs in {} and was recalled: {}; {then}",
                scene.environment.name, recall.reason
            ),
            links: std::iter::once(own).chain(links).collect(),
        })
    }

    /// Why a recalled version still runs, in one sentence; `None` where what runs was not recalled.
    #[must_use]
    pub fn stays_recalled(&self, product: &str) -> Option<String> {
        let scene = &self.scene;
        let at = scene.place(scene.catalogue.find(product)?)?;
        let current = scene.current[at];
        let recall = scene.recall_of(at, current)?;
        let here = scene.version(at, current)?;
        let (reason, _) = self.stays(at, recall);
        Some(format!(
            "{here} was recalled ({}) and still runs: {reason}",
            recall.reason
        ))
    }

    /// Why nothing takes the place of a recalled version.
    fn stays(&self, at: usize, recall: &crate::Recall) -> (String, Vec<Link>) {
        let scene = &self.scene;
        let current = scene.current[at];
        let releases = scene.catalogue.releases(scene.install(at).product);
        let kept = |level: &Level| scene.recall_of(at, *level).is_none();
        let newer = (current + 1..=releases.len()).rev().find(kept);
        let floor = recall.floor.as_ref();
        let least = floor.map_or(current, |floor| {
            releases.partition_point(|release| release.version < *floor) + 1
        });
        let instead = newer.or_else(|| (least..current).rev().find(kept));
        match instead.and_then(|level| scene.version(at, level)) {
            Some(version) => {
                let links = self.explain(scene.key(at), version).links;
                (texts(&links), links)
            }
            None if floor.is_some() => (
                "no other release at or above its floor may take its place".to_owned(),
                Vec::new(),
            ),
            None => (
                "nothing newer was released, and no floor was named to go back to".to_owned(),
                Vec::new(),
            ),
        }
    }
}

/// All links as one chain.
fn texts(links: &[Link]) -> String {
    let texts: Vec<&str> = links.iter().map(|link| link.text.as_str()).collect();
    texts.join("; ")
}

fn unclear(product: &str, version: &Version, kind: &str, sentence: String) -> Why {
    Why {
        clear: false,
        links: vec![Link {
            kind: kind.to_owned(),
            product: product.to_owned(),
            version: version.to_string(),
            text: sentence.clone(),
            lifts: None,
            holds: Vec::new(),
        }],
        sentence,
    }
}

/// The install and level that are asked about, or what is unknown, with its kind.
fn find(
    scene: &Scene<'_>,
    product: &str,
    version: &Version,
) -> Result<(usize, Level), (&'static str, String)> {
    let catalogue = scene.catalogue;
    let Some(index) = catalogue.find(product) else {
        return Err(("unknown", format!("there is no product {product}")));
    };
    let Some(at) = scene.place(index) else {
        let name = &scene.environment.name;
        return Err((
            "missing",
            format!("{product} is not among what belongs in {name}"),
        ));
    };
    catalogue
        .level(index, version)
        .map(|level| (at, level))
        .ok_or_else(|| {
            let newest = catalogue.releases(index).iter().rev().take(5);
            let known: Vec<String> = newest.map(|release| release.version.to_string()).collect();
            let known = if known.is_empty() {
                "none".to_owned()
            } else {
                known.join(", ")
            };
            (
                "unknown",
                format!("there is no release {version} of {product}; the newest are {known}"),
            )
        })
}

/// What is being put there now.
fn arrives(scene: &Scene<'_>, at: usize, product: &str, version: &Version) -> Why {
    let environment = &scene.environment.name;
    let holds = scene.holds(at, scene.moving[at], Scope::Moment);
    // Where no network reaches, its end is heard of when somebody brings it.
    let carried = holds.into_iter().find(|hold| hold.kind == "air_gap");
    let (sentence, lifts) = match carried {
        Some(hold) => (
            format!(
                "{product} {version} is on its way to {environment}: no network reaches it, so a bundle is carried"
            ),
            hold.lifts,
        ),
        None => (
            format!("{product} {version} is being put in {environment} now"),
            Lift::When("its deployment's end".to_owned()),
        ),
    };
    Why {
        clear: false,
        links: vec![Link {
            kind: "moving".to_owned(),
            product: product.to_owned(),
            version: version.to_string(),
            text: sentence.clone(),
            holds: vec![Hold {
                kind: "moving".to_owned(),
                why: "is being put there now".to_owned(),
                lifts: lifts.clone(),
            }],
            lifts: Some(lifts),
        }],
        sentence,
    }
}

/// What stands against a version in an environment, newer or older than what runs: for changes that people ask
/// for. Empty where nothing does, or where the product or version is not known there.
#[must_use]
pub fn against(
    catalogue: &Catalogue,
    environment: &Environment,
    product: &str,
    version: &Version,
) -> Vec<Link> {
    let scene = Scene::new(catalogue, environment);
    let index = catalogue.find(product);
    let at = index.and_then(|index| scene.place(index));
    let level = index.and_then(|index| catalogue.level(index, version));
    let (Some(at), Some(level)) = (at, level) else {
        return Vec::new();
    };
    let target = OnceLock::new();
    let mut teller = Teller::new(&scene, &target);
    teller.tell(at, level);
    teller.links
}

/// What holds a version, as one sentence. What waits for several things waits for each; a reason that has commas or
/// colons of its own ends before the next begins.
fn joined(name: &str, holds: &[Hold]) -> String {
    let mut text = name.to_owned();
    let mut before: Option<&str> = None;
    for hold in holds {
        let why = hold.why.as_str();
        let closed = before.is_some_and(|before| [", ", ": ", "; "].iter().any(|end| before.contains(end)));
        let waits = |why: &str| why.starts_with("waits for ");
        let next = match before {
            None => format!(" {why}"),
            Some(before) if !closed && waits(before) && waits(why) => {
                format!(" and {}", why.trim_start_matches("waits "))
            }
            Some(_) if !closed => format!(" and {why}"),
            Some(_) => match why.split_once(' ') {
                Some((verb @ ("is" | "was"), rest)) => format!("; it {verb} also {rest}"),
                _ => format!("; it also {why}"),
            },
        };
        text.push_str(&next);
        before = Some(why);
    }
    text
}

struct Teller<'a, 'b> {
    scene: &'b Scene<'a>,
    /// As the explainer's.
    target: &'b OnceLock<Vec<Level>>,
    links: Vec<Link>,
    /// Asked already, so that a cycle is named instead of walked.
    asked: Vec<(usize, Level)>,
}

impl<'a, 'b> Teller<'a, 'b> {
    const fn new(scene: &'b Scene<'a>, target: &'b OnceLock<Vec<Level>>) -> Self {
        Self {
            scene,
            target,
            links: Vec::new(),
            asked: Vec::new(),
        }
    }

    fn link(&mut self, kind: &str, at: usize, level: Level, text: String, lifts: Option<Lift>) {
        let holds = lifts.iter().map(|lifts| Hold {
            kind: kind.to_owned(),
            why: text.clone(),
            lifts: lifts.clone(),
        });
        let holds = holds.collect();
        self.link_of(kind, at, level, text, lifts, holds);
    }

    fn link_of(
        &mut self,
        kind: &str,
        at: usize,
        level: Level,
        text: String,
        lifts: Option<Lift>,
        holds: Vec<Hold>,
    ) {
        if self.links.len() < LINKS {
            self.links.push(Link {
                kind: kind.to_owned(),
                product: self.scene.key(at).to_owned(),
                version: self.version(at, level),
                text,
                lifts,
                holds,
            });
        }
    }

    fn version(&self, at: usize, level: Level) -> String {
        self.scene
            .version(at, level)
            .map(ToString::to_string)
            .unwrap_or_default()
    }

    /// "foo 1.1.0", or, for the product that was asked about, "1.1.0".
    fn name(&self, at: usize, level: Level) -> String {
        match self.asked.first() {
            Some((first, _)) if *first == at => self.version(at, level),
            _ => format!("{} {}", self.scene.key(at), self.version(at, level)),
        }
    }

    /// Tells what holds an install from a level; whether nothing does.
    fn tell(&mut self, at: usize, level: Level) -> bool {
        self.asked.push((at, level));
        let name = self.name(at, level);
        let holds = self.scene.holds(at, level, Scope::Version);
        if !holds.is_empty() {
            self.hold(at, level, &name, &holds);
            return false;
        }
        let asks = self.asks(at, level, &name);
        let takes = self.taken(at, level, &name);
        let skips = self.skips(at, level, &name);
        let holds = self.scene.holds(at, level, Scope::Moment);
        let free = holds.is_empty();
        if !free {
            self.hold(at, level, &name, &holds);
        }
        asks && takes && skips && free
    }

    /// Holds as one link: "bar 1.1.0 waits for the window … and for approval by security".
    fn hold(&mut self, at: usize, level: Level, name: &str, holds: &[Hold]) {
        let text = joined(name, holds);
        // The latest of the times, or the first event: until then nothing changes.
        let events = holds.iter().find(|hold| matches!(hold.lifts, Lift::When(_)));
        let latest = holds.iter().max_by_key(|hold| match hold.lifts {
            Lift::At(at) => Some(at),
            Lift::When(_) => None,
        });
        let lifts = events.or(latest).map(|hold| hold.lifts.clone());
        let kinds: Vec<&str> = holds.iter().map(|hold| hold.kind.as_str()).collect();
        self.link_of(&kinds.join("+"), at, level, text, lifts, holds.to_vec());
    }

    /// What the version asks of others.
    fn asks(&mut self, at: usize, level: Level, name: &str) -> bool {
        let scene = self.scene;
        let mut met = true;
        for edge in scene.edges(at, level) {
            let key = scene.catalogue.key(edge.to()).to_owned();
            let releases = scene.catalogue.releases(edge.to());
            let bound = |level: Level| {
                level
                    .checked_sub(1)
                    .and_then(|at| releases.get(at))
                    .map(|release| release.version.to_string())
            };
            let Some(other) = scene.place(edge.to()) else {
                if !edge.spares() {
                    met = false;
                    let text = format!(
                        "{name} needs {key}, which does not belong in {}",
                        scene.environment.name
                    );
                    self.link(
                        "missing",
                        at,
                        level,
                        text,
                        Some(Lift::When(format!("{key} to be installed"))),
                    );
                }
                continue;
            };
            let there = scene.current[other];
            if edge.allows(there) {
                continue;
            }
            met = false;
            if edge.bars() {
                let text = format!(
                    "{name} cannot run beside {key} {}, and {key} is at {}",
                    scene.catalogue.range(edge),
                    bound(there).unwrap_or_default()
                );
                self.link(
                    "incompatible",
                    at,
                    level,
                    text,
                    Some(Lift::When(format!("another version of {key}"))),
                );
            } else {
                let asks = format!("{name} needs {key} {}", scene.catalogue.range(edge));
                let asks = asks.trim_end();
                if there < edge.least() && edge.least() > edge.most() {
                    self.none_fits(at, level, edge, asks);
                } else if there < edge.least() {
                    let text = if there > 0 || scene.catalogue.has_minimum(edge) {
                        asks.to_owned()
                    } else {
                        format!("{asks}, which is not there yet")
                    };
                    self.link("dependency", at, level, text, None);
                    let goal = self.next_of(other, edge.least()..=edge.most());
                    self.follow(other, goal);
                } else {
                    let there = bound(there).unwrap_or_default();
                    let text = format!("{asks}, and {key} is at {there}");
                    let event = format!("a release that takes a newer {key}");
                    self.link("dependency", at, level, text, Some(Lift::When(event)));
                }
            }
        }
        met
    }

    /// The level that another product would be taken to in a range: the newest that nothing holds now, else the one that
    /// is planned, so that nobody is sent after a version that will not come.
    fn next_of(&self, other: usize, range: RangeInclusive<Level>) -> Level {
        let scene = self.scene;
        let held = |level: Level| scene.holds(other, level, Scope::Moment);
        let allowed = |level: &Level| scene.allowed(other, *level);
        let target = self.target.get_or_init(|| reach_in(scene));
        let planned = Some(target[other]).filter(|level| range.contains(level));
        // What holds every version alike leaves nothing to look for, and calendars take their time.
        if let Some(planned) = planned
            && held(planned).iter().any(|hold| hold.kind == "maintenance_window")
        {
            return planned;
        }
        let free = |level: &Level| allowed(level) && held(*level).is_empty();
        (range.clone().rev().find(free))
            .or(planned)
            .or_else(|| range.clone().find(allowed))
            .unwrap_or(*range.start())
    }

    /// It needs a range of another product in which nothing was released.
    fn none_fits(&mut self, at: usize, level: Level, edge: &Edge, asks: &str) {
        let catalogue = self.scene.catalogue;
        let key = catalogue.key(edge.to());
        let releases = catalogue.releases(edge.to());
        let text = match releases.last() {
            None => format!("{asks}, of which there is no release yet"),
            Some(newest) if edge.least() > releases.len() => {
                format!("{asks}, and the newest that was released is {}", newest.version)
            }
            Some(_) => format!("{asks}, and nothing that was released is in that range"),
        };
        let event = format!("a release of {key} {}", catalogue.range(edge));
        let event = Lift::When(event.trim_end().to_owned());
        self.link("dependency", at, level, text, Some(event));
    }

    /// What others, as they are, take of this one.
    fn taken(&mut self, at: usize, level: Level, name: &str) -> bool {
        let scene = self.scene;
        let product = scene.install(at).product;
        let mut met = true;
        let dependents: Vec<usize> = scene.dependents(at).collect();
        for other in dependents {
            let takes = |other_level: Level| {
                let edges = scene.edges(other, other_level);
                edges
                    .iter()
                    .filter(|edge| edge.to() == product)
                    .all(|edge| edge.allows(level))
            };
            if takes(scene.current[other]) {
                continue;
            }
            met = false;
            let here = format!(
                "{} {}",
                scene.key(other),
                self.version(other, scene.current[other])
            );
            self.link(
                "dependent",
                at,
                level,
                format!("{here} does not take {name}"),
                None,
            );
            let goal = (scene.current[other] + 1..=scene.newest(other))
                .find(|level| scene.allowed(other, *level) && takes(*level));
            match goal {
                Some(goal) => {
                    let next = format!("{} {} does", scene.key(other), self.version(other, goal));
                    self.link("dependent", other, goal, next, None);
                    self.follow(other, goal);
                }
                None => {
                    let text = format!("no newer release of {} that may be taken does", scene.key(other));
                    let event = format!("a release of {}", scene.key(other));
                    self.link(
                        "dependent",
                        other,
                        scene.current[other],
                        text,
                        Some(Lift::When(event)),
                    );
                }
            }
        }
        met
    }

    /// A product whose versions are taken one after the other.
    fn skips(&mut self, at: usize, level: Level, name: &str) -> bool {
        let scene = self.scene;
        let current = scene.current[at];
        let after = scene.next(at, current);
        if !scene.steps_one_by_one(at, current) || level <= after {
            return true;
        }
        let next = self.version(at, after);
        let text = format!("{name} comes after {next}: its versions are taken one after the other");
        self.link("one_by_one", at, level, text, None);
        self.follow(at, after);
        false
    }

    fn follow(&mut self, at: usize, level: Level) {
        let name = self.name(at, level);
        if self.asked.contains(&(at, level)) {
            let text = format!("which in turn waits for {name}: they can only switch together");
            self.link(
                "coupled",
                at,
                level,
                text,
                Some(Lift::When("a group step".to_owned())),
            );
            return;
        }
        if self.links.len() >= LINKS {
            return;
        }
        if self.scene.moving[at] == level && self.scene.is_moving(at) {
            let text = format!("{name} is being put there now");
            self.link(
                "moving",
                at,
                level,
                text,
                Some(Lift::When("its deployment's end".to_owned())),
            );
            return;
        }
        let before = self.links.len();
        if self.tell(at, level) && self.links.len() == before {
            let text = format!("{name} can be put there now");
            self.link("ready", at, level, text, None);
        }
    }
}
