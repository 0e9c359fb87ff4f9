//! `Cargo.lock`: an inventory from which both SBOMs can be made, or an error that names the file.
#![no_main]

#[path = "../lockfile.rs"]
mod lockfile;

use bascule_supplychain::sbom::Lockfile;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| lockfile::check(Lockfile::Cargo, "Cargo.lock", bytes));
