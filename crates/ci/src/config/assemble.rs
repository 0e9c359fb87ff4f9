//! Putting the files of one configuration together. The files come from the caller one by one, so that this
//! stays free of I/O: ask [`Assembly::wanted`], answer with [`Assembly::supply`], then [`Assembly::finish`].

use super::{Config, expand, reader::Reader, top};
use crate::{
    fault::{CI_FILE, Fault, Faults, Pos, name_files, shown},
    yaml::{self, Budget, Entry, Node, Value, too_deep},
};
use bascule_core::limits;
use std::collections::HashMap;

/// Most files that one configuration may be made of (GitLab's limit).
pub const FILES: usize = 150;

/// A configuration while its files are being gathered.
#[derive(Debug)]
pub struct Assembly {
    files: Vec<String>,
    parsed: HashMap<String, File>,
    root: File,
    waiting: Vec<(String, Pos)>,
    budget: Budget,
    reader: Reader,
}

#[derive(Clone, Debug)]
struct File {
    node: Node,
    includes: Vec<(String, Pos)>,
}

impl Assembly {
    /// Starts from the text of the project's CI file.
    ///
    /// # Errors
    /// The text is not YAML, not a map, over a limit, or includes what is not served.
    pub fn new(text: &str) -> Result<Self, Faults> {
        let mut assembly = Self {
            files: vec![CI_FILE.to_owned()],
            parsed: HashMap::new(),
            root: File {
                node: Node::text(Pos::default(), ""),
                includes: Vec::new(),
            },
            waiting: Vec::new(),
            budget: Budget::default(),
            reader: Reader::default(),
        };
        assembly.root = assembly.read(text, 0)?;
        Ok(assembly)
    }

    /// The path of a file that is still needed, relative to the project's root.
    pub fn wanted(&mut self) -> Option<String> {
        self.waiting.retain(|(path, _)| !self.parsed.contains_key(path));
        self.waiting.first().map(|(path, _)| path.clone())
    }

    /// Answers [`Assembly::wanted`]: the file's text, or `None` if there is no such file.
    ///
    /// # Errors
    /// The file is missing, or is wrong by itself.
    pub fn supply(&mut self, path: &str, text: Option<&str>) -> Result<(), Faults> {
        let at = self
            .waiting
            .iter()
            .find(|(p, _)| p == path)
            .map(|(_, pos)| *pos)
            .unwrap_or_default();
        let Some(text) = text else {
            return Err(self.name(Faults::one(
                at,
                format!("the included file `{}` does not exist", shown(path)),
                "name a file of this project at this commit",
            )));
        };
        if self.files.len() >= FILES {
            return Err(self.name(Faults::one(
                at,
                "too many files are included",
                format!("at most {FILES} are allowed"),
            )));
        }
        let number = u16::try_from(self.files.len()).unwrap_or(u16::MAX);
        self.files.push(path.to_owned());
        let file = self.read(text, number)?;
        self.parsed.insert(path.to_owned(), file);
        Ok(())
    }

    /// Merges the files and checks the whole.
    ///
    /// # Errors
    /// All that is wrong, in order of place.
    pub fn finish(mut self) -> Result<Config, Faults> {
        let root = self.root.clone();
        let result = self
            .merged(&root, &mut Vec::new())
            .map_err(Faults::from)
            .and_then(|merged| {
                let tree = expand::references(&merged, &mut self.budget)?;
                let config = top::read(&tree, &mut self.budget, &mut self.reader);
                if self.reader.faults.is_empty() {
                    config.ok_or_else(|| Faults::one(tree.pos, "the file holds no configuration", ""))
                } else {
                    Err(Faults(std::mem::take(&mut self.reader.faults)))
                }
            });
        match result {
            Ok(mut config) => {
                config.warnings = std::mem::take(&mut self.reader.warnings);
                name_files(&mut config.warnings, &self.files);
                config.files = self.files;
                Ok(config)
            }
            Err(faults) => Err(self.name(faults)),
        }
    }

    fn name(&self, faults: Faults) -> Faults {
        faults.named(&self.files)
    }

