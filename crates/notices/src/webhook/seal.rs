//! Secrets of webhooks, sealed as secrets of environments are: AES-256-GCM under a key that is derived from the
//! instance's own, bound to the webhook, so that a sealed secret put in another's place does not open.

use bascule_core::{Problem, Result, WebhookId};
use bascule_ledger::InstanceKey;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

const PURPOSE: &str = "notices.webhooks";

fn key(instance: &InstanceKey) -> Result<LessSafeKey> {
    UnboundKey::new(&AES_256_GCM, &instance.derive(PURPOSE))
        .map(LessSafeKey::new)
        .map_err(|_| Problem::internal())
}

/// Seals a secret: nonce, ciphertext and tag in base64. Each nonce is 96 random bits and used once.
pub(super) fn seal(instance: &InstanceKey, hook: WebhookId, secret: &str) -> Result<String> {
    let nonce: [u8; NONCE_LEN] = rand::random();
    let mut bytes = secret.as_bytes().to_vec();
    key(instance)?
        .seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(hook.to_string()),
            &mut bytes,
        )
        .map_err(|_| Problem::internal())?;
    Ok(STANDARD.encode([nonce.as_slice(), &bytes].concat()))
}

/// Opens a sealed secret; `None` where it was sealed by another key, for another webhook, or changed.
pub(super) fn open(instance: &InstanceKey, hook: WebhookId, sealed: &str) -> Option<String> {
    let bytes = STANDARD.decode(sealed).ok()?;
    let (nonce, rest) = bytes.split_at_checked(NONCE_LEN)?;
    let mut rest = rest.to_vec();
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    let value = key(instance)
        .ok()?
        .open_in_place(nonce, Aad::from(hook.to_string()), &mut rest)
        .ok()?;
    String::from_utf8(value.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_opens_for_its_own_webhook_alone() {
        let (key, hook) = (InstanceKey::generate(), WebhookId::new());
        let sealed = seal(&key, hook, "whsec_x").unwrap();
        assert!(!sealed.contains("whsec"));
        assert_eq!(open(&key, hook, &sealed).as_deref(), Some("whsec_x"));
        assert_eq!(open(&key, WebhookId::new(), &sealed), None);
        assert_eq!(open(&InstanceKey::generate(), hook, &sealed), None);
        assert_eq!(open(&key, hook, "AAAA"), None);
    }
}
