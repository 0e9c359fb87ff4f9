//! `include`: where the files that make up a configuration come from.

use super::reader::Reader;
use crate::{
    fault::{Pos, shown},
    rules::{self, Rule},
    yaml::{Node, Value},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One file, or pattern of files, with the inputs it is given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Include {
    /// Where it comes from.
    pub source: Source,
    /// Values for its `spec:inputs`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<String, serde_json::Value>,
}

/// Where an included file comes from. All may hold variables.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Files of the same project and commit as the file that includes; `*` and `**` choose several.
    Local(String),
    /// A file of another project.
    Project {
        /// `group/project`.
        project: String,
        /// Branch, tag or commit; `None` is the default branch.
        #[serde(rename = "ref")]
        reference: Option<String>,
        /// The file's path there.
        file: String,
    },
    /// A file from an address that the instance allows.
    Remote {
        /// The address.
        url: String,
        /// `sha256-` and the digest in base64, which the file must have.
        integrity: Option<String>,
    },
    /// One of the templates in this program.
    Template(String),
    /// `host/group/project/name@version`.
    Component(String),
    /// A file that a job of this pipeline left; only for child pipelines.
    Artifact {
        /// The job.
        job: String,
        /// The file's path in its archive.
        file: String,
    },
}

/// An `include` as written.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub include: Include,
    pub pos: Pos,
    /// Conditions under which it counts; `None` is always.
    pub rules: Option<Vec<Rule>>,
}

/// Whose include it is, which decides what it may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum For {
    File,
    Child,
    /// `spec:include`: files that declare inputs.
    Spec,
}

pub(super) const KEYS: &[&str] = &[
    "local",
    "project",
    "ref",
    "file",
    "remote",
    "integrity",
    "template",
    "component",
    "inputs",
    "rules",
];
pub(super) const CHILD_KEYS: &[&str] = &[
    "local",
    "project",
    "ref",
    "file",
    "remote",
    "integrity",
    "template",
    "component",
    "artifact",
    "job",
    "inputs",
];
pub(super) const SPEC_KEYS: &[&str] = &["local", "project", "ref", "file", "remote", "integrity"];
const KINDS: &[&str] = &["local", "project", "remote", "template", "component", "artifact"];

/// Reads `include`: a text, a map, or a list of both.
pub(super) fn read(node: &Node, place: &str, whose: For, reader: &mut Reader) -> Vec<Asked> {
    let mut list = Vec::new();
    read_into(node, place, whose, 0, &mut list, reader);
    list
}

fn read_into(node: &Node, place: &str, whose: For, depth: usize, list: &mut Vec<Asked>, reader: &mut Reader) {
    match &node.value {
        // References and anchors leave lists in lists.
        Value::Sequence(items) if depth < 10 => {
            for item in items {
                read_into(item, place, whose, depth + 1, list, reader);
            }
        }
        Value::Scalar { .. } if !node.is_null() => {
            let text = node.scalar().unwrap_or_default();
            let source = if text.starts_with("http://") || text.starts_with("https://") {
                Source::Remote {
                    url: text.to_owned(),
                    integrity: None,
                }
            } else {
                Source::Local(text.to_owned())
            };
            list.push(Asked {
                include: Include {
                    source,
                    inputs: BTreeMap::new(),
                },
                pos: node.pos,
                rules: None,
            });
        }
        Value::Mapping(_) => one(node, place, whose, list, reader),
        _ => reader.wrong(node, place, "a path, a map, or a list of them"),
    }
}

