//! Reading typed values out of the tree, collecting every fault on the way instead of stopping at the first.

use crate::{
    fault::{Fault, Pos, did_you_mean, shown},
    rules::{Expression, ExpressionError, Glob, pattern},
    yaml::{Entry, Node, Value},
};
use regex::Regex;
use std::{collections::HashMap, time::Duration};

/// Most different patterns in conditions, `only` and `coverage`: compiling one takes up to some milliseconds.
const PATTERNS: usize = 1_000;
/// Most different patterns of paths.
const GLOBS: usize = 5_000;
/// How deep lists may stand in lists (GitLab's limit).
const NESTED: usize = 10;

/// Collects faults and warnings.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    pub faults: Vec<Fault>,
    pub warnings: Vec<Fault>,
    /// A thousand jobs have few different conditions and patterns, and compiling one takes long.
    conditions: HashMap<String, Expression>,
    patterns: HashMap<String, Regex>,
    /// How many conditions with patterns, and patterns, were read.
    compiled: usize,
    globs: HashMap<String, Option<String>>,
}

impl Reader {
    pub fn fault(&mut self, pos: Pos, what: impl Into<String>, allowed: impl Into<String>) {
        self.faults.push(Fault::new(pos, what, allowed));
    }

    pub fn warn(&mut self, pos: Pos, what: impl Into<String>, allowed: impl Into<String>) {
        self.warnings.push(Fault::new(pos, what, allowed));
    }

    /// Reads a condition; the same text is read once.
    pub fn condition(&mut self, text: &str) -> Result<Expression, ExpressionError> {
        if let Some(known) = self.conditions.get(text) {
            return Ok(known.clone());
        }
        if text.contains('~') {
            self.compiled += 1;
            if self.compiled > PATTERNS {
                return Err(ExpressionError {
                    at: 0,
                    what: "the file has too many different patterns".to_owned(),
                    allowed: format!("at most {PATTERNS} are allowed"),
                });
            }
        }
        let read = Expression::parse(text)?;
        self.conditions.insert(text.to_owned(), read.clone());
        Ok(read)
    }

    /// Reads a pattern between slashes; the same text is read once.
    pub fn pattern(&mut self, text: &str) -> Result<Regex, String> {
        if let Some(known) = self.patterns.get(text) {
            return Ok(known.clone());
        }
        self.compiled += 1;
        if self.compiled > PATTERNS {
            return Err(format!(
                "the file has too many different patterns; at most {PATTERNS} are allowed"
            ));
        }
        let read = pattern(text)?;
        self.patterns.insert(text.to_owned(), read.clone());
        Ok(read)
    }

    /// Whether a text is a pattern of paths, and why not; the same text is read once.
    pub fn glob(&mut self, text: &str) -> Result<(), String> {
        if self.globs.len() >= GLOBS && !self.globs.contains_key(text) {
            return Err(format!(
                "the file has too many different patterns of paths; at most {GLOBS} are allowed"
            ));
        }
        let known = self
            .globs
            .entry(text.to_owned())
            .or_insert_with(|| Glob::new(text).err());
        known.clone().map_or(Ok(()), Err)
    }

    /// "`stage` is 5; it must be …".
    pub fn wrong(&mut self, node: &Node, place: &str, allowed: &str) {
        self.fault(
            node.pos,
            format!("`{place}` is {}", node.describe()),
            format!("it must be {allowed}"),
        );
    }

