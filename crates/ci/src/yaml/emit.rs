//! From the tree to YAML, to be read by people: the merged file of the lint page.

use super::{Node, Value};
use std::fmt::Write as _;

/// Writes a tree as YAML. What it reads as is what the tree holds.
#[must_use]
pub fn emit(node: &Node) -> String {
    let mut out = String::new();
    match &node.value {
        Value::Mapping(entries) if !entries.is_empty() => {
            for (index, entry) in entries.iter().enumerate() {
                // A line between jobs makes them easy to find.
                if index > 0 {
                    out.push('\n');
                }
                key(&entry.key, &entry.value, 0, &mut out);
            }
        }
        _ => {
            inline(node, 0, &mut out);
            out.push('\n');
        }
    }
    out
}

fn indent(depth: usize, out: &mut String) {
    for _ in 0..depth {
        out.push_str("  ");
    }
}

fn key(name: &str, value: &Node, depth: usize, out: &mut String) {
    indent(depth, out);
    scalar(name, false, depth, out);
    out.push(':');
    below(value, depth, out);
}

/// What stands behind `key:`, or behind the dash of a list.
fn below(value: &Node, depth: usize, out: &mut String) {
    match &value.value {
        Value::Mapping(entries) if !entries.is_empty() => {
            out.push('\n');
            for entry in entries {
                key(&entry.key, &entry.value, depth + 1, out);
            }
        }
        Value::Sequence(items) if !items.is_empty() => {
            out.push('\n');
            for item in items {
                self::item(item, depth + 1, out);
            }
        }
        _ => {
            out.push(' ');
            inline(value, depth + 1, out);
            out.push('\n');
        }
    }
}

fn item(node: &Node, depth: usize, out: &mut String) {
    indent(depth, out);
    out.push('-');
    match &node.value {
        Value::Mapping(entries) if !entries.is_empty() => {
            for (index, entry) in entries.iter().enumerate() {
                if index == 0 {
                    out.push(' ');
                } else {
                    indent(depth + 1, out);
                }
                scalar(&entry.key, false, depth + 1, out);
                out.push(':');
                below(&entry.value, depth + 1, out);
            }
        }
        _ => below(node, depth, out),
    }
}

fn inline(node: &Node, depth: usize, out: &mut String) {
    match &node.value {
        Value::Scalar { text, quoted } => scalar(text, *quoted, depth, out),
        Value::Sequence(_) => out.push_str("[]"),
        Value::Mapping(_) => out.push_str("{}"),
        Value::Reference(path) => {
            let _ = write!(out, "!reference [{}]", path.join(", "));
        }
    }
}

/// Plain where it reads back the same; lines of a script as a block; quoted otherwise.
fn scalar(text: &str, quoted: bool, depth: usize, out: &mut String) {
    let block = text.contains('\n')
        && !text.starts_with([' ', '\n', '\t'])
        && text.chars().all(|c| c == '\n' || c == '\t' || !c.is_control());
    if block {
        out.push('|');
        if !text.ends_with('\n') {
            out.push('-');
        } else if text.ends_with("\n\n") {
            out.push('+');
        }
        let body = text.strip_suffix('\n').unwrap_or(text);
        for line in body.split('\n') {
            out.push('\n');
            if !line.is_empty() {
                indent(depth, out);
                out.push_str(line);
            }
        }
        return;
    }
    if is_plain(text, quoted) {
        out.push_str(text);
        return;
    }
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}') => {
                let _ = write!(out, "\\U{:08x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

fn is_plain(text: &str, quoted: bool) -> bool {
    let word = Node {
        pos: crate::fault::Pos::default(),
        value: Value::Scalar {
            text: text.to_owned(),
            quoted: false,
        },
    };
    let typed =
        word.is_null() || word.boolean().is_some() || word.integer().is_some() || text.parse::<f64>().is_ok();
    if typed {
        return !quoted && !text.is_empty() && text != "~";
    }
    !text.starts_with([
        '!', '&', '*', '-', '?', ':', '[', ']', '{', '}', ',', '#', '|', '>', '@', '`', '"', '\'', '%', ' ',
        '<', '=',
    ]) && !text.ends_with([' ', ':'])
        && !text.contains(": ")
        && !text.contains(" #")
        && text != "..."
        && !text
            .chars()
            .any(|c| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{85}'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::{Budget, read};

    fn parse(text: &str) -> Node {
        read(text, 0, &mut Budget::default(), &mut Vec::new())
            .unwrap_or_else(|fault| panic!("{fault}\n{text}"))
    }

    #[test]
    fn what_is_written_is_read_back() {
        let text = "\
stages:
  - build

job:
  script:
    - \"echo \\\"a: b\\\"\"
    - |
      one
      two
  rules:
    - if: $A == \"1\"
      when: never
    - when: always
  tags: []
  variables:
    A: \"1\"
    B: \"yes\"
    C: \"\"
";
        assert_eq!(emit(&parse(text)), text);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_back(texts in proptest::collection::vec("[ -~\\n\\té:#-]{0,12}", 1..5)) {
            let json: serde_json::Value = texts.iter().map(String::as_str).collect();
            let quoted = |text: &serde_json::Value| Node::text(crate::fault::Pos::default(), text.as_str().unwrap_or_default());
            let list = Node {
                pos: crate::fault::Pos::default(),
                value: Value::Sequence(json.as_array().unwrap().iter().map(quoted).collect()),
            };
            let tree = Node {
                pos: crate::fault::Pos::default(),
                value: Value::Mapping(vec![crate::yaml::Entry { key: "a".into(), key_pos: crate::fault::Pos::default(), value: list }]),
            };
            let again = parse(&emit(&tree));
            let found: Vec<String> = again.get("a").unwrap().items().unwrap().iter().map(|item| match &item.value {
                Value::Scalar { text, .. } => text.clone(),
                other => panic!("{other:?}"),
            }).collect();
            proptest::prop_assert_eq!(found, texts);
        }
    }
}
