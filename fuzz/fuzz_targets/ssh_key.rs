//! Public SSH keys as people paste them.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = bascule_identity::parse_ssh_key(text);
});
