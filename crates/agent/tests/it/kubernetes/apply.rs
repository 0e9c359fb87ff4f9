//! Server-side apply, as far as it matters here: who set a field owns it, who sets it to something else is told of
//! the conflict, force takes it over, and what one no longer sets goes. Lists are set as one.

use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Who owns which field.
pub type Owners = BTreeMap<String, String>;

fn leaves(value: &Value, at: &str, into: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, value) in fields {
                let name = name.replace('~', "~0").replace('/', "~1");
                leaves(value, &format!("{at}/{name}"), into);
            }
        }
        other => drop(into.insert(at.to_owned(), other.clone())),
    }
}

/// Fields that someone may set.
fn fields(object: &Value) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    leaves(object, "", &mut all);
    all.retain(|path, _| {
        path.starts_with("/spec")
            || path.starts_with("/data")
            || path.starts_with("/type")
            || path.starts_with("/metadata/labels")
            || path.starts_with("/metadata/annotations")
    });
    all
}

fn set(object: &mut Value, path: &str, value: Value) {
    let mut at = object;
    for part in path.split('/').skip(1) {
        at = &mut at[part.replace("~1", "/").replace("~0", "~")];
    }
    *at = value;
}

fn unset(object: &mut Value, path: &str) {
    let (parent, name) = path.rsplit_once('/').unwrap();
    if let Some(fields) = object.pointer_mut(parent).and_then(Value::as_object_mut) {
        fields.remove(&name.replace("~1", "/").replace("~0", "~"));
    }
}

/// The object after an apply, or the conflict.
pub fn apply(
    before: Option<&Value>,
    owners: &mut Owners,
    manager: &str,
    patch: &Value,
    force: bool,
) -> Result<Value, String> {
    let wanted = fields(patch);
    let Some(before) = before else {
        *owners = wanted
            .into_keys()
            .map(|path| (path, manager.to_owned()))
            .collect();
        return Ok(patch.clone());
    };
    let present = fields(before);
    let rivals: BTreeSet<String> = wanted
        .iter()
        .filter(|(path, value)| present.get(*path) != Some(*value))
        .filter_map(|(path, _)| {
            owners
                .get(path)
                .filter(|owner| *owner != manager)
                .map(|owner| format!("conflict with \"{owner}\" using apps/v1: {path}"))
        })
        .collect();
    if let Some(rival) = rivals.first().filter(|_| !force) {
        return Err(format!("Apply failed with {} conflict: {rival}", rivals.len()));
    }
    let mut made = before.clone();
    let left: Vec<String> = owners
        .iter()
        .filter(|(path, owner)| *owner == manager && !wanted.contains_key(*path))
        .map(|(path, _)| path.clone())
        .collect();
    for path in left {
        owners.remove(&path);
        unset(&mut made, &path);
    }
    for (path, value) in wanted {
        if present.get(&path) != Some(&value) {
            set(&mut made, &path, value);
        }
        owners.insert(path, manager.to_owned());
    }
    Ok(made)
}

/// Who changes an object owns what was changed.
pub fn take_over(owners: &mut Owners, before: &Value, after: &Value, manager: &str) {
    let (before, after) = (fields(before), fields(after));
    for (path, value) in &after {
        if before.get(path) != Some(value) {
            owners.insert(path.clone(), manager.to_owned());
        }
    }
    owners.retain(|path, _| after.contains_key(path));
}

/// As objects show it.
pub fn managed_fields(owners: &Owners) -> Value {
    let managers: BTreeSet<&String> = owners.values().collect();
    managers
        .into_iter()
        .map(|manager| json!({ "manager": manager, "operation": "Apply", "time": "2026-01-01T00:00:00Z" }))
        .collect()
}
