//! Every key of the language stands in some file of the folder.

use crate::cases;
use bascule_ci::{
    config::keywords,
    yaml::{Budget, Node, Value, read_file},
};
use std::collections::BTreeSet;

fn collect(node: &Node, into: &mut BTreeSet<String>) {
    match &node.value {
        Value::Mapping(entries) => {
            for entry in entries {
                into.insert(entry.key.clone());
                collect(&entry.value, into);
            }
        }
        Value::Sequence(items) => items.iter().for_each(|item| collect(item, into)),
        _ => {}
    }
}

#[test]
fn every_keyword_appears() {
    let mut seen = BTreeSet::new();
    let cases = cases();
    let texts = cases
        .iter()
        .flat_map(|case| std::iter::once(&case.text).chain(case.files.values()));
    for text in texts {
        if let Ok(document) = read_file(text, 0, &mut Budget::default(), &mut Vec::new()) {
            collect(&document.body, &mut seen);
            if let Some(header) = &document.header {
                collect(header, &mut seen);
            }
        }
    }
    let mut missing = Vec::new();
    for (place, keys) in keywords() {
        for key in keys {
            if !seen.contains(key) {
                missing.push(format!("{place}:{key}"));
            }
        }
    }
    assert!(missing.is_empty(), "no file shows: {}", missing.join(", "));
}

/// Words that are no keys, and constructs that YAML itself has.
#[test]
fn every_construct_appears() {
    let text: String = cases().iter().map(|case| case.text.clone()).collect();
    for part in [
        "!reference",
        "&a",
        "*a",
        "<<:",
        "$[[ inputs.",
        "expand_vars",
        "truncate(",
        "posix_escape",
        "==",
        "!=",
        "=~",
        "!~",
        "&&",
        "||",
        "null",
        "~latest",
        "$$",
        "when: delayed",
        "when: never",
        "action: stop",
        "strategy: depend",
        "needs: []",
        "compare_to",
        "@clinic/app",
    ] {
        let there = text.contains(part)
            || cases()
                .iter()
                .any(|case| case.files.values().any(|f| f.contains(part)));
        assert!(there, "no file shows `{part}`");
    }
}
