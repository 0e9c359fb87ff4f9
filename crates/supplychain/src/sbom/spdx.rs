//! SPDX 2.3 in JSON, for those who ask for that one.

use super::cyclonedx::{Subject, uuid_of};
use super::{Component, Inventory, Need};
use bascule_core::{Digest, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// The media type.
pub const MEDIA_TYPE: &str = "application/spdx+json";

const NONE: &str = "NOASSERTION";
const DOCUMENT: &str = "SPDXRef-DOCUMENT";
const ROOT: &str = "SPDXRef-Root";

/// An SPDX document, as far as we write it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Document {
    /// Always `SPDX-2.3`.
    pub spdx_version: String,
    /// The licence of the document itself, as SPDX demands it.
    pub data_license: String,
    /// The document's own identity.
    #[serde(rename = "SPDXID")]
    pub id: String,
    /// What it is about.
    pub name: String,
    /// A URI for this very document, derived from its content.
    pub document_namespace: String,
    /// Who wrote it when.
    pub creation_info: CreationInfo,
    /// The packages, the project itself first.
    pub packages: Vec<Package>,
    /// Who depends on whom.
    pub relationships: Vec<Relationship>,
}

/// Who wrote a document when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreationInfo {
    /// When, to the second.
    pub created: Timestamp,
    /// What wrote it.
    pub creators: Vec<String>,
    /// What else is to be known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

/// A package of a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Package {
    /// The identity within the document.
    #[serde(rename = "SPDXID")]
    pub id: String,
    /// The name.
    pub name: String,
    /// The version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_info: Option<String>,
    /// Where it was downloaded from; lockfiles do not always say.
    pub download_location: String,
    /// Whether its files were looked at.
    pub files_analyzed: bool,
    /// Its licence, as far as known.
    pub license_concluded: String,
    /// Its licence, as declared.
    pub license_declared: String,
    /// Its copyright text.
    pub copyright_text: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub primary_package_purpose: Option<String>,
    /// Checksums.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checksums: Vec<SpdxChecksum>,
    /// Package URLs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub external_refs: Vec<ExternalRef>,
    /// Where it was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_info: Option<String>,
}

/// A checksum.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SpdxChecksum {
    /// The algorithm.
    pub algorithm: String,
    /// The value, hexadecimal.
    pub checksum_value: String,
}

/// A pointer out of the document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExternalRef {
    /// `PACKAGE-MANAGER`.
    pub reference_category: String,
    /// `purl`.
    pub reference_type: String,
    /// The package URL.
    pub reference_locator: String,
}

/// A statement about two elements.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Relationship {
    /// The one.
    pub spdx_element_id: String,
    /// What holds between them.
    pub relationship_type: String,
    /// The other.
    pub related_spdx_element: String,
}

impl Document {
    /// The document for an inventory.
    #[must_use]
    pub fn new(inventory: &Inventory, subject: &Subject<'_>) -> Self {
        // SPDX identifiers allow letters, digits, `.` and `-` only, which package URLs exceed: number them.
        let ids: HashMap<&str, String> = inventory
            .components()
            .enumerate()
            .map(|(index, component)| (component.purl.as_str(), format!("SPDXRef-Package-{}", index + 1)))
            .collect();
        let mut relationships = vec![relationship(DOCUMENT, "DESCRIBES", ROOT)];
        for purl in &inventory.roots {
            relationships.extend(depends(inventory, &ids, ROOT, purl));
        }
        for component in inventory.components() {
            let Some(id) = ids.get(component.purl.as_str()) else {
                continue;
            };
            for purl in &component.depends_on {
                relationships.extend(depends(inventory, &ids, id, purl));
            }
        }
        let root = Package {
            primary_package_purpose: Some("APPLICATION".to_owned()),
            version_info: Some(subject.version.to_owned()),
            source_info: Some(format!("git commit {}", subject.commit)),
            ..package(ROOT, subject.project)
        };
        let packages = inventory.components().filter_map(|component| {
            ids.get(component.purl.as_str())
                .map(|id| component_package(id, component))
        });
        let notes: Vec<String> = inventory
            .notes
            .iter()
            .map(|note| format!("{}:{}: {}", note.file, note.line, note.text))
            .collect();
        let mut document = Self {
            spdx_version: "SPDX-2.3".to_owned(),
            data_license: "CC0-1.0".to_owned(),
            id: DOCUMENT.to_owned(),
            name: format!("{} {}", subject.project, subject.version),
            document_namespace: String::new(),
            creation_info: CreationInfo {
                created: Timestamp::from_seconds(subject.at.seconds()),
                creators: vec![concat!("Tool: bascule-", env!("CARGO_PKG_VERSION")).to_owned()],
                comment: Some(notes.join("\n")).filter(|notes| !notes.is_empty()),
            },
            packages: std::iter::once(root).chain(packages).collect(),
            relationships,
        };
        document.document_namespace = format!("urn:uuid:{}", uuid_of(&Digest::of(&document.to_json())));
        document
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
    /// When it is not an SPDX 2.3 document such as we write.
    pub fn from_json(bytes: &[u8]) -> Result<Self, String> {
        let document: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if document.spdx_version != "SPDX-2.3" {
            return Err(format!("it is {}, not SPDX-2.3", document.spdx_version));
        }
        Ok(document)
    }
}

/// A development dependency points the other way in SPDX.
fn depends(
    inventory: &Inventory,
    ids: &HashMap<&str, String>,
    from: &str,
    purl: &str,
) -> Option<Relationship> {
    let (to, component) = (ids.get(purl)?, inventory.get(purl)?);
    Some(match component.need {
        Need::Development => relationship(to, "DEV_DEPENDENCY_OF", from),
        Need::Optional => relationship(to, "OPTIONAL_DEPENDENCY_OF", from),
        Need::Required => relationship(from, "DEPENDS_ON", to),
    })
}

fn relationship(from: &str, kind: &str, to: &str) -> Relationship {
    Relationship {
        spdx_element_id: from.to_owned(),
        relationship_type: kind.to_owned(),
        related_spdx_element: to.to_owned(),
    }
}

fn component_package(id: &str, component: &Component) -> Package {
    let lockfiles: Vec<&str> = component.lockfiles.iter().map(String::as_str).collect();
    Package {
        version_info: component.version.clone(),
        primary_package_purpose: Some("LIBRARY".to_owned()),
        checksums: component
            .checksums
            .iter()
            .map(|sum| SpdxChecksum {
                algorithm: sum.algorithm.spdx().to_owned(),
                checksum_value: sum.hex.clone(),
            })
            .collect(),
        external_refs: vec![ExternalRef {
            reference_category: "PACKAGE-MANAGER".to_owned(),
            reference_type: "purl".to_owned(),
            reference_locator: component.purl.clone(),
        }],
        source_info: Some(format!("found in {}", lockfiles.join(", "))),
        ..package(id, &component.full_name())
    }
}

fn package(id: &str, name: &str) -> Package {
    Package {
        id: id.to_owned(),
        name: name.to_owned(),
        version_info: None,
        download_location: NONE.to_owned(),
        files_analyzed: false,
        license_concluded: NONE.to_owned(),
        license_declared: NONE.to_owned(),
        copyright_text: NONE.to_owned(),
        primary_package_purpose: None,
        checksums: Vec::new(),
        external_refs: Vec::new(),
        source_info: None,
    }
}
