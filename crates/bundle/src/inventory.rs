//! Which blobs a site has, so that the next export leaves them out. A plain text: one digest's 64
//! hexadecimal digits a line, ordered. It travels in a report, and is signed with it.

use crate::{limits, refuse};
use bascule_core::{Digest, Result};
use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader, Read},
};

/// The blobs that a site has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    digests: BTreeSet<Digest>,
}

impl Inventory {
    /// Whether the blob is there.
    #[must_use]
    pub fn contains(&self, digest: &Digest) -> bool {
        self.digests.contains(digest)
    }

    /// The digests, ordered.
    pub fn iter(&self) -> impl Iterator<Item = &Digest> {
        self.digests.iter()
    }

    /// The text.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut text = String::with_capacity(self.digests.len() * 65);
        for digest in &self.digests {
            text.push_str(digest.hex());
            text.push('\n');
        }
        text.into_bytes()
    }

    /// Reads the text.
    ///
    /// # Errors
    /// It is something else, or too long.
    pub fn from_reader(from: impl Read) -> Result<Self> {
        let mut digests = BTreeSet::new();
        for line in BufReader::new(from.take(limits::INVENTORY_BYTES)).lines() {
            let line = line.map_err(|error| refuse::unreadable(&error))?;
            let digest: Digest = format!("sha256:{line}")
                .parse()
                .map_err(|why: String| refuse::bad_manifest(&format!("its inventory: {why}")))?;
            digests.insert(digest);
        }
        Ok(Self { digests })
    }
}

impl FromIterator<Digest> for Inventory {
    fn from_iter<I: IntoIterator<Item = Digest>>(digests: I) -> Self {
        Self {
            digests: digests.into_iter().collect(),
        }
    }
}