    pub fn entries<'n>(&mut self, node: &'n Node, place: &str) -> Option<&'n [Entry]> {
        let entries = node.entries();
        if entries.is_none() {
            self.wrong(node, place, "a map");
        }
        entries
    }

    /// The entries of a map that may hold only these keys.
    pub fn map<'n>(&mut self, node: &'n Node, place: &str, allowed: &[&str]) -> Option<&'n [Entry]> {
        let entries = self.entries(node, place)?;
        for entry in entries {
            if !allowed.contains(&entry.key.as_str()) {
                self.unknown_key(&entry.key, entry.key_pos, place, allowed);
            }
        }
        Some(entries)
    }

    pub fn unknown_key(&mut self, key: &str, pos: Pos, place: &str, allowed: &[&str]) {
        let hint = did_you_mean(key, allowed.iter().copied())
            .map_or_else(String::new, |word| format!("did you mean `{word}`? "));
        let inside = if place.is_empty() {
            "here".to_owned()
        } else {
            format!("in `{place}`")
        };
        self.fault(
            pos,
            format!("the key `{}` is unknown {inside}", shown(key)),
            format!("{hint}Allowed: {}", allowed.join(", ")),
        );
    }

    pub fn text(&mut self, node: &Node, place: &str) -> Option<String> {
        if let Some(text) = node.scalar() {
            return Some(text.to_owned());
        }
        self.wrong(node, place, "a text");
        None
    }

    pub fn boolean(&mut self, node: &Node, place: &str) -> Option<bool> {
        let value = node.boolean();
        if value.is_none() {
            self.wrong(node, place, "true or false");
        }
        value
    }

    pub fn integer(&mut self, node: &Node, place: &str, from: i64, to: i64) -> Option<i64> {
        match node.integer() {
            Some(value) if (from..=to).contains(&value) => Some(value),
            _ => {
                self.wrong(node, place, &format!("a number from {from} to {to}"));
                None
            }
        }
    }

    pub fn word(&mut self, node: &Node, place: &str, allowed: &[&str]) -> Option<String> {
        match node.scalar() {
            Some(word) if allowed.contains(&word) => Some(word.to_owned()),
            _ => {
                let hint = node
                    .scalar()
                    .and_then(|word| did_you_mean(word, allowed.iter().copied()))
                    .map_or_else(String::new, |word| format!(" (did you mean `{word}`?)"));
                self.wrong(node, place, &format!("one of: {}{hint}", allowed.join(", ")));
                None
            }
        }
    }

    pub fn seconds(&mut self, node: &Node, place: &str) -> Option<u64> {
        match node.scalar().and_then(duration) {
            Some(duration) => Some(duration.as_secs()),
            None => {
                self.wrong(
                    node,
                    place,
                    "a duration such as `90 minutes`, `1h 30m` or `2 days`",
                );
                None
            }
        }
    }

    /// A list of texts; a single text stands for a list of one.
    pub fn texts(&mut self, node: &Node, place: &str) -> Vec<String> {
        if let Some(text) = node.scalar() {
            return vec![text.to_owned()];
        }
        if node.items().is_none() {
            self.wrong(node, place, "a text or a list of texts");
            return Vec::new();
        }
        let placed = self.placed_texts(node, place);
        placed.into_iter().map(|(text, _)| text).collect()
    }

    /// A list of texts with their places. References and anchors leave lists in lists.
    pub fn placed_texts(&mut self, node: &Node, place: &str) -> Vec<(String, Pos)> {
        let mut list = Vec::new();
        if node.items().is_some() {
            self.flatten(node, place, 0, &mut list);
        } else {
            self.wrong(node, place, "a list of texts");
        }
        list
    }

    fn flatten(&mut self, node: &Node, place: &str, depth: usize, list: &mut Vec<(String, Pos)>) {
        match node.items() {
            Some(items) if depth < NESTED => {
                for item in items {
                    self.flatten(item, place, depth + 1, list);
                }
            }
            Some(_) => self.wrong(node, place, "a list of texts nested at most ten deep"),
            None => list.extend(self.text(node, place).map(|text| (text, node.pos))),
        }
    }

    /// Shell lines: a text, or a list of texts and lists, as `!reference` and anchors leave them.
    pub fn script(&mut self, node: &Node, place: &str) -> Vec<String> {
        let mut lines = Vec::new();
        self.script_lines(node, place, 0, &mut lines);
        lines
    }

    fn script_lines(&mut self, node: &Node, place: &str, depth: usize, lines: &mut Vec<String>) {
        match &node.value {
            Value::Scalar { text, .. } if !node.is_null() => lines.push(text.clone()),
            Value::Sequence(items) if depth < NESTED => {
                for item in items {
                    self.script_lines(item, place, depth + 1, lines);
                }
            }
            Value::Mapping(entries) if depth > 0 => {
                let key = entries.first().map(|entry| shown(&entry.key)).unwrap_or_default();
                self.fault(
                    node.pos,
                    format!("a line of `{place}` is read by YAML as a map with the key `{key}`"),
                    "quote the whole line, because `: ` separates a key from its value",
                );
            }
            _ => self.wrong(node, place, "a text, or a list of texts nested at most ten deep"),
        }
    }
}

/// Reads a duration as GitLab writes them: `1 hour 30 minutes`, `1h30m`, `90m`, `2 days`, `3600`.
#[must_use]
pub fn duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    if rest.is_empty() || rest.len() > 100 {
        return None;
    }
    let mut total = 0_u64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let amount: u64 = rest.get(..digits)?.parse().ok()?;
        rest = rest.get(digits..)?.trim_start();
        let letters = rest
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(rest.len());
        let scale = match rest.get(..letters)?.to_ascii_lowercase().as_str() {
            "" | "s" | "sec" | "secs" | "second" | "seconds" => 1,
            "m" | "min" | "mins" | "minute" | "minutes" => 60,
            "h" | "hr" | "hrs" | "hour" | "hours" => 3600,
            "d" | "day" | "days" => 86_400,
            "w" | "wk" | "week" | "weeks" => 7 * 86_400,
            "mo" | "mos" | "month" | "months" => 30 * 86_400,
            "y" | "yr" | "yrs" | "year" | "years" => 365 * 86_400,
            _ => return None,
        };
        total = total.checked_add(amount.checked_mul(scale)?)?;
        rest = rest.get(letters..)?.trim_start();
        rest = rest
            .strip_prefix("and ")
            .or_else(|| rest.strip_prefix(','))
            .unwrap_or(rest)
            .trim_start();
    }
    (total <= 100 * 365 * 86_400).then(|| Duration::from_secs(total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_as_people_write_them() {
        for (text, seconds) in [
            ("3600", 3600),
            ("1h 30m", 5400),
            ("1h30m", 5400),
            ("2 days", 172_800),
            ("1 week", 604_800),
            ("3 hrs 4 min", 11_040),
            ("1 hour and 5 seconds", 3605),
        ] {
            assert_eq!(duration(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        for bad in [
            "",
            "soon",
            "-1h",
            "1 fortnight",
            "99999999999999999999 years",
            "h",
        ] {
            assert_eq!(duration(bad), None, "{bad}");
        }
    }
}
