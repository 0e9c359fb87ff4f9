//! DSSE envelopes: nothing that this key has not signed is ever taken for signed.
#![no_main]

use bascule_ledger::{InstanceKey, PublicKey};
use bascule_supplychain::attestation::{Statement, dsse::Envelope};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static KEY: LazyLock<PublicKey> = LazyLock::new(|| InstanceKey::generate().public());

fuzz_target!(|bytes: &[u8]| {
    if let Ok(envelope) = Envelope::from_json(bytes) {
        assert!(envelope.verify(&envelope.payload_type, &*KEY).is_err());
        assert!(Statement::verify(&envelope, &KEY).is_err());
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = PublicKey::from_pem(text);
    }
});
