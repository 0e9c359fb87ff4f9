//! Whose bundles are believed. The caller names the keys; nothing is trusted for being the first.

use crate::{Manifest, PAYLOAD_TYPE, refuse, validate};
use bascule_core::{
    Result,
    dsse::{Envelope, Verify},
};
use std::sync::Arc;

/// The keys whose bundles are believed.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    keys: Vec<Arc<dyn Verify>>,
}

impl Trust {
    /// Trust in these keys and no others.
    #[must_use]
    pub fn new(keys: impl IntoIterator<Item = Arc<dyn Verify>>) -> Self {
        Self {
            keys: keys.into_iter().collect(),
        }
    }

    /// The key of that name.
    pub(crate) fn key(&self, id: &str) -> Option<&dyn Verify> {
        self.keys.iter().map(AsRef::as_ref).find(|key| key.key_id() == id)
    }

    /// Reads a signed manifest. Nothing of it is believed before its signature holds.
    pub(crate) fn open(&self, bytes: &[u8]) -> Result<Manifest> {
        let envelope = Envelope::from_json(bytes).map_err(|error| refuse::not_a_bundle(&error))?;
        let [signature] = envelope.signatures.as_slice() else {
            return Err(refuse::tampered(
                "its manifest has not one signature, but more or none",
            ));
        };
        let Some(key) = self.key(&signature.keyid) else {
            let known: Vec<&str> = self.keys.iter().map(|key| key.key_id()).collect();
            return Err(refuse::untrusted(&signature.keyid, &known));
        };
        let payload = Envelope::verify_exact(bytes, PAYLOAD_TYPE, key)
            .map_err(|why| refuse::tampered(&format!("its manifest does not hold: {why}")))?;
        let manifest = validate::parse(&payload)?;
        if manifest.set.source != key.key_id() {
            return Err(refuse::bad_manifest(&format!(
                "it says that it comes from {}, and {} has signed it",
                manifest.set.source,
                key.key_id()
            )));
        }
        Ok(manifest)
    }
}
