//! Artifacts, caches, images and services.

use super::reader::Reader;
use crate::{
    fault::shown,
    yaml::{Node, Value},
};
use bascule_wire::runner::{ARTIFACT_ARCHIVE, Artifact, ArtifactFormat, Cache, CachePolicy, Image, When};

const KEYS: &[&str] = &[
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
const REPORTS: &[&str] = &[
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
    "load_performance",
    "metrics",
    "repository_xray",
    "requirements",
    "sarif",
    "sast",
    "secret_detection",
    "terraform",
];
const WHEN: &[&str] = &["on_success", "on_failure", "always"];

/// The archive, if any files are kept, and one entry per report.
pub(super) fn artifacts(node: &Node, place: &str, reader: &mut Reader) -> Vec<Artifact> {
    let mut archive = Artifact {
        artifact_type: ARTIFACT_ARCHIVE.to_owned(),
        ..Artifact::default()
    };
    let mut reports = Vec::new();
    for entry in reader.map(node, place, KEYS).unwrap_or_default() {
        let value = &entry.value;
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
            "public" => drop(reader.boolean(value, &place)),
            _ => drop(reader.text(value, &place)),
        }
    }
    let mut list = Vec::new();
    for report in &mut reports {
        report.expire_in.clone_from(&archive.expire_in);
    }
    if !archive.paths.is_empty() || archive.untracked {
        list.push(archive);
    }
    list.extend(reports);
    list
}

/// Paths stay inside the workspace.
fn paths(node: &Node, place: &str, reader: &mut Reader) -> Vec<String> {
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

fn word_when(node: &Node, place: &str, reader: &mut Reader) -> When {
    reader
        .word(node, place, WHEN)
        .and_then(|word| When::parse(&word))
        .unwrap_or_default()
}

fn reports(node: &Node, place: &str, reader: &mut Reader) -> Vec<Artifact> {
    let mut list = Vec::new();
    for entry in reader.map(node, place, REPORTS).unwrap_or_default() {
        let place = format!("{place}:{}", entry.key);
        let paths = if entry.key == "coverage_report" {
            match reader.map(&entry.value, &place, &["coverage_format", "path"]) {
                None => Vec::new(),
                Some(_) => match entry.value.get("path") {
                    Some(path) => self::paths(path, &place, reader),
                    None => {
                        reader.fault(
                            entry.key_pos,
                            "this coverage report has no `path`",
                            "name the file",
                        );
                        Vec::new()
                    }
                },
            }
        } else {
            self::paths(&entry.value, &place, reader)
        };
        list.push(Artifact {
            name: format!("{}.gz", entry.key),
            paths,
            // A report is most wanted when the job failed.
            when: When::Always,
            artifact_type: entry.key.clone(),
            artifact_format: ArtifactFormat::Gzip,
            ..Artifact::default()
        });
    }
    list
}

const CACHE: &[&str] = &[
    "paths",
    "key",
    "untracked",
    "unprotect",
    "when",
    "policy",
    "fallback_keys",
];

/// One cache, or a list of at most four.
pub(super) fn caches(node: &Node, place: &str, reader: &mut Reader) -> Vec<Cache> {
    match &node.value {
        Value::Sequence(items) => {
            if items.len() > 4 {
                reader.fault(
                    node.pos,
                    format!("`{place}` names {} caches", items.len()),
                    "at most 4 are allowed",
                );
            }
            items
                .iter()
                .filter_map(|item| cache(item, place, reader))
                .collect()
        }
        _ => cache(node, place, reader).into_iter().collect(),
    }
}

fn cache(node: &Node, place: &str, reader: &mut Reader) -> Option<Cache> {
    let mut cache = Cache {
        key: "default".to_owned(),
        ..Cache::default()
    };
    for entry in reader.map(node, place, CACHE)? {
        let value = &entry.value;
        let place = format!("{place}:{}", entry.key);
        match entry.key.as_str() {
            "paths" => cache.paths = paths(value, &place, reader),
            "key" => match &value.value {
                Value::Mapping(_) => {
                    // Without the files' hash the key still separates caches; which is what counts for being right.
                    let mut parts = Vec::new();
                    for inner in reader
                        .map(value, &place, &["files", "files_commits", "prefix"])
                        .unwrap_or_default()
                    {
                        let texts = reader.texts(&inner.value, &place);
                        if inner.key == "prefix" {
                            parts.splice(0..0, texts);
                        } else {
                            parts.extend(texts.iter().map(|file| file.replace('/', "_")));
                        }
                    }
                    cache.key = parts.join("-");
                }
                _ => cache.key = reader.text(value, &place).unwrap_or_default(),
            },
            "untracked" => cache.untracked = reader.boolean(value, &place).unwrap_or_default(),
            "unprotect" => drop(reader.boolean(value, &place)),
            "when" => cache.when = word_when(value, &place, reader),
            "policy" => {
                // A variable may choose the policy; which one is known only in the job, so both ways stay open.
                cache.policy = match value.scalar() {
                    Some(text) if text.starts_with('$') => CachePolicy::PullPush,
                    _ => reader
                        .word(value, &place, &["pull", "push", "pull-push"])
                        .and_then(|word| CachePolicy::parse(&word))
                        .unwrap_or_default(),
                };
            }
            "fallback_keys" => cache.fallback_keys = reader.texts(value, &place),
            _ => {}
        }
    }
    Some(cache)
}

const IMAGE: &[&str] = &["name", "entrypoint", "pull_policy", "docker", "kubernetes"];
const SERVICE: &[&str] = &[
    "name",
    "alias",
    "entrypoint",
    "command",
    "variables",
    "pull_policy",
    "docker",
    "kubernetes",
];

pub(super) fn image(node: &Node, place: &str, reader: &mut Reader) -> Option<Image> {
    one_image(node, place, IMAGE, reader)
}

pub(super) fn services(node: &Node, place: &str, reader: &mut Reader) -> Vec<Image> {
    let Some(items) = node.items() else {
        reader.wrong(node, place, "a list of images");
        return Vec::new();
    };
    items
        .iter()
        .filter_map(|item| one_image(item, place, SERVICE, reader))
        .collect()
}

fn one_image(node: &Node, place: &str, keys: &[&str], reader: &mut Reader) -> Option<Image> {
    let mut image = Image::default();
    if let Some(name) = node.scalar() {
        name.clone_into(&mut image.name);
        return Some(image);
    }
    for entry in reader.map(node, place, keys)? {
        let value = &entry.value;
        let place = format!("{place}:{}", entry.key);
        match entry.key.as_str() {
            "name" => image.name = reader.text(value, &place).unwrap_or_default(),
            "alias" => image.alias = reader.text(value, &place).unwrap_or_default(),
            "entrypoint" => image.entrypoint = reader.texts(value, &place),
            "command" => image.command = reader.texts(value, &place),
            "variables" => drop(super::top::variables(value, &place, reader)),
            _ => {}
        }
    }
    if image.name.is_empty() {
        reader.fault(node.pos, format!("`{place}` has no `name`"), "name the image");
        return None;
    }
    Some(image)
}
