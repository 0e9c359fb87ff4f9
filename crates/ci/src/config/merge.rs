//! Merging one file over another.

use crate::{
    fault::{Fault, Pos},
    yaml::{Budget, Entry, Node, Value, too_deep},
};
use bascule_core::limits;
use std::collections::HashMap;

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
    // Most maps are small; looking through them is quicker than an index.
    let index: Option<HashMap<String, usize>> = (ours.len().saturating_mul(theirs.len()) > 256).then(|| {
        ours.iter()
            .enumerate()
            .map(|(i, entry)| (entry.key.clone(), i))
            .collect()
    });
    let known = ours.len();
    for entry in theirs {
        let found = match &index {
            Some(index) => index.get(&entry.key).copied(),
            None => ours[..known].iter().position(|mine| mine.key == entry.key),
        };
        match found.and_then(|i| ours.get_mut(i)) {
            Some(mine) => {
                mine.key_pos = entry.key_pos;
                merge(&mut mine.value, &entry.value, budget, pos, depth + 1)?;
            }
            None => {
                let value = budget.copy(&entry.value, pos)?;
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
