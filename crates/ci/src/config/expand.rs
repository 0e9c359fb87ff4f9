//! `!reference` and `extends`.

use super::merge::merge;
use crate::{
    fault::{Fault, Pos, did_you_mean, shown},
    yaml::{Budget, Entry, Node, Value, too_deep},
};
use bascule_core::limits;
use std::{collections::HashMap, rc::Rc};

/// How deep `extends` may chain (GitLab's limit).
pub const EXTENDS_DEPTH: usize = 11;
/// How deep references may lead to references (GitLab's limit).
pub const REFERENCE_DEPTH: usize = 10;

/// The tree with every `!reference` replaced by what it names.
pub(super) fn references(root: Node, budget: &mut Budget) -> Result<Node, Fault> {
    if has_reference(&root) {
        walk(&root, &root, budget, 0, 0)
    } else {
        Ok(root)
    }
}

fn has_reference(node: &Node) -> bool {
    match &node.value {
        Value::Scalar { .. } => false,
        Value::Sequence(items) => items.iter().any(has_reference),
        Value::Mapping(entries) => entries.iter().any(|entry| has_reference(&entry.value)),
        Value::Reference(_) => true,
    }
}

fn walk(node: &Node, root: &Node, budget: &mut Budget, hops: usize, depth: usize) -> Result<Node, Fault> {
    if depth > limits::YAML_DEPTH {
        return Err(too_deep(node.pos));
    }
    let value = match &node.value {
        Value::Scalar { .. } => node.value.clone(),
        Value::Sequence(items) => Value::Sequence(
            items
                .iter()
                .map(|item| walk(item, root, budget, hops, depth + 1))
                .collect::<Result<_, _>>()?,
        ),
        Value::Mapping(entries) => Value::Mapping(
            entries
                .iter()
                .map(|entry| {
                    Ok(Entry {
                        key: entry.key.clone(),
                        key_pos: entry.key_pos,
                        value: walk(&entry.value, root, budget, hops, depth + 1)?,
                    })
                })
                .collect::<Result<_, Fault>>()?,
        ),
        Value::Reference(path) => {
            if hops >= REFERENCE_DEPTH {
                return Err(Fault::new(
                    node.pos,
                    "this !reference leads to too many others",
                    format!("at most {REFERENCE_DEPTH} may follow each other, and none may lead to itself"),
                ));
            }
            let mut found = root;
            for (index, key) in path.iter().enumerate() {
                found = found.get(key).ok_or_else(|| {
                    let place = path[..index].join(", ");
                    let hint = did_you_mean(
                        key,
                        found
                            .entries()
                            .unwrap_or_default()
                            .iter()
                            .map(|entry| entry.key.as_str()),
                    );
                    Fault::new(
                        node.pos,
                        format!(
                            "this !reference names `{}`, which is not in [{}]",
                            shown(key),
                            shown(&place)
                        ),
                        hint.map_or_else(String::new, |word| format!("did you mean `{word}`?")),
                    )
                })?;
            }
            budget.pay(found.measure(), node.pos)?;
            return walk(found, root, budget, hops + 1, depth);
        }
    };
    Ok(Node { pos: node.pos, value })
}

/// Resolves `extends` of jobs and hidden jobs, each once.
pub(super) struct Extends<'a> {
    jobs: HashMap<&'a str, &'a Entry>,
    done: HashMap<String, Rc<Node>>,
}

impl<'a> Extends<'a> {
    pub fn new(root: &'a [Entry]) -> Self {
        Self {
            jobs: root.iter().map(|entry| (entry.key.as_str(), entry)).collect(),
            done: HashMap::new(),
        }
    }

    /// The job with all that it extends merged in, without the key `extends`.
    pub fn resolve(&mut self, name: &str, budget: &mut Budget) -> Result<Rc<Node>, Fault> {
        self.resolve_within(name, Pos::default(), budget, &mut Vec::new())
    }

    fn resolve_within(
        &mut self,
        name: &str,
        from: Pos,
        budget: &mut Budget,
        stack: &mut Vec<String>,
    ) -> Result<Rc<Node>, Fault> {
        if let Some(node) = self.done.get(name) {
            return Ok(node.clone());
        }
        let Some(entry) = self.jobs.get(name).copied() else {
            let hint = did_you_mean(name, self.jobs.keys().copied())
                .map_or_else(String::new, |word| format!("did you mean `{word}`?"));
            return Err(Fault::new(
                from,
                format!("`extends` names the unknown job `{}`", shown(name)),
                hint,
            ));
        };
        if stack.iter().any(|s| s == name) {
            return Err(Fault::new(from, format!("`{}` extends itself", shown(name)), ""));
        }
        if stack.len() >= EXTENDS_DEPTH {
            return Err(Fault::new(
                from,
                "`extends` chains too long",
                format!("at most {EXTENDS_DEPTH} levels"),
            ));
        }
        let Value::Mapping(own) = &entry.value.value else {
            return Err(Fault::new(
                if stack.is_empty() { entry.value.pos } else { from },
                format!("`{}` is {}", shown(name), entry.value.describe()),
                "a job is a map",
            ));
        };
        let mut result = Node {
            pos: entry.value.pos,
            value: Value::Mapping(Vec::new()),
        };
        stack.push(name.to_owned());
        if let Some(extends) = entry.value.get("extends") {
            for parent in parents(extends)? {
                let parent_node =
                    self.resolve_within(parent.scalar().unwrap_or_default(), parent.pos, budget, stack)?;
                merge(&mut result, &parent_node, budget, parent.pos, 0)?;
            }
        }
        stack.pop();
        let kept: Vec<Entry> = own.iter().filter(|e| e.key != "extends").cloned().collect();
        let mine = Node {
            pos: entry.value.pos,
            value: Value::Mapping(kept),
        };
        if matches!(&result.value, Value::Mapping(entries) if entries.is_empty()) {
            result = mine;
        } else {
            merge(&mut result, &mine, budget, entry.value.pos, 0)?;
        }
        let result = Rc::new(result);
        self.done.insert(name.to_owned(), result.clone());
        Ok(result)
    }
}

/// The tree with every `extends` resolved, for people to read. What cannot be resolved stays as it is.
pub(super) fn extended(tree: &Node) -> Node {
    let mut budget = Budget::default();
    let Some(entries) = tree.entries() else {
        return tree.clone();
    };
    let mut extends = Extends::new(entries);
    let resolved = entries.iter().map(|entry| {
        let value = match entry.value.get("extends") {
            Some(_) => extends
                .resolve(&entry.key, &mut budget)
                .map(|node| (*node).clone())
                .ok(),
            None => None,
        };
        Entry {
            key: entry.key.clone(),
            key_pos: entry.key_pos,
            value: value.unwrap_or_else(|| entry.value.clone()),
        }
    });
    Node {
        pos: tree.pos,
        value: Value::Mapping(resolved.collect()),
    }
}

fn parents(node: &Node) -> Result<Vec<&Node>, Fault> {
    let wrong = |node: &Node| {
        Fault::new(
            node.pos,
            format!("`extends` is {}", node.describe()),
            "it must be the name of a job, or a list of names",
        )
    };
    match &node.value {
        Value::Sequence(items) => items
            .iter()
            .map(|item| {
                if item.scalar().is_some() {
                    Ok(item)
                } else {
                    Err(wrong(item))
                }
            })
            .collect(),
        _ if node.scalar().is_some() => Ok(vec![node]),
        _ => Err(wrong(node)),
    }
}
