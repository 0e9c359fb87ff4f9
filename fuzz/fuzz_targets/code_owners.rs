//! `CODEOWNERS` from repositories: any text is read, and asking it for any path neither panics nor takes long.
#![no_main]

use bascule_forge::CodeOwners;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &str)| {
    let (text, path) = input;
    let owners = CodeOwners::parse(text);
    let _ = owners.count_of(path);
    // A last section that owns everything is heard, whatever stands above it.
    let more = CodeOwners::parse(&format!("{text}\n[zz last {{}} section]\n* @last\n"));
    if owners.complaints().len() < 50 && text.lines().count() < 4_000 {
        assert!(more.count_of(path) > 0);
    }
});
