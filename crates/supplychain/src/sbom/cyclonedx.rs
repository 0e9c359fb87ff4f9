//! CycloneDX 1.6 in JSON, by types of our own: only what we say, in a fixed order, so that the same tree
//! gives the same bytes.

use super::{Component, Ecosystem, Inventory, Need};
use bascule_core::{Digest, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The media type.
pub const MEDIA_TYPE: &str = "application/vnd.cyclonedx+json; version=1.6";

/// What the document is about.
#[derive(Clone, Debug)]
pub struct Subject<'a> {
    /// `group/project`.
    pub project: &'a str,
    /// The version.
    pub version: &'a str,
    /// The commit.
    pub commit: &'a str,
    /// When the release is made.
    pub at: Timestamp,
}

/// A CycloneDX document, as far as we write it. Reading ignores what others may add.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Bom {
    /// Always `CycloneDX`.
    pub bom_format: String,
    /// The version of the format.
    pub spec_version: String,
    /// `urn:uuid:…`, derived from the content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial_number: Option<String>,
    /// The document's own version.
    pub version: u32,
    /// What it is about, and who wrote it when.
    pub metadata: Metadata,
    /// The components.
    #[serde(default)]
    pub components: Vec<Part>,
    /// Who depends on whom.
    #[serde(default)]
    pub dependencies: Vec<Dependency>,
    /// How complete that is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub compositions: Vec<Composition>,
}

/// What a document is about, and who wrote it when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// When it was written.
    pub timestamp: Timestamp,
    /// At which point of the life cycle.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lifecycles: Vec<Lifecycle>,
    /// What wrote it.
    pub tools: Tools,
    /// What it is about.
    pub component: Part,
    /// What else is to be known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub properties: Vec<Property>,
}

/// A point of the life cycle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lifecycle {
    /// Its name.
    pub phase: String,
}

/// The tools that wrote a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tools {
    /// The tools, as components.
    pub components: Vec<Part>,
}

/// A component of a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// `application` or `library`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The identity within the document.
    #[serde(rename = "bom-ref", default, skip_serializing_if = "Option::is_none")]
    pub bom_ref: Option<String>,
    /// The group: npm's scope, Go's path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The name.
    pub name: String,
    /// The version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// `required`, `optional` or `excluded`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// Checksums.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hashes: Vec<Hash>,
    /// The package URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purl: Option<String>,
    /// What else is to be known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub properties: Vec<Property>,
}

/// A checksum.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hash {
    /// The algorithm.
    pub alg: String,
    /// The value, hexadecimal.
    pub content: String,
}

/// A name and a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Property {
    /// The name.
    pub name: String,
    /// The value.
    pub value: String,
}

/// What one component depends on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Dependency {
    /// The component.
    #[serde(rename = "ref")]
    pub reference: String,
    /// What it depends on directly.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<String>,
}

/// How complete what is said of some components is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Composition {
    /// `complete`, `incomplete`, `unknown`.
    pub aggregate: String,
    /// The components whose dependencies are meant.
    pub dependencies: Vec<String>,
}

/// The property that names a component's lockfile.
pub const LOCKFILE_PROPERTY: &str = "bascule:lockfile";
/// The property that names the commit a document was made from.
pub const COMMIT_PROPERTY: &str = "bascule:commit";

impl Bom {
    /// The document for an inventory.
    #[must_use]
    pub fn new(inventory: &Inventory, subject: &Subject<'_>) -> Self {
        let (group, name) = subject.project.rsplit_once('/').unwrap_or(("", subject.project));
        let root = format!("bascule:{}@{}", subject.project, subject.version);
        let mut bom = Self {
            bom_format: "CycloneDX".to_owned(),
            spec_version: "1.6".to_owned(),
            serial_number: None,
            version: 1,
            metadata: Metadata {
                timestamp: subject.at,
                lifecycles: vec![Lifecycle {
                    phase: "build".to_owned(),
                }],
                tools: Tools {
                    components: vec![Part {
                        version: Some(env!("CARGO_PKG_VERSION").to_owned()),
                        ..part("application", "bascule")
                    }],
                },
                component: Part {
                    bom_ref: Some(root.clone()),
                    group: Some(group.to_owned()).filter(|group| !group.is_empty()),
                    version: Some(subject.version.to_owned()),
                    properties: vec![property(COMMIT_PROPERTY, subject.commit)],
                    ..part("application", name)
                },
                properties: metadata_properties(inventory),
            },
            components: inventory.components().map(Part::from).collect(),
            dependencies: std::iter::once(dependency(&root, &inventory.roots))
                .chain(
                    inventory
                        .components()
                        .filter(|component| has_edges(inventory, component))
                        .map(|component| dependency(&component.purl, &component.depends_on)),
                )
                .collect(),
            compositions: Vec::new(),
        };
        if !inventory.without_edges.is_empty() {
            bom.compositions.push(Composition {
                aggregate: "incomplete".to_owned(),
                dependencies: vec![root],
            });
        }
        // The same content always has the same number, so making a release twice gives the same bytes.
        bom.serial_number = Some(format!("urn:uuid:{}", uuid_of(&Digest::of(&bom.to_json()))));
        bom
    }

