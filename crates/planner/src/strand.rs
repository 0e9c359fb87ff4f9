//! The check before a release is published: which environments would never get it as things are, and which of
//! its ranges make planning harder.

use crate::{
    explain::Explainer,
    model::{Catalogue, Environment, Install, Release},
    solve::reach,
    version::Version,
};
use serde::{Deserialize, Serialize};

/// An environment that a release would strand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stranded {
    /// The environment.
    pub environment: String,
    /// Why, in plain words.
    pub why: String,
}

/// Environments that run a product and could not come to a new release of it, whatever time passes and whoever
/// approves: only another release could free them.
#[must_use]
pub fn strands(
    catalogue: &Catalogue,
    environments: &[Environment],
    product: &str,
    release: &Release,
) -> Vec<Stranded> {
    let mut after = catalogue.clone();
    let index = after.product(product);
    after.publish(index, release.clone());
    let mut all = Vec::new();
    for environment in environments {
        let runs = environment
            .installs
            .iter()
            .any(|install| install.product == index && install.current.as_ref() < Some(&release.version));
        if !runs {
            continue;
        }
        let bare = bare(environment, release.version.is_prerelease());
        let level = after.level(index, &release.version);
        let reaches = bare
            .installs
            .iter()
            .zip(reach(&after, &bare))
            .any(|(install, reached)| install.product == index && Some(reached) >= level);
        if !reaches {
            let explainer = Explainer::new(&after, &bare);
            let place = bare.installs.iter().position(|install| install.product == index);
            let told = explainer.explain(product, &release.version);
            // Where one step would bring it there, what else is planned keeps it away.
            let passed = place
                .zip(level)
                .and_then(|(at, level)| explainer.passed_over(at, level));
            let why = passed.filter(|_| told.clear).unwrap_or(told.sentence);
            all.push(Stranded {
                environment: environment.name.clone(),
                why: format!(
                    "publishing {} strands {}: {why}",
                    release.version, environment.name
                ),
            });
        }
    }
    all
}

/// An environment without what holds moments and choices: only dependencies count.
fn bare(environment: &Environment, prereleases: bool) -> Environment {
    Environment {
        name: environment.name.clone(),
        now: environment.now,
        installs: environment
            .installs
            .iter()
            .map(|install| Install {
                product: install.product,
                // What is being put there now will run.
                current: install.moving.clone().max(install.current.clone()),
                moving: None,
                prereleases: install.prereleases || prereleases,
                constraints: Vec::new(),
                restart_seconds: install.restart_seconds,
            })
            .collect(),
    }
}

/// Where a release takes less of another product than the release before it: lawful, but environments may then need a
/// search to be planned. One that only asks for less is no such thing.
#[must_use]
pub fn falling(catalogue: &Catalogue, product: &str, version: &Version) -> Option<String> {
    let index = catalogue.find(product)?;
    let level = catalogue.level(index, version)?;
    let before = catalogue.at(index, level.checked_sub(1)?)?;
    let to = catalogue.fall(catalogue.edges(index, level - 1), catalogue.edges(index, level))?;
    Some(format!(
        "{product} {version} asks for less of {} than {} does: its range falls as {product} gets newer",
        catalogue.key(to),
        before.version
    ))
}
