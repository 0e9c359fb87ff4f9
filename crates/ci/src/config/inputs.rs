//! `spec:inputs`: what a file asks of those who include it, or of who starts a pipeline; and `inputs` of a job.

use super::{JobInput, reader::Reader};
use crate::{
    fault::{Fault, Pos, did_you_mean, shown},
    rules::Expression,
    yaml::{self, Budget, Entry, Node},
};
use regex::{Regex, RegexBuilder};
use serde_json::Value as Json;
use std::collections::BTreeMap;

/// Most `options` of an input (GitLab's limit).
const OPTIONS: usize = 50;
/// Longest value of an input as text, in bytes.
const VALUE: usize = 64 * 1024;

/// Most conditional rules of an input.
const RULES: usize = 50;

pub(super) const INPUT: &[&str] = &["default", "description", "options", "regex", "rules", "type"];
pub(super) const INPUT_RULE: &[&str] = &["if", "options", "default"];
/// What `inputs` of a job may hold: they are known before any rule could be.
pub(super) const JOB_INPUT: &[&str] = &["default", "description", "options", "regex", "type"];
/// What a component may ask of itself.
pub(super) const COMPONENT: &[&str] = &["name", "sha", "version", "reference"];
pub(super) const SPEC: &[&str] = &["inputs", "description", "include", "component"];

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
    rules: Vec<Conditional>,
}

/// One of `spec:inputs:NAME:rules`: options and default that hold for some values of other inputs.
#[derive(Clone, Debug)]
struct Conditional {
    /// The condition, and the inputs that its variables stand for; `None` always holds.
    condition: Option<(Expression, Vec<String>)>,
    options: Vec<Json>,
    default: Option<Json>,
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

    const fn word(self) -> &'static str {
        match self {
            Self::Text => "string",
            Self::Number => "number",
            Self::Truth => "boolean",
            Self::List => "array",
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
    for entry in reader.map(spec, "spec", SPEC).unwrap_or_default() {
        if entry.key == "inputs" && !entry.value.is_null() {
            for input in reader.entries(&entry.value, "spec:inputs").unwrap_or_default() {
                list.extend(one(input, "spec:inputs", INPUT, reader));
            }
        }
    }
    list
}

/// Inputs that another file declares (`spec:include`): a map with `inputs` alone.
pub(super) fn external(file: &Node, reader: &mut Reader) -> Vec<Declared> {
    let mut list = Vec::new();
    if reader.map(file, "", &["inputs"]).is_some()
        && let Some(inputs) = file.get("inputs").filter(|inputs| !inputs.is_null())
    {
        for input in reader.entries(inputs, "inputs").unwrap_or_default() {
            list.extend(one(input, "inputs", INPUT, reader));
        }
    }
    list
}

/// What a component asks to know of itself.
pub(super) fn component_fields(header: &Node, reader: &mut Reader) -> Vec<String> {
    let Some(fields) = header.get("spec").and_then(|spec| spec.get("component")) else {
        return Vec::new();
    };
    let items = fields.items().unwrap_or(std::slice::from_ref(fields));
    items
        .iter()
        .filter_map(|item| reader.word(item, "spec:component", COMPONENT))
        .collect()
}

/// `inputs` of a job: each has a default, since nobody is asked when a job starts by itself.
pub(super) fn of_job(node: &Node, place: &str, reader: &mut Reader) -> Vec<JobInput> {
    let mut list = Vec::new();
    for entry in reader.entries(node, place).unwrap_or_default() {
        let Some(input) = one(entry, place, JOB_INPUT, reader) else {
            continue;
        };
        if input.default.is_none() {
            reader.fault(
                entry.key_pos,
                format!("the input `{}` of a job has no `default`", input.name),
                "give it one: jobs also start by themselves",
            );
        }
        list.push(input.told());
    }
    list
}

/// The inputs that a file's header declares, for a form that asks for them; none where the header is faulty.
#[must_use]
pub fn asked(text: &str) -> Vec<JobInput> {
    let document = yaml::read_file(text, 0, &mut Budget::default(), &mut Vec::new());
    let Ok(Some(header)) = document.map(|document| document.header) else {
        return Vec::new();
    };
    let declared = declared(&header, &mut Reader::default());
    declared.into_iter().map(Declared::told).collect()
}

/// What is wrong with the values that a file's own header is given: an input that it does not declare, a value that one
/// does not take, or one that is needed and left out. Nothing of what the header takes from other files.
#[must_use]
pub fn lacking(text: &str, given: &Inputs) -> Option<String> {
    let document = yaml::read_file(text, 0, &mut Budget::default(), &mut Vec::new());
    let header = document.ok()?.header?;
    let mut reader = Reader::default();
    let declared = declared(&header, &mut reader);
    reader.faults.clear();
    settle(&declared, given, Pos::default(), &mut reader);
    reader.faults.first().map(Fault::reason)
}

impl JobInput {
    /// Whether a value is one that it takes, and otherwise why not.
    ///
    /// # Errors
    /// What it must be instead.
    pub fn check(&self, value: &Json) -> Result<(), String> {
        let declared = Declared {
            name: self.name.clone(),
            pos: Pos::default(),
            kind: Kind::parse(&self.kind),
            default: None,
            options: self.options.clone(),
            pattern: self.regex.as_deref().and_then(|text| Regex::new(text).ok()),
            description: String::new(),
            rules: Vec::new(),
        };
        declared.check(value)
    }

