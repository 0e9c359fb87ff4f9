//! What a project delivers, as its `bascule.yaml` says: what to run, how to tell that it serves, what it
//! promises its users, and how a new version meets them. Pure: text in, a [`Product`] or an error that
//! names line and column out.

pub(crate) mod image;
mod parse;
mod preview;
pub(crate) mod relations;
mod rollout;
#[cfg(test)]
mod tests;
pub(crate) mod values;
pub(crate) mod yaml;

use bascule_wire::agent::{Driver, HealthCheck, Limits, SmokeCheck, Tier};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt};

pub use image::{Image, Runs};
pub use parse::parse;
pub use preview::PreviewPolicy;
pub use relations::{ChannelRule, Dependency, FIRST_CHANNEL, Incompatible, Relations, STABLE_CHANNEL};

/// The file's name in the project.
pub const FILE: &str = "bascule.yaml";
/// Largest file read, in bytes: a product description is a page, not a book.
pub const FILE_BYTES: usize = 64 * 1024;

/// A product as described at one commit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Product {
    /// Its name.
    pub name: String,
    /// Path of the file to run as a process, within the release's artifacts; empty where there is an image alone.
    pub artifact: String,
    /// What to run in the unpacked artifact, by `/bin/sh -c`.
    pub command: String,
    /// What to run as a container.
    #[serde(default)]
    pub image: Option<Image>,
    /// How it is run unless an environment says otherwise; once it is deployed: how it runs.
    #[serde(default)]
    pub driver: Option<Driver>,
    /// How to tell that an instance serves.
    pub health: HealthCheck,
    /// Environment variables everywhere.
    pub variables: BTreeMap<String, String>,
    /// Environment variables by environment name; they win over [`Product::variables`].
    pub overrides: BTreeMap<String, BTreeMap<String, String>>,
    /// What must answer before users meet an instance.
    pub smoke: Vec<SmokeCheck>,
    /// What it promises.
    pub slo: Slo,
    /// How a new version meets users in production, and in staging where the file says so.
    pub rollout: RolloutPolicy,
    /// What an instance may use.
    pub limits: Limits,
    /// Time that requests in flight get to end when an instance is taken away, in milliseconds.
    pub drain_ms: u64,
    /// What it says of previews of requests into its branch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preview: Option<Box<PreviewPolicy>>,
    /// What it says of other products, and of its own way through the channels.
    #[serde(default)]
    pub relations: Relations,
}

impl Product {
    /// How a new version takes over in a tier. In staging it takes all traffic at once, unless the file says
    /// otherwise for it, or the product cannot stand beside itself.
    #[must_use]
    pub fn rollout_in(&self, tier: Tier) -> RolloutPolicy {
        let base = &self.rollout;
        if self.driver == Some(Driver::Agent) {
            // A machine has one agent, which serves nobody: one version ends, the next begins.
            return RolloutPolicy {
                strategy: Strategy::Recreate,
                steps: vec![100],
                times: Vec::new(),
                pauses: Vec::new(),
                fresh: false,
                replicas: 1,
                staging: None,
                ..base.clone()
            };
        }
        let own = match (tier, &base.staging) {
            (Tier::Staging, Some(own)) => (**own).clone(),
            (Tier::Staging, None) => base.clone().at_once(),
            _ => base.clone(),
        };
        RolloutPolicy { staging: None, ..own }
    }

    /// The variables that an instance gets in an environment, without `PORT`.
    #[must_use]
    pub fn variables_in(&self, environment: &str) -> BTreeMap<String, String> {
        let mut all = self.variables.clone();
        all.extend(self.overrides.get(environment).cloned().unwrap_or_default());
        all
    }
}

/// What a product promises its users.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Slo {
    /// Share of requests answered without error, in percent.
    pub availability: f64,
    /// Over this many seconds.
    pub window_seconds: u64,
    /// A request slower than this counts as slow, in milliseconds.
    pub latency_ms: u64,
}

impl Default for Slo {
    fn default() -> Self {
        Self {
            availability: 99.9,
            window_seconds: 28 * 86_400,
            latency_ms: 300,
        }
    }
}

/// How traffic goes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// A new instance beside the old, shares of traffic in steps.
    BlueGreen,
    /// The same, with a time of its own for each step and pauses at which a person is waited for.
    Canary,
    /// New instances take the places of the old ones, some at a time.
    Rolling,
    /// The old instances end before the new ones start: for products that cannot stand beside themselves.
    Recreate,
}

impl Strategy {
    /// As files and facts name it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BlueGreen => "blue_green",
            Self::Canary => "canary",
            Self::Rolling => "rolling",
            Self::Recreate => "recreate",
        }
    }

    /// Whether shares of traffic go over between two whole sets of instances.
    #[must_use]
    pub const fn in_shares(self) -> bool {
        matches!(self, Self::BlueGreen | Self::Canary)
    }
}

