//! Sites: environments that hold many products, declared as files in one git project. A site `site-7` is the file
//! `environments/site-7.yaml`; each product in it is an [`Environment`](crate::environment::Environment) row of
//! that name. What is not declared (`staging`, `production` of a project) is deployed to as before.

mod api;
mod diff;
pub(crate) mod hooks;
pub(crate) mod pages;
mod parity;
mod parse;
mod refusal;
pub(crate) mod schema;
pub(crate) mod service;
pub(crate) mod store;
#[cfg(test)]
mod tests;
mod unknown;

pub(crate) use api::routes;
pub(crate) use diff::diff;
pub(crate) use unknown::STATE as UNKNOWN_PRODUCT;

use crate::product::image::DRIVERS;
use bascule_core::Timestamp;
use bascule_planner::calendar::{Calendar, WindowSpec};
use bascule_store::{Json, row};
use bascule_wire::{advisory::Severity, agent::Driver};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub use hooks::Hooks;
pub use parse::{SiteError, parse};

/// The folder of the environments project in which sites are declared.
pub const FOLDER: &str = "environments/";
/// Largest declaration read, in bytes.
pub const FILE_BYTES: usize = 256 * 1024;
/// The setting that is no variable: how a product runs. No variable can have this name.
pub(crate) const DRIVER: &str = "@driver";
/// Most sites that one project declares.
pub const SITES: usize = 5_000;

/// An environment as its file declares it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Site {
    /// Its name; the file's name without `.yaml`.
    pub name: String,
    /// `staging` or `production`.
    pub tier: String,
    /// The agent that runs it; empty: the first that is enrolled.
    pub agent: String,
    /// How products run here; `None`: as each of them says.
    #[serde(default)]
    pub driver: Option<Driver>,
    /// Whether no network reaches it: nothing is put there from here, bundles carry it.
    #[serde(default)]
    pub disconnected: bool,
    /// The channel that its installs follow unless they say otherwise.
    pub channel: String,
    /// Whether pre-releases are taken.
    pub prereleases: bool,
    /// When changes may happen; none: always.
    pub windows: Vec<WindowSpec>,
    /// Dates on which no window opens.
    pub holidays: Vec<String>,
    /// Teams that approve each change.
    pub approvals: Vec<String>,
    /// Least share of the error budget that a change needs, in percent; 0: none.
    pub budget_percent: u8,
    /// Releases with a finding of this severity or worse are kept out; `None`: none is.
    #[serde(default)]
    pub findings: Option<Severity>,
    /// Whether what differs from the declaration is put right by itself.
    pub heal: bool,
    /// Variables of everything here; they win over the product's own.
    pub variables: BTreeMap<String, String>,
    /// Whether what is no longer declared is taken away.
    #[serde(default)]
    pub prune: bool,
    /// Most that is taken away at once, in percent of what is here.
    #[serde(default = "usual_prune_limit")]
    pub prune_limit_percent: u8,
    /// What is installed.
    pub installs: Vec<SiteInstall>,
}

/// Most that is taken away at once unless a file says otherwise, in percent.
pub(crate) const fn usual_prune_limit() -> u8 {
    30
}

/// A product that belongs in a site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteInstall {
    /// `group/project`.
    pub product: String,
    /// How it runs; `None`: as the site says.
    #[serde(default)]
    pub driver: Option<Driver>,
    /// The channel that it follows; empty: the site's.
    pub channel: String,
    /// A matcher of versions, others are kept out; empty: all are let in.
    pub pin: String,
    /// Why it is pinned; may be empty.
    pub pin_reason: String,
    /// Teams that approve its changes, besides the site's.
    pub approvals: Vec<String>,
    /// Variables; they win over the site's.
    pub variables: BTreeMap<String, String>,
    /// It moves only after the installs of lower waves are up to date and healthy.
    #[serde(default)]
    pub wave: u32,
    /// Commands around each of its deployments.
    #[serde(default)]
    pub hooks: Hooks,
}

impl Site {
    /// The calendar of its windows. A declaration whose windows are wrong is refused when it is read; `None` where
    /// those that were stored can no longer be read, such as after a time zone was given up.
    #[must_use]
    pub fn calendar(&self) -> Option<Calendar> {
        Calendar::new(&self.windows, &self.holidays).ok()
    }

    /// What it says of a product.
    #[must_use]
    pub fn install(&self, product: &str) -> Option<&SiteInstall> {
        self.installs.iter().find(|install| install.product == product)
    }

    /// The channel that an install follows: its own, or else the site's.
    #[must_use]
    pub fn channel_of<'a>(&'a self, install: Option<&'a SiteInstall>) -> &'a str {
        let own = install.map(|install| install.channel.as_str());
        own.filter(|own| !own.is_empty()).unwrap_or(&self.channel)
    }

    /// The variables that it gives a product, above the product's own; none where it does not install it.
    #[must_use]
    pub fn variables_of(&self, product: &str) -> BTreeMap<String, String> {
        let Some(install) = self.install(product) else {
            return BTreeMap::new();
        };
        let mut all = self.variables.clone();
        all.extend(install.variables.clone());
        all
    }

    /// All that it gives a product: the variables, and under [`DRIVER`] how it runs.
    #[must_use]
    pub fn settings_of(&self, product: &str) -> BTreeMap<String, String> {
        let mut all = self.variables_of(product);
        let driver = self
            .install(product)
            .and_then(|install| install.driver.or(self.driver));
        all.extend(driver.map(|driver| (DRIVER.to_owned(), driver.as_str().to_owned())));
        all
    }
}

/// The driver that settings name.
pub(crate) fn driver_in(settings: &BTreeMap<String, String>) -> Option<Driver> {
    let name = settings.get(DRIVER)?;
    let known = DRIVERS.iter().find(|(known, _)| known == name);
    known.map(|(_, driver)| *driver)
}

/// The variables that settings hold.
pub(crate) fn variables_in(settings: &BTreeMap<String, String>) -> impl Iterator<Item = (String, String)> {
    let variables = settings.iter().filter(|(name, _)| *name != DRIVER);
    variables.map(|(name, value)| (name.clone(), value.clone()))
}

row! {
    /// A site as it was last declared.
    #[derive(Clone, Debug)]
    pub(crate) struct Declared {
        pub name: String,
        pub body: Json<Site>,
        pub sha: String,
        pub declared_at: Timestamp,
        /// The hub's key, where a bundle declares it.
        pub origin: Option<String>,
    }
}

row! {
    /// Changes are held in a site.
    #[derive(Clone, Debug)]
    pub(crate) struct Suppressed {
        pub site: String,
        pub cause: String,
        pub reason: String,
        pub actor: String,
        pub opened_at: Timestamp,
        pub until_at: Option<Timestamp>,
    }
}
