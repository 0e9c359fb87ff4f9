//! Signatures, as Standard Webhooks describes them.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::hmac;

/// What a secret begins with whose rest is base64.
pub(crate) const PREFIX: &str = "whsec_";

/// A fresh secret: 256 random bits.
pub(crate) fn secret() -> String {
    let bytes: [u8; 32] = rand::random();
    format!("{PREFIX}{}", STANDARD.encode(bytes))
}

/// The header `webhook-signature`: HMAC-SHA256 over identifier, time and body. The key is what follows `whsec_`,
/// decoded; a secret without it is the key as it stands.
#[must_use]
pub fn signature(secret: &str, id: &str, timestamp: i64, body: &str) -> String {
    let decoded = secret
        .strip_prefix(PREFIX)
        .and_then(|rest| STANDARD.decode(rest).ok());
    let key = hmac::Key::new(hmac::HMAC_SHA256, decoded.as_deref().unwrap_or(secret.as_bytes()));
    let tag = hmac::sign(&key, format!("{id}.{timestamp}.{body}").as_bytes());
    format!("v1,{}", STANDARD.encode(tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_those_of_the_standard() {
        // Computed with OpenSSL: printf '%s' ID.TIME.BODY | openssl dgst -sha256 -mac HMAC -macopt hexkey:… -binary
        let secret = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        let made = signature(secret, "msg_1", 1_700_000_000, r#"{"object_kind":"push"}"#);
        assert_eq!(made, "v1,5dhHOZLrZR0RcGQfZDcq/1EQLIHEIYAU3VZ+oWEmwnE=");
        assert_ne!(
            signature("plain text of sixteen", "msg_1", 1_700_000_000, "{}"),
            made
        );
        assert_ne!(super::secret(), super::secret());
    }
}
