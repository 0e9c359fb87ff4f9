//! From the parser's events to the tree, without recursion.

use super::{Budget, Entry, Node, Size, Value, too_deep};
use crate::fault::{Fault, Pos, shown};
use bascule_core::limits;
use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, Tag};
use std::{borrow::Cow, collections::HashMap};

/// A file: a header with `spec`, where there is one, and the rest.
#[derive(Debug)]
pub struct Document {
    /// What stands before `---`.
    pub header: Option<Node>,
    /// The jobs and settings.
    pub body: Node,
}

/// Reads one YAML document. Duplicate keys are told as warnings: the last one counts, as in GitLab.
///
/// # Errors
/// The first place where the text is not YAML, or is over a limit.
pub fn read(text: &str, file: u16, budget: &mut Budget, warnings: &mut Vec<Fault>) -> Result<Node, Fault> {
    let document = read_file(text, file, budget, warnings)?;
    match document.header {
        None => Ok(document.body),
        Some(_) => Err(second(document.body.pos)),
    }
}

/// Reads a file of one YAML document, or of two of which the first is a header with `spec`.
///
/// # Errors
/// The first place where the text is not YAML, or is over a limit.
pub fn read_file(
    text: &str,
    file: u16,
    budget: &mut Budget,
    warnings: &mut Vec<Fault>,
) -> Result<Document, Fault> {
    let start = Pos {
        file,
        line: 1,
        column: 1,
    };
    if text.len() > limits::CI_FILE_BYTES {
        return Err(Fault::new(
            start,
            format!("the file has {} bytes", text.len()),
            format!("at most {} are allowed", limits::CI_FILE_BYTES),
        ));
    }
    let hidden = hide(text);
    let mut builder = Builder {
        file,
        budget,
        warnings,
        stack: Vec::new(),
        anchors: HashMap::new(),
        roots: Vec::new(),
        documents: 0,
        hidden: matches!(hidden, Cow::Owned(_)),
    };
    let mut parser = Parser::new_from_str(&hidden);
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| builder.scan_fault(&error))?;
        builder.take(event, span)?;
    }
    let mut roots = builder.roots.into_iter();
    let nothing = Node {
        pos: start,
        value: Value::Scalar {
            text: String::new(),
            quoted: false,
        },
    };
    Ok(match (roots.next(), roots.next()) {
        (None, _) => Document {
            header: None,
            body: nothing,
        },
        (Some(body), None) => Document { header: None, body },
        (header, Some(body)) => Document { header, body },
    })
}

fn second(pos: Pos) -> Fault {
    Fault::new(
        pos,
        "a second YAML document begins here",
        "one document is allowed, and before it a header with `spec`",
    )
}

/// Where hidden characters are moved to: a block that Unicode leaves to whoever uses it.
const HIDDEN: u32 = 0xE000;

/// Hides what stands between `$[[` and `]]` from YAML, for which brackets, commas and bars have meanings. Each
/// character is replaced by one other, so that all places stay.
fn hide(text: &str) -> Cow<'_, str> {
    if !text.contains("$[[") {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 64);
    let mut rest = text;
    while let Some(at) = rest.find("$[[") {
        let (before, from) = rest.split_at(at + 1);
        out.push_str(before);
        let line = from.find('\n').unwrap_or(from.len());
        let Some(end) = from[..line].find("]]").map(|end| end + 2) else {
            rest = from;
            continue;
        };
        out.extend(from[..end].chars().map(|c| {
            let plain =
                c.is_ascii_alphanumeric() || matches!(c, '_' | '.') || !c.is_ascii() || c.is_control();
            if plain {
                c
            } else {
                char::from_u32(HIDDEN + u32::from(c)).unwrap_or(c)
            }
        }));
        rest = &from[end..];
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// Undoes [`hide`].
fn unhide(text: &str) -> String {
    text.chars()
        .map(|c| {
            u32::from(c)
                .checked_sub(HIDDEN)
                .filter(|code| *code < 0x80)
                .and_then(char::from_u32)
                .unwrap_or(c)
        })
        .collect()
}

enum Frame {
    Sequence {
        pos: Pos,
        anchor: usize,
        items: Vec<Node>,
        reference: bool,
    },
    Mapping {
        pos: Pos,
        anchor: usize,
        map: MapBuilder,
    },
}

#[derive(Default)]
struct MapBuilder {
    entries: Vec<Entry>,
    /// For each entry whether its key is written here, as against keys that came by `<<`.
    own: Vec<bool>,
    /// Where each key is; only of large maps, since looking through a small one is quicker.
    index: HashMap<String, usize>,
    key: Option<(String, Pos, bool)>,
}

/// From how many entries on a map has an index.
const INDEXED: usize = 24;

struct Builder<'a> {
    file: u16,
    budget: &'a mut Budget,
    warnings: &'a mut Vec<Fault>,
    stack: Vec<Frame>,
    anchors: HashMap<usize, (Node, Size)>,
    roots: Vec<Node>,
    documents: usize,
    /// Whether [`hide`] hid anything.
    hidden: bool,
}

