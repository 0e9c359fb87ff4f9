//! Why a version is not there: a chain of plain sentences, each about one product, version and kind, so that a
//! page can link each to the facts behind it.

use crate::{
    constraint::{Lift, Scope},
    model::{Catalogue, Environment, Level},
    scene::Scene,
    version::Version,
};
use serde::{Deserialize, Serialize};

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
    /// What would lift it; `None` where another link says so.
    pub lifts: Option<Lift>,
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
pub struct Explainer<'a>(Scene<'a>);

impl<'a> Explainer<'a> {
    /// Prepares an environment.
    #[must_use]
    pub fn new(catalogue: &'a Catalogue, environment: &'a Environment) -> Self {
        Self(Scene::new(catalogue, environment))
    }

    /// As [`explain`].
    #[must_use]
    pub fn explain(&self, product: &str, version: &Version) -> Why {
        explain_in(&self.0, product, version)
    }

    /// Why a recalled version still runs, in one sentence; `None` where what runs was not recalled.
    #[must_use]
    pub fn stays_recalled(&self, product: &str) -> Option<String> {
        let scene = &self.0;
        let index = scene.catalogue.find(product)?;
        let at = scene.place(index)?;
        let current = scene.current[at];
        let recall = scene.recall_of(at, current)?;
        let here = scene.version(at, current)?;
        let releases = scene.catalogue.releases(index);
        let kept = |level: &Level| scene.recall_of(at, *level).is_none();
        let newer = (current + 1..=releases.len()).rev().find(kept);
        let floor = recall.floor.as_ref();
        let least = floor.map_or(current, |floor| {
            releases.partition_point(|release| release.version < *floor) + 1
        });
        let instead = newer.or_else(|| (least..current).rev().find(kept));
        let reason = match instead.and_then(|level| scene.version(at, level)) {
            Some(version) => {
                let texts = self.explain(product, version).links;
                texts
                    .iter()
                    .map(|link| link.text.as_str())
                    .collect::<Vec<_>>()
                    .join("; ")
            }
            None if floor.is_some() => "no other release at or above its floor may take its place".to_owned(),
            None => "nothing newer was released, and no floor was named to go back to".to_owned(),
        };
        Some(format!(
            "{here} was recalled ({}) and still runs: {reason}",
            recall.reason
        ))
    }
}

