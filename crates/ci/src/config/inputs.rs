//! `spec:inputs`: what a file asks of those who include it, and `$[[ inputs.name ]]` in it.

use super::reader::Reader;
use crate::{
    fault::{Fault, Pos, did_you_mean, shown},
    variables::expand,
    yaml::{Budget, Entry, Node, Value},
};
use regex::{Regex, RegexBuilder};
use serde_json::Value as Json;
use std::collections::{BTreeMap, HashSet};

/// Most `options` of an input (GitLab's limit).
const OPTIONS: usize = 50;
/// Most functions in one interpolation (GitLab's limit).
const FUNCTIONS: usize = 3;
/// Longest interpolation, in bytes.
const BLOCK: usize = 1024;
/// Longest value of an input as text, in bytes.
const VALUE: usize = 64 * 1024;

pub(super) const INPUT: &[&str] = &["default", "description", "options", "regex", "type"];

/// Values of inputs, by name.
pub type Inputs = BTreeMap<String, Json>;

/// An input as its file declares it.
#[derive(Clone, Debug)]
pub(super) struct Declared {
    name: String,
    pos: Pos,
    kind: Kind,
    default: Option<Json>,
    options: Vec<Json>,
    pattern: Option<Regex>,
    description: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Number,
    Truth,
    List,
}

impl Kind {
    fn parse(word: &str) -> Self {
        match word {
            "number" => Self::Number,
            "boolean" => Self::Truth,
            "array" => Self::List,
            _ => Self::Text,
        }
    }

    fn holds(self, value: &Json) -> bool {
        match self {
            Self::Text => value.is_string(),
            Self::Number => value.is_number(),
            Self::Truth => value.is_boolean(),
            Self::List => value.is_array(),
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::Text => "a text",
            Self::Number => "a number",
            Self::Truth => "true or false",
            Self::List => "a list",
        }
    }
}

/// Reads the header of a file: `spec` with `inputs`.
pub(super) fn declared(header: &Node, reader: &mut Reader) -> Vec<Declared> {
    let mut list = Vec::new();
    reader.map(header, "", &["spec"]);
    let Some(spec) = header.get("spec").filter(|spec| !spec.is_null()) else {
        return list;
    };
    for entry in reader
        .map(spec, "spec", &["inputs", "description"])
        .unwrap_or_default()
    {
        if entry.key == "inputs" && !entry.value.is_null() {
            for input in reader.entries(&entry.value, "spec:inputs").unwrap_or_default() {
                list.extend(one(input, reader));
            }
        }
    }
    list
}

fn one(entry: &Entry, reader: &mut Reader) -> Option<Declared> {
    let place = format!("spec:inputs:{}", entry.key);
    let named = !entry.key.is_empty()
        && entry
            .key
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    if !named {
        reader.fault(
            entry.key_pos,
            format!("`{}` cannot be an input's name", shown(&entry.key)),
            "use letters, digits, `_` and `-`",
        );
        return None;
    }
    let mut input = Declared {
        name: entry.key.clone(),
        pos: entry.key_pos,
        kind: Kind::Text,
        default: None,
        options: Vec::new(),
        pattern: None,
        description: String::new(),
    };
    if entry.value.is_null() {
        return Some(input);
    }
    let keys = INPUT;
    for inner in reader.map(&entry.value, &place, keys)? {
        let value = &inner.value;
        let place = format!("{place}:{}", inner.key);
        match inner.key.as_str() {
            "default" => input.default = Some(value.to_json()),
            "description" => input.description = reader.text(value, &place).unwrap_or_default(),
            "type" => {
                let words = &["string", "number", "boolean", "array"];
                input.kind = Kind::parse(&reader.word(value, &place, words)?);
            }
            "options" => match value.items() {
                Some(items) if items.len() <= OPTIONS => {
                    input.options = items.iter().map(Node::to_json).collect();
                }
                Some(items) => reader.fault(
                    value.pos,
                    format!("`{place}` names {} values", items.len()),
                    format!("at most {OPTIONS} are allowed"),
                ),
                None => reader.wrong(value, &place, "a list of values"),
            },
            "regex" => {
                let text = reader.text(value, &place)?;
                match RegexBuilder::new(&text).size_limit(256 * 1024).build() {
                    Ok(regex) => input.pattern = Some(regex),
                    Err(_) => reader.fault(
                        value.pos,
                        format!("`{}` is no regular expression", shown(&text)),
                        "write it in RE2's syntax, without slashes",
                    ),
                }
            }
            _ => {}
        }
    }
    if let Some(pattern) = &input.pattern
        && input.kind != Kind::Text
    {
        let at = entry.value.get("regex").map_or(entry.key_pos, |node| node.pos);
        reader.fault(
            at,
            format!(
                "`{place}:regex` is `{}` but the input is no text",
                shown(pattern.as_str())
            ),
            "`regex` goes with `type: string`",
        );
    }
    if let (Some(default), Some(at)) = (&input.default, entry.value.get("default"))
        && let Err(why) = input.check(default)
    {
        reader.fault(
            at.pos,
            format!("the default of the input `{}` {why}", input.name),
            "",
        );
    }
    Some(input)
}

impl Declared {
    fn check(&self, value: &Json) -> Result<(), String> {
        if !self.kind.holds(value) {
            return Err(format!("is `{}`; it must be {}", short(value), self.kind.words()));
        }
        if !self.options.is_empty() && !self.options.contains(value) {
            let words: Vec<String> = self.options.iter().map(short).collect();
            return Err(format!(
                "is `{}`; it must be one of: {}",
                short(value),
                words.join(", ")
            ));
        }
        if let (Some(pattern), Json::String(text)) = (&self.pattern, value)
            && !pattern.is_match(text)
        {
            return Err(format!(
                "is `{}`; it must match `{}`",
                shown(text),
                shown(pattern.as_str())
            ));
        }
        if as_text(value).len() > VALUE {
            return Err(format!("is longer than {VALUE} bytes"));
        }
        Ok(())
    }
}

