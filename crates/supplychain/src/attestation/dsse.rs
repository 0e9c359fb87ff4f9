//! DSSE, the envelope that carries in-toto statements: what is signed is the type and the bytes together,
//! so neither can be taken for another.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE},
};
use ed25519_dalek::{Signature, VerifyingKey, pkcs8::DecodePublicKey as _, pkcs8::EncodePublicKey as _};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Who signs. The instance's key is one; a test's is another.
pub trait Signer: Send + Sync {
    /// The public half.
    fn public_key(&self) -> VerifyingKey;
    /// Signs a message.
    fn sign(&self, message: &[u8]) -> [u8; 64];
}

impl Signer for ed25519_dalek::SigningKey {
    fn public_key(&self) -> VerifyingKey {
        self.verifying_key()
    }

    fn sign(&self, message: &[u8]) -> [u8; 64] {
        ed25519_dalek::Signer::sign(self, message).to_bytes()
    }
}

/// The name of a public key: the SHA-256 of its DER form (SPKI), hexadecimal, as cosign names keys.
#[must_use]
pub fn key_id(key: &VerifyingKey) -> String {
    key.to_public_key_der()
        .map(|der| hex::encode(Sha256::digest(der.as_bytes())))
        .unwrap_or_default()
}

/// A public key in PEM, as OpenSSL reads it.
#[must_use]
pub fn key_pem(key: &VerifyingKey) -> String {
    key.to_public_key_pem(ed25519_dalek::pkcs8::spki::der::pem::LineEnding::LF)
        .unwrap_or_default()
}

/// Reads a public key in PEM.
///
/// # Errors
/// When it is not an ed25519 public key.
pub fn read_key(pem: &str) -> Result<VerifyingKey, String> {
    VerifyingKey::from_public_key_pem(pem.trim())
        .map_err(|error| format!("this is not an ed25519 public key in PEM: {error}"))
}

/// What is signed: the type and the bytes, each with its length before it.
#[must_use]
pub fn pre_authentication_encoding(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

/// A signed document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Envelope {
    /// The document, base64.
    pub payload: String,
    /// Its type.
    pub payload_type: String,
    /// The signatures.
    pub signatures: Vec<EnvelopeSignature>,
}

/// One signature of a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvelopeSignature {
    /// The name of the key; a hint only.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub keyid: String,
    /// The signature, base64.
    pub sig: String,
}

impl Envelope {
    /// Signs a document.
    #[must_use]
    pub fn sign(payload_type: &str, payload: &[u8], signer: &dyn Signer) -> Self {
        let signature = signer.sign(&pre_authentication_encoding(payload_type, payload));
        Self {
            payload: STANDARD.encode(payload),
            payload_type: payload_type.to_owned(),
            signatures: vec![EnvelopeSignature {
                keyid: key_id(&signer.public_key()),
                sig: STANDARD.encode(signature),
            }],
        }
    }

    /// The envelope's bytes.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        // Three strings and a list always serialise; an empty file would fail verification at once.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads an envelope.
    ///
    /// # Errors
    /// When it is not a DSSE envelope.
    pub fn from_json(bytes: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(bytes).map_err(|error| format!("this is not a DSSE envelope: {error}"))
    }

    /// Checks the signature of `key` and the type, and gives the document.
    ///
    /// # Errors
    /// Says what does not hold.
    pub fn verify(&self, payload_type: &str, key: &VerifyingKey) -> Result<Vec<u8>, String> {
        if self.payload_type != payload_type {
            return Err(format!("it holds `{}`, not `{payload_type}`", self.payload_type));
        }
        let payload = decode(&self.payload).ok_or("its payload is not base64")?;
        let message = pre_authentication_encoding(payload_type, &payload);
        let holds = |signature: &EnvelopeSignature| {
            decode(&signature.sig)
                .and_then(|bytes| Signature::from_slice(&bytes).ok())
                .is_some_and(|signature| key.verify_strict(&message, &signature).is_ok())
        };
        if self.signatures.iter().any(holds) {
            return Ok(payload);
        }
        let named: Vec<&str> = self
            .signatures
            .iter()
            .map(|signature| signature.keyid.as_str())
            .collect();
        let id = key_id(key);
        if named.contains(&id.as_str()) {
            Err(format!("its signature by the key {id} does not fit its content"))
        } else {
            Err(format!(
                "the key {id} has not signed it; its signatures name {}",
                named.join(", ")
            ))
        }
    }
}

/// The specification lets writers choose either alphabet, and readers accept both.
fn decode(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).or_else(|_| URL_SAFE.decode(text)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::SigningKey;
    use proptest::prelude::*;

    /// The example of the DSSE protocol document.
    #[test]
    fn the_encoding_is_that_of_the_specification() {
        let bytes = pre_authentication_encoding("http://example.com/HelloWorld", b"hello world");
        assert_eq!(bytes, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
        assert_eq!(pre_authentication_encoding("", b""), b"DSSEv1 0  0 ");
        // Lengths count bytes, not characters.
        assert_eq!(
            pre_authentication_encoding("é", "é".as_bytes()),
            "DSSEv1 2 é 2 é".as_bytes()
        );
    }

    #[test]
    fn a_signature_holds_for_its_key_and_type_only() {
        let (key, other) = (SigningKey::from_bytes(&[1; 32]), SigningKey::from_bytes(&[2; 32]));
        let envelope = Envelope::sign("a/b", b"text", &key);
        let envelope = Envelope::from_json(&envelope.to_json()).unwrap();
        assert_eq!(envelope.verify("a/b", &key.public_key()), Ok(b"text".to_vec()));
        assert!(
            envelope
                .verify("a/c", &key.public_key())
                .unwrap_err()
                .contains("not `a/c`")
        );
        assert!(
            envelope
                .verify("a/b", &other.public_key())
                .unwrap_err()
                .contains("has not signed it")
        );
        let mut forged = envelope.clone();
        forged.payload = STANDARD.encode(b"tent");
        assert!(
            forged
                .verify("a/b", &key.public_key())
                .unwrap_err()
                .contains("does not fit")
        );
    }

    #[test]
    fn url_safe_base64_is_accepted() {
        let key = SigningKey::from_bytes(&[7; 32]);
        let mut envelope = Envelope::sign("t", &[0xfb, 0xff, 0xfe], &key);
        envelope.payload = URL_SAFE.encode([0xfb, 0xff, 0xfe]);
        assert_eq!(
            envelope.verify("t", &key.public_key()),
            Ok(vec![0xfb, 0xff, 0xfe])
        );
    }

    #[test]
    fn a_key_reads_back_from_pem() {
        let key = SigningKey::from_bytes(&[3; 32]).public_key();
        let pem = key_pem(&key);
        assert!(pem.starts_with("-----BEGIN PUBLIC KEY-----\n"), "{pem}");
        assert_eq!(read_key(&pem), Ok(key));
        assert_eq!(key_id(&key).len(), 64);
        assert!(read_key("no key").is_err());
    }

    proptest! {
        #[test]
        fn noise_is_refused_without_a_panic(noise in proptest::collection::vec(any::<u8>(), 0..200), text in ".*") {
            let key = SigningKey::from_bytes(&[3; 32]).public_key();
            prop_assert!(Envelope::from_json(&noise).is_err());
            let envelope = Envelope { payload: text.clone(), payload_type: "t".to_owned(), signatures: vec![EnvelopeSignature { keyid: text.clone(), sig: text }] };
            prop_assert!(envelope.verify("t", &key).is_err());
        }
    }
}
