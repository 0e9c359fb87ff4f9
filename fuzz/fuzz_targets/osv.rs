//! Advisories: a stream is cut the same way however it comes, and what is read of a record holds together.
#![no_main]

use bascule_supplychain::advisory::{
    osv::Advisory,
    split::{Cut, Splitter},
};
use libfuzzer_sys::fuzz_target;

fn cut(bytes: &[u8], at_once: usize) -> (Vec<Cut>, bool) {
    let (mut splitter, mut all) = (Splitter::default(), Vec::new());
    for chunk in bytes.chunks(at_once) {
        if splitter.take(chunk, |cut| all.push(cut)).is_err() {
            return (all, false);
        }
    }
    (all, splitter.is_between())
}

fuzz_target!(|bytes: &[u8]| {
    let (records, whole) = cut(bytes, 7);
    assert_eq!((records.clone(), whole), cut(bytes, usize::MAX));
    for record in records {
        let Cut::Record(record) = record else { continue };
        match Advisory::from_json(&record) {
            Ok(advisory) => {
                assert!(!advisory.id.is_empty() && !advisory.aliases.contains(&advisory.id));
                for package in &advisory.packages {
                    for version in package.versions.iter().map(String::as_str).chain(["0.0.0", "1.2.3-rc.1", "2.0.post1"]) {
                        for fixed in package.hits(version).into_iter().flat_map(|hit| hit.fixed) {
                            assert!(!fixed.is_empty());
                        }
                    }
                }
            }
            Err(reason) => assert!(!reason.is_empty()),
        }
    }
});
