//! JUnit reports as runners send them.
#![no_main]

use bascule_ci::results::read::{junit, unpack};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(documents) = unpack(bytes.to_vec()) else { return };
    let Ok(tests) = junit::read(&documents) else { return };
    assert!(tests.cases.len() <= junit::CASES);
    for case in &tests.cases {
        assert!(!case.name.is_empty() && case.name.chars().count() <= 501 && case.output.len() <= 20_000);
        assert!(case.output.chars().all(|c| !c.is_control() || c == '\n' || c == '\t'));
        assert_eq!(case.key().len(), 24);
    }
});
