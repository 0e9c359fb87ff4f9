//! Offline verification of a release: hostile manifests, provenance and parts, signed and unsigned, are
//! reported and never believed beyond what they prove.
#![no_main]

use arbitrary::Arbitrary;
use bascule_ledger::InstanceKey;
use bascule_supplychain::{
    attestation::dsse::Envelope,
    bundle::{Memory, PAYLOAD_TYPE, PROVENANCE_PART, is_safe_path, verify},
};
use libfuzzer_sys::fuzz_target;
use std::{collections::BTreeMap, sync::LazyLock};

static KEY: LazyLock<InstanceKey> = LazyLock::new(InstanceKey::generate);

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    /// Without this nothing behind the signature would ever be reached.
    signed: bool,
    manifest: &'a [u8],
    provenance: &'a [u8],
    key: Option<&'a [u8]>,
    parts: BTreeMap<String, &'a [u8]>,
}

fuzz_target!(|input: Input<'_>| {
    let seal = |bytes: &[u8]| match input.signed {
        true => Envelope::sign(PAYLOAD_TYPE, bytes, &*KEY).to_json(),
        false => bytes.to_vec(),
    };
    let mut parts: BTreeMap<String, Vec<u8>> =
        input.parts.iter().map(|(name, bytes)| (name.clone(), bytes.to_vec())).collect();
    parts.insert(PROVENANCE_PART.to_owned(), seal(input.provenance));
    let memory = Memory { manifest: seal(input.manifest), key: input.key.map(<[u8]>::to_vec), parts };
    let report = verify(&memory, Some(&KEY.public()));
    if let Some(manifest) = &report.manifest {
        assert!(input.signed, "an unsigned manifest was believed");
        for part in manifest.parts.iter().filter(|part| !is_safe_path(&part.name)) {
            assert!(report.checks.iter().any(|check| !check.passed), "{:?} passed", part.name);
        }
    }
});
