//! What the workflow policy reads of a push: commits and their signatures, patches with secrets, manifests, reasons.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| bascule_forge::hostile::workflow(data));