impl Builder<'_> {
    fn pos(&self, span: Span) -> Pos {
        Pos {
            file: self.file,
            line: u32::try_from(span.start.line().max(1)).unwrap_or(u32::MAX),
            column: u32::try_from(span.start.col() + 1).unwrap_or(u32::MAX),
        }
    }

    fn scan_fault(&self, error: &ScanError) -> Fault {
        let mark = *error.marker();
        // The library stops by itself; the limit that counts is ours.
        if error.info().contains("recursion limit") {
            return too_deep(self.pos(Span::empty(mark)));
        }
        Fault::new(
            self.pos(Span::empty(mark)),
            format!("this is not YAML: {}", shown(error.info())),
            "",
        )
    }

    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Fault> {
        let pos = self.pos(span);
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                let header = self.roots.first().is_none_or(|first| first.get("spec").is_some());
                if self.documents > 2 || !header {
                    return Err(second(pos));
                }
                Ok(())
            }
            Event::Scalar(text, style, anchor, tag) => {
                let text = if self.hidden {
                    Cow::Owned(unhide(&text))
                } else {
                    text
                };
                self.pay(1, text.len(), pos)?;
                let forced = check_tag(tag.as_deref(), pos)?;
                if forced == Forced::Reference {
                    return Err(reference_fault(pos));
                }
                let quoted = style != ScalarStyle::Plain || forced == Forced::Text;
                if self.open_key(&text, pos, quoted)? {
                    return Ok(());
                }
                self.place(
                    Node {
                        pos,
                        value: Value::Scalar {
                            text: text.into_owned(),
                            quoted,
                        },
                    },
                    anchor,
                )
            }
            Event::Alias(anchor) => {
                let Some((node, size)) = self.anchors.get(&anchor) else {
                    return Err(Fault::new(
                        pos,
                        "an alias may not stand inside its own anchor",
                        "",
                    ));
                };
                let (node, size) = (node.clone_within(self.budget, *size, pos)?, *size);
                if self.stack.len() + size.depth > limits::YAML_DEPTH {
                    return Err(too_deep(pos));
                }
                if let Some(text) = node.scalar()
                    && self.open_key(text, pos, true)?
                {
                    return Ok(());
                }
                self.place(Node { pos, ..node }, 0)
            }
            Event::SequenceStart(anchor, tag) => {
                let reference = check_tag(tag.as_deref(), pos)? == Forced::Reference;
                self.open(
                    pos,
                    Frame::Sequence {
                        pos,
                        anchor,
                        items: Vec::new(),
                        reference,
                    },
                )
            }
            Event::MappingStart(anchor, tag) => {
                if check_tag(tag.as_deref(), pos)? == Forced::Reference {
                    return Err(reference_fault(pos));
                }
                self.open(
                    pos,
                    Frame::Mapping {
                        pos,
                        anchor,
                        map: MapBuilder::default(),
                    },
                )
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
        }
    }

    fn pay(&mut self, nodes: usize, bytes: usize, pos: Pos) -> Result<(), Fault> {
        self.budget.pay(
            Size {
                nodes,
                bytes,
                depth: 1,
            },
            pos,
        )
    }

    /// Takes a scalar as the next key, if the innermost frame is a map that waits for one.
    fn open_key(&mut self, text: &str, pos: Pos, quoted: bool) -> Result<bool, Fault> {
        match self.stack.last_mut() {
            Some(Frame::Mapping { map, .. }) if map.key.is_none() => {
                map.key = Some((text.to_owned(), pos, quoted));
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    fn open(&mut self, pos: Pos, frame: Frame) -> Result<(), Fault> {
        self.pay(1, 0, pos)?;
        if let Some(Frame::Mapping { map, .. }) = self.stack.last()
            && map.key.is_none()
        {
            return Err(Fault::new(
                pos,
                "a list or map stands as a key here",
                "a key is a plain text",
            ));
        }
        if self.stack.len() >= limits::YAML_DEPTH {
            return Err(too_deep(pos));
        }
        self.stack.push(frame);
        Ok(())
    }

    fn close(&mut self) -> Result<(), Fault> {
        match self.stack.pop() {
            Some(Frame::Sequence {
                pos,
                anchor,
                items,
                reference: true,
            }) => {
                let path: Option<Vec<String>> = items
                    .iter()
                    .map(|item| item.scalar().map(str::to_owned))
                    .collect();
                match path {
                    Some(path) if !path.is_empty() => self.place(
                        Node {
                            pos,
                            value: Value::Reference(path),
                        },
                        anchor,
                    ),
                    _ => Err(reference_fault(pos)),
                }
            }
            Some(Frame::Sequence {
                pos, anchor, items, ..
            }) => self.place(
                Node {
                    pos,
                    value: Value::Sequence(items),
                },
                anchor,
            ),
            Some(Frame::Mapping { pos, anchor, map }) => self.place(
                Node {
                    pos,
                    value: Value::Mapping(map.entries),
                },
                anchor,
            ),
            None => Ok(()),
        }
    }

    fn place(&mut self, node: Node, anchor: usize) -> Result<(), Fault> {
        if anchor > 0 {
            let size = node.measure();
            let kept = node.clone_within(self.budget, size, node.pos)?;
            self.anchors.insert(anchor, (kept, size));
        }
        match self.stack.last_mut() {
            None => self.roots.push(node),
            Some(Frame::Sequence { items, .. }) => items.push(node),
            Some(Frame::Mapping { map, .. }) => {
                let Some((key, key_pos, quoted)) = map.key.take() else {
                    return Ok(());
                };
                if key == "<<" && !quoted {
                    return self.merge(node, key_pos);
                }
                let found = map.find(&key);
                if found.is_some_and(|index| map.own.get(index) == Some(&true)) {
                    self.warnings.push(Fault::new(
                        key_pos,
                        format!("the key `{}` is written twice in this map", shown(&key)),
                        "the last one counts",
                    ));
                }
                map.put(found, key, key_pos, node);
            }
        }
        Ok(())
    }

    /// `<<: *a` or `<<: [*a, *b]`: keys written in the map win, and earlier maps win over later ones.
    fn merge(&mut self, node: Node, at: Pos) -> Result<(), Fault> {
        let maps = match node.value {
            Value::Sequence(items) => items,
            value => vec![Node { pos: node.pos, value }],
        };
        for source in maps {
            let Value::Mapping(entries) = source.value else {
                return Err(Fault::new(
                    at,
                    format!("`<<` merges {}", source.describe()),
                    "it takes a map, or a list of maps",
                ));
            };
            if let Some(Frame::Mapping { map, .. }) = self.stack.last_mut() {
                for entry in entries {
                    if map.find(&entry.key).is_none() {
                        map.push(entry, false);
                    }
                }
            }
        }
        Ok(())
    }
}

impl MapBuilder {
    fn find(&self, key: &str) -> Option<usize> {
        if self.index.is_empty() {
            self.entries.iter().position(|entry| entry.key == key)
        } else {
            self.index.get(key).copied()
        }
    }

    fn push(&mut self, entry: Entry, own: bool) {
        if self.entries.len() == INDEXED {
            let keys = self.entries.iter().map(|entry| entry.key.clone());
            self.index = keys.enumerate().map(|(i, key)| (key, i)).collect();
        }
        if !self.index.is_empty() {
            self.index.insert(entry.key.clone(), self.entries.len());
        }
        self.entries.push(entry);
        self.own.push(own);
    }

    /// Puts a key that is written here, over what is found under it.
    fn put(&mut self, found: Option<usize>, key: String, key_pos: Pos, value: Node) {
        let Some(index) = found else {
            self.push(Entry { key, key_pos, value }, true);
            return;
        };
        if let (Some(entry), Some(own)) = (self.entries.get_mut(index), self.own.get_mut(index)) {
            entry.key_pos = key_pos;
            entry.value = value;
            *own = true;
        }
    }
}

impl Node {
    fn clone_within(&self, budget: &mut Budget, size: Size, pos: Pos) -> Result<Node, Fault> {
        budget.pay(size, pos)?;
        Ok(self.clone())
    }
}

#[derive(PartialEq, Eq)]
enum Forced {
    No,
    Text,
    Reference,
}

fn check_tag(tag: Option<&Tag>, pos: Pos) -> Result<Forced, Fault> {
    let Some(tag) = tag else { return Ok(Forced::No) };
    if tag.handle == "!" && tag.suffix == "reference" {
        return Ok(Forced::Reference);
    }
    if tag.is_yaml_core_schema() {
        return Ok(if tag.suffix == "str" {
            Forced::Text
        } else {
            Forced::No
        });
    }
    if tag.handle == "!" && tag.suffix.is_empty() {
        return Ok(Forced::Text);
    }
    Err(Fault::new(
        pos,
        format!(
            "the tag `{}{}` is unknown",
            shown(&tag.handle),
            shown(&tag.suffix)
        ),
        "`!reference [job, key]` is the one tag allowed",
    ))
}

fn reference_fault(pos: Pos) -> Fault {
    Fault::new(
        pos,
        "this !reference names nothing",
        "write `!reference [job, key]`",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Node, Fault> {
        read(text, 0, &mut Budget::default(), &mut Vec::new())
    }

    #[test]
    fn every_node_knows_its_place() {
        let node = parse("a:\n  - x\n  - b: yes\n").unwrap();
        let second = &node.get("a").unwrap().items().unwrap()[1];
        assert_eq!(second.pos.to_string(), "3:5");
        assert_eq!(second.get("b").unwrap().boolean(), Some(true));
    }

    #[test]
    fn aliases_and_merge_keys_expand_and_own_keys_win() {
        let node = parse("base: &b {x: 1, y: 2}\njob:\n  <<: *b\n  y: 3\nlist: [*b]\n").unwrap();
        let job = node.get("job").unwrap();
        assert_eq!(job.get("x").unwrap().integer(), Some(1));
        assert_eq!(job.get("y").unwrap().integer(), Some(3));
        let two = parse("a: &a {x: 1}\nb: &b {x: 2, z: 9}\nc: {<<: [*a, *b]}\n").unwrap();
        assert_eq!(two.get("c").unwrap().get("x").unwrap().integer(), Some(1));
        assert_eq!(two.get("c").unwrap().get("z").unwrap().integer(), Some(9));
    }

    #[test]
    fn a_yaml_bomb_is_refused_by_name_of_the_limit() {
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..10 {
            let inner = format!("*a{}, ", level - 1).repeat(10);
            bomb += &format!("a{level}: &a{level} [{}]\n", inner.trim_end_matches(", "));
        }
        let fault = parse(&bomb).unwrap_err();
        assert!(fault.allowed.contains("200000 values"), "{fault}");
        let text = format!(
            "a: &a {}\nb: [{}]\n",
            "y".repeat(500_000),
            vec!["*a"; 100].join(", ")
        );
        assert!(parse(&text).unwrap_err().allowed.contains("bytes of text"));
    }

    #[test]
    fn depth_self_alias_tags_and_second_documents_are_refused() {
        assert!(parse(&"[".repeat(200)).is_err());
        let deep = format!("{}x{}", "[".repeat(100), "]".repeat(100));
        assert!(parse(&deep).unwrap_err().allowed.contains("64 levels"));
        assert!(parse("a: &a [*a]").is_err());
        assert!(
            parse("a: !ruby/object:Foo {x: 1}")
                .unwrap_err()
                .what
                .contains("unknown")
        );
        assert!(parse("a: 1\n---\nb: 2\n").is_err());
    }

    #[test]
    fn a_duplicate_key_warns_and_the_last_counts() {
        let mut warnings = Vec::new();
        let node = read("a: 1\na: 2\n", 0, &mut Budget::default(), &mut warnings).unwrap();
        assert_eq!(node.get("a").unwrap().integer(), Some(2));
        assert_eq!(warnings.len(), 1);
        assert_eq!(warnings[0].pos.line, 2);
    }
}