    /// The value that a text from a form or a command line means, by the input's type.
    #[must_use]
    pub fn read(&self, text: &str) -> Json {
        match Kind::parse(&self.kind) {
            Kind::Text => Json::String(text.to_owned()),
            _ => serde_json::from_str(text).unwrap_or_else(|_| Json::String(text.to_owned())),
        }
    }
}

fn one(entry: &Entry, within: &str, keys: &[&str], reader: &mut Reader) -> Option<Declared> {
    let place = format!("{within}:{}", entry.key);
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
        rules: Vec::new(),
    };
    if entry.value.is_null() {
        return Some(input);
    }
    for inner in reader.map(&entry.value, &place, keys)? {
        let value = &inner.value;
        let place = format!("{place}:{}", inner.key);
        match inner.key.as_str() {
            "default" => input.default = Some(value.to_json()).filter(|value| !value.is_null()),
            "rules" => input.rules = conditionals(value, &place, reader),
            "description" => input.description = reader.text(value, &place).unwrap_or_default(),
            "type" => {
                let words = &["string", "number", "boolean", "array"];
                input.kind = Kind::parse(&reader.word(value, &place, words)?);
            }
            "options" => input.options = options(value, &place, reader),
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
    if let (false, Some(both)) = (
        input.rules.is_empty(),
        entry.value.get("options").or_else(|| entry.value.get("default")),
    ) {
        reader.fault(
            both.pos,
            format!("`{place}` has `rules`, and `options` or `default` beside them"),
            "put options and defaults into the rules; the last, without `if`, is for all other cases",
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

fn options(node: &Node, place: &str, reader: &mut Reader) -> Vec<Json> {
    match node.items() {
        Some(items) if items.len() <= OPTIONS => return items.iter().map(Node::to_json).collect(),
        Some(items) => reader.fault(
            node.pos,
            format!("`{place}` names {} values", items.len()),
            format!("at most {OPTIONS} are allowed"),
        ),
        None => reader.wrong(node, place, "a list of values"),
    }
    Vec::new()
}

fn conditionals(node: &Node, place: &str, reader: &mut Reader) -> Vec<Conditional> {
    let Some(items) = node.items().filter(|items| items.len() <= RULES) else {
        reader.wrong(node, place, &format!("a list of at most {RULES} rules"));
        return Vec::new();
    };
    let mut list = Vec::new();
    for item in items {
        let mut rule = Conditional {
            condition: None,
            options: Vec::new(),
            default: None,
        };
        for entry in reader.map(item, place, INPUT_RULE).unwrap_or_default() {
            let value = &entry.value;
            match entry.key.as_str() {
                "if" => rule.condition = condition(value, place, reader),
                "options" => rule.options = options(value, place, reader),
                _ => rule.default = Some(value.to_json()).filter(|value| !value.is_null()),
            }
        }
        if let Some(default) = rule.default.as_ref()
            && !rule.options.is_empty()
            && !rule.options.contains(default)
        {
            reader.fault(
                item.pos,
                format!(
                    "the default `{}` of this rule is not one of its `options`",
                    short(default)
                ),
                "name one of them",
            );
        }
        if item.get("if").is_none() && rule.options.is_empty() && rule.default.is_none() {
            reader.fault(
                item.pos,
                "this rule has neither `if` nor `options`",
                "the rule for all other cases names the `options` there are",
            );
        }
        list.push(rule);
    }
    list
}

/// A condition on other inputs: `$[[ inputs.name ]] == 'text' && …`.
fn condition(node: &Node, place: &str, reader: &mut Reader) -> Option<(Expression, Vec<String>)> {
    let text = reader.text(node, place)?;
    let (mut plain, mut names, mut rest) = (String::new(), Vec::new(), text.as_str());
    while let Some(at) = rest.find("$[[") {
        let (before, after) = rest.split_at(at);
        plain.push_str(&quoted_words(before));
        let end = after.find("]]").unwrap_or(after.len());
        let name = after.get(3..end).unwrap_or_default().trim();
        let Some(name) = name.strip_prefix("inputs.") else {
            reader.fault(
                node.pos,
                format!("`$[[ {} ]]` names no input", shown(name)),
                "write `$[[ inputs.name ]]`",
            );
            return None;
        };
        plain.push_str(&format!("$I{}", names.len()));
        names.push(name.to_owned());
        rest = after.get(end + 2..).unwrap_or_default();
    }
    plain.push_str(&quoted_words(rest));
    match reader.condition(&plain) {
        Ok(expression) => Some((expression, names)),
        Err(error) => {
            reader.fault(
                node.pos,
                format!("in the condition `{}`: {}", shown(&text), error.what),
                error.allowed,
            );
            None
        }
    }
}

/// Truth values stand without quotes in such conditions.
fn quoted_words(text: &str) -> String {
    text.split_inclusive(|c: char| c.is_whitespace() || c == ')')
        .map(|word| {
            let bare = word.trim_end_matches(|c: char| c.is_whitespace() || c == ')');
            match bare {
                "true" | "false" => format!("\"{bare}\"{}", &word[bare.len()..]),
                _ => word.to_owned(),
            }
        })
        .collect()
}

impl Conditional {
    fn holds(&self, settled: &Inputs) -> bool {
        let Some((expression, names)) = &self.condition else {
            return true;
        };
        let values: BTreeMap<String, String> = names
            .iter()
            .enumerate()
            .filter_map(|(i, name)| Some((format!("I{i}"), settled.get(name)?)))
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name, as_text(value)))
            .collect();
        expression.holds(&values)
    }

    fn names(&self) -> impl Iterator<Item = &String> {
        self.condition.iter().flat_map(|(_, names)| names)
    }
}

impl Declared {
    /// Its name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    fn told(self) -> JobInput {
        JobInput {
            name: self.name,
            kind: self.kind.word().to_owned(),
            default: self.default.unwrap_or_default(),
            description: self.description,
            options: self.options,
            regex: self.pattern.map(|pattern| pattern.as_str().to_owned()),
        }
    }

    /// Where it is declared.
    pub(super) const fn pos(&self) -> Pos {
        self.pos
    }

    /// Whether a value is one that it takes, and otherwise why not.
    pub(super) fn check(&self, value: &Json) -> Result<(), String> {
        self.check_among(value, &self.options)
    }

    fn check_among(&self, value: &Json, options: &[Json]) -> Result<(), String> {
        if !self.kind.holds(value) {
            return Err(format!("is `{}`; it must be {}", short(value), self.kind.words()));
        }
        let offered = |value: &Json| options.contains(value);
        let good = match value {
            Json::Array(items) if self.kind == Kind::List => items.iter().all(offered) || offered(value),
            value => offered(value),
        };
        if !options.is_empty() && !good {
            let words: Vec<String> = options.iter().map(short).collect();
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

pub(super) fn short(value: &Json) -> String {
    shown(&as_text(value))
}

/// A value in the middle of a text.
pub(crate) fn as_text(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        Json::Null => String::new(),
        other => other.to_string(),
    }
}

/// Texts as a form or a command line gives them, read by the types of the inputs that they are for.
pub(super) fn read_texts(declared: &[Declared], given: &mut Inputs) {
    for input in declared {
        if let Some(value) = given.get_mut(&input.name)
            && let Json::String(text) = value
        {
            *value = input.clone().told().read(text);
        }
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
    let mut left: Vec<&Declared> = declared.iter().collect();
    while !left.is_empty() {
        let known =
            |name: &String| values.contains_key(name) || !declared.iter().any(|one| &one.name == name);
        let now: Vec<&Declared> = left
            .iter()
            .copied()
            .filter(|input| input.rules.iter().flat_map(Conditional::names).all(known))
            .collect();
        let Some(first) = left.first().filter(|_| now.is_empty()) else {
            for input in now {
                let value = input.settle(given, &values, at, reader);
                values.insert(input.name.clone(), value);
            }
            left.retain(|input| !values.contains_key(&input.name));
            continue;
        };
        reader.fault(
            first.pos,
            format!("the rules of the input `{}` lead to itself", first.name),
            "let inputs depend on others in one direction",
        );
        break;
    }
    values
}

impl Declared {
    fn settle(&self, given: &Inputs, settled: &Inputs, at: Pos, reader: &mut Reader) -> Json {
        let rule = self.rules.iter().find(|rule| rule.holds(settled));
        let (options, default) = match rule {
            Some(rule) => (
                &rule.options,
                rule.default.as_ref().or_else(|| rule.options.first()),
            ),
            None => (&self.options, self.default.as_ref()),
        };
        if let Some(value) = given.get(&self.name) {
            if let Err(why) = self.check_among(value, options) {
                reader.fault(at, format!("the input `{}` {why}", self.name), "");
            }
            return value.clone();
        }
        if let Some(default) = default {
            return default.clone();
        }
        // None of its rules asks for it.
        if rule.is_none() && !self.rules.is_empty() {
            return Json::Null;
        }
        // In the project's own file there is nobody who includes; the declaration is the place.
        let at = if at == Pos::default() { self.pos } else { at };
        let what = if self.description.is_empty() {
            String::new()
        } else {
            format!(" ({})", shown(&self.description))
        };
        reader.fault(
            at,
            format!("the input `{}`{what} is needed and not given", self.name),
            format!("give it under `inputs`: {}", self.kind.words()),
        );
        Json::Null
    }
}
