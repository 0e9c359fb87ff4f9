//! YAML as a tree whose every node knows its line and column. Anchors, aliases and merge keys are resolved
//! while reading; GitLab's `!reference` is kept as a node for the configuration to resolve. All growth
//! (aliases, merges, references, `extends`) is paid from one [`Budget`], so that a few lines cannot become
//! gigabytes.

mod emit;
mod read;

use crate::fault::{Fault, Pos, shown};
use bascule_core::limits;

pub use emit::emit;
pub use read::{Document, read, read_file};

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Where its first character is.
    pub pos: Pos,
    /// What it is.
    pub value: Value,
}

/// What a node holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Anything written in one piece.
    Scalar {
        /// As written, without quotes.
        text: String,
        /// Quoted, or a block: then always a text.
        quoted: bool,
    },
    /// A list.
    Sequence(Vec<Node>),
    /// A map, in the order of the file.
    Mapping(Vec<Entry>),
    /// `!reference [a, b]`.
    Reference(Vec<String>),
}

/// One key of a map with its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key stands.
    pub key_pos: Pos,
    /// The value.
    pub value: Node,
}

impl Node {
    /// A text at a place.
    #[must_use]
    pub fn text(pos: Pos, text: impl Into<String>) -> Self {
        Self {
            pos,
            value: Value::Scalar {
                text: text.into(),
                quoted: true,
            },
        }
    }

    /// Whether nothing is written, or `null`.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, quoted: false } if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// The text of a scalar, if it is one and not null.
    #[must_use]
    pub fn scalar(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar { text, .. } if !self.is_null() => Some(text),
            _ => None,
        }
    }

    /// A truth value as YAML 1.1 reads it, which is what GitLab's files are written for.
    #[must_use]
    pub fn boolean(&self) -> Option<bool> {
        match &self.value {
            Value::Scalar { text, quoted: false } => match text.to_ascii_lowercase().as_str() {
                "true" | "yes" | "on" => Some(true),
                "false" | "no" | "off" => Some(false),
                _ => None,
            },
            _ => None,
        }
    }

    /// A whole number.
    #[must_use]
    pub fn integer(&self) -> Option<i64> {
        match &self.value {
            Value::Scalar { text, quoted: false } => text.replace('_', "").parse().ok(),
            _ => None,
        }
    }

    /// The items of a list.
    #[must_use]
    pub fn items(&self) -> Option<&[Node]> {
        match &self.value {
            Value::Sequence(items) => Some(items),
            _ => None,
        }
    }

    /// The entries of a map.
    #[must_use]
    pub fn entries(&self) -> Option<&[Entry]> {
        match &self.value {
            Value::Mapping(entries) => Some(entries),
            _ => None,
        }
    }

    /// The value under a key of a map.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entries()?
            .iter()
            .find(|entry| entry.key == key)
            .map(|entry| &entry.value)
    }

    /// As JSON: words without quotes are read as null, truth values and numbers where they are such.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match &self.value {
            Value::Scalar { .. } if self.is_null() => Json::Null,
            Value::Scalar { text, quoted } => {
                let plain = !quoted;
                if let Some(truth) = self.boolean() {
                    Json::Bool(truth)
                } else if let Some(number) = self.integer() {
                    Json::from(number)
                } else if let Some(number) = text
                    .parse::<f64>()
                    .ok()
                    .filter(|_| plain && text.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b)))
                    .and_then(serde_json::Number::from_f64)
                {
                    Json::Number(number)
                } else {
                    Json::String(text.clone())
                }
            }
            Value::Sequence(items) => items.iter().map(Self::to_json).collect(),
            Value::Mapping(entries) => Json::Object(
                entries
                    .iter()
                    .map(|entry| (entry.key.clone(), entry.value.to_json()))
                    .collect(),
            ),
            Value::Reference(path) => path.iter().map(String::as_str).collect(),
        }
    }

    /// From JSON, all of it at one place.
    #[must_use]
    pub fn from_json(json: &serde_json::Value, pos: Pos) -> Self {
        use serde_json::Value as Json;
        let plain = |text: String| Value::Scalar { text, quoted: false };
        let value = match json {
            Json::Null => plain(String::new()),
            Json::Bool(truth) => plain(truth.to_string()),
            Json::Number(number) => plain(number.to_string()),
            Json::String(text) => plain(text.clone()),
            Json::Array(items) => {
                Value::Sequence(items.iter().map(|item| Self::from_json(item, pos)).collect())
            }
            Json::Object(map) => Value::Mapping(
                map.iter()
                    .map(|(key, value)| Entry {
                        key: key.clone(),
                        key_pos: pos,
                        value: Self::from_json(value, pos),
                    })
                    .collect(),
            ),
        };
        Self { pos, value }
    }

    /// What it is, for messages: "the list", "`abc`".
    #[must_use]
    pub fn describe(&self) -> String {
        match &self.value {
            Value::Scalar { .. } if self.is_null() => "nothing".to_owned(),
            Value::Scalar { text, .. } => format!("`{}`", shown(text)),
            Value::Sequence(_) => "a list".to_owned(),
            Value::Mapping(_) => "a map".to_owned(),
            Value::Reference(_) => "a !reference".to_owned(),
        }
    }

    /// Nodes, bytes of text and depth of the tree from here.
    #[must_use]
    pub fn measure(&self) -> Size {
        let mut size = Size {
            nodes: 1,
            bytes: 0,
            depth: 1,
        };
        match &self.value {
            Value::Scalar { text, .. } => size.bytes = text.len(),
            Value::Sequence(items) => items.iter().for_each(|item| size.add_child(item.measure())),
            Value::Mapping(entries) => {
                for entry in entries {
                    size.bytes += entry.key.len();
                    size.add_child(entry.value.measure());
                }
            }
            Value::Reference(path) => size.bytes = path.iter().map(String::len).sum(),
        }
        size
    }
}

