//! `package-lock.json`: format 1 (a tree of `dependencies`), formats 2 and 3 (a flat map of `packages`).

use super::checksum::cut;
use super::{Checksum, Component, Ecosystem, Inventory, LockfileError, Need, Source};
use serde::{Deserialize, Deserializer};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Lock {
    lockfile_version: Option<u32>,
    packages: Option<BTreeMap<String, Entry>>,
    dependencies: Option<BTreeMap<String, Old>>,
}

/// One entry of `packages`.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Entry {
    name: Option<String>,
    version: Option<String>,
    resolved: Option<Resolved>,
    integrity: Option<String>,
    link: bool,
    dev: bool,
    optional: bool,
    dev_optional: bool,
    dependencies: BTreeMap<String, serde::de::IgnoredAny>,
    dev_dependencies: BTreeMap<String, serde::de::IgnoredAny>,
    optional_dependencies: BTreeMap<String, serde::de::IgnoredAny>,
    peer_dependencies: BTreeMap<String, serde::de::IgnoredAny>,
}

/// One entry of format 1's `dependencies`, with those installed inside it.
#[derive(Deserialize)]
struct Old {
    version: Option<String>,
    resolved: Option<Resolved>,
    integrity: Option<String>,
    #[serde(default)]
    dev: bool,
    #[serde(default)]
    optional: bool,
    #[serde(default)]
    requires: Requires,
    #[serde(default)]
    dependencies: BTreeMap<String, Old>,
}

/// `resolved` is an address, or `false` for what is bundled.
struct Resolved(String);

impl<'de> Deserialize<'de> for Resolved {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Address(String),
            None(#[allow(dead_code, reason = "only its type matters")] bool),
        }
        Ok(Self(match Either::deserialize(deserializer)? {
            Either::Address(text) => text,
            Either::None(_) => String::new(),
        }))
    }
}

/// `requires` is a map of names, or `true` at the top of very old files.
#[derive(Default)]
struct Requires(BTreeSet<String>);

impl<'de> Deserialize<'de> for Requires {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Names(BTreeMap<String, serde::de::IgnoredAny>),
            Flag(#[allow(dead_code, reason = "only its type matters")] bool),
        }
        Ok(Self(match Either::deserialize(deserializer)? {
            Either::Names(names) => names.into_keys().collect(),
            Either::Flag(_) => BTreeSet::new(),
        }))
    }
}

pub(super) fn read(source: &Source<'_>) -> Result<Inventory, LockfileError> {
    let lock: Lock = source.json()?;
    let version = lock.lockfile_version.unwrap_or(1);
    if version > 3 {
        return Err(source.error_at(
            &["\"lockfileVersion\""],
            format!("format {version} is not known; 1 to 3 are read"),
        ));
    }
    match (lock.packages, lock.dependencies) {
        (Some(packages), _) => flat(source, &packages),
        (None, old) => tree(source, &old.unwrap_or_default()),
    }
}

/// Longest and deepest path of a package; every look-up climbs it, so it must not be anyone's to choose.
const PATH_BYTES: usize = 1024;
const PATH_SEGMENTS: usize = 64;

/// What a component's entry says, whatever the format.
struct Facts<'a> {
    name: &'a str,
    version: Option<&'a str>,
    resolved: &'a str,
    integrity: Option<&'a str>,
    need: Need,
    /// Where to point at when something is wrong.
    key: &'a str,
}

fn component(source: &Source<'_>, facts: &Facts<'_>) -> Result<Component, LockfileError> {
    let at = |reason: String| {
        source.error_at(
            &[&format!("\"{}\":", facts.key), &format!("\"{}\"", facts.key)],
            reason,
        )
    };
    let git = ["git+", "git:", "github:", "git@"]
        .iter()
        .any(|prefix| facts.resolved.starts_with(prefix));
    // A registry's own archives live under `/-/`; any other address says where the package really came from.
    let qualifier = if git {
        Some(("vcs_url", facts.resolved.replacen('#', "@", 1)))
    } else if facts.resolved.starts_with("http") && !facts.resolved.contains("/-/") {
        Some(("download_url", facts.resolved.to_owned()))
    } else {
        None
    };
    let qualifiers: Vec<(&str, &str)> = qualifier
        .iter()
        .map(|(key, value)| (*key, value.as_str()))
        .collect();
    let mut component = Component::new(Ecosystem::Npm, facts.name, facts.version, &qualifiers).map_err(at)?;
    if let Some(integrity) = facts.integrity {
        let checksums = Checksum::from_integrity(integrity)
            .map_err(|reason| source.error_at(&[integrity], format!("{}: {reason}", cut(facts.key))))?;
        component.checksums.extend(checksums);
    }
    component.need = facts.need;
    component.lockfiles.insert(source.path.to_owned());
    Ok(component)
}

