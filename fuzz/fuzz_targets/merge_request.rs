//! Merge requests: titles, closing words, templates, git's answers about merges, and text with marks of conflicts.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| bascule_forge::hostile::merge_request(data));
