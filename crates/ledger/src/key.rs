//! The instance's signing key: ed25519, one file, made at first start. It signs the ledger's checkpoints and
//! the evidence of releases.

use bascule_core::{
    Digest, Problem, Result,
    dsse::{Sign, Verify},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use ed25519_dalek::{
    Signature, Signer as _, SigningKey, VerifyingKey,
    pkcs8::{
        DecodePrivateKey as _, DecodePublicKey as _, EncodePrivateKey as _, EncodePublicKey as _,
        spki::der::pem::LineEnding,
    },
};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use sha2::{Digest as _, Sha256};
use std::{path::Path, sync::Arc};

/// What can be wrong with a key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read or written.
    #[error("key file: {0}")]
    Io(#[from] std::io::Error),
    /// The text is no ed25519 key in PEM.
    #[error("not an ed25519 key in PEM (PKCS#8 for private, SPKI for public): {0}")]
    Format(String),
}

/// The private key, cheap to clone.
#[derive(Clone)]
pub struct InstanceKey {
    key: Arc<SigningKey>,
    id: String,
}

/// A public key that verifies what an instance signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    key: VerifyingKey,
    id: String,
}

impl std::fmt::Debug for InstanceKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InstanceKey")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl InstanceKey {
    /// Reads the key file, or makes a key and writes it with mode 0600.
    ///
    /// # Errors
    /// The file cannot be read or written, or holds something else.
    pub fn load_or_create(path: &Path) -> Result<Self, KeyError> {
        match std::fs::read_to_string(path) {
            Ok(pem) => SigningKey::from_pkcs8_pem(&pem)
                .map(Self::new)
                .map_err(|e| KeyError::Format(e.to_string())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let key = Self::generate();
                let pem = key
                    .key
                    .to_pkcs8_pem(LineEnding::LF)
                    .map_err(|e| KeyError::Format(e.to_string()))?;
                write_private(path, pem.as_bytes())?;
                Ok(key)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// A fresh key, kept nowhere.
    #[must_use]
    pub fn generate() -> Self {
        Self::new(SigningKey::from_bytes(&rand::random()))
    }

    fn new(key: SigningKey) -> Self {
        let id = key_id(&key.verifying_key());
        Self {
            key: Arc::new(key),
            id,
        }
    }

    /// Names the key: the first 16 hexadecimal digits of the SHA-256 of the raw public key.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Signs bytes; the signature is base64.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> String {
        STANDARD.encode(self.key.sign(message).to_bytes())
    }

    /// A symmetric key for one purpose, that whoever holds this key can make again and nobody else can: SHA-256
    /// over the purpose and the private key's 32 random bytes. It tells nothing of the private key.
    #[must_use]
    pub fn derive(&self, purpose: &str) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(b"bascule derived key 1\0");
        hash.update((purpose.len() as u64).to_be_bytes());
        hash.update(purpose.as_bytes());
        hash.update(self.key.as_bytes());
        hash.finalize().into()
    }

    /// Seals a text under the key of a purpose: AES-256-GCM, the nonce, ciphertext and tag in base64. It opens only for
    /// the same purpose and bound to the same, so that what is sealed for one place is nothing in another's. Each nonce
    /// is 96 random bits and used once.
    ///
    /// # Errors
    /// It is longer than a message may be.
    pub fn seal(&self, purpose: &str, bound: &[u8], text: &str) -> Result<String> {
        let nonce: [u8; NONCE_LEN] = rand::random();
        let mut bytes = text.as_bytes().to_vec();
        self.cipher(purpose)
            .and_then(|key| {
                let nonce = Nonce::assume_unique_for_key(nonce);
                key.seal_in_place_append_tag(nonce, Aad::from(bound), &mut bytes)
            })
            .map_err(|_| Problem::internal())?;
        Ok(STANDARD.encode([nonce.as_slice(), &bytes].concat()))
    }

    /// Opens a sealed text; `None` where it was sealed by another key, for another purpose, bound to something else, or
    /// changed.
    #[must_use]
    pub fn open(&self, purpose: &str, bound: &[u8], sealed: &str) -> Option<String> {
        let bytes = STANDARD.decode(sealed).ok()?;
        let (nonce, rest) = bytes.split_at_checked(NONCE_LEN)?;
        let mut rest = rest.to_vec();
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let text = self
            .cipher(purpose)
            .ok()?
            .open_in_place(nonce, Aad::from(bound), &mut rest)
            .ok()?;
        String::from_utf8(text.to_vec()).ok()
    }

    fn cipher(&self, purpose: &str) -> Result<LessSafeKey, ring::error::Unspecified> {
        UnboundKey::new(&AES_256_GCM, &self.derive(purpose)).map(LessSafeKey::new)
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey {
            key: self.key.verifying_key(),
            id: self.id.clone(),
        }
    }
}

impl PublicKey {
    /// Reads a public key from PEM.
    ///
    /// # Errors
    /// It is something else.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let key =
            VerifyingKey::from_public_key_pem(pem.trim()).map_err(|e| KeyError::Format(e.to_string()))?;
        Ok(Self {
            id: key_id(&key),
            key,
        })
    }

    /// The key in PEM.
    #[must_use]
    pub fn to_pem(&self) -> String {
        self.key.to_public_key_pem(LineEnding::LF).unwrap_or_default()
    }

    /// Names the key.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether `signature` (base64) over `message` is this key's.
    #[must_use]
    pub fn verify(&self, message: &[u8], signature: &str) -> bool {
        STANDARD
            .decode(signature)
            .is_ok_and(|bytes| self.accepts(message, &bytes))
    }
}

impl Sign for InstanceKey {
    fn key_id(&self) -> &str {
        &self.id
    }

    fn signature(&self, message: &[u8]) -> Vec<u8> {
        self.key.sign(message).to_bytes().to_vec()
    }
}

impl Verify for PublicKey {
    fn key_id(&self) -> &str {
        &self.id
    }

    fn accepts(&self, message: &[u8], signature: &[u8]) -> bool {
        Signature::from_slice(signature)
            .is_ok_and(|signature| self.key.verify_strict(message, &signature).is_ok())
    }
}

fn key_id(key: &VerifyingKey) -> String {
    Digest::of(key.as_bytes())
        .hex()
        .get(..16)
        .unwrap_or_default()
        .to_owned()
}

fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _};
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_its_file_and_refuses_other_messages() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("instance.key");
        let made = InstanceKey::load_or_create(&path).unwrap();
        let read = InstanceKey::load_or_create(&path).unwrap();
        assert_eq!(made.id(), read.id());
        let public = PublicKey::from_pem(&read.public().to_pem()).unwrap();
        let signature = made.sign(b"yes");
        assert!(public.verify(b"yes", &signature));
        assert!(!public.verify(b"no", &signature));
        assert!(!public.verify(b"yes", "not base64"));
        std::fs::write(&path, "rubbish").unwrap();
        assert!(matches!(
            InstanceKey::load_or_create(&path),
            Err(KeyError::Format(_))
        ));
    }
}
