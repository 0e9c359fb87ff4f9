//! Secrets that this platform makes: 256 random bits, of which only a hash is kept. They need no slow hash,
//! because nobody can try 2^256 of them.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rand::RngCore as _;
use sha2::{Digest as _, Sha256};

/// What every access token begins with, so that scanners find one that leaked.
pub(crate) const TOKEN_PREFIX: &str = "bsc_";

/// 256 random bits as text that is safe in a cookie, a header and an address.
pub(crate) fn random() -> String {
    let mut bytes = [0_u8; 32];
    rand::rng().fill_bytes(&mut bytes);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A fresh access token.
pub(crate) fn token() -> String {
    format!("{TOKEN_PREFIX}{}", random())
}

/// A random password that can be typed: 25 of 32 characters that are hard to confuse, 125 bits.
pub(crate) fn password() -> String {
    const LETTERS: &[u8; 32] = b"abcdefghjkmnpqrstuvwxyz23456789+";
    let mut bytes = [0_u8; 25];
    rand::rng().fill_bytes(&mut bytes);
    let mut out = String::with_capacity(29);
    for (at, byte) in bytes.iter().enumerate() {
        if at > 0 && at % 5 == 0 {
            out.push('-');
        }
        out.push(char::from(LETTERS[usize::from(byte & 31)]));
    }
    out
}

/// What is kept of a secret.
pub(crate) fn hash(secret: &str) -> String {
    hex::encode(Sha256::digest(secret.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_differ_and_tokens_can_be_told_by_their_prefix() {
        assert_ne!(random(), random());
        assert_eq!(random().len(), 43);
        assert!(token().starts_with("bsc_"));
        assert_eq!(password().len(), 29);
        assert_ne!(hash("a"), hash("b"));
    }
}
