//! `poetry.lock`, from the old formats with hashes in `[metadata]` to the present one with groups.

use super::component::normalise_pypi;
use super::{Checksum, Component, Ecosystem, Inventory, LockfileError, Need, Source};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet, HashMap};

#[derive(Deserialize)]
struct Lock {
    #[serde(default)]
    package: Vec<Package>,
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    category: Option<String>,
    #[serde(default)]
    groups: Vec<String>,
    #[serde(default)]
    optional: bool,
    #[serde(default)]
    files: Vec<File>,
    #[serde(default)]
    dependencies: BTreeMap<String, toml::Value>,
    markers: Option<toml::Value>,
    source: Option<Origin>,
}

#[derive(Deserialize)]
struct File {
    hash: String,
}

#[derive(Deserialize)]
struct Origin {
    #[serde(rename = "type")]
    kind: Option<String>,
    url: Option<String>,
    resolved_reference: Option<String>,
}

#[derive(Default, Deserialize)]
struct Metadata {
    #[serde(default)]
    files: BTreeMap<String, Vec<File>>,
    #[serde(default)]
    hashes: BTreeMap<String, Vec<String>>,
}

/// Most dependencies between packages; a name that stands for many versions multiplies them.
const EDGES: usize = 1_000_000;

pub(super) fn read(source: &Source<'_>) -> Result<Inventory, LockfileError> {
    let lock: Lock = source.toml()?;
    let components = lock
        .package
        .iter()
        .map(|package| component(source, package, &lock.metadata))
        .collect::<Result<Vec<_>, _>>()?;
    // Several versions of one name may stand side by side under different markers.
    let mut by_name: HashMap<&str, Vec<&str>> = HashMap::new();
    for component in &components {
        by_name.entry(&component.name).or_default().push(&component.purl);
    }
    let mut inventory = Inventory::of(source.path);
    let mut needed: BTreeSet<&str> = BTreeSet::new();
    let mut edges = 0;
    for (package, component) in lock.package.iter().zip(&components) {
        let mut component = component.clone();
        for name in package.dependencies.keys() {
            // Extras that were not asked for are named but not locked.
            edges += by_name.get(normalise_pypi(name).as_str()).map_or(0, Vec::len);
            if edges > EDGES {
                return Err(source.error(None, format!("it holds more than {EDGES} dependencies")));
            }
            for purl in by_name.get(normalise_pypi(name).as_str()).into_iter().flatten() {
                if *purl != component.purl {
                    needed.insert(purl);
                }
                component.depends_on.insert((*purl).to_owned());
            }
        }
        inventory.add(component);
    }
    // The project's own wishes stand in pyproject.toml; what nobody else needs is the best that can be known.
    for component in &components {
        if !needed.contains(component.purl.as_str()) {
            inventory.roots.insert(component.purl.clone());
        }
    }
    Ok(inventory)
}

fn component(
    source: &Source<'_>,
    package: &Package,
    metadata: &Metadata,
) -> Result<Component, LockfileError> {
    let at = |reason: String| source.error_at(&[&format!("name = \"{}\"", package.name)], reason);
    let qualifier = package
        .source
        .as_ref()
        .and_then(|origin| match (origin.kind.as_deref(), &origin.url) {
            (Some("git"), Some(url)) => {
                let commit = origin
                    .resolved_reference
                    .as_ref()
                    .map(|commit| format!("@{commit}"))
                    .unwrap_or_default();
                Some(("vcs_url", format!("git+{url}{commit}")))
            }
            (Some("url"), Some(url)) => Some(("download_url", url.clone())),
            (Some("legacy"), Some(url)) => Some(("repository_url", url.clone())),
            _ => None,
        });
    let qualifiers: Vec<(&str, &str)> = qualifier
        .iter()
        .map(|(key, value)| (*key, value.as_str()))
        .collect();
    let mut component = Component::new(
        Ecosystem::PyPi,
        &package.name,
        Some(&package.version),
        &qualifiers,
    )
    .map_err(at)?;
    component.lockfiles.insert(source.path.to_owned());
    component.local = package
        .source
        .as_ref()
        .is_some_and(|origin| origin.kind.as_deref() == Some("directory"));
    let in_main = match (&package.category, package.groups.as_slice()) {
        (Some(category), _) => category == "main",
        (None, []) => true,
        (None, groups) => groups.iter().any(|group| group == "main"),
    };
    component.need = match (in_main, package.optional) {
        (false, _) => Need::Development,
        (true, true) => Need::Optional,
        (true, false) => Need::Required,
    };
    if let Some(toml::Value::String(markers)) = &package.markers {
        component.markers.insert(markers.clone());
    }
    let listed = metadata.files.get(&package.name).into_iter().flatten();
    for hash in package.files.iter().chain(listed).map(|file| file.hash.as_str()) {
        let checksum = Checksum::from_prefixed(hash)
            .map_err(|reason| source.error_at(&[hash], format!("{}: {reason}", package.name)))?;
        component.checksums.insert(checksum);
    }
    for hash in metadata.hashes.get(&package.name).into_iter().flatten() {
        let checksum = Checksum::from_prefixed(&format!("sha256:{hash}"))
            .map_err(|reason| source.error_at(&[hash], format!("{}: {reason}", package.name)))?;
        component.checksums.insert(checksum);
    }
    Ok(component)
}
