//! Code Climate reports: what is made of them is SARIF.
#![no_main]

use bascule_ci::results::read::{codequality, unpack};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(documents) = unpack(bytes.to_vec()) else { return };
    let Ok((sarif, count)) = codequality::to_sarif(&documents, "tool") else { return };
    let sarif: serde_json::Value = serde_json::from_slice(&sarif).expect("JSON");
    assert_eq!(sarif["runs"][0]["results"].as_array().expect("a list").len(), count);
});
