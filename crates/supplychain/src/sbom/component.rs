//! One component and the inventory of all, with package URLs as identity.

use super::Checksum;
use packageurl::PackageUrl;
use std::collections::{BTreeMap, BTreeSet};

/// Where a component comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Ecosystem {
    /// Rust crates.
    Cargo,
    /// npm packages.
    Npm,
    /// Python packages.
    PyPi,
    /// Go modules.
    Golang,
}

impl Ecosystem {
    /// The package URL type.
    #[must_use]
    pub const fn purl_type(self) -> &'static str {
        match self {
            Self::Cargo => "cargo",
            Self::Npm => "npm",
            Self::PyPi => "pypi",
            Self::Golang => "golang",
        }
    }
}

/// How much the product needs a component. Ordered: the first is the strongest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Need {
    /// At run time.
    Required,
    /// Only where the platform or an extra asks for it.
    Optional,
    /// For building and testing only.
    Development,
}

impl Need {
    /// The word CycloneDX has for it.
    #[must_use]
    pub const fn scope(self) -> &'static str {
        match self {
            Self::Required => "required",
            Self::Optional => "optional",
            Self::Development => "excluded",
        }
    }
}

/// One component of a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Component {
    /// Its package URL in canonical form; the identity within an inventory.
    pub purl: String,
    /// Where it comes from.
    pub ecosystem: Ecosystem,
    /// What npm calls the scope (`@babel`) and Go the module path's beginning.
    pub group: Option<String>,
    /// Its name.
    pub name: String,
    /// Its version; a requirement that pins none has none.
    pub version: Option<String>,
    /// Checksums of what the registry distributes.
    pub checksums: BTreeSet<Checksum>,
    /// How much the product needs it.
    pub need: Need,
    /// Whether it is part of the project itself: a workspace member.
    pub local: bool,
    /// Environment markers under which it is installed, as the lockfile writes them.
    pub markers: BTreeSet<String>,
    /// The lockfiles that name it.
    pub lockfiles: BTreeSet<String>,
    /// Package URLs of what it depends on directly.
    pub depends_on: BTreeSet<String>,
}

/// Something a reader of the SBOM should know about a lockfile.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Note {
    /// The lockfile.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// What is to be known.
    pub text: String,
}

impl Component {
    /// A required component with an identity and nothing else known.
    ///
    /// # Errors
    /// When name and version make no package URL.
    pub fn new(
        ecosystem: Ecosystem,
        name: &str,
        version: Option<&str>,
        qualifiers: &[(&str, &str)],
    ) -> Result<Self, String> {
        if name.is_empty() || name.chars().any(char::is_control) {
            return Err(format!("`{}` is no package name", super::checksum::cut(name)));
        }
        let (group, short) = split_group(ecosystem, name)?;
        let short = if ecosystem == Ecosystem::PyPi {
            normalise_pypi(short)
        } else {
            short.to_owned()
        };
        let wrong = |error: packageurl::Error| {
            format!("`{}` makes no package URL: {error}", super::checksum::cut(name))
        };
        let mut purl = PackageUrl::new(ecosystem.purl_type(), short.clone()).map_err(wrong)?;
        if let Some(group) = group {
            purl.with_namespace(group.to_owned()).map_err(wrong)?;
        }
        if let Some(version) = version {
            purl.with_version(version.to_owned()).map_err(wrong)?;
        }
        for (key, value) in qualifiers {
            purl.add_qualifier((*key).to_owned(), (*value).to_owned())
                .map_err(wrong)?;
        }
        purl.validate().map_err(wrong)?;
        Ok(Self {
            purl: purl.to_string(),
            ecosystem,
            group: group.map(str::to_owned),
            name: short,
            version: version.map(str::to_owned),
            checksums: BTreeSet::new(),
            need: Need::Required,
            local: false,
            markers: BTreeSet::new(),
            lockfiles: BTreeSet::new(),
            depends_on: BTreeSet::new(),
        })
    }

    /// The name as the ecosystem writes it, with its group.
    #[must_use]
    pub fn full_name(&self) -> String {
        match &self.group {
            Some(group) => format!("{group}/{}", self.name),
            None => self.name.clone(),
        }
    }

    fn absorb(&mut self, other: Self) {
        self.need = self.need.min(other.need);
        self.local |= other.local;
        self.checksums.extend(other.checksums);
        // Without markers it is installed everywhere, which is more than any marker says.
        if self.markers.is_empty() || other.markers.is_empty() {
            self.markers.clear();
        } else {
            self.markers.extend(other.markers);
        }
        self.lockfiles.extend(other.lockfiles);
        self.depends_on.extend(other.depends_on);
    }
}

fn split_group(ecosystem: Ecosystem, name: &str) -> Result<(Option<&str>, &str), String> {
    match ecosystem {
        Ecosystem::Cargo | Ecosystem::PyPi => Ok((None, name)),
        Ecosystem::Golang => Ok(name
            .rsplit_once('/')
            .map_or((None, name), |(group, short)| (Some(group), short))),
        Ecosystem::Npm => match name.strip_prefix('@').and_then(|rest| rest.split_once('/')) {
            Some((scope, short)) if !scope.is_empty() && !short.is_empty() && !short.contains('/') => {
                Ok((name.get(..=scope.len()), short))
            }
            None if !name.starts_with('@') && !name.contains('/') => Ok((None, name)),
            _ => Err(format!("`{}` is no npm package name", super::checksum::cut(name))),
        },
    }
}

