//! The planner as its users meet it: what is planned, why not, and whether that is the newest that is safe.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on should say where"
)]

mod exhaustive;
mod mended;
mod oracle;
mod scenario;
mod toy;
mod why;

use bascule_core::Timestamp;
use bascule_planner::{
    Catalogue, Dependency, Environment, Install, Matcher, Release, Version, constraint::Constraint,
};
use std::sync::Arc;

pub(crate) fn v(text: &str) -> Version {
    text.parse().unwrap()
}

/// `needs(&[("bar", "1.1.0", "1.x.x")])`
pub(crate) fn release(version: &str, needs: &[(&str, &str, &str)]) -> Release {
    let mut release = Release::plain(v(version));
    release.channels = vec!["dev".into()];
    for (product, minimum, maximum) in needs {
        release.dependencies.push(Dependency {
            product: (*product).into(),
            minimum: (!minimum.is_empty()).then(|| v(minimum)),
            maximum: if maximum.is_empty() {
                Matcher::any()
            } else {
                maximum.parse().unwrap()
            },
            optional: false,
        });
    }
    release
}

pub(crate) struct World {
    pub catalogue: Catalogue,
    pub environment: Environment,
}

impl World {
    pub fn new() -> Self {
        Self {
            catalogue: Catalogue::new(),
            environment: Environment {
                name: "site-7".into(),
                installs: Vec::new(),
                now: "2026-11-25T12:00:00Z".parse::<Timestamp>().unwrap(),
            },
        }
    }

    pub fn publish(mut self, product: &str, releases: &[Release]) -> Self {
        let index = self.catalogue.product(product);
        for release in releases {
            self.catalogue.publish(index, release.clone());
        }
        self
    }

    pub fn install(mut self, product: &str, current: &str) -> Self {
        let index = self.catalogue.product(product);
        let current = (!current.is_empty()).then(|| v(current));
        self.environment.installs.push(Install::new(index, current));
        self
    }

    pub fn at(&mut self, product: &str) -> &mut Install {
        let index = self.catalogue.find(product).unwrap();
        self.environment
            .installs
            .iter_mut()
            .find(|install| install.product == index)
            .unwrap()
    }

    pub fn hold(mut self, product: &str, constraint: impl Constraint + 'static) -> Self {
        self.at(product).constraints.push(Arc::new(constraint));
        self
    }

    /// `foo 1.0.0 → 1.1.0 of 2.0.0: ready` for each install.
    pub fn lines(&self) -> Vec<String> {
        let plan = bascule_planner::plan(&self.catalogue, &self.environment);
        plan.installs
            .iter()
            .map(|planned| {
                let text =
                    |version: &Option<Version>| version.as_ref().map_or("-".into(), Version::to_string);
                format!(
                    "{} {} → {} of {}: {:?}",
                    self.catalogue.key(planned.product),
                    text(&planned.current),
                    text(&planned.step.as_ref().map(|step| step.to.clone())),
                    text(&planned.target),
                    planned.state
                )
            })
            .collect()
    }

    pub fn why(&self, product: &str, version: &str) -> String {
        bascule_planner::explain(&self.catalogue, &self.environment, product, &v(version)).sentence
    }

    /// Why a recalled version still runs.
    pub fn stays(&self, product: &str) -> String {
        let explainer = bascule_planner::Explainer::new(&self.catalogue, &self.environment);
        explainer.stays_recalled(product).unwrap_or_default()
    }
}
