//! Names, roles, digests, identifiers and times as they come in addresses and bodies.
#![no_main]

use bascule_core::{Digest, Name, ProjectId, Role, Timestamp};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(name) = Name::new(text) {
        // A name becomes part of addresses and of paths.
        assert!(!name.as_str().contains(['/', '\\', ' ', '%']) && name.as_str() != ".." && name.as_str() == text);
    }
    if let Ok(digest) = text.parse::<Digest>() {
        assert!(digest.hex().bytes().all(|byte| byte.is_ascii_hexdigit()));
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        assert_eq!(time.to_string().parse::<Timestamp>().ok(), Some(time));
    }
    let _ = text.parse::<ProjectId>();
    let _ = text.parse::<Role>();
});