/// The hard limit on what a new version may cost: its errors against the product's error budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Burn {
    /// So many times faster than the budget allows; 1 would use it up in just its window.
    pub rate: u32,
    /// The budget: errors in a million requests that the product's promise allows.
    pub budget_ppm: u32,
}

/// What happens when a step saw too little traffic to be judged, however long it was extended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Inconclusive {
    /// Wait for a person to promote or abort.
    Ask,
    /// Put all traffic back.
    Abort,
    /// Take the next step: for products that see little traffic and do little harm.
    Promote,
    /// Take the next step where there was too little traffic to judge and nothing is ill; where something points
    /// to the new version being worse, wait for a person.
    Quiet,
}

/// How a new version meets users in production.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutPolicy {
    /// How traffic goes over.
    pub strategy: Strategy,
    /// Shares of traffic in percent, rising, the last one 100.
    pub steps: Vec<u32>,
    /// Least time a step lasts, in milliseconds.
    pub step_ms: u64,
    /// The judge's unit of observation, in milliseconds: a second or a minute.
    pub slice_ms: u64,
    /// Longest time a step may last when it cannot be judged yet, in milliseconds.
    pub max_ms: u64,
    /// What happens then; `None`: the file does not say, and [`Self::inconclusive_in`] does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inconclusive: Option<Inconclusive>,
    /// Least time of each step where steps have times of their own, in milliseconds; a missing one is `step_ms`.
    #[serde(default)]
    pub times: Vec<u64>,
    /// Indices of the steps after which a person is waited for.
    #[serde(default)]
    pub pauses: Vec<usize>,
    /// The error budget's hard limit, if the file sets one.
    #[serde(default)]
    pub burn: Option<Burn>,
    /// Instances that serve.
    #[serde(default = "one")]
    pub replicas: u32,
    /// Rolling: instances that may run above the number that serve.
    #[serde(default = "one")]
    pub max_surge: u32,
    /// Rolling: instances that may be missing from the number that serve.
    #[serde(default)]
    pub max_unavailable: u32,
    /// Whether the new version is compared with an instance of the old one that was started with it.
    #[serde(default)]
    pub fresh: bool,
    /// The policy in staging, where the file has one of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staging: Option<Box<Self>>,
}

const fn one() -> u32 {
    1
}

/// Instances of a product in one environment, at most.
pub const REPLICAS: u32 = 50;

impl RolloutPolicy {
    /// The same without steps, as staging has it where nothing is said of it: all traffic at once.
    pub(crate) fn at_once(self) -> Self {
        if self.strategy == Strategy::Recreate {
            return self;
        }
        Self {
            strategy: Strategy::BlueGreen,
            steps: vec![100],
            times: Vec::new(),
            pauses: Vec::new(),
            fresh: false,
            ..self
        }
    }

    /// The same with what happens when a step cannot be judged in time, where the file does not say it. What files
    /// declare moves by itself, so that a lack of users does not stop it; elsewhere people move, and are asked.
    #[must_use]
    pub(crate) fn inconclusive_in(self, declared: bool) -> Self {
        let usual = if declared {
            Inconclusive::Quiet
        } else {
            Inconclusive::Ask
        };
        Self {
            inconclusive: Some(self.inconclusive.unwrap_or(usual)),
            ..self
        }
    }

    /// Least time that a step lasts, in milliseconds.
    #[must_use]
    pub fn time_at(&self, step: usize) -> u64 {
        self.times.get(step).copied().unwrap_or(self.step_ms)
    }
}

impl Default for RolloutPolicy {
    fn default() -> Self {
        Self {
            strategy: Strategy::BlueGreen,
            steps: vec![10, 25, 50, 100],
            step_ms: 10 * 60_000,
            slice_ms: 60_000,
            max_ms: 30 * 60_000,
            inconclusive: None,
            times: Vec::new(),
            pauses: Vec::new(),
            burn: None,
            replicas: 1,
            max_surge: 1,
            max_unavailable: 0,
            fresh: false,
            staging: None,
        }
    }
}

/// A place in the file, both counted from one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Line.
    pub line: usize,
    /// Column.
    pub column: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// Why a file describes no product: where, what, and what may stand there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{FILE}:{at}: {what}{}{allowed}", if allowed.is_empty() { "" } else { "; allowed: " })]
pub struct ProductError {
    /// Where.
    pub at: Position,
    /// What is wrong.
    pub what: String,
    /// What is allowed there; empty where the message says it all.
    pub allowed: String,
}
