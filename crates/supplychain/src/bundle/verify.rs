//! Checking a release: every byte is covered by a digest or a signature, and what does not hold is named.

use super::{
    CYCLONEDX_PART, FORMAT, Folder, MANIFEST_FILE, Manifest, PAYLOAD_TYPE, PROVENANCE_PART, PartSource,
    SPDX_PART, is_safe_path,
};
use crate::attestation::{Statement, digest_set, dsse::Envelope};
use crate::sbom::{cyclonedx::Bom, spdx::Document};
use bascule_ledger::PublicKey;
use serde::Serialize;
use std::{collections::BTreeMap, path::Path};

/// One thing that was checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was checked.
    pub name: String,
    /// Whether it holds.
    pub passed: bool,
    /// What was found.
    pub detail: String,
}

/// All that was checked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The checks, in order.
    pub checks: Vec<Check>,
    /// The manifest, if its signature holds.
    pub manifest: Option<Manifest>,
    /// The name of the key that the checks were made with.
    pub key_id: Option<String>,
    /// Whether that key came from outside the folder; only then do the checks prove who made the release.
    pub trusted_key: bool,
}

impl Report {
    /// Whether all checks hold.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.manifest.is_some() && self.checks.iter().all(|check| check.passed)
    }

    /// The checks that do not hold.
    pub fn failures(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| !check.passed)
    }

    fn add(&mut self, name: impl Into<String>, result: Result<String, String>) -> bool {
        let (passed, detail) = match result {
            Ok(detail) => (true, detail),
            Err(detail) => (false, detail),
        };
        self.checks.push(Check {
            name: name.into(),
            passed,
            detail,
        });
        passed
    }
}

/// Checks a folder as `bascule release download` writes it, with a key that the reader trusts or else the
/// one in the folder. Touches no network.
#[must_use]
pub fn verify_folder(folder: &Path, key: Option<&PublicKey>) -> Report {
    verify(&Folder::new(folder), key)
}

/// Checks a release, with a key that the reader trusts or else the one beside the parts.
#[must_use]
pub fn verify(parts: &dyn PartSource, key: Option<&PublicKey>) -> Report {
    let mut report = Report {
        trusted_key: key.is_some(),
        ..Report::default()
    };
    let Some(key) = check_key(&mut report, parts, key) else {
        return report;
    };
    let Some(manifest) = check_manifest(&mut report, parts, &key) else {
        return report;
    };
    check_parts(&mut report, parts, &manifest);
    check_provenance(&mut report, parts, &manifest, &key);
    check_sboms(&mut report, parts, &manifest);
    report.manifest = Some(manifest);
    report
}

fn check_key(report: &mut Report, parts: &dyn PartSource, given: Option<&PublicKey>) -> Option<PublicKey> {
    let found = parts.key().map_err(|error| error.to_string()).and_then(|bytes| {
        bytes
            .map(|bytes| String::from_utf8(bytes).map_err(|_| "it is not text".to_owned()))
            .transpose()
    });
    let found = match found {
        Ok(found) => found,
        Err(why) => {
            report.add(super::KEY_FILE, Err(why));
            return None;
        }
    };
    let key = match (given, &found) {
        (Some(key), _) => key.clone(),
        (None, Some(text)) => match PublicKey::from_pem(text) {
            Ok(key) => key,
            Err(error) => {
                report.add(super::KEY_FILE, Err(error.to_string()));
                return None;
            }
        },
        (None, None) => {
            report.add(
                super::KEY_FILE,
                Err("there is no key: give one with --key".to_owned()),
            );
            return None;
        }
    };
    report.key_id = Some(key.id().to_owned());
    let result = match found {
        Some(text) if text != key.to_pem() => Err("it is not the key that was given".to_owned()),
        _ if given.is_some() => Ok(format!("{} was given", key.id())),
        _ => Ok(format!(
            "{} came with the release itself: it proves that nothing changed, not who made it",
            key.id()
        )),
    };
    report.add(super::KEY_FILE, result);
    Some(key)
}

fn check_manifest(report: &mut Report, parts: &dyn PartSource, key: &PublicKey) -> Option<Manifest> {
    let read = || -> Result<Manifest, String> {
        let bytes = parts.manifest().map_err(|error| error.to_string())?;
        let envelope = Envelope::from_json(&bytes)?;
        // A signature does not cover the envelope's own writing; what it does not cover must be as we write it.
        if envelope.to_json() != bytes
            || envelope
                .signatures
                .iter()
                .any(|signature| signature.keyid != key.id())
        {
            envelope.verify(PAYLOAD_TYPE, key)?;
            return Err("its envelope was changed outside of what is signed".to_owned());
        }
        let payload = envelope.verify(PAYLOAD_TYPE, key)?;
        let manifest: Manifest = serde_json::from_slice(&payload)
            .map_err(|error| format!("it is no release manifest: {error}"))?;
        if manifest.format != FORMAT {
            return Err(format!(
                "its format is `{}`; this program reads `{FORMAT}`",
                manifest.format
            ));
        }
        if let Some(part) = manifest.parts.iter().find(|part| !is_safe_path(&part.name)) {
            return Err(format!(
                "it names a part `{}`, which is not a plain relative path",
                part.name
            ));
        }
        Ok(manifest)
    };
    match read() {
        Ok(manifest) => {
            let detail = format!(
                "signed: {} {} at {}",
                manifest.project, manifest.version, manifest.commit
            );
            report.add(MANIFEST_FILE, Ok(detail));
            Some(manifest)
        }
        Err(why) => {
            report.add(MANIFEST_FILE, Err(why));
            None
        }
    }
}

