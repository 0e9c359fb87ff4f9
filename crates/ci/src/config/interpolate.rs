//! `$[[ inputs.name ]]`: values that a file is given, put where it names them.

use super::inputs::{Inputs, as_text, short};
use crate::{
    fault::{Fault, Pos, did_you_mean, shown},
    variables::expand,
    yaml::{Budget, Entry, Node, Value},
};
use serde_json::Value as Json;
use std::collections::{BTreeMap, HashSet};

/// Most functions in one interpolation (GitLab's limit).
const FUNCTIONS: usize = 3;
/// Longest interpolation, in bytes.
const BLOCK: usize = 1024;

/// What `$[[ … ]]` may name.
#[derive(Clone, Copy)]
pub(super) struct Known<'a> {
    /// Values of the file's inputs.
    pub inputs: &'a Inputs,
    /// Of a component, what it asked to know of itself (`spec:component`).
    pub component: &'a Inputs,
    /// What `expand_vars` puts in.
    pub variables: &'a BTreeMap<String, String>,
}

/// Replaces `$[[ inputs.name ]]` and `$[[ component.name ]]` in keys and values.
pub(super) fn interpolate(node: Node, known: Known<'_>, budget: &mut Budget) -> Result<Node, Fault> {
    let pos = node.pos;
    let value = match node.value {
        Value::Scalar { text, quoted } if text.contains("$[[") => {
            return scalar(&text, quoted, pos, known, budget);
        }
        Value::Sequence(items) => Value::Sequence(
            items
                .into_iter()
                .map(|item| interpolate(item, known, budget))
                .collect::<Result<_, _>>()?,
        ),
        Value::Mapping(entries) => {
            let mut whole: Vec<Entry> = Vec::with_capacity(entries.len());
            let mut named = false;
            for entry in entries {
                let key = if entry.key.contains("$[[") {
                    named = true;
                    as_plain(&entry.key, entry.key_pos, known, budget)?
                } else {
                    entry.key
                };
                whole.push(Entry {
                    key,
                    key_pos: entry.key_pos,
                    value: interpolate(entry.value, known, budget)?,
                });
            }
            if named {
                distinct(&whole)?;
            }
            Value::Mapping(whole)
        }
        other => other,
    };
    Ok(Node { pos, value })
}

/// Keys that inputs made are still each there once.
fn distinct(entries: &[Entry]) -> Result<(), Fault> {
    let mut seen = HashSet::new();
    match entries.iter().find(|entry| !seen.insert(entry.key.as_str())) {
        None => Ok(()),
        Some(twice) => Err(Fault::new(
            twice.key_pos,
            format!("with these inputs the key `{}` is there twice", shown(&twice.key)),
            "give the jobs names that differ",
        )),
    }
}

fn scalar(text: &str, quoted: bool, pos: Pos, known: Known<'_>, budget: &mut Budget) -> Result<Node, Fault> {
    let trimmed = text.trim();
    // A value that is one interpolation keeps the input's type.
    if !quoted
        && trimmed.starts_with("$[[")
        && trimmed.find("]]").is_some_and(|end| end + 2 == trimmed.len())
        && !is_matrix(&trimmed[3..])
    {
        let value = block(&trimmed[3..trimmed.len() - 2], pos, known)?;
        let node = Node::from_json(&value, pos);
        budget.pay(node.measure(), pos)?;
        return Ok(node);
    }
    Ok(Node {
        pos,
        value: Value::Scalar {
            text: as_plain(text, pos, known, budget)?,
            quoted,
        },
    })
}

/// Values of a matrix are known only when jobs are planned.
fn is_matrix(inner: &str) -> bool {
    inner.trim_start().starts_with("matrix.")
}

fn as_plain(text: &str, pos: Pos, known: Known<'_>, budget: &mut Budget) -> Result<String, Fault> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("$[[") {
        let (before, after) = rest.split_at(at);
        out.push_str(before);
        let Some(end) = after.find("]]") else {
            break;
        };
        if is_matrix(&after[3..end]) {
            out.push_str(&after[..end + 2]);
            rest = &after[end + 2..];
            continue;
        }
        let value = as_text(&block(&after[3..end], pos, known)?);
        budget.pay(Node::text(pos, value.as_str()).measure(), pos)?;
        out.push_str(&value);
        rest = &after[end + 2..];
    }
    out.push_str(rest);
    Ok(out)
}

/// `inputs.name | function | function(arguments)`.
fn block(text: &str, pos: Pos, known: Known<'_>) -> Result<Json, Fault> {
    let wrong = |what: String, allowed: &str| Fault::new(pos, what, allowed);
    if text.len() > BLOCK {
        return Err(wrong(
            "this interpolation is too long".to_owned(),
            "at most 1024 bytes are allowed between `$[[` and `]]`",
        ));
    }
    let mut parts = text.split('|').map(str::trim);
    let path = parts.next().unwrap_or_default();
    let (values, name, place) = match path.split_once('.') {
        Some(("inputs", name)) => (known.inputs, name, "input"),
        Some(("component", name)) => (known.component, name, "field of the component"),
        _ => {
            return Err(wrong(
                format!("`$[[ {} ]]` names no input", shown(path)),
                "write `$[[ inputs.name ]]`",
            ));
        }
    };
    let Some(value) = values.get(name) else {
        let hint = did_you_mean(name, values.keys().map(String::as_str));
        let declared = if place == "input" {
            "spec:inputs"
        } else {
            "spec:component"
        };
        return Err(wrong(
            format!("the {place} `{}` is not declared in `{declared}`", shown(name)),
            &hint.map_or_else(String::new, |word| format!("did you mean `{word}`?")),
        ));
    };
    let mut value = value.clone();
    for (index, function) in parts.enumerate() {
        if index >= FUNCTIONS {
            return Err(wrong(
                "too many functions in one interpolation".to_owned(),
                "at most 3 are allowed",
            ));
        }
        let Json::String(text) = &value else {
            return Err(wrong(
                format!("`{}` cannot work on `{}`", shown(function), short(&value)),
                "functions take texts",
            ));
        };
        value =
            Json::String(apply(function, text, known.variables).map_err(|why| wrong(why, FUNCTION_NAMES))?);
    }
    Ok(value)
}

const FUNCTION_NAMES: &str = "functions are `expand_vars`, `truncate(offset, length)` and `posix_escape`";

fn apply(function: &str, text: &str, variables: &BTreeMap<String, String>) -> Result<String, String> {
    if function == "expand_vars" {
        return Ok(expand(text, variables));
    }
    if function == "posix_escape" {
        return Ok(posix_escape(text));
    }
    let numbers = function
        .strip_prefix("truncate(")
        .and_then(|rest| rest.strip_suffix(')'))
        .and_then(|inner| inner.split_once(','))
        .and_then(|(from, length)| Some((from.trim().parse().ok()?, length.trim().parse().ok()?)));
    match numbers {
        Some((from, length)) => Ok(text.chars().skip(from).take(length).collect()),
        None => Err(format!("`{}` is no function", shown(function))),
    }
}

fn posix_escape(text: &str) -> String {
    if text.is_empty() {
        return "''".to_owned();
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c == '\n' {
            out.push_str("'\n'");
            continue;
        }
        if !(c.is_ascii_alphanumeric() || "_-.,:+/@%".contains(c)) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}
