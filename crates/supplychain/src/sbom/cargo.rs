//! `Cargo.lock`, formats 1 (checksums in `[metadata]`), 2, 3 and 4.

use super::{Algorithm, Checksum, Component, Ecosystem, Inventory, LockfileError, Source};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet, HashMap};

#[derive(Deserialize)]
struct Lock {
    version: Option<u32>,
    #[serde(default)]
    package: Vec<Package>,
    root: Option<Package>,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    source: Option<String>,
    checksum: Option<String>,
    #[serde(default)]
    dependencies: Vec<String>,
}

/// The newest format that is known to mean what this reader takes it to mean.
const NEWEST: u32 = 4;

pub(super) fn read(source: &Source<'_>) -> Result<Inventory, LockfileError> {
    let lock: Lock = source.toml()?;
    if let Some(version) = lock.version.filter(|version| *version > NEWEST) {
        return Err(source.error_at(
            &["version ="],
            format!("format {version} is not known; up to {NEWEST} are read"),
        ));
    }
    let packages: Vec<Package> = lock.package.into_iter().chain(lock.root).collect();
    let components = packages
        .iter()
        .map(|package| component(source, package, &lock.metadata))
        .collect::<Result<Vec<_>, _>>()?;
    let index = index(&packages);

    let mut inventory = Inventory::of(source.path);
    let mut needed: BTreeSet<usize> = BTreeSet::new();
    for (at, (package, component)) in packages.iter().zip(&components).enumerate() {
        let mut component = component.clone();
        for wanted in &package.dependencies {
            let found = resolve(wanted, &index).ok_or_else(|| {
                let reason = format!(
                    "{} {} depends on `{}`, which this file does not hold exactly once",
                    package.name,
                    package.version,
                    super::checksum::cut(wanted)
                );
                source.error_at(&[&format!("\"{wanted}\""), wanted], reason)
            })?;
            if found != at {
                needed.insert(found);
            }
            if let Some(dependency) = components.get(found) {
                component.depends_on.insert(dependency.purl.clone());
            }
        }
        inventory.add(component);
    }
    // The project's own crates are its roots; a member that another member uses is reached through that one.
    for (at, (package, component)) in packages.iter().zip(&components).enumerate() {
        if package.source.is_none() && !needed.contains(&at) {
            inventory.roots.insert(component.purl.clone());
        }
    }
    Ok(inventory)
}

fn component(
    source: &Source<'_>,
    package: &Package,
    metadata: &BTreeMap<String, String>,
) -> Result<Component, LockfileError> {
    let at = |reason: String| {
        let needle = format!("name = \"{}\"\nversion = \"{}\"", package.name, package.version);
        source.error_at(&[&needle, &format!("name = \"{}\"", package.name)], reason)
    };
    let qualifier = package.source.as_deref().and_then(qualifier);
    let qualifiers: Vec<(&str, &str)> = qualifier
        .iter()
        .map(|(key, value)| (*key, value.as_str()))
        .collect();
    let mut component = Component::new(
        Ecosystem::Cargo,
        &package.name,
        Some(&package.version),
        &qualifiers,
    )
    .map_err(at)?;
    component.lockfiles.insert(source.path.to_owned());
    component.local = package.source.is_none();
    let in_metadata = package
        .source
        .as_ref()
        .and_then(|from| metadata.get(&format!("checksum {} {} ({from})", package.name, package.version)));
    // Format 1 writes `<none>` for what has no archive, such as a git checkout.
    if let Some(checksum) = package
        .checksum
        .as_ref()
        .or(in_metadata)
        .filter(|text| *text != "<none>")
    {
        let checksum = Checksum::from_hex(Algorithm::Sha256, checksum).map_err(|reason| {
            source.error_at(
                &[checksum],
                format!("{} {}: {reason}", package.name, package.version),
            )
        })?;
        component.checksums.insert(checksum);
    }
    Ok(component)
}

/// What a source other than the default registry adds to the package URL.
fn qualifier(source: &str) -> Option<(&'static str, String)> {
    if let Some(git) = source.strip_prefix("git+") {
        let (url, commit) = git.split_once('#').unwrap_or((git, ""));
        let url = url.split('?').next().unwrap_or(url);
        let at = if commit.is_empty() {
            String::new()
        } else {
            format!("@{commit}")
        };
        return Some(("vcs_url", format!("git+{url}{at}")));
    }
    let index = source
        .strip_prefix("registry+")
        .or_else(|| source.strip_prefix("sparse+"))?;
    // Cargo writes the default registry under its index's name, wherever a mirror of it stands.
    let default = index.ends_with("/crates.io-index");
    (!default).then(|| ("repository_url", index.to_owned()))
}

/// The package that one way of writing a dependency means.
#[derive(Clone, Copy)]
enum Meaning {
    One(usize),
    Many,
}

/// All ways in which a dependency line may name each package: `name`, `name version`,
/// `name version (source)`. One look-up per line keeps a hostile file from costing its square.
fn index(packages: &[Package]) -> HashMap<String, Meaning> {
    let mut index: HashMap<String, Meaning> = HashMap::new();
    let local = |at: usize| packages.get(at).is_some_and(|package| package.source.is_none());
    for (at, package) in packages.iter().enumerate() {
        let exact = format!("{} {}", package.name, package.version);
        let sourced = package.source.as_deref().map(|source| {
            // The line leaves out the commit that a git package's own source carries.
            (
                format!("{exact} ({source})"),
                format!("{exact} ({})", source.split('#').next().unwrap_or(source)),
            )
        });
        let mut keys = vec![package.name.clone(), exact];
        if let Some((full, bare)) = sourced {
            if full != bare {
                keys.push(full);
            }
            keys.push(bare);
        }
        for key in keys {
            // A workspace member and a registry crate may share name and version; the line without a source
            // is then the member.
            let meaning = match index.get(&key).copied() {
                None => Meaning::One(at),
                Some(Meaning::One(other)) if local(other) && !local(at) => Meaning::One(other),
                Some(Meaning::One(other)) if local(at) && !local(other) => Meaning::One(at),
                Some(_) => Meaning::Many,
            };
            index.insert(key, meaning);
        }
    }
    index
}

/// Finds the one package that a dependency line means.
fn resolve(wanted: &str, index: &HashMap<String, Meaning>) -> Option<usize> {
    match index.get(wanted) {
        Some(Meaning::One(at)) => Some(*at),
        Some(Meaning::Many) | None => None,
    }
}