/// How large a tree is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Nodes.
    pub nodes: usize,
    /// Bytes of text.
    pub bytes: usize,
    /// Levels.
    pub depth: usize,
}

impl Size {
    fn add_child(&mut self, child: Self) {
        self.nodes += child.nodes;
        self.bytes += child.bytes;
        self.depth = self.depth.max(child.depth + 1);
    }
}

/// Bytes of text that all expansion together may make.
pub const EXPANDED_BYTES: usize = 8 * limits::CI_FILE_BYTES;

/// What is left to spend on nodes and text, over all files of one configuration.
#[derive(Clone, Debug)]
pub struct Budget {
    nodes: usize,
    bytes: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            nodes: limits::YAML_NODES,
            bytes: EXPANDED_BYTES,
        }
    }
}

impl Budget {
    /// Pays for a tree that is about to be made at `pos`.
    ///
    /// # Errors
    /// Names the limit that would be crossed.
    pub fn pay(&mut self, size: Size, pos: Pos) -> Result<(), Fault> {
        let Some(nodes) = self.nodes.checked_sub(size.nodes) else {
            return Err(Fault::new(
                pos,
                "the file grows too large here",
                format!(
                    "after aliases, references and `extends` it may hold at most {} values",
                    limits::YAML_NODES
                ),
            ));
        };
        let Some(bytes) = self.bytes.checked_sub(size.bytes) else {
            return Err(Fault::new(
                pos,
                "the file grows too large here",
                format!(
                    "after aliases, references and `extends` it may hold at most {EXPANDED_BYTES} bytes of text"
                ),
            ));
        };
        (self.nodes, self.bytes) = (nodes, bytes);
        Ok(())
    }

    /// Pays for the tree and copies it.
    ///
    /// # Errors
    /// Names the limit that would be crossed.
    pub fn copy(&mut self, node: &Node, pos: Pos) -> Result<Node, Fault> {
        self.pay(node.measure(), pos)?;
        Ok(node.clone())
    }
}

/// The fault of nesting too deep.
#[must_use]
pub fn too_deep(pos: Pos) -> Fault {
    Fault::new(
        pos,
        "values are nested too deeply here",
        format!("at most {} levels are allowed", limits::YAML_DEPTH),
    )
}
