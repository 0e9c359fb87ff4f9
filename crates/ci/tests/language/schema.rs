//! The schema for editors: it knows all keys, takes all good files, and refuses a misspelt key.

use crate::cases;
use bascule_ci::{
    config::{SCHEMA, keywords},
    yaml::{Budget, Node, Value, read_file},
};
use serde_json::{Value as Json, json};
use std::collections::BTreeSet;

fn schema() -> Json {
    serde_json::from_str(SCHEMA).unwrap()
}

/// As an editor reads YAML: `!reference` is a list of texts.
fn as_json(node: &Node) -> Json {
    match &node.value {
        Value::Sequence(items) => items.iter().map(as_json).collect(),
        Value::Mapping(entries) => entries
            .iter()
            .map(|entry| (entry.key.clone(), as_json(&entry.value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        _ => node.to_json(),
    }
}

#[test]
fn the_schema_knows_exactly_the_keys_of_the_reader() {
    let schema = schema();
    for (place, keys) in keywords() {
        let definition = if place.is_empty() {
            &schema
        } else {
            &schema["$defs"][place]
        };
        let known: BTreeSet<&str> = definition["properties"]
            .as_object()
            .unwrap_or_else(|| panic!("the schema has no `{place}`"))
            .keys()
            .map(String::as_str)
            .collect();
        let keys: BTreeSet<&str> = keys.into_iter().collect();
        assert_eq!(known, keys, "{place}");
    }
}

#[test]
fn good_files_are_valid_and_misspelt_ones_are_not() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    let mut failed = Vec::new();
    for case in cases().iter().filter(|case| case.is_valid()) {
        let document = read_file(&case.text, 0, &mut Budget::default(), &mut Vec::new()).unwrap();
        // An editor checks each document; what has inputs in it is a template of a file, not one yet.
        let documents: Vec<&Node> = match &document.header {
            Some(header) => vec![header],
            None => vec![&document.body],
        };
        for document in documents {
            if let Some(error) = validator.iter_errors(&as_json(document)).next() {
                failed.push(format!("{}: {} at {}", case.name, error, error.instance_path));
            }
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    for bad in [
        json!({"job": {"script": "x", "artefacts": {}}}),
        json!({"stages": "build", "job": {"script": "x"}}),
        json!({"job": {"script": "x", "when": "sometimes"}}),
        json!({"job": {"script": "x", "parallel": 201}}),
        json!({"job": 5}),
    ] {
        assert!(!validator.is_valid(&bad), "{bad}");
    }
}