fn check_parts(report: &mut Report, parts: &dyn PartSource, manifest: &Manifest) {
    for part in &manifest.parts {
        let result = match parts.digest(&part.name) {
            Err(error) => Err(error.to_string()),
            Ok((digest, _)) if digest == part.digest => Ok(format!("{digest}")),
            Ok((digest, size)) => Err(format!(
                "it was changed: it has {size} bytes and {digest}, the manifest says {} bytes and {}",
                part.size, part.digest
            )),
        };
        report.add(&part.name, result);
    }
    match parts.names() {
        Err(error) => {
            report.add(super::PARTS_FOLDER, Err(error.to_string()));
        }
        Ok(names) => {
            for name in names.iter().filter(|name| manifest.part(name).is_none()) {
                report.add(
                    name,
                    Err("it is not part of the release: the manifest does not name it".to_owned()),
                );
            }
        }
    }
}

fn read_part(parts: &dyn PartSource, manifest: &Manifest, name: &str) -> Result<Vec<u8>, String> {
    manifest.part(name).ok_or("the manifest names no such part")?;
    parts.read(name).map_err(|error| error.to_string())
}

fn check_provenance(report: &mut Report, parts: &dyn PartSource, manifest: &Manifest, key: &PublicKey) {
    let statement = read_part(parts, manifest, PROVENANCE_PART)
        .and_then(|bytes| Envelope::from_json(&bytes))
        .and_then(|envelope| Statement::verify(&envelope, key));
    let statement = match statement {
        Ok(statement) => statement,
        Err(why) => {
            report.add("provenance signature", Err(why));
            return;
        }
    };
    report.add(
        "provenance signature",
        Ok(format!(
            "signed by {}",
            statement.predicate.run_details.builder.id
        )),
    );

    let vouched: BTreeMap<&str, _> = statement
        .subject
        .iter()
        .map(|subject| (subject.name.as_str(), &subject.digest))
        .collect();
    let artifacts: Vec<_> = manifest
        .parts
        .iter()
        .filter(|part| part.kind.is_artifact())
        .collect();
    let missing: Vec<&str> = artifacts
        .iter()
        .filter(|part| {
            vouched
                .get(part.name.as_str())
                .is_none_or(|digest| **digest != digest_set(&part.digest))
        })
        .map(|part| part.name.as_str())
        .collect();
    let strange: Vec<&str> = vouched
        .keys()
        .filter(|name| manifest.part(name).is_none_or(|part| !part.kind.is_artifact()))
        .copied()
        .collect();
    report.add(
        "provenance subjects",
        match (missing.as_slice(), strange.as_slice()) {
            ([], []) => Ok(format!("vouches for all {} artifacts", artifacts.len())),
            ([], strange) => Err(format!(
                "it vouches for what is not in the release: {}",
                strange.join(", ")
            )),
            (missing, _) => Err(format!("it does not vouch for {}", missing.join(", "))),
        },
    );
    report.add("provenance commit", same_commit(statement.commit(), manifest));
}

fn check_sboms(report: &mut Report, parts: &dyn PartSource, manifest: &Manifest) {
    match read_part(parts, manifest, CYCLONEDX_PART).and_then(|bytes| Bom::from_json(&bytes)) {
        Ok(bom) => {
            report.add(
                "CycloneDX SBOM",
                Ok(format!("{} components", bom.components.len())),
            );
            report.add("SBOM commit", same_commit(bom.commit(), manifest));
        }
        Err(why) => {
            report.add("CycloneDX SBOM", Err(why));
        }
    }
    let spdx = read_part(parts, manifest, SPDX_PART).and_then(|bytes| Document::from_json(&bytes));
    // The first package is the project itself.
    report.add(
        "SPDX SBOM",
        spdx.map(|document| format!("{} components", document.packages.len().saturating_sub(1))),
    );
}

fn same_commit(found: Option<&str>, manifest: &Manifest) -> Result<String, String> {
    match found {
        Some(commit) if commit == manifest.commit => Ok(commit.to_owned()),
        Some(commit) => Err(format!(
            "it names the commit {commit}, the manifest {}",
            manifest.commit
        )),
        None => Err("it names no commit".to_owned()),
    }
}

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;