    fn read(&mut self, text: &str, file: u16) -> Result<File, Faults> {
        let node = yaml::read(text, file, &mut self.budget, &mut self.reader.warnings)
            .map_err(|fault| self.name(fault.into()))?;
        if node.entries().is_none() {
            let what = if node.is_null() {
                "the file is empty".to_owned()
            } else {
                format!("the file is {}", node.describe())
            };
            return Err(self.name(Faults::one(
                node.pos,
                what,
                "a map of jobs and settings is expected",
            )));
        }
        let includes = match node.get("include") {
            None => Vec::new(),
            Some(include) => includes(include).map_err(|fault| self.name(fault.into()))?,
        };
        self.waiting.extend(includes.iter().cloned());
        Ok(File { node, includes })
    }

    /// The file merged over all that it includes.
    fn merged(&mut self, file: &File, stack: &mut Vec<String>) -> Result<Node, Fault> {
        let mut whole = Node {
            pos: file.node.pos,
            value: Value::Mapping(Vec::new()),
        };
        for (path, pos) in &file.includes {
            if stack.contains(path) {
                return Err(Fault::new(
                    *pos,
                    format!(
                        "`{}` includes itself, through {}",
                        shown(path),
                        shown(&stack.join(" → "))
                    ),
                    "",
                ));
            }
            let Some(included) = self.parsed.get(path).cloned() else {
                continue;
            };
            stack.push(path.clone());
            let node = self.merged(&included, stack)?;
            stack.pop();
            merge(&mut whole, &node, &mut self.budget, *pos, 0)?;
        }
        merge(&mut whole, &file.node, &mut self.budget, file.node.pos, 0)?;
        Ok(whole)
    }
}

/// Deep merge: maps join, everything else is replaced.
pub(super) fn merge(
    into: &mut Node,
    from: &Node,
    budget: &mut Budget,
    pos: Pos,
    depth: usize,
) -> Result<(), Fault> {
    if depth > limits::YAML_DEPTH {
        return Err(too_deep(pos));
    }
    let (Value::Mapping(ours), Value::Mapping(theirs)) = (&mut into.value, &from.value) else {
        *into = budget.copy(from, pos)?;
        return Ok(());
    };
    let mut index: HashMap<String, usize> = ours
        .iter()
        .enumerate()
        .map(|(i, entry)| (entry.key.clone(), i))
        .collect();
    for entry in theirs {
        match index.get(&entry.key).and_then(|i| ours.get_mut(*i)) {
            Some(mine) => {
                mine.key_pos = entry.key_pos;
                merge(&mut mine.value, &entry.value, budget, pos, depth + 1)?;
            }
            None => {
                let value = budget.copy(&entry.value, pos)?;
                index.insert(entry.key.clone(), ours.len());
                ours.push(Entry {
                    key: entry.key.clone(),
                    key_pos: entry.key_pos,
                    value,
                });
            }
        }
    }
    Ok(())
}

const SERVED: &str = "write the path of a file of this project, or `local: path`";

fn includes(node: &Node) -> Result<Vec<(String, Pos)>, Fault> {
    match &node.value {
        Value::Sequence(items) => items.iter().map(one_include).collect(),
        _ => Ok(vec![one_include(node)?]),
    }
}

fn one_include(node: &Node) -> Result<(String, Pos), Fault> {
    let target = match &node.value {
        Value::Scalar { .. } if !node.is_null() => node,
        Value::Mapping(entries) => {
            if let Some(entry) = entries.iter().find(|entry| entry.key != "local") {
                return Err(Fault::new(
                    entry.key_pos,
                    format!("`include: {}` is not served yet", shown(&entry.key)),
                    SERVED,
                ));
            }
            node.get("local")
                .ok_or_else(|| Fault::new(node.pos, "this include names nothing", SERVED))?
        }
        _ => {
            return Err(Fault::new(
                node.pos,
                format!("`include` holds {}", node.describe()),
                SERVED,
            ));
        }
    };
    let text = target.scalar().unwrap_or_default();
    if text.contains("://") {
        return Err(Fault::new(
            target.pos,
            "`include: remote` is not served yet",
            SERVED,
        ));
    }
    let path = text.trim_start_matches('/');
    let good = !path.is_empty()
        && path
            .split('/')
            .all(|part| !part.is_empty() && part != "." && part != "..")
        && (path.ends_with(".yml") || path.ends_with(".yaml"))
        && !path.contains(['*', '$', '\\', '\0']);
    if !good {
        return Err(Fault::new(
            target.pos,
            format!("`{}` cannot be included", shown(text)),
            "a plain path inside the project that ends in .yml or .yaml",
        ));
    }
    Ok((path.to_owned(), target.pos))
}
