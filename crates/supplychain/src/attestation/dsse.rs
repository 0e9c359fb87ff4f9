//! DSSE, the envelope that carries in-toto statements: what is signed is the type and the bytes together,
//! so neither can be taken for another.

use bascule_ledger::{InstanceKey, PublicKey};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE},
};
use serde::{Deserialize, Serialize};

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
    pub fn sign(payload_type: &str, payload: &[u8], key: &InstanceKey) -> Self {
        let signature = key.sign(&pre_authentication_encoding(payload_type, payload));
        Self {
            payload: STANDARD.encode(payload),
            payload_type: payload_type.to_owned(),
            signatures: vec![EnvelopeSignature {
                keyid: key.id().to_owned(),
                sig: signature,
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
    pub fn verify(&self, payload_type: &str, key: &PublicKey) -> Result<Vec<u8>, String> {
        if self.payload_type != payload_type {
            return Err(format!("it holds `{}`, not `{payload_type}`", self.payload_type));
        }
        let payload = decode(&self.payload).ok_or("its payload is not base64")?;
        let message = pre_authentication_encoding(payload_type, &payload);
        let holds = |signature: &EnvelopeSignature| {
            decode(&signature.sig).is_some_and(|bytes| key.verify(&message, &STANDARD.encode(bytes)))
        };
        if self.signatures.iter().any(holds) {
            return Ok(payload);
        }
        let named: Vec<&str> = self
            .signatures
            .iter()
            .map(|signature| signature.keyid.as_str())
            .collect();
        let id = key.id();
        if named.contains(&id) {
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
        let (key, other) = (InstanceKey::generate(), InstanceKey::generate());
        let envelope = Envelope::sign("a/b", b"text", &key);
        let envelope = Envelope::from_json(&envelope.to_json()).unwrap();
        assert_eq!(envelope.verify("a/b", &key.public()), Ok(b"text".to_vec()));
        assert!(
            envelope
                .verify("a/c", &key.public())
                .unwrap_err()
                .contains("not `a/c`")
        );
        assert!(
            envelope
                .verify("a/b", &other.public())
                .unwrap_err()
                .contains("has not signed it")
        );
        let mut forged = envelope.clone();
        forged.payload = STANDARD.encode(b"tent");
        assert!(
            forged
                .verify("a/b", &key.public())
                .unwrap_err()
                .contains("does not fit")
        );
    }

    #[test]
    fn url_safe_base64_is_accepted() {
        let key = InstanceKey::generate();
        let mut envelope = Envelope::sign("t", &[0xfb, 0xff, 0xfe], &key);
        envelope.payload = URL_SAFE.encode([0xfb, 0xff, 0xfe]);
        assert_eq!(envelope.verify("t", &key.public()), Ok(vec![0xfb, 0xff, 0xfe]));
    }

    proptest! {
        #[test]
        fn noise_is_refused_without_a_panic(noise in proptest::collection::vec(any::<u8>(), 0..200), text in ".*") {
            let key = InstanceKey::generate().public();
            prop_assert!(Envelope::from_json(&noise).is_err());
            let envelope = Envelope { payload: text.clone(), payload_type: "t".to_owned(), signatures: vec![EnvelopeSignature { keyid: text.clone(), sig: text }] };
            prop_assert!(envelope.verify("t", &key).is_err());
        }
    }
}
