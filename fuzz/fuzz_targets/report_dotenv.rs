//! Variables that a job makes: their names are ones that a shell takes.
#![no_main]

use bascule_ci::results::read::{dotenv, unpack};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(documents) = unpack(bytes.to_vec()) else { return };
    let Ok(list) = dotenv::read(&documents) else { return };
    assert!(list.len() <= dotenv::VARIABLES);
    for (name, value) in list {
        assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') && !value.contains(['\n', '\0']));
    }
});