    /// The document's bytes.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        // Strings and lists always serialise; the empty document would show at once in verification.
        serde_json::to_vec_pretty(self).unwrap_or_default()
    }

    /// Reads a document.
    ///
    /// # Errors
    /// When it is not a CycloneDX 1.6 document such as we write.
    pub fn from_json(bytes: &[u8]) -> Result<Self, String> {
        let bom: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if bom.bom_format != "CycloneDX" || bom.spec_version != "1.6" {
            return Err(format!(
                "it is {} {}, not CycloneDX 1.6",
                bom.bom_format, bom.spec_version
            ));
        }
        Ok(bom)
    }

    /// The commit that the document says it was made from.
    #[must_use]
    pub fn commit(&self) -> Option<&str> {
        let properties = self.metadata.component.properties.iter();
        properties
            .filter(|property| property.name == COMMIT_PROPERTY)
            .map(|property| property.value.as_str())
            .next()
    }
}

/// A lockfile that knows edges says so even of components without any; of others nothing is known.
fn has_edges(inventory: &Inventory, component: &Component) -> bool {
    component
        .lockfiles
        .iter()
        .any(|lockfile| !inventory.without_edges.contains(lockfile))
}

fn metadata_properties(inventory: &Inventory) -> Vec<Property> {
    let lockfiles = inventory
        .lockfiles
        .iter()
        .map(|lockfile| property(LOCKFILE_PROPERTY, lockfile));
    let notes = inventory.notes.iter().map(|note| {
        property(
            "bascule:note",
            &format!("{}:{}: {}", note.file, note.line, note.text),
        )
    });
    lockfiles.chain(notes).collect()
}

impl From<&Component> for Part {
    fn from(component: &Component) -> Self {
        let mut properties: Vec<Property> = component
            .lockfiles
            .iter()
            .map(|lockfile| property(LOCKFILE_PROPERTY, lockfile))
            .collect();
        properties.extend(
            component
                .markers
                .iter()
                .map(|marker| property("bascule:marker", marker)),
        );
        if component.local {
            properties.push(property("bascule:local", "true"));
        }
        if component.ecosystem == Ecosystem::Golang {
            // go.sum hashes the list of a module's files, not its archive.
            properties.push(property("bascule:hash", "h1"));
        }
        if component.ecosystem == Ecosystem::Npm && component.need == Need::Development {
            properties.push(property("cdx:npm:package:development", "true"));
        }
        Self {
            bom_ref: Some(component.purl.clone()),
            group: component.group.clone(),
            version: component.version.clone(),
            scope: Some(component.need.scope().to_owned()),
            hashes: component
                .checksums
                .iter()
                .map(|sum| Hash {
                    alg: sum.algorithm.cyclonedx().to_owned(),
                    content: sum.hex.clone(),
                })
                .collect(),
            purl: Some(component.purl.clone()),
            properties,
            ..part("library", &component.name)
        }
    }
}

fn part(kind: &str, name: &str) -> Part {
    Part {
        kind: kind.to_owned(),
        bom_ref: None,
        group: None,
        name: name.to_owned(),
        version: None,
        scope: None,
        hashes: Vec::new(),
        purl: None,
        properties: Vec::new(),
    }
}

fn property(name: &str, value: &str) -> Property {
    Property {
        name: name.to_owned(),
        value: value.to_owned(),
    }
}

fn dependency(reference: &str, on: &BTreeSet<String>) -> Dependency {
    Dependency {
        reference: reference.to_owned(),
        depends_on: on.iter().cloned().collect(),
    }
}

/// A UUID made of a digest's first 128 bits: version 8, "custom", of RFC 9562.
pub(super) fn uuid_of(digest: &Digest) -> String {
    let hex: Vec<char> = digest.hex().chars().take(32).collect();
    let text = |range: std::ops::Range<usize>| hex.get(range).unwrap_or_default().iter().collect::<String>();
    format!(
        "{}-{}-8{}-8{}-{}",
        text(0..8),
        text(8..12),
        text(13..16),
        text(17..20),
        text(20..32)
    )
}
