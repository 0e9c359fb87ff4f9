//! Enrolment: requests for certificates and codes are read from whoever calls.
#![no_main]

use bascule_core::Timestamp;
use bascule_delivery::fleet::authority::Authority;
use bascule_wire::fleet::{MemberKind, pinned_code, split_code};
use libfuzzer_sys::fuzz_target;
use std::{sync::LazyLock, time::Duration};

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);
static AUTHORITY: LazyLock<Authority> =
    LazyLock::new(|| Authority::generate(Duration::from_secs(60), NOW).unwrap());

fuzz_target!(|text: &str| {
    if let Ok(issued) = AUTHORITY.for_member(text, MemberKind::Agent, "7", NOW) {
        assert!(issued.pem.starts_with("-----BEGIN CERTIFICATE-----"));
    }
    if let (code, Some(pin)) = split_code(text) {
        assert_eq!(split_code(&pinned_code(code, &pin)), (code, Some(pin)));
    }
});
