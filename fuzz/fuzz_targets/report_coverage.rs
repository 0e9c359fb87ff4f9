//! Coverage reports: Cobertura and JaCoCo.
#![no_main]

use bascule_ci::results::{coverage::Share, read::{cobertura, unpack}};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(documents) = unpack(bytes.to_vec()) else { return };
    let Ok(found) = cobertura::read(&documents, "group/name") else { return };
    assert!(found.covered <= found.lines);
    let share = Share::of(found.covered.try_into().unwrap_or(i64::MAX), found.lines.try_into().unwrap_or(i64::MAX));
    assert!(share.is_none_or(|share| (0..=10_000).contains(&share.0)));
    for lines in found.files.values() {
        for (first, last) in cobertura::missed(lines) {
            assert!(first <= last);
        }
    }
});
