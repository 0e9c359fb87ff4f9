//! Secrets of environments, sealed under the instance's key and bound to the environment and name.

use bascule_core::Result;
use bascule_ledger::InstanceKey;

const PURPOSE: &str = "delivery.secrets";

fn bound(site: &str, name: &str) -> Vec<u8> {
    // Neither contains a zero byte.
    [site.as_bytes(), b"\0", name.as_bytes()].concat()
}

/// Seals a value.
pub(super) fn seal(instance: &InstanceKey, site: &str, name: &str, value: &str) -> Result<String> {
    instance.seal(PURPOSE, &bound(site, name), value)
}

/// Opens a sealed value; `None` where it was sealed by another key, for another name, or changed.
pub(super) fn open(instance: &InstanceKey, site: &str, name: &str, sealed: &str) -> Option<String> {
    instance.open(PURPOSE, &bound(site, name), sealed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use ring::aead::NONCE_LEN;

    #[test]
    fn a_value_opens_for_its_own_key_environment_and_name_and_for_no_other() {
        let key = InstanceKey::generate();
        let sealed = seal(&key, "site-7", "DB", "hunter2").unwrap();
        assert!(!sealed.contains("hunter2"));
        assert_eq!(open(&key, "site-7", "DB", &sealed).as_deref(), Some("hunter2"));
        assert_eq!(open(&key, "site-8", "DB", &sealed), None);
        assert_eq!(open(&key, "site-7", "DC", &sealed), None);
        assert_eq!(open(&InstanceKey::generate(), "site-7", "DB", &sealed), None);
        assert_ne!(
            seal(&key, "site-7", "DB", "hunter2").unwrap(),
            sealed,
            "each has its own nonce"
        );
        let mut bytes = STANDARD.decode(&sealed).unwrap();
        bytes[NONCE_LEN] ^= 1;
        assert_eq!(open(&key, "site-7", "DB", &STANDARD.encode(bytes)), None);
        assert_eq!(open(&key, "site-7", "DB", "AAAA"), None);
    }
}