fn short(value: &Json) -> String {
    shown(&as_text(value))
}

fn as_text(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The values that a file's inputs have, given what its includer says at `at`.
pub(super) fn settle(declared: &[Declared], given: &Inputs, at: Pos, reader: &mut Reader) -> Inputs {
    let mut values = Inputs::new();
    for name in given.keys() {
        if !declared.iter().any(|input| &input.name == name) {
            let names = || declared.iter().map(|input| input.name.as_str());
            let hint = did_you_mean(name, names())
                .map_or_else(String::new, |word| format!("did you mean `{word}`? "));
            let known = names().collect::<Vec<_>>().join(", ");
            reader.fault(
                at,
                format!("the input `{}` is unknown to the included file", shown(name)),
                if known.is_empty() {
                    "the file declares no `spec:inputs`".to_owned()
                } else {
                    format!("{hint}It declares: {known}")
                },
            );
        }
    }
    for input in declared {
        match (given.get(&input.name), &input.default) {
            (Some(value), _) => {
                if let Err(why) = input.check(value) {
                    reader.fault(at, format!("the input `{}` {why}", input.name), "");
                }
                values.insert(input.name.clone(), value.clone());
            }
            (None, Some(default)) => {
                values.insert(input.name.clone(), default.clone());
            }
            (None, None) => {
                // In the project's own file there is nobody who includes; the declaration is the place.
                let at = if at == Pos::default() { input.pos } else { at };
                let what = if input.description.is_empty() {
                    String::new()
                } else {
                    format!(" ({})", shown(&input.description))
                };
                reader.fault(
                    at,
                    format!("the input `{}`{what} is needed and not given", input.name),
                    format!("give it under `inputs`: {}", input.kind.words()),
                );
            }
        }
    }
    values
}

/// Replaces `$[[ inputs.name ]]` in keys and values.
pub(super) fn interpolate(
    node: Node,
    inputs: &Inputs,
    variables: &BTreeMap<String, String>,
    budget: &mut Budget,
) -> Result<Node, Fault> {
    let pos = node.pos;
    let value = match node.value {
        Value::Scalar { text, quoted } if text.contains("$[[") => {
            return scalar(&text, quoted, pos, inputs, variables, budget);
        }
        Value::Sequence(items) => Value::Sequence(
            items
                .into_iter()
                .map(|item| interpolate(item, inputs, variables, budget))
                .collect::<Result<_, _>>()?,
        ),
        Value::Mapping(entries) => {
            let mut whole: Vec<Entry> = Vec::with_capacity(entries.len());
            let mut named = false;
            for entry in entries {
                let key = if entry.key.contains("$[[") {
                    named = true;
                    as_plain(&entry.key, entry.key_pos, inputs, variables, budget)?
                } else {
                    entry.key
                };
                whole.push(Entry {
                    key,
                    key_pos: entry.key_pos,
                    value: interpolate(entry.value, inputs, variables, budget)?,
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

fn scalar(
    text: &str,
    quoted: bool,
    pos: Pos,
    inputs: &Inputs,
    variables: &BTreeMap<String, String>,
    budget: &mut Budget,
) -> Result<Node, Fault> {
    let trimmed = text.trim();
    // A value that is one interpolation keeps the input's type.
    if !quoted && trimmed.starts_with("$[[") && trimmed.find("]]").is_some_and(|end| end + 2 == trimmed.len())
    {
        let value = block(&trimmed[3..trimmed.len() - 2], pos, inputs, variables)?;
        let node = Node::from_json(&value, pos);
        budget.pay(node.measure(), pos)?;
        return Ok(node);
    }
    Ok(Node {
        pos,
        value: Value::Scalar {
            text: as_plain(text, pos, inputs, variables, budget)?,
            quoted,
        },
    })
}

fn as_plain(
    text: &str,
    pos: Pos,
    inputs: &Inputs,
    variables: &BTreeMap<String, String>,
    budget: &mut Budget,
) -> Result<String, Fault> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("$[[") {
        let (before, after) = rest.split_at(at);
        out.push_str(before);
        let Some(end) = after.find("]]") else {
            break;
        };
        let value = as_text(&block(&after[3..end], pos, inputs, variables)?);
        budget.pay(Node::text(pos, value.as_str()).measure(), pos)?;
        out.push_str(&value);
        rest = &after[end + 2..];
    }
    out.push_str(rest);
    Ok(out)
}

/// `inputs.name | function | function(arguments)`.
fn block(text: &str, pos: Pos, inputs: &Inputs, variables: &BTreeMap<String, String>) -> Result<Json, Fault> {
    let wrong = |what: String, allowed: &str| Fault::new(pos, what, allowed);
    if text.len() > BLOCK {
        return Err(wrong(
            "this interpolation is too long".to_owned(),
            "at most 1024 bytes are allowed between `$[[` and `]]`",
        ));
    }
    let mut parts = text.split('|').map(str::trim);
    let path = parts.next().unwrap_or_default();
    let Some(name) = path.strip_prefix("inputs.") else {
        return Err(wrong(
            format!("`$[[ {} ]]` names no input", shown(path)),
            "write `$[[ inputs.name ]]`",
        ));
    };
    let Some(value) = inputs.get(name) else {
        let hint = did_you_mean(name, inputs.keys().map(String::as_str));
        return Err(wrong(
            format!("the input `{}` is not declared in `spec:inputs`", shown(name)),
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
        value = Json::String(apply(function, text, variables).map_err(|why| wrong(why, FUNCTION_NAMES))?);
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
