//! What holds for every lockfile reader.

use bascule_core::Timestamp;
use bascule_supplychain::sbom::{Lockfile, cyclonedx};

/// Reads the bytes, and makes the SBOM of what came out.
pub fn check(kind: Lockfile, path: &str, bytes: &[u8]) {
    assert_eq!(Lockfile::at(path), Some(kind));
    match kind.read(path, bytes) {
        Ok(inventory) => {
            let subject =
                cyclonedx::Subject { project: "a/b", version: "1.0.0", commit: "0", at: Timestamp::from_micros(0) };
            let written = cyclonedx::Bom::new(&inventory, &subject).to_json();
            cyclonedx::Bom::from_json(&written).expect("what was written can be read");
        }
        Err(error) => assert!(error.position().starts_with(path) && !error.reason.is_empty()),
    }
}