fn explain_in(scene: &Scene<'_>, product: &str, version: &Version) -> Why {
    let (catalogue, environment) = (scene.catalogue, scene.environment);
    let unclear = |sentence: String, kind: &str| Why {
        clear: false,
        links: vec![Link {
            kind: kind.to_owned(),
            product: product.to_owned(),
            version: version.to_string(),
            text: sentence.clone(),
            lifts: None,
        }],
        sentence,
    };
    let Some(index) = catalogue.find(product) else {
        return unclear(format!("there is no product {product}"), "unknown");
    };
    let Some(at) = scene.place(index) else {
        let name = &environment.name;
        return unclear(
            format!("{product} is not among what belongs in {name}"),
            "missing",
        );
    };
    let Some(level) = catalogue.level(index, version) else {
        let known: Vec<String> = catalogue
            .releases(index)
            .iter()
            .rev()
            .take(5)
            .map(|release| release.version.to_string())
            .collect();
        let known = if known.is_empty() {
            "none".to_owned()
        } else {
            known.join(", ")
        };
        return unclear(
            format!("there is no release {version} of {product}; the newest are {known}"),
            "unknown",
        );
    };
    let current = scene.current[at];
    let here = scene.version(at, current).map(ToString::to_string);
    if level == current {
        return Why {
            clear: true,
            sentence: format!("{product} {version} runs in {}", environment.name),
            links: Vec::new(),
        };
    }
    if level < current
        && scene
            .catalogue
            .at(index, current)
            .is_none_or(|r| r.recalled.is_none())
    {
        let here = here.unwrap_or_default();
        return unclear(
            format!(
                "{product} is at {here} already, which is newer, and a plan goes back only from a recalled version"
            ),
            "older",
        );
    }
    let mut teller = Teller {
        scene,
        links: Vec::new(),
        asked: Vec::new(),
    };
    let clear = teller.tell(at, level);
    let links = teller.links;
    let stays = match (&here, scene.is_moving(at)) {
        (_, true) => format!("{product} is moving now"),
        (Some(here), false) => format!("{product} stays at {here}"),
        (None, false) => format!("{product} is not there yet"),
    };
    let sentence = if clear && links.is_empty() {
        format!("{product} {version} can be put in {} now", environment.name)
    } else {
        let texts: Vec<&str> = links.iter().map(|link| link.text.as_str()).collect();
        format!("{stays}: {}", texts.join("; "))
    };
    Why {
        clear: clear && links.is_empty(),
        sentence,
        links,
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
    let mut teller = Teller {
        scene: &scene,
        links: Vec::new(),
        asked: Vec::new(),
    };
    teller.tell(at, level);
    teller.links
}

struct Teller<'a, 'b> {
    scene: &'b Scene<'a>,
    links: Vec<Link>,
    /// Asked already, so that a cycle is named instead of walked.
    asked: Vec<(usize, Level)>,
}

impl Teller<'_, '_> {
    fn link(&mut self, kind: &str, at: usize, level: Level, text: String, lifts: Option<Lift>) {
        if self.links.len() < LINKS {
            self.links.push(Link {
                kind: kind.to_owned(),
                product: self.scene.key(at).to_owned(),
                version: self.version(at, level),
                text,
                lifts,
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
    fn hold(&mut self, at: usize, level: Level, name: &str, holds: &[crate::Hold]) {
        let mut text = name.to_owned();
        for (n, hold) in holds.iter().enumerate() {
            let why = match (n, hold.why.strip_prefix("waits ")) {
                (0, _) => format!(" {}", hold.why),
                (_, Some(rest)) if rest.starts_with("for ") => format!(" and {rest}"),
                _ => format!(" and {}", hold.why),
            };
            text.push_str(&why);
        }
        // The latest of the times, or the first event: until then nothing changes.
        let events = holds.iter().find(|hold| matches!(hold.lifts, Lift::When(_)));
        let latest = holds.iter().max_by_key(|hold| match hold.lifts {
            Lift::At(at) => Some(at),
            Lift::When(_) => None,
        });
        let lifts = events.or(latest).map(|hold| hold.lifts.clone());
        let kinds: Vec<&str> = holds.iter().map(|hold| hold.kind.as_str()).collect();
        self.link(&kinds.join("+"), at, level, text, lifts);
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
            let is = match bound(there) {
                Some(version) => format!("{key} is at {version}"),
                None => format!("{key} is not there yet"),
            };
            if edge.bars() {
                let text = format!(
                    "{name} cannot run beside {key} {}",
                    bound(there).unwrap_or_default()
                );
                self.link(
                    "incompatible",
                    at,
                    level,
                    text,
                    Some(Lift::When(format!("another version of {key}"))),
                );
            } else if there < edge.least() {
                let nothing = there == 0 && releases.is_empty();
                match bound(edge.least()) {
                    None => {
                        let text = if nothing {
                            format!("{name} needs {key}, of which there is no release yet")
                        } else {
                            format!("{name} needs a newer {key} than any that was released")
                        };
                        self.link(
                            "dependency",
                            at,
                            level,
                            text,
                            Some(Lift::When(format!("a release of {key}"))),
                        );
                    }
                    Some(least) => {
                        let text = if there > 0 || scene.catalogue.has_minimum(edge) {
                            format!("{name} needs {key} ≥ {least}")
                        } else {
                            format!("{name} needs {key}, which is not there yet")
                        };
                        self.link("dependency", at, level, text, None);
                        let goal = (edge.least()..=scene.newest(other))
                            .find(|level| scene.allowed(other, *level))
                            .unwrap_or(edge.least());
                        self.follow(other, goal);
                    }
                }
            } else {
                let most = bound(edge.most()).unwrap_or_else(|| "none of its releases".to_owned());
                let text = format!("{name} needs {key} ≤ {most}, and {is}");
                self.link(
                    "dependency",
                    at,
                    level,
                    text,
                    Some(Lift::When(format!("a release that takes a newer {key}"))),
                );
            }
        }
        met
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
