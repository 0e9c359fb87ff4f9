//! What verbs print: tables for people, JSON for programs, problems on standard error.

use bascule_core::{Problem, Result};
use serde_json::Value;
use std::io::{IsTerminal as _, Write as _};

/// Exit codes, as documented.
pub mod code {
    /// Done.
    pub const DONE: u8 = 0;
    /// Failed.
    pub const FAILED: u8 = 1;
    /// Wrongly called (clap uses it too).
    pub const USAGE: u8 = 2;
    /// Refused by a rule or for want of a right.
    pub const REFUSED: u8 = 3;
    /// The server cannot be reached.
    pub const UNREACHABLE: u8 = 4;
}

/// How to print.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    json: bool,
}

/// Widest column, in characters.
const WIDEST: usize = 1_000;

/// A column: its heading, and the path of its value within a row (`serving.version`).
pub type Column = (&'static str, &'static str);

impl Output {
    pub fn new(json: bool) -> Self {
        Self { json }
    }

    pub fn is_json(self) -> bool {
        self.json
    }

    /// A line for people; nothing with `--json`.
    pub fn say(self, text: &str) {
        if !self.json {
            line(text);
        }
    }

    /// A list, or the `items` of a page, as a table.
    pub fn table(self, value: &Value, columns: &[Column]) {
        if self.json {
            return json(value);
        }
        let rows: Vec<Vec<String>> = rows_of(value)
            .map(|rows| {
                rows.iter()
                    .map(|row| columns.iter().map(|(_, path)| cell(at(row, path))).collect())
                    .collect()
            })
            .unwrap_or_default();
        if rows.is_empty() {
            line("(none)");
            return;
        }
        let widths: Vec<usize> = columns
            .iter()
            .enumerate()
            .map(|(i, (heading, _))| {
                rows.iter()
                    .map(|row| row[i].chars().count())
                    .max()
                    .unwrap_or(0)
                    .max(heading.chars().count())
                    // What is longer stands out of its column; the formatter takes no wider one than 65,535.
                    .min(WIDEST)
            })
            .collect();
        let print = |cells: Vec<&str>| {
            let text: Vec<String> = cells
                .iter()
                .zip(&widths)
                .map(|(cell, width)| format!("{cell:<width$}", width = *width))
                .collect();
            line(text.join("  ").trim_end());
        };
        print(columns.iter().map(|(heading, _)| *heading).collect());
        for row in &rows {
            print(row.iter().map(String::as_str).collect());
        }
        if value.get("next").is_some_and(|next| !next.is_null()) {
            line("… more; see --json for the next page's mark");
        }
    }

    /// One thing, field by field.
    pub fn record(self, value: &Value, columns: &[Column]) {
        if self.json {
            return json(value);
        }
        let width = columns
            .iter()
            .map(|(heading, _)| heading.len())
            .max()
            .unwrap_or(0);
        for (heading, path) in columns {
            let text = cell(at(value, path));
            if !text.is_empty() {
                line(&format!("{heading:<width$}  {text}"));
            }
        }
    }
}

/// A list is an array, or a page: an object with one array and the mark of the next page.
pub fn rows_of(value: &Value) -> Option<&Vec<Value>> {
    value
        .as_array()
        .or_else(|| value.as_object()?.values().find_map(Value::as_array))
}

fn at<'a>(value: &'a Value, path: &str) -> &'a Value {
    path.split('.')
        .fold(value, |value, key| value.get(key).unwrap_or(&Value::Null))
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => printable(text),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

/// Text from elsewhere must not move the cursor or change colours.
pub fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() && c != '\t' { ' ' } else { c })
        .collect()
}

/// Prints a line; a reader that went away (`| head`) is no error.
pub fn line(text: &str) {
    drop(writeln!(std::io::stdout().lock(), "{text}"));
}

/// Prints a warning to standard error, where it stands in nobody's way who reads the output.
pub fn warn(text: &str) {
    drop(writeln!(std::io::stderr().lock(), "warning: {}", printable(text)));
}

/// Prints a question to standard error, without a line end.
pub fn ask(text: &str) {
    let mut out = std::io::stderr().lock();
    drop(write!(out, "{text}").and_then(|()| out.flush()));
}

/// Prints text as it is, for logs.
pub fn raw(text: &str) {
    bytes(text.as_bytes());
}

/// Prints bytes as they are, for what other programs read.
pub fn bytes(bytes: &[u8]) {
    let mut out = std::io::stdout().lock();
    drop(out.write_all(bytes));
    drop(out.flush());
}

fn json(value: &Value) {
    line(&serde_json::to_string_pretty(value).unwrap_or_default());
}

/// Prints a problem to standard error and returns its exit code.
pub fn problem(problem: &Problem, as_json: bool) -> u8 {
    let mut err = std::io::stderr().lock();
    if as_json {
        drop(writeln!(
            err,
            "{}",
            serde_json::to_string(problem).unwrap_or_default()
        ));
    } else {
        let bold = if std::io::stderr().is_terminal() {
            ("\u{1b}[1;31m", "\u{1b}[0m")
        } else {
            ("", "")
        };
        let text = problem.to_string();
        let (first, rest) = text.split_once('\n').unwrap_or((&text, ""));
        drop(writeln!(err, "{}error:{} {first}", bold.0, bold.1));
        if !rest.is_empty() {
            drop(writeln!(err, "{rest}"));
        }
    }
    match problem.code.as_str() {
        "unreachable" => code::UNREACHABLE,
        "usage" => code::USAGE,
        _ if matches!(problem.status, 401 | 403 | 409 | 422 | 429) => code::REFUSED,
        _ => code::FAILED,
    }
}

/// A usage problem that clap cannot see.
pub fn usage(what: &str, next: &str) -> Problem {
    Problem::new(400, "usage", what).next(next)
}

/// Splits `group/project`.
pub fn project(path: &str) -> Result<(String, String)> {
    match path.split_once('/') {
        Some((group, name)) if !group.is_empty() && !name.is_empty() && !name.contains('/') => {
            Ok((group.to_owned(), name.to_owned()))
        }
        _ => Err(usage(
            &format!("`{path}` is no project."),
            "Write it as group/project.",
        )),
    }
}
