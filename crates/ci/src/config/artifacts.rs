//! `artifacts`.

use super::{ArtifactAccess, JobSpec, reader::Reader};
use crate::{fault::shown, yaml::Node};
use bascule_wire::runner::{ARTIFACT_ARCHIVE, Artifact, ArtifactFormat, When};

pub(super) const KEYS: &[&str] = &[
    "paths",
    "exclude",
    "expire_in",
    "expose_as",
    "name",
    "public",
    "access",
    "reports",
    "untracked",
    "when",
];
pub(super) const REPORTS: &[&str] = &[
    "accessibility",
    "annotations",
    "api_fuzzing",
    "browser_performance",
    "codequality",
    "container_scanning",
    "coverage_fuzzing",
    "coverage_report",
    "cyclonedx",
    "dast",
    "dependency_scanning",
    "dotenv",
    "junit",
    "license_management",
    "license_scanning",
    "load_performance",
    "lsif",
    "metrics",
    "repository_xray",
    "requirements",
    "sarif",
    "sast",
    "secret_detection",
    "terraform",
];
pub(super) const COVERAGE: &[&str] = &["coverage_format", "path"];
const ACCESS: &[&str] = &["all", "developer", "maintainer", "none"];
const WHEN: &[&str] = &["on_success", "on_failure", "always"];

/// The archive, if any files are kept, and one entry per report; and who may fetch them.
pub(super) fn artifacts(node: &Node, place: &str, spec: &mut JobSpec, reader: &mut Reader) {
    let mut archive = Artifact {
        artifact_type: ARTIFACT_ARCHIVE.to_owned(),
        ..Artifact::default()
    };
    let mut reports = Vec::new();
    (spec.artifacts_access, spec.artifacts_expose_as) = (ArtifactAccess::All, None);
    for entry in reader.map(node, place, KEYS).unwrap_or_default() {
        let value = &entry.value;
        if value.is_null() {
            continue;
        }
        let place = format!("{place}:{}", entry.key);
        match entry.key.as_str() {
            "paths" => archive.paths = paths(value, &place, reader),
            "exclude" => archive.exclude = paths(value, &place, reader),
            "expire_in" => {
                if value.scalar() != Some("never") {
                    reader.seconds(value, &place);
                }
                archive.expire_in = value.scalar().map(str::to_owned);
            }
            "name" => archive.name = reader.text(value, &place).unwrap_or_default(),
            "untracked" => archive.untracked = reader.boolean(value, &place).unwrap_or_default(),
            "when" => archive.when = word_when(value, &place, reader),
            "reports" => reports = self::reports(value, &place, reader),
            "public" => {
                spec.artifacts_access = match reader.boolean(value, &place) {
                    Some(false) => ArtifactAccess::Developer,
                    _ => ArtifactAccess::All,
                };
            }
            "access" => {
                spec.artifacts_access = match reader.word(value, &place, ACCESS).as_deref() {
                    Some("developer") => ArtifactAccess::Developer,
                    Some("maintainer") => ArtifactAccess::Maintainer,
                    Some("none") => ArtifactAccess::None,
                    _ => ArtifactAccess::All,
                };
            }
            "expose_as" => {
                spec.artifacts_expose_as = reader.text(value, &place);
                if node.get("paths").is_none() {
                    reader.fault(
                        entry.key_pos,
                        format!("`{place}` needs `paths`"),
                        "name the files to show",
                    );
                }
            }
            _ => {}
        }
    }
    if let (Some(_), Some(both)) = (node.get("access"), node.get("public")) {
        reader.fault(
            both.pos,
            format!("`{place}` has both `public` and `access`"),
            "use `access` alone",
        );
    }
    let mut list = Vec::new();
    for report in &mut reports {
        report.expire_in.clone_from(&archive.expire_in);
    }
    if !archive.paths.is_empty() || archive.untracked {
        list.push(archive);
    }
    list.extend(reports);
    spec.artifacts = list;
}

/// Adds a folder to what the archive keeps, as `pages` asks.
pub(super) fn keep(spec: &mut JobSpec, path: &str) {
    if let Some(archive) = spec
        .artifacts
        .iter_mut()
        .find(|a| a.artifact_type == ARTIFACT_ARCHIVE)
    {
        if !archive
            .paths
            .iter()
            .any(|p| p.trim_end_matches('/') == path.trim_end_matches('/'))
        {
            archive.paths.push(path.to_owned());
        }
        return;
    }
    spec.artifacts.insert(
        0,
        Artifact {
            artifact_type: ARTIFACT_ARCHIVE.to_owned(),
            paths: vec![path.to_owned()],
            ..Artifact::default()
        },
    );
}

/// Paths stay inside the workspace.
pub(super) fn paths(node: &Node, place: &str, reader: &mut Reader) -> Vec<String> {
    let list = reader.texts(node, place);
    for path in &list {
        if path.starts_with('/') || path.split('/').any(|part| part == "..") || path.contains('\0') {
            reader.fault(
                node.pos,
                format!("the path `{}` leaves the job's workspace", shown(path)),
                "paths are relative to the project's root and hold no `..`",
            );
        }
    }
    list
}

pub(super) fn word_when(node: &Node, place: &str, reader: &mut Reader) -> When {
    reader
        .word(node, place, WHEN)
        .and_then(|word| When::parse(&word))
        .unwrap_or_default()
}

fn reports(node: &Node, place: &str, reader: &mut Reader) -> Vec<Artifact> {
    let mut list = Vec::new();
    for entry in reader.map(node, place, REPORTS).unwrap_or_default() {
        if entry.value.is_null() {
            continue;
        }
        let place = format!("{place}:{}", entry.key);
        let mut kind = entry.key.clone();
        let paths = if entry.key == "coverage_report" {
            let Some((format, paths)) = coverage(&entry.value, &place, reader) else {
                continue;
            };
            // The runner and the server know such a report by its format.
            kind = format;
            paths
        } else {
            self::paths(&entry.value, &place, reader)
        };
        list.push(Artifact {
            // The runner adds what the format asks for.
            name: kind.clone(),
            paths,
            // A report is most wanted when the job failed.
            when: When::Always,
            artifact_type: kind,
            artifact_format: ArtifactFormat::Gzip,
            ..Artifact::default()
        });
    }
    list
}

/// The format, `cobertura` or `jacoco`, and the file.
fn coverage(node: &Node, place: &str, reader: &mut Reader) -> Option<(String, Vec<String>)> {
    reader.map(node, place, COVERAGE)?;
    let (Some(format), Some(path)) = (node.get("coverage_format"), node.get("path")) else {
        reader.fault(
            node.pos,
            format!("`{place}` has no `coverage_format` or no `path`"),
            "both are needed",
        );
        return None;
    };
    let format = reader.word(format, place, &["cobertura", "jacoco"])?;
    Some((format, paths(path, place, reader)))
}
