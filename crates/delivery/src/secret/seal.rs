//! Sealing: AES-256-GCM under a key that is derived from the instance's own, bound to the environment and name, so
//! that a sealed value put in another's place does not open.

use bascule_core::{Problem, Result};
use bascule_ledger::InstanceKey;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

const PURPOSE: &str = "delivery.secrets";

fn key(instance: &InstanceKey) -> Result<LessSafeKey> {
    UnboundKey::new(&AES_256_GCM, &instance.derive(PURPOSE))
        .map(LessSafeKey::new)
        .map_err(|_| Problem::internal())
}

fn bound(site: &str, name: &str) -> Aad<Vec<u8>> {
    // Neither contains a zero byte.
    Aad::from([site.as_bytes(), b"\0", name.as_bytes()].concat())
}

/// Seals a value: nonce, ciphertext and tag in base64. Each nonce is 96 random bits and used once.
pub(super) fn seal(instance: &InstanceKey, site: &str, name: &str, value: &str) -> Result<String> {
    let nonce: [u8; NONCE_LEN] = rand::random();
    let mut bytes = value.as_bytes().to_vec();
    key(instance)?
        .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), bound(site, name), &mut bytes)
        .map_err(|_| Problem::internal())?;
    Ok(STANDARD.encode([nonce.as_slice(), &bytes].concat()))
}

/// Opens a sealed value; `None` where it was sealed by another key, for another name, or changed.
pub(super) fn open(instance: &InstanceKey, site: &str, name: &str, sealed: &str) -> Option<String> {
    let bytes = STANDARD.decode(sealed).ok()?;
    let (nonce, rest) = bytes.split_at_checked(NONCE_LEN)?;
    let mut rest = rest.to_vec();
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    let value = key(instance)
        .ok()?
        .open_in_place(nonce, bound(site, name), &mut rest)
        .ok()?;
    String::from_utf8(value.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

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
