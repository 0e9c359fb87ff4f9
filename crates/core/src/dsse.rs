//! DSSE, the envelope that carries signed documents: what is signed is the type and the bytes together, so
//! neither can be taken for another. Pure: the keys are whoever can sign and verify.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE},
};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A key that signs.
pub trait Sign: Send + Sync + fmt::Debug {
    /// Names the key.
    fn key_id(&self) -> &str;
    /// The signature of a message.
    fn signature(&self, message: &[u8]) -> Vec<u8>;
}

/// A key that verifies.
pub trait Verify: Send + Sync + fmt::Debug {
    /// Names the key.
    fn key_id(&self) -> &str;
    /// Whether `signature` over `message` is this key's.
    fn accepts(&self, message: &[u8], signature: &[u8]) -> bool;
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
    pub fn sign(payload_type: &str, payload: &[u8], key: &dyn Sign) -> Self {
        let signature = key.signature(&pre_authentication_encoding(payload_type, payload));
        Self {
            payload: STANDARD.encode(payload),
            payload_type: payload_type.to_owned(),
            signatures: vec![EnvelopeSignature {
                keyid: key.key_id().to_owned(),
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
    pub fn verify(&self, payload_type: &str, key: &dyn Verify) -> Result<Vec<u8>, String> {
        if self.payload_type != payload_type {
            return Err(format!("it holds `{}`, not `{payload_type}`", self.payload_type));
        }
        let payload = decode(&self.payload).ok_or("its payload is not base64")?;
        let message = pre_authentication_encoding(payload_type, &payload);
        let holds = |signature: &EnvelopeSignature| {
            decode(&signature.sig).is_some_and(|bytes| key.accepts(&message, &bytes))
        };
        if self.signatures.iter().any(holds) {
            return Ok(payload);
        }
        let named: Vec<&str> = self
            .signatures
            .iter()
            .map(|signature| signature.keyid.as_str())
            .collect();
        let id = key.key_id();
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

impl Envelope {
    /// The document as it is claimed to be, by whomever: nothing is checked.
    #[must_use]
    pub fn unverified(&self) -> Option<Vec<u8>> {
        decode(&self.payload)
    }

    /// Reads an envelope with one signature, checks it as [`Envelope::verify`] does, and refuses any byte that
    /// [`Envelope::to_json`] would have written otherwise: a signature does not cover the envelope's own
    /// writing.
    ///
    /// # Errors
    /// Says what does not hold.
    pub fn verify_exact(bytes: &[u8], payload_type: &str, key: &dyn Verify) -> Result<Vec<u8>, String> {
        let envelope = Self::from_json(bytes)?;
        let payload = envelope.verify(payload_type, key)?;
        let exact = Self {
            payload: STANDARD.encode(&payload),
            payload_type: payload_type.to_owned(),
            signatures: envelope
                .signatures
                .iter()
                .take(1)
                .map(|signature| EnvelopeSignature {
                    keyid: key.key_id().to_owned(),
                    sig: STANDARD.encode(decode(&signature.sig).unwrap_or_default()),
                })
                .collect(),
        };
        if exact.to_json() == bytes {
            Ok(payload)
        } else {
            Err("its envelope was changed outside of what is signed".to_owned())
        }
    }
}

/// The specification lets writers choose either alphabet, and readers accept both.
fn decode(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).or_else(|_| URL_SAFE.decode(text)).ok()
}