fn flat(source: &Source<'_>, packages: &BTreeMap<String, Entry>) -> Result<Inventory, LockfileError> {
    let mut inventory = Inventory::of(source.path);
    let mut purls: BTreeMap<&str, String> = BTreeMap::new();
    let mut components: Vec<(&str, Component)> = Vec::new();
    for (path, entry) in packages
        .iter()
        .filter(|(path, entry)| !path.is_empty() && !entry.link)
    {
        if path.len() > PATH_BYTES || path.split('/').count() > PATH_SEGMENTS {
            return Err(source.error_at(
                &[path],
                format!("the path `{}` is too long or too deep", cut(path)),
            ));
        }
        let installed = path.rsplit_once("node_modules/").map(|(_, name)| name);
        let folder = path.rsplit('/').next().unwrap_or(path);
        let facts = Facts {
            name: entry.name.as_deref().or(installed).unwrap_or(folder),
            version: entry.version.as_deref(),
            resolved: entry.resolved.as_ref().map_or("", |resolved| resolved.0.as_str()),
            integrity: entry.integrity.as_deref(),
            need: need(entry.dev, entry.optional, entry.dev_optional),
            key: path,
        };
        let mut component = component(source, &facts)?;
        component.local = installed.is_none();
        purls.insert(path, component.purl.clone());
        components.push((path, component));
    }
    let edges = |path: &str, entry: &Entry, with_dev: bool| -> BTreeSet<String> {
        let names = entry
            .dependencies
            .keys()
            .chain(entry.optional_dependencies.keys())
            .chain(entry.peer_dependencies.keys());
        // A package's own development dependencies are installed for the project and its members only.
        let dev = entry.dev_dependencies.keys().filter(|_| with_dev);
        // Optional and peer dependencies may rightly be missing, so what is not there is passed over.
        names
            .chain(dev)
            .filter_map(|name| resolve(path, name, packages, &purls))
            .collect()
    };
    for (path, mut component) in components {
        if let Some(entry) = packages.get(path) {
            component.depends_on = edges(path, entry, component.local);
        }
        if component.local {
            inventory.roots.insert(component.purl.clone());
        }
        inventory.add(component);
    }
    if let Some(root) = packages.get("") {
        inventory.roots.extend(edges("", root, true));
    }
    Ok(inventory)
}

fn need(dev: bool, optional: bool, dev_optional: bool) -> Need {
    match (dev, optional || dev_optional) {
        (true, _) => Need::Development,
        (false, true) => Need::Optional,
        (false, false) => Need::Required,
    }
}

/// Node's own look-up: the nearest `node_modules` on the way up.
fn resolve(
    from: &str,
    name: &str,
    packages: &BTreeMap<String, Entry>,
    purls: &BTreeMap<&str, String>,
) -> Option<String> {
    let mut folder = from;
    loop {
        let candidate = if folder.is_empty() {
            format!("node_modules/{name}")
        } else {
            format!("{folder}/node_modules/{name}")
        };
        if let Some(entry) = packages.get(&candidate) {
            let target = entry
                .resolved
                .as_ref()
                .filter(|_| entry.link)
                .map_or(candidate.as_str(), |to| to.0.as_str());
            return purls.get(target).cloned();
        }
        if folder.is_empty() {
            return None;
        }
        folder = folder.rsplit_once('/').map_or("", |(up, _)| up);
    }
}

fn tree(source: &Source<'_>, top: &BTreeMap<String, Old>) -> Result<Inventory, LockfileError> {
    let mut inventory = Inventory::of(source.path);
    let mut needed = BTreeSet::new();
    walk(source, &mut vec![top], &mut inventory, &mut needed)?;
    // The file does not say what the project itself asks for; what nobody else needs is the best to be known.
    for (name, old) in top {
        let purl = old_component(source, name, old)?.purl;
        if !needed.contains(&purl) {
            inventory.roots.insert(purl);
        }
    }
    Ok(inventory)
}

fn walk(
    source: &Source<'_>,
    levels: &mut Vec<&BTreeMap<String, Old>>,
    inventory: &mut Inventory,
    needed: &mut BTreeSet<String>,
) -> Result<(), LockfileError> {
    let Some(level) = levels.last().copied() else {
        return Ok(());
    };
    for (name, old) in level {
        levels.push(&old.dependencies);
        let mut component = old_component(source, name, old)?;
        for wanted in &old.requires.0 {
            if let Some(found) = levels.iter().rev().find_map(|level| level.get(wanted)) {
                let purl = old_component(source, wanted, found)?.purl;
                if purl != component.purl {
                    needed.insert(purl.clone());
                }
                component.depends_on.insert(purl);
            }
        }
        inventory.add(component);
        walk(source, levels, inventory, needed)?;
        levels.pop();
    }
    Ok(())
}

fn old_component(source: &Source<'_>, key: &str, old: &Old) -> Result<Component, LockfileError> {
    let written = old.version.as_deref().unwrap_or_default();
    // Format 1 puts an alias or an address where the version belongs.
    let alias = written
        .strip_prefix("npm:")
        .and_then(|alias| alias.rsplit_once('@'));
    let resolved = old.resolved.as_ref().map_or("", |resolved| resolved.0.as_str());
    let (name, version, resolved) = match alias {
        Some((name, version)) => (name, Some(version), resolved),
        None if written.contains(':') => (key, None, written),
        None => (key, Some(written).filter(|version| !version.is_empty()), resolved),
    };
    let need = need(old.dev, old.optional, false);
    component(
        source,
        &Facts {
            name,
            version,
            resolved,
            integrity: old.integrity.as_deref(),
            need,
            key,
        },
    )
}