fn one(node: &Node, place: &str, whose: For, list: &mut Vec<Asked>, reader: &mut Reader) {
    let keys = match whose {
        For::File => KEYS,
        For::Child => CHILD_KEYS,
        For::Spec => SPEC_KEYS,
    };
    let faults = reader.faults.len();
    let entries = reader.map(node, place, keys).unwrap_or_default();
    let named: Vec<&str> = entries
        .iter()
        .map(|entry| entry.key.as_str())
        .filter(|key| KINDS.contains(key))
        .collect();
    let [kind] = named.as_slice() else {
        if reader.faults.len() == faults {
            let what = if named.is_empty() {
                format!("this `{place}` names nothing")
            } else {
                format!(
                    "this `{place}` names {} sources: {}",
                    named.len(),
                    named.join(", ")
                )
            };
            reader.fault(
                node.pos,
                what,
                format!(
                    "one of: {}",
                    keys.iter()
                        .filter(|k| KINDS.contains(k))
                        .copied()
                        .collect::<Vec<_>>()
                        .join(", ")
                ),
            );
        }
        return;
    };
    let text = |key: &str, reader: &mut Reader| {
        node.get(key)
            .and_then(|value| reader.text(value, &format!("{place}:{key}")))
    };
    let at = node.get(kind).map_or(node.pos, |value| value.pos);
    let value = match node.get(kind).map(|value| (value, value.scalar())) {
        Some((_, Some(text))) => text.to_owned(),
        Some((value, None)) => {
            reader.wrong(value, &format!("{place}:{kind}"), "a text");
            return;
        }
        None => return,
    };
    let allowed_besides: &[&str] = match *kind {
        "project" => &["ref", "file"],
        "remote" => &["integrity"],
        "artifact" => &["job"],
        _ => &[],
    };
    for entry in entries {
        if entry.key != *kind
            && !allowed_besides.contains(&entry.key.as_str())
            && !matches!(entry.key.as_str(), "inputs" | "rules")
            && keys.contains(&entry.key.as_str())
        {
            reader.fault(
                entry.key_pos,
                format!("`{}` does not go with `{place}:{kind}`", entry.key),
                "remove it",
            );
        }
    }
    let inputs = node
        .get("inputs")
        .map(|value| inputs(value, reader))
        .unwrap_or_default();
    let rules = node
        .get("rules")
        .map(|value| rules::read(value, &format!("{place}:rules"), rules::Place::Include, reader));
    let mut push = |source: Source, pos: Pos| {
        list.push(Asked {
            include: Include {
                source,
                inputs: inputs.clone(),
            },
            pos,
            rules: rules.clone(),
        });
    };
    match *kind {
        "local" => push(Source::Local(value), at),
        "remote" => {
            let integrity = text("integrity", reader);
            if let Some(digest) = &integrity
                && !digest.starts_with("sha256-")
            {
                reader.fault(
                    node.get("integrity").map_or(at, |n| n.pos),
                    format!("`{}` is no integrity", shown(digest)),
                    "write `sha256-` and the SHA-256 of the file in base64",
                );
            }
            push(
                Source::Remote {
                    url: value,
                    integrity,
                },
                at,
            );
        }
        "template" => push(Source::Template(value), at),
        "component" => push(Source::Component(value), at),
        "artifact" => match text("job", reader) {
            Some(job) => push(Source::Artifact { job, file: value }, at),
            None => reader.fault(
                at,
                format!("this `{place}:artifact` has no `job`"),
                "name the job that leaves the file",
            ),
        },
        _ => {
            let reference = text("ref", reader);
            let Some(files) = node.get("file") else {
                reader.fault(
                    at,
                    format!("this `{place}:project` has no `file`"),
                    "name one file, or a list of files",
                );
                return;
            };
            let files: Vec<(String, Pos)> = match files.scalar() {
                Some(file) => vec![(file.to_owned(), files.pos)],
                None => reader.placed_texts(files, &format!("{place}:file")),
            };
            for (file, pos) in files {
                push(
                    Source::Project {
                        project: value.clone(),
                        reference: reference.clone(),
                        file,
                    },
                    pos,
                );
            }
        }
    }
}

/// Reads `inputs` as given to an include or a trigger.
pub(super) fn inputs(node: &Node, reader: &mut Reader) -> BTreeMap<String, serde_json::Value> {
    reader
        .entries(node, "inputs")
        .unwrap_or_default()
        .iter()
        .map(|entry| (entry.key.clone(), entry.value.to_json()))
        .collect()
}
