//! `rules:if`, patterns and globs: read or refused, and judged in bounded time.
#![no_main]

use bascule_ci::rules::{Expression, pattern};
use libfuzzer_sys::fuzz_target;
use std::collections::BTreeMap;

fuzz_target!(|text: &str| {
    let variables: BTreeMap<String, String> =
        [("A", "a"), ("B", ""), ("CI_COMMIT_TAG", "v1.0.0"), ("P", "/^v/i")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    match Expression::parse(text) {
        Ok(expression) => {
            let _ = expression.holds(&variables);
        }
        Err(error) => assert!(error.at <= text.chars().count() && !error.what.is_empty()),
    }
    if let Ok(pattern) = pattern(text) {
        let _ = pattern.is_match(text);
    }
});
