//! What an SSH client asks for: what is read names a project by plain names.
#![no_main]

use bascule_core::Name;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|command: &[u8]| {
    if let Ok(asked) = bascule_forge::ssh::parse_command(command) {
        assert!(Name::new(&asked.group).is_ok() && Name::new(&asked.project).is_ok());
    }
});
