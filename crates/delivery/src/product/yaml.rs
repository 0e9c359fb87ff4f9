//! A YAML document as a tree that remembers where each node stands. Anchors and aliases are refused: a
//! page-long file needs none, and without them no document grows when it is read.

use super::{Position, ProductError};
use bascule_core::limits::{YAML_DEPTH, YAML_NODES};
use saphyr_parser::{Event, Parser, ScalarStyle, Span, StrInput};

/// A node and where it begins.
#[derive(Debug)]
pub(crate) struct Node {
    pub at: Position,
    pub value: Value,
}

#[derive(Debug)]
pub(crate) enum Value {
    Null,
    Scalar(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Debug)]
pub(crate) struct Entry {
    pub key: String,
    pub at: Position,
    pub value: Node,
}

impl Value {
    /// What it is, for messages.
    pub fn noun(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Scalar(_) => "a single value",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }
}

pub(crate) fn error(at: Position, what: impl Into<String>, allowed: impl Into<String>) -> ProductError {
    ProductError {
        at,
        what: what.into(),
        allowed: allowed.into(),
    }
}

/// Reads the one document of a text; `None` where there is none.
pub(crate) fn read(text: &str) -> Result<Option<Node>, ProductError> {
    let mut reader = Reader {
        parser: Parser::new_from_str(text),
        nodes: 0,
    };
    let mut root = None;
    loop {
        let (event, at) = reader.next()?;
        match event {
            Event::StreamEnd => return Ok(root),
            Event::DocumentStart(_) | Event::DocumentEnd | Event::StreamStart | Event::Nothing => {}
            _ if root.is_some() => {
                return Err(error(
                    at,
                    "a second document begins here",
                    "one document per file",
                ));
            }
            event => root = Some(reader.node(event, at, 0)?),
        }
    }
}

struct Reader<'a> {
    parser: Parser<'a, StrInput<'a>>,
    nodes: usize,
}

fn position(span: Span) -> Position {
    Position {
        line: span.start.line(),
        column: span.start.col() + 1,
    }
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Position), ProductError> {
        match self.parser.next_event() {
            None => Ok((Event::StreamEnd, Position::default())),
            Some(Ok((event, span))) => Ok((event, position(span))),
            Some(Err(fault)) => {
                let marker = fault.marker();
                let at = Position {
                    line: marker.line(),
                    column: marker.col() + 1,
                };
                Err(error(at, format!("this is no YAML: {}", fault.info()), ""))
            }
        }
    }

    fn node(&mut self, event: Event<'a>, at: Position, depth: usize) -> Result<Node, ProductError> {
        self.nodes += 1;
        if self.nodes > YAML_NODES {
            return Err(error(
                at,
                "the document holds too many values",
                format!("at most {YAML_NODES}"),
            ));
        }
        if depth > YAML_DEPTH {
            return Err(error(
                at,
                "the document nests too deep",
                format!("at most {YAML_DEPTH} levels"),
            ));
        }
        let no_anchor = |id: usize| {
            if id == 0 {
                Ok(())
            } else {
                Err(error(at, "anchors are not read here", "the value written out"))
            }
        };
        let value = match event {
            Event::Scalar(text, style, anchor, _) => {
                no_anchor(anchor)?;
                if style == ScalarStyle::Plain && matches!(text.as_ref(), "" | "~" | "null") {
                    Value::Null
                } else {
                    Value::Scalar(text.into_owned())
                }
            }
            Event::SequenceStart(anchor, _) => {
                no_anchor(anchor)?;
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        (Event::SequenceEnd | Event::StreamEnd, _) => break Value::List(items),
                        (event, at) => items.push(self.node(event, at, depth + 1)?),
                    }
                }
            }
            Event::MappingStart(anchor, _) => {
                no_anchor(anchor)?;
                Value::Map(self.entries(depth)?)
            }
            Event::Alias(_) => return Err(error(at, "aliases are not read here", "the value written out")),
            _ => return Err(error(at, "nothing can be read here", "a value")),
        };
        Ok(Node { at, value })
    }

    fn entries(&mut self, depth: usize) -> Result<Vec<Entry>, ProductError> {
        let mut entries: Vec<Entry> = Vec::new();
        loop {
            let (event, at) = self.next()?;
            let key = match event {
                Event::MappingEnd | Event::StreamEnd => return Ok(entries),
                Event::Scalar(text, _, 0, _) => text.into_owned(),
                _ => return Err(error(at, "this cannot be a key", "a plain word")),
            };
            if entries.iter().any(|entry| entry.key == key) {
                return Err(error(
                    at,
                    format!("`{}` stands here a second time", cut(&key)),
                    "each key once",
                ));
            }
            let (event, value_at) = self.next()?;
            let value = self.node(event, value_at, depth + 1)?;
            entries.push(Entry { key, at, value });
        }
    }
}

/// A text short enough for a message.
pub(crate) fn cut(text: &str) -> String {
    if text.chars().count() <= 60 {
        text.to_owned()
    } else {
        text.chars().take(60).chain(['…']).collect()
    }
}