/// A Python name as PEP 503 normalises it: what the index and the advisories compare.
pub(crate) fn normalise_pypi(name: &str) -> String {
    let mut normal = String::with_capacity(name.len());
    for part in name.split(['-', '_', '.']).filter(|part| !part.is_empty()) {
        if !normal.is_empty() {
            normal.push('-');
        }
        normal.push_str(&part.to_ascii_lowercase());
    }
    normal
}

/// The components of a tree, by package URL, with what was noted on reading.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    components: BTreeMap<String, Component>,
    /// What the project itself asks for, as package URLs.
    pub roots: BTreeSet<String>,
    /// Lockfiles read.
    pub lockfiles: BTreeSet<String>,
    /// Lockfiles of formats that do not say what depends on what.
    pub without_edges: BTreeSet<String>,
    /// What a reader should know.
    pub notes: BTreeSet<Note>,
}

impl Inventory {
    /// An inventory that one lockfile will fill.
    #[must_use]
    pub fn of(lockfile: &str) -> Self {
        Self {
            lockfiles: BTreeSet::from([lockfile.to_owned()]),
            ..Self::default()
        }
    }

    /// Adds a component, joining it with what is known of the same package URL.
    pub fn add(&mut self, component: Component) {
        match self.components.get_mut(&component.purl) {
            Some(known) => known.absorb(component),
            None => {
                self.components.insert(component.purl.clone(), component);
            }
        }
    }

    /// Adds all of another inventory.
    pub fn merge(&mut self, other: Self) {
        for component in other.components.into_values() {
            self.add(component);
        }
        self.roots.extend(other.roots);
        self.lockfiles.extend(other.lockfiles);
        self.without_edges.extend(other.without_edges);
        self.notes.extend(other.notes);
    }

    /// All components, ordered by package URL.
    pub fn components(&self) -> impl Iterator<Item = &Component> {
        self.components.values()
    }

    /// One component.
    #[must_use]
    pub fn get(&self, purl: &str) -> Option<&Component> {
        self.components.get(purl)
    }

    /// How many components.
    #[must_use]
    pub fn len(&self) -> usize {
        self.components.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.components.is_empty()
    }

    pub(super) fn note(&mut self, file: &str, line: usize, text: impl Into<String>) {
        self.notes.insert(Note {
            file: file.to_owned(),
            line,
            text: text.into(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Examples of the package URL specification's own type pages.
    #[test]
    fn package_urls_are_those_of_the_specification() {
        for (ecosystem, name, version, qualifiers, expected) in [
            (Ecosystem::Cargo, "rand", "0.7.2", vec![], "pkg:cargo/rand@0.7.2"),
            (
                Ecosystem::Npm,
                "foobar",
                "12.3.1",
                vec![],
                "pkg:npm/foobar@12.3.1",
            ),
            (
                Ecosystem::Npm,
                "@angular/animation",
                "12.3.1",
                vec![],
                "pkg:npm/%40angular/animation@12.3.1",
            ),
            (
                Ecosystem::PyPi,
                "Django_package",
                "1.11.1.dev1",
                vec![],
                "pkg:pypi/django-package@1.11.1.dev1",
            ),
            (
                Ecosystem::Golang,
                "google.golang.org/genproto",
                "v0.0.1",
                vec![],
                "pkg:golang/google.golang.org/genproto@v0.0.1",
            ),
            (
                Ecosystem::Golang,
                "a.b/c",
                "v2.0.0+incompatible",
                vec![],
                "pkg:golang/a.b/c@v2.0.0%2Bincompatible",
            ),
            (
                Ecosystem::Cargo,
                "x",
                "1.0.0",
                vec![("vcs_url", "git+https://h/x@abc")],
                "pkg:cargo/x@1.0.0?vcs_url=git%2Bhttps:%2F%2Fh%2Fx%40abc",
            ),
        ] {
            let component = Component::new(ecosystem, name, Some(version), &qualifiers).unwrap();
            assert_eq!(component.purl, expected);
            let again: PackageUrl<'_> = component.purl.parse().unwrap();
            assert_eq!(again.to_string(), expected, "{expected} is not canonical");
        }
    }

    #[test]
    fn names_that_are_none_are_refused() {
        for (ecosystem, name) in [
            (Ecosystem::Cargo, ""),
            (Ecosystem::Npm, "@scope"),
            (Ecosystem::Npm, "@/x"),
            (Ecosystem::Npm, "a/b"),
            (Ecosystem::PyPi, "-._"),
            (Ecosystem::Golang, "a\nb"),
        ] {
            assert!(Component::new(ecosystem, name, None, &[]).is_err(), "{name:?}");
        }
    }

    #[test]
    fn the_strongest_need_wins_when_two_lockfiles_name_one_component() {
        let mut inventory = Inventory::default();
        for need in [Need::Development, Need::Required, Need::Optional] {
            let mut component = Component::new(Ecosystem::Npm, "x", Some("1.0.0"), &[]).unwrap();
            component.need = need;
            inventory.add(component);
        }
        assert_eq!(inventory.len(), 1);
        assert_eq!(
            inventory.get("pkg:npm/x@1.0.0").map(|c| c.need),
            Some(Need::Required)
        );
    }
}
